"""When to look at which run next.

A limit with exact growth (durations, compute units) has a deadline: nothing can break before it. For any other, the
next look comes when most of the time to the earliest plausible breach has passed. So looks are rare far from a limit,
close together near it, and never more often than `FLOOR_S`. Where the rate budget is short, the run whose limit may be
broken first goes first (`Look.breach_s`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from watchdog.engine.forecast import Outlook

#: Never look at one run more often than this, in seconds; a quarter of it where the rate budget is ample.
FLOOR_S = 1.0
AMPLE_REQUESTS_PER_MINUTE = 600
#: Nor more often than the run can use this share of its limit in between, but at least every so many seconds: what is
#: lost by that is not worth the calls.
PRECISION = 0.0003
PRECISION_MAX_S = 15.0
#: Share of the time to the earliest plausible breach that is waited: with the history of the source, and without; and
#: both where the rate budget is ample.
WAIT_KNOWN = 0.9
WAIT_UNKNOWN = 0.5
WAIT_KNOWN_AMPLE = 0.6
WAIT_UNKNOWN_AMPLE = 0.4
#: Longest wait with history, and the shortest that the longest wait without may be, in seconds.
CEILING_KNOWN_S = 300.0
CEILING_UNKNOWN_S = 30.0
#: A run without history makes its own: after s seconds of watching it may be left alone for this share of s.
OWN_SHARE = 0.1
#: A figure that has stood still for s seconds is looked at every s / 20 seconds at most, but at least every 15.
STILL_SHARE = 0.05
STILL_MAX_S = 15.0
#: A breach is worse the further it goes past its limit, so a run that goes slowly for its limit may wait for one that
#: goes fast: until it may be past its limit by this share. And no look waits longer than so many seconds for others.
SLACK = 0.02
PATIENCE_S = 120.0
#: So long after a figure should have been renewed it is looked at, in seconds.
RENEWED_S = 0.25
#: Share of the rate budget that looks at runs may take when they come round at the ceiling, and that lists may take.
LOOKS_SHARE = 0.6
LISTS_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Look:
    """The next look: after `wait_s` seconds, at a run whose limit may plausibly be broken after `breach_s`. If there is
    a queue, it should have its turn by `turn_s`. An exact limit is broken after `deadline_s` (inf: none)."""

    wait_s: float
    breach_s: float
    turn_s: float
    deadline_s: float = math.inf


@dataclass(frozen=True, slots=True)
class Haste:
    """How closely to follow a run: never look sooner than after `floor_s` seconds; wait for this `share` of the time to
    the earliest plausible breach."""

    floor_s: float
    share: float


def haste(requests_per_minute: float, *, known: bool) -> Haste:
    """By what the rate budget allows. `known`: there is a history of the run's source."""
    if requests_per_minute < AMPLE_REQUESTS_PER_MINUTE:
        return Haste(FLOOR_S, WAIT_KNOWN if known else WAIT_UNKNOWN)
    return Haste(FLOOR_S / 4, WAIT_KNOWN_AMPLE if known else WAIT_UNKNOWN_AMPLE)


def next_look(outlooks: Iterable[Outlook], haste: Haste, ceiling_s: float) -> Look:
    """The next look at a run by the outlook of each of its limits, after `ceiling_s` seconds at the latest."""
    wait_s, breach_s, turn_s, deadline_s = ceiling_s, math.inf, math.inf, math.inf
    for each in outlooks:
        plausible_s = each.plausible_s
        breach_s = min(breach_s, plausible_s)
        wait_s = min(wait_s, _wait_s(each, plausible_s, haste))
        if each.exact:
            deadline_s = min(deadline_s, plausible_s)
        if each.fast:
            turn_s = min(turn_s, plausible_s + SLACK * each.limit / each.fast)
    return Look(wait_s, breach_s, min(turn_s, wait_s + PATIENCE_S), deadline_s)


def _wait_s(outlook: Outlook, plausible_s: float, haste: Haste) -> float:
    if outlook.exact or plausible_s == math.inf:
        return plausible_s
    floor_s, share = haste.floor_s, haste.share
    if outlook.fast:
        floor_s = max(floor_s, min(PRECISION_MAX_S, PRECISION * outlook.limit / outlook.fast))
    # What would be left of the time could not be used for another look: then look at its end.
    last = (1 - share) * plausible_s < floor_s
    wait_s = max(floor_s, plausible_s if last else share * plausible_s)
    if (renewal_s := outlook.renewal_s(wait_s)) is not None:
        # Between two renewals of the figure there is nothing to see.
        return renewal_s + RENEWED_S
    return max(wait_s, min(STILL_MAX_S, STILL_SHARE * outlook.still_s))


def ceiling_s(runs: int, requests_per_minute: float, *, known: bool, watched_s: float = 0.0) -> float:
    """The longest time between two looks at a run, where each look is a request: 300 s with history; without, 30 s, or
    longer once it has been watched for long (`watched_s`). Longer than either if that many runs would take more than
    their share of the rate budget: looks that are no use would keep out those that are."""
    affordable_s = runs / (LOOKS_SHARE * requests_per_minute / 60.0)
    if known:
        return max(CEILING_KNOWN_S, affordable_s)
    return max(CEILING_UNKNOWN_S, min(CEILING_KNOWN_S, OWN_SHARE * watched_s), affordable_s)


def discovery_interval_s(pages: int, requests_per_minute: float) -> float:
    """Seconds between two readings of the list of sources, where it shows no usage: 30, or longer if a long list would
    take more than its share of the rate budget."""
    return max(CEILING_UNKNOWN_S, pages / (LISTS_SHARE * requests_per_minute / 60.0))


def sweep_is_cheaper(looks: int, pages: int) -> bool:
    """Whether a sweep that shows the figures of every run costs less than looking at so many that are due now. A page
    of a thousand runs weighs some four times as much as a single run, for us and for the platform."""
    return looks > 4 * pages + 4
