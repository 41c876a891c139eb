"""What an abort saved: what the run would have used without it, minus what it did use.

What it would have used is `engine.projection`'s. Never negative. No basis: nothing is claimed.

A run that is resurrected can be aborted again. All its aborts together cannot save more than it could have cost minus
what it used in the end: `settle` sees to that.
"""

from __future__ import annotations

from collections.abc import Sequence

from watchdog.domain.decision import Saving
from watchdog.domain.meter import BOOKED, Meter, Unit, Usage
from watchdog.domain.run import Snapshot, replace
from watchdog.engine.projection import exactly, projections


def estimate(before: Snapshot, final: Snapshot, history: Sequence[Usage] = ()) -> Saving:
    """The saving of an abort.

    `before` is the run just before it, `final` the run after its figures have settled, `history` what earlier runs
    of the source used that ended by themselves.
    """
    for basis, projected, note in projections(before, final, history):
        if any(projected.of(meter) is not None for meter in BOOKED):
            saved = {meter.entry.booked: _saved(projected.of(meter), final.usage.of(meter)) for meter in BOOKED}
            return Saving(basis, projected, note=note, **saved)
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
    for kind in BOOKED:
        latest, kept = _settle_figure(kind, latest, used.of(kind), kept)
    return latest, tuple(kept)


def _settle_figure(
    kind: Meter, latest: Saving, used: float | None, earlier: list[Saving]
) -> tuple[Saving, list[Saving]]:
    figures = (saving.projected.of(kind) for saving in (latest, *reversed(earlier)))
    most = _saved(next((figure for figure in figures if figure is not None), None), used)
    if most is None:
        return latest, earlier
    own = latest.of(kind)
    if own is not None:
        counts = [saving for saving in earlier if not _is_bound(saving) or _is_bound(latest)]
        booked = sum(saving.of(kind) or 0.0 for saving in counts)
        latest = _with_amount(latest, kind, max(0.0, min(own, most - booked)), booked)
    left = max(0.0, most - (latest.of(kind) or 0.0))
    kept: dict[int, Saving] = {}
    # What stands firmest is served first.
    for index in sorted(range(len(earlier)), key=lambda index: (_is_bound(earlier[index]), index)):
        saving, amount = earlier[index], earlier[index].of(kind)
        kept[index] = saving if amount is None or amount <= left else _cut(saving, kind, left)
        left = max(0.0, left - (amount or 0.0))
    return latest, [kept[index] for index in range(len(earlier))]


def _is_bound(saving: Saving) -> bool:
    return saving.basis is not None and saving.basis.is_bound


def _with_amount(saving: Saving, kind: Meter, amount: float, booked: float) -> Saving:
    """With this saved, where so much is booked on earlier aborts of the run already."""
    if not booked:
        return saving
    verb = "is" if kind.entry.unit is Unit.USD else "are"
    note = f"{saving.note}; {exactly(kind, booked)} {verb} booked on earlier aborts of this run"
    return replace(saving, note=note, **{kind.entry.booked: amount})


def _cut(saving: Saving, kind: Meter, left: float) -> Saving:
    """With no more than this left of what was booked."""
    return replace(saving, **{kind.entry.booked: left, f"booked_{kind.entry.booked}": saving.at_first(kind)})


def _saved(projected: float | None, used: float | None) -> float | None:
    return None if projected is None or used is None else max(0.0, projected - used)
