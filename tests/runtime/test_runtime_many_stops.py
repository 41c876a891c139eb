"""Many runs to be stopped at once: few calls for each, those that burn most first, and books as exact as ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Basis
from watchdog.platforms.apify_facts import TRAITS

pytestmark = pytest.mark.anyio

RULES = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00}}]"
MANY, SPEED = 100, 20.0


def over(w: Any, count: int = MANY, **details: Any) -> list[Any]:
    """Runs past their limit, that started an hour ago."""
    actor = w.apify.add_actor()
    return [
        w.apify.start_run(actor, usd_per_hour=2.0 + 0.01 * number, started_ago=3600.0, **details)
        for number in range(count)
    ]


def lists_of_ended(w: Any) -> int:
    return sum(record.query.get("status") == "ABORTED" for record in w.sim.requests)


async def test_few_calls_prove_and_settle_many_stops(world: Any) -> None:
    async with world(RULES, speed=SPEED, apify={"write_reason": False}) as w:
        runs = over(w)
        await w.start()
        aborts = await w.until_booked(*runs)
        assert w.requests("abort") == MANY
        assert w.requests("run") <= 1.15 * MANY, "each is looked at before its request, and hardly one after it"
        assert 0 < lists_of_ended(w) <= 0.15 * MANY
        check_books(runs, aborts)


async def test_figures_that_a_list_does_not_prove_take_a_look(world: Any) -> None:
    """Runs that waited long for a worker: the list does not tell for how long they ran."""
    async with world(RULES, speed=SPEED, apify={"write_reason": False}) as w:
        runs = over(w, 30, ready_for=600.0)
        await w.start()
        aborts = await w.until_booked(*runs)
        assert lists_of_ended(w) > 0
        assert w.requests("run") <= 2.2 * len(runs), "one before its request, one for its figures"
        check_books(runs, aborts)


def check_books(runs: list[Any], aborts: list[Any]) -> None:
    assert {abort.state for abort in aborts} == {AbortState.CONFIRMED}
    for run, abort in zip(runs, aborts, strict=True):
        truth = run.truth()
        assert abort.final is not None
        assert abs(abort.final.finished_at - truth.ended) <= timedelta(milliseconds=1)
        assert abort.final.usage.cost_usd == pytest.approx(truth.usage.cost_usd, abs=1e-6)
        assert abort.final.usage.duration_s == pytest.approx(truth.usage.duration_s, rel=0.001)
        assert abort.final.usage.credits == pytest.approx(truth.usage.credits, rel=0.001)
        settled = abort.final.seen_at - abort.history[-1].at
        assert settled >= timedelta(seconds=TRAITS.settle_s), "not before figures are final"


async def test_few_are_looked_at_one_by_one(world: Any) -> None:
    async with world(RULES, speed=SPEED) as w:
        runs = over(w, 3)
        await w.start()
        await w.until_booked(*runs)
        assert lists_of_ended(w) == 0


async def test_without_the_list_each_stop_is_proven_by_a_look(world: Any) -> None:
    async with world(RULES, speed=SPEED) as w:
        runs = over(w, 40)
        await w.start()
        armed = w.fault("status", "list", status=500, times=1_000)
        aborts = await w.until_booked(*runs)
        assert armed.hits
        assert {abort.state for abort in aborts} == {AbortState.CONFIRMED}


async def test_those_that_burn_most_are_stopped_first(world: Any) -> None:
    async with world(RULES, speed=SPEED) as w:
        runs = over(w, 300)
        costliest = {run.id for run in runs[-100:]}
        await w.start()
        await w.until_booked(*runs)
        order = [record.path for record in w.sim.requests if record.endpoint == "abort"]
        early = sum(any(run_id in path for run_id in costliest) for path in order[:150])
        assert early >= 85


async def test_who_waits_no_longer_ends_no_abort(world: Any) -> None:
    """A time-out around `drain` must not take the requests with it."""
    async with world(RULES, speed=SPEED, apify={"write_reason": False}) as w:
        runs = over(w, 3)
        await w.start()
        await w.until(lambda: w.requests("abort") > 0, "a request")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await w.app.enforcer.drain()
        check_books(runs, await w.until_booked(*runs))


async def test_without_lists_hardly_any_look_goes_to_runs_that_are_over(world: Any) -> None:
    """Nothing says that they go on; that they were resurrected meanwhile is found all the same, a while later."""
    async with world(RULES, speed=SPEED) as w:
        runs = over(w, 5)
        await w.start()
        w.fault("status", "list", status=500, times=1_000)
        await w.until_booked(*runs)
        await w.pass_time(20.0)
        assert w.requests("run") <= 4 * len(runs), "before its request, for its proof and its figures, and once since"
        w.apify.resurrect(runs[0])
        await w.until(lambda: runs[0].truth().abort_requests == 2, "the second abort", patience_s=20)


# --- lists that show less than the runs' own pages ----------------------------------------------------------------

BEHIND = {
    "less": {"list_less_usd": 0.03},
    "hardly less": {"list_less_usd": 0.00005},
    "late": {"list_lag": 90.0},
    "a little late": {"list_lag": 12.0},
}


@pytest.mark.parametrize("shown", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("fault", [None, "duplicate_items", "slip_items"])
@pytest.mark.parametrize("graceful", [False, True])
async def test_final_costs_are_those_of_the_runs_own_pages(world: Any, shown: Any, fault: Any, graceful: bool) -> None:
    """Whether the list shows less than any look has shown, or (where the runs go on for a moment after they were asked
    to stop) a little more that is still too little."""
    rules = RULES.replace("}}]", "}, resurrect: true}]") if graceful else RULES
    async with world(rules, speed=SPEED, apify={"write_reason": False}) as w:
        runs = over(w, 30, graceful_takes=2.5, timeout_secs=7200, **shown)
        await w.start()
        if fault is not None:
            w.fault(fault, "list", probability=0.5)
        aborts = await w.until_booked(*runs)
        assert lists_of_ended(w) > 0
        check_books(runs, aborts)
        check_savings(runs, aborts)


async def test_final_costs_where_the_list_is_behind_and_then_fails(world: Any) -> None:
    async with world(RULES, speed=SPEED, apify={"write_reason": False}) as w:
        runs = over(w, 30, list_less_usd=0.03)
        await w.start()
        await w.until(lambda: lists_of_ended(w) > 0, "the first list")
        w.fault("status", "list", status=500, times=1_000)
        check_books(runs, await w.until_booked(*runs))


async def test_final_costs_where_a_list_is_behind_and_runs_are_resurrected(world: Any) -> None:
    """What was seen before the stop is the least that such a run has cost by then; the others are booked as ever."""
    async with world(RULES, speed=SPEED, apify={"write_reason": False}) as w:
        runs = over(w, 30, list_less_usd=0.03)
        await w.start()
        again = runs[:5]
        await w.until(lambda: all(run.truth().ended for run in again), "the first stops")
        for run in again:
            w.apify.resurrect(run)
        await w.until(lambda: all(run.truth().abort_requests == 2 for run in again), "the second aborts")
        check_books(runs[5:], await w.until_booked(*runs[5:]))

        async def done() -> bool:
            return all(abort.is_complete for abort in await w.aborts())

        await w.until(done, "the books on all")
        for abort in await w.aborts():
            assert abort.final is not None
            assert abort.final.usage.cost_usd >= abort.before.usage.cost_usd
        last = {abort.run_id: abort for abort in sorted(await w.aborts(), key=lambda abort: abort.history[0].at)}
        for run in again:
            assert last[run.id].final.usage.cost_usd == pytest.approx(run.truth().usage.cost_usd, abs=1e-6)


def check_savings(runs: list[Any], aborts: list[Any]) -> None:
    """Of two hours each, as much was left as its true figures say, and no more is booked in all."""
    saved = 0.0
    for run, abort in zip(runs, aborts, strict=True):
        used = run.truth().usage
        saved += used.cost_usd * (run.timeout_secs / used.duration_s - 1)
        assert abort.saving.basis is Basis.CAP
    assert sum(abort.saving.usd for abort in aborts) == pytest.approx(saved, rel=0.001)
