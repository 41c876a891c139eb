"""The life of an abort as a pure state machine: what to do next, and what each outcome makes of the record.

    intended → requested → confirmed | already_finished | failed

The enforcer asks `next_step`, does it, and feeds what happened to one of the functions named after what happened; the
record in between is always complete, so that it can be stored after every step and taken up again by another process.
The table of states and transitions is in docs/escalation.md.

Rules of safety behind it: the record exists before any request; a lost answer may have worked, so the run is looked at
before anything is asked again; an answer is not a stop, so the run is followed until it is over; a graceful abort that
outlives the platform's window becomes an immediate one; an abort is never given up while the run can still spend.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from watchdog.domain.decision import Abort, AbortState, Decision, Mode, reason_text
from watchdog.domain.override import MANUAL
from watchdog.domain.run import RunState, Snapshot
from watchdog.errors import PlatformError, Unreachable

#: After this many refusals in a row the abort is closed as failed; the run stays watched.
REFUSALS_MAX = 3
#: After this many "no such run" answers in a row nothing can be proven any more.
GONE_MAX = 3


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient to be with a platform, in seconds.

    `window_s`: what the platform grants a graceful abort; `slack_s`: what it may take to act on a request;
    `settle_s`: how long figures change after the end; `look_first_s`, `look_max_s`: pauses between two looks grow from
    one to the other; `retry_max_s`: the longest pause between two requests.
    """

    window_s: float = 30.0
    slack_s: float = 15.0
    settle_s: float = 10.0
    look_first_s: float = 1.0
    look_max_s: float = 10.0
    retry_max_s: float = 300.0


class Do(Enum):
    """What an abort needs next."""

    REQUEST = "request"
    LOOK = "look"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """The next thing to do and the earliest time for it (UTC)."""

    do: Do
    at: datetime


@dataclass(frozen=True, slots=True)
class Pursuit:
    """An abort being carried out: the record, and what only matters while the process lives.

    `looks` counts looks since the last request; `due` is the earliest time of the next step; `gone` counts "no such
    run" answers in a row; `must_look`: ask nothing before the run has been seen again.
    """

    abort: Abort
    due: datetime
    looks: int = 0
    gone: int = 0
    must_look: bool = False


def open_abort(
    decision: Decision, abort_id: str, now: datetime, detected_at: datetime, used_at_detection: float | None = None
) -> Abort:
    """The record of a decision to abort, before anything is done about it. `used_at_detection` is the figure that
    raised the suspicion, if it was another than the inspection's."""
    if decision.abort is None:
        raise ValueError("the decision is not to abort")
    verdict, run = decision.abort.verdict, decision.snapshot
    used = verdict.used or 0.0
    return Abort(
        id=abort_id,
        account=run.account,
        platform=run.platform,
        run_id=run.run_id,
        source=run.source.label,
        rule=verdict.rule.name,
        limit=verdict.kind,
        limit_value=verdict.limit,
        used_at_detection=used if used_at_detection is None else used_at_detection,
        detected_at=detected_at,
        asked_mode=decision.mode,
        mode=decision.mode,
        state=AbortState.INTENDED,
        history=(),
        before=run,
        used_at_request=used,
        reason=reason_text(verdict),
    ).advance(AbortState.INTENDED, now)


def open_by_hand(run: Snapshot, mode: Mode, reason: str, abort_id: str, now: datetime) -> Abort:
    """The record of an abort that somebody asked for: booked on the rule `manual`, with no limit."""
    return Abort(
        id=abort_id,
        account=run.account,
        platform=run.platform,
        run_id=run.run_id,
        source=run.source.label,
        rule=MANUAL,
        limit=None,
        limit_value=0.0,
        used_at_detection=0.0,
        detected_at=now,
        asked_mode=mode,
        mode=mode,
        state=AbortState.INTENDED,
        history=(),
        before=run,
        reason=f"stopped by hand: {reason}" if reason else "stopped by hand",
    ).advance(AbortState.INTENDED, now)


def begin(abort: Abort, now: datetime, *, resumed: bool = False) -> Pursuit:
    """Take an abort up: one just opened asks at once, since its run was inspected a moment ago; one found in the
    ledger (`resumed`) is resolved by looking at the run first."""
    return Pursuit(abort, due=now, must_look=resumed)


def next_step(pursuit: Pursuit, now: datetime, pace: Pace) -> Step:
    """What the abort needs next, and when."""
    abort = pursuit.abort
    if abort.is_complete:
        return Step(Do.NOTHING, now)
    if not abort.state.is_open:
        return Step(Do.LOOK, max(pursuit.due, _settled_at(abort, pace)))
    if pursuit.must_look:
        return Step(Do.LOOK, pursuit.due)
    if abort.state is AbortState.INTENDED:
        return Step(Do.REQUEST, pursuit.due)
    again_at = _patience_ends(abort, pace)
    if pursuit.due >= again_at:
        return Step(Do.REQUEST, again_at)
    return Step(Do.LOOK, pursuit.due)


def _settled_at(abort: Abort, pace: Pace) -> datetime:
    if abort.stopped_at is None:
        return abort.history[-1].at
    return abort.stopped_at + timedelta(seconds=pace.settle_s)


def _patience_ends(abort: Abort, pace: Pace) -> datetime:
    """When a request that has not stopped the run is followed by another."""
    if abort.requested_at is None:
        return abort.history[-1].at
    if abort.mode is Mode.GRACEFUL:
        patience = pace.window_s + pace.slack_s
    else:
        patience = min(pace.retry_max_s, pace.slack_s * 2 ** max(0, abort.effective_requests - 1))
    return abort.requested_at + timedelta(seconds=patience)


def escalates(pursuit: Pursuit) -> bool:
    """Whether the next request is no longer a graceful one because that did not stop the run."""
    return pursuit.abort.state is AbortState.REQUESTED and pursuit.abort.mode is Mode.GRACEFUL and _took_effect(pursuit)


def _took_effect(pursuit: Pursuit) -> bool:
    return pursuit.abort.effective_requests > 0


def requesting(pursuit: Pursuit, now: datetime) -> Pursuit:
    """The record as it must be stored before a request leaves: counted, and escalated if it is time."""
    abort = pursuit.abort
    counted = replace(abort, requests=abort.requests + 1)
    if escalates(pursuit):
        counted = counted.advance(abort.state, now, "escalated to immediate: still not stopped", mode=Mode.IMMEDIATE)
    return replace(pursuit, abort=counted, must_look=True)


def answered(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace) -> Pursuit:
    """The platform answered 200 and showed the run."""
    abort = replace(
        pursuit.abort, effective_requests=pursuit.abort.effective_requests + 1, refusals=0, requested_at=now
    )
    if not seen.state.is_active:
        return _close(replace(pursuit, abort=abort), seen, now)
    return _asked(replace(pursuit, abort=abort), now, pace, f"answered with status {seen.status}")


def unanswered(pursuit: Pursuit, error: PlatformError, now: datetime, pace: Pace) -> Pursuit:
    """No proper answer came. If the request may have arrived, it may have worked: look before anything else."""
    if isinstance(error, Unreachable) and not error.maybe_done:
        return _again_later(pursuit, now, pace)
    return _asked(replace(pursuit, abort=replace(pursuit.abort, requested_at=now)), now, pace, f"answer lost: {error}")


def postponed(pursuit: Pursuit, now: datetime, seconds: float) -> Pursuit:
    """The platform asked to wait (429): the request had no effect, and after the wait the run is seen afresh first."""
    return replace(pursuit, due=now + timedelta(seconds=seconds), must_look=True)


def no_longer_abortable(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The platform says there is no such run to abort (404): most likely it is over, which only a look can tell."""
    return _again_later(pursuit, now, pace) if pursuit.looks else replace(pursuit, due=now, must_look=True)


def refused(pursuit: Pursuit, error: PlatformError, now: datetime, pace: Pace) -> Pursuit:
    """The platform will not do it (4xx). After a few refusals the abort has failed."""
    abort = replace(pursuit.abort, refusals=pursuit.abort.refusals + 1)
    if abort.refusals >= REFUSALS_MAX:
        return replace(pursuit, abort=abort.advance(AbortState.FAILED, now, f"refused: {error}"))
    return _again_later(replace(pursuit, abort=abort), now, pace)


def _again_later(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    pause = min(pace.retry_max_s, pace.look_first_s * 2 ** min(pursuit.abort.requests, 10))
    return replace(pursuit, due=now + timedelta(seconds=pause), must_look=True)


def _asked(pursuit: Pursuit, now: datetime, pace: Pace, note: str) -> Pursuit:
    abort = pursuit.abort.advance(AbortState.REQUESTED, now, note)
    return Pursuit(abort, due=now + timedelta(seconds=pace.look_first_s), must_look=True)


def looked(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace) -> Pursuit:
    """The run was seen again: over, still going, or (once stopped) with settled figures."""
    abort = pursuit.abort
    if not abort.state.is_open:
        return replace(pursuit, abort=replace(abort, final=seen, settled=True))
    if not seen.state.is_active:
        return _close(pursuit, seen, now)
    return _still_active(pursuit, seen, now, pace)


def _still_active(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace) -> Pursuit:
    abort = pursuit.abort
    untouched = seen.state is not RunState.ABORTING
    if not _took_effect(pursuit) and not untouched:
        # An answer was lost but the platform is stopping the run: the request did arrive.
        abort = replace(abort, effective_requests=1, state=AbortState.REQUESTED, requested_at=abort.requested_at or now)
    elif not _took_effect(pursuit):
        # No request has had an effect so far, and this look is fresh: ask (again).
        return replace(
            pursuit,
            abort=replace(abort, requested_at=None),
            due=now,
            looks=pursuit.looks + 1,
            must_look=False,
            gone=0,
        )
    due = _next_look(pursuit, abort, now, pace)
    return replace(pursuit, abort=abort, due=due, looks=pursuit.looks + 1, must_look=False, gone=0)


def _next_look(pursuit: Pursuit, abort: Abort, now: datetime, pace: Pace) -> datetime:
    """After a growing pause; but not past the moment at which the platform itself ends a graceful abort."""
    due = now + timedelta(seconds=_look_pause(pursuit, pace))
    if abort.mode is not Mode.GRACEFUL or abort.requested_at is None:
        return due
    forced_at = abort.requested_at + timedelta(seconds=pace.window_s + pace.look_first_s)
    return min(due, forced_at) if now < forced_at else due


def _look_pause(pursuit: Pursuit, pace: Pace) -> float:
    return float(min(pace.look_max_s, pace.look_first_s * 2 ** min(pursuit.looks, 10)))


def look_failed(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The run could not be looked at this time."""
    due = now + timedelta(seconds=_look_pause(pursuit, pace))
    return replace(pursuit, due=due, looks=pursuit.looks + 1)


def not_found(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The platform does not know the run any more, so nothing about it can be proven."""
    gone = pursuit.gone + 1
    if gone < GONE_MAX:
        return look_failed(replace(pursuit, gone=gone), now, pace)
    abort = pursuit.abort
    if not abort.state.is_open:
        return replace(pursuit, abort=replace(abort, settled=True), gone=gone)
    return replace(
        pursuit, abort=abort.advance(AbortState.FAILED, now, "the platform no longer knows the run"), gone=gone
    )


def is_undone(pursuit: Pursuit) -> bool:
    """Whether nothing has been done to the run so far, so that the decision can still be taken back."""
    return pursuit.abort.state.is_open and pursuit.abort.rule != MANUAL and not _took_effect(pursuit)


def withdrawn(pursuit: Pursuit, now: datetime, note: str) -> Pursuit:
    """The run was seen again before any request had an effect, and the rules or people no longer want it stopped."""
    return replace(pursuit, abort=pursuit.abort.advance(AbortState.FAILED, now, f"withdrawn: {note}"))


def give_up_settling(pursuit: Pursuit) -> Pursuit:
    """The stop is proven but its final figures cannot be had: keep the last ones seen."""
    return replace(pursuit, abort=replace(pursuit.abort, settled=True))


def _close(pursuit: Pursuit, seen: Snapshot, now: datetime) -> Pursuit:
    abort = pursuit.abort
    ours = _ended_by_abort(seen) and abort.requests > 0
    state = AbortState.CONFIRMED if ours else AbortState.ALREADY_FINISHED
    closed = abort.advance(state, now, f"run is {seen.status}", stopped_at=seen.finished_at or now, final=seen)
    return replace(pursuit, abort=closed, due=now, looks=0, must_look=False, gone=0)


def _ended_by_abort(seen: Snapshot) -> bool:
    """Whether the end was an abort. `stopped` (no longer collecting) says so by its reason, or does not know yet."""
    if seen.state is RunState.STOPPED:
        return seen.end_reason in (None, "aborted")
    return seen.state is RunState.ABORTED
