"""Aborts against resistance: lost answers, refusals, runs that end by themselves, runs that will not stop."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Mode, Response
from watchdog.domain.notice import AbortChanged, AbortTrouble, InspectionDone, LimitBreached, SavingBooked, Trouble
from watchdog.errors import LedgerError
from watchdog.ledger.memory import MemoryLedger
from watchdog.runtime.clock import FastClock

pytestmark = pytest.mark.anyio

CAP = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 20}}]"


def start_over(w: Any, platform: str, **details: Any) -> Any:
    """A run of this platform that is over its limit soon."""
    if platform == "apify":
        return w.apify.start_run(usd_per_hour=72, **details)
    return w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600, **details)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "lost_answer"},
        {"kind": "half"},
        {"kind": "truncated_json"},
        {"kind": "reset"},
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 502, "body": b"<html>bad gateway</html>"},
        {"kind": "html"},
        {"kind": "redirect"},
        {"kind": "rate_limited", "retry_after_s": 3},
        {"kind": "rate_limited"},
        {"kind": "wrong_types", "fields": {"status": 7}},
        {"kind": "status", "status": 404},
    ],
    ids=lambda fault: "-".join(str(each) for each in fault.values())[:30],
)
async def test_an_abort_without_a_proper_answer_still_stops_the_run_once(world: Any, fault: Any) -> None:
    async with world(CAP) as w:
        runs = start_over(w, "apify"), start_over(w, "lobstr")
        armed = [w.fault(match="abort", times=2, account=account, **fault) for account in (w.apify, w.lobstr)]
        await w.start()
        for run, abort in zip(runs, await w.until_booked(*runs), strict=True):
            assert run.truth().aborted_by_api
            assert abort.state is AbortState.CONFIRMED
            assert abort.requests == run.truth().abort_requests
            assert len(w.told(SavingBooked, run)) == 1
        assert all(each.hits for each in armed)
        assert w.counted("aborts", outcome="confirmed") == 2
        assert w.counted("breaches", response="abort") == 2


async def test_an_abort_that_lobstr_claims_and_ignores_is_not_proven(world: Any) -> None:
    """The answer says `uploading`, the run goes on: nothing is confirmed before a look has shown it."""
    async with world(CAP) as w:
        run = start_over(w, "lobstr")
        w.fault("abort_ignored", "abort", claims_stopped=True, times=1)
        await w.start()
        await w.until(lambda: run.abort_requests == 2, "the second request")
        await w.until_booked(run)
        assert [abort.state for abort in await w.aborts()] == [AbortState.CONFIRMED]
        assert w.counted("aborts", outcome="confirmed") == 1


async def test_a_run_that_ends_between_look_and_abort_is_no_kill(world: Any) -> None:
    async with world(CAP) as w:
        run, squid = start_over(w, "apify"), start_over(w, "lobstr")
        # The platforms hear the abort, and then the run ends before they act on it.
        w.fault("delay", "abort", delay_s=1.5)
        await w.start()
        await w.until(lambda: run.abort_requests + squid.abort_requests == 2, "both abort requests")
        w.apify.finish(run, "SUCCEEDED")
        w.lobstr.finish(squid, "done")
        for abort in await w.until_booked(run, squid):
            assert abort.state is AbortState.ALREADY_FINISHED
            assert abort.saving is None
        assert not run.truth().aborted_by_api
        assert w.counted("aborts", outcome="already_finished") == 2
        assert w.counted("aborts", outcome="confirmed") == 0
        assert w.counted("saved_usd") == 0


async def test_a_run_that_ended_before_the_look_is_not_even_a_breach(world: Any) -> None:
    """The sweep lists it as running and over; the inspection finds it finished."""
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.fault("delay", "run", delay_s=0.1)
        w.build()
        watch = w.watch("apify")
        await watch.sweep()
        w.apify.finish(run, "SUCCEEDED")
        await watch.drain()
        assert not w.told(LimitBreached)
        assert not await w.aborts()
        assert all(watched.over for watched in watch.memory.runs.values())
        (seen,) = w.told(InspectionDone, run)
        assert len(await w.app.ledger.finished_usages(seen.snapshot.source.id)) == 1, "it makes history"


@pytest.mark.parametrize("claims", [False, True])
async def test_an_ignored_abort_is_asked_again_with_growing_pauses(world: Any, claims: bool) -> None:
    async with world(CAP) as w:
        run = start_over(w, "apify")
        ignored = w.fault("abort_ignored", "abort", claims_stopped=claims)
        await w.start()
        await w.until(lambda: run.abort_requests >= 4, "four requests")
        assert w.counted("aborts_unconfirmed", account="apify") == 1
        assert w.counted("aborts") == 0
        assert not w.told(SavingBooked)
        asked = [record.at for record in w.sim.requests if record.endpoint == "abort"]
        pauses = [w.seconds_between(*pair) for pair in pairwise(asked)]
        assert pauses[0] >= 15
        assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses)), pauses
        assert [notice for notice in w.told(AbortTrouble) if "asking again" in notice.message]
        ignored.remove()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert w.counted("aborts_unconfirmed") == 0
        assert len({each.abort.id for each in w.told(AbortChanged)}) == 1


async def test_a_graceful_abort_that_does_not_stop_the_run_becomes_immediate(world: Any) -> None:
    rules = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.5}, resurrect: true}]"
    async with world(rules) as w:
        run = start_over(w, "apify")
        w.fault("abort_ignored", "abort", times=1)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert (abort.asked_mode, abort.mode) == (Mode.GRACEFUL, Mode.IMMEDIATE)
        assert abort.state is AbortState.CONFIRMED
        assert run.truth().graceful is False
        gracefully = [record.query.get("gracefully") for record in w.sim.requests if record.endpoint == "abort"]
        assert gracefully == ["true", None]
        assert w.counted("aborts", mode="immediate", outcome="confirmed") == 1


async def test_a_run_stuck_in_aborting_raises_the_alarm(world: Any) -> None:
    async with world(CAP) as w:
        run = start_over(w, "apify")
        w.fault("abort_stuck", "abort")
        await w.start()
        await w.until(lambda: run.abort_requests >= 3, "asking again")
        assert w.counted("aborts_unconfirmed") == 1
        assert w.counted("aborts") == 0
        w.apify.finish(run, "ABORTED")
        await w.until_booked(run)
        assert w.counted("aborts", outcome="confirmed") == 1


@pytest.mark.parametrize("status", [400, 409])
async def test_a_refused_abort_fails_is_counted_and_is_tried_again(world: Any, status: int) -> None:
    async with world(CAP) as w:
        run, other = start_over(w, "apify"), w.apify.start_run(usd_per_hour=72)
        refusing = w.fault("status", "abort", status=status, run_id=run.id)
        await w.start()
        await w.until(lambda: w.counted("aborts", outcome="failed") == 1, "the failure")
        await w.until_booked(other)
        refusals = run.abort_requests
        assert refusals == 3
        assert [notice for notice in w.told(AbortTrouble, run) if f"HTTP {status}" in notice.message]
        assert run.id in w.watch("apify").memory.runs, "the run stays watched"
        failed_at = w.clock.monotonic()
        refusing.remove()

        async def stopped() -> bool:
            return run.truth().aborted_by_api

        await w.until(stopped, "the next try")
        assert w.clock.monotonic() - failed_at > 40, "not before it has cooled down"
        await w.until(lambda: w.counted("aborts", outcome="confirmed") == 2, "the proof")
        states = [abort.state for abort in await w.aborts() if abort.run_id == run.id]
        assert states == [AbortState.FAILED, AbortState.CONFIRMED]
        await w.until(lambda: len(w.told(SavingBooked, run)) == 1, "the saving")


DENIED = {
    "401": (401, "user-or-token-not-found"),
    "403": (403, "insufficient-permissions"),
    "404": (404, "record-or-token-not-found"),
}


@pytest.mark.parametrize("where", ["abort", "abort|run"])
@pytest.mark.parametrize("denied", DENIED)
async def test_access_denied_is_trouble_with_the_token_and_closes_nothing(world: Any, denied: str, where: str) -> None:
    """Ten minutes of it: one record, which stays open and is told of; once the token is mended it goes on."""
    status, kind = DENIED[denied]
    body = f'{{"error": {{"type": "{kind}", "message": "was not found or access denied"}}}}'.encode()
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.fault("status", "abort", status=status, run_id=run.id, body=body)
        if where != "abort":
            w.fault("status", "run", status=status, run_id=run.id, body=body, after=1)
        await w.start()
        await w.until(lambda: run.abort_requests >= 1, "the first request")
        await w.pass_time(600)
        (abort,) = await w.aborts()
        assert abort.state.is_open
        assert w.counted("aborts_unconfirmed") == 1
        assert w.counted("aborts") == 0
        assert [each for each in w.told(AbortTrouble, run) if f"HTTP {status}" in each.message]
        assert run.abort_requests + w.requests("run", run) <= 60, "at growing distance"
        w.sim.faults.clear()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert len(await w.aborts()) == 1


async def test_a_run_that_is_not_known_for_some_seconds_is_not_given_up(world: Any) -> None:
    """A replica lags behind: the request and three looks say 404, all within five seconds."""
    body = b'{"error": {"type": "record-not-found", "message": "Actor run was not found"}}'
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.fault("status", "abort", status=404, run_id=run.id, body=body, times=1)
        w.fault("status", "run", status=404, run_id=run.id, body=body, after=1, times=4)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert len(await w.aborts()) == 1


async def test_a_run_that_is_definitely_gone_closes_its_record_in_time(world: Any) -> None:
    body = b'{"error": {"type": "record-not-found", "message": "Actor run was not found"}}'
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.fault("status", "abort", status=404, run_id=run.id, body=body)
        w.fault("status", "run", status=404, run_id=run.id, body=body, after=1)
        await w.start()
        await w.until(lambda: w.counted("aborts", outcome="failed") == 1, "the end of the record")
        (abort,) = await w.aborts()
        assert w.seconds_between(abort.history[0].at, abort.history[-1].at) >= 60
        assert w.counted("aborts_unconfirmed") == 0
        await w.pass_time(120)
        assert len(await w.aborts()) == 1, "no second one while it cannot be looked at"


async def test_a_platform_that_asks_to_wait_is_left_alone_by_an_abort(world: Any) -> None:
    """503 with `Retry-After`, for the request as for the looks after it."""
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        wait = {"Retry-After": "40"}
        w.fault("status", "abort", status=503, run_id=run.id, times=1, headers=wait)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.requests == 2
        asked = [record.at for record in w.sim.requests if record.endpoint in ("abort", "run")]
        gaps = [w.seconds_between(*pair) for pair in pairwise(asked)]
        assert 39 <= max(gaps) <= 80, "not before the time is over, and soon after it"


async def test_a_run_resurrected_right_after_its_stop_is_judged_at_once(world: Any) -> None:
    """While the figures of its first abort settle. The first record stays its own, the second one gets the rest."""
    async with world(CAP, apify={"poll_interval": "1s"}) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.audited = False  # the truth of a run knows its last end only
        await w.start()
        stopped = []
        for count in (1, 2, 3):

            async def is_proven(count: int = count) -> bool:
                return [each.state for each in await w.aborts()] == [AbortState.CONFIRMED] * count

            await w.until(is_proven, f"proof number {count}")
            stopped.append(w.clock.monotonic())
            if count < 3:
                w.apify.resurrect(run)
        assert max(later - earlier for earlier, later in pairwise(stopped)) < 30, stopped
        await w.until(lambda: len(w.told(SavingBooked, run)) == 3, "the books on all three")
        records = await w.aborts()
        assert all(each.settled and each.requests == 1 for each in records)
        assert [each.before.resurrect_count for each in records] == [0, 1, 2]
        assert [each.final.resurrect_count for each in records] == [0, 1, 2]


async def test_a_list_that_lags_behind_costs_few_looks(world: Any) -> None:
    """It shows the run that we stopped as running, and over its limit, for a minute."""
    async with world(CAP, apify={"poll_interval": "1s"}) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        other = w.apify.start_run(curve=lambda ran_s: 0.1)
        await w.start()
        await w.until_booked(run)
        looks = w.requests("run", run)
        stale = {"id": run.id, "status": "RUNNING", "usageTotalUsd": 9.0, "finishedAt": None}
        w.fault("bad_item", "list", run_id=other.id, fields=stale)
        await w.pass_time(60)
        assert 3 <= w.requests("run", run) - looks <= 8, "at growing distance"
        assert len(await w.aborts()) == 1


async def test_somebody_elses_abort_is_left_to_work(world: Any) -> None:
    """A run that is ABORTING already is deferred to, and recorded as nothing of ours."""
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.apify.abort_in_console(run, gracefully=True)
        await w.start()
        await w.until(lambda: bool(w.told(LimitBreached, run)), "the breach")
        await w.until(lambda: not run.is_active(), "its end")
        await w.sweeps(6)
        assert {notice.breach.response for notice in w.told(LimitBreached, run)} == {Response.DEFERRED}
        assert not run.truth().abort_requests
        assert not await w.aborts()
        assert w.counted("breaches", response="deferred") == 1
        await w.until(lambda: run.id not in w.watch("apify").memory.runs, "the end of the watch")


async def test_somebody_elses_abort_that_hangs_is_taken_over(world: Any) -> None:
    async with world(CAP) as w:
        run = w.apify.start_run(curve=lambda ran_s: 9.0)
        w.apify.graceful_limit_s = 1e6
        w.apify.abort_escalates = True
        w.apify.abort_in_console(run, gracefully=True)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert abort.mode is Mode.IMMEDIATE


async def test_a_run_resurrected_after_its_abort_is_watched_again(world: Any) -> None:
    rules = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.5}, resurrect: true}]"
    async with world(rules) as w:
        run = start_over(w, "apify", graceful_takes=2)
        await w.start()
        await w.until_booked(run)
        w.apify.resurrect(run)
        w.audited = False  # the truth of a run knows its last end only

        async def twice() -> bool:
            return [each.state for each in await w.aborts()] == [AbortState.CONFIRMED] * 2

        await w.until(twice, "the second abort")
        assert w.counted("aborts", outcome="confirmed") == 2


class ForgetfulLedger(MemoryLedger):
    """Fails for a while, in the ways it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.save_error: Exception | None = None
        self.history_error: Exception | None = None
        self.earlier_error: Exception | None = None

    async def save(self, abort: Any) -> None:
        await super().save(abort)
        error, self.save_error = self.save_error, None
        if error is not None:
            raise error

    async def aborts(self, wanted: Any = None) -> Any:
        if wanted is not None and wanted.run_id and self.earlier_error is not None:
            raise self.earlier_error
        return await (super().aborts() if wanted is None else super().aborts(wanted))

    async def finished_usages(self, source_id: str) -> Any:
        if self.history_error is not None:
            raise self.history_error
        return await super().finished_usages(source_id)


async def test_a_ledger_that_cannot_be_written_does_not_save_the_run(world: Any) -> None:
    async with world(CAP) as w:
        w.ledger = ledger = ForgetfulLedger()
        ledger.save_error = LedgerError("the disk is full")
        ledger.history_error = LedgerError("the disk is still full")
        run = start_over(w, "apify")
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert [notice for notice in w.notices if "the disk is full" in str(notice)], "somebody is told"


async def test_a_fault_of_ours_in_keeping_the_books_does_not_save_the_run(world: Any) -> None:
    async with world(CAP) as w:
        w.ledger = ledger = ForgetfulLedger()
        ledger.save_error = ledger.history_error = ZeroDivisionError("a fault of ours")
        run = start_over(w, "apify")
        other = w.apify.start_run(usd_per_hour=72)
        await w.start()
        await w.until_booked(run, other)
        assert len(await w.aborts()) == 2
        told = [notice for notice in w.told(Trouble) if "internal error in the ledger" in notice.message]
        assert len(told) == 3, "of one record that was not written, and two histories"
        assert w.counted("aborts_unconfirmed") == 0
        assert run.abort_requests == other.abort_requests == 1


async def test_a_fault_of_ours_in_reading_earlier_aborts_leaves_no_record_open(world: Any) -> None:
    async with world(CAP) as w:
        w.ledger = ledger = ForgetfulLedger()
        run = start_over(w, "apify")
        await w.start()
        await w.until_booked(run)
        ledger.earlier_error = ZeroDivisionError("a fault of ours")
        w.apify.resurrect(run)

        async def both_are_booked() -> bool:
            return sum(abort.is_complete for abort in await w.aborts()) == 2

        await w.until(both_are_booked, "the books of the second abort")
        assert [each for each in w.told(Trouble, run) if "internal error in the ledger" in each.message]


async def test_open_aborts_of_the_ledger_are_resolved_by_looking_first(world: Any) -> None:
    """After a crash: one run was never asked, one was stopped, one ended by itself."""
    async with world(CAP) as w:
        before = MemoryLedger()
        w.ledger = before
        runs = [start_over(w, "apify") for _ in range(3)]
        hold = w.fault("status", "abort", status=503)
        await w.start()
        await w.until(lambda: all(run.abort_requests for run in runs), "three intents")
        await w.stop()
        hold.remove()
        assert len(await before.open_aborts()) == 3
        left = [notice for notice in w.told(Trouble) if "not proven" in notice.message]
        assert {notice.run_id for notice in left} == {run.id for run in runs}
        asked = {run.id: run.abort_requests for run in runs}
        w.apify.abort(runs[1], w.sim.clock.elapsed_s(), gracefully=False)  # the lost request had worked
        w.apify.finish(runs[2], "SUCCEEDED")
        await w.forget()
        await w.start()
        first, second, third = await w.until_booked(*runs)
        assert [each.state for each in (first, second, third)] == [
            AbortState.CONFIRMED,
            AbortState.CONFIRMED,
            AbortState.ALREADY_FINISHED,
        ]
        assert runs[0].abort_requests > asked[runs[0].id]
        assert [run.abort_requests for run in runs[1:]] == [asked[run.id] for run in runs[1:]]
        assert len(await w.aborts()) == 3


class SteppedClock(FastClock):
    """A wall clock that can be set."""

    step = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.step


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(days=31), timedelta(hours=-1)])
async def test_a_step_of_the_wall_clock_is_no_patience_that_has_passed(world: Any, step: timedelta) -> None:
    """A graceful abort has its 30 s, and no more, whatever the wall clock is set to meanwhile."""
    rules = "rules: [{name: cap, limits: {max_cost_usd: 0.5}, resurrect: true}]"
    async with world(rules, speed=20) as w:
        clock = w.clock = SteppedClock(20, w.clock.now())
        run = w.apify.start_run(usd_per_hour=360, graceful_takes=20)
        await w.start()
        await w.until(lambda: bool(w.requests("abort", run)), "the request")
        clock.step = step
        [abort] = await w.until_booked(run)
        assert (abort.mode, abort.requests, abort.state) == (Mode.GRACEFUL, 1, AbortState.CONFIRMED)
        assert run.truth().graceful


@pytest.mark.parametrize("secret", ["20", "T", "confirmed"])
async def test_no_secret_keeps_a_run_from_being_stopped(world: Any, secret: str) -> None:
    """Somebody's password may be a part of every time, or a word of ours."""
    async with world(CAP) as w:
        w.audited = False  # pages of metrics hide it, too
        w.build().net.redactor.add(secret)
        run = start_over(w, "apify")
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        assert not [each for each in w.told(AbortTrouble) if "internal error" in each.message]
