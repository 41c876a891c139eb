"""The page of metrics, byte for byte, against one that was recorded before the metrics were declared in one table.

Dashboards and alerts read these names, labels and texts. `recorded/metrics.txt` holds the pages of `the_pages`; after a
change that is meant to be seen, write it anew: python tests/telemetry/test_metrics_recorded.py (and say so in
CHANGELOG.md).
"""

from __future__ import annotations

import importlib.util
import platform
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from watchdog.domain.arming import Arming
from watchdog.domain.decision import AbortState, Basis, Mode, Response, Saving, Verdict, VerdictKind
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import (
    AbortChanged,
    AbortTrouble,
    AdminCalled,
    Admission,
    ArmingChanged,
    InspectionDone,
    LedgerState,
    LimitNear,
    PollFailed,
    RequestDone,
    RulesLoaded,
    RulesRejected,
    SavingBooked,
    SavingTakenBack,
    TokenRenewed,
    Trigger,
    Trouble,
    UsageUnknown,
)
from watchdog.domain.rule import Action, Protection, RuleSet, Selector
from watchdog.domain.rule_changes import RuleChanges
from watchdog.domain.run import RunState, replace
from watchdog.domain.sums import sum_up
from watchdog.engine.coverage import Coverage
from watchdog.errors import CredentialsRefused, LedgerError, PlatformError, RateLimited, ServerFault
from watchdog.telemetry.metrics import Metrics

RECORDED = Path(__file__).parent / "recorded" / "metrics.txt"


def the_pages(make: Any) -> Iterator[tuple[str, str]]:
    """The pages of one life of a watchdog that meets everything there is, by what happened before each."""
    metrics = Metrics(version="1.2.3", redact=lambda text: text.replace("S3CRET", "***"))
    metrics.watch_log(lambda: 3)
    yield "at the start", page(metrics)
    restart(metrics, make)
    yield "restarted from the ledger", page(metrics)
    first = rules(make)
    metrics.notice(RulesLoaded(first, (make.apify, make.lobstr), make.noon))
    metrics.notice(ArmingChanged((make.apify, make.lobstr), Arming(), make.noon))
    coverage = Coverage(first, make.noon)
    metrics.show_matches(coverage.entries, coverage.times)
    watch(metrics, make)
    stop(metrics, make)
    own_affairs(metrics, make)
    yield "everything happened", page(metrics)
    yield "the same in OpenMetrics", page(metrics, "application/openmetrics-text; version=1.0.0")
    fewer = replace(first, rules=(first.rules[1], make.rule("new", *Meter, action=Action.NOTIFY)), protect=())
    later = make.noon + timedelta(hours=2)
    metrics.notice(RulesLoaded(fewer, (make.lobstr,), later, Trigger.HTTP, RuleChanges.between(first, fewer)))
    coverage = coverage.replaced(fewer, later)
    coverage.see([make.run()], later)
    metrics.show_matches(coverage.entries, coverage.times)
    yield "a rule and an account are gone", page(metrics)


def rules(make: Any) -> RuleSet:
    lobstr_only = Selector({"account": ("lobstr-*",)})
    return RuleSet(
        (
            make.rule("maps-cap", Meter.COST_USD, Meter.DURATION, resurrect=True),
            make.rule('we"ird \\ S3CRET\nname é', Meter.CREDITS, selector=lobstr_only),
            make.rule("tell", Meter.DURATION, action=Action.NOTIFY),
        ),
        (Protection(Selector({"account": ("apify-*",)}, "/etc/rules/a.yaml:9")),),
        (Selector({"task": ("x",)}, "rules/b.yaml:12"),),
    )


def restart(metrics: Metrics, make: Any) -> None:
    """As `app` does, with records that are complete, and such that are not."""
    back = Saving(Basis.HISTORY, Usage(cost_usd=9.0), 1.5, 0.2, booked_credits=2.5, booked_usd=0.1 + 0.2)
    complete = [
        make.booked("done-1", usd=0.1),
        replace(make.booked("done-2", asked_mode=Mode.GRACEFUL), saving=back),
        make.closed("done-3", AbortState.FAILED, rule="manual", limit=None),
        make.closed("done-4", AbortState.ALREADY_FINISHED, rule="gone"),
    ]
    metrics.continue_from(sum_up(complete))
    metrics.restore([make.requested("open-1"), make.closed("open-2")])


def watch(metrics: Metrics, make: Any) -> None:
    unknown = Verdict(make.rule(), Meter.CREDITS, 5.0, None, VerdictKind.UNKNOWN, "usage")
    near = Verdict(make.rule(), Meter.COST_USD, 5.0, 4.5, VerdictKind.WARNING)
    ratios = {("maps-cap", Meter.COST_USD): 0.9, ("tell", Meter.DURATION): 2.5}
    active = {RunState.RUNNING: 2, RunState.PAUSED: 1}
    nameless = ("actor abc",)
    for notice in (
        make.swept(active=active, ratios=ratios, unknown={Meter.CREDITS: 3}, bad_items=("x",), waiting=4),
        make.swept(make.lobstr, ratios={("tell", Meter.DURATION): 3.5}, nameless=nameless),
        InspectionDone(make.apify, make.run(), 0.3, 2),
        InspectionDone(make.apify, make.run()),
        PollFailed(make.apify, "sweep", RateLimited("slow down"), make.noon),
        PollFailed(make.apify, "inspection", CredentialsRefused("no"), make.noon, run_id="run-1"),
        PollFailed(make.lobstr, "sweep", ServerFault("oh"), make.noon),
        PollFailed(make.lobstr, "sweep", PlatformError("oh"), make.noon),
        RequestDone("apify-main", "runs", 200, 0.12, "list", 6000, 0.25),
        RequestDone("apify-main", "run", 429, 31.0, "run", 4200, 0.5),
        RequestDone("lobstr-growth", "abort", 0, -1.0),
        UsageUnknown(make.run(), unknown),
        LimitNear(make.run(), near),
        *(make.breached(response) for response in Response),
    ):
        metrics.notice(notice)


def stop(metrics: Metrics, make: Any) -> None:
    graceful = {"asked_mode": Mode.GRACEFUL, "mode": Mode.GRACEFUL}
    for notice in (
        AbortChanged(make.opened(), None),
        AbortChanged(make.requested(), AbortState.INTENDED),
        AbortTrouble(make.requested(), "refused"),
        AbortChanged(make.closed(), AbortState.REQUESTED),
        SavingBooked(make.booked()),
        AbortChanged(make.closed("a2", AbortState.WITHDRAWN, **graceful), AbortState.INTENDED),
        AbortChanged(make.closed("a3", AbortState.ALREADY_FINISHED, **graceful), AbortState.REQUESTED),
        AbortChanged(make.closed("a4", AbortState.FAILED, rule="manual", limit=None), AbortState.REQUESTED),
        AbortChanged(make.requested("a5"), AbortState.INTENDED),
    ):
        metrics.notice(notice)
    booked = make.booked()
    left = replace(booked.saving, usd=1.25, booked_usd=3.0)
    metrics.notice(SavingTakenBack(replace(booked, saving=left), booked.saving))


def own_affairs(metrics: Metrics, make: Any) -> None:
    loaded = RulesLoaded(rules(make), (make.apify, make.lobstr), make.noon + timedelta(hours=1), Trigger.FILE)
    for notice in (
        loaded,
        RulesRejected(LedgerError("no"), make.noon, Trigger.SIGNAL),
        LedgerState(LedgerError("full"), 7, make.noon),
        *(AdminCalled(admission, "127.0.0.1", "", make.noon) for admission in Admission),
        TokenRenewed("apify-main", "/run/token"),
        Trouble("something"),
        "no notice at all",
    ):
        metrics.notice(notice)  # type: ignore[arg-type]  # one of the things told is none
    metrics.show_pending(8)


def page(metrics: Metrics, accept: str = "") -> str:
    """What is ours of an answer, without what differs from machine to machine. Families stand in their order, the
    samples of each sorted: sets decide on the order of some."""
    ours = "".join(
        line + "\n"
        for line in metrics.render(accept)[0].decode().replace(platform.python_version(), "PYTHON").split("\n")
        if "budget_watchdog_" in line
    )
    families = re.findall(r"(# HELP .*\n# TYPE .*\n)((?:[^#].*\n)*)", ours)
    assert "".join(head + samples for head, samples in families) == ours
    return "".join(head + "".join(sorted(samples.splitlines(keepends=True))) for head, samples in families)


def as_written(pages: Iterator[tuple[str, str]]) -> str:
    return "".join(f"==== {title}\n{text}" for title, text in pages)


def test_the_pages_are_the_recorded_ones(make: Any) -> None:
    assert as_written(the_pages(make)) == RECORDED.read_text(encoding="utf-8")


if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("conftest", Path(__file__).parent / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    builders = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builders)
    RECORDED.write_text(as_written(the_pages(builders.Make)), encoding="utf-8")
