"""Metrics: what Prometheus sees of every notice, and that it stays true over reloads and restarts."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from watchdog import errors
from watchdog.domain.decision import AbortState, Mode, Response
from watchdog.domain.limit import Do, Step
from watchdog.domain.meter import Meter
from watchdog.domain.notice import (
    AbortChanged,
    AccountInfo,
    InspectionDone,
    PollFailed,
    RequestDone,
    RulesRejected,
    SavingBooked,
    SavingTakenBack,
    Trouble,
)
from watchdog.domain.override import MANUAL
from watchdog.domain.rule import Action, Protection, RuleSet, Selector
from watchdog.domain.run import ACTIVE_STATES, RunState, replace
from watchdog.domain.sums import sum_up
from watchdog.engine.coverage import Coverage
from watchdog.telemetry.metrics import Metrics, outcome_word

WHERE = {"platform": "apify", "account": "apify-main"}
RULE = WHERE | {"rule": "maps-cap"}
LIMIT = RULE | {"limit": "max_cost_usd"}


@pytest.fixture
def metrics():
    return Metrics()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"budget_watchdog_{name}", labels)


def series(metrics, name):
    """Label sets of all samples of that name."""
    full = f"budget_watchdog_{name}"
    return [s.labels for metric in metrics.registry.collect() for s in metric.samples if s.name == full]


def populate(metrics, make):
    metrics.notice(make.loaded(make.rule(resurrect=True), accounts=(make.apify, make.lobstr)))
    metrics.notice(make.swept(ratios={("maps-cap", Meter.COST_USD): 0.5}))
    metrics.notice(make.breached(Response.HELD))
    for abort in (make.opened(), make.requested(), make.closed()):
        metrics.notice(AbortChanged(abort, None))
    metrics.notice(SavingBooked(make.booked()))
    metrics.notice(RequestDone("apify-main", "runs", 200, 0.12, "list", 6000, 0.25))


class TestMatches:
    """When each entry of the rule files last matched a run."""

    def test_rules_by_name_and_exceptions_by_place(self, metrics, make):
        rule = make.rule()
        rules = RuleSet(
            (rule,),
            (Protection(Selector({"run_id": ("HG7ML7M8z78YcAPEB",)}, "/etc/bw/rules/a.yaml:9")),),
            (Selector({"task": ("x",)}, "rules/a.yaml:12"),),
        )
        start = datetime(2026, 3, 1, tzinfo=UTC)
        coverage = Coverage(rules, start)
        metrics.show_matches(coverage.entries, coverage.times)
        assert value(metrics, "rule_matched_timestamp_seconds", rule="maps-cap") == start.timestamp()
        for section, place in (("protect", "a.yaml:9"), ("resurrect", "a.yaml:12")):
            found = value(metrics, "exception_matched_timestamp_seconds", section=section, place=place)
            assert found == start.timestamp()
        assert b"HG7ML7M8z78YcAPEB" not in metrics.render()[0]
        later = start + timedelta(hours=2)
        coverage.see([make.run()], later)
        metrics.show_matches(coverage.entries, coverage.times)
        assert value(metrics, "rule_matched_timestamp_seconds", rule="maps-cap") == later.timestamp()
        assert (
            value(metrics, "exception_matched_timestamp_seconds", section="protect", place="a.yaml:9")
            == start.timestamp()
        )

    def test_entries_that_are_gone_have_no_series(self, metrics, make):
        start = datetime(2026, 3, 1, tzinfo=UTC)
        exceptions = (Selector({"task": ("x",)}, "a.yaml:1"), Selector({"task": ("y",)}, "a.yaml:2"))
        coverage = Coverage(RuleSet((make.rule(),), (), exceptions), start)
        metrics.show_matches(coverage.entries, coverage.times)
        after = coverage.replaced(RuleSet((make.rule("other"),), (), exceptions[:1]), start)
        metrics.show_matches(after.entries, after.times)
        assert series(metrics, "rule_matched_timestamp_seconds") == [{"rule": "other"}]
        assert [labels["place"] for labels in series(metrics, "exception_matched_timestamp_seconds")] == ["a.yaml:1"]


class TestBornAtZero:
    def test_every_series_of_a_rule(self, metrics, make):
        metrics.notice(make.loaded(make.rule()))
        for response in ("abort", "dry_run", "held", "deferred"):
            assert value(metrics, "breaches_total", **LIMIT, response=response) == 0
        for outcome in ("confirmed", "already_finished", "failed"):
            assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome=outcome) == 0
        for basis in ("progress", "history", "cap"):
            assert value(metrics, "saved_usd_total", **RULE, basis=basis) == 0
            assert value(metrics, "saved_credits_total", **RULE, basis=basis) == 0

    def test_every_series_of_an_account(self, metrics, make):
        metrics.notice(make.loaded())
        assert value(metrics, "aborts_unconfirmed", **WHERE) == 0
        assert value(metrics, "overshoot_ratio_count", **WHERE) == 0
        assert value(metrics, "abort_seconds_count", **WHERE) == 0
        assert value(metrics, "last_success_timestamp_seconds", account="apify-main") == 0
        assert {labels["state"] for labels in series(metrics, "runs_active")} == set(ACTIVE_STATES)
        assert {labels["limit"] for labels in series(metrics, "usage_unknown_runs")} == set(Meter)
        assert len(series(metrics, "polls_total")) == 2 * 9

    def test_graceful_only_where_it_can_happen(self, metrics, make):
        both = (make.apify, make.lobstr)
        metrics.notice(make.loaded(make.rule("hard"), make.rule("soft", resurrect=True), accounts=both))
        modes = {(s["rule"], s["account"], s["mode"]) for s in series(metrics, "aborts_total") if s["rule"] != MANUAL}
        assert modes == {
            ("hard", "apify-main", "immediate"),
            ("soft", "apify-main", "immediate"),
            ("soft", "apify-main", "graceful"),
            ("hard", "lobstr-growth", "immediate"),
            ("soft", "lobstr-growth", "immediate"),
        }

    def test_a_resurrect_selector_makes_every_rule_graceful_too(self, metrics, make):
        metrics.notice(make.loaded(make.rule(), resurrect=(Selector({"platform": ("apify",)}),)))
        assert value(metrics, "aborts_total", **LIMIT, mode="graceful", outcome="confirmed") == 0

    def test_a_platform_that_can_only_abort_gracefully(self, metrics, make):
        gentle = AccountInfo("apify", "apify-main", frozenset({Mode.GRACEFUL}))
        metrics.notice(make.loaded(make.rule(), accounts=(gentle,)))
        assert {s["mode"] for s in series(metrics, "aborts_total")} == {"graceful"}

    def test_a_rule_that_only_notifies_aborts_and_saves_nothing(self, metrics, make):
        metrics.notice(make.loaded(make.rule(action=Action.NOTIFY)))
        assert [s["response"] for s in series(metrics, "breaches_total")] == ["notify"]
        born = [*series(metrics, "aborts_total"), *series(metrics, "saved_usd_total")]
        assert {s["rule"] for s in born} == {MANUAL}

    def test_a_rule_whose_first_step_only_notifies_does_both(self, metrics, make):
        plain = make.rule("plain")
        metrics.notice(make.loaded(make.rule(steps=(Step(0.8, Do.NOTIFY), Step(1.0, Do.ABORT))), plain))
        of_rule = [(s["rule"], s["response"]) for s in series(metrics, "breaches_total")]
        both = {"abort", "dry_run", "held", "deferred", "notify"}
        assert {response for rule, response in of_rule if rule == "maps-cap"} == both
        assert {response for rule, response in of_rule if rule == "plain"} == both - {"notify"}
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="confirmed") == 0

    def test_nothing_for_accounts_that_the_rule_cannot_match(self, metrics, make):
        rule = make.rule(selector=Selector({"account": ("lobstr-*",)}))
        metrics.notice(make.loaded(rule, accounts=(make.apify, make.lobstr)))
        assert {s["account"] for s in series(metrics, "breaches_total")} == {"lobstr-growth"}

    def test_protected_only_where_something_is_protected(self, metrics, make):
        metrics.notice(make.loaded(make.rule(), protect=(Protection(Selector({"run_id": ("x",)})),)))
        assert value(metrics, "breaches_total", **LIMIT, response="protected") == 0

    def test_an_abort_by_hand_has_its_zeros_from_the_start(self, metrics, make):
        """It may be refused before the next scrape."""
        metrics.notice(make.loaded(accounts=(make.apify, make.lobstr)))
        found = {
            (s["account"], s["limit"], s["mode"], s["outcome"])
            for s in series(metrics, "aborts_total")
            if s["rule"] == MANUAL
        }
        ends = ("confirmed", "already_finished", "failed")
        assert found == {
            *(("apify-main", "none", mode, end) for mode in ("graceful", "immediate") for end in ends),
            *(("lobstr-growth", "none", "immediate", end) for end in ends),
        }
        before = set(metrics.render()[0].decode().splitlines())
        refused = make.closed(rule=MANUAL, state=AbortState.FAILED, limit=None)
        metrics.notice(AbortChanged(refused, AbortState.REQUESTED))
        lines = [line for line in metrics.render()[0].decode().splitlines() if line.endswith(" 1.0")]
        changed = [line for line in lines if line not in before]
        assert [line.rsplit(" ", 1)[0] + " 0.0" in before for line in changed] == [True], changed

    def test_an_abort_that_no_rule_foretold_shows_its_zero_first(self, metrics, make):
        abort = make.opened(rule="gone")
        metrics.notice(AbortChanged(abort, None))
        labels = LIMIT | {"rule": "gone", "mode": "immediate", "outcome": "confirmed"}
        assert value(metrics, "aborts_total", **labels) == 0


class TestAborts:
    def test_an_abort_from_breach_to_proof(self, metrics, make):
        metrics.notice(make.loaded(make.rule()))
        metrics.notice(make.breached(Response.ABORT))
        metrics.notice(AbortChanged(make.opened(), None))
        assert value(metrics, "breaches_total", **LIMIT, response="abort") == 1
        assert value(metrics, "aborts_unconfirmed", **WHERE) == 0
        metrics.notice(AbortChanged(make.requested(), AbortState.INTENDED))
        assert value(metrics, "aborts_unconfirmed", **WHERE) == 1
        metrics.notice(AbortChanged(make.closed(), AbortState.REQUESTED))
        assert value(metrics, "aborts_unconfirmed", **WHERE) == 0
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="confirmed") == 1
        assert value(metrics, "abort_seconds_sum", **WHERE) == 8

    @pytest.mark.parametrize("state", [AbortState.ALREADY_FINISHED, AbortState.FAILED])
    def test_what_was_no_stop_of_ours_is_not_measured(self, metrics, make, state):
        metrics.notice(make.loaded(make.rule()))
        metrics.notice(AbortChanged(make.closed(state=state), AbortState.REQUESTED))
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome=state) == 1
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="confirmed") == 0
        assert value(metrics, "abort_seconds_count", **WHERE) == 0

    def test_the_mode_is_the_one_in_force(self, metrics, make):
        metrics.notice(AbortChanged(make.closed(asked_mode=Mode.GRACEFUL, mode=Mode.IMMEDIATE), None))
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="confirmed") == 1

    def test_the_same_step_told_twice_counts_once(self, metrics, make):
        for _ in range(2):
            metrics.notice(AbortChanged(make.closed(), AbortState.REQUESTED))
            metrics.notice(SavingBooked(make.booked()))
        assert value(metrics, "breaches_total", **LIMIT, response="abort") == 1
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="confirmed") == 1
        assert value(metrics, "saved_usd_total", **RULE, basis="progress") == 3.0

    def test_an_abort_by_hand_is_no_breach(self, metrics, make):
        metrics.notice(AbortChanged(make.opened(rule=MANUAL), None))
        assert series(metrics, "breaches_total") == []

    def test_other_responses_are_counted_from_the_breach(self, metrics, make):
        metrics.notice(make.breached(Response.DEFERRED))
        assert value(metrics, "breaches_total", **LIMIT, response="deferred") == 1

    def test_savings_and_overshoot_when_booked(self, metrics, make):
        metrics.notice(SavingBooked(make.booked(usd=3.25, used=5.5)))
        assert value(metrics, "saved_usd_total", **RULE, basis="progress") == 3.25
        assert value(metrics, "saved_credits_total", **RULE, basis="progress") is None
        assert value(metrics, "overshoot_ratio_sum", **WHERE) == pytest.approx(0.1)
        assert value(metrics, "overshoot_ratio_bucket", **WHERE, le="0.05") == 0
        assert value(metrics, "overshoot_ratio_bucket", **WHERE, le="0.2") == 1

    @pytest.mark.parametrize("odd", [{"used": None}, {"limit_value": 0.0}])
    def test_no_overshoot_without_figures(self, metrics, make, odd):
        metrics.notice(SavingBooked(make.booked(**odd)))
        assert not value(metrics, "overshoot_ratio_count", **WHERE)

    @pytest.mark.parametrize("usd", [None, float("nan"), float("inf"), -1.0])
    def test_a_saving_that_is_no_amount_is_left_out(self, metrics, make, usd):
        metrics.notice(SavingBooked(make.booked(usd=usd)))
        assert not value(metrics, "saved_usd_total", **RULE, basis="progress")
        assert value(metrics, "observer_errors_total") == 0


class TestRestore:
    def records(self, make):
        spread = random.Random(7)
        states = [AbortState.CONFIRMED] * 40 + [AbortState.FAILED, AbortState.ALREADY_FINISHED] * 5
        done = [
            make.booked(f"a{n}", usd=spread.random() * 10, used=5 + spread.random())
            if state is AbortState.CONFIRMED
            else make.closed(f"a{n}", state)
            for n, state in enumerate(states)
        ]
        return [*done, make.requested("open"), make.opened("intended"), make.closed("unsettled")]

    def test_counters_continue_at_the_very_value_whatever_the_order(self, make):
        live, restored = Metrics(), Metrics()
        records = self.records(make)
        told = records[:]
        random.Random(1).shuffle(told)
        for record in told:
            live.notice(AbortChanged(record, None))
            if record.saving is not None:
                live.notice(SavingBooked(record))
        restored.continue_from(sum_up(records))
        restored.restore([record for record in records if not record.is_complete])
        assert self.of_aborts(restored) == self.of_aborts(live)
        assert value(restored, "aborts_unconfirmed", **WHERE) == 1
        assert value(restored, "breaches_total", **LIMIT, response="abort") == len(records)

    def of_aborts(self, metrics):
        kept = ("breaches", "aborts", "saved", "overshoot", "abort_seconds")
        lines = metrics.render()[0].decode().splitlines()
        return sorted(line for line in lines if line.startswith(tuple(f"budget_watchdog_{word}" for word in kept)))

    def test_what_goes_on_after_a_restart_is_counted_once(self, metrics, make):
        metrics.restore([make.requested()])
        metrics.restore([make.requested()])
        metrics.notice(make.loaded(make.rule()))
        metrics.notice(AbortChanged(make.closed(), AbortState.REQUESTED))
        metrics.notice(SavingBooked(make.booked()))
        assert value(metrics, "breaches_total", **LIMIT, response="abort") == 1
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="confirmed") == 1
        assert value(metrics, "saved_usd_total", **RULE, basis="progress") == 3
        assert value(metrics, "aborts_unconfirmed", **WHERE) == 0

    def test_what_was_taken_back_is_counted_beside_and_comes_back_exactly(self, metrics, make):
        def left(usd):
            booked = make.booked(usd=0.1 + 0.2)
            return replace(booked, saving=replace(booked.saving, usd=usd, booked_usd=booked.saving.usd))

        metrics.notice(AbortChanged(make.closed(), None))
        metrics.notice(SavingBooked(make.booked(usd=0.1 + 0.2)))
        for before, usd in ((0.1 + 0.2, 0.2), (0.2, 0.1)):
            metrics.notice(SavingTakenBack(left(usd), left(before).saving))
        assert value(metrics, "saved_usd_total", **RULE, basis="progress") == 0.1 + 0.2
        assert value(metrics, "saved_usd_taken_back_total", **RULE, basis="progress") == pytest.approx(0.2)
        restored = Metrics()
        restored.continue_from(sum_up([left(0.1)]))

        def of_savings(of):
            return [line for line in self.of_aborts(of) if "saved" in line]

        assert of_savings(restored) == of_savings(metrics)

    def test_what_is_remembered_of_records_does_not_grow_with_them(self, make):
        """Each is told of many times while it is open, and counted once; later nobody tells of it."""

        def remembered(metrics):
            return sum(sys.getsizeof(each) for each in vars(metrics).values() if isinstance(each, dict | set))

        metrics = Metrics()
        for number in range(11_000):
            metrics.notice(AbortChanged(make.closed(f"a{number}", AbortState.FAILED), None))
        before = remembered(metrics)
        for number in range(11_000, 22_000):
            metrics.notice(AbortChanged(make.closed(f"a{number}", AbortState.FAILED), None))
        assert remembered(metrics) <= 1.1 * before
        assert value(metrics, "aborts_total", **LIMIT, mode="immediate", outcome="failed") == 22_000

    def test_a_stop_whose_figures_are_not_settled_is_booked_later(self, metrics, make):
        metrics.restore([make.closed()])
        metrics.notice(SavingBooked(make.booked(usd=2.0)))
        assert value(metrics, "saved_usd_total", **RULE, basis="progress") == 2
        assert value(metrics, "overshoot_ratio_count", **WHERE) == 1


class TestSweeps:
    def test_gauges_of_the_last_sweep(self, metrics, make):
        metrics.notice(make.loaded(make.rule()))
        metrics.notice(make.swept(unknown={Meter.CREDITS: 3}, bad_items=("x", "y")))
        metrics.notice(make.swept(active={RunState.PAUSED: 1}, bad_items=("x",), at=make.noon + timedelta(seconds=5)))
        assert value(metrics, "runs_active", **WHERE, state="running") == 0
        assert value(metrics, "runs_active", **WHERE, state="paused") == 1
        assert value(metrics, "usage_unknown_runs", **WHERE, limit="max_credits") == 0
        assert value(metrics, "unreadable_items", account="apify-main") == 1
        assert value(metrics, "polls_total", account="apify-main", kind="sweep", outcome="ok") == 2
        assert value(metrics, "last_success_timestamp_seconds", account="apify-main") == make.noon.timestamp() + 5

    def test_rule_usage_is_the_closest_run_of_all_accounts(self, metrics, make):
        key = ("maps-cap", Meter.COST_USD)
        metrics.notice(make.loaded(make.rule(), accounts=(make.apify, make.lobstr)))
        assert value(metrics, "rule_usage_ratio", rule="maps-cap", limit="max_cost_usd") == 0
        metrics.notice(make.swept(make.apify, ratios={key: 0.9}))
        metrics.notice(make.swept(make.lobstr, ratios={key: 0.4}))
        assert value(metrics, "rule_usage_ratio", rule="maps-cap", limit="max_cost_usd") == 0.9
        metrics.notice(make.swept(make.apify))
        assert value(metrics, "rule_usage_ratio", rule="maps-cap", limit="max_cost_usd") == 0.4

    def test_inspections_requests_and_failures(self, metrics, make):
        metrics.notice(InspectionDone(make.apify, make.run()))
        metrics.notice(PollFailed(make.apify, "sweep", errors.RateLimited("slow down"), make.noon))
        metrics.notice(RequestDone("apify-main", "abort", 0, 1.5))
        assert value(metrics, "polls_total", account="apify-main", kind="inspection", outcome="ok") == 1
        assert value(metrics, "polls_total", account="apify-main", kind="sweep", outcome="rate_limited") == 1
        assert value(metrics, "platform_requests_total", account="apify-main", endpoint="abort", status="0") == 1
        assert value(metrics, "platform_request_seconds_sum", account="apify-main", endpoint="abort") == 1.5

    def test_the_rate_budget(self, metrics):
        where = {"account": "apify-main", "family": "run"}
        metrics.notice(RequestDone("apify-main", "run", 200, 0.1, "run", 6000, 0.25))
        assert value(metrics, "rate_budget_requests", account="apify-main") == 6000
        assert value(metrics, "rate_budget_used_ratio", **where) == 0.25
        assert value(metrics, "rate_limited_total", **where) == 0
        metrics.notice(RequestDone("apify-main", "run", 429, 0.1, "run", 4200, 0.5))
        metrics.notice(RequestDone("apify-main", "list", 200, 0.1, "list", 4200, 0.125))
        assert value(metrics, "rate_budget_requests", account="apify-main") == 4200
        assert value(metrics, "rate_budget_used_ratio", **where) == 0.5
        assert value(metrics, "rate_limited_total", **where) == 1
        assert value(metrics, "rate_limited_total", account="apify-main", family="list") == 0

    def test_a_request_that_tells_nothing_of_the_budget(self, metrics):
        metrics.notice(RequestDone("apify-main", "run", 429, 0.1))
        for name in ("rate_budget_requests", "rate_budget_used_ratio", "rate_limited_total"):
            assert series(metrics, name) == []

    @pytest.mark.parametrize(
        ("error", "word"),
        [
            (errors.Unreachable("x"), "unreachable"),
            (errors.ServerFault("x"), "server_fault"),
            (errors.BadAnswer("x"), "bad_answer"),
            (errors.CredentialsRefused("x"), "credentials_refused"),
            (errors.Refused("x"), "refused"),
            (errors.Gone("x"), "gone"),
            (errors.PlatformError("x"), "error"),
            (errors.LedgerError("x"), "error"),
        ],
    )
    def test_every_error_has_a_word(self, error, word):
        assert outcome_word(error) == word


class TestReload:
    def test_counters_of_a_rule_that_is_gone_stay_and_its_gauges_go(self, metrics, make):
        metrics.notice(make.loaded(make.rule("old"), make.rule()))
        metrics.notice(make.loaded(make.rule()))
        assert value(metrics, "breaches_total", **LIMIT | {"rule": "old"}, response="held") == 0
        assert [s["rule"] for s in series(metrics, "rule_usage_ratio")] == ["maps-cap"]
        assert value(metrics, "rules") == 1

    def test_gauges_of_an_account_that_is_gone_go(self, metrics, make):
        metrics.notice(make.loaded(make.rule(), accounts=(make.apify, make.lobstr)))
        metrics.notice(make.swept(make.lobstr, ratios={("maps-cap", Meter.COST_USD): 0.7}))
        for account in ("apify-main", "lobstr-growth"):
            metrics.notice(RequestDone(account, "runs", 200, 0.1, "runs", 120, 0.5))
        metrics.notice(make.loaded(make.rule()))
        budget = ("rate_budget_requests", "rate_budget_used_ratio")
        of_runs = ("runs_active", "usage_unknown_runs", "aborts_unconfirmed", "last_success_timestamp_seconds")
        for gauge in (*of_runs, *budget):
            assert {s["account"] for s in series(metrics, gauge)} == {"apify-main"}
        assert value(metrics, "rule_usage_ratio", rule="maps-cap", limit="max_cost_usd") == 0

    def test_a_rejected_reload_shows_and_the_time_of_the_good_one_stays(self, metrics, make):
        metrics.notice(make.loaded(make.rule()))
        metrics.notice(RulesRejected(errors.ConfigurationError("no"), make.noon + timedelta(hours=1)))
        assert value(metrics, "reload_success") == 0
        assert value(metrics, "reload_timestamp_seconds") == make.noon.timestamp()
        assert value(metrics, "rules") == 1


def test_a_fault_in_the_metrics_is_counted_and_not_passed_on(metrics, make, caplog):
    metrics.notice(make.swept(at=None))
    metrics.notice("no notice at all")
    assert value(metrics, "observer_errors_total") == 2
    assert "SweepDone" in caplog.text


def test_notices_without_a_metric_are_taken_quietly(metrics):
    metrics.notice(Trouble("something"))
    assert value(metrics, "observer_errors_total") == 0


class TestExposition:
    def test_both_formats_say_what_the_registry_says(self, metrics, make):
        populate(metrics, make)
        ours = self.samples(metrics.registry.collect())
        body, content_type = metrics.render("text/plain;version=0.0.4")
        assert content_type == "text/plain; version=0.0.4; charset=utf-8"
        assert self.samples(parse_text(body.decode())) == ours
        body, content_type = metrics.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        assert content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert self.samples(parse_openmetrics(body.decode())) == ours

    def samples(self, families):
        every = [s for family in families for s in family.samples if s.name.startswith("budget_watchdog_")]
        return {(s.name, tuple(sorted(s.labels.items()))): s.value for s in every}

    @pytest.mark.parametrize("accept", ["", "*/*", "text/html", "application/openmetrics-text;version=0.0.1", ";=;,,"])
    def test_text_unless_asked_otherwise(self, metrics, accept):
        assert metrics.render(accept)[1].startswith("text/plain")

    def test_odd_label_values_survive(self, metrics, make):
        name = 'we"ird \\ rule\nname é'
        metrics.notice(make.loaded(make.rule(name)))
        text = metrics.render()[0].decode()
        rules = {s.labels["rule"] for f in parse_text(text) for s in f.samples if "rule" in s.labels}
        assert rules == {name, MANUAL}

    def test_no_created_series_and_no_run_ids(self, metrics, make):
        populate(metrics, make)
        for accept in ("", "application/openmetrics-text"):
            body = metrics.render(accept)[0]
            assert b"_created" not in body
            assert b"run-1" not in body

    def test_process_figures_and_other_collectors_on_the_registry(self, make):
        registry = CollectorRegistry()
        body = Metrics(registry, version="9.9").render()[0].decode()
        assert "process_resident_memory_bytes" in body
        assert "python_info" in body
        assert 'budget_watchdog_build_info{version="9.9",python="' in body

    def test_a_change_shows_at_once(self, metrics, make):
        metrics.notice(make.loaded(make.rule()))
        before = metrics.render()[0]
        metrics.notice(make.breached(Response.HELD))
        assert b'response="held"} 0.0' in before
        assert b'response="held"} 1.0' in metrics.render()[0]

    def test_a_large_installation_is_rendered_quickly(self, metrics, make):
        """50 rules with two limits on 20 accounts; a generous bound for busy machines (measured: about 4 ms)."""
        rules = [make.rule(f"r{n}", Meter.COST_USD, Meter.DURATION, resurrect=True) for n in range(50)]
        accounts = tuple(AccountInfo("apify", f"a{n}", frozenset(Mode)) for n in range(20))
        metrics.notice(make.loaded(*rules, accounts=accounts))
        metrics.render()
        taken = []
        for account in accounts[:5]:
            metrics.notice(make.swept(account))
            start = time.perf_counter()
            metrics.render()
            taken.append(time.perf_counter() - start)
        assert min(taken) < 0.05

    def test_promtool_finds_nothing_to_complain_of(self, metrics, make):
        promtool = shutil.which("promtool")
        if promtool is None and not os.environ.get("BW_TEST_REQUIRE_ALL"):
            pytest.skip("promtool is not installed")
        assert promtool is not None, "promtool is not installed, and BW_TEST_REQUIRE_ALL asks for it"
        populate(metrics, make)
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=metrics.render()[0], capture_output=True, timeout=30, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
