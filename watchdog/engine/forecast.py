"""What can be said of a run between two looks.

Facts used (Apify's documentation): a resurrection leaves the stopped time out of `stats.runTimeSecs` and raises
`resurrectCount`; compute units grow with memory x running time and no faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from watchdog.domain.run import LimitKind, RunState, Snapshot, Usage


@dataclass(frozen=True, slots=True)
class RunningFloor:
    """A lower bound on a run's running time: at least `seconds` at the time `at_s` of our monotonic clock."""

    seconds: float
    at_s: float

    def at(self, monotonic_s: float) -> float:
        """The bound now, if the run has been running all the while."""
        return self.seconds + max(0.0, monotonic_s - self.at_s)


def next_floor(
    floor: RunningFloor | None, previous: Snapshot | None, current: Snapshot, monotonic_s: float
) -> RunningFloor | None:
    """The bound after another inspection.

    Platforms refresh their figures late: a run seen at 600 s of running time a minute ago has run for at least
    660 s by now, whatever a stale figure says, if it was running at both looks and was not stopped in between (the
    number of resurrections shows that). Nothing is concluded where that number is not known.
    """
    reported = current.usage.duration_s
    carried = floor.at(monotonic_s) if floor is not None and _ran_through(previous, current) else None
    known = [seconds for seconds in (reported, carried) if seconds is not None]
    return RunningFloor(max(known), monotonic_s) if known else None


def _ran_through(previous: Snapshot | None, current: Snapshot) -> bool:
    return (
        previous is not None
        and previous.state is RunState.RUNNING
        and current.state is RunState.RUNNING
        and current.resurrect_count is not None
        and current.resurrect_count == previous.resurrect_count
    )


def with_floor(usage: Usage, floor: RunningFloor | None) -> Usage:
    """The usage with a stale duration lifted to what is provable."""
    if floor is None or (usage.duration_s is not None and usage.duration_s >= floor.seconds):
        return usage
    return replace(usage, duration_s=floor.seconds)


def upper_bound(swept: Snapshot, inspected: Snapshot | None, age_s: float) -> Usage:
    """The most that a run can have used by now: a suspicion, never a proof.

    `swept` is the newest snapshot, `inspected` the last inspection and `age_s` the seconds since then. Figures that the
    sweep has count as they are; those it lacks are the inspection's, grown by the fastest they can grow. A figure
    with no such bound stays None: only another inspection tells.
    """
    if inspected is None:
        return swept.usage
    duration = _most(inspected.usage.duration_s, 1.0, age_s)
    if swept.usage.duration_s is not None:
        duration = swept.usage.duration_s if duration is None else min(duration, swept.usage.duration_s)
    if inspected.state not in (RunState.RUNNING, RunState.PENDING, RunState.TIMING_OUT):
        duration = swept.usage.duration_s
    return Usage(
        credits=_first(swept.usage.credits, _bounded(inspected, LimitKind.MAX_CREDITS, age_s)),
        cost_usd=_first(swept.usage.cost_usd, _bounded(inspected, LimitKind.MAX_COST_USD, age_s)),
        duration_s=duration,
    )


def _bounded(inspected: Snapshot, kind: LimitKind, age_s: float) -> float | None:
    return _most(inspected.usage.of(kind), inspected.burn_cap_per_s.get(kind), age_s)


def _most(used: float | None, rate_per_s: float | None, age_s: float) -> float | None:
    return None if used is None or rate_per_s is None else used + rate_per_s * age_s


def _first(*figures: float | None) -> float | None:
    return next((figure for figure in figures if figure is not None), None)
