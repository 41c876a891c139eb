"""What Apify's list of ended runs proves of a run that was looked at in detail shortly before.

The list shows status, `finishedAt` and `usageTotalUsd` of a thousand runs at one call, but neither running time nor
compute units. Both follow where the run was never stopped: it has run for at least what the last look showed, and for
no more than the time from `startedAt` (its creation) to `finishedAt`. Where these two are apart (it waited for a
worker, or the stats lag behind), only its detail tells.
"""

from __future__ import annotations

from datetime import datetime

from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.ports import Ended
from watchdog.domain.run import CostBasis, RunState, Snapshot, replace

#: So far apart may the bounds of the running time be for it to count as known: seconds, and the share of it.
APART_S = 1.0
APART_SHARE = 0.001


def as_ended(
    last: Snapshot, state: RunState, status: str, finished_at: datetime | None, usd: float | None, received: datetime
) -> Ended:
    """The run as it is over, from its item of the list and the last detailed look at it."""
    duration_s = _duration_s(last, finished_at)
    credits_used = _credits(last, duration_s)
    known = _knows_cost(last, usd) and duration_s is not None and (credits_used is None) is (last.usage.credits is None)
    if known:
        usage, most = Usage(credits_used, usd, duration_s), NOTHING_KNOWN
    else:
        usage, most = replace(last.usage, cost_usd=last.usage.cost_usd if usd is None else usd), last.most
    seen = replace(last, state=state, status=status, usage=usage, most=most, seen_at=received, finished_at=finished_at)
    return Ended(seen, exact=known)


def _duration_s(last: Snapshot, finished_at: datetime | None) -> float | None:
    least_s = last.usage.duration_s
    if least_s is None or finished_at is None or last.started_at is None or last.resurrect_count != 0:
        return None
    if not last.state.is_active and last.finished_at != finished_at:
        return None  # it was resurrected since, and has ended again
    most_s = (finished_at - last.started_at).total_seconds()
    # What we saw running ourselves is by our clock, and may end a moment after the end by the platform's.
    return most_s if -APART_S <= most_s - least_s <= max(APART_S, APART_SHARE * most_s) else None


def _credits(last: Snapshot, duration_s: float | None) -> float | None:
    rate = last.burn_cap_per_s.get(Meter.CREDITS)
    return None if rate is None or duration_s is None or last.usage.credits is None else rate * duration_s


def _knows_cost(last: Snapshot, usd: float | None) -> bool:
    """Whether the list's figure is what the detail would show: not where that adds charges up by itself, nor where the
    list lags behind it."""
    if usd is None or last.cost_basis not in (None, CostBasis.PLATFORM):
        return False
    return last.usage.cost_usd is None or usd >= last.usage.cost_usd
