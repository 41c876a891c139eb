"""What an abort saved: order of bases, floors, caps, and never a claim that nothing supports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Basis, Saving
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import PlatformCap, Progress, RunState, Snapshot, Source, replace
from watchdog.engine.savings import HISTORY_MIN, PROGRESS_FLOOR, estimate, settle, share_done

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


# ---- a run that is aborted more than once


def saved(basis: Basis, projected: float, usd: float) -> Saving:
    return Saving(basis, Usage(cost_usd=projected), usd=usd)


def settled(latest: Saving, used: float, *earlier: Saving) -> list[float | None]:
    """What stands in the end, oldest first."""
    newest, kept = settle(latest, Usage(cost_usd=used), earlier)
    return [each.usd for each in (*kept, newest)]


def test_a_run_capped_at_10_dollars_saves_no_more_than_10_dollars() -> None:
    first = saved(Basis.CAP, 10.0, 8.9)
    assert settled(saved(Basis.CAP, 10.0, 8.87), 1.13, first) == [pytest.approx(8.87), 0.0]


def test_what_is_not_booked_yet_goes_to_the_latest_abort() -> None:
    assert settled(saved(Basis.HISTORY, 12.0, 9.0), 3.0, saved(Basis.HISTORY, 8.0, 6.0)) == [6.0, 3.0]


def test_what_the_run_used_after_all_is_taken_back_of_the_newest_first() -> None:
    earlier = [saved(Basis.HISTORY, 10.0, 5.0), saved(Basis.HISTORY, 10.0, 2.0)]
    assert settled(saved(Basis.HISTORY, 10.0, 4.0), 6.0, *earlier) == [4.0, 0.0, 0.0]
    assert settled(Saving(), 4.0, *earlier) == [5.0, 1.0, None]
    assert settled(Saving(), 11.0, *earlier) == [0.0, 0.0, None]


def test_a_believable_estimate_takes_the_place_of_a_bound() -> None:
    assert settled(saved(Basis.PROGRESS, 4.0, 1.0), 3.0, saved(Basis.CAP, 100.0, 98.0)) == [0.0, 1.0]
    assert settled(saved(Basis.CAP, 10.0, 7.0), 3.0, saved(Basis.PROGRESS, 6.0, 4.0)) == [4.0, 3.0]


def test_what_was_booked_at_first_is_kept_in_the_record() -> None:
    _, (once,) = settle(Saving(), Usage(cost_usd=4.0), [saved(Basis.HISTORY, 10.0, 8.0)])
    _, (twice,) = settle(Saving(), Usage(cost_usd=7.0), [once])
    assert [(each.usd, each.booked_usd) for each in (once, twice)] == [(6.0, 8.0), (3.0, 8.0)]


def test_nothing_changes_where_the_use_is_not_known() -> None:
    earlier = (saved(Basis.HISTORY, 10.0, 8.0),)
    assert settle(Saving(), Usage(), earlier) == (Saving(), earlier)


_AMOUNT = st.floats(0, 1e6)


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[Saving, Usage]]:
    """A run that is aborted, resurrected and aborted again: estimates for the whole of it, and what it had used by
    then, which only rises."""
    used = sorted(draw(st.lists(st.tuples(_AMOUNT, _AMOUNT), min_size=1, max_size=6)))
    ends, most = [], 0.0
    for cost, credits_used in used:
        most = max(most, credits_used)
        basis = draw(st.none() | st.sampled_from(Basis))
        usage = Usage(credits=draw(st.sampled_from([None, most])), cost_usd=cost)
        projected = Usage(draw(st.none() | _AMOUNT), draw(st.none() | _AMOUNT)) if basis else Usage()
        amounts = [
            None if whole is None or now is None else max(0.0, whole - now)
            for whole, now in ((projected.credits, usage.credits), (projected.cost_usd, usage.cost_usd))
        ]
        ends.append((Saving(basis, projected, *amounts), usage))
    return ends


@settings(max_examples=500)
@given(ends=lives())
def test_all_aborts_of_a_run_save_no_more_than_it_could_have_cost_minus_what_it_used(
    ends: list[tuple[Saving, Usage]],
) -> None:
    booked: tuple[Saving, ...] = ()
    for latest, used in ends:
        newest, kept = settle(latest, used, booked)
        assert settle(latest, used, kept)[1] == kept, "settled once more after a crash, nothing else is taken back"
        for before, after in zip(booked, kept, strict=True):
            assert 0 <= (after.usd or 0.0) <= (before.usd or 0.0)
            assert 0 <= (after.credits or 0.0) <= (before.credits or 0.0)
        booked = (*kept, newest)
        for kind in (Meter.CREDITS, Meter.COST_USD):
            known = [each.projected.of(kind) for each in booked if each.projected.of(kind) is not None]
            total = sum((each.credits if kind is Meter.CREDITS else each.usd) or 0.0 for each in booked)
            now = used.of(kind)
            if known and now is not None:
                assert total <= max(0.0, (known[-1] or 0.0) - now) + 1e-6
            for each in booked:
                amount = each.credits if kind is Meter.CREDITS else each.usd
                assert amount is None or amount >= 0
