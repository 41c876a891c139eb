"""The group `middle` in a tiny size, and what it is made of: builds behind lines of JSON, daemons as processes."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import metrics_page, middle, weight
from bench.builds import OLD, ROOT, Build, ProbeFailed
from bench.contenders import Task
from bench.cycle import Size as CycleSize
from bench.fleet import FleetSpec, make_actors, make_rules
from bench.server import Server

TODAY = Build("today", ROOT)
CYCLE = CycleSize(runs=300, actors=10, crossing=5)
TINY = middle.Size(
    warm=CYCLE,
    units=CYCLE,
    rounds=1,
    slow_rounds=1,
    starts=1,
    rest_s=0.2,
    watched=500,
    memories=1,
    takings=1,
    taking_rounds=1,
    page=metrics_page.Size(runs=300, other_runs=20, accounts=3, rules=5, seconds=0.4),
    scrapings=1,
)


def test_middle() -> None:
    # The tree of today plays the earlier build as well: whatever one costs costs the other about as much.
    figures = {figure.name: figure for figure in middle.run(size=TINY, measured=[TODAY, Build(OLD, ROOT)])}
    assert all(math.isfinite(figure.value) and figure.value > 0 for figure in figures.values())
    aimed = [figure for figure in figures.values() if figure.target is not None]
    assert len(aimed) == (9 if find_spec("apify_client") else 8)
    assert all(figure.ratio is not None for figure in figures.values())
    memory = figures["resident memory of a daemon over two accounts with 10 runs each, idle"]
    assert memory.ratio == pytest.approx(1, abs=0.2)
    start = figures[
        "from the start of a daemon over two accounts with 10 runs each to the end of the first sweep of both"
    ]
    assert start.value > 50


def test_without_the_earlier_build_nothing_is_compared_with_it() -> None:
    found = list(middle._daemons([TODAY], TINY))
    assert [figure.target for figure in found] == [None] * 3
    assert found[0].value > 10


def test_a_build_is_driven_by_its_own_benchmark() -> None:
    with Server(FleetSpec(runs=60, actors=3, crossing=4)) as server:
        task = Task(server.url, server.token, tuple(make_rules(5, make_actors(3))), 4)
        with TODAY.hosted("ours", task) as ours:
            ours.call("begin", False)
            server.reset(crossed=True)
            wall_s, cpu_s = ours.call("cycle")
            assert wall_s > 0
            assert cpu_s > 0
            assert len(server.seen()[1]) == 4
            ours.call("end")
            with pytest.raises(ProbeFailed, match=r"(?s)'fly' failed:.*AttributeError"):
                ours.call("fly")


def test_another_build_than_asked_for_is_refused(tmp_path: Path) -> None:
    with (
        Build("nothing", tmp_path).hosted("taking", 1, 1, 1) as host,
        pytest.raises(ProbeFailed, match="another build"),
    ):
        host.call("take", 1)


def test_a_daemon_that_does_not_start_says_why() -> None:
    with weight.Home(TODAY, "no address") as home, pytest.raises(weight.DaemonFailed, match="base_url"):
        home.live(0)
