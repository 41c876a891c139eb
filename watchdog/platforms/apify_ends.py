"""What Apify's list of ended runs proves of a run that was looked at in detail shortly before.

The list shows status, `finishedAt` and `usageTotalUsd` of a thousand runs at one call, but neither running time nor
compute units. Both follow where the run was never stopped: it has run for at least what the last look showed, and for
no more than the time from `startedAt` (its creation) to `finishedAt`. Where these two are apart (it waited for a
worker, or the stats lag behind), only its detail tells.

Costs of the list can be behind those of the detail. One that is lower than what was seen before is no figure at all;
and since one that is higher may still be too low, a list is compared with the detail of one of its runs.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.ports import Ended
from watchdog.domain.run import CostBasis, RunState, Snapshot, replace
from watchdog.errors import PlatformError
from watchdog.net import Priority
from watchdog.platforms.apify_list import Page, RunList
from watchdog.platforms.apify_wire import iso, state_of

#: So far apart may the bounds of the running time be for it to count as known: seconds, and the share of it.
APART_S = 1.0
APART_SHARE = 0.001
#: Costs that are no further apart than this are the same: US dollars, and the share of them. They may be rounded.
SAME_USD = 1e-6
SAME_SHARE = 1e-6
#: A page of ended runs must spare so many looks.
_LOOKS_A_PAGE = 10
#: Whether bounds of time are of the list is not documented.
_MARGIN = timedelta(seconds=1)

#: Looks at a run in detail.
Look = Callable[[str], Awaitable[Snapshot]]


async def ended_runs(runs: RunList, last: Mapping[str, Snapshot], look: Look) -> Mapping[str, Ended]:
    """Those of the runs in `last` that the list of aborted runs shows, among all that were created when they were. It
    gives up if that list has more pages than a tenth of the runs asked for."""
    starts = [run.started_at for run in last.values() if run.started_at is not None]
    found: dict[str, Ended] = {}
    if not starts:
        return found
    window = {"startedAfter": iso(min(starts) - _MARGIN), "startedBefore": iso(max(starts) + _MARGIN)}
    first = await _ended_page(runs, 0, window)
    total = first.items if first.total is None else first.total
    pages = [first]
    if first.items and total / first.items <= 1 + len(last) / _LOOKS_A_PAGE:
        offsets = range(first.items, total, first.items)
        pages += await asyncio.gather(*(_ended_page(runs, offset, window) for offset in offsets))
    for of_page in await asyncio.gather(*(_compared(_ended_on(page, last), last, look) for page in pages)):
        found |= {run_id: _merged(found.get(run_id), each) for run_id, each in of_page.items()}
    return found


async def _ended_page(runs: RunList, offset: int, window: Mapping[str, str]) -> Page:
    """It spares ten looks at least, so that it goes before them."""
    return await runs.page(offset, status="ABORTED", priority=Priority.ABORT, more=window)


def _ended_on(page: Page, last: Mapping[str, Snapshot]) -> dict[str, Ended]:
    """Those of these runs that a page of ended runs shows."""
    found: dict[str, Ended] = {}
    for run in page.runs:
        state, usd = state_of(run.status), run.usage_total_usd
        if (known := last.get(run.id)) is not None and not state.is_active:
            paid = usd if usd is not None and usd >= 0 else None
            ended = as_ended(known, state, run.status, run.finished_at, paid, page.received_at)
            found[run.id] = _merged(found.get(run.id), ended)
    return found


def as_ended(
    last: Snapshot, state: RunState, status: str, finished_at: datetime | None, usd: float | None, received: datetime
) -> Ended:
    """The run as it is over, from its item of the list and the last detailed look at it."""
    duration_s = _duration_s(last, finished_at)
    credits_used = _credits(last, duration_s)
    cost_usd = usd if _knows_cost(last, usd) else None
    known = cost_usd is not None and duration_s is not None and (credits_used is None) is (last.usage.credits is None)
    if known:
        usage, most = Usage(credits_used, cost_usd, duration_s), NOTHING_KNOWN
    else:
        usage, most = replace(last.usage, cost_usd=last.usage.cost_usd if cost_usd is None else cost_usd), last.most
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
    """Whether the list's figure can be what the detail would show: not where that adds charges up by itself, nor where
    the list is behind what was seen before."""
    if usd is None or last.cost_basis not in (None, CostBasis.PLATFORM):
        return False
    return last.usage.cost_usd is None or usd >= last.usage.cost_usd


def _merged(found: Ended | None, again: Ended) -> Ended:
    """A run that a list shows twice: what contradicts itself takes a look."""
    if found is None or found.snapshot.usage == again.snapshot.usage:
        return again
    return Ended(max(found, again, key=_cost).snapshot, exact=False)


def _cost(ended: Ended) -> float:
    cost_usd = ended.snapshot.usage.cost_usd
    return -1.0 if cost_usd is None else cost_usd


async def _compared(found: Mapping[str, Ended], last: Mapping[str, Snapshot], look: Look) -> Mapping[str, Ended]:
    """What one page of the list shows, after a look at one of the runs whose figures would count as final: the one that
    ended last, which a page that is late shows wrong first. If that contradicts the page, none of its figures count."""
    final = [run_id for run_id, each in found.items() if each.exact and not last[run_id].state.is_active]
    if not final:
        return found
    newest = max(final, key=lambda run_id: _ended_at(found[run_id].snapshot))
    try:
        seen = await look(newest)
    except PlatformError:
        return {run_id: Ended(each.snapshot, exact=False) for run_id, each in found.items()}
    agrees = _is_same(found[newest].snapshot, seen)
    others = found if agrees else {run_id: Ended(each.snapshot, exact=False) for run_id, each in found.items()}
    return {**others, newest: Ended(seen, exact=True)}


def _ended_at(run: Snapshot) -> float:
    return -math.inf if run.finished_at is None else run.finished_at.timestamp()


def _is_same(listed: Snapshot, seen: Snapshot) -> bool:
    if listed.finished_at != seen.finished_at or listed.usage.cost_usd is None or seen.usage.cost_usd is None:
        return False
    return math.isclose(listed.usage.cost_usd, seen.usage.cost_usd, rel_tol=SAME_SHARE, abs_tol=SAME_USD)
