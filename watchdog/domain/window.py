"""Windows of budgets as values: what they follow (a calendar, a fixed length, the platform's cycle), and one of them.

What the local clock shows is called *wall time*: a datetime or time without an offset. Instants are in UTC.
`engine.windows` says which window an instant is in.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MIDNIGHT = time()
#: The shortest window of fixed length.
SHORTEST = timedelta(minutes=1)
_WEEK_DAYS = 7
_YEAR_MONTHS = 12
#: 29 February is a day that a year can start on.
_SOME_LEAP_YEAR = 2000


@dataclass(frozen=True, slots=True)
class Hours:
    """From one full hour of the local clock to the next one."""

    time_zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Days:
    """From `at` on one date to `at` on the next."""

    time_zone: ZoneInfo
    at: time = MIDNIGHT

    def number(self, day: date) -> int:
        """Of the period that this date lies in; periods are numbered without a gap."""
        return day.toordinal()

    def first_day(self, number: int) -> date:
        """The date on which this period begins."""
        return date.fromordinal(number)


@dataclass(frozen=True, slots=True)
class Weeks:
    """From `at` on one day of the week (0 is Monday, 6 Sunday) to the same in the next week. Raises ValueError if there
    is no such day."""

    time_zone: ZoneInfo
    weekday: int = 0
    at: time = MIDNIGHT

    def __post_init__(self) -> None:
        if self.weekday not in range(_WEEK_DAYS):
            raise ValueError(f"weekday {self.weekday}: not from 0 (Monday) to 6 (Sunday)")

    def number(self, day: date) -> int:
        """As for days."""
        # Date number 1 was a Monday.
        return (day.toordinal() - 1 - self.weekday) // _WEEK_DAYS

    def first_day(self, number: int) -> date:
        """As for days."""
        return date.fromordinal(number * _WEEK_DAYS + 1 + self.weekday)


@dataclass(frozen=True, slots=True)
class Months:
    """From `at` on one day (1 to 31; the last one of a month that does not have it) to the same in the next month.
    Raises ValueError if there is no such day."""

    time_zone: ZoneInfo
    day: int = 1
    at: time = MIDNIGHT

    def __post_init__(self) -> None:
        if self.day not in range(1, 32):
            raise ValueError(f"day {self.day}: not from 1 to 31")

    def number(self, day: date) -> int:
        """As for days."""
        months = day.year * _YEAR_MONTHS + day.month - 1
        return months if day >= self.first_day(months) else months - 1

    def first_day(self, number: int) -> date:
        """As for days."""
        year, month = divmod(number, _YEAR_MONTHS)
        return _day_of(year, month + 1, self.day)


@dataclass(frozen=True, slots=True)
class Years:
    """From `at` on one date (29 February: 28 February in other years than leap years) to the same in the next year.
    Raises ValueError if there is no such date in any year."""

    time_zone: ZoneInfo
    month: int = 1
    day: int = 1
    at: time = MIDNIGHT

    def __post_init__(self) -> None:
        try:
            date(_SOME_LEAP_YEAR, self.month, self.day)
        except ValueError:
            raise ValueError(f"month {self.month}, day {self.day}: there is no such date") from None

    def number(self, day: date) -> int:
        """As for days."""
        return day.year if day >= self.first_day(day.year) else day.year - 1

    def first_day(self, number: int) -> date:
        """As for days."""
        return _day_of(number, self.month, self.day)


@dataclass(frozen=True, slots=True)
class Every:
    """Of a fixed length, whatever clocks do, before and after the instant when the local clock shows `origin` (a wall
    time). Raises ValueError if it is shorter than a minute."""

    time_zone: ZoneInfo
    length: timedelta
    origin: datetime

    def __post_init__(self) -> None:
        if self.length < SHORTEST:
            raise ValueError(f"every {self.length}: shorter than a minute")


@dataclass(frozen=True, slots=True)
class Rolling:
    """The last so many hours at any instant. Raises ValueError if it has no length."""

    length: timedelta

    def __post_init__(self) -> None:
        if self.length <= timedelta():
            raise ValueError(f"rolling {self.length}: has no length")


@dataclass(frozen=True, slots=True)
class Cycle:
    """The billing cycle that the platform itself tells of an account."""


#: Those that begin at a wall time on a date.
Calendar = Days | Weeks | Months | Years
#: What the windows of a budget follow.
Windows = Hours | Calendar | Every | Rolling | Cycle


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` (in it) to `end` (not in it), in UTC. `end` is None for a rolling window, which has none, and after
    the cycle that the platform has told; `start` is None before that cycle: not known."""

    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Piece:
    """What of a span of time, from `start` to `end` (UTC), lies in one window."""

    window: Window
    start: datetime
    end: datetime


def _day_of(year: int, month: int, day: int) -> date:
    """The last day of the month, where it does not have this one."""
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))
