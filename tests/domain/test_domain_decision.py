"""Figures as people read them, ratios, and the record of an abort."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.document import parse_duration
from watchdog.domain.decision import (
    Abort,
    AbortState,
    Mode,
    Verdict,
    VerdictKind,
    describe,
    format_duration,
    reason_text,
)
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.rule import Rule, Selector
from watchdog.domain.run import RunState, Snapshot, Source

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0.2s"),
        (1, "1s"),
        (1.5, "1.5s"),
        (9.94, "9.9s"),
        (9.97, "10s"),
        (10.4, "10s"),
        (59.4, "59s"),
        (59.6, "1m"),
        (60, "1m"),
        (90, "1m30s"),
        (3599.7, "1h"),
        (5400, "1h30m"),
        (7200, "2h"),
        (86400, "1d"),
        (93784, "1d2h3m"),
        (float("inf"), "infs"),
    ],
)
def test_durations_are_written_as_in_rule_files(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(seconds=st.floats(min_value=0, max_value=1e8))
def test_a_duration_reads_back_as_about_the_same(seconds: float) -> None:
    back = parse_duration(format_duration(seconds))
    slack = 60.0 if seconds >= 86400 else 0.51 if seconds >= 9.9 else 0.051
    assert back == pytest.approx(seconds, abs=slack)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        (Meter.COST_USD, 4.2, "$4.20"),
        (Meter.COST_USD, 0, "$0.00"),
        (Meter.COST_USD, 0.0123, "$0.0123"),
        (Meter.DURATION, 5400, "1h30m"),
        (Meter.CREDITS, 40, "40 credits"),
        (Meter.CREDITS, 0.25, "0.25 credits"),
        (Meter.CREDITS, 12345.6, "12346 credits"),
        (Meter.CREDITS, None, "unknown"),
        (Meter.COST_USD, None, "unknown"),
        (None, 3.0, "-"),
    ],
)
def test_figures_with_their_unit(kind: Meter | None, value: float | None, text: str) -> None:
    assert describe(kind, value) == text


def verdict(limit: float, used: float | None) -> Verdict:
    rule = Rule("maps-cap", Selector(), {Meter.COST_USD: limit})
    return Verdict(rule, Meter.COST_USD, limit, used, VerdictKind.WITHIN)


@pytest.mark.parametrize(
    ("limit", "used", "ratio"),
    [(5, 2.5, 0.5), (5, 5, 1.0), (5, 0, 0.0), (0, 0, 1.0), (0, 0.1, float("inf")), (5, None, None)],
)
def test_ratio(limit: float, used: float | None, ratio: float | None) -> None:
    assert verdict(limit, used).ratio == ratio


@given(limit=st.floats(0, 1e9), used=st.floats(0, 1e9))
def test_a_ratio_of_1_is_where_a_breach_begins(limit: float, used: float) -> None:
    ratio = verdict(limit, used).ratio
    assert ratio is not None
    if used < limit:
        assert ratio <= 1
    else:
        assert ratio >= 1


def test_the_reason_names_rule_limit_and_use() -> None:
    assert reason_text(verdict(5, 6.5)) == "rule 'maps-cap': $6.50 of $5.00 allowed"


def record(**details: Any) -> Abort:
    seen = Snapshot(
        "apify-main", "apify", "run-1", Source("k", "maps"), RunState.RUNNING, "RUNNING", Usage(), NOON, True
    )
    fields: dict[str, Any] = {
        "id": "a1",
        "account": "apify-main",
        "platform": "apify",
        "run_id": "run-1",
        "source": "maps",
        "rule": "maps-cap",
        "limit": Meter.COST_USD,
        "limit_value": 5.0,
        "used_at_detection": 6.0,
        "detected_at": NOON,
        "asked_mode": Mode.GRACEFUL,
        "mode": Mode.GRACEFUL,
        "state": AbortState.INTENDED,
        "history": (),
        "before": seen,
    }
    return Abort(**(fields | details)).advance(AbortState.INTENDED, NOON)


def test_each_step_is_in_the_history_and_the_older_version_stays_as_it_was() -> None:
    first = record()
    second = first.advance(AbortState.REQUESTED, NOON + timedelta(seconds=1), "answered", requests=1)
    assert [(step.state, step.note) for step in second.history] == [
        (AbortState.INTENDED, ""),
        (AbortState.REQUESTED, "answered"),
    ]
    assert (second.state, second.requests) == (AbortState.REQUESTED, 1)
    assert (first.state, first.requests, len(first.history)) == (AbortState.INTENDED, 0, 1)


def test_times_in_the_history_never_go_back_even_if_the_clock_does() -> None:
    after = record().advance(AbortState.REQUESTED, NOON - timedelta(hours=1))
    assert [step.at for step in after.history] == [NOON, NOON]


@pytest.mark.parametrize(
    ("state", "settled", "is_open", "is_complete"),
    [
        (AbortState.INTENDED, False, True, False),
        (AbortState.REQUESTED, False, True, False),
        (AbortState.CONFIRMED, False, False, False),
        (AbortState.CONFIRMED, True, False, True),
        (AbortState.ALREADY_FINISHED, False, False, True),
        (AbortState.FAILED, False, False, True),
    ],
)
def test_a_record_is_complete_when_nothing_is_left_to_do(
    state: AbortState, settled: bool, is_open: bool, is_complete: bool
) -> None:
    after = record().advance(state, NOON, settled=settled)
    assert (after.state.is_open, after.is_complete) == (is_open, is_complete)


@pytest.mark.parametrize(("requests", "void", "maybe"), [(0, 0, False), (1, 1, False), (1, 0, True), (3, 2, True)])
def test_a_request_may_have_arrived_unless_each_one_provably_did_nothing(requests: int, void: int, maybe: bool) -> None:
    assert record(requests=requests, void_requests=void).may_have_arrived is maybe


def test_the_limit_as_a_label() -> None:
    assert record().limit_label == "max_cost_usd"
    assert record(limit=None).limit_label == "none"
