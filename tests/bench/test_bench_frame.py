"""The frame: what a figure and a target mean, fair turns, children that end, plots that are XML."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.__main__ import Result, measured, number, table, verdict, write
from bench.child import Child, ChildFailed, hosted
from bench.frame import Figure, at_least, at_most, interleaved, machine, median_ratio, memory_bytes, percentile
from bench.plots import Axis, Series, growth, save, scatter


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("a", 5, "ms"), None),
        (Figure("a", 5, "ms", target=at_most(5)), True),
        (Figure("a", 5.1, "ms", target=at_most(5)), False),
        (Figure("a", 5, "ms", ratio=40, target=at_least(40, "ratio")), True),
        (Figure("a", 50, "ms", ratio=39.9, target=at_least(40, "ratio")), False),
        (Figure("a", 50, "ms", target=at_least(40, "ratio")), False),
        (Figure("a", math.nan, "ms", target=at_most(5)), False),
        (Figure("a", math.nan, "ms", target=at_least(5)), False),
    ],
)
def test_target(figure: Figure, met: bool | None) -> None:
    assert figure.met is met
    assert figure.plain()["met"] is met


def test_turns_begin_with_another_one_each_round() -> None:
    order: list[str] = []
    results = interleaved({name: lambda name=name: order.append(name) or name for name in "abc"}, 3)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert results == {name: [name] * 3 for name in "abc"}


def test_ratio_of_each_round() -> None:
    # A machine that is slow for one round is slow for both.
    assert median_ratio([10, 1000, 20], [1, 100, 2]) == 10


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 50), (0.99, 99), (1, 100)])
def test_percentile(share: float, value: float) -> None:
    assert percentile(range(1, 101), share) == value


def test_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 0.5))


def test_machine_names_no_host_and_no_path() -> None:
    text = json.dumps(machine())
    assert os.uname().nodename not in text
    assert str(Path.home()) not in text
    assert memory_bytes() > 10 * 2**20


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.1234, "0.123"), (1.5, "1.50"), (15.25, "15.2"), (1234567, "1,234,567")],
)
def test_number(value: float | None, text: str) -> None:
    assert number(value) == text


def test_verdict() -> None:
    good = Result("a", [Figure("x", 1, "ms", target=at_most(2))], 0.1)
    missed = Result("a", [Figure("x", 3, "ms", target=at_most(2))], 0.1)
    broken = Result("a", [], 0.1, "Traceback")
    assert verdict([good], strict=True) == 0
    assert verdict([good, missed], strict=False) == 0
    assert verdict([good, missed], strict=True) == 1
    assert verdict([good, broken], strict=False) == 1


def test_a_broken_group_costs_only_itself() -> None:
    result = measured("broken", quick=True, groups={"broken": "bench.no_such_module"})
    assert "no_such_module" in result.error
    assert table(result).row_count == 0


def test_written(tmp_path: Path) -> None:
    figures = [Figure("x", math.inf, "ms", "y", 2.0, 3.0, target=at_most(2), note="why")]
    write(tmp_path / "out" / "f.json", [Result("a", figures, 0.1)], machine(), quick=True)
    document = json.loads((tmp_path / "out" / "f.json").read_text())
    (figure,) = document["groups"][0]["figures"]
    assert figure == {
        "name": "x",
        "value": None,
        "unit": "ms",
        "against": "y",
        "against_value": 2.0,
        "ratio": 3.0,
        "ratio_is": "value / compared",
        "target": "value <= 2",
        "note": "why",
        "met": False,
    }
    assert {"cores", "memory_gb", "python", "packages", "date"} <= document["machine"].keys()


class Thing:
    """Something for a child to hold."""

    def __init__(self, start: int) -> None:
        self.value = start

    def add(self, more: int) -> int:
        self.value += more
        return self.value

    def fail(self) -> None:
        raise ValueError("on purpose")

    def process(self) -> int:
        return os.getpid()


def test_child_answers_fails_and_ends() -> None:
    with hosted(Thing, 3) as child:
        assert child.call("add", 4) == 7
        with pytest.raises(ChildFailed, match="on purpose"):
            child.call("fail")
        child.begin("add", 1)
        assert child.finish("add") == 8
        pid = child.call("process")
        assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_child_that_cannot_start() -> None:
    with hosted(Thing) as child, pytest.raises(ChildFailed, match="TypeError"):
        child.call("process")


def end_at_once(pipe: object) -> None:
    """A target that says nothing."""


def test_child_that_ends_without_a_word() -> None:
    with Child(end_at_once) as child, pytest.raises(ChildFailed, match="ended"):
        child.call("anything")


def test_plots_are_xml(tmp_path: Path) -> None:
    points = [Series("ours & theirs", [(1, 2.5), (200, 3000)], labels=["<5 s>", "b"], joined=False)]
    plot = scatter("overshoot", Axis("calls", log=True), Axis("overshoot", low=0), points, note="a note")
    lines = growth("growth", "runs", "ms", [Series("ours", [(1000, 5), (100_000, 600)])])
    for svg in (plot, lines):
        root = ElementTree.fromstring(svg)
        circles = [each for each in root.iter("{http://www.w3.org/2000/svg}circle") if "opacity" not in each.attrib]
        assert len(circles) == 3  # two points and the legend
        assert all(0 <= float(each.attrib["cx"]) <= 720 and 0 <= float(each.attrib["cy"]) <= 440 for each in circles)
    assert save(plot, tmp_path / "docs" / "a.svg").read_text() == plot
