"""However many rules and accounts: metrics are bounded, what is left out is said, and what happens is counted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter
from watchdog.domain.notice import AbortChanged, AccountInfo, RulesLoaded
from watchdog.domain.rule import Protection, Rule, RuleSet, Selector
from watchdog.engine.coverage import Coverage
from watchdog.telemetry.families import SERIES_MAX
from watchdog.telemetry.metrics import Metrics

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def some(number: int, **match: tuple[str, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(f"rule-{n}", Selector(match), {Meter.COST_USD: 5.0}) for n in range(number))


def loaded(rules: tuple[Rule, ...], accounts: int, protect: tuple[Protection, ...] = ()) -> Metrics:
    metrics = Metrics()
    infos = tuple(AccountInfo("apify", f"a{n}", frozenset(Mode), ("actor", "task")) for n in range(accounts))
    metrics.notice(RulesLoaded(RuleSet(rules, protect), infos, NOON))
    return metrics


def counted(metrics: Metrics, name: str) -> int:
    (family,) = [each for each in parse_text(metrics.render()[0].decode()) if each.name == f"budget_watchdog_{name}"]
    return len(family.samples)


def left_out(metrics: Metrics) -> dict[str, float]:
    families = parse_text(metrics.render()[0].decode())
    (family,) = [each for each in families if each.name == "budget_watchdog_series_left_out"]
    return {sample.labels["metric"]: sample.value for sample in family.samples}


def test_series_are_bounded_and_what_is_left_out_is_said() -> None:
    metrics = loaded(some(2_000), accounts=40)
    assert SERIES_MAX - 10 < counted(metrics, "breaches") <= SERIES_MAX
    assert 40 * 2_000 * 4 - SERIES_MAX <= left_out(metrics)["breaches_total"] < 40 * 2_000 * 4
    assert left_out(metrics)["saved_usd_total"] > 0
    assert left_out(metrics)["rule_usage_ratio"] == 0


def test_nothing_is_left_out_where_there_is_room() -> None:
    assert set(left_out(loaded(some(50), accounts=20)).values()) == {0}


def test_loading_the_same_rules_again_leaves_no_more_out() -> None:
    metrics = loaded(some(2_000), accounts=40)
    before = left_out(metrics)
    infos = tuple(AccountInfo("apify", f"a{n}", frozenset(Mode), ("actor", "task")) for n in range(40))
    metrics.notice(RulesLoaded(RuleSet(some(2_000)), infos, NOON))
    assert left_out(metrics) == before
    few = loaded(some(50), accounts=20)
    few.notice(RulesLoaded(RuleSet(some(50)), infos[:20], NOON))
    assert set(left_out(few).values()) == {0}


def test_rules_that_come_and_go_make_room_for_others() -> None:
    metrics = Metrics()
    info = (AccountInfo("apify", "a0", frozenset(Mode), ("actor",)),)
    for day in range(5):
        rules = tuple(Rule(f"day-{day}-{n}", Selector(), {Meter.COST_USD: 5.0}) for n in range(1_000))
        metrics.notice(RulesLoaded(RuleSet(rules), info, NOON))
        assert left_out(metrics)["breaches_total"] == 0
    assert counted(metrics, "breaches") <= SERIES_MAX


def test_what_happens_is_counted_though_its_series_was_left_out(make: Any) -> None:
    metrics = loaded(some(20_000), accounts=2)
    metrics.notice(AbortChanged(make.closed(rule="rule-19999"), None))
    text = metrics.render()[0].decode()
    assert 'outcome="confirmed"} 1.0' in text
    assert 'rule="rule-19999",limit="max_cost_usd",response="abort"} 1.0' in text


@pytest.mark.parametrize(("match", "exist"), [({"actor": ("a/*",)}, True), ({"squid": ("leads",)}, False)])
def test_rules_have_series_only_where_they_can_meet_a_run(match: dict[str, tuple[str, ...]], exist: bool) -> None:
    text = loaded(some(1, **match), accounts=1).render()[0].decode()
    assert ('breaches_total{platform="apify",account="a0",rule="rule-0"' in text) is exist


def test_a_plug_in_that_does_not_say_its_keys_may_have_any() -> None:
    metrics = Metrics()
    infos = (AccountInfo("other", "o", frozenset(Mode)),)
    metrics.notice(RulesLoaded(RuleSet(some(1, robot=("r2",))), infos, NOON))
    assert counted(metrics, "breaches") == 4


def test_entries_are_bounded_too() -> None:
    rules = RuleSet(some(SERIES_MAX + 5), tuple(Protection(Selector({}, f"p.yaml:{n}")) for n in range(SERIES_MAX + 7)))
    metrics, coverage = Metrics(), Coverage(rules, NOON)
    metrics.show_matches(coverage.entries, coverage.times)
    assert counted(metrics, "rule_matched_timestamp_seconds") == SERIES_MAX
    assert counted(metrics, "exception_matched_timestamp_seconds") == SERIES_MAX
    assert left_out(metrics)["rule_matched_timestamp_seconds"] == 5
    assert left_out(metrics)["exception_matched_timestamp_seconds"] == 7


@pytest.mark.anyio
async def test_a_long_page_is_written_a_part_at_a_time() -> None:
    """Others have their turn after so many lines."""
    metrics = loaded(some(2_000), accounts=40)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    body, _ = await metrics.rendered()
    other.cancel()
    assert turns >= body.count(b"\n") / 1_000
    assert {line for line in body.splitlines() if b"watchdog" in line} <= set(metrics.render()[0].splitlines())


def test_protections_are_asked_once_for_each_account_not_for_each_rule() -> None:
    asked = 0

    class Name(str):
        def isascii(self) -> bool:
            nonlocal asked
            asked += 1
            return super().isascii()

    protect = tuple(Protection(Selector({"account": ("other",)})) for _ in range(300))
    infos = (AccountInfo("apify", Name("a"), frozenset(Mode), ("actor",)),)
    Metrics().notice(RulesLoaded(RuleSet(some(300), protect), infos, NOON))
    assert asked < 1_000


def test_entries_that_share_a_series_leave_none_out() -> None:
    """Two files of the same name in two folders, say."""
    places = ("one/p.yaml:3", "two/p.yaml:3")
    coverage = Coverage(RuleSet((), tuple(Protection(Selector({}, place)) for place in places)), NOON)
    metrics = Metrics()
    metrics.show_matches(coverage.entries, coverage.times)
    assert counted(metrics, "exception_matched_timestamp_seconds") == 1
    assert left_out(metrics)["exception_matched_timestamp_seconds"] == 0
