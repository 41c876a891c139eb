"""Each group in a tiny size: it runs, and its figures are plausible. No times are judged."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import cycle, deadlines, evaluate, growth, metrics_page, windows
from bench.fleet import FleetSpec, make_actors, make_rules, make_runs, write_rules
from bench.frame import Figure
from bench.server import Server, check_shapes
from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules

#: Apify's published description lies beside the project, or where BW_TEST_SHARED says.
SHARED = Path(os.environ.get("BW_TEST_SHARED") or Path(__file__).parents[3] / "shared")


def by_name(figures: Iterable[Figure]) -> dict[str, Figure]:
    """Each figure once, with numbers that are numbers."""
    found = {}
    for figure in figures:
        assert figure.name not in found, f"two figures are called '{figure.name}'"
        assert math.isfinite(figure.value), figure
        assert figure.value >= 0, figure
        found[figure.name] = figure
    return found


def test_answers_are_as_documented() -> None:
    description = SHARED / "specs" / "apify.openapi.yaml"
    if not description.is_file():
        reason = f"Apify's API description is not at {description} (set BW_TEST_SHARED)"
        if os.environ.get("BW_TEST_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    assert check_shapes(description) == 10


def test_fleet_is_the_same_everywhere() -> None:
    spec = FleetSpec(runs=50, crossing=5, made_at_s=1_800_000_000.0)
    runs = make_runs(spec)
    assert runs == make_runs(spec)
    assert sum(run.crosses for run in runs) == 5
    assert len({run.id for run in runs}) == 50


@pytest.mark.parametrize("units", [False, True])
def test_rules_are_accepted(tmp_path: Path, units: bool) -> None:
    rules = make_rules(100, make_actors(200), units=units)
    loaded = load_rules(write_rules(rules, tmp_path / "rules.yaml"), platforms=OURS)
    assert len(loaded.rules.rules) == 100
    assert sum(rule.max_credits is not None for rule in rules) == (2 if units else 1)


def test_server_serves_and_aborts() -> None:
    with Server(FleetSpec(runs=30, actors=3, crossing=2)) as server:

        def ask(method: str, path: str, token: str = "bench") -> tuple[int, dict[str, object]]:
            connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
            connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            connection.close()
            return answer.status, body.get("data", body)

        status, page = ask("GET", "/v2/actor-runs?status=RUNNING&limit=20&offset=20")
        assert (status, page["total"], page["count"]) == (200, 30, 10)
        run_id = page["items"][0]["id"]
        assert ask("GET", f"/v2/actor-runs/{run_id}")[1]["status"] == "RUNNING"
        assert ask("POST", f"/v2/actor-runs/{run_id}/abort")[1]["status"] == "ABORTING"
        assert ask("GET", f"/v2/actor-runs/{run_id}")[1]["status"] == "ABORTING"
        assert ask("GET", "/v2/actor-runs")[1]["total"] == 30, "the list lags"
        assert ask("GET", "/v2/actor-runs", token="another")[0] == 401
        counts, aborts = server.seen()
        assert counts == {"list": 2, "detail": 2, "abort": 1, "refused": 1}
        assert list(aborts) == [run_id]
        server.reset(crossed=True)
        page = ask("GET", "/v2/actor-runs")[1]
        assert sum(item["usageTotalUsd"] > 50 for item in page["items"]) == 2
        assert page["total"] == 30


@pytest.mark.skipif(find_spec("apify_client") is None, reason="only where requirements/bench.txt is installed")
def test_cycle() -> None:
    few = cycle.Size(runs=300, actors=10, crossing=5, rounds=1, slow_rounds=1, profiles=1)
    figures = by_name(cycle.run(plan=cycle.Plan(few, None)))
    warm = figures["cycle of 300 runs, warm: wall time"]
    assert warm.target is not None
    assert warm.ratio == pytest.approx(warm.against_value / warm.value)
    shares = [figure.value for name, figure in figures.items() if ": share of" in name and "thread" not in name]
    assert sum(shares) == pytest.approx(100)


def test_windows() -> None:
    figures = by_name(windows.run(size=windows.Size(lookups=50, rounds=2)))
    assert len(figures) == 2 * len(windows.KINDS)


def test_evaluate() -> None:
    figures = by_name(evaluate.run(size=evaluate.Size(runs=1000, rules=20, actors=20, rounds=2)))
    assert figures["evaluate 20 rules x 1,000 runs, warm, per run"].ratio is not None


def test_deadlines() -> None:
    size = deadlines.Size(runs=5, step_s=0.02, lead_s=1.5, at_once=2000, polled_at_once=500, jobs=200)
    figures = by_name(deadlines.run(size=size))
    assert "0 not aborted; 0 early" in figures["abort request after the deadline, p99"].note
    assert figures["2,000 due at once: lost"].value == 0
    assert figures["500 runs of one account due at once: lost"].value == 0


def test_runs_that_are_due_too_early_are_no_measurement(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncio.run(deadlines._watch_burst_in(-1.0, 50)) is None
    assert not caplog.records, "nothing is left pending"


def test_what_a_slow_machine_cannot_measure_is_said() -> None:
    (figure,) = deadlines._of_watch(None, deadlines.Size())
    assert figure.name.endswith("not measured")
    assert figure.met is None
    assert "too busy" in figure.note


def test_growth() -> None:
    measured = growth.run(size=growth.Size((50, 500), 1, 1, idle_s=0.5, idle_runs=(50,)))
    figures = by_name(measured)
    assert growth.plots(measured).keys() == {"growth-time", "growth-memory"}
    assert figures["warm sweep of 500 runs, per run"].ratio is not None
    assert figures["resident memory with 500 runs"].value > 10
    assert figures["idle, 50 runs: share of a core"].value < 100


def test_metrics_page() -> None:
    size = metrics_page.Size(runs=300, other_runs=20, accounts=3, rules=5, seconds=0.4)
    figure = by_name(metrics_page.run(size=size))["/metrics during sweeps, p99"]
    assert "meanwhile 0 sweeps" not in figure.note
