"""What all aborts add up to, by what the metrics tell them apart by: so that nobody need read years of records.

Sums are exact (fractions), so that they do not depend on the order of adding, and what was added can be taken away
again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import NamedTuple

from watchdog.domain.decision import Abort, AbortState, Saving

#: The upper bounds of the histograms: usage past the limit over the limit, and seconds from the breach to the proof.
OVERSHOOT_BOUNDS = (0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
ABORT_SECONDS_BOUNDS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 45, 60, 120, 300, 600)

_NOTHING = Fraction(0)


class AbortGroup(NamedTuple):
    """What aborts are told apart by in the sums. `limit` is a label (`none` for aborts by hand), `basis` empty where
    nothing was booked."""

    platform: str
    account: str
    rule: str
    limit: str
    asked_mode: str
    mode: str
    state: str
    basis: str

    @staticmethod
    def of(abort: Abort) -> AbortGroup:
        """The group that this record belongs to."""
        basis = abort.saving.basis if abort.saving is not None and abort.saving.basis is not None else ""
        where = (abort.platform, abort.account, abort.rule, abort.limit_label)
        return AbortGroup(*where, str(abort.asked_mode), str(abort.mode), str(abort.state), str(basis))


@dataclass(frozen=True, slots=True)
class Observations:
    """How many figures fell below each bound (the lowest that is not below the figure; infinity: below none), and
    their sum."""

    counts: Mapping[float, int]
    total: Fraction = _NOTHING

    @staticmethod
    def of(value: float | None, bounds: Iterable[float]) -> Observations:
        """One figure, not counted below 0; none if it is not known."""
        if value is None or not math.isfinite(value):
            return Observations({})
        ordered, figure = tuple(bounds), max(0.0, value)
        return Observations({(*ordered, math.inf)[bisect_left(ordered, figure)]: 1}, Fraction(figure))

    def plus(self, other: Observations, times: int = 1) -> Observations:
        """Both together; with `times` -1 without those of the other."""
        counts = dict(self.counts)
        for bound, count in other.counts.items():
            counts[bound] = counts.get(bound, 0) + times * count
        return Observations(
            {bound: count for bound, count in counts.items() if count}, self.total + times * other.total
        )


@dataclass(frozen=True, slots=True)
class AbortSums:
    """What some aborts add up to. `saved_...` is what was booked at first, `taken_back_...` what of it counts no
    more; US dollars, and credits."""

    aborts: int = 0
    saved_credits: Fraction = _NOTHING
    saved_usd: Fraction = _NOTHING
    taken_back_credits: Fraction = _NOTHING
    taken_back_usd: Fraction = _NOTHING
    seconds: Observations = Observations({})
    overshoot: Observations = Observations({})

    @property
    def saved(self) -> Mapping[str, Fraction]:
        """What was booked at first, by what it is counted in."""
        return {"credits": self.saved_credits, "usd": self.saved_usd}

    @property
    def taken_back(self) -> Mapping[str, Fraction]:
        """What of that counts no more, by the same."""
        return {"credits": self.taken_back_credits, "usd": self.taken_back_usd}

    @staticmethod
    def of(abort: Abort) -> AbortSums:
        """What one record adds."""
        saving = abort.saving or Saving()
        confirmed = abort.state is AbortState.CONFIRMED
        return AbortSums(
            1,
            *booked(saving),
            *taken_back(saving),
            Observations.of(seconds_to_proof(abort) if confirmed else None, ABORT_SECONDS_BOUNDS),
            Observations.of(overshoot(abort) if confirmed else None, OVERSHOOT_BOUNDS),
        )

    def plus(self, other: AbortSums, times: int = 1) -> AbortSums:
        """Both together; with `times` -1 without the other."""
        summed = []
        for field in fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            is_number = isinstance(mine, int | Fraction)
            summed.append(mine + times * others if is_number else mine.plus(others, times))
        return AbortSums(*summed)


def sum_up(aborts: Iterable[Abort]) -> dict[AbortGroup, AbortSums]:
    """What those of these records add up to that nothing is left to do about."""
    found: defaultdict[AbortGroup, AbortSums] = defaultdict(AbortSums)
    for abort in aborts:
        if abort.is_complete:
            group = AbortGroup.of(abort)
            found[group] = found[group].plus(AbortSums.of(abort))
    return dict(found)


def booked(saving: Saving) -> tuple[Fraction, Fraction]:
    """Credits and US dollars that were booked once: a counter cannot go down, and must come back from the ledger at the
    value it had."""
    if saving.basis is None:
        return _NOTHING, _NOTHING
    return _counted(_first(saving.booked_credits, saving.credits)), _counted(_first(saving.booked_usd, saving.usd))


def taken_back(saving: Saving) -> tuple[Fraction, Fraction]:
    """Credits and US dollars of what was booked that count no more."""
    if saving.basis is None:
        return _NOTHING, _NOTHING
    return _difference(saving.booked_credits, saving.credits), _difference(saving.booked_usd, saving.usd)


def seconds_to_proof(abort: Abort) -> float | None:
    """From seeing the breach to the proof that the run stopped."""
    proven = next((step.at for step in abort.history if step.state is AbortState.CONFIRMED), abort.stopped_at)
    return None if proven is None else (proven - abort.detected_at).total_seconds()


def overshoot(abort: Abort) -> float | None:
    """Settled usage past the limit, over the limit."""
    if abort.final is None or abort.limit is None:
        return None
    used = abort.final.usage.of(abort.limit)
    if used is None or abort.threshold <= 0:
        return None
    return used / abort.threshold - 1


def _first(at_first: float | None, now: float | None) -> float | None:
    return now if at_first is None else at_first


def _counted(amount: float | None) -> Fraction:
    return Fraction(amount) if amount is not None and math.isfinite(amount) and amount > 0 else _NOTHING


def _difference(at_first: float | None, stands: float | None) -> Fraction:
    if at_first is None or stands is None or not (math.isfinite(at_first) and math.isfinite(stands)):
        return _NOTHING
    return max(_NOTHING, Fraction(at_first) - Fraction(stands))
