"""List and detail that contradict each other for good: the detail decides, looks are bounded, and somebody is told."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.decision import AbortState
from watchdog.domain.notice import Trouble
from watchdog.domain.override import Override, OverrideKind
from watchdog.ledger.memory import MemoryLedger

pytestmark = pytest.mark.anyio

COST = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 5}}]"


def doubts(w: Any, run: Any) -> list[str]:
    return [each.message for each in w.told(Trouble, run) if "contradict" in each.message]


async def test_a_list_that_shows_too_little_for_good_hides_no_run(world: Any) -> None:
    async with world(COST) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0, started_ago=600)
        w.fault("wrong_types", "list", run_id=run.id, fields={"usageTotalUsd": 1.0})
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        (told,) = doubts(w, run)
        assert "$1.00" in told
        assert "$9.00" in told


async def test_a_run_half_way_to_its_limit_is_looked_at_now_and_then(world: Any) -> None:
    async with world(COST) as w:
        run, far = (w.apify.start_run(curve=lambda ran_s, used=used: used, started_ago=6000) for used in (3.0, 0.1))
        await w.start()
        await w.pass_time(1000)
        assert 2 <= w.requests("run", run) <= 12
        assert w.requests("run", far) == 1


async def test_a_list_that_shows_too_much_for_good_costs_few_looks(world: Any) -> None:
    async with world(COST, apify={"poll_interval": "1s"}) as w:
        run = w.apify.start_run(curve=lambda ran_s: 1.0)
        w.fault("wrong_types", "list", run_id=run.id, fields={"usageTotalUsd": 9.0})
        await w.start()
        await w.pass_time(600)
        assert 15 <= w.requests("run", run) <= 30
        (told,) = doubts(w, run)
        assert "$1.00" in told
        assert "$9.00" in told
        assert not await w.aborts()


async def test_a_list_that_shows_too_much_does_not_hide_the_real_breach(world: Any) -> None:
    """The detail is below the limit for a few minutes, and then over it."""
    async with world(COST, apify={"poll_interval": "1s"}) as w:
        run = w.apify.start_run(usd_per_hour=60)
        w.fault("wrong_types", "list", run_id=run.id, fields={"usageTotalUsd": 9.0})
        await w.start()
        (abort,) = await w.until_booked(run)
        assert 5.0 <= abort.used_at_request <= 5.6


async def test_a_detail_that_flaps_is_told_of_once(world: Any) -> None:
    async with world(COST) as w:
        w.ledger = MemoryLedger()
        run = w.apify.start_run(curve=lambda ran_s: 1.0)
        hold = Override("h", OverrideKind.HOLD, w.clock.now(), run_id=run.id, reason="to see")
        await w.ledger.add_override(hold)
        w.fault("wrong_types", "list", run_id=run.id, fields={"usageTotalUsd": 9.0})
        w.fault("wrong_types", "run", run_id=run.id, fields={"usageTotalUsd": 9.0}, probability=0.5)
        await w.start()
        await w.until(lambda: bool(doubts(w, run)), "that somebody is told")
        await w.pass_time(300)
        assert len(doubts(w, run)) == 1
        assert not run.abort_requests
