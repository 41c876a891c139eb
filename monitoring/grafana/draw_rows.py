"""Pictures of the dashboard's rows for docs/grafana.md: `python monitoring/grafana/draw_rows.py`.

A rendering of our own, not Grafana's: the panels, queries, units, colours and legends are those of
dashboards/budget-watchdog.json, the answers are those of a real Prometheus. By default for twelve minutes of scene.py;
with --prometheus of one that is there.
"""

import argparse
import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ask import Grafana, Line, Window, fetcher
from scene import SCRAPE_S, staged

HOME = Path(__file__).parents[2]
BOARD = Path(__file__).parent / "dashboards" / "budget-watchdog.json"
TARGET = HOME / "docs" / "grafana"
NOTE = "Drawn by monitoring/grafana/draw_rows.py from the answers of a real Prometheus; Grafana's own look differs."

COLUMN, LINE, GAP = 50, 36, 8
HEX: Mapping[str, str] = {
    "green": "#3f8f46",
    "yellow": "#c8a400",
    "orange": "#e0752d",
    "red": "#d0312d",
    "blue": "#2f6fb3",
    "purple": "#8e4fb5",
    "gray": "#8a8a8a",
    "transparent": "none",
}
PALETTE = ("#2f6fb3", "#3f8f46", "#e0752d", "#8e4fb5", "#00838f", "#c2185b", "#6d4c41", "#c8a400", "#546e7a", "#9e9d24")

#: Left, top, width, height.
Box = tuple[float, float, float, float]
Panel = Mapping[str, Any]


# ---- words


def spoken(value: float, unit: str, decimals: int | None = None) -> str:
    """A figure with its unit, as Grafana would write it, more or less."""
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f} %"
    if unit == "currencyUSD":
        return f"${value:,.2f}"
    if unit == "s":
        return _duration(value)
    if unit == "bytes":
        return f"{value / 2**20:.1f} MiB"
    text = _short(value) if decimals is None else f"{value:,.{decimals}f}"
    return text + {"reqps": " req/s", "ops": " ops/s"}.get(unit, "")


def _duration(value: float) -> str:
    for size, name in ((86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if value >= size * 1.5:
            return f"{value / size:.1f} {name}"
    return f"{value:.3g} s"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == round(value) else f"{value:.3g}"


def mapped(panel: Panel, value: float) -> str:
    """The word that the panel has for this value, or the figure."""
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults.get("mappings", ()):
        word = mapping["options"].get(_short(value))
        if word:
            return str(word["text"])
    return spoken(value, defaults["unit"], defaults.get("decimals"))


# ---- colours


def by_threshold(panel: Panel, value: float) -> str:
    """The colour of the last step that the value has reached."""
    colour = "gray"
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return HEX[colour]


def by_name(panel: Panel, legend: str) -> str | None:
    """The colour that the panel gives to this series."""
    for override in panel["fieldConfig"]["overrides"]:
        if re.search(override["matcher"]["options"].strip("/"), legend):
            return HEX[override["properties"][0]["value"]["fixedColor"]]
    return None


def palette(panel: Panel, lines: Sequence[Line]) -> list[str]:
    """A colour for each line; those without one of their own share the rest."""
    taken = {by_name(panel, line.legend) for line in lines}
    rest = cycle([colour for colour in PALETTE if colour not in taken])
    return [by_name(panel, line.legend) or next(rest) for line in lines]


# ---- shapes


def text(x: float, y: float, words: str, size: float = 12, colour: str = "#333", **more: str) -> str:
    """Words whose line begins, or ends, at a place."""
    extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{extra}>{escape(words)}</text>'


def rect(box: Box, fill: str, **more: str) -> str:
    """A rectangle."""
    x, y, width, height = box
    extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"{extra}/>'


def path(points: Sequence[tuple[float, float]], **more: str) -> str:
    """A line through these points."""
    extra = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in more.items())
    return f'<path d="M{" L".join(f"{x:.1f},{y:.1f}" for x, y in points)}"{extra}/>'


def clipped(words: str, width: float, size: float) -> str:
    """As much of the words as fits."""
    fits = max(4, int(width / (size * 0.5)))
    return words if len(words) <= fits else words[: fits - 1] + "…"


# ---- panels


def draw_stat(panel: Panel, lines: Sequence[Line], box: Box) -> Iterator[str]:
    """Figures side by side, their names above."""
    if not lines:
        yield from _nothing(panel, box)
        return
    x, y, width, height = box
    share = width / len(lines)
    for place, line in enumerate(lines):
        value = line.points[-1][1]
        left = x + share * place
        figure = mapped(panel, value)
        size = min(24.0, height * 0.4, share / max(1, len(figure)) / 0.58)
        colour = by_name(panel, line.legend) or by_threshold(panel, value)
        yield text(left + 10, y + height * 0.35, clipped(line.legend, share - 8, 11), 11, "#555")
        yield text(left + 10, y + height * 0.8, figure, round(size, 1), colour, font_weight="600")


def draw_bargauge(panel: Panel, lines: Sequence[Line], box: Box) -> Iterator[str]:
    """A lying bar for each series, its name above, its value beside."""
    if not lines:
        yield from _nothing(panel, box)
        return
    x, y, width, height = box
    defaults = panel["fieldConfig"]["defaults"]
    top = defaults.get("max") or max(line.points[-1][1] for line in lines) or 1
    step = min(44.0, height / len(lines))
    room = width - 90
    for place, line in enumerate(lines):
        value = line.points[-1][1]
        above = y + step * place
        colour = by_name(panel, line.legend) or by_threshold(panel, value)
        yield text(x + 10, above + step * 0.36, clipped(line.legend, room, 11), 11, "#555")
        yield rect((x + 10, above + step * 0.45, room, step * 0.4), "#eee")
        yield rect((x + 10, above + step * 0.45, room * min(1.0, value / top), step * 0.4), colour)
        yield text(x + room + 16, above + step * 0.76, mapped(panel, value), 12, colour, font_weight="600")


def draw_table(panel: Panel, lines: Sequence[Line], box: Box) -> Iterator[str]:
    """Rows of labels and the value, largest first."""
    if not lines:
        yield from _nothing(panel, box)
        return
    x, y, width, _ = box
    (shape,) = (step["options"] for step in panel["transformations"])
    columns = sorted(shape["indexByName"], key=shape["indexByName"].get)
    share = width / len(columns)
    for place, name in enumerate(columns):
        words = shape["renameByName"].get(name, name)
        yield text(x + 10 + share * place, y + 12, words, 11, "#555", font_weight="600")
    for row, line in enumerate(sorted(lines, key=lambda line: -line.points[-1][1]), start=1):
        for place, name in enumerate(columns):
            words = mapped(panel, line.points[-1][1]) if name == "Value" else line.labels.get(name, "")
            yield text(x + 10 + share * place, y + 12 + 22 * row, clipped(words, share, 11), 11)


def _nothing(panel: Panel, box: Box) -> Iterator[str]:
    words = panel["fieldConfig"]["defaults"].get("noValue", "no data")
    yield text(box[0] + 10, box[1] + box[3] * 0.6, words, 13, "#888")


class Plot:
    """Where points of a time series panel come to lie."""

    def __init__(self, panel: Panel, lines: Sequence[Line], box: Box, window: Window) -> None:
        self.panel, self.lines, self.window = panel, lines, window
        defaults = panel["fieldConfig"]["defaults"]
        self.unit = defaults["unit"]
        self.custom = defaults["custom"]
        self.stacked = self.custom.get("stacking", {}).get("mode") == "normal"
        x, y, width, height = box
        self.legend_lines = min(3, math.ceil(sum(_legend_width(line) for line in lines) / (width - 20)))
        self.left, self.right = x + 62, x + width - 10
        self.above, self.below = y + 4, y + height - 20 - 15 * self.legend_lines
        self.top = defaults.get("max") or _handy(self._highest())

    def _highest(self) -> float:
        if not self.stacked:
            return max((value for line in self.lines for _, value in line.points if math.isfinite(value)), default=1)
        return max((sum(column) for column in zip(*self.columns().values(), strict=True)), default=1)

    def moments(self) -> list[float]:
        """Every moment at which any line has a value."""
        return sorted({moment for line in self.lines for moment, _ in line.points})

    def columns(self) -> dict[str, list[float]]:
        """For each line its value at every moment, 0 where it has none."""
        known = {line.legend: dict(line.points) for line in self.lines}
        return {name: [points.get(moment, 0.0) for moment in self.moments()] for name, points in known.items()}

    def at(self, moment: float, value: float) -> tuple[float, float]:
        """The place of a point."""
        share = (moment - self.window.start) / (self.window.end - self.window.start)
        return (
            self.left + (self.right - self.left) * min(1.0, max(0.0, share)),
            self.below - (self.below - self.above) * min(1.0, value / self.top),
        )


def _handy(highest: float) -> float:
    """The next round figure for the upper end of an axis."""
    if highest <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(highest))
    return next(step * size for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * size >= highest * 0.999)


def _legend_width(line: Line) -> float:
    return 24 + len(line.legend) * 5.9


def draw_timeseries(
    panel: Panel, lines: Sequence[Line], box: Box, window: Window, starts: Sequence[float]
) -> Iterator[str]:
    """Lines, areas or bars over time, and starts of the process across."""
    lines = [line for line in lines if any(value for _, value in line.points)] or list(lines)
    if not lines:
        yield from _nothing(panel, box)
        return
    plot = Plot(panel, lines, box, window)
    colours = palette(panel, lines)
    yield from _axes(plot)
    if plot.custom.get("drawStyle") == "bars":
        yield from _bars(plot, colours)
    elif plot.stacked:
        yield from _areas(plot, colours)
    else:
        yield from _lines(plot, colours)
    yield from _thresholds(plot)
    yield from _starts(plot, starts)
    yield from _legend(plot, colours, box)


def _axes(plot: Plot) -> Iterator[str]:
    for share in (0.0, 0.5, 1.0):
        _, y = plot.at(plot.window.start, plot.top * share)
        yield path([(plot.left, y), (plot.right, y)], stroke="#e4e4e4", fill="none")
        yield text(plot.left - 6, y + 4, spoken(plot.top * share, plot.unit), 10, "#777", text_anchor="end")
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        moment = plot.window.start + (plot.window.end - plot.window.start) * share
        minutes = (plot.window.end - moment) / 60
        words = "now" if share == 1 else f"-{minutes:.0f} min"
        anchor = "end" if share == 1 else "middle"
        yield text(plot.at(moment, 0)[0], plot.below + 14, words, 10, "#777", text_anchor=anchor)


def _lines(plot: Plot, colours: Sequence[str]) -> Iterator[str]:
    for line, colour in zip(plot.lines, colours, strict=True):
        points = [plot.at(moment, value) for moment, value in line.points if math.isfinite(value)]
        if points:
            yield path(points, stroke=colour, fill="none", stroke_width="1.5")


def _areas(plot: Plot, colours: Sequence[str]) -> Iterator[str]:
    moments, columns = plot.moments(), plot.columns()
    base = [0.0] * len(moments)
    for values, colour in zip(columns.values(), colours, strict=True):
        tops = [low + value for low, value in zip(base, values, strict=True)]
        upper = [plot.at(*point) for point in zip(moments, tops, strict=True)]
        lower = [plot.at(*point) for point in zip(moments, base, strict=True)]
        yield path([*upper, *reversed(lower)], fill=colour, fill_opacity="0.3", stroke="none")
        yield path(upper, stroke=colour, fill="none", stroke_width="1.5")
        base = tops


def _bars(plot: Plot, colours: Sequence[str]) -> Iterator[str]:
    moments, columns = plot.moments(), plot.columns()
    step_s = min((later - earlier for earlier, later in pairwise(moments)), default=60.0)
    width = (plot.at(plot.window.start + step_s, 0)[0] - plot.left) * 0.8
    base = [0.0] * len(moments)
    for values, colour in zip(columns.values(), colours, strict=True):
        for place, (moment, value) in enumerate(zip(moments, values, strict=True)):
            x, top = plot.at(moment, base[place] + value)
            _, bottom = plot.at(moment, base[place])
            if value > 0:
                left = max(plot.left, x - width)
                yield rect((left, top, x - left, bottom - top), colour, fill_opacity="0.85")
            base[place] += value


def _thresholds(plot: Plot) -> Iterator[str]:
    if plot.custom.get("thresholdsStyle", {}).get("mode") != "dashed":
        return
    for step in plot.panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step["value"] is not None and step["value"] <= plot.top:
            _, y = plot.at(plot.window.start, step["value"])
            line = [(plot.left, y), (plot.right, y)]
            yield path(line, stroke=HEX[step["color"]], fill="none", stroke_dasharray="6 4")


def _legend(plot: Plot, colours: Sequence[str], box: Box) -> Iterator[str]:
    x, y = box[0] + 10, plot.below + 30
    for line, colour in zip(plot.lines, colours, strict=True):
        if x + _legend_width(line) > box[0] + box[2] and x > box[0] + 10:
            x, y = box[0] + 10, y + 15
        if y > box[1] + box[3] + 4:
            return
        yield rect((x, y - 7, 12, 4), colour)
        yield text(x + 16, y - 1, line.legend, 10.5, "#555")
        x += _legend_width(line)


def _starts(plot: Plot, starts: Sequence[float]) -> Iterator[str]:
    """Upright lines, as Grafana draws annotations."""
    for moment in starts:
        if plot.window.start + 10 < moment < plot.window.end:
            line = [plot.at(moment, 0), plot.at(moment, plot.top)]
            yield path(line, stroke=HEX["blue"], stroke_dasharray="2 3")


DRAWN: Mapping[str, Callable[[Panel, Sequence[Line], Box], Iterator[str]]] = {
    "stat": draw_stat,
    "bargauge": draw_bargauge,
    "table": draw_table,
}


# ---- rows


def rows(board: Panel) -> Iterator[tuple[str, list[Panel]]]:
    """The title of each row with its panels."""
    title, panels = "", list[Panel]()
    for panel in board["panels"]:
        if panel["type"] != "row":
            panels.append(panel)
            continue
        if panels:
            yield title, panels
        title, panels = panel["title"], []
    yield title, panels


def draw_row(shown: Grafana, title: str, panels: Sequence[Panel]) -> str:
    """The picture of a row."""
    first = min(panel["gridPos"]["y"] for panel in panels)
    units = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) - first
    width, height = 24 * COLUMN, units * LINE + 30
    about = f"The row {title} of the dashboard. {NOTE}"
    parts = [f"<title>{title}</title><desc>{escape(about)}</desc>", rect((0, 0, width, height), "#f4f5f5")]
    starts = sorted({value / 1000 for line in shown.marks()["Starts"] for _, value in line.points})
    for panel in panels:
        parts += _framed(shown, panel, first, starts)
    parts.append(text(10, height - 10, NOTE, 11, "#777"))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'{head} font-family="sans-serif">\n' + "\n".join(parts) + "\n</svg>\n"


def _framed(shown: Grafana, panel: Panel, first: int, starts: Sequence[float]) -> Iterator[str]:
    place = panel["gridPos"]
    x, y = place["x"] * COLUMN + GAP / 2, (place["y"] - first) * LINE + GAP / 2
    width, height = place["w"] * COLUMN - GAP, place["h"] * LINE - GAP
    yield rect((x, y, width, height), "#fff", stroke="#dcdcdc", rx="3")
    yield text(x + 10, y + 18, panel["title"], 13, "#222", font_weight="600")
    box = (x, y + 26, width, height - 34)
    lines = [line for lines in shown.answers(panel) for line in lines if math.isfinite(line.points[-1][1])]
    if panel["type"] == "timeseries":
        yield from draw_timeseries(panel, lines, box, shown.window, starts)
    else:
        yield from DRAWN[panel["type"]](panel, lines, box)


def draw(url: str, window: Window, target: Path) -> None:
    """Every row, into target/<row>.svg."""
    shown = Grafana(json.loads(BOARD.read_text(encoding="utf-8")), fetcher(url), window)
    target.mkdir(parents=True, exist_ok=True)
    for title, panels in rows(shown.board):
        (target / f"{title.lower()}.svg").write_text(draw_row(shown, title, panels), encoding="utf-8")


@contextmanager
def played(duration_s: float) -> Iterator[str]:
    """The address of a Prometheus that has seen the scene."""
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder)) as scene, scene.prometheus() as url:
        scene.play(duration_s)
        yield url


def main(arguments: Sequence[str]) -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description="Draws the rows of the dashboard.")
    parser.add_argument("--prometheus", help="the address of one that scrapes budget-watchdog; else a scene is played")
    parser.add_argument("--minutes", type=float, default=12, help="how far back, and how long the scene is")
    parser.add_argument("--scrape", type=float, default=SCRAPE_S, help="its scrape interval in seconds")
    parser.add_argument("--to", type=Path, default=TARGET, help="the folder for the pictures")
    chosen = parser.parse_args(arguments)

    def draw_from(url: str) -> None:
        end = time.time()
        draw(url, Window(end - chosen.minutes * 60, end, chosen.scrape), chosen.to)

    if chosen.prometheus:
        draw_from(chosen.prometheus)
        return
    with played(chosen.minutes * 60) as url:
        draw_from(url)


if __name__ == "__main__":
    main(sys.argv[1:])
