"""The life of an abort as a pure state machine: what to do next, and what each outcome makes of the record.

    intended → requested → confirmed | already_finished | failed

The enforcer asks `next_step`, does it, and feeds what happened to one of the functions named after what happened; the
record in between is always complete, so that it can be stored after every step and taken up again by another process.
The table of states and transitions is in docs/escalation.md.

Rules of safety behind it: the record exists before any request; a lost answer may have worked, so the run is looked at
before anything is asked again; every request but the first directly follows a look that showed the run active; an
answer is not a stop, so the run is followed until it is over; a graceful abort that outlives the platform's window
becomes an immediate one. The newest look decides whether anything is asked (again): a reason that it no longer shows
takes the decision back, and one that it cannot tell asks nothing. Only definite refusals of every request, a platform
that definitely knows the run no more, or a withdrawal end the pursuit of a run that may still spend; access denied is
trouble with the token, and ends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from watchdog.domain.decision import Abort, AbortState, Decision, Mode, reason_text
from watchdog.domain.meter import Meter
from watchdog.domain.override import MANUAL
from watchdog.domain.platform import PlatformTraits
from watchdog.domain.run import RunState, Snapshot, replace
from watchdog.engine.grounds import ASKED_FOR, STAND, Ground, Grounds
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
#: Figures that the platform itself calls not final are waited for so long after the proof of the stop, and looked at so
#: often at least, in seconds.
SETTLING_MAX_S = 86_400.0
SETTLING_LOOK_MAX_S = 3_600.0


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

    `due` is the earliest time of the next step, set at `since`; `looks` counts looks since the last request that may
    have arrived, `settling_looks` those that showed figures not final yet; `gone` counts "no such run" answers in a
    row, the first of them at `gone_since`; `must_look`: the next step is a look; `yielded_at`: since when somebody
    else's abort of the run is given its time; `asked_before`: when the request before the last one was sent;
    `unknown_since`: since when looks do not tell whether the run is still to be stopped; `answer`: the run as the last
    accepted request was answered.
    """

    abort: Abort
    due: datetime
    looks: int = 0
    gone: int = 0
    must_look: bool = False
    since: datetime | None = None
    yielded_at: datetime | None = None
    asked_before: datetime | None = None
    gone_since: datetime | None = None
    unknown_since: datetime | None = None
    settling_looks: int = 0
    answer: Snapshot | None = None


def open_abort(
    decision: Decision,
    abort_id: str,
    now: datetime,
    detected_at: datetime,
    used_at_detection: float | None = None,
    platform: PlatformTraits | None = None,
) -> Abort:
    """The record of a decision to abort, before anything is done about it. `used_at_detection` is the figure that
    raised the suspicion, if it was another than the inspection's; `platform` has the words for the reason."""
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
        projected=verdict.projected,
        reason=reason_text(verdict, platform),
        step_at=verdict.step.at,
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
        return Step(Do.LOOK, max(due, _settled_at(abort, now, pace)))
    return Step(Do.LOOK if pursuit.must_look else Do.REQUEST, due)


def _settled_at(abort: Abort, now: datetime, pace: Pace) -> datetime:
    """When final figures can be had. Counted from our seeing the end, as the platform's clock may differ."""
    return min(abort.history[-1].at, now) + timedelta(seconds=pace.settle_s)


def _not_in_the_future(abort: Abort, now: datetime) -> Abort:
    """The record with no request later than now, should the clock have been set back: patience must end one day."""
    if abort.requested_at is None or abort.requested_at <= now:
        return abort
    return replace(abort, requested_at=now)


def _patience_ends(abort: Abort, requested_at: datetime, pace: Pace) -> datetime:
    """When a request that the platform accepted and that has not stopped the run is followed by another."""
    if abort.mode is Mode.GRACEFUL:
        patience = pace.window_s + pace.slack_s
    else:
        patience = _growing(pace.slack_s, abort.requests - abort.void_requests - 1, pace.retry_max_s)
    return requested_at + timedelta(seconds=patience)


def _growing(first_s: float, times: int, most_s: float) -> float:
    """A pause that doubles each time, up to a longest one."""
    return float(min(most_s, first_s * 2 ** min(max(0, times), 20)))


def escalates(pursuit: Pursuit) -> bool:
    """Whether the next request is no longer a graceful one because that did not stop the run."""
    return pursuit.abort.state is AbortState.REQUESTED and pursuit.abort.mode is Mode.GRACEFUL and _took_effect(pursuit)


def _took_effect(pursuit: Pursuit) -> bool:
    return pursuit.abort.effective_requests > 0


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
        return _again_later(_void(pursuit), now, pace)
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
    least_s = _growing(pace.look_first_s, pursuit.abort.requests - 1, pace.look_max_s)
    return _pause(_void(pursuit), now, max(least_s, min(seconds, POSTPONE_MAX_S)), must_look=True)


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
        return _again_later(_void(pursuit), now, pace)
    return _pause(_void(pursuit), now, 0.0, must_look=True)


def refused(pursuit: Pursuit, error: PlatformError, now: datetime, pace: Pace) -> Pursuit:
    """The platform will not do it (4xx). After a few refusals the abort has failed, unless an earlier request was
    accepted: then the run may well be stopping, and is followed. Access denied (401, 403) is no such refusal: once the
    token is mended, the same request works."""
    if is_denied(error):
        return _again_later(_void(pursuit), now, pace, DENIED_MAX_S)
    abort = _void(pursuit).abort
    abort = replace(abort, refusals=pursuit.abort.refusals + 1)
    if abort.refusals >= REFUSALS_MAX and abort.effective_requests == 0:
        return replace(pursuit, abort=abort.advance(AbortState.FAILED, now, f"refused: {error}"))
    return _again_later(replace(pursuit, abort=abort), now, pace)


def _again_later(pursuit: Pursuit, now: datetime, pace: Pace, most_s: float | None = None) -> Pursuit:
    """After a growing pause, and a look at its end."""
    pause_s = _growing(pace.look_first_s, pursuit.abort.requests, pace.retry_max_s if most_s is None else most_s)
    return _pause(pursuit, now, pause_s, must_look=True)


def _asked(abort: Abort, now: datetime, pace: Pace, note: str) -> Pursuit:
    due = now + timedelta(seconds=pace.look_first_s)
    return Pursuit(abort.advance(AbortState.REQUESTED, now, note), due=due, must_look=True, since=now)


def _pause(pursuit: Pursuit, now: datetime, seconds: float, *, must_look: bool) -> Pursuit:
    return replace(pursuit, due=now + timedelta(seconds=seconds), since=now, must_look=must_look)


def looked(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace, grounds: Grounds = STAND) -> Pursuit:
    """The run was seen again: over, still going, or (once stopped) with settled figures. `grounds`: how the reason of
    the abort stands by this look, where `is_in_question` says that it matters."""
    abort = _not_in_the_future(pursuit.abort, now)
    if not abort.state.is_open:
        is_its_own = not (seen.state.is_active or _is_another_end(abort.final, seen))
        final = _with_longest(seen, abort.final) if is_its_own else abort.final
        seen_so_far = replace(pursuit, abort=replace(abort, final=final))
        if is_its_own and awaits_figures(seen_so_far, now):
            return _settle_later(seen_so_far, now, pace)
        return give_up_settling(seen_so_far)
    pursuit = replace(pursuit, abort=abort, looks=pursuit.looks + 1, gone=0)
    if seen.state.is_active and not _was_resurrected(abort, seen):
        return _still_active(pursuit, seen, now, pace, grounds)
    if _end_is_unclear(abort, seen):
        return _pause(pursuit, now, _growing(pace.look_first_s, pursuit.looks, 6 * pace.look_max_s), must_look=True)
    return _close(pursuit, seen, now)


def _with_longest(seen: Snapshot, final: Snapshot | None) -> Snapshot:
    """Running time never goes back: what was proven at the stop still is, where the settled figures show less. Of the
    cost the last look at the run is the truth: a platform may correct it downwards."""
    before, after = final.usage.duration_s if final is not None else None, seen.usage.duration_s
    if before is None or (after is not None and after >= before):
        return seen
    return replace(seen, usage=replace(seen.usage, duration_s=before))


def _is_another_end(final: Snapshot | None, seen: Snapshot) -> bool:
    """Whether the run was resurrected since its stop and is over again: what it has used by now is no longer of this
    abort, no more than that of one that is active again."""
    if final is None or final.state.is_active:
        return True
    if final.resurrect_count is not None and seen.resurrect_count is not None:
        return seen.resurrect_count > final.resurrect_count
    ended = final.finished_at, seen.finished_at
    named = RunState.STOPPED not in (final.state, seen.state)
    return named and None not in ended and ended[0] != ended[1]


def is_in_question(pursuit: Pursuit, seen: Snapshot) -> bool:
    """Whether this look can take the decision back: the run goes on, and nothing that was asked shows. What a person
    asked for needs no reason, and a run that is being stopped is seen through."""
    abort = pursuit.abort
    untouched = seen.state.is_active and seen.state is not RunState.ABORTING
    return untouched and abort.state.is_open and abort.rule != MANUAL and not _was_resurrected(abort, seen)


def may_be_raised(pursuit: Pursuit, seen: Snapshot) -> bool:
    """Whether a step of a rule that this look shows to be reached can make the abort an immediate one."""
    abort = pursuit.abort
    graceful = abort.state.is_open and abort.mode is Mode.GRACEFUL
    return graceful and seen.state.is_active and not _was_resurrected(abort, seen)


def last_seen(pursuit: Pursuit) -> Snapshot | None:
    """The run as it was shown last, at its end or in the answer to the request; None if by neither. It has cost no less
    than the look that was decided on showed: an answer may be behind that."""
    last, before = pursuit.abort.final or pursuit.answer, pursuit.abort.before
    least = before.usage.cost_usd
    if last is None or least is None or (last.usage.cost_usd is not None and last.usage.cost_usd >= least):
        return last
    return replace(last, usage=replace(last.usage, cost_usd=least), cost_basis=before.cost_basis)


def is_behind(abort: Abort, listed: Snapshot) -> bool:
    """Whether a list shows a lower cost than what led to this abort."""
    if abort.limit is not Meter.COST_USD:
        return False
    cost_usd = listed.usage.cost_usd
    return cost_usd is None or cost_usd < max(abort.used_at_detection, abort.used_at_request or 0.0)


def may_wait_for_list(pursuit: Pursuit, now: datetime, pace: Pace) -> bool:
    """Whether a list of ended runs is enough of a look: the platform has accepted the request, and it is not yet time
    to ask again, which only a look at the run itself may lead to; or the stop is proven, and its figures settle."""
    abort = pursuit.abort
    if not abort.state.is_open:
        return pursuit.settling_looks == 0 and pursuit.looks == 0 and not awaits_figures(pursuit, now)
    if pursuit.answer is None or pursuit.unknown_since is not None or abort.requested_at is None:
        return False
    return now < _patience_ends(abort, abort.requested_at, pace)


def not_listed(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The list of ended runs does not show the run (yet)."""
    pursuit = replace(pursuit, looks=pursuit.looks + 1)
    return _look_by(pursuit, now, _patience_ends(pursuit.abort, pursuit.abort.requested_at or now, pace), pace)


def awaits_figures(pursuit: Pursuit, now: datetime) -> bool:
    """Whether the stop is proven and the platform has said that its figures are not final; it is believed for a day."""
    abort = pursuit.abort
    if abort.state.is_open or abort.final is None or not abort.final.settling:
        return False
    return now < abort.history[-1].at + timedelta(seconds=SETTLING_MAX_S)


def settling_pause_s(looks: int, pace: Pace) -> float:
    """Seconds to the next look at figures that were not final at so many looks."""
    return _growing(pace.settle_s, looks, SETTLING_LOOK_MAX_S)


def _settle_later(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    pause_s = settling_pause_s(pursuit.settling_looks, pace)
    return _pause(replace(pursuit, settling_looks=pursuit.settling_looks + 1), now, pause_s, must_look=True)


def _was_resurrected(abort: Abort, seen: Snapshot) -> bool:
    """Whether the run was over since the abort was decided on: it is active, but by another resurrection."""
    before, after = abort.before.resurrect_count, seen.resurrect_count
    return before is not None and after is not None and after > before


def _may_be_resurrected(pursuit: Pursuit, seen: Snapshot) -> bool:
    """Whether an accepted request may have stopped the run, and its owner have brought it back since: the count that
    would tell is lacking in one of both looks."""
    before, after = pursuit.abort.before.resurrect_count, seen.resurrect_count
    if not _took_effect(pursuit):
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
        abort = abort.advance(abort.state, now, "raised to immediate: a later step is reached", mode=Mode.IMMEDIATE)
        return _pause(replace(pursuit, abort=abort), now, 0.0, must_look=False)
    if not _took_effect(pursuit):
        if seen.state is not RunState.ABORTING:
            return _untouched(pursuit, now, pace)
        if not abort.may_have_arrived:
            return _yield(pursuit, now, pace)
        # An answer was lost but the platform is stopping the run: the request did arrive.
        note = "the run is being aborted: the request did arrive"
        asked_at = abort.requested_at or now
        abort = abort.advance(AbortState.REQUESTED, now, note, effective_requests=1, requested_at=asked_at)
        pursuit = replace(pursuit, abort=abort)
    ask_at = _patience_ends(abort, abort.requested_at or now, pace)
    if now >= ask_at:
        return _pause(pursuit, now, 0.0, must_look=False)
    return _look_by(pursuit, now, ask_at, pace)


def _fallen(pursuit: Pursuit, now: datetime, pace: Pace, why: str) -> Pursuit:
    """By the newest look the run is not to be stopped: nothing is asked. The record is closed, but not while a request
    that may have arrived may still stop the run."""
    pursuit, abort = replace(pursuit, unknown_since=None), pursuit.abort
    if abort.may_have_arrived and abort.requested_at is not None:
        follow_s = pace.slack_s + (pace.window_s if abort.mode is Mode.GRACEFUL else 0.0)
        follow_s = max(follow_s, FOLLOW_S) if _took_effect(pursuit) else follow_s
        until = abort.requested_at + timedelta(seconds=follow_s)
        if now < until:
            return _look_by(pursuit, now, until, pace)
    return withdrawn(pursuit, now, why)


def _unknown(pursuit: Pursuit, now: datetime, pace: Pace, what: str) -> Pursuit:
    """The newest look does not tell whether the run is still to be stopped. That is never a reason to ask, and one
    figure that is lacking none to give up the record: look again, but not for ever."""
    since = min(pursuit.unknown_since or now, now)
    if (now - since).total_seconds() >= UNKNOWN_MAX_S:
        return withdrawn(pursuit, now, f"not known for {UNKNOWN_MAX_S:.0f} s: {what}; the run stays watched")
    pause_s = _growing(pace.look_first_s, pursuit.looks - 1, 3 * pace.look_max_s)
    return _pause(replace(pursuit, unknown_since=since), now, pause_s, must_look=True)


def _untouched(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """No request has had an effect so far: ask (again), at growing distance if answers keep getting lost."""
    abort = pursuit.abort
    if abort.requested_at is not None:
        pause_s = _growing(pace.look_first_s, abort.requests - 1, pace.retry_max_s)
        ask_at = abort.requested_at + timedelta(seconds=pause_s)
        if now < ask_at:
            return _look_by(pursuit, now, ask_at, pace)
    if abort.mode is Mode.GRACEFUL and now >= _grace_ends(abort, now, pace):
        pursuit = replace(pursuit, abort=_escalated(abort, now))
    return _pause(pursuit, now, 0.0, must_look=False)


def _grace_ends(abort: Abort, now: datetime, pace: Pace) -> datetime:
    """When asking gracefully has been tried for long enough, since the first request whose answer was lost."""
    first = next((step.at for step in abort.history if step.state is AbortState.REQUESTED), now)
    return first + timedelta(seconds=pace.window_s + pace.slack_s)


def _yield(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """Somebody else is aborting the run: let that work for as long as one of ours might take, then ask ourselves.
    An abort that was opened because such a one is overdue does not wait again."""
    since = min(pursuit.yielded_at or now, now)
    ask_at = since + timedelta(seconds=pace.window_s + pace.slack_s)
    if pursuit.abort.before.state is RunState.ABORTING or now >= ask_at:
        return _pause(pursuit, now, 0.0, must_look=False)
    return replace(_look_by(pursuit, now, ask_at, pace), yielded_at=since)


def _look_by(pursuit: Pursuit, now: datetime, latest: datetime, pace: Pace) -> Pursuit:
    """Look after a growing pause, but no later than the time to ask, and promptly when the platform itself ends a
    graceful abort."""
    due = min(latest, now + timedelta(seconds=_growing(pace.look_first_s, pursuit.looks - 1, pace.look_max_s)))
    abort = pursuit.abort
    if abort.mode is Mode.GRACEFUL and abort.requested_at is not None:
        forced_at = abort.requested_at + timedelta(seconds=pace.window_s + pace.look_first_s)
        due = min(due, forced_at) if now < forced_at else due
    return replace(pursuit, due=due, since=now, must_look=True)


def look_failed(pursuit: Pursuit, now: datetime, pace: Pace, error: PlatformError | None = None) -> Pursuit:
    """The run could not be looked at this time."""
    if awaits_figures(pursuit, now):
        return _settle_later(pursuit, now, pace)
    most_s = DENIED_MAX_S if error is not None and is_denied(error) else pace.look_max_s
    pause_s = _growing(pace.look_first_s, pursuit.looks, most_s)
    after = _pause(replace(pursuit, looks=pursuit.looks + 1), now, pause_s, must_look=True)
    return _no_sooner(after, now, error)


def not_found(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The platform definitely does not know the run (any more): in time, nothing about it can be proven."""
    gone, since = pursuit.gone + 1, min(pursuit.gone_since or now, now) if pursuit.gone else now
    pursuit = replace(pursuit, gone=gone, gone_since=since)
    abort = pursuit.abort
    if gone < GONE_MAX or (abort.state.is_open and (now - since).total_seconds() < GONE_S):
        return look_failed(pursuit, now, pace)
    if not abort.state.is_open:
        return replace(pursuit, abort=replace(abort, settled=True))
    return replace(pursuit, abort=abort.advance(AbortState.FAILED, now, "the platform no longer knows the run"))


def withdrawn(pursuit: Pursuit, now: datetime, note: str) -> Pursuit:
    """The run goes on, nothing that was asked had an effect, and by the newest look it is not to be stopped."""
    return replace(pursuit, abort=pursuit.abort.advance(AbortState.WITHDRAWN, now, note))


def give_up_settling(pursuit: Pursuit) -> Pursuit:
    """The stop is proven but its final figures cannot be had: keep the last ones seen."""
    return replace(pursuit, abort=replace(pursuit.abort, settled=True))


def _close(pursuit: Pursuit, seen: Snapshot, now: datetime) -> Pursuit:
    abort = pursuit.abort
    if seen.state.is_active:
        ours, stopped_at, note = _took_effect(pursuit), now, "the run ended and was resurrected since"
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
