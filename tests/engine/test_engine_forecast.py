"""Bounds between two looks: the lower one is proven, the upper one is never below the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.run import LimitKind, RunState, Snapshot, Source, Usage
from watchdog.engine.forecast import RunningFloor, next_floor, upper_bound, with_floor

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(**details: Any) -> Snapshot:
    base = Snapshot(
        "main",
        "apify",
        "run-1",
        Source("k", "maps"),
        RunState.RUNNING,
        "RUNNING",
        Usage(),
        NOON,
        True,
        resurrect_count=0,
    )
    return replace(base, **details)


def ran(seconds: float | None, **details: Any) -> Snapshot:
    return run(usage=Usage(duration_s=seconds), **details)


def test_a_stale_figure_is_lifted_to_what_the_run_must_have_run_since() -> None:
    floor = next_floor(None, None, ran(600.0), 1000.0)
    floor = next_floor(floor, ran(600.0), ran(600.0), 1060.0)
    assert floor == RunningFloor(660.0, 1060.0)
    assert with_floor(Usage(duration_s=600.0), floor).duration_s == 660.0
    assert with_floor(Usage(), floor).duration_s == 660.0
    assert with_floor(Usage(duration_s=700.0), floor).duration_s == 700.0


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (ran(600.0), ran(600.0, resurrect_count=1)),
        (ran(600.0), ran(600.0, resurrect_count=None)),
        (ran(600.0, resurrect_count=None), ran(600.0, resurrect_count=None)),
        (ran(600.0, state=RunState.PENDING), ran(600.0)),
        (ran(600.0), ran(600.0, state=RunState.ABORTING)),
        (ran(600.0, state=RunState.PAUSED), ran(600.0)),
        (None, ran(600.0)),
    ],
)
def test_nothing_is_carried_on_that_may_hold_stopped_time(before: Snapshot | None, now: Snapshot) -> None:
    assert next_floor(RunningFloor(600.0, 1000.0), before, now, 1060.0) == RunningFloor(600.0, 1060.0)


def test_without_a_figure_there_is_no_bound() -> None:
    assert next_floor(None, ran(None), ran(None), 5.0) is None
    assert with_floor(Usage(cost_usd=1.0), None) == Usage(cost_usd=1.0)


@dataclass
class Life:
    """A run that is running and stopped by turns; each start after the first is a resurrection."""

    turns: list[tuple[float, float]]  # seconds running, seconds stopped

    def at(self, moment: float) -> tuple[bool, float, int]:
        """Whether it is running, seconds run so far, resurrections so far."""
        ran_s = 0.0
        for count, (running, stopped) in enumerate(self.turns):
            if moment < running:
                return True, ran_s + moment, count
            ran_s += running
            moment -= running
            if moment < stopped:
                return False, ran_s, count
            moment -= stopped
        return False, ran_s, max(0, len(self.turns) - 1)

    def shown(self, moment: float, stale_s: float | None) -> Snapshot:
        """What an inspection shows: state and resurrections of now, running time of a while ago or none at all."""
        running, _, count = self.at(moment)
        figure = None if stale_s is None else self.at(max(0.0, moment - stale_s))[1]
        return ran(figure, state=RunState.RUNNING if running else RunState.ABORTED, resurrect_count=count)


_LIVES = st.builds(Life, st.lists(st.tuples(st.floats(1, 500), st.floats(1, 500)), min_size=1, max_size=4))


@settings(max_examples=200)
@given(life=_LIVES, looks=st.lists(st.tuples(st.floats(0.1, 200), st.none() | st.floats(0, 90)), max_size=12))
def test_the_floor_is_never_above_the_truth(life: Life, looks: list[tuple[float, float | None]]) -> None:
    floor, previous, moment = None, None, 0.0
    for pause, stale_s in looks:
        moment += pause
        current = life.shown(moment, stale_s)
        floor = next_floor(floor, previous, current, 5000.0 + moment)
        truth = life.at(moment)[1]
        lifted = with_floor(current.usage, floor).duration_s
        assert lifted is None or lifted <= truth + 1e-6
        assert lifted is None or current.usage.duration_s is None or lifted >= current.usage.duration_s
        previous = replace(current, usage=with_floor(current.usage, floor))


@given(
    running=st.floats(10, 500),
    pause=st.floats(0.1, 9),
    rate=st.floats(0, 1),
    sweep_at=st.floats(0, 1),
    look_at=st.floats(0, 1),
)
def test_the_most_is_never_below_the_truth_for_fresh_figures(
    running: float, pause: float, rate: float, sweep_at: float, look_at: float
) -> None:
    """A run on and on, swept and inspected once each, in any order; asked for at `running`."""
    swept_s, looked_s = sweep_at * running, look_at * running
    swept = run(usage=Usage(duration_s=swept_s + pause), inspected=False)
    inspected = run(
        usage=Usage(duration_s=looked_s, credits=rate * looked_s), burn_cap_per_s={LimitKind.MAX_CREDITS: rate}
    )
    most = upper_bound(swept, inspected, running - looked_s, running - swept_s)
    assert most.duration_s is not None
    assert most.credits is not None
    assert most.duration_s >= running - 1e-6
    assert most.credits >= rate * running - 1e-6
    alone = upper_bound(swept, None, 0.0, running - swept_s)
    assert alone.duration_s is not None
    assert alone.duration_s >= running - 1e-6


@pytest.mark.parametrize(
    ("swept", "inspected", "age_s", "most"),
    [
        # the sweep's time since the start is too much for a resurrected run; the inspection knows better
        (Usage(duration_s=9000.0), ran(600.0), 5.0, Usage(duration_s=605.0)),
        (Usage(duration_s=604.0), ran(600.0), 5.0, Usage(duration_s=604.0)),
        (Usage(), ran(600.0), 5.0, Usage(duration_s=605.0)),
        (Usage(), ran(None), 5.0, Usage()),
        # paused when inspected: only the sweep's own figure says whether it runs again
        (Usage(duration_s=610.0), ran(600.0, state=RunState.PAUSED), 900.0, Usage(duration_s=610.0)),
        (Usage(), ran(600.0, state=RunState.PAUSED), 900.0, Usage()),
        # dollars have no fastest growth: the sweep's count, but nothing below what an inspection proved
        (Usage(cost_usd=4.0), run(usage=Usage(cost_usd=4.5)), 5.0, Usage(cost_usd=4.5)),
        (Usage(cost_usd=5.0), run(usage=Usage(cost_usd=4.5)), 5.0, Usage(cost_usd=5.0)),
        (Usage(), run(usage=Usage(cost_usd=4.5)), 5.0, Usage()),
        (Usage(credits=3.0), run(usage=Usage()), 5.0, Usage(credits=3.0)),
    ],
)
def test_the_most_by_sweep_and_inspection(swept: Usage, inspected: Snapshot, age_s: float, most: Usage) -> None:
    assert upper_bound(run(usage=swept, inspected=False), inspected, age_s) == most


def test_before_any_inspection_the_sweep_counts_and_grows_unless_the_run_is_paused() -> None:
    swept = ran(100.0, inspected=False)
    assert upper_bound(swept, None, 0.0) == Usage(duration_s=100.0)
    assert upper_bound(swept, None, 0.0, 7.0) == Usage(duration_s=107.0)
    assert upper_bound(replace(swept, state=RunState.PAUSED), None, 0.0, 7.0) == Usage(duration_s=100.0)
