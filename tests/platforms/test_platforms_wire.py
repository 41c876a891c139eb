"""Figures and times, however they are written: readable or None, never zero by accident, never an exception."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.platforms.wire import count, figure, moment, part, percent, seconds, text

READERS = (count, figure, moment, percent, seconds, text)
UNREADABLE = [None, True, False, [], {}, "", "abc", "NaN", b"1", object(), math.nan, math.inf, -math.inf, -1, -0.001]


@pytest.mark.parametrize("value", UNREADABLE)
@pytest.mark.parametrize("read", [count, figure, seconds, percent])
def test_unreadable_is_not_zero(read: Any, value: object) -> None:
    assert read(value) is None


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0.0), (0.0, 0.0), (-0.0, 0.0), (7, 7.0), (0.2654, 0.2654), ("7", None), (10**400, None)]
)
def test_figure(value: object, expected: float | None) -> None:
    assert figure(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (3.0, 3), (3.5, None), (1e300, int(1e300)), (10**400, None)])
def test_count(value: object, expected: int | None) -> None:
    assert count(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (10.4498, 10.4498),
        (0, 0.0),
        ("0:00:50.183300", 50.1833),
        ("0:00:00", 0.0),
        ("23:59:59", 86399.0),
        ("1 day, 2:03:04", 93784.0),
        ("12 days, 0:00:01", 12 * 86400 + 1.0),
        ("1 02:03:04.5", 93784.5),
        ("100:00:00", 360000.0),
        (" 0:01:00 ", 60.0),
        ("-1 day, 23:59:59", None),
        ("0:60:00", None),
        ("0:00:60", None),
        ("0:00", None),
        ("50", None),
        ("1 day", None),
        ("9" * 5000 + ":00:00", None),
        ("٣:٠٠:٠٠", None),
        ("0:00:50.183300\n0:00:01", None),
    ],
)
def test_seconds(value: object, expected: float | None) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("42%", 0.42),
        ("42 %", 0.42),
        (" 0% ", 0.0),
        ("100%", 1.0),
        (42, 0.42),
        ("99.5%", 0.995),
        ("101%", None),
        ("-1%", None),
        ("%", None),
        ("nan%", None),
        ("inf%", None),
        ("n/a", None),
        ("9" * 5000, None),
    ],
)
def test_percent(value: object, expected: float | None) -> None:
    assert percent(value) == expected


UTC_MOMENT = datetime(2025, 2, 10, 14, 30, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-02-10T14:30:55Z", UTC_MOMENT),
        ("2025-02-10T14:30:55", UTC_MOMENT),
        ("2025-02-10 14:30:55", UTC_MOMENT),
        ("2025-02-10T15:30:55+01:00", UTC_MOMENT),
        ("2025-02-10T14:30:55.175532", UTC_MOMENT + timedelta(microseconds=175532)),
        ("2025-02-10T14:30:55.202Z", UTC_MOMENT + timedelta(milliseconds=202)),
        ("9999-12-31T23:59:59-14:00", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("2025-02-30T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (1739197855, None),
        (None, None),
    ],
)
def test_moment(value: object, expected: datetime | None) -> None:
    assert moment(value) == expected


@pytest.mark.parametrize(("value", "expected"), [("a", "a"), ("", None), (None, None), (7, None), (["a"], None)])
def test_text(value: object, expected: str | None) -> None:
    assert text(value) == expected


def test_part() -> None:
    assert part({"a": 1}) == {"a": 1}
    assert all(part(value) == {} for value in (None, "none", 7, ["a"]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
odd_texts = st.from_regex(r"-?[0-9]{0,20}( days?,)? ?[0-9:.%Z+T-]{0,30}", fullmatch=True)
dates = st.datetimes(timezones=st.none() | st.timezones()).map(datetime.isoformat)


@given(json_values | odd_texts | dates | st.integers(min_value=10**300, max_value=10**320))
def test_never_raises_and_never_nonsense(value: object) -> None:
    for read in READERS:
        read(value)
    for read in (figure, seconds, percent):
        found = read(value)
        assert found is None or (math.isfinite(found) and found >= 0)
    for read_any in READERS[:5]:
        if value is None or isinstance(value, (bool, list, dict)):
            assert read_any(value) is None
    if (when := moment(value)) is not None:
        assert when.utcoffset() == timedelta(0)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
def test_every_text_of_a_timedelta_is_read(duration: timedelta) -> None:
    assert seconds(str(duration)) == pytest.approx(duration.total_seconds(), abs=1e-5)


@given(json_values)
def test_zero_only_from_zero(value: object) -> None:
    for read in (figure, count, seconds, percent):
        if read(value) == 0:
            assert value == 0 or (isinstance(value, str) and not set(value) & set("123456789")) or abs(value) < 1e-300  # type: ignore[arg-type]
