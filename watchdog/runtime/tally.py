"""What a sweep adds up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from watchdog.domain.decision import ratio_of
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import AccountInfo, SweepDone
from watchdog.domain.ports import Sweep
from watchdog.domain.run import RunState
from watchdog.engine.evaluate import LimitsOfSource
from watchdog.runtime.watched import Watched

_NONE = -1.0


@dataclass(slots=True)
class _Closest:
    """The most that any run under the same limits has used; `_NONE` if there is no run with such a figure."""

    limits: LimitsOfSource
    credits: float = _NONE
    cost_usd: float = _NONE
    duration_s: float = _NONE

    def see(self, used: Usage) -> None:
        if used.credits is not None and used.credits > self.credits:
            self.credits = used.credits
        if used.cost_usd is not None and used.cost_usd > self.cost_usd:
            self.cost_usd = used.cost_usd
        if used.duration_s is not None and used.duration_s > self.duration_s:
            self.duration_s = used.duration_s

    @property
    def used(self) -> Usage:
        figures = (self.credits, self.cost_usd, self.duration_s)
        return Usage(*(None if figure == _NONE else figure for figure in figures))


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
        shown = {Meter.CREDITS: used.credits, Meter.COST_USD: used.cost_usd}
        shown[Meter.DURATION] = used.duration_s
        for kind, lowest in limits.lowest:
            figure = shown[kind]
            if figure is None:
                if watched.inspected is not None:
                    self._unknown[kind] += 1
            elif watched.may_have_used(kind, lowest):
                self._unknown[kind] += 1
            elif figure >= lowest and not _proven(watched, kind, lowest):
                shown[kind] = lowest * 0.999
        watched.shown = Usage(*shown.values())
        self._group(limits).see(watched.shown)

    def add_calm(self, watched: Watched, limits: LimitsOfSource) -> None:
        """Count a run far from its limits by its newest figures, and by those of its last judging where the list has
        none."""
        self._count(watched.swept.state)
        closest = self._group(limits)
        if watched.inspected is None:
            closest.see(watched.swept.usage)
            return
        closest.see(watched.shown)
        cost = watched.swept.usage.cost_usd
        if cost is not None and cost > closest.cost_usd:
            closest.cost_usd = cost

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
            used = closest.used
            figures = {kind: figure for kind in Meter if (figure := used.of(kind)) is not None}
            for each in closest.limits.thresholds:  # thousands of rules at every sweep: the bare minimum for each
                figure = figures.get(each.meter)
                if figure is not None and each.sure:
                    key = (each.rule.name, each.meter)
                    ratios[key] = max(ratio_of(figure, each.limit.figure), ratios.get(key, 0.0))
        return ratios


def _proven(watched: Watched, kind: Meter, limit: float) -> bool:
    figure = watched.inspected.usage.of(kind) if watched.inspected is not None else None
    return figure is not None and figure >= limit
