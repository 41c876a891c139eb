"""What a sweep adds up to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from watchdog.domain.decision import ratio_of
from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.notice import AccountInfo, SweepDone
from watchdog.domain.ports import Sweep
from watchdog.domain.run import RunState, Snapshot
from watchdog.engine.evaluate import LimitsOfSource
from watchdog.runtime.memory import Watched

#: So many calm runs are summed up in one go, by the limits on them; a fraction of a millisecond.
_TOGETHER = 1_000
#: How a figure is shown that a list has over a limit and no inspection has: just under it.
_SUSPECTED = 0.999


class _Closest:
    """The most that any run under the same limits has used of each meter."""

    __slots__ = ("limits", "used")

    def __init__(self, limits: LimitsOfSource) -> None:
        self.limits = limits
        self.used: dict[Meter, float] = {}

    def see(self, meter: Meter, figure: float | None) -> None:
        if figure is not None and figure > self.used.get(meter, -1.0):
            self.used[meter] = figure


class Tally:
    """What a sweep adds up to, for metrics: runs by state, unknown figures, and the closest run to each limit."""

    def __init__(self) -> None:
        self._active: dict[RunState, int] = {}
        self._unknown: Counter[Meter] = Counter()
        self._groups: dict[int, _Closest] = {}
        self._calm: list[Watched] = []

    def add(self, watched: Watched, limits: LimitsOfSource, used: Usage) -> None:
        """Count one run that was judged. Suspicions count as just under the limit: only inspections prove more."""
        self.count(watched.swept.state)
        if not limits.thresholds:
            return
        if limits.unsure:
            self._unknown.update(limits.unsure_meters)
        closest, is_looked_at = self._group(limits), watched.inspected is not None
        for meter, lowest in limits.lowest:
            figure = used.of(meter)
            if figure is None:
                self._unknown[meter] += is_looked_at
                continue
            if is_looked_at and watched.may_have_used(meter, lowest):
                self._unknown[meter] += 1
            elif figure >= lowest and not _proven(watched, meter, lowest):
                figure = lowest * _SUSPECTED
            closest.see(meter, figure)
        if not limits.simple:
            self._unknown.update({verdict.kind for verdict in watched.verdicts if verdict.why_unknown == "after"})
        # What lists do not show counts on by this while the run is calm.
        watched.shown = used if is_looked_at else NOTHING_KNOWN

    def add_calm(self, runs: Iterable[Watched]) -> None:
        """Count runs far from their limits by their newest figures, and by those of their last judging where the list
        has none. Nine of ten runs of a sweep are such: what is done for each is kept to the minimum."""
        self._calm += runs
        if len(self._calm) >= _TOGETHER:
            self._sum_up_calm()

    def _sum_up_calm(self) -> None:
        runs, self._calm = self._calm, []
        states, groups = self._active, defaultdict[int, list[Watched]](list)
        for watched in runs:
            state, calm = watched.swept.state, watched.calm
            states[state] = states.get(state, 0) + 1
            if calm is not None and calm.ceilings:
                groups[id(calm.limits)].append(watched)
        for group in groups.values():
            calm = group[0].calm
            if calm is not None:
                closest = self._group(calm.limits)
                for (meter, _), of_list in zip(calm.limits.lowest, calm.limits.shown, strict=True):
                    closest.see(meter, _highest(group, meter, of_list))

    def notice(self, info: AccountInfo, now: datetime, seconds: float, sweep: Sweep, waiting: int = 0) -> SweepDone:
        """The sum."""
        self._sum_up_calm()
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

    def count(self, state: RunState) -> None:
        """Count one run, of which nothing more is known."""
        self._active[state] = self._active.get(state, 0) + 1

    def _group(self, limits: LimitsOfSource) -> _Closest:
        group = self._groups.get(id(limits))
        if group is None:
            group = self._groups[id(limits)] = _Closest(limits)
        return group

    def _ratios(self) -> dict[tuple[str, Meter], float]:
        ratios: dict[tuple[str, Meter], float] = {}
        for closest in self._groups.values():
            figures = closest.used
            for each in closest.limits.thresholds:  # thousands of rules at every sweep: the bare minimum for each
                figure = figures.get(each.meter)
                if figure is not None and each.sure:
                    key = (each.rule.name, each.meter)
                    ratios[key] = max(ratio_of(figure, each.limit.figure), ratios.get(key, 0.0))
        return ratios


def _highest(runs: Sequence[Watched], meter: Meter, of_list: Callable[[Snapshot], float | None]) -> float | None:
    """The highest figure of any; of those that the list shows none of, as they were judged last."""
    figures = [figure for run in runs if (figure := of_list(run.swept)) is not None]
    if len(figures) < len(runs):
        figures += [
            figure for run in runs if of_list(run.swept) is None and (figure := run.shown.of(meter)) is not None
        ]
    return max(figures, default=None)


def _proven(watched: Watched, kind: Meter, limit: float) -> bool:
    figure = watched.inspected.usage.of(kind) if watched.inspected is not None else None
    return figure is not None and figure >= limit
