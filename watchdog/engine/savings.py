"""What an abort saved: what the run would have used without it, minus what it did use.

What it would have used is `engine.projection`'s. Never negative. No basis: nothing is claimed.

A run that is resurrected can be aborted again. All its aborts together cannot save more than it could have cost minus
what it used in the end: `settle` sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.domain.decision import Saving
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import Snapshot, replace
from watchdog.engine.projection import projections


def estimate(before: Snapshot, final: Snapshot, history: Sequence[Usage] = ()) -> Saving:
    """The saving of an abort.

    `before` is the run just before it, `final` the run after its figures have settled, `history` what earlier runs
    of the source used that ended by themselves.
    """
    for basis, projected, note in projections(before, final, history):
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
    figures = (saving.projected.of(kind) for saving in (latest, *reversed(earlier)))
    most = _saved(next((figure for figure in figures if figure is not None), None), used)
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


def _saved(projected: float | None, used: float | None) -> float | None:
    return None if projected is None or used is None else max(0.0, projected - used)
