"""What a sweep adds up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from watchdog.domain.notice import AccountInfo, SweepDone
from watchdog.domain.ports import Sweep
from watchdog.domain.run import LimitKind, RunState, Usage
from watchdog.engine.evaluate import AppliedLimit, LimitsOfSource, judge
from watchdog.runtime.watched import Watched


class Tally:
    """What a sweep adds up to, for metrics: runs by state, unknown figures, and the closest run to each limit."""

    def __init__(self) -> None:
        self._active: Counter[RunState] = Counter()
        self._unknown: Counter[LimitKind] = Counter()
        self._groups: dict[int, tuple[LimitsOfSource, dict[LimitKind, float]]] = {}

    def add(self, watched: Watched, limits: LimitsOfSource, used: Usage) -> None:
        """Count one run. Suspicions count as just under the limit: only inspections prove more."""
        self._active[watched.swept.state] += 1
        if not limits.limits:
            return
        if limits.unsure:
            self._unknown.update({limit.kind for limit in limits.limits if not limit.sure})
        closest = self._groups.setdefault(id(limits), (limits, {}))[1]
        for kind, lowest in limits.lowest:
            figure = used.of(kind)
            if figure is None:
                if watched.inspected is not None:
                    self._unknown[kind] += 1
                continue
            if figure >= lowest and not _proven(watched, kind, lowest):
                figure = lowest * 0.999
            if figure > closest.get(kind, -1.0):
                closest[kind] = figure

    def notice(self, info: AccountInfo, now: datetime, seconds: float, sweep: Sweep) -> SweepDone:
        """The sum."""
        return SweepDone(
            account=info,
            at=now,
            seconds=seconds,
            active=dict(self._active),
            unknown=dict(self._unknown),
            ratios=self._ratios(),
            bad_items=tuple(sweep.bad_items),
        )

    def _ratios(self) -> dict[tuple[str, LimitKind], float]:
        ratios: dict[tuple[str, LimitKind], float] = {}
        for limits, closest in self._groups.values():
            for limit in limits.limits:
                ratio = _ratio(limit, closest)
                if ratio is not None:
                    key = (limit.rule.name, limit.kind)
                    ratios[key] = max(ratio, ratios.get(key, 0.0))
        return ratios


def _proven(watched: Watched, kind: LimitKind, limit: float) -> bool:
    figure = watched.inspected.usage.of(kind) if watched.inspected is not None else None
    return figure is not None and figure >= limit


def _ratio(limit: AppliedLimit, closest: Mapping[LimitKind, float]) -> float | None:
    figure = closest.get(limit.kind)
    if figure is None or not limit.sure:
        return None
    return judge(limit, Usage(**{_FIELD[limit.kind]: figure})).ratio


_FIELD = {
    LimitKind.MAX_CREDITS: "credits",
    LimitKind.MAX_COST_USD: "cost_usd",
    LimitKind.MAX_DURATION: "duration_s",
}
