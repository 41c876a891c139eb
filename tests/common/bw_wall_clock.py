"""A slow model of windows, which shares nothing with the engine: it walks over UTC minute by minute and looks at what
the clock of the zone shows. Right for the years 2000 to 2037, in which all clocks are whole minutes from UTC."""

from __future__ import annotations

import calendar
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
YEARS = range(2000, 2038)
#: Every name of the database; `localtime` is the zone of this machine.
ZONES = sorted(zoneinfo.available_timezones() - {"localtime"})

#: Whether a window begins on this date.
Begins = Callable[[date], bool]


def new_year(year: int) -> datetime:
    """In UTC."""
    return datetime(year, 1, 1, tzinfo=UTC)


def shown(zone: ZoneInfo, at: datetime) -> datetime:
    """What the clock shows, without its offset."""
    wall = at.astimezone(zone).replace(tzinfo=None)
    assert wall.second == 0, f"{zone} is no whole minutes from UTC at {at}"
    return wall


def begins(zone: ZoneInfo, day: date, at: time) -> datetime:
    """The first instant at which the clock shows this time of this date, or a later one."""
    wanted = datetime.combine(day, at)
    # No clock is more than a day ahead of UTC.
    now = datetime.combine(day, time(), UTC) - DAY
    assert shown(zone, now) < wanted
    while shown(zone, now) < wanted:
        now += MINUTE
    return now


def calendar_window(zone: ZoneInfo, at: datetime, is_first: Begins, clock: time) -> tuple[datetime, datetime]:
    """The window around `at` of those that begin at this time of the dates that `is_first` names."""
    day = at.astimezone(zone).date() + 2 * DAY
    start = end = None
    while start is None:
        if is_first(day):
            border = begins(zone, day, clock)
            if border <= at:
                start = border
            else:
                end = border
        day -= DAY
    day = at.astimezone(zone).date() + 3 * DAY
    while end is None:
        if is_first(day):
            end = begins(zone, day, clock)
        day += DAY
    return start, end


def hour_window(zone: ZoneInfo, at: datetime) -> tuple[datetime, datetime]:
    """The minutes around `at` at which the clock shows a full hour."""
    start = at.replace(second=0, microsecond=0)
    end = start + MINUTE
    while shown(zone, start).minute:
        start -= MINUTE
    while shown(zone, end).minute:
        end += MINUTE
    return start, end


def fixed_window(zone: ZoneInfo, at: datetime, length: timedelta, origin: datetime) -> tuple[datetime, datetime]:
    """Counted off from the origin, one by one."""
    start = begins(zone, origin.date(), origin.time())
    while start > at:
        start -= length
    while start + length <= at:
        start += length
    return start, start + length


def is_day_of_month(day: date, wanted: int) -> bool:
    """It, or the last day of a month that does not have it."""
    last = calendar.monthrange(day.year, day.month)[1]
    return day.day == wanted or (day.day == last and wanted > last)


def is_day_of_year(day: date, month: int, wanted: int) -> bool:
    """As for months."""
    return day.month == month and is_day_of_month(day, wanted)


def changes(zone: ZoneInfo, now: datetime, end: datetime) -> Iterator[datetime]:
    """The minutes in this span at which the clock has another distance from UTC than a minute before. A second one on a
    day is missed."""
    while now < end:
        change = now
        for step in (DAY, timedelta(hours=1), MINUTE):
            while change < now + DAY and _offset(zone, change + step) == _offset(zone, now):
                change += step
        if change < now + DAY:
            yield change + MINUTE
        now += DAY


def _offset(zone: ZoneInfo, at: datetime) -> timedelta | None:
    return at.astimezone(zone).utcoffset()
