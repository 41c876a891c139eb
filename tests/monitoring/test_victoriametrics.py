"""The shipped rules on VictoriaMetrics: the very tests that promtool runs, judged by vmalert and a real server.

Its increase() is another one than that of Prometheus: it takes a small first value of a series for a gain, so that the
counters of a pod that was replaced, which continue from the ledger, would count once more.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

HOME = Path(__file__).parents[2]
SHIPPED = HOME / "monitoring" / "prometheus"
#: When the series of a test begin: long enough ago that all of them lie in the past.
BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=20)
_VALUES = re.compile(r"(?P<start>-?[\d.]+)(?:(?P<step>[+-][\d.]+))?x(?P<times>\d+)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """`90m`, `1h30m`."""
    return sum(int(count) * _UNITS[unit] for count, unit in re.findall(r"(\d+)([smhd])", str(text)))


def expanded(notation: str) -> list[float | None]:
    """promtool's notation of a series: `0x4 1+2x10`, `_x3`; None where there is no sample."""
    found: list[float | None] = []
    for word in notation.split():
        if word.startswith("_") or word == "stale":
            found += [None] * int(word.partition("x")[2] or 1)
        elif match := _VALUES.fullmatch(word):
            start, step = float(match["start"]), float(match["step"] or 0)
            found += [start + step * number for number in range(int(match["times"]) + 1)]
        else:
            found.append(float(word))
    return found


def imported(test: dict[str, Any]) -> bytes:
    """The series of a test as lines of VictoriaMetrics' JSON import."""
    lines = []
    every = seconds(test.get("interval", "1m"))
    for each in test["input_series"]:
        metric = _labels(each["series"])
        samples = [(number, value) for number, value in enumerate(expanded(each["values"])) if value is not None]
        moments = [int(BEGIN.timestamp() + number * every) * 1000 for number, _ in samples]
        values = [since_begin(metric["__name__"], value) for _, value in samples]
        lines.append(json.dumps({"metric": metric, "values": values, "timestamps": moments}))
    return "\n".join(lines).encode()


def since_begin(metric: str, value: float) -> float:
    """promtool's time begins at 0, and so do the times that metrics hold; a last success at 0 is none."""
    is_time = metric == "process_start_time_seconds" or (metric.endswith("_timestamp_seconds") and value > 0)
    return value + BEGIN.timestamp() if is_time else value


class Victoria:
    """A running server, on loopback."""

    def __init__(self, url: str) -> None:
        self.url = url

    def take(self, lines: bytes) -> None:
        urllib.request.urlopen(f"{self.url}/api/v1/import", data=lines, timeout=30).close()
        self.flush()

    def flush(self) -> None:
        """What was written can be asked for."""
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=30).close()

    def at(self, expression: str, at: datetime) -> list[tuple[dict[str, str], float]]:
        asked = urllib.parse.urlencode({"query": expression, "time": at.timestamp(), "nocache": 1})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
        return [(each["metric"], float(each["value"][1])) for each in found]


@contextmanager
def victoria(monitoring: Any, folder: Path) -> Iterator[Victoria]:
    program = monitoring.need("victoria-metrics")
    address = f"127.0.0.1:{monitoring.free_port()}"
    command = [program, f"-httpListenAddr={address}", f"-storageDataPath={folder / 'data'}", "-retentionPeriod=1y"]
    command += ["-search.latencyOffset=0s", "-search.disableCache", "-loggerLevel=ERROR"]
    with monitoring.running(command, folder / "log", cwd=folder) as process:
        url = f"http://{address}"
        monitoring.wait_for(lambda: process.poll() is not None or monitoring.get(f"{url}/health"), "VictoriaMetrics")
        assert process.poll() is None, (folder / "log").read_text()
        yield Victoria(url)


@pytest.fixture
def server(monitoring: Any, tmp_path: Path) -> Iterator[Victoria]:
    with victoria(monitoring, tmp_path) as server:
        yield server


def replay(monitoring: Any, server: Victoria, rules: Path, test: dict[str, Any], every: str) -> None:
    """Let vmalert judge the rules over the time of the test."""
    longest = max(len(expanded(each["values"])) for each in test["input_series"])
    end = BEGIN + timedelta(seconds=longest * seconds(test.get("interval", "1m")))
    command = [monitoring.need("vmalert"), f"-rule={rules}", f"-datasource.url={server.url}"]
    command += [f"-remoteWrite.url={server.url}", f"-evaluationInterval={every}", "-replay.rulesDelay=0s"]
    command += [f"-replay.timeFrom={BEGIN:%Y-%m-%dT%H:%M:%SZ}", f"-replay.timeTo={end:%Y-%m-%dT%H:%M:%SZ}"]
    command += [
        "-replay.disableProgressBar",
        # What is replayed in one piece: an alert that must hold for a day does not outlive the border of two.
        "-replay.maxDatapointsPerQuery=20000",
        "-disableAlertgroupLabel",
        "-loggerLevel=ERROR",
        "-datasource.queryStep=1m",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    server.flush()


def cases() -> Iterator[Any]:
    for path in sorted((SHIPPED / "tests").glob("*.yaml")):
        file = yaml.safe_load(path.read_text())
        for test in file["tests"]:
            rules = (path.parent / file["rule_files"][0]).resolve()
            yield pytest.param(rules, test, file["evaluation_interval"], id=f"{path.stem}: {test['name']}")


@pytest.mark.parametrize(("rules", "test", "every"), list(cases()))
def test_what_promtool_tests(monitoring: Any, server: Victoria, rules: Path, test: dict[str, Any], every: str) -> None:
    server.take(imported(test))
    replay(monitoring, server, rules, test, every)
    for case in test.get("alert_rule_test", ()):
        at = BEGIN + timedelta(seconds=seconds(case["eval_time"]))
        # vmalert has said something at each evaluation: only the last one counts.
        asked = f'last_over_time(ALERTS{{alertname="{case["alertname"]}", alertstate="firing"}}[{every}])'
        firing = [labels for labels, _ in server.at(asked, at)]
        apart = {"__name__", "alertname", "alertstate"}
        found = [{key: value for key, value in labels.items() if key not in apart} for labels in firing]
        wanted = [each["exp_labels"] for each in case["exp_alerts"]]
        at_fault = (case["alertname"], case["eval_time"])
        assert sorted(map(written, found)) == sorted(map(written, wanted)), at_fault
    for case in test.get("promql_expr_test", ()):
        at = BEGIN + timedelta(seconds=seconds(case["eval_time"]))
        found = {written(labels): value for labels, value in server.at(case["expr"], at)}
        # Its windows do not hold their first moment, that of promtool's Prometheus does: one sample in sixty.
        wanted = {each["labels"]: pytest.approx(each["value"], rel=0.03) for each in case.get("exp_samples", ())}
        assert found == {written(_labels(text)): value for text, value in wanted.items()}, case["expr"]


def _labels(series: str) -> dict[str, str]:
    name, _, labels = series.partition("{")
    return {"__name__": name, **dict(re.findall(r'(\w+)="([^"]*)"', labels))}


def written(labels: dict[str, str]) -> str:
    """The labels, without the name of the metric: functions keep it here and drop it there."""
    return json.dumps({key: value for key, value in labels.items() if key != "__name__"}, sort_keys=True)
