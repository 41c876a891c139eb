"""The engine's windows against the slow model, zone by zone and border by border.

    python tests/common/bw_windows_sweep.py [ZONE...]

goes through all zones and the years 2000 to 2037 (some minutes); the tests take a random part of that.
"""

from __future__ import annotations

import sys
import time as clock_of_this_machine
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from bw_wall_clock import (
    DAY,
    MINUTE,
    YEARS,
    ZONES,
    Begins,
    begins,
    changes,
    is_day_of_month,
    is_day_of_year,
    new_year,
    shown,
)

from watchdog.domain.window import Days, Hours, Months, Weeks, Window, Windows, Years
from watchdog.engine.windows import window_after, window_at, window_before

#: Around a change of the clock.
_NEAR = timedelta(hours=50)


def sweep(name: str, first_year: int = YEARS[0], last_year: int = YEARS[-1]) -> int:
    """Compare every window of these years; how many. AssertionError where they differ."""
    zone = ZoneInfo(name)
    kinds: list[tuple[Windows, Begins]] = [
        (Days(zone), lambda day: True),
        (Weeks(zone), lambda day: day.weekday() == 0),
        (Weeks(zone, 6), lambda day: day.weekday() == 6),
        (Months(zone), lambda day: day.day == 1),
        (Months(zone, 31), lambda day: is_day_of_month(day, 31)),
        (Months(zone, 29), lambda day: is_day_of_month(day, 29)),
        (Years(zone), lambda day: (day.month, day.day) == (1, 1)),
        (Years(zone, 2, 29), lambda day: is_day_of_year(day, 2, 29)),
    ]
    dates = list(_dates(date(first_year, 1, 1), date(last_year + 1, 3, 1)))
    found = list(changes(zone, new_year(first_year), new_year(last_year + 2)))
    midnights = {day: _midnight(zone, day, found) for day in dates}
    compared = 0
    for windows, is_first in kinds:
        compared += _compare(windows, sorted({midnights[day] for day in dates if is_first(day)}))
    for change in found:
        compared += _near(zone, change)
    return compared


def _near(zone: ZoneInfo, change: datetime) -> int:
    """Hours, and days that begin at wall times which are skipped or come twice there, or are ordinary ones."""
    first = change - _NEAR
    walls = [shown(zone, first + MINUTE * number) for number in range(2 * _NEAR // MINUTE)]
    moments = [change + MINUTE * number for number in range(-180, 180, 10)]
    full_hours = [first + MINUTE * number for number, wall in enumerate(walls) if not wall.minute]
    compared = _compare(Hours(zone), full_hours, moments)
    around = shown(zone, change - MINUTE)
    for minutes in (-59, -29, 0, 1, 16, 31, 61, 91, 121):
        at = (around + MINUTE * minutes).time()
        compared += _compare(Days(zone, at), sorted(set(_days_among(walls, at, first))), moments)
    return compared


def _days_among(walls: list[datetime], at: time, first: datetime) -> Iterator[datetime]:
    """Where among these minutes each day begins that begins at this time."""
    for day in _dates(walls[0].date() + DAY, max(walls).date()):
        wanted = datetime.combine(day, at)
        yield first + MINUTE * next(number for number, wall in enumerate(walls) if wall >= wanted)


def _compare(windows: Windows, borders: list[datetime], moments: Sequence[datetime] = ()) -> int:
    """The windows between these borders, each found from its first and its last moment, from those of `moments` that
    are in it, and from its neighbours."""
    for start, end in pairwise(borders):
        wanted = Window(start, end)
        for at in (start, end - timedelta.resolution, *(moment for moment in moments if start <= moment < end)):
            assert window_at(windows, at) == wanted, f"{windows}: {at}"
        after = window_after(windows, wanted)
        assert after is not None
        assert after.start == end, f"{windows}: after {end}"
        assert window_before(windows, after) == wanted, f"{windows}: before {end}"
    return len(borders) - 1


def _midnight(zone: ZoneInfo, day: date, found: Iterable[datetime]) -> datetime:
    """As `begins`, faster far from any change of the clock, where it is as much later as the clock has to go on."""
    now = datetime.combine(day, time(), UTC) - DAY
    if any(abs(now + DAY - change) < 3 * DAY for change in found):
        return begins(zone, day, time())
    wanted = datetime.combine(day, time())
    midnight = now + (wanted - shown(zone, now))
    assert shown(zone, midnight) == wanted
    return midnight


def _dates(first: date, end: date) -> Iterator[date]:
    while first < end:
        yield first
        first += DAY


def _main(names: list[str]) -> None:
    began, total, seen = clock_of_this_machine.monotonic(), 0, set()
    for name in names:
        # Of names with the same clock in these years one is enough.
        zone, first = ZoneInfo(name), new_year(YEARS[0])
        clock = tuple(
            (at, at.astimezone(zone).utcoffset()) for at in (first, *changes(zone, first, new_year(YEARS[-1] + 2)))
        )
        if clock not in seen:
            seen.add(clock)
            total += sweep(name)
            print(name, total, f"{clock_of_this_machine.monotonic() - began:.0f} s", flush=True)  # noqa: T201  # a script: this is its result
    print(f"{len(names)} names, {len(seen)} clocks, {total} windows, no difference")  # noqa: T201  # a script: this is its result


if __name__ == "__main__":
    _main(sys.argv[1:] or ZONES)
