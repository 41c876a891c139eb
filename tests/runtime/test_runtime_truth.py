"""What the platforms do not say, say late, or say in other words: nothing is stopped for it, and nothing is missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Mode, Response
from watchdog.domain.notice import LimitBreached, UsageUnknown
from watchdog.domain.run import CostBasis
from watchdog.ledger.memory import MemoryLedger
from watchdog.simulated import SimRun, SimulatedPlatforms
from watchdog.simulated.apify_pricing import PayPerEvent, PayPerResult

pytestmark = pytest.mark.anyio

TIME = "rules: [{name: cap, match: {platform: apify}, limits: {max_duration: 60s}}]"
UNITS = "rules: [{name: cap, match: {platform: apify}, limits: {max_credits: 0.02}}]"
COST = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.5}}]"
SQUID_TIME = "rules: [{name: cap, match: {platform: lobstr}, limits: {max_duration: 60s}}]"
#: Slow enough that sightings a few platform seconds apart stay so on a busy machine.
SLOW = 10.0
NO_STATS = ("computeUnits", "runTimeSecs", "durationMillis", "resurrectCount", "restartCount")


def ran_when_stopped(w: Any, run: SimRun) -> float:
    at = run.truth().effective_abort_at
    assert at is not None
    return float(run.usage(at).duration_s)


# --- running time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [("runTimeSecs", "durationMillis", "computeUnits"), NO_STATS, None])
async def test_the_time_that_a_run_waited_for_a_worker_is_not_running_time(world: Any, missing: Any) -> None:
    """`startedAt` is when it was created. Its stats are not filled in for the first minutes, or never."""
    async with world(TIME, speed=SLOW) as w:
        stats = {"stats_none": True} if missing is None else {"stats_missing": missing}
        run = w.apify.start_run(started_ago=2400, ready_for=2402, **stats)
        await w.start()
        await w.until(lambda: run.usage().duration_s > 30, "half a minute of running")
        assert not w.requests("abort")
        await w.until_booked(run)
        assert ran_when_stopped(w, run) >= 60


async def test_a_clock_that_is_fast_stops_nothing_where_the_platform_does_not_tell_its_time(world: Any) -> None:
    async with world(TIME, speed=SLOW) as w:
        # As if a gateway had taken the Date header away: nothing corrects our clock.
        w.sim.date_skew_seconds = 7200
        run = w.apify.start_run(started_ago=7200, ready_for=7201, stats_missing=NO_STATS)
        await w.start()
        await w.until_booked(run)
        assert ran_when_stopped(w, run) >= 60


@pytest.mark.parametrize(
    "stats", [{"stats_missing": NO_STATS}, {"stats_none": True}, {"stats_missing": ["runTimeSecs"]}]
)
async def test_a_run_without_stats_is_stopped_by_the_time_it_was_seen_running(world: Any, stats: Any) -> None:
    async with world(TIME, speed=SLOW) as w:
        run = w.apify.start_run(**stats)
        await w.start()
        await w.until_booked(run)
        assert 60 <= ran_when_stopped(w, run) < 90


async def test_it_is_said_that_a_limit_cannot_be_judged_of_a_run_that_may_be_over_it(world: Any) -> None:
    """Nobody saw the hour that it may have run; what it runs from now on counts."""
    async with world(TIME, speed=SLOW) as w:
        run = w.apify.start_run(started_ago=3600, stats_none=True)
        await w.start()
        await w.until(lambda: bool(w.told(UsageUnknown, run)), "the notice")
        await w.until(lambda: w.counted("usage_unknown_runs", limit="max_duration") == 1, "the metric")
        assert not w.requests("abort")
        [abort] = await w.until_booked(run)
        assert abort.used_at_request is not None
        assert 60 <= abort.used_at_request < 200
        assert len(w.told(UsageUnknown, run)) == 1


@pytest.mark.parametrize(
    "stats", [{"stats_missing": ["computeUnits"]}, {"stats_missing": NO_STATS}, {"stats_none": True}]
)
async def test_compute_units_follow_from_memory_and_running_time(world: Any, stats: Any) -> None:
    async with world(UNITS, speed=SLOW) as w:
        run = w.apify.start_run(memory_mbytes=1024, **stats)
        within = w.apify.start_run(memory_mbytes=128, **stats)
        await w.start()
        [abort] = await w.until_booked(run)
        assert 72 <= ran_when_stopped(w, run) < 110
        assert abort.used_at_request == pytest.approx(0.02, rel=0.3)
        assert not within.truth().abort_requests


async def test_a_stop_between_two_sweeps_is_not_running_time(world: Any) -> None:
    """The platform says so, in the very look before the abort."""
    rules = "rules: [{name: cap, match: {platform: apify}, limits: {max_duration: 30s}}]"
    async with world(rules, speed=SLOW, apify={"poll_interval": timedelta(seconds=20)}) as w:
        run = w.apify.start_run()
        await w.start()
        await w.until(lambda: run.usage().duration_s > 3, "the first seconds")
        w.apify.resurrect_ready_seconds = 0.0
        w.apify.abort_in_console(run)
        await w.until(lambda: run.status() == "ABORTED", "the stop by its owner")
        await w.pass_time(8)
        w.apify.resurrect(run)
        await w.until_booked(run)
        assert ran_when_stopped(w, run) >= 30


async def test_a_platform_whose_clock_is_late_hides_no_breach(world: Any) -> None:
    async with world(TIME, speed=50) as w:
        w.sim.date_skew_seconds = -18_000
        run = w.apify.start_run()
        await w.start()
        await w.until_booked(run)
        assert 60 <= ran_when_stopped(w, run) < 90


@pytest.mark.parametrize("details", [{"duration_share": 0.1}, {"duration_share": 0.0}, {"duration_null": True}])
async def test_lobstrs_duration_is_not_the_time_that_a_run_has_run(world: Any, details: Any) -> None:
    async with world(SQUID_TIME, speed=SLOW) as w:
        run = w.lobstr.start_run(w.lobstr.add_squid("leads"), ends_after=None, **details)
        await w.start()
        await w.until_booked(run)
        assert 60 <= ran_when_stopped(w, run) < 100


async def test_a_pause_that_was_seen_is_not_running_time(world: Any) -> None:
    async with world(SQUID_TIME, speed=SLOW, lobstr={"poll_interval": timedelta(seconds=10)}) as w:
        run = w.lobstr.start_run(
            w.lobstr.add_squid("leads"), ends_after=None, duration_share=0.1, pauses=[(30.0, 50.0)]
        )
        await w.start()
        await w.until(lambda: run.status() == "paused", "the pause")
        await w.until(lambda: run.status() == "running", "the end of the pause")
        assert not w.requests("abort")
        await w.until_booked(run)
        assert ran_when_stopped(w, run) >= 60


async def test_a_restart_does_not_forget_for_how_long_a_run_was_seen_running(world: Any) -> None:
    async with world(TIME, speed=SLOW) as w:
        run = w.apify.start_run(stats_none=True)
        w.ledger = MemoryLedger()
        await w.start()
        await w.until(lambda: run.usage().duration_s > 45, "most of the time")
        await w.app.ledger.save_runs(w.watch("apify").memory.changed())
        await w.stop()
        await w.forget()
        await w.start()
        await w.until_booked(run)
        assert 60 <= ran_when_stopped(w, run) < 100


# --- cost ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("details", "basis"),
    [
        ({"cost_in_list": False, "usd_per_hour": 36}, CostBasis.PLATFORM),
        (
            {"cost_hidden": True, "pricing": PayPerEvent(events={"apify-actor-start": 0.01, "result": 0.001})},
            CostBasis.EVENTS,
        ),
        (
            {"cost_hidden": True, "pricing": PayPerResult(price=0.001)},
            CostBasis.ITEMS,
        ),
    ],
)
async def test_the_cost_of_others_actors_is_found_where_it_is(world: Any, details: Any, basis: CostBasis) -> None:
    async with world(COST, speed=50) as w:
        run = w.apify.start_run(results_per_hour=36_000, **details)
        within = w.apify.start_run(**(details | {"usd_per_hour": 0.01}), results_per_hour=36)
        await w.start()
        [abort] = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert abort.before.cost_basis is basis
        assert abort.used_at_request is not None
        assert 0.5 <= abort.used_at_request < 1.2
        assert not within.truth().abort_requests


async def test_costs_that_only_the_detail_shows_are_looked_at_by_forecast(world: Any) -> None:
    """Not at every sweep."""
    async with world(COST, speed=50) as w:
        for _ in range(20):
            w.apify.start_run(usd_per_hour=0.5, cost_in_list=False)
        await w.start()
        await w.until(lambda: w.requests("run") >= 20, "the first looks")
        began, looks = w.clock.monotonic(), w.requests("run")
        await w.sweeps(60)
        minutes = (w.clock.monotonic() - began) / 60
        assert (w.requests("run") - looks) / minutes <= 20 * 1.5


# --- names ------------------------------------------------------------------------------------------------

BY_NAME = """
rules:
  - {name: by-name, match: {actor: "acme/maps"}, limits: {max_cost_usd: 0.1}}
  - {name: by-id, match: {actor: "%s"}, limits: {max_cost_usd: 0.2}}
protect: [{match: {actor: "acme/precious"}}, {match: {task: "precious"}}]
"""


@pytest.mark.parametrize("how", ["deleted", "not-found", "not-found-or-denied"])
async def test_what_has_no_name_is_not_protected_by_one_and_its_id_still_matches(world: Any, how: str) -> None:
    actor = SimulatedPlatforms().apify().add_actor("acme", "maps")  # the same everywhere
    async with world(BY_NAME % actor) as w:
        assert w.apify.add_actor("acme", "maps") == actor
        task = w.apify.add_task(actor, "weekly")
        run = w.apify.start_run(task=task, usd_per_hour=36)
        if how == "deleted":
            w.apify.delete_task(task)
            w.apify.delete_actor(actor)
        else:
            w.apify.refuse(actor, how)
            w.apify.refuse(task, how)
        await w.start()
        [abort] = await w.until_booked(run)
        assert abort.rule == "by-id"
        assert not [each for each in w.told(LimitBreached, run) if each.breach.response == "deferred"]
        sentences = [each for notice in w.notices for each in getattr(notice, "nameless", ())]
        assert any(actor in each for each in sentences)
        assert any(task in each for each in sentences)
        assert w.counted("names_refused", account="apify") == 0 or w.counted("names_refused", account="apify") == 2


async def test_a_protection_by_a_name_that_the_token_may_not_read_defers_and_says_so(world: Any) -> None:
    async with world(COST + '\nprotect: [{match: {actor: "acme/precious"}}]') as w:
        actor = w.apify.add_actor("acme", "maps")
        w.apify.refuse(actor, "forbidden")
        run = w.apify.start_run(actor, usd_per_hour=360)
        await w.start()
        await w.until(lambda: bool(w.told(LimitBreached, run)), "the breach")
        [breach] = [each.breach for each in w.told(LimitBreached, run)]
        assert breach.response == "deferred"
        assert "may not read" in breach.note
        assert w.counted("names_refused", account="apify") == 1
        assert not w.requests("abort")


OF_JANE = """
rules:
  - {name: by-user, match: {task: "jan*"}, limits: {max_cost_usd: 0.1}}
  - {name: by-name, match: {task: "night*"}, limits: {max_cost_usd: 0.3}}
protect: [{match: {task: "janed*"}}, {match: {task: "janu*"}}]
resurrect: [{match: {task: "janedoe*"}}]
"""


async def test_a_task_goes_by_its_name_and_id_whoever_owns_it(world: Any) -> None:
    """The tasks of an account all belong to one user: a glob that fits its name must not mean each of them, be it
    in a rule, a protection or a flag."""
    async with world(OF_JANE) as w:
        assert w.apify.username == "janedoe"
        actor = w.apify.add_actor("acme", "maps")
        run = w.apify.start_run(task=w.apify.add_task(actor, "nightly"), usd_per_hour=36)
        other = w.apify.start_run(task=w.apify.add_task(actor, "january"), usd_per_hour=36)
        await w.start()
        [abort] = await w.until_booked(run)
        assert (abort.rule, abort.mode) == ("by-name", Mode.IMMEDIATE)
        assert abort.source == "acme/maps (nightly)"
        await w.until(lambda: bool(w.told(LimitBreached, other)), "the breach of the other")
        assert {each.breach.response for each in w.told(LimitBreached, other)} == {Response.PROTECTED}


async def test_new_names_apply_within_a_minute(world: Any) -> None:
    rules = 'rules: [{name: cap, match: {actor: "acme/new"}, limits: {max_cost_usd: 0.1}}]'
    async with world(rules, speed=50) as w:
        actor = w.apify.add_actor("acme", "old")
        run = w.apify.start_run(actor, usd_per_hour=36)
        await w.start()
        await w.sweeps(2)
        renamed_at = w.clock.monotonic()
        w.apify.rename_actor(actor, "new")
        await w.until(lambda: bool(w.requests("abort", run)), "the abort")
        assert w.clock.monotonic() - renamed_at < 90


async def test_a_reload_looks_names_up_at_once(world: Any) -> None:
    rules = 'rules: [{name: cap, match: {actor: "acme/new"}, limits: {max_cost_usd: 0.1}}]'
    async with world(rules, speed=10) as w:
        actor = w.apify.add_actor("acme", "old")
        run = w.apify.start_run(actor, usd_per_hour=360)
        await w.start()
        w.apify.rename_actor(actor, "new")
        await w.sweeps(1)
        assert not w.requests("abort", run)
        await w.app.reload()
        before = w.clock.monotonic()
        await w.until(lambda: bool(w.requests("abort", run)), "the abort")
        assert w.clock.monotonic() - before < 45


async def test_the_new_name_of_a_squid_applies_though_its_run_is_known(world: Any) -> None:
    rules = 'rules: [{name: cap, match: {squid: "new"}, limits: {max_credits: 1}}]'
    async with world(rules, speed=100) as w:
        squid = w.lobstr.add_squid("old")
        run = w.lobstr.start_run(squid, credits_per_hour=3600, ends_after=None)
        await w.start()
        await w.sweeps(1, account="lobstr")
        w.lobstr.squids[squid].name = "new"
        await w.until_booked(run)


# --- metamorph ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes_act_id", [True, False])
@pytest.mark.parametrize("rule_is_on", ["start", "target"])
async def test_a_rule_on_the_actor_that_started_or_on_the_one_it_became_means_the_run(
    world: Any, changes_act_id: bool, rule_is_on: str
) -> None:
    rules = f'rules: [{{name: cap, match: {{actor: "acme/{rule_is_on}"}}, limits: {{max_cost_usd: 1.0}}}}]'
    async with world(rules, speed=100) as w:
        start, target = w.apify.add_actor("acme", "start"), w.apify.add_actor("acme", "target")
        run, other = w.apify.start_run(start, usd_per_hour=72), w.apify.start_run(w.apify.add_actor(), usd_per_hour=72)
        await w.start()
        await w.sweeps(1)
        w.apify.metamorph(run, target, changes_act_id=changes_act_id)
        await w.until_booked(run)
        assert not other.truth().abort_requests
