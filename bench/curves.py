"""Seeded usage curves and the workload made of them, for simulations of the cadence.

A curve says what share of its limit a run has used t seconds after its start. Four families, equally mixed:

- smooth: a constant or slowly drifting rate;
- bursty: a low base rate with bursts of 5 to 15 times that, lasting 10 to 90 s, at random;
- stepping: pay-per-event, steps of 0.2 to 1 % of the limit at exponential gaps;
- stale: a smooth curve that the platform shows only as of its last refresh, every 10 to 60 s.

In some runs usage stands still for minutes. Every random choice comes from one generator per slot, so that the runs of
a slot do not change when the number of slots or the horizon does.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

FAMILIES = ("smooth", "bursty", "stepping", "stale")

#: Time from the start of a run to its limit, in seconds: log-uniform in between.
REACH_MIN_S = 300.0
REACH_MAX_S = 4 * 3600.0
#: Bursts: times the base rate, seconds, share of the time spent in bursts.
BURST_FACTOR = (5.0, 15.0)
BURST_S = (10.0, 90.0)
BURST_SHARE = 0.1
#: Steps of pay-per-event runs, as a share of the limit.
STEP = (0.002, 0.01)
#: Seconds between two refreshes of a stale figure.
REFRESH_S = (10.0, 60.0)
#: Share of the runs that pause, and for how many seconds.
PAUSING_SHARE = 0.25
PAUSE_S = (120.0, 600.0)
#: Share of the runs that end by themselves, and the share of their limit they have used then.
ENDING_SHARE = 0.3
ENDS_AT = (0.3, 0.97)
#: Curves are drawn for so many seconds beyond the limit; the last rate holds after that.
BEYOND_S = 900.0
#: A drifting rate changes every so many seconds, by this much (log scale) each time.
DRIFT_EVERY_S = 60.0
DRIFT_SIGMA = 0.06
#: Spread (log scale) of the speed of a source's runs around its characteristic one.
SPEED_SIGMA = 0.2
#: Starts of the first runs are spread over so many seconds; a run is followed by another after this plus as much again
#: on average.
START_SPREAD_S = 1800.0
GAP_S = 30.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Usage over time as a share of the limit: through the points (`times_s`, `values`), in straight lines or in steps.

    Both begin with 0 and never go back. `refresh_s`: the platform shows the curve only as of its last refresh
    (None: live), the first one `phase_s` after the start; before it shows 0.
    """

    times_s: tuple[float, ...]
    values: tuple[float, ...]
    stepped: bool = False
    refresh_s: float | None = None
    phase_s: float = 0.0

    def true(self, t_s: float) -> float:
        """What is used after t seconds."""
        index = bisect_right(self.times_s, t_s) - 1
        if index < 0:
            return 0.0
        if self.stepped:
            return self.values[index]
        last = len(self.times_s) - 1
        index = min(index, last - 1)
        (t0, t1), (v0, v1) = self.times_s[index : index + 2], self.values[index : index + 2]
        value = v0 + (v1 - v0) * ((t_s - t0) / (t1 - t0))
        return value if t_s >= self.times_s[last] else min(value, v1)

    def shown(self, t_s: float) -> float:
        """What the platform shows after t seconds."""
        if self.refresh_s is None:
            return self.true(t_s)
        refreshes = math.floor((t_s - self.phase_s) / self.refresh_s)
        return 0.0 if refreshes < 0 else self.true(self.phase_s + refreshes * self.refresh_s)

    def true_at(self, value: float) -> float:
        """Seconds after which this much is used."""
        index = bisect_left(self.values, value)
        if index == 0:
            return self.times_s[0]
        if self.stepped:
            return self.times_s[index] if index < len(self.values) else math.inf
        index = min(index, len(self.values) - 1)
        (t0, t1), (v0, v1) = self.times_s[index - 1 : index + 1], self.values[index - 1 : index + 1]
        return _first_not_below(self.true, value, t0 + (t1 - t0) * (value - v0) / (v1 - v0) if v1 > v0 else math.inf)

    def shown_at(self, value: float) -> float:
        """Seconds after which the platform first shows this much."""
        used_s = self.true_at(value)
        if self.refresh_s is None or math.isinf(used_s):
            return used_s
        refreshes = max(0, math.ceil((used_s - self.phase_s) / self.refresh_s))
        return _first_not_below(self.shown, value, self.phase_s + refreshes * self.refresh_s)


def _first_not_below(usage: Callable[[float], float], value: float, t_s: float) -> float:
    """The moment, moved on by as little as rounding asks for."""
    step = 1e-9
    while not math.isinf(t_s) and usage(t_s) < value:
        t_s += step
        step *= 2
    return t_s


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What the runs of a source have in common. `limit` in credits; `reach_s` is the typical time to it; the rest is
    used by the families that know it: burst factor, step (share of the limit), refresh in seconds, drift (log scale).
    """

    name: str
    family: str
    limit: float
    reach_s: float
    burst_factor: float
    step: float
    refresh_s: float
    drift: float


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One simulated run. Times in virtual seconds: it starts at `start_s` and, if nobody stops it, ends by itself at
    `ends_s` (inf: never). `breach_s` is when the platform first shows its limit as reached (inf: never)."""

    run_id: str
    slot: int
    source: SourceSpec
    curve: Curve
    start_s: float
    ends_s: float
    breach_s: float

    def shown(self, at_s: float) -> float:
        """Credits that the platform shows at this moment. A finished run shows what it has truly used."""
        if at_s >= self.ends_s:
            return self.curve.true(self.ends_s - self.start_s) * self.source.limit
        return self.curve.shown(at_s - self.start_s) * self.source.limit

    def overshoot(self, at_s: float) -> float:
        """How far it is past its limit at this moment, as a share of the limit; never negative."""
        return max(0.0, self.curve.shown(at_s - self.start_s) - 1.0)


def make_sources(seed: int, count: int) -> list[SourceSpec]:
    """Sources with the families in turn; within each the typical times to the limit are spread evenly (log scale)."""
    rng = random.Random(f"sources {seed}")
    per_family = math.ceil(count / len(FAMILIES))
    return [_source(number, rng, per_family) for number in range(count)]


def _source(number: int, rng: random.Random, per_family: int) -> SourceSpec:
    place, kind = divmod(number, len(FAMILIES))
    share = (place + 0.5) / per_family
    return SourceSpec(
        name=f"s{number:02d}",
        family=FAMILIES[kind],
        limit=round(math.exp(rng.uniform(math.log(10.0), math.log(1000.0))), 2),
        reach_s=REACH_MIN_S * (REACH_MAX_S / REACH_MIN_S) ** share,
        burst_factor=rng.uniform(*BURST_FACTOR),
        step=rng.uniform(*STEP),
        refresh_s=rng.uniform(*REFRESH_S),
        drift=rng.choice((0.0, DRIFT_SIGMA)),
    )


def make_workload(
    seed: int,
    *,
    sources_seed: int = 0,
    sources: int = 40,
    slots: int = 200,
    horizon_s: float = 3 * 3600.0,
    once: bool = False,
) -> list[RunSpec]:
    """The runs that start before the horizon, by start. Each slot has one run after the other, all of the same source,
    whatever a policy does about them: so all policies see the same runs. `once`: only the first of each slot."""
    specs = make_sources(sources_seed, sources)
    runs = [
        run
        for slot in range(slots)
        for run in islice(_runs_of_slot(seed, slot, specs[slot % sources], horizon_s), 1 if once else None)
    ]
    return sorted(runs, key=lambda run: run.start_s)


def _runs_of_slot(seed: int, slot: int, source: SourceSpec, horizon_s: float) -> Iterator[RunSpec]:
    rng = random.Random(f"slot {seed} {slot}")
    start_s = rng.uniform(0.0, START_SPREAD_S)
    number = 0
    while start_s < horizon_s:
        run = _run(f"{source.name}-{slot}-{number}-{seed}", slot, source, start_s, rng)
        yield run
        number += 1
        start_s = min(run.breach_s, run.ends_s) + GAP_S + rng.expovariate(1 / GAP_S)


def _run(run_id: str, slot: int, source: SourceSpec, start_s: float, rng: random.Random) -> RunSpec:
    curve = make_curve(source, rng)
    ends_s = math.inf
    if rng.random() < ENDING_SHARE:
        ends_s = start_s + curve.true_at(rng.uniform(*ENDS_AT))
    # Rounding of the sum must not put the breach before the step or refresh that makes it.
    breach_s = _first_not_below(lambda at_s: curve.shown(at_s - start_s), 1.0, start_s + curve.shown_at(1.0))
    return RunSpec(run_id, slot, source, curve, start_s, ends_s, breach_s if breach_s < ends_s else math.inf)


def make_curve(source: SourceSpec, rng: random.Random) -> Curve:
    """One run's curve, as its source makes them."""
    reach_s = min(REACH_MAX_S, max(REACH_MIN_S, source.reach_s * math.exp(rng.gauss(0.0, SPEED_SIGMA))))
    if source.family == "stepping":
        times, values = _stepping(source, reach_s, rng)
        times = _with_pauses(times, reach_s, rng)
        return Curve(tuple(times), tuple(values), stepped=True)
    draw = _bursty if source.family == "bursty" else _smooth
    times, values = _paused(*_drawn(draw(source, reach_s, rng)), reach_s, rng)
    if source.family == "stale":
        return Curve(tuple(times), tuple(values), False, source.refresh_s, rng.uniform(0.0, source.refresh_s))
    return Curve(tuple(times), tuple(values))


def _drawn(pieces: Iterator[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Points from pieces of (seconds, rate a second), until far enough beyond the limit."""
    times, values = [0.0], [0.0]
    reached_s = math.inf
    for seconds, rate in pieces:
        times.append(times[-1] + seconds)
        values.append(values[-1] + seconds * rate)
        if values[-1] >= 1.0:
            reached_s = min(reached_s, times[-1])
        if times[-1] >= reached_s + BEYOND_S:
            break
    return times, values


def _smooth(source: SourceSpec, reach_s: float, rng: random.Random) -> Iterator[tuple[float, float]]:
    level = 0.0
    while True:
        yield DRIFT_EVERY_S, math.exp(level) / reach_s
        level = 0.98 * level + rng.gauss(0.0, source.drift)


def _bursty(source: SourceSpec, reach_s: float, rng: random.Random) -> Iterator[tuple[float, float]]:
    """A burst's length and the gaps between them are such that the mean rate reaches the limit in time."""
    base = 1.0 / (reach_s * (1.0 + BURST_SHARE * (source.burst_factor - 1.0)))
    gap_s = sum(BURST_S) / 2 * (1.0 - BURST_SHARE) / BURST_SHARE
    while True:
        yield rng.expovariate(1 / gap_s) + 1e-3, base
        yield rng.uniform(*BURST_S), base * _within(BURST_FACTOR, source.burst_factor * rng.uniform(0.85, 1.15))


def _stepping(source: SourceSpec, reach_s: float, rng: random.Random) -> tuple[list[float], list[float]]:
    times, values = [0.0], [0.0]
    reached_s = math.inf
    while times[-1] < reached_s + BEYOND_S:
        times.append(times[-1] + rng.expovariate(1 / (source.step * reach_s)) + 1e-6)
        values.append(values[-1] + _within(STEP, source.step * rng.uniform(0.8, 1.2)))
        if values[-1] >= 1.0:
            reached_s = min(reached_s, times[-1])
    return times, values


def _within(bounds: tuple[float, float], value: float) -> float:
    return min(bounds[1], max(bounds[0], value))


def _pauses(reach_s: float, rng: random.Random) -> list[tuple[float, float]]:
    """When a run pauses, in seconds of work since its start, and for how long."""
    if rng.random() >= PAUSING_SHARE:
        return []
    return sorted((rng.uniform(0.0, reach_s), rng.uniform(*PAUSE_S)) for _ in range(rng.choice((1, 2))))


def _with_pauses(times: Sequence[float], reach_s: float, rng: random.Random) -> list[float]:
    """Times of steps, later by the pauses before them."""
    pauses = _pauses(reach_s, rng)
    return [at + sum(length for begins, length in pauses if begins < at) for at in times]


def _paused(
    times: list[float], values: list[float], reach_s: float, rng: random.Random
) -> tuple[list[float], list[float]]:
    """Points of a line with level pieces let in for the pauses."""
    shift = 0.0
    pauses = _pauses(reach_s, rng)
    line = Curve(tuple(times), tuple(values))
    points = [(0.0, 0.0)]
    for (t0, _), (t1, v1) in pairwise(zip(times, values, strict=True)):
        while pauses and t0 <= pauses[0][0] < t1:
            begins, length = pauses.pop(0)
            if begins > t0:
                points.append((begins + shift, line.true(begins)))
            shift += length
            points.append((begins + shift, points[-1][1]))
        points.append((t1 + shift, v1))
    return [at for at, _ in points], [value for _, value in points]
