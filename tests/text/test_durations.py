"""Durations: one notation, read here and written by the domain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.duration import format_duration
from watchdog.text.durations import MAX_DURATION_S, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172_800), ("1.5h", 5400), ("500ms", 0.5), ("0s", 0),
        ("1m1ms", 60.001), ("1d2h3m4s5ms", 93_784.005), ("36500d", 36_500 * 86_400),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3600", "write a unit: 3600s"),
        ("1.5", "write a unit: 1.5s"),
        ("-5m", "must not be negative, but is '-5m'"),
        ("-5", "must not be negative, but is '-5'"),
        ("36501d", "'36501d' is longer than 100 years"),
        *[
            (text, f"must be a number with a unit, such as 90s, 30m, 1h30m or 2d, not '{text}'")
            for text in (
                "",
                "s",
                "1m1h",
                "1m1m",
                "1 h",
                " 1h",
                "1h ",
                "1H",
                "2w",
                "1h30",
                ".5h",
                "5.h",
                "٣s",
                "inf",
                "yes",
            )
        ],
    ],
)
def test_what_is_no_duration(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_duration(text)
    assert str(caught.value) == message


@given(st.integers(0, 36_500 * 86_400_000))
def test_what_is_written_exactly_reads_back_as_the_same(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000, exact=True)) * 1000) == milliseconds


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_DURATION_S


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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (3600.5, "1h0.5s"), (93784, "1d2h3m4s"), (0.25, "0.25s"), (1e-7, "0s")]
)
def test_what_is_compared_is_written_exactly(seconds: float, text: str) -> None:
    assert format_duration(seconds, exact=True) == text


@given(seconds=st.floats(min_value=0, max_value=1e8))
def test_a_duration_reads_back_as_about_the_same(seconds: float) -> None:
    back = parse_duration(format_duration(seconds))
    slack = 60.0 if seconds >= 86400 else 0.51 if seconds >= 9.9 else 0.051
    assert back == pytest.approx(seconds, abs=slack)
