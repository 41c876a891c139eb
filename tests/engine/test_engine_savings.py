"""What an abort saved: order of bases, floors, caps, and never a claim that nothing supports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Basis
from watchdog.domain.run import PlatformCap, Progress, RunState, Snapshot, Source, Usage, replace
from watchdog.engine.savings import HISTORY_MIN, PROGRESS_FLOOR, estimate, share_done

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(usage: Usage, **details: Any) -> Snapshot:
    base = Snapshot(
        "main",
        "lobstr",
        "run-1",
        Source("k", "maps"),
        RunState.RUNNING,
        "running",
        usage,
        NOON,
        True,
        resurrect_count=0,
    )
    return replace(base, **details)


USED = Usage(credits=40.0, cost_usd=0.08, duration_s=600.0)
FINAL = run(Usage(credits=42.0, cost_usd=0.084, duration_s=620.0), state=RunState.ABORTED)
FIVE = [Usage(credits=figure, cost_usd=figure / 500) for figure in (90, 100, 110, 120, 500)]
TIMED = PlatformCap(timeout_s=1240.0)
HALF = Progress(share=0.5)


@pytest.mark.parametrize(
    ("progress", "history", "cap", "basis", "saved", "usd"),
    [
        (HALF, FIVE, TIMED, Basis.PROGRESS, 38.0, 0.076),
        (Progress(), FIVE, TIMED, Basis.HISTORY, 68.0, 0.136),
        (Progress(), FIVE[1:], TIMED, Basis.CAP, 42.0, 0.084),
        (Progress(), [], PlatformCap(), None, None, None),
        (Progress(share=0.04), FIVE, TIMED, Basis.HISTORY, 68.0, 0.136),
        (Progress(share=0.5, results_done=30, results_total=100), [], TIMED, Basis.PROGRESS, 40 / 0.3 - 42, None),
        (Progress(share=1.0), FIVE, TIMED, Basis.PROGRESS, 0.0, 0.0),
        (Progress(results_done=300, results_total=100), FIVE, TIMED, Basis.HISTORY, 68.0, 0.136),
    ],
)
def test_the_first_basis_that_says_anything_counts(
    progress: Progress,
    history: Sequence[Usage],
    cap: PlatformCap,
    basis: Basis | None,
    saved: float | None,
    usd: float | None,
) -> None:
    saving = estimate(run(USED, progress=progress, cap=cap), FINAL, history)
    assert saving.basis is basis
    assert saving.credits == (None if saved is None else pytest.approx(saved))
    if usd is not None:
        assert saving.usd == pytest.approx(usd)


def test_a_run_past_the_median_saves_nothing_by_history() -> None:
    for middle in (41.0, 42.0):
        saving = estimate(run(USED), FINAL, [Usage(credits=middle)] * HISTORY_MIN)
        assert saving.basis is None
        assert saving.credits is None


def test_runs_of_which_the_figure_is_not_known_make_no_history() -> None:
    history = [Usage(credits=100.0)] * (HISTORY_MIN - 1) + [Usage(cost_usd=1.0)] * HISTORY_MIN
    saving = estimate(run(USED), FINAL, history)
    assert (saving.basis, saving.credits) == (Basis.HISTORY, None)
    assert saving.usd == pytest.approx(1.0 - 0.084)


@pytest.mark.parametrize(
    ("cap", "resurrected", "saved"),
    [
        (PlatformCap(timeout_s=1240.0), 0, 42.0),
        (PlatformCap(timeout_s=620.0), 0, 0.0),
        (PlatformCap(timeout_s=600.0), 0, 0.0),
        (PlatformCap(max_total_charge_usd=0.168), 0, 42.0),
        (PlatformCap(timeout_s=1240.0, max_total_charge_usd=0.126), 0, 21.0),
        (PlatformCap(timeout_s=930.0, max_total_charge_usd=0.168), 0, 21.0),
        (PlatformCap(max_total_charge_usd=0.05), 0, 0.0),
        # since when the time-out counts is not known after a resurrection, nor where their number is not
        (PlatformCap(timeout_s=1240.0), 1, None),
        (PlatformCap(timeout_s=1240.0), None, None),
        (PlatformCap(timeout_s=1240.0, max_total_charge_usd=0.168), 1, 42.0),
    ],
)
def test_the_platforms_own_stop(cap: PlatformCap, resurrected: int | None, saved: float | None) -> None:
    saving = estimate(run(USED, cap=cap, resurrect_count=resurrected), FINAL)
    assert saving.basis is (None if saved is None else Basis.CAP)
    assert saving.credits == (None if saved is None else pytest.approx(saved))


def test_the_note_holds_what_is_needed_to_check_the_projection_by_hand() -> None:
    assert estimate(run(USED, progress=HALF), FINAL).note == "share done 0.5 at 40 credits, $0.08"
    assert estimate(run(USED), FINAL, FIVE).note == "median of 5 earlier runs"
    note = estimate(run(USED, cap=TIMED), FINAL).note
    assert note == "42 credits, $0.084 in 620 s, 620 s before the platform's own stop"
    assert estimate(run(USED), FINAL).note == ""


@pytest.mark.parametrize("duration", [None, 0.0])
def test_no_burn_rate_without_running_time(duration: float | None) -> None:
    final = replace(FINAL, usage=replace(FINAL.usage, duration_s=duration))
    assert estimate(run(USED, cap=TIMED), final).basis is None


def test_a_figure_that_is_not_known_saves_nothing_and_not_zero() -> None:
    final = run(Usage(credits=42.0), state=RunState.ABORTED)
    saving = estimate(run(Usage(credits=40.0), progress=HALF), final)
    assert (saving.credits, saving.usd) == (38.0, None)
    assert estimate(run(USED, progress=HALF), run(Usage(), state=RunState.ABORTED)).credits is None


@pytest.mark.parametrize(
    ("progress", "share"),
    [
        (Progress(), None),
        (Progress(share=PROGRESS_FLOOR), PROGRESS_FLOOR),
        (Progress(share=0.049), None),
        (Progress(share=1.01), None),
        (Progress(share=0.5, results_done=3), 0.5),
        (Progress(share=0.5, results_total=0, results_done=3), 0.5),
        (Progress(share=0.5, results_total=10, results_done=6), 0.6),
        (Progress(share=0.5, results_total=1000, results_done=6), None),
    ],
)
def test_share_done(progress: Progress, share: float | None) -> None:
    assert share_done(run(USED, progress=progress)) == share


_FIGURE = st.none() | st.floats(0, 1e9)
_USAGE = st.builds(Usage, _FIGURE, _FIGURE, _FIGURE)
_COUNT = st.none() | st.integers(0, 10**6)


@settings(max_examples=300)
@given(
    before=_USAGE,
    final=_USAGE,
    history=st.lists(_USAGE, max_size=8),
    progress=st.builds(Progress, st.none() | st.floats(0, 1), _COUNT, _COUNT),
    cap=st.builds(PlatformCap, _FIGURE, _FIGURE),
    resurrected=st.none() | st.integers(0, 2),
)
def test_a_saving_is_finite_never_negative_and_adds_up(
    before: Usage, final: Usage, history: list[Usage], progress: Progress, cap: PlatformCap, resurrected: int | None
) -> None:
    seen = run(before, progress=progress, cap=cap, resurrect_count=resurrected)
    saving = estimate(seen, run(final, state=RunState.ABORTED), history)
    pairs = (
        (saving.credits, saving.projected.credits, final.credits),
        (saving.usd, saving.projected.cost_usd, final.cost_usd),
    )
    for saved, projected, used in pairs:
        if saved is None:
            assert projected is None or used is None
            continue
        assert saving.basis is not None
        assert projected is not None
        assert used is not None
        assert math.isfinite(saved)
        assert saved == max(0.0, projected - used)
