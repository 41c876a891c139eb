"""What is remembered of runs that are over, for the forecasts of later ones."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import RunKey, replace


@dataclass(frozen=True, slots=True)
class BurnRecord:
    """How fast a run that is over used up what it used.

    `rates` are the highest seen on it of its meters, per second of running; of one that is not in it there never were
    two looks to tell it from. `final` is its last known usage, `ended_at` its end (UTC). `source_id` is that of its
    source (`Source.id`). `ended_by_itself` is False for one that an abort stopped: its rates are as good as any, but
    its final usage says nothing about how much such a run takes to its end.
    """

    account: str
    run_id: str
    source_id: str
    ended_at: datetime
    rates: Mapping[Meter, float]
    final: Usage
    ended_by_itself: bool

    @property
    def key(self) -> RunKey:
        """Identity of the run across platforms and accounts."""
        return (self.account, self.run_id)

    @property
    def as_kept(self) -> BurnRecord:
        """The same without figures that cannot be."""
        rates = {meter: rate for meter, each in self.rates.items() if (rate := plausible(each)) is not None}
        return replace(self, rates=rates, final=Usage.by(lambda meter: plausible(self.final.of(meter))))


def plausible(figure: float | None) -> float | None:
    """A rate or an amount as it is remembered: one that is negative or not finite is no figure. A wrong one would count
    in every forecast of its source until it is pruned."""
    return float(figure) if figure is not None and 0 <= figure <= sys.float_info.max else None
