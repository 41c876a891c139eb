"""The life of an abort as a pure state machine: what to do next, and what each outcome makes of the record.

    intended → requested → confirmed | already_finished | failed

The enforcer asks `next_step`, does it, and feeds what happened to one of the functions named after what happened; the
record in between is always complete, so that it can be stored after every step and taken up again by another process.
The table of states and transitions is in docs/escalation.md. How the record is opened stands in `opening`, what an
abort is while it is carried out in `pursuit`, how long it waits in `patience`, what comes after the proof in
`settling`, and when a list of ended runs does for a look in `ends`.

Rules of safety behind it: the record exists before any request; a lost answer may have worked, so the run is looked at
before anything is asked again; every request but the first directly follows a look that showed the run active; an
answer is not a stop, so the run is followed until it is over; a graceful abort that outlives the platform's window
becomes an immediate one. The newest look decides whether anything is asked (again): a reason that it no longer shows
takes the decision back, and one that it cannot tell asks nothing. Only definite refusals of every request, a platform
that definitely knows the run no more, or a withdrawal end the pursuit of a run that may still spend; access denied is
trouble with the token, and ends nothing.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from watchdog.domain.decision import Abort, AbortState, Mode
from watchdog.domain.override import MANUAL
from watchdog.domain.run import RunState, Snapshot, replace
from watchdog.engine.grounds import ASKED_FOR, STAND, Ground, Grounds
from watchdog.engine.patience import again_later, grace_ends, growing, look_by, patience_ends, pause
from watchdog.engine.pursuit import Do, Pace, Pursuit, Step, took_effect
from watchdog.engine.settling import awaits_figures, give_up_settling, settle_later, settled_at, take_figures
from watchdog.errors import CredentialsRefused, Gone, PlatformError, Unreachable

#: Longest wait that a platform's "slow down" is taken at its word for, in seconds; no shorter than `net` pauses for.
POSTPONE_MAX_S = 900.0
#: After this many refusals in a row the abort is closed as failed; the run stays watched.
REFUSALS_MAX = 3
#: After this many "no such run" answers in a row, over so many seconds, nothing can be proven any more. A platform's
#: replicas may not know a new run for some seconds.
GONE_MAX = 3
GONE_S = 60.0
#: So long may the newest looks not tell whether the run is still to be stopped; then that is left to the watch, in
#: seconds.
UNKNOWN_MAX_S = 300.0
#: After an accepted request, a run that by the newest look is not to be stopped is followed for so long, in seconds:
#: the request may still stop it.
FOLLOW_S = 60.0
#: Longest pause while access to the run is denied, in seconds: somebody is mending the token.
DENIED_MAX_S = 60.0


def begin(abort: Abort, now: datetime, *, resumed: bool = False) -> Pursuit:
    """Take an abort up: one just opened asks at once, since its run was inspected a moment ago; one found in the
    ledger (`resumed`) is resolved by looking at the run first."""
    return Pursuit(_not_in_the_future(abort, now), due=now, must_look=resumed, since=now)


def next_step(pursuit: Pursuit, now: datetime, pace: Pace) -> Step:
    """What the abort needs next, and when."""
    abort, due = pursuit.abort, pursuit.due
    if pursuit.since is not None and now < pursuit.since:
        # The clock was set back: keep the pause, not the hour.
        due = now + (due - pursuit.since)
    if abort.is_complete:
        return Step(Do.NOTHING, now)
    if not abort.state.is_open:
        return Step(Do.LOOK, max(due, settled_at(abort, now, pace)))
    return Step(Do.LOOK if pursuit.must_look else Do.REQUEST, due)


def _not_in_the_future(abort: Abort, now: datetime) -> Abort:
    """The record with no request later than now, should the clock have been set back: patience must end one day."""
    if abort.requested_at is None or abort.requested_at <= now:
        return abort
    return replace(abort, requested_at=now)


def escalates(pursuit: Pursuit) -> bool:
    """Whether the next request is no longer a graceful one because that did not stop the run."""
    return pursuit.abort.state is AbortState.REQUESTED and pursuit.abort.mode is Mode.GRACEFUL and took_effect(pursuit)


def requesting(pursuit: Pursuit, now: datetime) -> Pursuit:
    """The record as it must be stored before a request leaves: counted, timed, and escalated if it is time. Should the
    process end before the outcome is stored, it reads as a request whose answer was lost."""
    abort = pursuit.abort
    counted = replace(abort, requests=abort.requests + 1, requested_at=now)
    if escalates(pursuit):
        counted = _escalated(counted, now)
    return replace(pursuit, abort=counted, must_look=True, asked_before=abort.requested_at)


def _escalated(abort: Abort, now: datetime) -> Abort:
    return abort.advance(abort.state, now, "escalated to immediate: still not stopped", mode=Mode.IMMEDIATE)


def answered(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace) -> Pursuit:
    """The platform answered 200 and showed the run. That is its word and no proof: even if it says that the run is
    over, only a look shows it."""
    abort = replace(
        pursuit.abort, effective_requests=pursuit.abort.effective_requests + 1, refusals=0, requested_at=now
    )
    after = replace(_asked(abort, now, pace, f"answered with status {seen.status}"), answer=seen)
    return after if seen.state.is_active else replace(after, due=now)


def unanswered(pursuit: Pursuit, error: PlatformError, now: datetime, pace: Pace) -> Pursuit:
    """No proper answer came. If the request may have arrived, it may have worked: look before anything else."""
    if isinstance(error, Unreachable) and not error.maybe_done:
        return again_later(_void(pursuit), now, pace)
    after = _asked(replace(pursuit.abort, requested_at=now), now, pace, f"answer lost: {error}")
    return _no_sooner(after, now, error)


def _void(pursuit: Pursuit) -> Pursuit:
    """The last request provably had no effect: what counts is still the one before it."""
    abort = pursuit.abort
    return replace(
        pursuit,
        abort=replace(abort, void_requests=abort.void_requests + 1, requested_at=pursuit.asked_before),
    )


def postponed(pursuit: Pursuit, now: datetime, seconds: float, pace: Pace | None = None) -> Pursuit:
    """The platform asked to wait (429): the request had no effect, and after the wait the run is seen afresh first.

    A platform that says to wait 0 s, time and again, is asked at growing distance all the same.
    """
    pace = pace or Pace()
    least_s = growing(pace.look_first_s, pursuit.abort.requests - 1, pace.look_max_s)
    return pause(_void(pursuit), now, max(least_s, min(seconds, POSTPONE_MAX_S)), must_look=True)


def is_denied(error: PlatformError) -> bool:
    """Whether the platform may only be keeping us out: trouble with the token, which says nothing about the run."""
    if isinstance(error, Gone):
        return error.maybe_denied
    return isinstance(error, CredentialsRefused)


def _asked_to_wait_s(error: PlatformError | None) -> float:
    """For how long the platform wants to be left alone, in seconds, as far as that is believed."""
    asked = error.retry_after if error is not None else None
    return min(max(0.0, asked or 0.0), POSTPONE_MAX_S)


def _no_sooner(pursuit: Pursuit, now: datetime, error: PlatformError | None) -> Pursuit:
    """Nothing happens before the time that the platform asked for."""
    return replace(pursuit, due=max(pursuit.due, now + timedelta(seconds=_asked_to_wait_s(error))))


def no_longer_abortable(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The platform says there is no such run to abort (404): most likely it is over, which only a look can tell."""
    if pursuit.abort.requests > 1:
        return again_later(_void(pursuit), now, pace)
    return pause(_void(pursuit), now, 0.0, must_look=True)


def refused(pursuit: Pursuit, error: PlatformError, now: datetime, pace: Pace) -> Pursuit:
    """The platform will not do it (4xx). After a few refusals the abort has failed, unless an earlier request was
    accepted: then the run may well be stopping, and is followed. Access denied (401, 403) is no such refusal: once the
    token is mended, the same request works."""
    if is_denied(error):
        return again_later(_void(pursuit), now, pace, DENIED_MAX_S)
    abort = _void(pursuit).abort
    abort = replace(abort, refusals=pursuit.abort.refusals + 1)
    if abort.refusals >= REFUSALS_MAX and abort.effective_requests == 0:
        return replace(pursuit, abort=abort.advance(AbortState.FAILED, now, f"refused: {error}"))
    return again_later(replace(pursuit, abort=abort), now, pace)


def _asked(abort: Abort, now: datetime, pace: Pace, note: str) -> Pursuit:
    due = now + timedelta(seconds=pace.look_first_s)
    return Pursuit(abort.advance(AbortState.REQUESTED, now, note), due=due, must_look=True, since=now)


def looked(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace, grounds: Grounds = STAND) -> Pursuit:
    """The run was seen again: over, still going, or (once stopped) with settled figures. `grounds`: how the reason of
    the abort stands by this look, where `is_in_question` says that it matters."""
    abort = _not_in_the_future(pursuit.abort, now)
    if not abort.state.is_open:
        return take_figures(replace(pursuit, abort=abort), seen, now, pace)
    pursuit = replace(pursuit, abort=abort, looks=pursuit.looks + 1, gone=0)
    if seen.state.is_active and not _was_resurrected(abort, seen):
        return _still_active(pursuit, seen, now, pace, grounds)
    if _end_is_unclear(abort, seen):
        return pause(pursuit, now, growing(pace.look_first_s, pursuit.looks, 6 * pace.look_max_s), must_look=True)
    return _close(pursuit, seen, now)


def is_in_question(pursuit: Pursuit, seen: Snapshot) -> bool:
    """Whether this look can take the decision back: the run goes on, and nothing that was asked shows. What a person
    asked for needs no reason, and a run that is being stopped is seen through."""
    abort = pursuit.abort
    untouched = seen.state.is_active and seen.state is not RunState.ABORTING
    return untouched and abort.state.is_open and abort.rule != MANUAL and not _was_resurrected(abort, seen)


_RAISED = "raised to immediate: a later step is reached"


def was_raised(abort: Abort) -> bool:
    """Whether that was the last that became of it, so that its next request is no sign of trouble."""
    return bool(abort.history) and abort.history[-1].note == _RAISED


def may_be_raised(pursuit: Pursuit, seen: Snapshot) -> bool:
    """Whether a step of a rule that this look shows to be reached can make the abort an immediate one."""
    abort = pursuit.abort
    graceful = abort.state.is_open and abort.mode is Mode.GRACEFUL
    return graceful and seen.state.is_active and not _was_resurrected(abort, seen)


def _was_resurrected(abort: Abort, seen: Snapshot) -> bool:
    """Whether the run was over since the abort was decided on: it is active, but by another resurrection."""
    before, after = abort.before.resurrect_count, seen.resurrect_count
    return before is not None and after is not None and after > before


def _may_be_resurrected(pursuit: Pursuit, seen: Snapshot) -> bool:
    """Whether an accepted request may have stopped the run, and its owner have brought it back since: the count that
    would tell is lacking in one of both looks."""
    before, after = pursuit.abort.before.resurrect_count, seen.resurrect_count
    if not took_effect(pursuit):
        return False
    return bool(after) if before is None else after is None


def _end_is_unclear(abort: Abort, seen: Snapshot) -> bool:
    """Whether the run no longer spends but may have been ending by itself when a request of ours may have arrived;
    its final state will say."""
    return seen.state is RunState.STOPPED and seen.end_reason is None and abort.may_have_arrived


def _still_active(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace, grounds: Grounds) -> Pursuit:
    """Ask (again) if it is time and still right, else look again in a while."""
    abort = pursuit.abort
    if is_in_question(pursuit, seen):
        if grounds.ground is Ground.FALLEN:
            return _fallen(pursuit, now, pace, grounds.why)
        if grounds.ground is Ground.UNKNOWN:
            return _unknown(pursuit, now, pace, grounds.why)
        if grounds is not ASKED_FOR and _may_be_resurrected(pursuit, seen):
            return _unknown(pursuit, now, pace, "whether it was resurrected meanwhile")
    pursuit = replace(pursuit, unknown_since=None)
    if grounds.at_once and may_be_raised(pursuit, seen):
        abort = abort.advance(abort.state, now, _RAISED, mode=Mode.IMMEDIATE)
        return pause(replace(pursuit, abort=abort), now, 0.0, must_look=False)
    if not took_effect(pursuit):
        if seen.state is not RunState.ABORTING:
            return _untouched(pursuit, now, pace)
        if not abort.may_have_arrived:
            return _yield(pursuit, now, pace)
        # An answer was lost but the platform is stopping the run: the request did arrive.
        note = "the run is being aborted: the request did arrive"
        asked_at = abort.requested_at or now
        abort = abort.advance(AbortState.REQUESTED, now, note, effective_requests=1, requested_at=asked_at)
        pursuit = replace(pursuit, abort=abort)
    ask_at = patience_ends(abort, abort.requested_at or now, pace)
    if now >= ask_at:
        return pause(pursuit, now, 0.0, must_look=False)
    return look_by(pursuit, now, ask_at, pace)


def _fallen(pursuit: Pursuit, now: datetime, pace: Pace, why: str) -> Pursuit:
    """By the newest look the run is not to be stopped: nothing is asked. The record is closed, but not while a request
    that may have arrived may still stop the run."""
    pursuit, abort = replace(pursuit, unknown_since=None), pursuit.abort
    if abort.may_have_arrived and abort.requested_at is not None:
        follow_s = pace.slack_s + (pace.window_s if abort.mode is Mode.GRACEFUL else 0.0)
        follow_s = max(follow_s, FOLLOW_S) if took_effect(pursuit) else follow_s
        until = abort.requested_at + timedelta(seconds=follow_s)
        if now < until:
            return look_by(pursuit, now, until, pace)
    return withdrawn(pursuit, now, why)


def _unknown(pursuit: Pursuit, now: datetime, pace: Pace, what: str) -> Pursuit:
    """The newest look does not tell whether the run is still to be stopped. That is never a reason to ask, and one
    figure that is lacking none to give up the record: look again, but not for ever."""
    since = min(pursuit.unknown_since or now, now)
    if (now - since).total_seconds() >= UNKNOWN_MAX_S:
        return withdrawn(pursuit, now, f"not known for {UNKNOWN_MAX_S:.0f} s: {what}; the run stays watched")
    pause_s = growing(pace.look_first_s, pursuit.looks - 1, 3 * pace.look_max_s)
    return pause(replace(pursuit, unknown_since=since), now, pause_s, must_look=True)


def _untouched(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """No request has had an effect so far: ask (again), at growing distance if answers keep getting lost."""
    abort = pursuit.abort
    if abort.requested_at is not None:
        pause_s = growing(pace.look_first_s, abort.requests - 1, pace.retry_max_s)
        ask_at = abort.requested_at + timedelta(seconds=pause_s)
        if now < ask_at:
            return look_by(pursuit, now, ask_at, pace)
    if abort.mode is Mode.GRACEFUL and now >= grace_ends(abort, now, pace):
        pursuit = replace(pursuit, abort=_escalated(abort, now))
    return pause(pursuit, now, 0.0, must_look=False)


def _yield(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """Somebody else is aborting the run: let that work for as long as one of ours might take, then ask ourselves.
    An abort that was opened because such a one is overdue does not wait again."""
    since = min(pursuit.yielded_at or now, now)
    ask_at = since + timedelta(seconds=pace.window_s + pace.slack_s)
    if pursuit.abort.before.state is RunState.ABORTING or now >= ask_at:
        return pause(pursuit, now, 0.0, must_look=False)
    return replace(look_by(pursuit, now, ask_at, pace), yielded_at=since)


def look_failed(pursuit: Pursuit, now: datetime, pace: Pace, error: PlatformError | None = None) -> Pursuit:
    """The run could not be looked at this time."""
    if awaits_figures(pursuit, now):
        return settle_later(pursuit, now, pace)
    most_s = DENIED_MAX_S if error is not None and is_denied(error) else pace.look_max_s
    pause_s = growing(pace.look_first_s, pursuit.looks, most_s)
    after = pause(replace(pursuit, looks=pursuit.looks + 1), now, pause_s, must_look=True)
    return _no_sooner(after, now, error)


def not_found(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The platform definitely does not know the run (any more): in time, nothing about it can be proven."""
    gone, since = pursuit.gone + 1, min(pursuit.gone_since or now, now) if pursuit.gone else now
    pursuit = replace(pursuit, gone=gone, gone_since=since)
    abort = pursuit.abort
    if gone < GONE_MAX or (abort.state.is_open and (now - since).total_seconds() < GONE_S):
        return look_failed(pursuit, now, pace)
    if not abort.state.is_open:
        return give_up_settling(pursuit)
    return replace(pursuit, abort=abort.advance(AbortState.FAILED, now, "the platform no longer knows the run"))


def withdrawn(pursuit: Pursuit, now: datetime, note: str) -> Pursuit:
    """The run goes on, nothing that was asked had an effect, and by the newest look it is not to be stopped."""
    return replace(pursuit, abort=pursuit.abort.advance(AbortState.WITHDRAWN, now, note))


def _close(pursuit: Pursuit, seen: Snapshot, now: datetime) -> Pursuit:
    abort = pursuit.abort
    if seen.state.is_active:
        ours, stopped_at, note = took_effect(pursuit), now, "the run ended and was resurrected since"
    else:
        ours = _ended_by_abort(seen) and abort.may_have_arrived and not _had_ended(abort, seen)
        stopped_at = seen.finished_at or now
        note = f"run is {seen.status}"
    state = AbortState.CONFIRMED if ours else AbortState.ALREADY_FINISHED
    closed = abort.advance(state, now, note, stopped_at=stopped_at, final=seen)
    return replace(pursuit, abort=closed, due=now, since=now, looks=0, must_look=False, gone=0)


def _had_ended(abort: Abort, seen: Snapshot) -> bool:
    """Whether the run had come to this very end before we asked: a status that this version does not know hid it."""
    return seen.finished_at is not None and seen.finished_at == abort.before.finished_at


def _ended_by_abort(seen: Snapshot) -> bool:
    """Whether the end was an abort. `stopped` (no longer collecting) says so by its reason, or does not know yet."""
    if seen.state in (RunState.STOPPED, RunState.ABORTED):
        return seen.end_reason in (None, "aborted")
    return False
