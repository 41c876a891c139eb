"""Asks Prometheus what Grafana would ask for the dashboard: variables filled in, intervals reckoned, legends made.

For the tests and for the pictures in docs/grafana/. Only what this dashboard uses of Grafana.
"""

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: The `data` of Prometheus's answer to a call of its API: path below /api/v1, parameters.
Fetch = Callable[[str, Mapping[str, str]], Any]

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def fetcher(url: str) -> Fetch:
    """Asks the Prometheus at this address."""

    def fetch(path: str, parameters: Mapping[str, str]) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{url}/api/v1/{path}?{query}", timeout=30) as answer:  # noqa: S310  # ours
            return json.load(answer)["data"]

    return fetch


@dataclass(frozen=True)
class Line:
    """A series of an answer, with its name in the legend."""

    legend: str
    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Window:
    """What the time picker shows, seconds since 1970; scrape_s is the `timeInterval` of the data source."""

    start: float
    end: float
    scrape_s: float = 15
    max_points: int = 300

    def step_s(self, at_least: str = "") -> float:
        """$__interval. (Grafana rounds it to a handy number.)"""
        least = seconds(at_least) if at_least else self.scrape_s
        return max(least, (self.end - self.start) / self.max_points)

    def intervals(self, step_s: float) -> dict[str, str]:
        """What stands for Grafana's own variables, https://grafana.com/docs/grafana/latest/datasources/prometheus/"""
        rate_s = max(step_s + self.scrape_s, 4 * self.scrape_s)
        spans = {"__interval": step_s, "__rate_interval": rate_s, "__range": self.end - self.start}
        return {name: f"{round(span_s * 1000)}ms" for name, span_s in spans.items()}


def seconds(duration: str) -> float:
    """`90s`, `1m`."""
    return float(duration[:-1]) * _SECONDS[duration[-1]]


class Grafana:
    """The dashboard, opened on a window of time, with every variable at what it is first shown with (or `chosen`)."""

    def __init__(
        self, board: Mapping[str, Any], fetch: Fetch, window: Window, chosen: Mapping[str, list[str]] | None = None
    ) -> None:
        self._fetch = fetch
        self.window = window
        self.board = board
        self.values: dict[str, str] = {}
        """What each variable stands for in a query."""
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                picked = (chosen or {}).get(variable["name"]) or self._everything(variable)
                self.values[variable["name"]] = _joined(picked)

    def _everything(self, variable: Mapping[str, Any]) -> list[str]:
        """All that the variable lists. Its own word for everything (`allValue`) is not escaped by Grafana."""
        assert variable["current"]["value"] == ["$__all"]
        return list(self.options(variable))

    def options(self, variable: Mapping[str, Any]) -> Iterator[str]:
        """What can be chosen."""
        wanted = _LABEL_VALUES.fullmatch(variable["query"])
        assert wanted, f"not understood: {variable['query']}"
        selector, label = wanted.groups()
        asked = {"match[]": self.filled(selector, {}), **self._times()}
        return iter(self._fetch(f"label/{label}/values", asked))

    def _times(self) -> dict[str, str]:
        return {"start": str(self.window.start), "end": str(self.window.end)}

    def filled(self, text: str, intervals: Mapping[str, str]) -> str:
        """The text with every variable filled in; KeyError for one that does not exist."""
        known = {**self.values, **intervals}
        return _PLACEHOLDER.sub(lambda found: known[found[1] or found[2]], text)

    def panels(self) -> list[Mapping[str, Any]]:
        """Every panel that shows something."""
        return [panel for panel in self.board["panels"] if panel["type"] != "row"]

    def expression(self, panel: Mapping[str, Any], target: Mapping[str, Any]) -> str:
        """The query as it goes to Prometheus."""
        step_s = self.window.step_s(target.get("interval") or panel.get("interval") or "")
        return self.filled(target["expr"], self.window.intervals(step_s))

    def answers(self, panel: Mapping[str, Any]) -> list[list[Line]]:
        """For each query of the panel the series that it gives."""
        return [self._answer(panel, target) for target in panel["targets"]]

    def _answer(self, panel: Mapping[str, Any], target: Mapping[str, Any]) -> list[Line]:
        query = self.expression(panel, target)
        if target["instant"]:
            found = self._fetch("query", {"query": query, "time": str(self.window.end)})
            pairs = [(series["metric"], [series["value"]]) for series in found["result"]]
        else:
            step_s = self.window.step_s(target.get("interval") or panel.get("interval") or "")
            found = self._fetch("query_range", {"query": query, "step": str(step_s), **self._aligned(step_s)})
            pairs = [(series["metric"], series["values"]) for series in found["result"]]
        return [_line(target.get("legendFormat", ""), labels, points) for labels, points in pairs]

    def _aligned(self, step_s: float) -> dict[str, str]:
        """As Grafana does: bars of different panels then stand above each other."""
        ends = {"start": self.window.start, "end": self.window.end}
        return {name: str(moment // step_s * step_s) for name, moment in ends.items()}

    def marks(self) -> dict[str, list[Line]]:
        """The series of each annotation."""
        marks = {}
        for mark in self.board["annotations"]["list"]:
            target = {"expr": mark["expr"], "instant": False, "interval": mark["step"], "legendFormat": ""}
            marks[mark["name"]] = self._answer({}, target)
        return marks


def _joined(picked: list[str]) -> str:
    """As Grafana's Prometheus data source joins what is chosen: in brackets, if it is more than one."""
    escaped = [re.sub(r"[\\^$*+?.()|\[\]{}]", r"\\\\\g<0>", value) for value in picked]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _line(legend: str, labels: Mapping[str, str], points: list[list[Any]]) -> Line:
    name = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend)
    name = name or ", ".join(f"{label}={value}" for label, value in labels.items())
    return Line(name, labels, tuple((float(moment), float(value)) for moment, value in points))
