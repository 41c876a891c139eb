"""Metric families that keep their text ready, so that a scrape costs little however many series there are.

prometheus_client formats every sample anew at every scrape (about 8 us each); most of ours never change between two
scrapes. A `Family` here is an ordinary collector for any registry, and besides keeps one line of text per series and
one block of text per family, renewed only after a change. Sums can be exact (see `Amount`).
"""

from __future__ import annotations

import asyncio
import math
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST as OPENMETRICS
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

TEXT = "text/plain; version=0.0.4; charset=utf-8"

#: Lines written, and bytes put together, at one turn of the event loop: one or two milliseconds.
_LINES_AT_A_TIME = 500
#: A page is made for so long at each turn of the event loop, in seconds.
TURN_S = 0.005

Labels = tuple[str, ...]
#: A Fraction where the sum must not depend on the order of adding: a counter that comes back a rounding error lower
#: after a restart looks like a reset to Prometheus, and `increase()` then counts its whole value again.
Amount = float | Fraction


class Family(Collector):
    """One metric with all its series. `name` is the full name (a counter's with `_total`), `labels` the label names.

    Every method that names a series takes its label values in the order of `labels`; a series that is not there yet
    is born by it. `redact` takes secrets out of label values.
    """

    type = ""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), redact: Callable[[str], str] = str
    ) -> None:
        self.name = name
        self._redact = redact
        self.help_text = help_text
        self.labels = tuple(labels)
        #: What is done first whenever somebody asks.
        self.refresh: Callable[[], None] | None = None
        self._lines: dict[Labels, str] = {}
        self._changed: set[Labels] = set()
        self._block: bytes | None = None

    def born(self, labels: Labels) -> None:
        """Let the series exist, at 0 or with no observation, unless it does already."""
        raise NotImplementedError

    @property
    def base_name(self) -> str:
        """The name as OpenMetrics has it, and prometheus_client's `Metric`."""
        return self.name

    def describe(self) -> Iterable[Metric]:
        return [Metric(self.base_name, self.help_text, self.type)]

    def collect(self) -> Iterable[Metric]:
        if self.refresh is not None:
            self.refresh()
        yield _Prepared(self)

    def samples(self) -> Iterator[Sample]:
        """Every sample of every series, for readers other than `render`."""
        raise NotImplementedError

    def text(self, *, openmetrics: bool) -> bytes:
        """The whole family as it stands in an answer; the two formats differ in nothing but the head."""
        name = self.base_name if openmetrics else self.name
        head = f"# HELP {name} {_escaped(self.help_text, quotes=openmetrics)}\n# TYPE {name} {self.type}\n"
        if self._block is None:
            self.freshen(self.changed)
            self._block = "".join(self._lines.values()).encode("utf-8", "replace")
        return head.encode() + self._block

    @property
    def changed(self) -> int:
        """Lines whose figures have changed since they were written. They are put off until somebody asks: figures
        change by the thousand between two scrapes."""
        return len(self._changed)

    def freshen(self, most: int) -> None:
        """Write so many of those."""
        for _ in range(min(most, len(self._changed))):
            labels = self._changed.pop()
            self._lines[labels] = self._line(labels)

    def _line(self, labels: Labels) -> str:
        raise NotImplementedError

    def _note(self, labels: Labels) -> None:
        """Its figure has changed, or it is new."""
        self._lines.setdefault(labels, "")  # its place among the others
        self._changed.add(labels)
        self._block = None

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, labels: object) -> bool:
        return labels in self._lines

    def _names(self, labels: Labels) -> dict[str, str]:
        return dict(zip(self.labels, map(self._redact, labels), strict=True))

    def _braced(self, labels: Labels, **more: str) -> str:
        pairs = self._names(labels) | more
        inner = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in pairs.items())
        return f"{{{inner}}}" if inner else ""


class _Scalars(Family):
    """A family with one number a series."""

    def __init__(
        self, name: str, help_text: str, labels: Sequence[str] = (), redact: Callable[[str], str] = str
    ) -> None:
        super().__init__(name, help_text, labels, redact)
        self._values: dict[Labels, Amount] = {}
        self._heads: dict[Labels, str] = {}

    def born(self, labels: Labels) -> None:
        if labels not in self._values:
            self._put(labels, 0)

    def samples(self) -> Iterator[Sample]:
        for labels, value in self._values.items():
            yield Sample(self.name, self._names(labels), float(value))

    def drop(self, labels: Labels) -> None:
        """Let the series end, if it exists."""
        for part in (self._values, self._heads, self._lines):
            part.pop(labels, None)
        self._changed.discard(labels)
        self._block = None

    def series(self) -> tuple[Labels, ...]:
        """Label values of all series."""
        return tuple(self._values)

    def _put(self, labels: Labels, value: Amount) -> None:
        self._values[labels] = value
        self._note(labels)

    def _line(self, labels: Labels) -> str:
        head = self._heads.get(labels)
        if head is None:
            head = self._heads[labels] = f"{self.name}{self._braced(labels)}"
        return f"{head} {number(float(self._values[labels]))}\n"


class Counter(_Scalars):
    """Only goes up. A series that has counted something never goes away."""

    type = "counter"

    @property
    def base_name(self) -> str:
        return self.name.removesuffix("_total")

    def add(self, labels: Labels, amount: Amount = 1) -> None:
        """Count; ValueError for an amount below 0."""
        if amount < 0:
            raise ValueError(f"{self.name} cannot go down by {amount}")
        self._put(labels, self._values.get(labels, 0) + amount)

    def drop_unused(self, is_gone: Callable[[Labels], bool]) -> None:
        """Let those series end that have counted nothing yet, and never will."""
        for labels in [labels for labels, value in self._values.items() if not value and is_gone(labels)]:
            self.drop(labels)


class Gauge(_Scalars):
    """Goes up and down; series of things that are no more are dropped."""

    type = "gauge"

    def set(self, labels: Labels, value: float) -> None:
        if self._values.get(labels) != value:
            self._put(labels, value)


class _Observed(NamedTuple):
    counts: tuple[int, ...]
    total: Amount


class Histogram(Family):
    """Counts observations in buckets; `bounds` ascending, without infinity."""

    type = "histogram"

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        redact: Callable[[str], str] = str,
        bounds: Sequence[float] = (),
    ) -> None:
        super().__init__(name, help_text, labels, redact)
        self._bounds = tuple(bounds)
        self._marks = (*map(number, self._bounds), "+Inf")
        self._observed: dict[Labels, _Observed] = {}
        self._heads: dict[Labels, tuple[str, ...]] = {}

    def born(self, labels: Labels) -> None:
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
        self._observed[labels] = observed
        self._note(labels)

    def _line(self, labels: Labels) -> str:
        parts = tuple(self._parts(self._observed[labels]))
        if (heads := self._heads.get(labels)) is None:
            heads = tuple(f"{self.name}{suffix}{self._braced(labels, **more)}" for suffix, more, _ in parts)
            self._heads[labels] = heads
        return "".join(f"{head} {number(value)}\n" for head, (_, _, value) in zip(heads, parts, strict=True))

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
    page = _Page(wants_openmetrics(accept))
    for metric in registry.collect():
        page.add(metric)
    return page.whole()


class Breath:
    """Lets the event loop turn while something long is made: not after each part, since each turn may be as long as
    others need, but once so much time has gone by."""

    def __init__(self) -> None:
        self._since_s = time.perf_counter()

    async def take(self) -> None:
        """A part is done."""
        if time.perf_counter() - self._since_s >= TURN_S:
            await asyncio.sleep(0)
            self._since_s = time.perf_counter()


async def render_gently(registry: CollectorRegistry, accept: str, breath: Breath | None = None) -> tuple[bytes, str]:
    """The same, a part at each turn of the event loop: aborts do not wait for a page of many megabytes."""
    page, breath = _Page(wants_openmetrics(accept)), breath or Breath()
    for metric in registry.collect():
        if isinstance(metric, _Prepared):
            for _ in range(metric.family.changed // _LINES_AT_A_TIME):
                metric.family.freshen(_LINES_AT_A_TIME)
                await breath.take()
        page.add(metric)
        await breath.take()
    return page.whole()


class _Page:
    """An answer in the making."""

    def __init__(self, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._ours: list[bytes] = []
        self._others: list[Metric] = []

    def add(self, metric: Metric) -> int:
        """Put a metric in; how many bytes that took."""
        if isinstance(metric, _Prepared):
            self._ours.append(metric.family.text(openmetrics=self._openmetrics))
            return len(self._ours[-1])
        self._others.append(metric)
        return 0

    def whole(self) -> tuple[bytes, str]:
        """Body and content type. The encoder's part comes last: in OpenMetrics it ends with the end mark."""
        encode: Any = generate_openmetrics if self._openmetrics else generate_latest
        return b"".join((*self._ours, encode(_Others(self._others)))), OPENMETRICS if self._openmetrics else TEXT


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
