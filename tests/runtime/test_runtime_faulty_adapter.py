"""Mistakes of our own, or of a plug-in: what they may cost. They are made by an adapter, installed as docs/plugins.md
has it, that is Apify's with mistakes which can be switched on."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from watchdog.config.models import AccountSettings
from watchdog.domain.notice import Trouble
from watchdog.platforms.registry import ENTRY_POINTS

pytestmark = pytest.mark.anyio

CAP = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 20}}]"
TOKEN = "apify_api_S3CRETofTheFaultyAdapter"
ADAPTER = """
from dataclasses import replace

from watchdog.domain.meter import Usage
from watchdog.domain.run import replace as with_changes
from watchdog.platforms.apify import Apify
from watchdog.platforms.registry import APIFY

cursed = {"sweep": set(), "look": set()}
is_broken = False


class Faulty(Apify):
    traits = replace(APIFY.traits, name="faulty")

    async def sweep(self, seen=None, watched=()):
        if is_broken:
            raise KeyError("a mistake")
        return await super().sweep(lambda runs: seen([spoilt(run, "sweep") for run in runs]), watched)

    async def inspect(self, run_id, *, urgent=False, progress=False):
        return spoilt(await super().inspect(run_id, urgent=urgent, progress=progress), "look")


def spoilt(run, where):
    return with_changes(run, usage=Usage(cost_usd="a word")) if run.run_id in cursed[where] else run


SPEC = replace(APIFY, traits=Faulty.traits, build=lambda session, options: Faulty(session))
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of the adapter, as pip would leave it on disk: `cursed` are runs whose usage it gets wrong, in a sweep
    or a look, and `is_broken` says whether its sweeps fail."""
    home = tmp_path / "site"
    info = home / "faulty-1.0.dist-info"
    info.mkdir(parents=True)
    (home / "bw_faulty.py").write_text(ADAPTER, "utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n", "utf-8")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nfaulty = bw_faulty:SPEC\n", "utf-8")
    monkeypatch.syspath_prepend(str(home))
    importlib.invalidate_caches()
    yield importlib.import_module("bw_faulty")
    del sys.modules["bw_faulty"]


def account(w: Any) -> AccountSettings:
    return AccountSettings(name="faulty", platform="faulty", token=SecretStr(TOKEN), base_url=w.sim.url)


@pytest.mark.parametrize("where", ["sweep", "look"])
async def test_an_internal_error_about_one_run_hurts_only_that_run(world: Any, faulty: Any, where: str) -> None:
    async with world(CAP) as w:
        theirs = w.sim.apify(TOKEN)
        cursed, blessed = theirs.start_run(usd_per_hour=72), theirs.start_run(usd_per_hour=72)
        faulty.cursed[where].add(cursed.id)
        w.more_accounts = [account(w)]
        await w.start()
        await w.until_booked(blessed)
        assert all(each.ok for each in w.daemon.readiness())
        await w.until(lambda: len(w.told(Trouble, cursed)) > 1, "a second try")
        told = w.told(Trouble, cursed)
        assert all("internal error" in each.message for each in told)
        assert all(each.level == "error" for each in told)
        assert not cursed.truth().abort_requests
        faulty.cursed[where].clear()
        await w.until_booked(cursed)
        if where == "look":
            looks = [each.at for each in w.sim.requests if cursed.id in each.path][: len(told) + 1]
            assert all(w.seconds_between(*pair) > 25 for pair in pairwise(looks)), "pushed on"


async def test_an_internal_error_in_a_sweep_is_a_failed_sweep(world: Any, faulty: Any) -> None:
    async with world(CAP) as w:
        w.sim.apify(TOKEN)
        lobstr = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600)
        faulty.is_broken = True
        w.more_accounts = [account(w)]
        starting = asyncio.create_task(w.start())
        await asyncio.sleep(0)
        await w.until_booked(lobstr)
        assert w.counted("polls", account="faulty", kind="sweep", outcome="error") >= 1
        assert "internal error" in w.daemon.readiness()[-1].detail
        faulty.is_broken = False
        await starting


async def test_a_run_that_cannot_be_judged_does_not_stop_the_watch_of_others_while_sweeps_fail(
    world: Any, faulty: Any
) -> None:
    """It ends neither what is done without a list nor the agenda."""
    async with world(CAP) as w:
        theirs = w.sim.apify(TOKEN)
        before, cursed, after = (theirs.start_run(usd_per_hour=36) for _ in range(3))
        faulty.cursed["sweep"].add(cursed.id)
        w.more_accounts = [account(w)]
        await w.start()
        faulty.is_broken = True
        await w.until_booked(before, after)
        assert w.told(Trouble, cursed)
        assert not cursed.truth().abort_requests
        faulty.cursed["sweep"].clear()
        faulty.is_broken = False
        await w.until_booked(cursed)
