"""Metric families that keep their text ready, so that a scrape costs little however many series there are.

prometheus_client formats every sample anew at every scrape (about 8 us each); most of ours never change between two
scrapes. A `Family` here is an ordinary collector for any registry, and besides keeps one line of text per series and
one block of text per family, renewed only after a change. Sums can be exact (see `Amount`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

TEXT = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
#: A Fraction where the sum must not depend on the order of adding: a counter that comes back a rounding error lower
#: after a restart looks like a reset to Prometheus, and `increase()` then counts its whole value again.
Amount = float | Fraction


class Family(Collector):
    """One metric with all its series. `name` is the full name (a counter's with `_total`), `labels` the label names.

    Every method that names a series takes its label values in the order of `labels`; a series that is not there yet
    is born by it.
    """

    type = ""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)
        self._lines: dict[Labels, str] = {}
        self._block: bytes | None = None

    @property
    def base_name(self) -> str:
        """The name as OpenMetrics has it, and prometheus_client's `Metric`."""
        return self.name

    def describe(self) -> Iterable[Metric]:
        return [Metric(self.base_name, self.help_text, self.type)]

    def collect(self) -> Iterable[Metric]:
        yield _Prepared(self)

    def samples(self) -> Iterator[Sample]:
        """Every sample of every series, for readers other than `render`."""
        raise NotImplementedError

    def text(self, *, openmetrics: bool) -> bytes:
        """The whole family as it stands in an answer; the two formats differ in nothing but the head."""
        name = self.base_name if openmetrics else self.name
        head = f"# HELP {name} {_escaped(self.help_text, quotes=openmetrics)}\n# TYPE {name} {self.type}\n"
        if self._block is None:
            self._bring_up_to_date()
            self._block = "".join(self._lines.values()).encode("utf-8", "replace")
        return head.encode() + self._block

    def _bring_up_to_date(self) -> None:
        """Write the lines that were put off until somebody asks."""

    def _write(self, labels: Labels, line: str) -> None:
        self._lines[labels] = line
        self._block = None

    def _names(self, labels: Labels) -> dict[str, str]:
        return dict(zip(self.labels, labels, strict=True))

    def _braced(self, labels: Labels, **more: str) -> str:
        pairs = self._names(labels) | more
        inner = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in pairs.items())
        return f"{{{inner}}}" if inner else ""


class _Scalars(Family):
    """A family with one number a series."""

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[Labels, Amount] = {}
        self._heads: dict[Labels, str] = {}

    def born(self, labels: Labels) -> None:
        """Let the series exist, at 0, unless it does already."""
        if labels not in self._values:
            self._put(labels, 0)

    def samples(self) -> Iterator[Sample]:
        for labels, value in self._values.items():
            yield Sample(self.name, self._names(labels), float(value))

    def _put(self, labels: Labels, value: Amount) -> None:
        head = self._heads.get(labels)
        if head is None:
            head = self._heads[labels] = f"{self.name}{self._braced(labels)}"
        self._values[labels] = value
        self._write(labels, f"{head} {number(float(value))}\n")


class Counter(_Scalars):
    """Only goes up, and none of its series ever goes away."""

    type = "counter"

    @property
    def base_name(self) -> str:
        return self.name.removesuffix("_total")

    def add(self, labels: Labels, amount: Amount = 1) -> None:
        """Count; ValueError for an amount below 0."""
        if amount < 0:
            raise ValueError(f"{self.name} cannot go down by {amount}")
        self._put(labels, self._values.get(labels, 0) + amount)


class Gauge(_Scalars):
    """Goes up and down; series of things that are no more are dropped."""

    type = "gauge"

    def set(self, labels: Labels, value: float) -> None:
        if self._values.get(labels) != value:
            self._put(labels, value)

    def series(self) -> tuple[Labels, ...]:
        """Label values of all series."""
        return tuple(self._values)

    def drop(self, labels: Labels) -> None:
        """Let the series end, if it exists."""
        for part in (self._values, self._heads, self._lines):
            part.pop(labels, None)
        self._block = None


class _Observed(NamedTuple):
    counts: tuple[int, ...]
    total: Amount


class Histogram(Family):
    """Counts observations in buckets; `bounds` ascending, without infinity."""

    type = "histogram"

    def __init__(self, name: str, help_text: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        super().__init__(name, help_text, labels)
        self._bounds = tuple(bounds)
        self._marks = (*map(number, self._bounds), "+Inf")
        self._observed: dict[Labels, _Observed] = {}
        self._heads: dict[Labels, tuple[str, ...]] = {}
        # Observations come by the thousand between two scrapes, and each has a dozen lines.
        self._changed: set[Labels] = set()

    def born(self, labels: Labels) -> None:
        """Let the series exist, with no observation, unless it does already."""
        if labels not in self._observed:
            self._keep(labels, _Observed((0,) * len(self._marks), 0))

    def observe(self, labels: Labels, value: Amount) -> None:
        """Count one observation, not below 0 (which would make the sum fall)."""
        self.born(labels)
        counts, total = self._observed[labels]
        at = next((i for i, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._keep(labels, _Observed((*counts[:at], counts[at] + 1, *counts[at + 1 :]), total + value))

    def add(self, labels: Labels, counts: Mapping[float, int], total: Amount) -> None:
        """Add observations that were counted elsewhere: how many by their bucket (infinity: beyond all), and their sum.
        A bound that is not one of this histogram counts for the next one."""
        self.born(labels)
        observed, kept = list(self._observed[labels].counts), self._observed[labels]
        for bound, count in counts.items():
            observed[bisect_left(self._bounds, bound)] += count
        self._keep(labels, _Observed(tuple(observed), kept.total + total))

    def samples(self) -> Iterator[Sample]:
        for labels, observed in self._observed.items():
            for suffix, more, value in self._parts(observed):
                yield Sample(self.name + suffix, self._names(labels) | more, value)

    def _keep(self, labels: Labels, observed: _Observed) -> None:
        if labels not in self._observed:
            self._lines[labels] = ""  # its place among the others
        self._observed[labels] = observed
        self._changed.add(labels)
        self._block = None

    def _bring_up_to_date(self) -> None:
        for labels in self._changed:
            parts = tuple(self._parts(self._observed[labels]))
            if (heads := self._heads.get(labels)) is None:
                heads = tuple(f"{self.name}{suffix}{self._braced(labels, **more)}" for suffix, more, _ in parts)
                self._heads[labels] = heads
            lines = (f"{head} {number(value)}\n" for head, (_, _, value) in zip(heads, parts, strict=True))
            self._lines[labels] = "".join(lines)
        self._changed.clear()

    def _parts(self, observed: _Observed) -> Iterator[tuple[str, dict[str, str], float]]:
        up_to = tuple(accumulate(observed.counts))
        for mark, count in zip(self._marks, up_to, strict=True):
            yield "_bucket", {"le": mark}, float(count)
        yield "_count", {}, float(up_to[-1])
        yield "_sum", {}, float(observed.total)


class _Prepared(Metric):
    """What a family gives a registry: a `Metric` that makes samples only for those who ask for them."""

    def __init__(self, family: Family) -> None:
        self.family = family
        super().__init__(family.base_name, family.help_text, family.type)

    @property
    def samples(self) -> list[Sample]:
        return list(self.family.samples())

    @samples.setter
    def samples(self, value: list[Sample]) -> None:
        """`Metric` starts with an empty list; there is nothing to keep."""


class _Others:
    """The metrics of other people's collectors, in the shape that prometheus_client's encoders take."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def render(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """Everything in the registry in the format that an Accept header asks for, and the content type of that."""
    openmetrics = wants_openmetrics(accept)
    ours: list[bytes] = []
    others: list[Metric] = []
    for metric in registry.collect():
        if isinstance(metric, _Prepared):
            ours.append(metric.family.text(openmetrics=openmetrics))
        else:
            others.append(metric)
    encode: Any = generate_openmetrics if openmetrics else generate_latest
    # The encoder's part comes last: in OpenMetrics it ends with the end mark.
    return b"".join((*ours, encode(_Others(others)))), OPENMETRICS if openmetrics else TEXT


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header names OpenMetrics in a version we speak (1.0.0, or none in particular)."""
    return any(map(_is_openmetrics, accept.lower().split(",")))


def _is_openmetrics(item: str) -> bool:
    kind, *parameters = (part.strip() for part in item.split(";"))
    wants = dict(parameter.partition("=")[::2] for parameter in parameters)
    return (
        kind == "application/openmetrics-text"
        and wants.get("version", "1.0.0") == "1.0.0"
        and wants.get("q", "1").rstrip("0") not in ("", "0.")
    )


def number(value: float) -> str:
    """A figure as both formats write it."""
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _escaped(text: str, *, quotes: bool) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
