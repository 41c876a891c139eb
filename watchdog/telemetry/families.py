"""The metric families of the catalogue, and the one way in which their series come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from math import prod
from typing import Any

from prometheus_client import CollectorRegistry

from watchdog.domain.override import MANUAL
from watchdog.telemetry.catalogue import LEFT_OUT, METRICS, Born, F, Metric
from watchdog.telemetry.exposition import Counter, Family, Gauge, Labels
from watchdog.telemetry.series import Reach, Scope

#: A metric has at most so many series of what rules can do, and of rules; what happens is counted all the same.
SERIES_MAX = 10_000

_BORN: Mapping[Born, Sequence[Metric[Any]]] = {
    born: tuple(metric for metric in METRICS if metric.born is born) for born in Born
}


class Families:
    """One family for each metric of the catalogue, on one registry: `families[POLLS].add(...)`. `redact` takes secrets
    out of label values. Those of the process are born by it."""

    def __init__(self, registry: CollectorRegistry, redact: Callable[[str], str]) -> None:
        self._made: dict[Metric[Any], Family] = {}
        for metric in METRICS:
            bounds = {"bounds": metric.bounds} if metric.bounds else {}
            family = metric.kind(metric.full_name, metric.help_text, metric.labels, redact=redact, **bounds)
            registry.register(family)
            self._made[metric] = family
        self.bear(Born.START)

    def __getitem__(self, metric: Metric[F]) -> F:
        return self._made[metric]  # type: ignore[return-value]  # made of its own kind, above

    def bear(self, born: Born, scope: Scope | None = None) -> None:
        """Let the series exist, of all metrics that are born so, that this scope has."""
        for metric in _BORN[born]:
            for labels in _series(metric, scope or {}):
                self._made[metric].born(labels)

    def foresee(self, reaches: Sequence[Reach], names: Collection[str]) -> None:
        """Let the counters exist at 0 of what rules can do, as far as there is room for them; `names` are the rules in
        force."""
        for metric in _BORN[Born.RULE]:
            self._foresee(metric, reaches, {*names, MANUAL})

    def _foresee(self, metric: Metric[Counter], reaches: Sequence[Reach], names: Collection[str]) -> None:
        family, rule = self[metric], metric.labels.index("rule")
        wanted = sum(_size(metric, reach) for reach in reaches)
        if wanted and len(family) + wanted > SERIES_MAX:
            family.drop_unused(lambda labels: labels[rule] not in names)
        for reach in reaches:
            _bear_reach(family, metric, reach)
        there = sum(labels[rule] != MANUAL for labels in family.series())
        self._leave_out(metric, max(0, wanted - there))

    def keep_only(self, metric: Metric[Gauge], wanted: Iterable[Labels]) -> Collection[Labels]:
        """Let just these series exist, as far as there is room, and all others end; which of them exist now."""
        every, family = dict.fromkeys(wanted), self[metric]
        kept = dict.fromkeys(islice(every, SERIES_MAX))
        for labels in family.series():
            if labels not in kept:
                family.drop(labels)
        for labels in kept:
            family.born(labels)
        self._leave_out(metric, len(every) - len(kept))
        return kept.keys()

    def end_account(self, name: str, spared: Collection[Metric[Any]] = ()) -> None:
        """Let all gauges of this account end, but the spared."""
        for metric, family in self._made.items():
            if isinstance(family, Gauge) and "account" in metric.labels and metric not in spared:
                at = metric.labels.index("account")
                for labels in family.series():
                    if labels[at] == name:
                        family.drop(labels)

    def _leave_out(self, metric: Metric[Any], series: int) -> None:
        self[LEFT_OUT].set((metric.name,), series)


def _series(metric: Metric[Any], scope: Scope) -> Iterator[Labels]:
    """Every combination of what its labels can be in this scope."""
    return product(*_values(metric, scope))


def _values(metric: Metric[Any], scope: Scope) -> list[Collection[str]]:
    return [scope[label] if label in scope else metric.values[label] for label in metric.labels]


def _size(metric: Metric[Any], reach: Reach) -> int:
    """How many series all of its rules have."""
    return len(reach.rules) * prod(map(len, _values(metric, reach.of(reach.rules[0]))))


def _bear_reach(family: Counter, metric: Metric[Any], reach: Reach) -> None:
    """Rule by rule, each with all of its series or with none."""
    for rule in reach.rules:
        series = tuple(_series(metric, reach.of(rule)))
        if len(family) + len(series) > SERIES_MAX:
            return
        for labels in series:
            family.born(labels)
