"""Windows: every instant in exactly one, as a slow model finds it that walks over UTC and looks at the clock."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from bw_wall_clock import (
    MINUTE,
    YEARS,
    ZONES,
    Begins,
    calendar_window,
    changes,
    fixed_window,
    hour_window,
    is_day_of_month,
    is_day_of_year,
    new_year,
    shown,
)
from bw_windows_sweep import sweep
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchdog.domain.window import (
    MIDNIGHT,
    Cycle,
    Days,
    Every,
    Hours,
    Months,
    Piece,
    Rolling,
    Weeks,
    Window,
    Windows,
    Years,
)
from watchdog.engine.windows import label, split, window_after, window_at, window_before

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = timedelta(hours=1)
MICROSECOND = timedelta.resolution


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def window(start: str, end: str) -> Window:
    return Window(utc(start), utc(end))


# --- examples: those of docs/windows.md, and more --------------------------------------------------------------------

_EXAMPLES: list[tuple[Windows, str, str, str, str]] = [
    # An hour is skipped, and comes twice.
    (Days(BERLIN), "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00", "2026-03-29"),
    (Days(BERLIN), "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00", "2026-10-25"),
    (Days(BERLIN, time(2, 30)), "2026-03-29T12:00", "2026-03-29T01:00", "2026-03-30T00:30", "from 2026-03-29 03:00"),
    (Days(BERLIN, time(2, 30)), "2026-10-25T12:00", "2026-10-25T00:30", "2026-10-26T01:30", "from 2026-10-25 02:30"),
    (Hours(BERLIN), "2026-03-29T01:30", "2026-03-29T01:00", "2026-03-29T02:00", "from 2026-03-29 03:00+02:00"),
    (Hours(BERLIN), "2026-10-25T00:30", "2026-10-25T00:00", "2026-10-25T01:00", "from 2026-10-25 02:00+02:00"),
    (Hours(BERLIN), "2026-10-25T01:30", "2026-10-25T01:00", "2026-10-25T02:00", "from 2026-10-25 02:00+01:00"),
    # Two hours, on the ice.
    (Days(ZoneInfo("Antarctica/Troll")), "2026-03-29T12:00", "2026-03-29T00:00", "2026-03-29T22:00", "2026-03-29"),
    (Days(ZoneInfo("Antarctica/Troll")), "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-26T00:00", "2026-10-25"),
    # A midnight that does not exist, and two that come twice: the second turns the clock to the day before.
    (Days(ZoneInfo("Asia/Beirut")), "2026-03-29T12:00", "2026-03-28T22:00", "2026-03-29T21:00", "2026-03-29"),
    (Days(ZoneInfo("America/Havana")), "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00", "2026-11-01"),
    (Days(ZoneInfo("America/St_Johns")), "2006-10-29T03:00", "2006-10-29T02:30", "2006-10-30T03:30", "2006-10-29"),
    # A date that does not exist.
    (Days(ZoneInfo("Pacific/Apia")), "2011-12-30T09:59", "2011-12-29T10:00", "2011-12-30T10:00", "2011-12-29"),
    (Days(ZoneInfo("Pacific/Apia")), "2011-12-30T10:00", "2011-12-30T10:00", "2011-12-31T10:00", "2011-12-31"),
    (
        Days(ZoneInfo("Pacific/Apia"), time(6)),
        "2011-12-30T12:00",
        "2011-12-30T10:00",
        "2011-12-30T16:00",
        "from 2011-12-31 00:00",
    ),
    (Months(ZoneInfo("Pacific/Apia"), 30), "2011-12-31T00:00", "2011-12-30T10:00", "2012-01-29T10:00",
     "from 2011-12-31"),
    # Half an hour: on Lord Howe an hour window can last 90 minutes.
    (Hours(ZoneInfo("Australia/Lord_Howe")), "2026-04-04T15:00", "2026-04-04T14:00", "2026-04-04T15:30",
     "from 2026-04-05 01:00+11:00"),
    (Hours(ZoneInfo("Australia/Lord_Howe")), "2026-10-03T15:45", "2026-10-03T14:30", "2026-10-03T16:00",
     "from 2026-10-04 01:00+10:30"),
    (Days(ZoneInfo("Australia/Lord_Howe")), "2026-04-05T00:00", "2026-04-04T13:00", "2026-04-05T13:30", "2026-04-05"),
    # 45 minutes, also through a change.
    (Hours(ZoneInfo("Asia/Kathmandu")), "2026-05-01T00:00", "2026-04-30T23:15", "2026-05-01T00:15",
     "from 2026-05-01 05:00+05:45"),
    (Hours(ZoneInfo("Pacific/Chatham")), "2026-04-04T14:00", "2026-04-04T13:15", "2026-04-04T14:15",
     "from 2026-04-05 03:00+13:45"),
    # Weeks, months and years.
    (Weeks(BERLIN), "2026-10-25T12:00", "2026-10-18T22:00", "2026-10-25T23:00", "week from 2026-10-19"),
    (Weeks(BERLIN, 6), "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-31T23:00", "week from 2026-10-25"),
    (Weeks(BERLIN, 4, time(17)), "2026-03-27T15:59", "2026-03-20T16:00", "2026-03-27T16:00", "from 2026-03-20 17:00"),
    (Months(BERLIN), "2026-03-31T22:00", "2026-03-31T22:00", "2026-04-30T22:00", "2026-04"),
    (Months(BERLIN, 15), "2026-03-29T12:00", "2026-03-14T23:00", "2026-04-14T22:00", "from 2026-03-15"),
    (Months(BERLIN, 31), "2026-03-01T12:00", "2026-02-27T23:00", "2026-03-30T22:00", "from 2026-02-28"),
    (Months(BERLIN, 31), "2024-03-01T12:00", "2024-02-28T23:00", "2024-03-30T23:00", "from 2024-02-29"),
    (Months(BERLIN, 31, time(6)), "2026-02-28T04:59", "2026-01-31T05:00", "2026-02-28T05:00", "from 2026-01-31 06:00"),
    (Years(BERLIN), "2026-12-31T23:00", "2026-12-31T23:00", "2027-12-31T23:00", "2027"),
    (Years(BERLIN, 4, 6), "2026-04-05T21:59", "2025-04-05T22:00", "2026-04-05T22:00", "from 2025-04-06"),
    (Years(BERLIN, 2, 29), "2026-12-01T00:00", "2026-02-27T23:00", "2027-02-27T23:00", "from 2026-02-28"),
    (Years(BERLIN, 2, 29), "2028-02-28T12:00", "2027-02-27T23:00", "2028-02-28T23:00", "from 2027-02-28"),
    # A fixed length is one, before its origin and after, and through a change of the clock.
    (Every(BERLIN, 6 * HOUR, datetime(2026, 3, 28)), "2026-03-29T12:00", "2026-03-29T11:00", "2026-03-29T17:00",
     "from 2026-03-29 13:00+02:00"),
    (Every(BERLIN, 6 * HOUR, datetime(2026, 3, 28)), "2026-03-27T22:59", "2026-03-27T17:00", "2026-03-27T23:00",
     "from 2026-03-27 18:00+01:00"),
    (Every(BERLIN, 6 * HOUR, datetime(2026, 3, 29, 2, 30, 15)), "2026-03-29T01:00", "2026-03-29T01:00",
     "2026-03-29T07:00", "from 2026-03-29 03:00+02:00"),
    (Every(BERLIN, MINUTE, datetime(2026, 1, 1, 0, 0, 15)), "2025-12-31T23:00", "2025-12-31T22:59:15",
     "2025-12-31T23:00:15", "from 2025-12-31 23:59:15+01:00"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("windows", "at", "start", "end", "name"), _EXAMPLES, ids=[f"{each[4]}, {each[1]}" for each in _EXAMPLES]
)
def test_examples(windows: Windows, at: str, start: str, end: str, name: str) -> None:
    found = window_at(windows, utc(at))
    assert found == window(start, end)
    assert label(windows, found) == name


def test_the_page_has_these_examples() -> None:
    """Of docs/windows.md, every window with a start and an end."""
    page = (Path(__file__).parents[2] / "docs/windows.md").read_text()
    instant = r"(\d{4}-\d\d-\d\d \d\d:\d\d)"
    shown = re.findall(rf"\| {instant} \| {instant} \|", page)
    assert len(shown) > 20
    assert {f"{start}/{end}" for start, end in shown} <= {
        f"{start}/{end}".replace("T", " ") for _, _, start, end, _ in _EXAMPLES
    }


def test_any_time_zone_will_do_for_an_instant() -> None:
    at = utc("2026-03-29T12:00")
    assert window_at(Days(BERLIN), at.astimezone(ZoneInfo("Asia/Tokyo"))) == window_at(Days(BERLIN), at)
    assert window_at(Days(BERLIN), at).start.tzinfo is UTC  # type: ignore[union-attr]  # these windows have a start


# --- all zones -------------------------------------------------------------------------------------------------------

#: Where clocks are changed by half an hour, by two and three, over midnight back to the day before, by a whole day.
_ODD = [
    "America/Havana",
    "America/St_Johns",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Australia/Lord_Howe",
    "Pacific/Apia",
]
_NAMES = st.sampled_from(ZONES) | st.sampled_from(_ODD)
#: Of a year that has all of them.
_DATES = st.dates(date(2000, 1, 1), date(2000, 12, 31))
_TIMES = st.builds(time, st.integers(0, 23), st.integers(0, 59))


@st.composite
def _moments(draw: st.DrawFn) -> tuple[ZoneInfo, datetime, time]:
    """A zone, an instant and a wall time: mostly near a change of its clock, and one that it skips or shows twice."""
    # St John's had its changes at 00:01 until 2011, Samoa lost a day that year.
    zone, year = ZoneInfo(draw(_NAMES)), draw(st.sampled_from(YEARS) | st.sampled_from([2009, 2010, 2011]))
    found = list(changes(zone, new_year(year), new_year(year + 1)))
    part = timedelta(microseconds=draw(st.sampled_from([0, 0, 1, 59_999_999])))
    if not found or draw(st.integers(0, 4)) == 0:
        whole = MINUTE * draw(st.integers(0, 365 * 24 * 60))
        return zone, new_year(year) + whole + part, draw(st.just(MIDNIGHT) | _TIMES)
    change = draw(st.sampled_from(found))
    near = shown(zone, change - MINUTE) + MINUTE * draw(st.integers(-100, 200))
    at = change + timedelta(minutes=draw(st.integers(-200, 200) | st.integers(-3000, 3000))) + part
    return zone, at, draw(st.sampled_from([MIDNIGHT, near.time()]) | _TIMES)


@st.composite
def _calendars(draw: st.DrawFn) -> tuple[Windows, datetime, Begins, time]:
    """Windows that begin at a time on a date, an instant, and which dates those are, in other words."""
    zone, at, clock = draw(_moments())
    match draw(st.sampled_from(["days", "weeks", "months", "years"])):
        case "weeks":
            weekday = draw(st.integers(0, 6))
            return Weeks(zone, weekday, clock), at, lambda day: day.weekday() == weekday, clock
        case "months":
            wanted = draw(st.integers(1, 31))
            return Months(zone, wanted, clock), at, lambda day: is_day_of_month(day, wanted), clock
        case "years":
            first = draw(_DATES)
            windows = Years(zone, first.month, first.day, clock)
            return windows, at, lambda day: is_day_of_year(day, first.month, first.day), clock
        case _:
            return Days(zone, clock), at, lambda day: True, clock


@given(_calendars())
@settings(deadline=None)
def test_calendars_are_as_a_slow_clock_says(drawn: tuple[Windows, datetime, Begins, time]) -> None:
    windows, at, is_first, clock = drawn
    assert not isinstance(windows, Rolling | Cycle)
    assert window_at(windows, at) == Window(*calendar_window(windows.time_zone, at, is_first, clock))


@given(_moments())
@settings(deadline=None)
def test_hours_are_as_a_slow_clock_says(drawn: tuple[ZoneInfo, datetime, time]) -> None:
    zone, at, _ = drawn
    assert window_at(Hours(zone), at) == Window(*hour_window(zone, at))


@given(_moments(), st.integers(1, 3000), st.integers(-20_000, 20_000))
@settings(deadline=None)
def test_fixed_lengths_are_counted_from_their_origin(
    drawn: tuple[ZoneInfo, datetime, time], minutes: int, distance: int
) -> None:
    zone, at, clock = drawn
    origin = datetime.combine(at.date() + timedelta(minutes=distance), clock)
    windows = Every(zone, MINUTE * minutes, origin)
    assert window_at(windows, at) == Window(*fixed_window(zone, at, windows.length, origin))


@example("Australia/Lord_Howe", 2026)
@example("America/St_Johns", 2006)
@example("Pacific/Apia", 2011)
@given(_NAMES, st.sampled_from(YEARS))
@settings(deadline=None, max_examples=10)
def test_all_windows_of_a_year(name: str, year: int) -> None:
    """A part of what `python tests/common/bw_windows_sweep.py` goes through."""
    assert sweep(name, year, year) > 365


def _any_windows() -> st.SearchStrategy[tuple[Windows, datetime]]:
    def all_kinds(drawn: tuple[ZoneInfo, datetime, time]) -> st.SearchStrategy[tuple[Windows, datetime]]:
        zone, at, clock = drawn
        lengths = st.timedeltas(MINUTE, timedelta(days=400))
        kinds = st.one_of(
            st.just(Hours(zone)),
            st.just(Days(zone, clock)),
            st.builds(Weeks, st.just(zone), st.integers(0, 6), st.just(clock)),
            st.builds(Months, st.just(zone), st.integers(1, 31), st.just(clock)),
            st.builds(lambda day: Years(zone, day.month, day.day, clock), _DATES),
            st.builds(Every, st.just(zone), lengths, st.datetimes(datetime(1990, 1, 1), datetime(2050, 1, 1))),
        )
        return st.tuples(kinds, st.just(at))

    return _moments().flatmap(all_kinds)


@given(_any_windows())
@settings(deadline=None)
def test_windows_follow_each_other(drawn: tuple[Windows, datetime]) -> None:
    windows, at = drawn
    here = window_at(windows, at)
    assert here.start is not None
    assert here.end is not None
    assert here.start <= at < here.end
    assert window_at(windows, here.start) == window_at(windows, here.end - MICROSECOND) == here
    before, after = window_before(windows, here), window_after(windows, here)
    assert before is not None
    assert after is not None
    assert (before.end, after.start) == (here.start, here.end)
    assert (window_after(windows, before), window_before(windows, after)) == (here, here)
    assert len({label(windows, each) for each in (before, here, after)}) == 3


@given(_moments())
@settings(deadline=None)
def test_days_last_22_to_26_hours(drawn: tuple[ZoneInfo, datetime, time]) -> None:
    zone, at, _ = drawn
    day = window_at(Days(zone), at)
    assert day.start is not None
    assert day.end is not None
    # Casey Station, as the only one, has moved its clock by three hours.
    assert 21 * HOUR <= day.end - day.start <= 27 * HOUR


# --- spans -----------------------------------------------------------------------------------------------------------


@given(_any_windows(), st.timedeltas(timedelta(), timedelta(days=3)))
@settings(deadline=None)
def test_pieces_of_a_span_are_the_span(drawn: tuple[Windows, datetime], length: timedelta) -> None:
    windows, start = drawn
    end = start + min(length, 1000 * MINUTE)
    pieces = list(split(windows, start, end))
    assert (pieces[0].start, pieces[-1].end) == (start, end)
    assert all(one.end == other.start == one.window.end == other.window.start for one, other in pairwise(pieces))
    assert all(piece.window == window_at(windows, piece.start) for piece in pieces)
    assert all(piece.start < piece.end for piece in pieces) or (len(pieces) == 1 and start == end)
    assert pieces[-1].window.end is not None
    assert end <= pieces[-1].window.end


def test_a_span_is_split_at_midnight() -> None:
    first, second = window("2026-03-28T23:00", "2026-03-29T22:00"), window("2026-03-29T22:00", "2026-03-30T22:00")
    assert list(split(Days(BERLIN), utc("2026-03-29T20:00"), utc("2026-03-29T23:00"))) == [
        Piece(first, utc("2026-03-29T20:00"), utc("2026-03-29T22:00")),
        Piece(second, utc("2026-03-29T22:00"), utc("2026-03-29T23:00")),
    ]
    border = utc("2026-03-29T22:00")
    assert list(split(Days(BERLIN), utc("2026-03-29T20:00"), border)) == [Piece(first, utc("2026-03-29T20:00"), border)]
    assert list(split(Days(BERLIN), border, border)) == [Piece(second, border, border)]


# --- without a calendar ----------------------------------------------------------------------------------------------


def test_rolling() -> None:
    windows, at = Rolling(24 * HOUR), utc("2026-03-29T12:00")
    found = window_at(windows, at)
    assert found == Window(utc("2026-03-28T12:00"), None)
    assert (window_before(windows, found), window_after(windows, found)) == (None, None)
    assert list(split(windows, at - HOUR, at)) == [Piece(found, at - HOUR, at)]
    assert label(windows, found) == "last 1d"
    assert label(Rolling(90 * MINUTE), found) == "last 1h30m"


def test_the_cycle_of_the_platform() -> None:
    cycle = window("2026-03-04T00:00", "2026-04-04T00:00")
    assert cycle.start is not None
    assert cycle.end is not None
    before, after = Window(None, cycle.start), Window(cycle.end, None)
    windows = Cycle()
    for at, wanted in [
        (cycle.start - MICROSECOND, before),
        (cycle.start, cycle),
        (cycle.end - MICROSECOND, cycle),
        (cycle.end, after),
    ]:
        assert window_at(windows, at, cycle) == wanted
    assert (window_before(windows, cycle, cycle), window_after(windows, cycle, cycle)) == (before, after)
    assert (window_before(windows, before, cycle), window_after(windows, after, cycle)) == (None, None)
    pieces = list(split(windows, cycle.start - HOUR, cycle.end + HOUR, cycle))
    assert [piece.window for piece in pieces] == [before, cycle, after]
    assert [label(windows, each) for each in (before, cycle, after)] == [
        "before the cycle",
        "cycle from 2026-03-04 00:00+00:00",
        "cycle from 2026-04-04 00:00+00:00",
    ]


def test_a_cycle_that_was_not_told_yet() -> None:
    unknown = Window(None, None)
    assert window_at(Cycle(), utc("2026-03-29T12:00")) == unknown
    assert [piece.window for piece in split(Cycle(), utc("2026-03-29T12:00"), utc("2026-05-01T00:00"))] == [unknown]
    assert label(Cycle(), unknown) == "cycle not known yet"
