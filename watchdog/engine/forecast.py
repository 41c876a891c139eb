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


def upper_bound(swept: Snapshot, inspected: Snapshot | None, age_s: float, swept_age_s: float = 0.0) -> Usage:
    """The most that a run can have used by now: a suspicion, never a proof.

    `swept` is the newest snapshot of a sweep and `swept_age_s` its age in seconds, `inspected` the last inspection and
    `age_s` the seconds since then. Running time grows by a second a second from whichever look says less, unless the
    run is paused. Of credits and dollars, the sweep's count as they are, though never for less than an inspection
    showed; those that the sweep lacks are the inspection's, grown by the fastest they can grow. A figure with no such
    bound stays None: only another inspection tells.
    """
    rate = 0.0 if swept.state is RunState.PAUSED else 1.0
    duration = _most(swept.usage.duration_s, rate, swept_age_s)
    if inspected is None:
        return replace(swept.usage, duration_s=duration)
    if inspected.state in _RUNS_ON:
        since = _most(inspected.usage.duration_s, 1.0, age_s)
        duration = since if duration is None else min(duration, duration if since is None else since)
    return Usage(
        credits=_metered(LimitKind.MAX_CREDITS, swept, inspected, age_s),
        cost_usd=_metered(LimitKind.MAX_COST_USD, swept, inspected, age_s),
        duration_s=duration,
    )


#: After an inspection in one of these states, running time can be counted on from it.
_RUNS_ON = (RunState.RUNNING, RunState.PENDING, RunState.TIMING_OUT)


def _metered(kind: LimitKind, swept: Snapshot, inspected: Snapshot, age_s: float) -> float | None:
    shown, proven = swept.usage.of(kind), inspected.usage.of(kind)
    if shown is None:
        return _most(proven, inspected.burn_cap_per_s.get(kind), age_s)
    return shown if proven is None else max(shown, proven)


def _most(used: float | None, rate_per_s: float | None, age_s: float) -> float | None:
    return None if used is None or rate_per_s is None else used + rate_per_s * age_s
