"""What a sweep adds up to."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from watchdog.domain.decision import ratio_of
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import AccountInfo, SweepDone
from watchdog.domain.ports import Sweep
from watchdog.domain.run import RunState
from watchdog.engine.evaluate import LimitsOfSource
from watchdog.runtime.memory import Watched

#: How a figure is shown that a list has over a limit and no inspection has: just under it.
_SUSPECTED = 0.999


class _Closest:
    """The most that any run under the same limits has used, by the fields of `Usage`."""

    __slots__ = ("limits", "used")

    def __init__(self, limits: LimitsOfSource) -> None:
        self.limits = limits
        self.used: dict[str, float] = {}

    def see(self, field: str, figure: float | None) -> None:
        if figure is not None and figure > self.used.get(field, -1.0):
            self.used[field] = figure


class Tally:
    """What a sweep adds up to, for metrics: runs by state, unknown figures, and the closest run to each limit."""

    def __init__(self) -> None:
        self._active: dict[RunState, int] = {}
        self._unknown: Counter[Meter] = Counter()
        self._groups: dict[int, _Closest] = {}

    def add(self, watched: Watched, limits: LimitsOfSource, used: Usage) -> None:
        """Count one run that was judged. Suspicions count as just under the limit: only inspections prove more."""
        self._count(watched.swept.state)
        if not limits.thresholds:
            return
        if limits.unsure:
            self._unknown.update(limits.unsure_meters)
        lowest = dict(limits.lowest)
        watched.shown = Usage.by(lambda meter: self._shown(watched, meter, lowest.get(meter), used.of(meter)))
        closest = self._group(limits)
        for field in limits.fields:
            closest.see(field, getattr(watched.shown, field))

    def _shown(self, watched: Watched, meter: Meter, lowest: float | None, figure: float | None) -> float | None:
        if lowest is None:
            return figure
        if figure is None:
            self._unknown[meter] += watched.inspected is not None
        elif watched.may_have_used(meter, lowest):
            self._unknown[meter] += 1
        elif figure >= lowest and not _proven(watched, meter, lowest):
            return lowest * _SUSPECTED
        return figure

    def add_calm(self, watched: Watched, limits: LimitsOfSource) -> None:
        """Count a run far from its limits by its newest figures, and by those of its last judging where the list has
        none."""
        self._count(watched.swept.state)
        if not limits.fields:
            return
        closest, usage, shown = self._group(limits), watched.swept.usage, watched.shown
        for field in limits.fields:
            figure = getattr(usage, field)
            closest.see(field, getattr(shown, field) if figure is None else figure)

    def notice(self, info: AccountInfo, now: datetime, seconds: float, sweep: Sweep, waiting: int = 0) -> SweepDone:
        """The sum."""
        return SweepDone(
            account=info,
            at=now,
            seconds=seconds,
            active=dict(self._active),
            unknown=dict(self._unknown),
            ratios=self._ratios(),
            bad_items=tuple(sweep.bad_items),
            waiting=waiting,
            nameless=tuple(sweep.nameless),
        )

    def _count(self, state: RunState) -> None:
        self._active[state] = self._active.get(state, 0) + 1

    def _group(self, limits: LimitsOfSource) -> _Closest:
        group = self._groups.get(id(limits))
        if group is None:
            group = self._groups[id(limits)] = _Closest(limits)
        return group

    def _ratios(self) -> dict[tuple[str, Meter], float]:
        ratios: dict[tuple[str, Meter], float] = {}
        for closest in self._groups.values():
            figures = {meter: used for meter in Meter if (used := closest.used.get(meter.entry.field)) is not None}
            for each in closest.limits.thresholds:  # thousands of rules at every sweep: the bare minimum for each
                figure = figures.get(each.meter)
                if figure is not None and each.sure:
                    key = (each.rule.name, each.meter)
                    ratios[key] = max(ratio_of(figure, each.limit.figure), ratios.get(key, 0.0))
        return ratios


def _proven(watched: Watched, kind: Meter, limit: float) -> bool:
    figure = watched.inspected.usage.of(kind) if watched.inspected is not None else None
    return figure is not None and figure >= limit
