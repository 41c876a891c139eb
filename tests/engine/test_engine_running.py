"""How long a run has run: never more than the truth, and as much of it as was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine.running import RunningTime, proven

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
GIGABYTE = 1 / 3600
"""Compute units a second."""


def ran(seconds: float | None, **details: Any) -> Snapshot:
    base = Snapshot(
        "main",
        "apify",
        "run-1",
        Source("k", "maps"),
        RunState.RUNNING,
        "RUNNING",
        Usage(duration_s=seconds),
        NOON,
        True,
        resurrect_count=0,
    )
    return replace(base, **details)


def looked(running: RunningTime, seen: Snapshot, at_s: float, *, unbroken: bool = False) -> Usage:
    running.inspect(seen, at_s, unbroken=unbroken)
    return proven(seen, running).usage


def test_a_stale_figure_is_lifted_to_what_the_run_must_have_run_since() -> None:
    running = RunningTime(1000.0, True)
    assert looked(running, ran(600.0), 1000.0).duration_s == 600.0
    assert looked(running, ran(600.0), 1060.0).duration_s == 660.0
    assert looked(running, ran(None), 1070.0).duration_s == 670.0
    assert looked(running, ran(700.0), 1071.0).duration_s == 700.0


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (ran(600.0), ran(600.0, resurrect_count=1)),
        (ran(600.0), ran(600.0, resurrect_count=None)),
        (ran(600.0, resurrect_count=None), ran(600.0, resurrect_count=None)),
        (ran(600.0, state=RunState.PENDING), ran(600.0)),
        (ran(600.0), ran(600.0, state=RunState.ABORTING)),
        (ran(600.0, state=RunState.PAUSED), ran(600.0)),
    ],
)
def test_nothing_is_carried_on_that_may_hold_stopped_time(before: Snapshot, now: Snapshot) -> None:
    running = RunningTime(1000.0, before.state is RunState.RUNNING)
    looked(running, before, 1000.0)
    assert looked(running, now, 1060.0).duration_s == 600.0


def test_a_figure_that_goes_back_was_wrong_before() -> None:
    running = RunningTime(0.0, True)
    assert looked(running, ran(50_000.0), 0.0).duration_s == 50_000.0
    assert looked(running, ran(100.0), 10.0).duration_s == 100.0


def test_a_run_without_any_figure_has_run_for_as_long_as_it_was_seen_running() -> None:
    running = RunningTime(0.0, False)
    running.sight(RunState.PENDING, 2400.0, unbroken=True)
    running.sight(RunState.RUNNING, 2405.0, unbroken=True)
    running.sight(RunState.RUNNING, 2500.0, unbroken=True)
    snapshot = ran(None, resurrect_count=None, most=Usage(duration_s=2510.0))
    running.inspect(snapshot, 2510.0, unbroken=True)
    shown = proven(snapshot, running)
    assert shown.usage.duration_s == 105.0
    assert shown.most.duration_s == 2510.0


def test_where_nobody_can_say_how_long_it_may_have_run_it_says_so() -> None:
    running = RunningTime(0.0, True)
    running.inspect(ran(None), 0.0, unbroken=False)
    assert proven(ran(None), running).most.duration_s == math.inf


def test_where_all_are_figures_of_the_platform_sightings_never_add_to_them() -> None:
    running = RunningTime(0.0, True)
    running.sight(RunState.RUNNING, 12.0, unbroken=True)
    assert looked(running, ran(4.0), 12.0, unbroken=True).duration_s == 4.0


def test_a_break_leaves_what_was_seen_and_no_more() -> None:
    running = RunningTime(0.0, True)
    running.sight(RunState.RUNNING, 50.0, unbroken=True)
    running.interrupt()
    running.sight(RunState.RUNNING, 90.0, unbroken=True)
    running.sight(RunState.PAUSED, 100.0, unbroken=True)
    running.sight(RunState.RUNNING, 500.0, unbroken=True)
    running.sight(RunState.RUNNING, 510.0, unbroken=True)
    assert running.proven_s == 60.0
    assert running.proven_at(520.0) == 70.0


def test_compute_units_are_memory_times_the_time_seen_running() -> None:
    """Also across a resurrection with other memory."""
    running = RunningTime(0.0, True)
    small = ran(None, burn_cap_per_s={Meter.CREDITS: GIGABYTE}, resurrect_count=None)
    large = replace(small, burn_cap_per_s={Meter.CREDITS: 4 * GIGABYTE})
    assert looked(running, small, 1800.0, unbroken=True).credits == pytest.approx(0.5)
    running.interrupt()
    looked(running, large, 3000.0)
    assert looked(running, large, 3000.0 + 900.0, unbroken=True).credits == pytest.approx(0.5 + 1.0)


def test_a_figure_of_the_platform_is_not_replaced() -> None:
    running = RunningTime(0.0, True)
    snapshot = ran(100.0, usage=Usage(credits=3.0, duration_s=100.0), burn_cap_per_s={Meter.CREDITS: GIGABYTE})
    running.inspect(snapshot, 0.0, unbroken=False)
    shown = proven(snapshot, running)
    assert shown.usage.credits == 3.0
    assert shown.most == Usage()


def test_the_platforms_own_figure_outweighs_sightings_that_are_apart() -> None:
    """Stopped and resurrected between two sweeps that both showed it running."""
    running = RunningTime(0.0, True)
    looked(running, ran(0.1), 0.0)
    for at_s in (5.0, 10.0, 15.0, 20.0):
        running.sight(RunState.RUNNING, at_s, unbroken=True)
    assert looked(running, ran(17.5, resurrect_count=1), 20.0, unbroken=True).duration_s == 17.5
    assert running.proven_at(25.0) == 22.5
    assert looked(running, ran(22.0, resurrect_count=1), 25.0, unbroken=True).duration_s == 22.5


def test_another_number_of_resurrections_takes_back_what_was_seen_since_the_last() -> None:
    """Without any figure of the platform's: the stop lies somewhere among the sightings."""
    running = RunningTime(0.0, True)
    looked(running, ran(None), 0.0)
    running.sight(RunState.RUNNING, 10.0, unbroken=True)
    assert looked(running, ran(None), 20.0, unbroken=True).duration_s == 20.0
    running.sight(RunState.RUNNING, 30.0, unbroken=True)
    running.sight(RunState.RUNNING, 40.0, unbroken=True)
    assert looked(running, ran(None, resurrect_count=1), 40.0, unbroken=True).duration_s == 20.0
    assert looked(running, ran(None, resurrect_count=1), 50.0).duration_s == 30.0


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

    def shown(self, moment: float, stale_s: float | None, *, counts: bool) -> Snapshot:
        """What an inspection shows: state and resurrections of now, running time of a while ago or none at all."""
        running, _, count = self.at(moment)
        figure = None if stale_s is None else self.at(max(0.0, moment - stale_s))[1]
        state = RunState.RUNNING if running else RunState.ABORTED
        return ran(figure, state=state, resurrect_count=count if counts else None)

    def stood_still(self, since: float, moment: float) -> bool:
        return self.at(moment)[1] - self.at(since)[1] < moment - since - 1e-9


_LIVES = st.builds(Life, st.lists(st.tuples(st.floats(1, 500), st.floats(1, 500)), min_size=1, max_size=4))
_LOOKS = st.lists(
    st.tuples(st.floats(0.1, 200), st.none() | st.floats(0, 90), st.booleans(), st.booleans()), max_size=12
)


@settings(max_examples=300)
@given(life=_LIVES, looks=_LOOKS)
def test_what_is_proven_is_never_above_the_truth(
    life: Life, looks: list[tuple[float, float | None, bool, bool]]
) -> None:
    """Sweeps and looks in any order; a sighting counts as unbroken only where the run did not stop in between."""
    running, moment = RunningTime(5000.0, life.at(0.0)[0]), 0.0
    for pause, stale_s, is_sweep, counts in looks:
        before, moment = moment, moment + pause
        seen = life.shown(moment, stale_s, counts=counts)
        unbroken = not life.stood_still(before, moment)
        if is_sweep:
            running.sight(seen.state, 5000.0 + moment, unbroken=unbroken)
            shown = None
        else:
            shown = looked(running, seen, 5000.0 + moment, unbroken=unbroken).duration_s
        truth = life.at(moment)[1]
        assert running.proven_s <= truth + 1e-6
        assert shown is None or seen.usage.duration_s is None or shown >= seen.usage.duration_s
