"""When a list of ended runs is enough of a look at one that is being stopped (see *Many at once* in
docs/escalation.md)."""

from __future__ import annotations

from datetime import datetime

from watchdog.domain.decision import Abort
from watchdog.domain.meter import Meter
from watchdog.domain.run import Snapshot, replace
from watchdog.engine.patience import look_by, patience_ends
from watchdog.engine.pursuit import Pace, Pursuit
from watchdog.engine.settling import awaits_figures


def may_wait_for_list(pursuit: Pursuit, now: datetime, pace: Pace) -> bool:
    """Whether a list of ended runs is enough of a look: the platform has accepted the request, and it is not yet time
    to ask again, which only a look at the run itself may lead to; or the stop is proven, and its figures settle."""
    abort = pursuit.abort
    if not abort.state.is_open:
        return pursuit.settling_looks == 0 and pursuit.looks == 0 and not awaits_figures(pursuit, now)
    if pursuit.answer is None or pursuit.unknown_since is not None or abort.requested_at is None:
        return False
    return now < patience_ends(abort, abort.requested_at, pace)


def not_listed(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The list of ended runs does not show the run (yet)."""
    pursuit = replace(pursuit, looks=pursuit.looks + 1)
    return look_by(pursuit, now, patience_ends(pursuit.abort, pursuit.abort.requested_at or now, pace), pace)


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
