"""The dashboard, as code: `python monitoring/grafana/build_dashboards.py` writes dashboards/budget-watchdog.json.

Needs grafana-foundation-sdk (in the dependency group `dev`); the builders know the shape of Grafana 11. What the
metrics mean: docs/metrics.md. What each row is for: docs/grafana.md.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as kinds
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

UID = "budget-watchdog"
TARGET = Path(__file__).parent / "dashboards" / "budget-watchdog.json"
#: Where docs/ can be read on the web. While it is empty there are no links, rather than dead ones.
DOCS_URL = ""
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

#: A bar stands for at least this long. With a scrape each 15 s, $__rate_interval is then one bar and one scrape: the
#: windows of neighbouring bars share exactly one sample, so every increase is in one bar, and in only one.
BAR = "1m"

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = "green", "yellow", "orange", "red", "blue", "purple", "gray"
#: One colour for one word, on every panel whose legend ends in that label.
COLOURS: Mapping[str, Mapping[str, str]] = {
    "basis": {"progress": GREEN, "history": YELLOW, "cap": ORANGE},
    "response": {
        "abort": RED,
        "notify": BLUE,
        "dry_run": PURPLE,
        "protected": YELLOW,
        "held": ORANGE,
        "deferred": GREY,
    },
    # Of aborts, of looks, of reloads.
    "outcome": {
        "confirmed": GREEN,
        "already_finished": BLUE,
        "failed": RED,
        "ok": GREEN,
        "gone": GREY,
        "unreachable": RED,
        "credentials_refused": PURPLE,
        "rate_limited": ORANGE,
        "server_fault": YELLOW,
        "changed": GREEN,
        "unchanged": BLUE,
        "rejected": RED,
    },
}

Steps = Sequence[tuple[float | None, str]]
ANY_IS_BAD: Steps = ((None, GREEN), (1, RED))
ANY_IS_ODD: Steps = ((None, GREEN), (1, ORANGE))
NEUTRAL: Steps = ((None, BLUE),)
NEAR_LIMIT: Steps = ((None, GREEN), (0.8, ORANGE), (1, RED))
ONE_IS_GOOD: Steps = ((None, RED), (1, GREEN))

Drawn = TypeVar("Drawn", stat.Panel, bargauge.Panel, timeseries.Panel, table.Panel)


# ---- what is asked


@dataclass(frozen=True)
class Ask:
    """One query of a panel. `legend` is Grafana's {{label}} template."""

    expr: str
    legend: str = ""


def series(name: str, *matchers: str, own: bool = True) -> str:
    """A selector of the chosen instances. Matchers: the variables that the metric has labels for, and fixed ones."""
    words = ['job=~"$job"', 'instance=~"$instance"']
    words += [f'{word}=~"${word}"' if word.isidentifier() else word for word in matchers]
    return f"{'budget_watchdog_' if own else ''}{name}{{{', '.join(words)}}}"


def gained(over: str, by: str, name: str, *matchers: str) -> str:
    """What a counter gained within `over`, by these labels."""
    return f"sum by ({by}) (increase({series(name, *matchers)}[{over}]))"


def booked(over: str, by: str, name: str, *matchers: str) -> str:
    """What a counter that continues from the ledger gained. VictoriaMetrics takes the small first value of a new series
    (a pod that was replaced) for a gain: so never more than the highest less the lowest value."""
    counter = series(name, *matchers)
    between = f"max_over_time({counter}[{over}]) - min_over_time({counter}[{over}])"
    return f"sum by ({by}) (increase({counter}[{over}]) <= {between} or {between})"


def saved(over: str, by: str, unit: str, *matchers: str) -> str:
    """What was saved in this unit (usd, credits), less what was taken back of it."""
    gross, back = (booked(over, by, f"saved_{unit}_{word}", *matchers) for word in ("total", "taken_back_total"))
    return f"{gross} - {back}"


def rate(by: str, name: str, *matchers: str) -> str:
    """Per second, by these labels."""
    return f"sum by ({by}) (rate({series(name, *matchers)}[$__rate_interval]))"


def quantile(share: float, over: str, by: str, name: str, *matchers: str) -> str:
    """A quantile of a histogram. `>= 0` drops NaN: where nothing was observed there is nothing to say."""
    buckets = series(f"{name}_bucket", *matchers)
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({buckets}[{over}]))) >= 0"


WHERE = ("platform", "account")
LAST, RANGE = "$__rate_interval", "$__range"


# ---- how it is drawn


def _queries(panel: Drawn, asks: Sequence[Ask], *, now: bool, form: PromQueryFormat) -> Drawn:
    for ref, ask in zip("ABCDEFGH", asks, strict=False):
        query = prometheus.Dataquery().expr(ask.expr).legend_format(ask.legend).ref_id(ref).format(form)
        panel = _paint(panel.with_target(query.instant() if now else query.range()), ask.legend)
    return panel


def _dress(panel: Drawn, title: str, about: str, unit: str, size: tuple[int, int]) -> Drawn:
    width, height = size
    return panel.title(title).description(about).datasource(SOURCE).unit(unit).span(width).height(height)


def _paint(panel: Drawn, legend: str) -> Drawn:
    """Colours for what the last label of the legend can be."""
    label = legend.rpartition("{{")[2].removesuffix("}}")
    for word, colour in COLOURS.get(label, {}).items():
        paint = model.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel = panel.override_by_regexp(f"/(^| ){word}$/", [paint])
    return panel


def _steps(steps: Steps) -> build.ThresholdsConfig:
    marks = [model.Threshold(value=value, color=colour) for value, colour in steps]
    return build.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(marks)


def _by_steps() -> build.FieldColor:
    return build.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


def figures(
    title: str,
    about: str,
    unit: str,
    *asks: Ask,
    steps: Steps = NEUTRAL,
    size: tuple[int, int] = (4, 4),
    decimals: int | None = None,
    words: Mapping[str, str] | None = None,
    none: str = "",
) -> stat.Panel:
    """Big figures, as of the end of the range. `words` say what a value means; `none` what no value means."""
    panel = _queries(stat.Panel(), asks, now=True, form=PromQueryFormat.TIME_SERIES)
    panel = _dress(panel, title, about, unit, size).thresholds(_steps(steps)).color_scheme(_by_steps())
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.graph_mode(kinds.BigValueGraphMode.NONE).color_mode(kinds.BigValueColorMode.VALUE)
    if words:
        panel = panel.mappings([_mapping(words)])
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.no_value(none) if none else panel


def _mapping(words: Mapping[str, str]) -> model.ValueMap:
    return model.ValueMap(options={value: model.ValueMappingResult(text=text) for value, text in words.items()})


def gauges(
    title: str,
    about: str,
    unit: str,
    *asks: Ask,
    steps: Steps = NEUTRAL,
    size: tuple[int, int] = (8, 8),
    top: float | None = None,
    none: str = "",
) -> bargauge.Panel:
    """Lying bars, as of the end of the range."""
    panel = _queries(bargauge.Panel(), asks, now=True, form=PromQueryFormat.TIME_SERIES)
    panel = _dress(panel, title, about, unit, size).thresholds(_steps(steps)).color_scheme(_by_steps()).min(0)
    panel = panel.orientation(kinds.VizOrientation.HORIZONTAL).display_mode(kinds.BarGaugeDisplayMode.BASIC)
    panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    if top is not None:
        panel = panel.max(top)
    return panel.no_value(none) if none else panel


def lines(
    title: str,
    about: str,
    unit: str,
    *asks: Ask,
    size: tuple[int, int] = (8, 8),
    stacked: bool = False,
    steps: Steps = (),
    top: float | None = None,
) -> timeseries.Panel:
    """Lines over time; with `steps`, thresholds drawn across; what is above `top` is not seen."""
    panel = _queries(timeseries.Panel(), asks, now=False, form=PromQueryFormat.TIME_SERIES)
    panel = _dress(panel, title, about, unit, size).min(0).fill_opacity(25 if stacked else 8)
    panel = panel.tooltip(common.VizTooltipOptions().mode(kinds.TooltipDisplayMode.MULTI)).legend(_legend())
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(kinds.StackingMode.NORMAL))
    if top is not None:
        panel = panel.max(top)
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(kinds.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_steps(steps)).thresholds_style(style)
    return panel


def bars(title: str, about: str, unit: str, *asks: Ask, size: tuple[int, int] = (8, 8)) -> timeseries.Panel:
    """Stacked bars of what was gained while each of them lasted."""
    panel = lines(title, about, unit, *asks, size=size, stacked=True).interval(BAR)
    return panel.draw_style(kinds.GraphDrawStyle.BARS).fill_opacity(80).line_width(0)


def _legend() -> common.VizLegendOptions:
    shape = common.VizLegendOptions().show_legend(True).display_mode(kinds.LegendDisplayMode.LIST)
    return shape.placement(kinds.LegendPlacement.BOTTOM)


def listing(title: str, about: str, unit: str, ask: Ask, columns: Sequence[str], value: str, none: str) -> table.Panel:
    """A table: a row a series, a column a label, largest value first."""
    panel = _dress(_queries(table.Panel(), [ask], now=True, form=PromQueryFormat.TABLE), title, about, unit, (8, 8))
    order = {name: place for place, name in enumerate([*columns, "Value"])}
    shape = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {"Value": value}}
    panel = panel.with_transformation(model.DataTransformerConfig(id_val="organize", options=shape))
    panel = panel.sort_by([common.TableSortByFieldState().display_name(value).desc(True)])
    return panel.align(kinds.FieldTextAlignment.AUTO).decimals(0).no_value(none)


# ---- the rows


def now_row() -> build.Row:
    """What is going on this moment: is anything over its limit, and is anything being done about it?"""
    ratio = f"max by (rule, limit) ({series('rule_usage_ratio', 'rule')})"
    last = f"max by (account) ({series('last_success_timestamp_seconds', 'account')})"
    unconfirmed = series("aborts_unconfirmed", *WHERE)
    panels = (
        figures(
            "Active runs",
            "Runs that were active in the last sweep of each account, whoever started them.",
            units.Short,
            Ask(f"sum by (account) ({series('runs_active', *WHERE)})", "{{account}}"),
        ),
        figures(
            "Aborts not confirmed",
            "Runs that were asked to stop and are not yet proven to have stopped. They may be spending. A graceful "
            "abort takes up to 45 s; longer than 5 minutes is an alert.",
            units.Short,
            Ask(f"sum by (account) ({unconfirmed})", "{{account}}"),
            steps=ANY_IS_BAD,
        ),
        figures(
            "Runs stopped",
            "Runs that broke a limit within the range and are proven to have been stopped.",
            units.Short,
            Ask(booked(RANGE, "account", "aborts_total", *WHERE, "rule", 'outcome="confirmed"'), "{{account}}"),
            decimals=0,
        ),
        figures(
            "Over a limit and left alone",
            "Breaches within the range that led to no abort, by the reason: the rule only notifies, the run is "
            "protected or held, aborting is off (dry_run), or it was deferred.",
            units.Short,
            Ask(gained(RANGE, "response", "breaches_total", *WHERE, "rule", 'response!="abort"'), "{{response}}"),
            size=(6, 4),
            decimals=0,
        ),
        figures(
            "Last swept",
            "Time since the last successful sweep of each account. What started since is not seen. Orange from 5 "
            "minutes, red from 15; some 50 years: never yet.",
            units.Seconds,
            Ask(f"time() - {last}", "{{account}}"),
            steps=((None, GREEN), (300, ORANGE), (900, RED)),
            size=(6, 4),
            decimals=0,
        ),
        gauges(
            "Closest run to each limit",
            "The run that is closest to each limit of each rule, over all accounts: 100 % is at the limit. 99.9 % also "
            "means that the list says over the limit but no inspection has proven it. 0 % also means no run.",
            units.PercentUnit,
            Ask(ratio, "{{rule}} {{limit}}"),
            steps=NEAR_LIMIT,
            top=1.2,
            none="no rules",
        ),
        lines(
            "The way to each limit",
            "The same over time. A line that climbs is a run on its way; it falls when the run ends or is stopped. "
            "Lines beyond 150 % leave the picture.",
            units.PercentUnit,
            Ask(ratio, "{{rule}} {{limit}}"),
            steps=((None, "transparent"), (0.8, ORANGE), (1, RED)),
            top=1.5,
        ),
        lines(
            "Active runs by state",
            "Active runs of each account. `unknown` is a status that this version does not know: such runs are watched "
            "too.",
            units.Short,
            Ask(f"sum by (account, state) ({series('runs_active', *WHERE)}) > 0", "{{account}} {{state}}"),
            stacked=True,
        ),
        bars(
            "Breaches by response",
            "Limits that were broken, proven by an inspection, and what was done about it.",
            units.Short,
            Ask(gained(LAST, "response", "breaches_total", *WHERE, "rule"), "{{response}}"),
            size=(12, 8),
        ),
        bars(
            "Aborts by outcome",
            "Aborts that came to an end: `confirmed` is proven to have stopped, `already_finished` ended by itself, "
            "`failed` was refused, or the platform no longer knows the run.",
            units.Short,
            Ask(booked(LAST, "outcome", "aborts_total", *WHERE, "rule"), "{{outcome}}"),
            size=(12, 8),
        ),
    )
    return _row("Now", panels)


def money_row() -> build.Row:
    """What it was good for, over the range: estimates by their basis, and how precisely runs were stopped."""
    cut = (*WHERE, "rule")
    estimated, bound = (*cut, 'basis!="cap"'), (*cut, 'basis="cap"')
    none = "nothing was stopped"
    panels = (
        figures(
            "US dollars saved",
            "What stopped runs did not cost, within the range: estimated by their own progress and by the history of "
            "their source, less what was taken back (docs/savings.md). `at most` comes on top, from runs of which only "
            "the platform's own stop is known: a bound, no estimate.",
            units.Dollars,
            Ask(f"sum({saved(RANGE, 'account', 'usd', *estimated)}) > 0", "estimated"),
            Ask(f"sum({saved(RANGE, 'account', 'usd', *bound)}) > 0", "at most"),
            size=(8, 4),
            decimals=2,
            none="nothing was saved",
        ),
        figures(
            "Credits saved",
            "The same in what each platform meters: lobstr credits, Apify compute units. Not to be compared across "
            "platforms.",
            units.Short,
            Ask(f"{saved(RANGE, 'platform', 'credits', *estimated)} > 0", "{{platform}}"),
            size=(8, 4),
            decimals=2,
            none="nothing was saved",
        ),
        figures(
            "Usage past the limit",
            "How far stopped runs went past their limit, settled, within the range: half of them (p50) and 95 % of "
            "them (p95) went no further. Estimated from a histogram.",
            units.PercentUnit,
            Ask(quantile(0.5, RANGE, "account", "overshoot_ratio", *WHERE), "p50 {{account}}"),
            Ask(quantile(0.95, RANGE, "account", "overshoot_ratio", *WHERE), "p95 {{account}}"),
            steps=((None, GREEN), (0.1, ORANGE), (0.2, RED)),
            size=(8, 4),
            decimals=1,
            none=none,
        ),
        gauges(
            "US dollars saved by rule",
            "Which rules pay, within the range, by the basis of the estimate. Without `cap`, which is only a bound.",
            units.Dollars,
            Ask(f"{saved(RANGE, 'rule, basis', 'usd', *estimated)} > 0", "{{rule}} {{basis}}"),
            none="nothing was saved",
        ),
        gauges(
            "Credits saved by rule",
            "Which rules pay, in lobstr credits and Apify compute units, without `cap`. Compare within one platform "
            "only.",
            units.Short,
            Ask(
                f"{saved(RANGE, 'platform, rule, basis', 'credits', *estimated)} > 0", "{{platform}} {{rule}} {{basis}}"
            ),
            none="nothing was saved",
        ),
        bars(
            "US dollars saved over time",
            "When it was saved, by the basis of the estimate, without `cap`. Booked when the stop is proven and the "
            "figures have settled.",
            units.Dollars,
            Ask(booked(LAST, "basis", "saved_usd_total", *estimated), "{{basis}}"),
        ),
        listing(
            "Aborts",
            "Aborts that ended within the range. mode is the one in force at the end; `failed` runs may be spending.",
            units.Short,
            Ask(f"{booked(RANGE, 'rule, limit, mode, outcome', 'aborts_total', *cut)} > 0.5"),
            ("rule", "limit", "mode", "outcome"),
            "aborts",
            none,
        ),
        gauges(
            "From breach to proven stop, 95 %",
            "95 % of the stopped runs were proven to have stopped within this time of seeing the breach, within the "
            "range. Graceful aborts wait for the platform: up to 30 s on Apify.",
            units.Seconds,
            Ask(quantile(0.95, RANGE, "account", "abort_seconds", *WHERE), "{{account}}"),
            steps=((None, GREEN), (60, ORANGE), (300, RED)),
            none=none,
        ),
        bars(
            "Credits saved over time",
            "When it was saved, in lobstr credits and Apify compute units, without `cap`.",
            units.Short,
            Ask(booked(LAST, "platform, basis", "saved_credits_total", *estimated), "{{platform}} {{basis}}"),
        ),
    )
    return _row("Money", panels)


def health_row() -> build.Row:
    """Whether the watchdog can be trusted: does it see, does it write, is it well?"""
    return _row("Health", (*_state_panels(), *_look_panels(), *_request_panels(), *_process_panels()))


def _state_panels() -> tuple[stat.Panel, ...]:
    unknown = series("usage_unknown_runs", *WHERE)
    return (
        figures(
            "Ledger",
            "Whether the books can be written. If not, aborts go on and their records wait in memory.",
            units.NoUnit,
            Ask(f"min by (instance) ({series('ledger_writable')})", "{{instance}}"),
            steps=ONE_IS_GOOD,
            words={"0": "NOT WRITABLE", "1": "writable"},
            size=(3, 4),
        ),
        figures(
            "Records that wait",
            "Records of aborts that exist in memory only. They are lost if the process is killed now.",
            units.Short,
            Ask(f"sum by (instance) ({series('ledger_pending_records')})", "{{instance}}"),
            steps=ANY_IS_BAD,
            size=(3, 4),
        ),
        figures(
            "Armed",
            "Whether breaches on the account lead to aborts. If not, it is a dry run, or somebody has paused it.",
            units.NoUnit,
            Ask(f"min by (account) ({series('armed', 'account')})", "{{account}}"),
            steps=ONE_IS_GOOD,
            words={"0": "NOT ARMED", "1": "armed"},
        ),
        figures(
            "Rules in force",
            "Rules that are loaded. 0 protects nothing.",
            units.Short,
            Ask(f"sum by (instance) ({series('rules')})", "{{instance}}"),
            steps=ONE_IS_GOOD,
            size=(3, 4),
        ),
        figures(
            "Last loading of rules",
            "Whether the rule files were taken when they were last loaded. If not, the last good rules stay in force.",
            units.NoUnit,
            Ask(f"min by (instance) ({series('reload_success')})", "{{instance}}"),
            steps=ONE_IS_GOOD,
            words={"0": "REJECTED", "1": "accepted"},
        ),
        figures(
            "Runs with unknown usage",
            "Active runs with a limit that cannot be judged, since the platform does not give the figure. Such a limit "
            "protects nothing.",
            units.Short,
            Ask(f"sum by (limit) ({unknown})", "{{limit}}"),
            steps=ANY_IS_ODD,
        ),
        figures(
            "Unreadable items",
            "Items of the last sweep that could not be read. Those runs are not watched.",
            units.Short,
            Ask(f"sum by (account) ({series('unreadable_items', 'account')})", "{{account}}"),
            steps=ANY_IS_BAD,
            size=(3, 4),
        ),
    )


def _look_panels() -> tuple[timeseries.Panel, ...]:
    looks = "polls_total"
    bad = rate("account", looks, "account", 'outcome!~"ok|gone"')
    return (
        lines(
            "Sweeps by outcome",
            "Lists of runs that were asked for, over all chosen accounts.",
            units.OpsPerSecond,
            Ask(rate("outcome", looks, "account", 'kind="sweep"'), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Inspections by outcome",
            "Single runs that were looked at. `gone`: the run was deleted, which is no failure.",
            units.OpsPerSecond,
            Ask(rate("outcome", looks, "account", 'kind="inspection"'), "{{outcome}}"),
            stacked=True,
        ),
        lines(
            "Share of looks that fail",
            "Of each account, `gone` left out. While looks fail, breaches are seen late.",
            units.PercentUnit,
            Ask(f"{bad} / {rate('account', looks, 'account')}", "{{account}}"),
            steps=((None, "transparent"), (0.2, RED)),
        ),
    )


def _request_panels() -> tuple[timeseries.Panel, ...]:
    used = series("rate_budget_used_ratio", "account")
    return (
        lines(
            "Requests by status",
            "HTTP requests to the platforms. Status 0 had no answer; 429 means that somebody asks too much.",
            units.RequestsPerSecond,
            Ask(rate("account, status", "platform_requests_total", "account"), "{{account}} {{status}}"),
            stacked=True,
        ),
        lines(
            "Duration of requests, 95 %",
            "95 % of the requests to each endpoint were answered within this time.",
            units.Seconds,
            Ask(
                quantile(0.95, LAST, "account, endpoint", "platform_request_seconds", "account"),
                "{{account}} {{endpoint}}",
            ),
        ),
        lines(
            "Rate budget used",
            "Requests of the last minute over those that may be sent, by endpoint family, as of the last request. "
            "Above 88 % in total looks wait, above 90 % sweeps too; aborts never do.",
            units.PercentUnit,
            Ask(f"sum by (account, family) ({used})", "{{account}} {{family}}"),
            stacked=True,
            steps=((None, "transparent"), (0.8, ORANGE), (0.88, RED)),
        ),
        lines(
            "Looks that wait",
            "Looks at single runs that are due and wait for their turn. Above 0 for long: the rate budget is too "
            "small for the runs.",
            units.Short,
            Ask(f"sum by (account) ({series('looks_waiting', 'account')})", "{{account}}"),
        ),
        lines(
            "Delay of looks, 95 %",
            "95 % of the looks at single runs were answered within this time of when they were due. So much later may "
            "a breach be seen.",
            units.Seconds,
            Ask(quantile(0.95, LAST, "account", "look_delay_seconds", "account"), "{{account}}"),
        ),
        bars(
            "Reloads by outcome",
            "Reloads of the rules: `changed`, `unchanged` (the same as before), `rejected`.",
            units.Short,
            Ask(gained(LAST, "outcome", "reloads_total"), "{{outcome}}"),
        ),
    )


def _process_panels() -> tuple[timeseries.Panel | stat.Panel, ...]:
    """process_* has no label of ours: the variable `instance` holds watchdogs only."""
    started = series("process_start_time_seconds", own=False)
    version = series("build_info")
    return (
        lines(
            "Memory",
            "Resident memory of the process.",
            units.BytesIEC,
            Ask(series("process_resident_memory_bytes", own=False), "{{instance}}"),
            size=(6, 6),
        ),
        lines(
            "Processor",
            "Processor time of the process; 100 % is one core.",
            units.PercentUnit,
            Ask(f"rate({series('process_cpu_seconds_total', own=False)}[$__rate_interval])", "{{instance}}"),
            size=(6, 6),
        ),
        figures(
            "Running for",
            "Since the process was started.",
            units.Seconds,
            Ask(f"time() - {started}", "{{instance}}"),
            decimals=0,
            size=(4, 6),
        ),
        figures(
            "Bugs in counting",
            "Notices that the metrics failed to take since the start. Anything but 0 is a bug; aborts go on.",
            units.Short,
            Ask(f"sum by (instance) ({series('observer_errors_total')})", "{{instance}}"),
            steps=ANY_IS_BAD,
            size=(4, 6),
        ),
        _version(f"count by (version, python) ({version})"),
    )


def _version(expr: str) -> stat.Panel:
    about = "Versions of budget-watchdog and Python, and how many instances run them."
    panel = figures("Versions", about, units.Short, Ask(expr, "{{version}} on Python {{python}}"), size=(4, 6))
    return panel.text_mode(kinds.BigValueTextMode.VALUE_AND_NAME)


def _row(title: str, panels: Sequence[stat.Panel | bargauge.Panel | timeseries.Panel | table.Panel]) -> build.Row:
    row = build.Row(title).collapsed(False)
    for panel in panels:
        row = row.with_panel(panel)
    return row


# ---- around the rows


def _choice(name: str, label: str, about: str, query: str) -> build.QueryVariable:
    """Several of what a label can be. Asked anew when the range changes, so that new accounts appear."""
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    choice = build.QueryVariable(name).label(label).description(about).datasource(SOURCE).query(query)
    choice = choice.multi(True).include_all(True).current(everything).sort(model.VariableSort.ALPHABETICAL_ASC)
    return choice.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)


def variables() -> list[Builder[model.VariableModel]]:
    """Each but the last lists what goes with those before it. "All" of them stands for what is listed: so it keeps
    other programs out of process_*, and other platforms' accounts out of metrics that have no label `platform`."""
    source = build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    where = 'job=~"$job", instance=~"$instance"'
    account = f'label_values(budget_watchdog_runs_active{{{where}, platform=~"$platform"}}, account)'
    # Rules that only notify have no aborts, and aborts by hand (`manual`) no breaches.
    rules = f'label_values({{__name__=~"budget_watchdog_(aborts|breaches)_total", {where}}}, rule)'
    return [
        source.description("The Prometheus that scrapes budget-watchdog."),
        _choice("job", "Job", "Scrape job.", "label_values(budget_watchdog_build_info, job)"),
        _choice("instance", "Instance", "Daemon.", 'label_values(budget_watchdog_build_info{job=~"$job"}, instance)'),
        _choice("platform", "Platform", "", f"label_values(budget_watchdog_runs_active{{{where}}}, platform)"),
        _choice("account", "Account", "One credential on a platform.", account),
        # A rule that did nothing in the range has series all the same, so "all" need not be a long list.
        _choice("rule", "Rule", "`manual`: aborts that a person asked for.", rules).all_value(".*"),
    ]


class PrometheusAnnotation(model.AnnotationQuery):
    """The SDK leaves out what the Prometheus data source of Grafana 11 reads beside `expr`: without titles an
    annotation is a mark that says nothing."""

    def __init__(
        self, name: str, expr: str, title: str, text: str, colour: str, *, value_is_time: bool = False
    ) -> None:
        super().__init__(name=name, expr=expr, datasource=SOURCE, icon_color=colour)
        self.titles = {"titleFormat": title, "textFormat": text, "tagKeys": "account,rule,outcome", "step": "60s"}
        self.value_is_time = value_is_time

    def to_json(self) -> dict[str, object]:
        """With what the SDK does not know."""
        return {**super().to_json(), **self.titles, "useValueForTime": self.value_is_time}


def marks() -> list[PrometheusAnnotation]:
    """Aborts, and starts of the process at the very second, even of one that was away for longer than a window."""
    aborts = gained("$__rate_interval", "account, rule, outcome", "aborts_total", *WHERE, "rule")
    started = f"{series('process_start_time_seconds', own=False)} * 1000"
    return [
        PrometheusAnnotation("Aborts", f"{aborts} > 0", "{{outcome}}: {{rule}}", "account {{account}}", RED),
        PrometheusAnnotation("Starts", started, "budget-watchdog started", "{{instance}}", BLUE, value_is_time=True),
    ]


def links(docs_url: str) -> list[Builder[model.DashboardLink]]:
    """Where to read on. The list of alerts is Grafana's own."""
    places = {"Alerts": "/alerting/list"}
    if docs_url:
        base = docs_url.rstrip("/")
        places |= {"Runbooks": f"{base}/runbooks.md", "Metrics": f"{base}/metrics.md", "Help": f"{base}/grafana.md"}
    kind = model.DashboardLinkType.LINK
    return [build.DashboardLink(title).type(kind).url(url).target_blank(True) for title, url in places.items()]


def build_dashboard(docs_url: str = DOCS_URL) -> model.Dashboard:
    """The whole dashboard, its panels numbered in reading order."""
    board = build.Dashboard("budget-watchdog").uid(UID).tags(["budget-watchdog"]).refresh("30s").time("now-6h", "now")
    board = board.description("Runs on paid platforms, their limits, what was stopped and what that saved.")
    board = board.tooltip(model.DashboardCursorSync.CROSSHAIR).timezone("browser").links(links(docs_url))
    board = board.variables(variables())
    for row in (now_row(), money_row(), health_row()):
        board = board.with_row(row)
    built = board.build()
    built.annotations = model.AnnotationContainer(list_val=list(marks()))
    _unfold(built)
    return built


def _unfold(board: model.Dashboard) -> None:
    """Panels of an open row stand after it, in Grafana's JSON; those inside a row are hidden until it is opened."""
    flat: list[model.Panel | model.RowPanel] = []
    for row in board.panels or ():
        assert isinstance(row, model.RowPanel)
        flat += [row, *(row.panels or ())]
        row.panels, row.collapsed = [], False
    for number, panel in enumerate(flat, start=1):
        panel.id_val = number
    board.panels = flat


def as_json(thing: Any) -> str:
    """What is written into a file."""
    return json.dumps(thing, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: Sequence[str]) -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description="Writes the Grafana dashboard.")
    parser.add_argument("--docs-url", default=DOCS_URL, help="where docs/ can be read on the web; makes links to it")
    parser.add_argument("--to", type=Path, default=TARGET, help="the file to write")
    chosen = parser.parse_args(arguments)
    chosen.to.write_text(as_json(build_dashboard(chosen.docs_url)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
