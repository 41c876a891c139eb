"""Whose token it is, by the platform's own word."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.ports import Owned
from watchdog.errors import PlatformError

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("platform", "answer", "owner"),
    [
        ("apify", {"data": {"id": "WxYz123", "username": "jane"}}, "WxYz123"),
        ("apify", {"data": {"username": "jane"}}, None),
        ("apify", {"data": {"id": 7}}, None),
        ("lobstr", {"first_name": "John", "email": " John@Example.com"}, "john@example.com"),
        ("lobstr", {"first_name": "John"}, None),
        ("lobstr", {"email": " "}, None),
        ("lobstr", {"email": None}, None),
    ],
)
async def test_the_owner(shelf: Any, connect: Any, reply: Any, platform: str, answer: Any, owner: str | None) -> None:
    paths = []

    def serve(asked: Any) -> Any:
        paths.append(asked.path)
        return reply(answer)

    shelf.handler = serve
    adapter = connect(platform, shelf.url)
    assert isinstance(adapter, Owned)
    assert await adapter.owner() == owner
    assert paths == [{"apify": "/v2/users/me", "lobstr": "/v1/me"}[platform]]


@pytest.mark.parametrize("platform", ["apify", "lobstr"])
@pytest.mark.parametrize("status", [401, 403, 404, 500, 502])
async def test_an_owner_that_cannot_be_read_is_an_error_after_one_request(
    shelf: Any, connect: Any, reply: Any, platform: str, status: int
) -> None:
    paths = []

    def serve(asked: Any) -> Any:
        paths.append(asked.path)
        return reply({"detail": "No."}, status)

    shelf.handler = serve
    with pytest.raises(PlatformError):
        await connect(platform, shelf.url).owner()
    assert len(paths) == 1
