"""The log and the metrics of reloads and admin calls."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest

from watchdog.domain.meter import Meter
from watchdog.domain.notice import AdminCalled, Admission, RulesLoaded, RulesRejected, Trigger
from watchdog.domain.rule import RuleSet
from watchdog.domain.rule_changes import RuleChanges
from watchdog.domain.run import replace
from watchdog.errors import ConfigurationError
from watchdog.telemetry.logs import LogObserver, configure_logging
from watchdog.telemetry.metrics import Metrics


class Log:
    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.redactor = configure_logging("json", self.stream)
        self.observer = LogObserver()

    def told(self, *notices: Any) -> list[dict[str, Any]]:
        self.stream.seek(0)
        self.stream.truncate()
        for notice in notices:
            self.observer.notice(notice)
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def log(own_logging: None) -> Log:
    return Log()


def reloaded(make: Any, before: RuleSet, after: RuleSet, trigger: Trigger = Trigger.FILE) -> RulesLoaded:
    return RulesLoaded(after, (make.apify,), make.noon, trigger, RuleChanges.between(before, after))


def test_a_reload_is_one_line_with_lists(log: Log, make: Any) -> None:
    before = RuleSet((make.rule("a"), make.rule("old")))
    after = RuleSet((make.rule("a", limits={Meter.COST_USD: 7.5}), make.rule("new")))
    (line,) = log.told(reloaded(make, before, after))
    assert (line["level"], line["event"], line["trigger"], line["rules"]) == ("info", "rules reloaded", "file", 2)
    assert line["changed"] == ["rule 'a': max_cost_usd 5 -> 7.5"]
    assert line["added"] == ["rule 'new': max_cost_usd 5, action abort"]
    assert line["removed"] == ["rule 'old': max_cost_usd 5, action abort"]


def test_a_reload_without_a_change_says_so(log: Log, make: Any) -> None:
    rules = RuleSet((make.rule("a"),))
    (line,) = log.told(reloaded(make, rules, rules, Trigger.SIGNAL))
    assert (line["added"], line["removed"], line["changed"], line["trigger"]) == ([], [], [], "signal")


def test_a_rejection_says_what_asked_for_it(log: Log, make: Any) -> None:
    (line,) = log.told(RulesRejected(ConfigurationError("bad"), make.noon, Trigger.HTTP))
    assert (line["level"], line["trigger"], line["problems"]) == ("error", "http", ["bad"])


def test_a_token_in_a_rule_is_not_in_the_line(log: Log, make: Any) -> None:
    """Nobody should write one there; it is kept out all the same."""
    log.redactor.add("apify_api_S3CRET")
    after = RuleSet((replace(make.rule("apify_api_S3CRET")),))
    (line,) = log.told(reloaded(make, RuleSet(), after))
    assert line["added"] == ["rule '***': max_cost_usd 5, action abort"]


def test_refused_calls_are_one_line_a_minute(log: Log, make: Any) -> None:
    def refused(seconds: float) -> AdminCalled:
        at = make.noon + timedelta(seconds=seconds)
        return AdminCalled(Admission.UNAUTHORIZED, "10.0.0.7", "the admin token is wrong", at)

    lines = log.told(*(refused(tenths / 10) for tenths in range(1200)))
    assert [(line["calls"], line["level"], line["client"]) for line in lines] == [
        (1, "warning", "10.0.0.7"),
        (600, "warning", "10.0.0.7"),
    ]
    (line,) = log.told(refused(600))
    assert (line["calls"], line["error"]) == (600, "the admin token is wrong")


def test_accepted_calls_are_told_each(log: Log, make: Any) -> None:
    call = AdminCalled(Admission.ACCEPTED, "", "", make.noon)
    lines = log.told(call, call, replace(call, client="127.0.0.1"))
    assert [line["client"] for line in lines] == ["socket", "socket", "127.0.0.1"]


def test_calls_are_counted_by_what_became_of_them(make: Any) -> None:
    metrics = Metrics()

    def counted(outcome: str) -> float | None:
        return metrics.registry.get_sample_value("budget_watchdog_admin_calls_total", {"outcome": outcome})

    assert [counted(each) for each in Admission] == [0, 0, 0]
    for admission in (Admission.UNAUTHORIZED, Admission.UNAUTHORIZED, Admission.FORBIDDEN):
        metrics.notice(AdminCalled(admission, "10.0.0.7", "why", make.noon))
    assert [counted(each) for each in ("accepted", "unauthorized", "forbidden")] == [0, 2, 1]
