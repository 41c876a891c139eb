"""What can be said of a run between two looks: bounds, rates, and when a limit may be broken.

Durations are exact (a second a second), and so are Apify's compute units (memory x time). Everything else is learned
look by look in a `Burn`, one for each figure of a run: the exponentially weighted rate (EWMA) with its deviation, the
highest rate, and how often the platform refreshes the figure. What earlier runs of the source did comes from the
ledger as a `SourceHistory`.

Facts used (Apify's documentation): a resurrection leaves the stopped time out of `stats.runTimeSecs` and raises
`resurrectCount`; compute units grow with memory x running time and no faster. That a platform may refresh dollars and
credits late, in steps, is assumed of both.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import msgspec
from msgspec.structs import astuple

from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import IN_ORDER, LEARNED, Meter, Usage
from watchdog.domain.run import RunState, Snapshot

#: Rates are measured over at least so many seconds: a single step of a counter is no rate.
WINDOW_S = 10.0
#: The memory of the weighted rate, in seconds: after so long an old rate weighs 1/e.
MEMORY_S = 300.0
#: Relative deviation taken for granted until rates have shown their own.
FIRST_DEVIATION = 0.5
#: So many times do not show yet how much they differ.
FEW_TIMES = 5
#: No run is faster than this, of any meter a second: what is, would not fit into a float when squared.
RATE_MAX = 1e100
#: A figure lower than before counts as one that really went back once the higher one is so many seconds old; until then
#: it is an older view of the same figure (a list that lags behind the detail).
BACK_S = 60.0
#: After so many gaps between changes that agree with one period, the figure is taken to be refreshed periodically.
REFRESH_AGREEMENTS = 3
REFRESH_WIDTH_MAX = 1.4


def upper_bound(swept: Snapshot, inspected: Snapshot | None, age_s: float, swept_age_s: float = 0.0) -> Usage:
    """The most that a run can have used by now: a suspicion, never a proof.

    `swept` is the newest snapshot of a sweep and `swept_age_s` its age in seconds, `inspected` the last inspection and
    `age_s` the seconds since then. Running time (a meter whose growth never varies) grows by a second a second from
    whichever look says less, unless the run is paused. Of the others, the sweep's count as they are, though never for
    less than an inspection showed; those that the sweep lacks are the inspection's, grown by the fastest they can grow,
    where there is such a bound; where there is none, only another inspection tells, which the forecast plans. A figure
    that no look has shown stays None.
    """
    # For every run of every sweep: figures by their place, and no call that can be spared.
    figures = list(astuple(swept.usage))
    proven = None if inspected is None else astuple(inspected.usage)
    for place, meter, rate in _BY_PLACE:
        if rate is not None:
            figures[place] = _timed(place, rate, swept, swept_age_s, inspected, age_s)
        elif inspected is not None and proven is not None and (known := proven[place]) is not None:
            shown = figures[place]
            if shown is None:
                figures[place] = known + inspected.burn_cap_per_s.get(meter, 0.0) * age_s
            elif known > shown:
                figures[place] = known
    return Usage(*figures)


#: Each meter with its place among the fields of `Usage`, and how fast it grows where that never varies.
_BY_PLACE = tuple((place, meter, meter.entry.rate_per_s) for place, meter in enumerate(IN_ORDER))
#: After an inspection in one of these states, running time can be counted on from it.
_RUNS_ON = (RunState.RUNNING, RunState.PENDING, RunState.TIMING_OUT)


def _timed(
    place: int, rate_per_s: float, swept: Snapshot, swept_age_s: float, inspected: Snapshot | None, age_s: float
) -> float | None:
    """The most of a meter that grows with running time."""
    most = _longest(place, swept)
    if most is not None and swept.state is not RunState.PAUSED:
        most += rate_per_s * swept_age_s
    if inspected is None or inspected.state not in _RUNS_ON:
        return most
    since = _longest(place, inspected)
    if since is None:
        return most
    since += rate_per_s * age_s
    return since if most is None else min(most, since)


def _longest(place: int, seen: Snapshot) -> float | None:
    """The most that it can have been when the run was seen."""
    figure: float | None = astuple(seen.most)[place]
    return astuple(seen.usage)[place] if figure is None else figure


# Rates


class Refresh(msgspec.Struct, gc=False):
    """How often a platform renews a figure, as far as the looks can tell. All times in seconds.

    A change happened after the last look that showed the old figure (`early_s`) and not after the first that showed
    the new one (`late_s`). Gaps between changes that were seen to stand still in between narrow the period down to
    [`low_s`, `high_s`]; a gap that fits no such period starts it anew.
    """

    early_s: float
    late_s: float
    low_s: float = 0.0
    high_s: float = math.inf
    agreements: int = 0

    def change(self, early_s: float, late_s: float) -> None:
        """The figure has changed after the look at `early_s` and was seen so at `late_s`."""
        low, high = early_s - self.late_s, late_s - self.early_s
        if max(low, self.low_s) > min(high, self.high_s):
            self.low_s, self.high_s, self.agreements = max(0.0, low), high, 0
        elif low > 0:
            self.low_s, self.high_s = max(low, self.low_s), min(high, self.high_s)
            self.agreements += 1
            if self.is_periodic:
                # The period says more about the moment than this look alone.
                early_s, late_s = max(early_s, self.early_s + self.low_s), min(late_s, self.late_s + self.high_s)
        self.early_s, self.late_s = early_s, late_s

    @property
    def period_s(self) -> float:
        """The period, in the middle of what is possible."""
        return (self.low_s + self.high_s) / 2

    @property
    def is_periodic(self) -> bool:
        """Whether the changes so far are those of one period. Gaps of any length agree while little is known of them,
        so they must have narrowed it down."""
        return self.agreements >= REFRESH_AGREEMENTS and self.high_s <= REFRESH_WIDTH_MAX * self.low_s

    def next_s(self, at_s: float) -> float | None:
        """The first moment from `at_s` on at which a new figure should be there; None if there is no pattern, or if it
        should have come long ago."""
        if not self.is_periodic:
            return None
        period = self.period_s
        first = self.late_s + period
        if at_s <= first:
            return first
        periods = math.ceil((at_s - self.late_s) / period)
        return self.late_s + periods * period if periods <= 3 else None


class Anchor(NamedTuple):
    """The change of a figure that its rate is measured from: seen at `at_s` as `used`, and before that last seen at
    `before_s` as `before`."""

    used: float
    at_s: float
    before: float
    before_s: float

    def rate(self, used: float, at_s: float) -> float:
        """The growth per second up to this figure, seen at that time.

        A change that was seen late, after a long gap between two looks, says little of when it happened. Then the gap
        is taken in; two changes of a figure that is renewed once a period cannot be closer than that.
        """
        if at_s - self.at_s < (self.at_s - self.before_s) / 2:
            return (used - self.before) / (at_s - self.before_s)
        return (used - self.used) / (at_s - self.at_s)


class Burn(msgspec.Struct, gc=False):
    """How fast one figure of one run grows, learned look by look. Rates are per second of the monotonic clock.

    A rate is measured from one change of the figure to another at least `WINDOW_S` later, never from a look to a look:
    a figure that is refreshed every minute would else read as bursts. So the first change only says where to measure
    from. `used` was first seen at `since_s` and last at `seen_s`.
    """

    used: float
    since_s: float
    seen_s: float
    mean: float = 0.0
    variance: float = 0.0
    highest: float = 0.0
    evidence_s: float = 0.0
    anchor: Anchor | None = None
    interrupted: bool = False
    refresh: Refresh | None = None

    @staticmethod
    def at(used: float, at_s: float) -> Burn:
        """From the first look on."""
        return Burn(used, at_s, at_s)

    def look(self, used: float, at_s: float) -> None:
        """Take in what a look at `at_s` showed."""
        if at_s <= self.seen_s:
            return
        if used == self.used:
            self.seen_s = at_s
        elif used > self.used:
            self._grew(used, at_s)
        elif at_s - self.seen_s >= BACK_S:
            # It went back, and stays there: begin anew, with the rates as they were.
            self.used, self.since_s, self.seen_s, self.anchor, self.refresh = used, at_s, at_s, None, None

    def _grew(self, used: float, at_s: float) -> None:
        if self.refresh is None:
            self.refresh = Refresh(self.seen_s, at_s)
        else:
            self.refresh.change(self.seen_s, at_s)
        anchor = Anchor(used, at_s, used, at_s) if self.interrupted else Anchor(used, at_s, self.used, self.seen_s)
        self.interrupted = False
        if self.anchor is None:
            self.anchor = anchor
        elif (seconds := at_s - self.anchor.at_s) >= WINDOW_S:
            self._learn(self.anchor.rate(used, at_s), seconds)
            self.anchor = anchor
        self.used, self.since_s, self.seen_s = used, at_s, at_s

    def _learn(self, rate: float, seconds: float) -> None:
        """Weighted mean and variance: a sample weighs by the time it covers (West's incremental formula)."""
        rate = min(rate, RATE_MAX)
        self.highest = max(self.highest, rate)
        if self.evidence_s == 0:
            self.mean, self.variance = rate, (FIRST_DEVIATION * rate) ** 2
        else:
            weight = -math.expm1(-seconds / MEMORY_S)
            apart = rate - self.mean
            self.mean += weight * apart
            self.variance = (1 - weight) * (self.variance + weight * apart * apart)
        self.evidence_s += seconds

    @property
    def fast(self) -> float:
        """A rate that is seldom passed: the mean and two deviations, or the highest so far."""
        return max(self.mean + 2 * math.sqrt(self.variance), self.highest)

    def interrupt(self) -> None:
        """The run stood still for a while (a pause, a resurrection), nobody knows how long: measure anew."""
        self.anchor, self.refresh, self.interrupted = None, None, True

    def age_s(self, now_s: float) -> float:
        """The most that the figure lags behind the truth, as far as its refresh pattern tells; 0 without a pattern."""
        if self.refresh is None or not self.refresh.is_periodic:
            return 0.0
        return max(0.0, now_s - self.refresh.early_s)


@dataclass(slots=True)
class Latency:
    """How long something takes that is done over and over: weighted mean and variance, in seconds."""

    mean: float
    variance: float = 0.0
    times: int = 0

    def took(self, seconds: float) -> None:
        """Take in one time."""
        weight = max(0.1, 1 / (self.times + 1))
        apart = seconds - self.mean
        self.mean += weight * apart
        self.variance = (1 - weight) * (self.variance + weight * apart * apart)
        self.times += 1

    @property
    def high(self) -> float:
        """A time that is seldom passed. Until a few have shown how much they differ, they are taken to differ much."""
        least = FIRST_DEVIATION * self.mean if 0 < self.times < FEW_TIMES else 0.0
        return self.mean + 2 * max(math.sqrt(self.variance), least)


# What earlier runs say


@dataclass(frozen=True, slots=True)
class SourceHistory:
    """What earlier runs of a source did, by kind, sorted: the highest rate of each (per second), and what those used in
    the end that ended by themselves. `runs`: how many there were."""

    rates: Mapping[Meter, tuple[float, ...]] = field(default_factory=dict)
    finals: Mapping[Meter, tuple[float, ...]] = field(default_factory=dict)
    runs: int = 0

    @staticmethod
    def of(records: Iterable[BurnRecord]) -> SourceHistory:
        """From the ledger's records."""
        kept = list(records)
        rates = {kind: [record.rates.get(kind) for record in kept] for kind in LEARNED}
        natural = [record.final for record in kept if record.ended_by_itself]
        finals = {kind: [final.of(kind) for final in natural] for kind in Meter}
        return SourceHistory(_known(rates), _known(finals), len(kept))

    def fast(self, kind: Meter) -> float | None:
        """The highest rate of any run of this source; None without any history of it."""
        rates = self.rates.get(kind)
        return rates[-1] if rates else None

    def final(self, kind: Meter, used: float) -> float | None:
        """What a run that has used this much typically ends at: the median of those that came further."""
        finals = self.finals.get(kind, ())
        further = finals[bisect_right(finals, used) :]
        return median(further) if further else None


NO_HISTORY = SourceHistory()


def _known(figures: Mapping[Meter, list[float | None]]) -> dict[Meter, tuple[float, ...]]:
    known = {kind: sorted(figure for figure in each if figure is not None) for kind, each in figures.items()}
    return {kind: tuple(each) for kind, each in known.items() if each}


# The outlook


@dataclass(frozen=True, slots=True)
class Outlook:
    """One `limit` of a run as it stands: what is left, how fast it may go at most and on average (per second; None: not
    known), whether these are exact, for how long the figure has stood still. Of a figure that the platform renews
    periodically: how old it is, when it is renewed next, and the period; in seconds."""

    limit: float
    left: float
    fast: float | None
    mean: float | None
    exact: bool = False
    still_s: float = 0.0
    age_s: float = 0.0
    renewed_in_s: float | None = None
    period_s: float = 0.0

    @property
    def plausible_s(self) -> float:
        """Seconds until the earliest plausible breach."""
        return self._seconds(self.fast)

    @property
    def expected_s(self) -> float:
        """Seconds until the expected breach."""
        return self._seconds(self.mean)

    def _seconds(self, rate: float | None) -> float:
        if self.left <= 0:
            return 0.0
        return max(0.0, self.left / rate - self.age_s) if rate else math.inf

    def renewal_s(self, wait_s: float) -> float | None:
        """Seconds until the first renewal that is not before `wait_s`; None where there is no pattern."""
        if self.renewed_in_s is None or wait_s <= self.renewed_in_s:
            return self.renewed_in_s
        return self.renewed_in_s + math.ceil((wait_s - self.renewed_in_s) / self.period_s) * self.period_s


def exact_outlook(limit: float, used: float, rate: float) -> Outlook:
    """Of a figure whose growth is known: running time, compute units."""
    return Outlook(limit, limit - used, rate, rate, exact=True)


def outlook(kind: Meter, limit: float, used: Usage, burn: Burn | None, history: SourceHistory, now_s: float) -> Outlook:
    """Of a metered figure that stands at `used`: by its own rates and those of its source.

    Until its own rates are known, a run is taken to go on at its average since the start, by which it may be off as
    much as rates vary at first.
    """
    figure = used.of(kind) or 0.0
    mean = burn.mean if burn is not None and burn.evidence_s > 0 else average_rate(figure, used.duration_s)
    fast = plausible_rate(burn, figure, used.duration_s, history.fast(kind))
    if burn is None:
        return Outlook(limit, limit - figure, fast, mean)
    still_s = max(0.0, burn.seen_s - burn.since_s)
    due_s = burn.refresh.next_s(now_s) if burn.refresh is not None else None
    if burn.refresh is None or due_s is None:
        return Outlook(limit, limit - figure, fast, mean, still_s=still_s)
    age_s = max(0.0, now_s - burn.refresh.late_s)
    return Outlook(limit, limit - figure, fast, mean, False, still_s, age_s, due_s - now_s, burn.refresh.period_s)


def plausible_rate(burn: Burn | None, used: float, duration_s: float | None, theirs: float | None) -> float | None:
    """The fastest rate per second that is plausible of a figure that stands at `used` after so many seconds: its own,
    until that is known twice its average, or the highest of earlier runs of its source (`theirs`). None: nobody
    knows."""
    if burn is not None and burn.evidence_s > 0:
        own: float | None = burn.fast
    else:
        average = average_rate(used, duration_s)
        own = None if average is None else average * (1 + 2 * FIRST_DEVIATION)
    if own is None or theirs is None:
        return theirs if own is None else own
    return max(own, theirs)


def average_rate(used: float | None, duration_s: float | None) -> float | None:
    """How fast a run used up what it has used, per second of running time; None if nothing says."""
    return used / duration_s if duration_s and used else None
