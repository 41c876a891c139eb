"""Grafana-managed alert rules, made from those of Prometheus: `python monitoring/grafana/build_alerts.py` writes
provisioning/alerting/rules.yaml.

One source for both: monitoring/prometheus/rules/budget-watchdog.alerts.yaml, whose alerts promtool tests. Only the
handful that somebody must see is taken over here. Needs grafana-foundation-sdk and promql-parser (dependency group
`dev`).
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import promql_parser
import yaml
from grafana_foundation_sdk.builders import alerting, expr, prometheus
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import alerting as model
from grafana_foundation_sdk.models.dashboard import DataSourceRef

HOME = Path(__file__).parents[2]
SOURCE = HOME / "monitoring" / "prometheus" / "rules" / "budget-watchdog.alerts.yaml"
TARGET = Path(__file__).parent / "provisioning" / "alerting" / "rules.yaml"
#: As in provisioning/datasources/prometheus.yaml.
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="budget-watchdog-prometheus")
#: Where Grafana reckons with the answers of queries.
EXPRESSION = DataSourceRef(type_val="__expr__", uid="__expr__")
FOLDER = "budget-watchdog"
DASHBOARD_UID = "budget-watchdog"
INTERVAL = "30s"
#: What the alert's page draws. The queries themselves are instant.
LOOKBACK = model.RelativeTimeRange(from_val=600, to=0)
Evaluator = Literal["gt", "lt"]

#: The alerts that are taken over, and the panel of the dashboard that each belongs to.
CHOSEN: Mapping[str, str] = {
    "BudgetWatchdogOverLimitRunNotStopped": "Closest run to each limit",
    "BudgetWatchdogAbortUnconfirmed": "Aborts not confirmed",
    "BudgetWatchdogAccountNotSwept": "Last swept",
    "BudgetWatchdogAccountNeverSwept": "Last swept",
    "BudgetWatchdogCredentialsRefused": "Sweeps by outcome",
    "BudgetWatchdogDown": "Running for",
    "BudgetWatchdogAbsent": "Running for",
    "BudgetWatchdogLedgerNotWritable": "Ledger",
    "BudgetWatchdogRulesRejected": "Last loading of rules",
    "BudgetWatchdogLimitSoonReached": "The way to each limit",
}
HEAD = """\
# Written by monitoring/grafana/build_alerts.py from monitoring/prometheus/rules/budget-watchdog.alerts.yaml: to change
# an alert, change it there and run the script.
# What each alert means and what to do: docs/runbooks.md. How to set this up: docs/grafana.md.
"""


def chosen_rules() -> list[dict[str, Any]]:
    """The rules of Prometheus that are taken over, in the order of CHOSEN; KeyError if one is gone."""
    groups = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))["groups"]
    by_name = {rule["alert"]: rule for group in groups for rule in group["rules"]}
    return [by_name[name] for name in CHOSEN]


def split(expression: str) -> tuple[str, str, float] | None:
    """`measure > 5` as its three parts; None if the outermost operation is something else than such a comparison."""
    parsed = promql_parser.parse(expression)
    if not isinstance(parsed, promql_parser.BinaryExpr) or not isinstance(parsed.rhs, promql_parser.NumberLiteral):
        return None
    found = re.fullmatch(r"(?s)(.*\S)\s*(>|<|==)\s*([\d.]+)", expression.strip())
    return (found[1], found[2], float(found[3])) if found else None


def threshold(operator: str, bound: float) -> tuple[Evaluator, float]:
    """The evaluator of Grafana's threshold. The early ones of Grafana 11 have no `==`, which here only ever asks for
    the 0 of a gauge that counts, or is 0 or 1."""
    if operator == "==":
        assert bound == 0, "only == 0 can be said as < 1"
        return "lt", 1
    return ("gt" if operator == ">" else "lt"), bound


def build_rule(rule: Mapping[str, Any], panel_id: int) -> model.Rule:
    """One rule of Grafana from one of Prometheus."""
    name = rule["alert"]
    built = alerting.Rule(name).uid(_uid(name)).rule_group("budget-watchdog").condition("threshold")
    # No series is what a sound state looks like, or the watchdog is gone, for which there are two alerts.
    built = built.queries(_steps(rule["expr"].strip())).no_data_state("OK").exec_err_state("Error")
    built = built.for_val(rule.get("for", "0s")).labels(rule["labels"])
    return built.annotations(_annotations(rule["annotations"], panel_id)).build()


def _steps(expression: str) -> list[Builder[model.Query]]:
    """A plain comparison becomes a query and a threshold, so that Grafana can draw the measure and the line. Anything
    else is asked as it is, and every series that comes back fires, as in Prometheus: that is how Grafana itself takes
    over rules of Prometheus (its pkg/services/ngalert/prom)."""
    parts = split(expression)
    if parts:
        measure, operator, bound = parts
        return [_query(measure), _threshold("query", *threshold(operator, bound))]
    some = "is_number($query) || is_nan($query) || is_inf($query)"
    math = expr.TypeMath().ref_id("found").datasource(EXPRESSION).expression(some)
    return [_query(expression), _step("found", EXPRESSION, math), _threshold("found", "gt", 0)]


def _uid(name: str) -> str:
    """Stable, and short enough for Grafana (40 characters): `bw-abort-unconfirmed`."""
    words = re.findall(r"[A-Z][a-z]+", name.removeprefix("BudgetWatchdog"))
    return "-".join(["bw", *(word.lower() for word in words)])


def _annotations(given: Mapping[str, str], panel_id: int) -> dict[str, str]:
    """In Grafana `$value` holds all values in one text; the one that is meant is that of the query."""
    texts = {name: text.strip().replace("$value", "$values.query.Value") for name, text in given.items()}
    return {**texts, "__dashboardUid__": DASHBOARD_UID, "__panelId__": str(panel_id)}


def _query(expression: str) -> alerting.Query:
    asked = prometheus.Dataquery().ref_id("query").datasource(PROMETHEUS).expr(expression).instant()
    return _step("query", PROMETHEUS, asked)


def _threshold(of: str, kind: Evaluator, bound: float) -> alerting.Query:
    evaluator = expr.ExprTypeThresholdConditionsEvaluator().type(kind).params([bound])
    condition = expr.ExprTypeThresholdConditions().evaluator(evaluator)
    asked = expr.TypeThreshold().ref_id("threshold").datasource(EXPRESSION).expression(of).conditions([condition])
    return _step("threshold", EXPRESSION, asked)


def _step(ref: str, source: DataSourceRef, asked: Any) -> alerting.Query:
    return alerting.Query(ref).datasource_uid(source.uid or "").model(asked).relative_time_range(LOOKBACK)


def provisioning(panel_ids: Mapping[str, int]) -> dict[str, Any]:
    """The file's content. Provisioning files know a rule by a part of the model's keys only."""
    rules = [_plain(build_rule(rule, panel_ids[CHOSEN[rule["alert"]]])) for rule in chosen_rules()]
    # A file names folder, group and organisation once, for all of its rules.
    kept = ("uid", "title", "condition", "data", "for", "noDataState", "execErrState", "labels", "annotations")
    rules = [{key: rule[key] for key in kept} for rule in rules]
    group = {"orgId": 1, "name": "budget-watchdog", "folder": FOLDER, "interval": INTERVAL, "rules": rules}
    return {"apiVersion": 1, "groups": [group]}


def _plain(thing: Any) -> Any:
    return json.loads(json.dumps(thing, cls=JSONEncoder))


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stay readable, and nothing is an alias of something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_yaml(content: Mapping[str, Any]) -> str:
    """What is written into the file."""
    return HEAD + yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def panel_ids() -> dict[str, int]:
    """The numbers of the panels by title."""
    from build_dashboards import build_dashboard  # a neighbour: found when this is run or imported from its folder

    return {str(panel.title): panel.id_val or 0 for panel in build_dashboard().panels or ()}


def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Writes Grafana's alert rules.")
    parser.add_argument("--to", type=Path, default=TARGET, help="the file to write")
    chosen = parser.parse_args(arguments)
    chosen.to.write_text(as_yaml(provisioning(panel_ids())), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
