"""Plots as SVG, by hand: two kinds of a plot do not need a library of megabytes. Light or dark follows the reader."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 720, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 36, 56, 62
#: Okabe and Ito's colours: to be told apart by everyone, on light and on dark.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:16px;font-weight:600}.axis{stroke:#57606a}"
    ".grid{stroke:#8c959f;stroke-opacity:.25}.small{font-size:12px}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis{stroke:#9ea7b3}}"
)


@dataclass(frozen=True, slots=True)
class Series:
    """Points (x, y) with a name; `labels` stand beside the points, `joined` draws a line through them."""

    name: str
    points: Sequence[tuple[float, float]]
    labels: Sequence[str] = field(default=())
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale: what it shows, and whether in powers of ten."""

    title: str
    log: bool = False
    low: float | None = None
    high: float | None = None


class _Scale:
    """From values to places on the paper, with round marks."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        finite = [value for value in values if math.isfinite(value) and (value > 0 or not axis.log)] or [0.1, 1.0]
        low = min(finite) if axis.low is None else axis.low
        high = max(finite) if axis.high is None else axis.high
        self._log, self._start, self._end = axis.log, start, end
        self.ticks = _decades(low, high) if axis.log else _round_steps(min(low, 0.0), high)
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def at(self, value: float) -> float:
        """Where this value is; what lies outside is drawn at the edge."""
        clipped = min(max(value, self.low), self.high)
        low, high, here = self.low, self.high, clipped
        if self._log:
            low, high, here = math.log10(low), math.log10(high), math.log10(clipped)
        return self._start + (here - low) / (high - low) * (self._end - self._start)


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]


def _round_steps(low: float, high: float) -> list[float]:
    raw = (high - low or 1.0) / 5
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def scatter(title: str, x: Axis, y: Axis, series: Sequence[Series], note: str = "") -> str:
    """A plot of points, e.g. overshoot against calls: give each policy a series of its own, `joined=False`."""
    across = _Scale(x, [point[0] for one in series for point in one.points], _LEFT, WIDTH - _RIGHT)
    up = _Scale(y, [point[1] for one in series for point in one.points], HEIGHT - _BOTTOM, _TOP)
    parts = [_frame(title, x, y, across, up, note)]
    for number, one in enumerate(series):
        parts.append(_draw(one, COLOURS[number % len(COLOURS)], across, up))
    parts.append(_legend([one.name for one in series]))
    label = escape(title, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def growth(
    title: str, x_title: str, y_title: str, series: Sequence[Series], *, log: bool = True, note: str = ""
) -> str:
    """A plot of lines, e.g. time and memory against the number of runs."""
    return scatter(title, Axis(x_title, log=log), Axis(y_title, log=log), series, note)


def save(svg: str, path: Path) -> Path:
    """Write it, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg, encoding="utf-8")
    return path


def _frame(title: str, x: Axis, y: Axis, across: _Scale, up: _Scale, note: str) -> str:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts = [f'<text class="title" x="{_LEFT}" y="22">{escape(title)}</text>']
    for tick in across.ticks:
        place = across.at(tick)
        parts.append(f'<line class="grid" x1="{place:.1f}" y1="{_TOP}" x2="{place:.1f}" y2="{bottom}"/>')
        parts.append(_text(place, bottom + 18, _shown(tick), anchor="middle", small=True))
    for tick in up.ticks:
        place = up.at(tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{place:.1f}" x2="{right}" y2="{place:.1f}"/>')
        parts.append(_text(_LEFT - 8, place + 4, _shown(tick), anchor="end", small=True))
    parts.append(f'<path class="axis" fill="none" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>')
    parts.append(_text((_LEFT + right) / 2, HEIGHT - 22, x.title, anchor="middle"))
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text transform="translate(18 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y.title)}</text>'
    )
    if note:
        parts.append(_text(_LEFT, HEIGHT - 5, note, small=True))
    return "".join(parts)


def _draw(series: Series, colour: str, across: _Scale, up: _Scale) -> str:
    places = [(across.at(x), up.at(y)) for x, y in series.points]
    parts = []
    if series.joined and len(places) > 1:
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    for (x, y), (value_x, value_y) in zip(places, series.points, strict=True):
        tip = escape(f"{series.name}: {value_x:g}, {value_y:g}")
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"><title>{tip}</title></circle>')
    for (x, y), label in zip(places, series.labels, strict=False):
        # To the left where the right would leave the paper.
        anchor, shift = ("end", -8) if x > WIDTH - 120 else ("start", 8)
        parts.append(_text(x + shift, y - 7, label, anchor=anchor, small=True))
    return "".join(parts)


def _legend(names: Sequence[str]) -> str:
    parts, x = [], float(_LEFT)
    for number, name in enumerate(names):
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<circle cx="{x + 5:.0f}" cy="40" r="4.5" fill="{colour}"/>')
        parts.append(_text(x + 15, 44, name, small=True))
        x += 30 + 6.6 * len(name)
    return "".join(parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", small: bool = False) -> str:
    kind = ' class="small"' if small else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _shown(value: float) -> str:
    """A mark as people write it: 10,000 rather than 1e+04."""
    if value == 0 or 0.01 <= abs(value) < 1e7:
        return f"{value:,.10g}"
    return f"{value:g}"
