"""A list of runs that takes long to read must not hold up what is already known from it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.notice import RulesLoaded, RulesRejected, Trouble

pytestmark = pytest.mark.anyio

RULES = """
rules:
  - {name: cap, match: {platform: lobstr}, limits: {max_credits: 25}}
  - {name: short, match: {squid: s1}, limits: {max_duration: 45s}}
"""


async def test_a_breach_does_not_wait_for_the_rest_of_the_sweep(world: Any) -> None:
    """200 active squids take two minutes to ask within the rate budget; a run over its limit among the first of them is
    stopped at once, and a deadline in that time is kept."""
    async with world(RULES, speed=50) as w:
        quiet = [w.lobstr.add_squid(f"s{number}") for number in range(200)]
        for squid in quiet[2:]:
            w.lobstr.start_run(squid, credits_per_hour=1, ends_after=7200)
        over = w.lobstr.start_run(quiet[0], credits_per_hour=3600, started_ago=30)
        deadline = w.lobstr.start_run(quiet[1], credits_per_hour=1)
        w.build()
        watch = w.watch("lobstr")
        began = w.clock.monotonic()
        starting = asyncio.create_task(w.start())
        await w.until(lambda: over.abort_requests > 0, "the abort of the run over its limit")
        assert watch.last_success_s is None, "the first sweep still goes on"
        assert w.clock.monotonic() - began < 30
        await w.until(lambda: deadline.abort_requests > 0, "the abort at the deadline")
        assert deadline.truth().usage.duration_s < 60
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def test_rules_are_read_again_on_demand_and_bad_ones_are_not_taken(world: Any, tmp_path: Path) -> None:
    async with world("rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 100}}]") as w:
        run = w.apify.start_run(usd_per_hour=72)
        await w.start()
        file = tmp_path / "rules.yaml"
        w.app.settings = w.app.settings.model_copy(update={"rules": file})
        file.write_text("rules: [{name: cap, match: {platform: apify}, limits: {max_cost: 1}}]")
        await w.app.reload()
        [rejected] = [notice for notice in w.notices if isinstance(notice, RulesRejected)]
        assert "did you mean 'max_cost_usd'" in str(rejected.error)
        assert w.app.rulebook.generation == 0, "the last good ones stay"
        file.write_text("rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.5}}]")
        await w.app.reload()
        assert len([notice for notice in w.notices if isinstance(notice, RulesLoaded)]) == 2
        await w.until_booked(run)


async def test_a_status_never_heard_of_is_told_once(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_cost_usd: 100}}]") as w:
        for _ in range(3):
            w.apify.start_run()
        w.fault("unknown_status", "list")
        await w.start()
        await w.sweeps(3)
        told = [each.message for each in w.notices if isinstance(each, Trouble) and "status" in each.message]
        assert len(told) == 1, told
