"""What is remembered of runs that are over, for the forecasts of later ones."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import datetime

from watchdog.domain.meter import Usage
from watchdog.domain.run import RunKey


@dataclass(frozen=True, slots=True)
class BurnRecord:
    """How fast a run that is over used up what it used.

    `credits_per_s` and `usd_per_s` are the highest rates seen on it, per second of running; None: never seen two looks
    to tell it from. `final` is its last known usage, `ended_at` its end (UTC). `source_id` is that of its source
    (`Source.id`). `ended_by_itself` is False for one that an abort stopped: its rates are as good as any, but its final
    usage says nothing about how much such a run takes to its end.
    """

    account: str
    run_id: str
    source_id: str
    ended_at: datetime
    credits_per_s: float | None
    usd_per_s: float | None
    final: Usage
    ended_by_itself: bool

    @property
    def key(self) -> RunKey:
        """Identity of the run across platforms and accounts."""
        return (self.account, self.run_id)


def plausible(figure: float | None) -> float | None:
    """A rate or an amount as it is remembered: one that is negative or not finite is no figure. A wrong one would count
    in every forecast of its source until it is pruned."""
    return float(figure) if figure is not None and 0 <= figure <= sys.float_info.max else None
