"""The shipped rules: as promtool judges them, against the documentation, and in a real Prometheus on a real daemon."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from watchdog.cli import cli
from watchdog.telemetry.catalogue import METRICS

HOME = Path(__file__).parents[2]
SHIPPED = HOME / "monitoring" / "prometheus"
RULE_FILES = sorted((SHIPPED / "rules").glob("*.yaml"))
TEST_FILES = sorted((SHIPPED / "tests").glob("*.yaml"))
RUNBOOKS = HOME / "docs" / "runbooks.md"
#: Metrics of the scraper and of the process, which are in no table of ours.
FOREIGN = {"up", "process_start_time_seconds"}
_FOREIGN = re.compile(r"\b(?:up\b|process_\w+)")
_SELECTOR = re.compile(r"(budget_watchdog_\w+)\s*(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def shipped_rules() -> list[dict[str, Any]]:
    groups = [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = [rule for rule in shipped_rules() if "alert" in rule]
RECORDED = [rule for rule in shipped_rules() if "record" in rule]


def by_name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert", rule.get("record")))


def sections() -> dict[str, str]:
    """The sections of the runbooks by heading."""
    _, *parts = re.split(r"(?m)^## ", RUNBOOKS.read_text())
    return {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in parts}


def fenced(text: str, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", text)


def promtool(monitoring: Any, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(monitoring.need("promtool")), *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)


# ---- promtool


def test_promtool_accepts_the_rules(monitoring: Any) -> None:
    done = promtool(monitoring, "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_promtool_accepts_the_configuration(monitoring: Any) -> None:
    done = promtool(monitoring, "check", "config", "--lint=all", "--lint-fatal", str(SHIPPED / "prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULE_FILES)} rule files found" in done.stdout


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_promtool_tests(monitoring: Any, path: Path) -> None:
    done = promtool(monitoring, "test", "rules", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def alert_cases() -> Iterator[dict[str, Any]]:
    for path in TEST_FILES:
        for test in yaml.safe_load(path.read_text())["tests"]:
            yield from test.get("alert_rule_test", ())


def test_every_alert_is_tested_firing_and_silent() -> None:
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    assert {case["alertname"] for case in alert_cases() if case["exp_alerts"]} == set(names)
    assert {case["alertname"] for case in alert_cases() if not case["exp_alerts"]} == set(names)


def test_every_recording_rule_is_tested() -> None:
    tests = [test for path in TEST_FILES for test in yaml.safe_load(path.read_text())["tests"]]
    asked = "\n".join(case["expr"] for test in tests for case in test.get("promql_expr_test", ()))
    assert [rule["record"] for rule in RECORDED if rule["record"] not in asked] == []


# ---- documentation


@pytest.mark.parametrize("alert", ALERTS, ids=by_name)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(alert: dict[str, Any]) -> None:
    name, annotations = alert["alert"], alert["annotations"]
    assert name.startswith("BudgetWatchdog")
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert set(annotations) == {"summary", "description", "runbook"}
    assert annotations["runbook"] == f"docs/runbooks.md#{name.lower()}"
    assert len(annotations["summary"]) < 80
    section = sections()[name]
    assert section.strip().startswith(f"{alert['labels']['severity']}. "), "the runbook names another severity"
    for part in ("At risk", "Look at", "Do", "Harmless if"):
        assert f"**{part}**" in section, part


def test_the_runbooks_tell_of_no_other_alert() -> None:
    assert list(sections()) == sorted(sections(), key=[rule["alert"] for rule in ALERTS].index)
    assert len(sections()) == len(ALERTS)


def test_the_runbooks_name_commands_that_exist() -> None:
    context = click.Context(cli)
    for verb, options in re.findall(r"(?:\$ |`)budget-watchdog ([a-z]+)([^`\n#]*)", RUNBOOKS.read_text()):
        command = cli.get_command(context, verb)
        assert command is not None, verb
        known = {name for option in command.params for name in option.opts}
        assert set(re.findall(r"--[a-z-]+", options)) <= known, f"{verb}{options}"
        required = {option.opts[0] for option in command.params if option.required and option.opts[0].startswith("-")}
        assert all(name in options for name in required), f"{verb}{options}"


def test_every_metric_in_use_is_in_the_catalogue_with_its_labels() -> None:
    declared = {metric.full_name: metric for metric in METRICS}
    for rule in shipped_rules():
        used, foreign = _SELECTOR.findall(rule["expr"]), set(_FOREIGN.findall(rule["expr"]))
        assert used or foreign, by_name(rule)
        assert foreign <= FOREIGN, by_name(rule)
        for name, matchers in used:
            metric = declared[re.sub(r"_(bucket|sum|count)$", "", name)]
            for label, values in _MATCHER.findall(matchers):
                assert label in metric.labels, (by_name(rule), label)
                if label in metric.values:
                    assert {*values.split("|")} <= {*metric.values[label]}, (by_name(rule), label)


# ---- the daemon


def test_promtool_finds_nothing_to_complain_of_in_the_live_metrics(monitoring: Any, live_daemon: Any) -> None:
    done = promtool(monitoring, "check", "metrics", given=live_daemon.metrics())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_live_metrics_are_the_same_in_openmetrics(live_daemon: Any) -> None:
    text = live_daemon.metrics("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    strict: Any = openmetrics.text_string_to_metric_families
    families = {family.name for family in strict(text)}
    assert families == {family.name for family in parse_text(live_daemon.metrics())}


def test_every_label_in_use_exists(live_daemon: Any) -> None:
    """Metrics, labels and their values, as far as they are born at zero. A typo there is an alert that never fires."""
    samples = [sample for family in parse_text(live_daemon.metrics()) for sample in family.samples]
    known = {sample.name for sample in samples}
    pairs = {(sample.name, *label) for sample in samples for label in sample.labels.items()}
    labels = {(metric, label) for metric, label, _ in pairs}
    for rule in shipped_rules():
        for metric, matchers in _SELECTOR.findall(rule["expr"]):
            assert metric in known, by_name(rule)
            for label, values in _MATCHER.findall(matchers):
                assert (metric, label) in labels, (by_name(rule), label)
                assert {(metric, label, value) for value in values.split("|")} <= pairs, by_name(rule)


# ---- Prometheus


def test_prometheus_takes_every_rule(fresh_prometheus: Any, monitoring: Any) -> None:
    def judged() -> bool:
        return all(rule["health"] != "unknown" for rule in fresh_prometheus.rules())

    monitoring.wait_for(judged, "the first evaluation")
    loaded = fresh_prometheus.rules()
    assert {rule["name"] for rule in loaded} == {by_name(rule) for rule in shipped_rules()}
    assert {rule["name"]: rule.get("lastError") for rule in loaded if rule["health"] != "ok"} == {}
    (target,) = fresh_prometheus.api("targets")["activeTargets"]
    assert (target["health"], target["labels"]["job"]) == ("up", "budget-watchdog")


@pytest.mark.parametrize("query", [query for text in sections().values() for query in fenced(text, "promql")])
def test_prometheus_understands_the_queries_of_the_runbooks(fresh_prometheus: Any, query: str) -> None:
    fresh_prometheus.query(query)


def test_every_recording_rule_gives_data(live_prometheus: Any, monitoring: Any) -> None:
    for rule in RECORDED:
        name = rule["record"]

        def shown(name: str = name) -> list[float]:
            return [value for _, value in live_prometheus.query(name) if not math.isnan(value)]

        monitoring.wait_for(shown, name)
    # Of runs on Apify only the platform's own stop is known here: what they saved "at most" is in no sum.
    for expression in (
        'count(account:budget_watchdog_saved_usd:increase1h{account="growth"} > 0) == 1',
        'count(account:budget_watchdog_saved_credits:increase1d{account="growth"} > 0) == 1',
        'count(account:budget_watchdog_saved_usd:increase1h{account="main"} == 0) == 1',
        'count(account_basis:budget_watchdog_saved_usd:increase1d{account="main", basis="cap"} > 0) == 1',
        "count(account:budget_watchdog_overshoot_ratio:p95_1d > 0) == 2",
        "count(account:budget_watchdog_abort_seconds:p95_1d > 0) == 2",
    ):
        monitoring.wait_for(lambda expression=expression: live_prometheus.query(expression), expression)


def test_the_alerts_that_fire_are_those_that_must(live_prometheus: Any, live_daemon: Any, monitoring: Any) -> None:
    """One run hides its cost, some broke a rule that only reports, and one over its limit is protected. All is well
    otherwise: nobody may be woken."""

    def firing() -> set[str]:
        found = live_prometheus.query('ALERTS{alertstate="firing"}')
        return {series["alertname"] for series, _ in found if series["severity"] != "info"}

    wanted = {"BudgetWatchdogUsageUnknown", "BudgetWatchdogNotifyRuleBroken", "BudgetWatchdogOvershootHigh"}
    monitoring.wait_for(lambda: firing() == wanted, f"just these alerts, not {firing()}")
    over = live_prometheus.query('budget_watchdog_rule_usage_ratio{rule="cap", limit="max_cost_usd"}')
    assert over[0][1] >= 1, "the protected run is over its limit"
