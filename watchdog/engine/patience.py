"""How long an abort waits: between two looks, between two requests, and for a request to stop the run."""

from __future__ import annotations

from datetime import datetime, timedelta

from watchdog.domain.decision import Abort, AbortState, Mode
from watchdog.domain.run import replace
from watchdog.engine.pursuit import Pace, Pursuit


def growing(first_s: float, times: int, most_s: float) -> float:
    """A pause that doubles each time, up to a longest one."""
    return float(min(most_s, first_s * 2 ** min(max(0, times), 20)))


def pause(pursuit: Pursuit, now: datetime, seconds: float, *, must_look: bool) -> Pursuit:
    """Nothing is done for so many seconds; what comes then is a look (`must_look`), or a request."""
    return replace(pursuit, due=now + timedelta(seconds=seconds), since=now, must_look=must_look)


def again_later(pursuit: Pursuit, now: datetime, pace: Pace, most_s: float | None = None) -> Pursuit:
    """After a growing pause, and a look at its end."""
    pause_s = growing(pace.look_first_s, pursuit.abort.requests, pace.retry_max_s if most_s is None else most_s)
    return pause(pursuit, now, pause_s, must_look=True)


def look_by(pursuit: Pursuit, now: datetime, latest: datetime, pace: Pace) -> Pursuit:
    """Look after a growing pause, but no later than the time to ask, and promptly when the platform itself ends a
    graceful abort."""
    due = min(latest, now + timedelta(seconds=growing(pace.look_first_s, pursuit.looks - 1, pace.look_max_s)))
    abort = pursuit.abort
    if abort.mode is Mode.GRACEFUL and abort.requested_at is not None:
        forced_at = abort.requested_at + timedelta(seconds=pace.window_s + pace.look_first_s)
        due = min(due, forced_at) if now < forced_at else due
    return replace(pursuit, due=due, since=now, must_look=True)


def patience_ends(abort: Abort, requested_at: datetime, pace: Pace) -> datetime:
    """When a request that the platform accepted and that has not stopped the run is followed by another."""
    if abort.mode is Mode.GRACEFUL:
        patience = pace.window_s + pace.slack_s
    else:
        patience = growing(pace.slack_s, abort.requests - abort.void_requests - 1, pace.retry_max_s)
    return requested_at + timedelta(seconds=patience)


def grace_ends(abort: Abort, now: datetime, pace: Pace) -> datetime:
    """When asking gracefully has been tried for long enough, since the first request whose answer was lost."""
    first = next((step.at for step in abort.history if step.state is AbortState.REQUESTED), now)
    return first + timedelta(seconds=pace.window_s + pace.slack_s)
