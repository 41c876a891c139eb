"""Everything put together on a ledger file, as the commands do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from watchdog.app import opened
from watchdog.config.models import AccountSettings, Settings
from watchdog.domain.decision import Mode, Response
from watchdog.domain.notice import LimitBreached
from watchdog.ledger.lock import DAEMON
from watchdog.ledger.opening import daemon_is_running
from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules

pytestmark = pytest.mark.anyio


async def test_a_command_that_has_the_ledger_is_no_daemon(tmp_path: Path) -> None:
    """Otherwise `abort` beside `once` would leave an order that nobody serves."""
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: cap, limits: {max_cost_usd: 1}}]")
    account = AccountSettings(name="a", platform="apify", token=SecretStr("token"), base_url="http://127.0.0.1:1")
    path = tmp_path / "ledger.db"
    settings = Settings(accounts=(account,), ledger=f"sqlite:///{path}")
    async with opened(settings, load_rules(rules, platforms=OURS)):
        assert not daemon_is_running(path)
    async with opened(settings, load_rules(rules, platforms=OURS), role=DAEMON):
        assert daemon_is_running(path)
    assert not daemon_is_running(path)


async def test_a_dry_run_says_how_it_would_stop_a_run(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_cost_usd: 0.5}, resurrect: true}]", dry_run=True) as w:
        run = w.apify.start_run(curve=lambda ran_s: 1.0)
        await w.start()
        await w.until(lambda: bool(w.told(LimitBreached, run)), "the breach")
        (told,) = w.told(LimitBreached, run)
        assert (told.breach.response, told.mode) == (Response.DRY_RUN, Mode.GRACEFUL)
        assert not run.abort_requests


async def test_a_run_that_is_over_but_still_listed_is_left_alone_for_a_while(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_cost_usd: 0.5}}]") as w:
        run = w.apify.start_run(curve=lambda ran_s: 1.0)
        w.build()
        watch = w.watch("apify")
        stale = await w.app.platforms["apify"].sweep()
        w.apify.finish(run, "SUCCEEDED")
        for _ in range(5):
            watch.sweeping.take_in(stale.snapshots)
            await watch.drain()
        looks = [each for each in w.sim.requests if each.endpoint == "run"]
        assert len(looks) == 1, "one look, not one a sweep"
        assert not w.told(LimitBreached)
