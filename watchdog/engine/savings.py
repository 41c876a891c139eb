"""What an abort saved: what the run would have used without it, minus what it did use.

The projection rests on the first of these that says anything (docs/savings.md has the formulas and their bias):

- `progress`: the run's own share done when it was last seen before the abort. projected = used then / share.
- `history`: the median of what at least `HISTORY_MIN` earlier runs of this source used that ended by themselves; not if
  this run is already past it.
- `cap`: the platform's own stop. projected = used + burn rate x seconds until the first of time-out and charge cap.

Never negative. No basis: nothing is claimed.

A run that is resurrected can be aborted again. All its aborts together cannot save more than it could have cost minus
what it used in the end: `settle` sees to that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from watchdog.domain.decision import Basis, Saving
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import Snapshot, replace

#: Below this share done, progress says nothing: one page more or less would swing the projection wildly.
PROGRESS_FLOOR = 0.05
#: How many finished runs make a history.
HISTORY_MIN = 5


def estimate(before: Snapshot, final: Snapshot, history: Sequence[Usage] = ()) -> Saving:
    """The saving of an abort.

    `before` is the run just before it, `final` the run after its figures have settled, `history` what earlier runs
    of the source used that ended by themselves.
    """
    projections = (
        (Basis.PROGRESS, _by_progress(before)),
        (Basis.HISTORY, _by_history(final.usage, history)),
        (Basis.CAP, _by_cap(before, final)),
    )
    for basis, (projected, note) in projections:
        if projected.credits is not None or projected.cost_usd is not None:
            return Saving(
                basis,
                projected,
                credits=_saved(projected.credits, final.usage.credits),
                usd=_saved(projected.cost_usd, final.usage.cost_usd),
                note=note,
            )
    return Saving()


def settle(latest: Saving, used: Usage, earlier: Sequence[Saving]) -> tuple[Saving, tuple[Saving, ...]]:
    """Divide what a run saved among its aborts, so that none of it is booked twice: the saving of the latest, and those
    of the earlier ones (oldest first) with what has to be taken back of them.

    `latest` is the estimate for the run as a whole, without a basis if the run ended by itself; `used` is all that the
    run used in the end. The latest gets what is not booked yet. If more is booked than the run can have saved (it went
    on after it was resurrected), the rest is taken back: bounds first, then of the newest first. A believable estimate
    takes the place of a bound. Where the projection or the use is not known, nothing changes.
    """
    kept = list(earlier)
    for kind in _BOOKED:
        latest, kept = _settle_figure(kind, latest, used.of(kind), kept)
    return latest, tuple(kept)


_BOOKED = (Meter.CREDITS, Meter.COST_USD)


def _settle_figure(
    kind: Meter, latest: Saving, used: float | None, earlier: list[Saving]
) -> tuple[Saving, list[Saving]]:
    projections = (saving.projected.of(kind) for saving in (latest, *reversed(earlier)))
    most = _saved(next((figure for figure in projections if figure is not None), None), used)
    if most is None:
        return latest, earlier
    own = _amount(latest, kind)
    if own is not None:
        counts = [saving for saving in earlier if not _is_bound(saving) or _is_bound(latest)]
        booked = sum(_amount(saving, kind) or 0.0 for saving in counts)
        latest = _with_amount(latest, kind, max(0.0, min(own, most - booked)), booked)
    left = max(0.0, most - (_amount(latest, kind) or 0.0))
    kept: dict[int, Saving] = {}
    # What stands firmest is served first.
    for index in sorted(range(len(earlier)), key=lambda index: (_is_bound(earlier[index]), index)):
        saving, amount = earlier[index], _amount(earlier[index], kind)
        kept[index] = saving if amount is None or amount <= left else _cut(saving, kind, left)
        left = max(0.0, left - (amount or 0.0))
    return latest, [kept[index] for index in range(len(earlier))]


def _is_bound(saving: Saving) -> bool:
    return saving.basis is not None and saving.basis.is_bound


def _amount(saving: Saving, kind: Meter) -> float | None:
    return saving.credits if kind is Meter.CREDITS else saving.usd


def _with_amount(saving: Saving, kind: Meter, amount: float, booked: float) -> Saving:
    """With this saved, where so much is booked on earlier aborts of the run already."""
    if not booked:
        return saving
    if kind is Meter.CREDITS:
        note = f"{saving.note}; {booked:.6g} credits are booked on earlier aborts of this run"
        return replace(saving, credits=amount, note=note)
    return replace(saving, usd=amount, note=f"{saving.note}; ${booked:.6g} is booked on earlier aborts of this run")


def _cut(saving: Saving, kind: Meter, left: float) -> Saving:
    """With no more than this left of what was booked."""
    if kind is Meter.CREDITS:
        booked = saving.credits if saving.booked_credits is None else saving.booked_credits
        return replace(saving, credits=left, booked_credits=booked)
    booked = saving.usd if saving.booked_usd is None else saving.booked_usd
    return replace(saving, usd=left, booked_usd=booked)


_Projection = tuple[Usage, str]
_NO_PROJECTION: _Projection = (Usage(), "")


def _saved(projected: float | None, used: float | None) -> float | None:
    return None if projected is None or used is None else max(0.0, projected - used)


def share_done(snapshot: Snapshot) -> float | None:
    """How far the run has come, from 0 to 1; counted results beat the platform's rounded percentage."""
    progress = snapshot.progress
    if progress.results_total and progress.results_done is not None:
        share = progress.results_done / progress.results_total
    elif progress.share is not None:
        share = progress.share
    else:
        return None
    return share if PROGRESS_FLOOR <= share <= 1.0 else None


def _by_progress(before: Snapshot) -> _Projection:
    share = share_done(before)
    if share is None:
        return _NO_PROJECTION
    used = before.usage
    projected = Usage(
        credits=None if used.credits is None else used.credits / share,
        cost_usd=None if used.cost_usd is None else used.cost_usd / share,
    )
    return projected, f"share done {share:.6g} at {_figures(used)}"


def _figures(used: Usage) -> str:
    known = [f"{used.credits:.6g} credits"] if used.credits is not None else []
    known += [f"${used.cost_usd:.6g}"] if used.cost_usd is not None else []
    return ", ".join(known)


def _by_history(used: Usage, history: Sequence[Usage]) -> _Projection:
    def typical(kind: Meter) -> float | None:
        figures = [figure for past in history if (figure := past.of(kind)) is not None]
        if len(figures) < HISTORY_MIN:
            return None
        middle = median(figures)
        now = used.of(kind)
        return middle if now is not None and now < middle else None

    projected = Usage(credits=typical(Meter.CREDITS), cost_usd=typical(Meter.COST_USD))
    return projected, f"median of {len(history)} earlier runs"


def _by_cap(before: Snapshot, final: Snapshot) -> _Projection:
    duration = final.usage.duration_s
    if not duration:
        return _NO_PROJECTION
    seconds_left = _seconds_to_cap(before, final.usage, duration)
    if seconds_left is None:
        return _NO_PROJECTION

    def at_cap(used: float | None) -> float | None:
        if used is None:
            return None
        projected = used + used * (seconds_left / duration)
        return projected if math.isfinite(projected) else None

    projected = Usage(credits=at_cap(final.usage.credits), cost_usd=at_cap(final.usage.cost_usd))
    return (
        projected,
        f"{_figures(final.usage)} in {duration:.6g} s, {seconds_left:.6g} s before the platform's own stop",
    )


def _seconds_to_cap(before: Snapshot, used: Usage, duration_s: float) -> float | None:
    """Running seconds until the platform would have stopped the run, at its burn rate so far; None: it would not."""
    left = []
    cap = before.cap
    if cap.timeout_s and before.resurrect_count == 0:
        # After a resurrection the time-out counts from a moment that no answer names.
        left.append(max(0.0, cap.timeout_s - duration_s))
    if cap.max_total_charge_usd is not None and used.cost_usd:
        left.append(max(0.0, cap.max_total_charge_usd - used.cost_usd) / used.cost_usd * duration_s)
    return min(left) if left else None
