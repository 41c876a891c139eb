from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from watchdog.simulated import ApifyAccount, LobstrAccount, SimClock, SimulatedPlatforms

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
APIFY_TOKEN = "apify_api_test"
LOBSTR_TOKEN = "lobstr-test"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> SimClock:
    """A clock that only the test moves."""
    return SimClock(speed=0, start=START)


@pytest.fixture
def platforms(clock: SimClock) -> SimulatedPlatforms:
    return SimulatedPlatforms(clock)


@pytest.fixture
def apify(platforms: SimulatedPlatforms) -> ApifyAccount:
    return platforms.apify(token=APIFY_TOKEN)


@pytest.fixture
def lobstr(platforms: SimulatedPlatforms) -> LobstrAccount:
    return platforms.lobstr(token=LOBSTR_TOKEN)


@pytest.fixture
async def apify_api(platforms: SimulatedPlatforms, apify: ApifyAccount) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        platforms,
        httpx.AsyncClient(base_url=platforms.url, headers={"Authorization": f"Bearer {APIFY_TOKEN}"}) as api,
    ):
        yield api


@pytest.fixture
async def lobstr_api(platforms: SimulatedPlatforms, lobstr: LobstrAccount) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        platforms,
        httpx.AsyncClient(base_url=platforms.url, headers={"Authorization": f"Token {LOBSTR_TOKEN}"}) as api,
    ):
        yield api


@pytest.fixture(scope="session")
def apify_description() -> Path:
    """The published description of Apify's API, which lies beside the repository."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    shared = Path(os.environ.get("BW_TEST_SHARED") or beside)
    path = shared / "specs" / "apify.openapi.yaml"
    if not path.is_file():
        reason = f"Apify's API description is not at {path} (set BW_TEST_SHARED)"
        if os.environ.get("BW_TEST_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
