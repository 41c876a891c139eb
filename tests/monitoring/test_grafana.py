"""What is shipped for Grafana: as its SDK reads it, against the documentation, and every query in a real Prometheus.

No Grafana runs here: it cannot be installed from where this is tested. Its part is played by monitoring/grafana/ask.py,
which fills in variables and intervals as Grafana documents it.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from watchdog.telemetry.catalogue import METRICS, PREFIX
from watchdog.telemetry.exposition import Histogram

HOME = Path(__file__).parents[2]
GRAFANA = HOME / "monitoring" / "grafana"
BOARD = GRAFANA / "dashboards" / "budget-watchdog.json"
PROVISIONING = GRAFANA / "provisioning"
ALERTS = PROVISIONING / "alerting" / "rules.yaml"
#: Metrics of the scraper and of the process.
FOREIGN = {"up", "process_start_time_seconds", "process_resident_memory_bytes", "process_cpu_seconds_total"}
#: What each label can be chosen by.
CHOICES = ("platform", "account", "rule")


@pytest.fixture(scope="module")
def code(monitoring: SimpleNamespace) -> SimpleNamespace:
    """The scripts in monitoring/grafana, and the parsers that they need."""
    sys.path.insert(0, str(GRAFANA))
    try:
        found = SimpleNamespace(
            **{name: _module(monitoring, name) for name in ("ask", "build_alerts", "build_dashboards")}
        )
    finally:
        sys.path.remove(str(GRAFANA))
    found.promql = sys.modules["promql_parser"]
    return found


def _module(monitoring: SimpleNamespace, name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        monitoring.skip(f"{error.name} is not installed")
        raise


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def alert_group() -> dict[str, Any]:
    group: dict[str, Any]
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return group


@pytest.fixture(scope="module")
def documented() -> dict[str, set[str]]:
    """The labels of every series that there is, by its name, as the catalogue has them (and docs/metrics.md)."""
    found = {}
    for metric in METRICS:
        for suffix in ("_bucket", "_sum", "_count") if metric.kind is Histogram else ("",):
            found[metric.full_name + suffix] = {*metric.labels} | ({"le"} if suffix == "_bucket" else set())
    return found


def shown(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: Mapping[str, Any], alert_group: Mapping[str, Any]) -> dict[str, str]:
    """Every query that is shipped, by where it stands. Grafana's intervals become plain ones."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"] for panel in shown(board) for target in panel["targets"]
    }
    found |= {f"annotation {mark['name']}": mark["expr"] for mark in board["annotations"]["list"]}
    found |= {rule["title"]: rule["data"][0]["model"]["expr"] for rule in alert_group["rules"]}
    return {where: re.sub(r"\$__\w+", "5m", expr) for where, expr in found.items()}


def selectors(promql: Any, expr: str) -> list[tuple[str, set[str]]]:
    """Metric and labels of every selector in an expression; the labels are those matched on."""
    found = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql.VectorSelector):
            found.append((node.name, {matcher.name for matcher in node.matchers.matchers}))
        return True

    promql.walk(promql.parse(expr), visit)
    return found


# ---- generated, and as the SDK reads it


def test_the_dashboard_is_what_the_code_makes(code: SimpleNamespace) -> None:
    made = code.build_dashboards.as_json(code.build_dashboards.build_dashboard())
    assert BOARD.read_text(encoding="utf-8") == made, "run: python monitoring/grafana/build_dashboards.py"


def test_the_alert_rules_are_what_the_code_makes(code: SimpleNamespace) -> None:
    made = code.build_alerts.as_yaml(code.build_alerts.provisioning(code.build_alerts.panel_ids()))
    assert ALERTS.read_text(encoding="utf-8") == made, "run: python monitoring/grafana/build_alerts.py"


def test_the_scripts_write_these_files(code: SimpleNamespace, tmp_path: Path) -> None:
    for script, shipped in ((code.build_dashboards, BOARD), (code.build_alerts, ALERTS)):
        assert shipped == script.TARGET
        script.main(["--to", str(tmp_path / "written")])
        assert (tmp_path / "written").read_text(encoding="utf-8") == shipped.read_text(encoding="utf-8")


def test_the_dashboard_survives_the_way_through_the_sdk(code: SimpleNamespace, board: dict[str, Any]) -> None:
    """Every key that is there has a meaning to the SDK of Grafana 11.6, and comes back as it was."""
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    back = json.loads(code.build_dashboards.as_json(Dashboard.from_json(board)))
    for given, returned in zip(board["annotations"]["list"], back["annotations"]["list"], strict=True):
        # Read by the Prometheus data source, which is not the SDK's business.
        own = {"titleFormat", "textFormat", "tagKeys", "step", "useValueForTime"}
        assert given.keys() - returned.keys() == own
        returned |= {key: given[key] for key in own}
    assert back == board


def test_the_alert_rules_survive_the_way_through_the_sdk(code: SimpleNamespace, alert_group: dict[str, Any]) -> None:
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.alerting import Rule

    register_default_plugins()
    for rule in alert_group["rules"]:
        back = code.build_alerts._plain(Rule.from_json(rule))
        assert {key: back[key] for key in rule} == rule


def test_links_to_the_documentation_come_with_its_address(code: SimpleNamespace) -> None:
    def urls(docs_url: str) -> list[str]:
        return [link.url for link in code.build_dashboards.build_dashboard(docs_url).links]

    assert urls("") == ["/alerting/list"]
    base = "https://example.com/docs"
    assert urls(base + "/")[1:] == [f"{base}/{page}" for page in ("runbooks.md", "metrics.md", "grafana.md")]
    assert all((HOME / "docs" / url.rpartition("/")[2]).exists() for url in urls(base)[1:])


# ---- the dashboard


def test_panels_are_told_apart(board: dict[str, Any]) -> None:
    for key in ("id", "title"):
        assert [value for value, times in Counter(panel[key] for panel in board["panels"]).items() if times > 1] == []
    assert [panel["title"] for panel in board["panels"] if panel["type"] == "row"] == ["Now", "Money", "Health"]


def test_every_panel_says_what_it_shows(board: dict[str, Any]) -> None:
    for panel in shown(board):
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for target in panel["targets"]:
            assert panel["type"] == "table" or target["legendFormat"], panel["title"]
            assert target["instant"] is not target["range"], panel["title"]


def test_panels_lie_side_by_side(board: dict[str, Any]) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken.update(
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        )
    assert max(taken.values()) == 1
    lowest = max(y for _, y in taken)
    assert len(taken) == 24 * (lowest + 1), "holes"


def test_the_dashboard_can_be_provisioned(board: dict[str, Any]) -> None:
    assert board["uid"] == "budget-watchdog"
    assert "id" not in board, "Grafana gives the number"
    assert 39 <= board["schemaVersion"] <= 41, "Grafana 11.0 to 11.6"
    assert "__inputs" not in board
    sources = {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in shown(board)}
    sources |= {(mark["datasource"]["type"], mark["datasource"]["uid"]) for mark in board["annotations"]["list"]}
    assert sources == {("prometheus", "${datasource}")}


def test_a_limit_turns_orange_and_red(board: dict[str, Any]) -> None:
    (panel,) = [panel for panel in shown(board) if panel["title"] == "Closest run to each limit"]
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert panel["type"] == "bargauge"
    assert [(step["value"], step["color"]) for step in steps] == [(None, "green"), (0.8, "orange"), (1, "red")]


def test_variables_are_chained(board: dict[str, Any], code: SimpleNamespace, documented: dict[str, set[str]]) -> None:
    """Each lists what goes with those before it, from labels that exist."""
    variables = board["templating"]["list"]
    assert [variable["name"] for variable in variables] == ["datasource", "job", "instance", *CHOICES]
    before: set[str] = set()
    for variable in variables[1:]:
        assert (variable["multi"], variable["includeAll"]) == (True, True)
        ((selector, label),) = re.findall(r"^label_values\((.+), (\w+)\)$", variable["query"])
        assert label == variable["name"]
        used = set(re.findall(r"\$(\w+)", selector))
        assert used <= before, f"{label} uses a variable that comes later"
        assert used == before or label in {"platform", "rule"}
        ((name, _),) = selectors(code.promql, selector)
        for metric in {name} if name else {f"{PREFIX}aborts_total", f"{PREFIX}breaches_total"}:
            assert label in documented[metric] | {"job", "instance"}
        before.add(label)


# ---- the queries


def test_every_query_parses_and_knows_its_metrics(
    board: dict[str, Any], alert_group: dict[str, Any], code: SimpleNamespace, documented: dict[str, set[str]]
) -> None:
    for where, expr in queries(board, alert_group).items():
        for name, labels in selectors(code.promql, expr):
            assert name in documented or name in FOREIGN, f"{where}: {name} is no metric of ours"
            assert labels <= documented.get(name, set()) | {"job", "instance"}, f"{where}: {name} has no such label"


def test_every_documented_metric_is_shown_or_left_out_on_purpose(
    board: dict[str, Any], code: SimpleNamespace, documented: dict[str, set[str]]
) -> None:
    used = {name for expr in queries(board, {"rules": []}).values() for name, _ in selectors(code.promql, expr)}
    shown_names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    left_out = {
        "reload_timestamp_seconds",  # reload_success says what matters
        "admin_calls_total",  # for those who have opened the door; an alert of Prometheus
        "rate_limited_total",  # status 429 of the requests
        "rate_budget_requests",  # what is used of it is shown
        "rule_matched_timestamp_seconds",  # for a look now and then: docs/metrics.md has the query
        "exception_matched_timestamp_seconds",
        "names_refused",  # the log says which; only where rules go by names does it matter
        "log_lines_lost_total",  # told in the log itself once it flows again; nothing of the guarding depends on it
        "series_left_out",  # 0 but for thousands of rules on many accounts; docs/metrics.md says what to do
    }
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in documented}
    assert names - shown_names == {PREFIX + name for name in left_out} & names


def test_every_choice_takes_effect(
    board: dict[str, Any], code: SimpleNamespace, documented: dict[str, set[str]]
) -> None:
    """A metric with a label that can be chosen is filtered by that choice, everywhere on the dashboard."""
    for where, expr in queries(board, {"rules": []}).items():
        for name, matched in selectors(code.promql, expr):
            wanted = {"job", "instance"} | (documented.get(name, set()) & set(CHOICES))
            assert wanted <= matched, f"{where}: {name} ignores {wanted - matched}"


def test_counters_are_only_read_as_what_they_gain(
    board: dict[str, Any], alert_group: dict[str, Any], code: SimpleNamespace
) -> None:
    """A counter by itself says nothing. There are two exceptions, in which any count at all is the news."""
    allowed = {"Bugs in counting A", "BudgetWatchdogOverLimitRunNotStopped"}
    for where, expr in queries(board, alert_group).items():
        for found in re.finditer(r"\w+_(?:total|bucket)\b(?:\{[^}]*\})?(\[?)", expr):
            assert found[1] or where in allowed, where


def test_every_interval_fits_its_use(board: dict[str, Any]) -> None:
    """As of the end of the range: over the range. Over time: over what Grafana reckons for a rate."""
    for panel in shown(board):
        for target in panel["targets"]:
            spans = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
            assert spans <= {"$__range" if target["instant"] else "$__rate_interval"}, panel["title"]
            if "increase" in target["expr"] and target["range"]:
                assert panel["interval"] == "1m", f"{panel['title']}: bars shorter than 3 scrapes count twice"
    for mark in board["annotations"]["list"]:
        assert set(re.findall(r"\[([^\]]+)\]", mark["expr"])) <= {"$__rate_interval"}
        assert mark["step"] == "60s"


@pytest.mark.parametrize(("bar_s", "scrape_s"), [(60, 15), (60, 20), (72, 15), (300, 15)])
def test_every_abort_is_in_exactly_one_bar(code: SimpleNamespace, bar_s: float, scrape_s: float) -> None:
    """Neighbouring windows share one sample: the window is a bar and a scrape long."""
    window = code.ask.Window(0, bar_s * 300, scrape_s)
    assert window.step_s("1m") == bar_s
    assert window.intervals(bar_s)["__rate_interval"] == f"{(bar_s + scrape_s) * 1000:.0f}ms"


# ---- a real Prometheus


@pytest.fixture(scope="module")
def opened(live_prometheus: Any, code: SimpleNamespace, board: dict[str, Any]) -> Callable[..., Any]:
    """The dashboard as Grafana would show it now."""

    def fetch(path: str, parameters: Mapping[str, str]) -> Any:
        return live_prometheus.api(path, **parameters)

    def open_it(**chosen: list[str]) -> Any:
        end = float(live_prometheus.api("query", query="time()")["result"][1])
        # Bars stand at full minutes: the one that is not over yet is shown too.
        return code.ask.Grafana(board, fetch, code.ask.Window(end - 900, end + 60, scrape_s=1), chosen)

    return open_it


def test_everything_can_be_chosen(opened: Callable[..., Any], live_daemon: Any, board: dict[str, Any]) -> None:
    options = {variable["name"]: sorted(opened().options(variable)) for variable in board["templating"]["list"][1:]}
    assert options["job"] == ["budget-watchdog"]
    assert options["instance"] == [live_daemon.address]
    assert (options["platform"], options["account"]) == (["apify", "lobstr"], ["growth", "main"])
    assert {"cap", "resumed", "tell", "squid-cap"} <= set(options["rule"])


def test_every_query_of_every_panel_gives_data(opened: Callable[..., Any]) -> None:
    shown_now = opened()
    without = {
        f"{panel['title']}: {target['refId']}"
        for panel in shown_now.panels()
        for target, lines in zip(panel["targets"], shown_now.answers(panel), strict=True)
        if not any(math.isfinite(value) for line in lines for _, value in line.points)
    }
    assert without == set()


def test_every_legend_is_filled_and_tells_series_apart(opened: Callable[..., Any]) -> None:
    shown_now = opened()
    for panel in shown_now.panels():
        legends = [line.legend for lines in shown_now.answers(panel) for line in lines]
        assert all(legend.strip() == legend and "  " not in legend for legend in legends), (panel["title"], legends)
        assert len(set(legends)) == len(legends), (panel["title"], legends)


def test_the_annotations_mark_aborts_and_starts(opened: Callable[..., Any], live_daemon: Any) -> None:
    shown_now = opened()
    marks = shown_now.marks()
    assert {"account", "rule", "outcome"} == {label for line in marks["Aborts"] for label in line.labels}
    assert "confirmed" in {line.labels["outcome"] for line in marks["Aborts"]}
    ((_, started_ms), *_) = marks["Starts"][0].points
    assert shown_now.window.start - 3600 < started_ms / 1000 < shown_now.window.end, "milliseconds since 1970"


def test_a_choice_leaves_the_rest_out(opened: Callable[..., Any]) -> None:
    everything, one = opened(), opened(account=["main"], platform=["apify"], rule=["cap"])
    for panel in one.panels():
        for line in [line for lines in one.answers(panel) for line in lines]:
            for label, chosen in {"account": "main", "platform": "apify", "rule": "cap"}.items():
                assert line.labels.get(label, chosen) == chosen, panel["title"]
    accounts = {line.labels.get("account") for line in everything.answers(everything.panels()[0])[0]}
    assert accounts == {"main", "growth"}


def test_figures_agree_with_the_daemon(opened: Callable[..., Any], live_daemon: Any, monitoring: Any) -> None:
    """The panels of money show what the daemon counted: it was born at zero within the range."""

    def agree() -> bool:
        shown_now = opened()
        by_title = {panel["title"]: shown_now.answers(panel) for panel in shown_now.panels()}

        def total(title: str) -> float:
            return math.fsum(line.points[-1][1] for lines in by_title[title] for line in lines)

        def estimated(counter: str) -> float:
            return float(live_daemon.counted(counter) - live_daemon.counted(counter, basis="cap"))

        # increase() extrapolates to the edges of the range.
        return all(
            counted > 0 and counted * 0.9 <= total(title) <= counted * 1.5
            for title, counted in {
                "Runs stopped": live_daemon.counted("aborts_total", outcome="confirmed"),
                "Aborts": live_daemon.counted("aborts_total"),
                "US dollars saved": live_daemon.counted("saved_usd_total"),
                "US dollars saved by rule": estimated("saved_usd_total"),
                "Credits saved": estimated("saved_credits_total"),
                "Credits saved by rule": estimated("saved_credits_total"),
                "Active runs": live_daemon.counted("runs_active"),
            }.items()
        )

    monitoring.wait_for(agree, "the figures")


# ---- the alert rules


def prometheus_alerts() -> dict[str, dict[str, Any]]:
    path = HOME / "monitoring" / "prometheus" / "rules" / "budget-watchdog.alerts.yaml"
    return {rule["alert"]: rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]}


def test_each_alert_fires_when_that_of_prometheus_does(code: SimpleNamespace, alert_group: dict[str, Any]) -> None:
    """Query and threshold together are the expression that promtool tests; or the query alone is, and any series
    fires."""
    tested = prometheus_alerts()
    for rule in alert_group["rules"]:
        query, *_, threshold = rule["data"]
        asked = query["model"]["expr"]
        if len(rule["data"]) == 2:
            (condition,) = threshold["model"]["conditions"]
            kind, (bound,) = condition["evaluator"]["type"], condition["evaluator"]["params"]
            # For figures that are whole and not negative, `< 1` is `== 0`.
            asked += {"gt": f" > {bound}", "lt": " == 0" if bound == 1 else f" < {bound}"}[kind]
        parse = code.promql.parse
        assert parse(asked).prettify() == parse(tested[rule["title"]]["expr"]).prettify(), rule["title"]


def test_each_alert_is_as_urgent_as_that_of_prometheus(alert_group: dict[str, Any]) -> None:
    tested = prometheus_alerts()
    for rule in alert_group["rules"]:
        twin = tested[rule["title"]]
        assert (rule["for"], rule["labels"]) == (twin.get("for", "0s"), twin["labels"])
        assert rule["annotations"]["summary"] == twin["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == twin["annotations"]["runbook"]
    severities = {rule["labels"]["severity"] for rule in alert_group["rules"]}
    assert severities == {"critical", "warning", "info"}


def test_each_alert_points_at_a_runbook_and_a_panel(board: dict[str, Any], alert_group: dict[str, Any]) -> None:
    headings = re.findall(r"(?m)^## (\w+)$", (HOME / "docs" / "runbooks.md").read_text())
    panel_ids = {str(panel["id"]) for panel in shown(board)}
    for rule in alert_group["rules"]:
        notes = rule["annotations"]
        assert rule["title"] in headings
        assert notes["runbook"] == f"docs/runbooks.md#{rule['title'].lower()}"
        assert notes["__dashboardUid__"] == board["uid"]
        assert notes["__panelId__"] in panel_ids
        # $value holds every value and label in one text there.
        assert "$value " not in notes["description"] + " "
        assert "$value|" not in notes["description"]


def test_the_alerts_that_the_issue_names_are_there(alert_group: dict[str, Any]) -> None:
    named = {"AbortUnconfirmed", "AccountNotSwept", "LedgerNotWritable", "RulesRejected", "Absent", "Down"}
    assert {f"BudgetWatchdog{name}" for name in named} <= {rule["title"] for rule in alert_group["rules"]}


def test_every_alert_query_gives_data_or_has_no_cause_to(
    live_prometheus: Any, alert_group: dict[str, Any], monitoring: Any
) -> None:
    """Alerts made of a measure and a threshold always have a measure. The others ask only for what is wrong: they are
    silent exactly while the cause, asked for in another way, is not there."""
    causes = {
        "BudgetWatchdogCredentialsRefused": 'budget_watchdog_polls_total{outcome="credentials_refused"} > 0',
        "BudgetWatchdogAbsent": 'absent(up{job="budget-watchdog"} == 1)',
        # These two depend on how runs are doing at this moment: then the twin, which Prometheus evaluates each second,
        # is pending or firing. (The run that stays over its limit in the fixture is protected, so that the first is
        # silent unless a run is just being stopped.)
        "BudgetWatchdogOverLimitRunNotStopped": 'ALERTS{alertname="BudgetWatchdogOverLimitRunNotStopped"}',
        "BudgetWatchdogLimitSoonReached": 'ALERTS{alertname="BudgetWatchdogLimitSoonReached"}',
    }
    exprs = {rule["title"]: rule["data"][0]["model"]["expr"] for rule in alert_group["rules"]}
    assert causes.keys() == {rule["title"] for rule in alert_group["rules"] if len(rule["data"]) > 2}
    for title in exprs.keys() - causes.keys():
        assert live_prometheus.query(exprs[title]), title
    for title, cause in causes.items():

        def agree(expr: str, cause: str) -> bool:
            return bool(live_prometheus.query(expr)) == bool(live_prometheus.query(cause))

        monitoring.wait_for(partial(agree, exprs[title], cause), f"{title} to be as silent as its cause")


# ---- provisioning


def provisioned(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((PROVISIONING / name).read_text(encoding="utf-8"))
    assert content["apiVersion"] == 1
    return content


def test_the_alert_group_is_as_grafana_documents_it(alert_group: dict[str, Any]) -> None:
    assert alert_group.keys() == {"orgId", "name", "folder", "interval", "rules"}
    interval_s = int(alert_group["interval"].removesuffix("s"))
    assert interval_s % 10 == 0, "Grafana's scheduler ticks every 10 s"
    uids = [rule["uid"] for rule in alert_group["rules"]]
    assert len(set(uids)) == len(uids)
    for rule in alert_group["rules"]:
        assert re.fullmatch(r"[a-z0-9-]{1,40}", rule["uid"])
        assert rule["noDataState"] in {"NoData", "Alerting", "OK"}
        assert rule["execErrState"] in {"Error", "Alerting", "OK"}
        minutes = int(rule["for"].removesuffix("m"))
        assert minutes * 60 % interval_s == 0, "pending is a multiple of the interval"
        assert rule["condition"] in {step["refId"] for step in rule["data"]}


def test_each_step_of_an_alert_uses_one_before_it(alert_group: dict[str, Any]) -> None:
    for rule in alert_group["rules"]:
        before: list[str] = []
        for step in rule["data"]:
            assert step["model"]["refId"] == step["refId"]
            assert step["model"]["datasource"]["uid"] == step["datasourceUid"]
            if step["datasourceUid"] == "__expr__":
                used = re.findall(r"\$(\w+)", step["model"]["expression"]) or [step["model"]["expression"]]
                assert set(used) <= set(before), rule["title"]
            before.append(step["refId"])


def test_the_alerts_ask_the_data_source_that_is_provisioned(alert_group: dict[str, Any]) -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    asked = {step["datasourceUid"] for rule in alert_group["rules"] for step in rule["data"]} - {"__expr__"}
    assert asked == {source["uid"]}
    assert source["type"] == "prometheus"
    assert not source["isDefault"]


def test_the_data_source_knows_how_often_prometheus_scrapes() -> None:
    (source,) = provisioned("datasources/prometheus.yaml")["datasources"]
    prometheus = yaml.safe_load((HOME / "monitoring" / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_dashboards_and_alerts_share_a_folder(alert_group: dict[str, Any]) -> None:
    (provider,) = provisioned("dashboards/budget-watchdog.yaml")["providers"]
    assert provider["type"] == "file"
    assert provider["folder"] == alert_group["folder"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"


def test_the_examples_fit_together(alert_group: dict[str, Any]) -> None:
    points = provisioned("alerting/contact-points.yaml.example")["contactPoints"]
    (policy,) = provisioned("alerting/policies.yaml.example")["policies"]
    names = {point["name"] for point in points}
    assert {route["receiver"] for route in policy["routes"]} == names
    uids = [receiver["uid"] for point in points for receiver in point["receivers"]]
    assert len(set(uids)) == len(uids)
    for route in policy["routes"]:
        assert ["grafana_folder", "=", alert_group["folder"]] in route["object_matchers"]
    settings = [receiver["settings"] for point in points for receiver in point["receivers"]]
    assert {value for each in settings for value in each.values() if str(value).startswith("$")} == {
        "$BUDGET_WATCHDOG_ALERT_WEBHOOK",
        "$BUDGET_WATCHDOG_ALERT_EMAIL",
    }


def test_nothing_is_read_by_grafana_that_needs_a_variable() -> None:
    """With a variable that is not set, Grafana does not start on a contact point. So those are examples by name."""
    for path in PROVISIONING.rglob("*.y*ml"):
        contents = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert not {"contactPoints", "policies"} & contents.keys(), path
        if path != ALERTS:  # whose annotations and queries are left as they are
            assert not re.search(r"\$\w", re.sub(r"(?m)#.*", "", path.read_text(encoding="utf-8"))), path


# ---- docs/grafana.md


def test_the_documentation_shows_every_row_and_names_every_panel(board: dict[str, Any]) -> None:
    text = (HOME / "docs" / "grafana.md").read_text(encoding="utf-8")
    for panel in board["panels"]:
        if panel["type"] == "row":
            name = panel["title"].lower()
            assert f"](grafana/{name}.svg)" in text
            picture = (HOME / "docs" / "grafana" / f"{name}.svg").read_text(encoding="utf-8")
        else:
            assert panel["title"] in picture, f"draw anew: monitoring/grafana/draw_rows.py ({panel['title']})"
            assert panel["title"] in text, panel["title"]
