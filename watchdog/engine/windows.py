"""The windows of a budget: which one an instant is in, its neighbours, and a span of time split between them.

Every instant is in exactly one window, and windows follow each other without gap or overlap. Wall times become
instants in one place (`instant_of`), by one rule: the first instant at which the local clock shows that time or a later
one. So a time that comes twice counts when it comes first, one that is skipped when the clock jumps over it, and one on
a date that does not exist when the next date begins.

Instants are datetimes with a time zone; those that are returned are in UTC. What a zone's clock shows is what its
`ZoneInfo` says. The first and the last year of `datetime` are beyond it (OverflowError or ValueError).
docs/windows.md has examples.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import assert_never
from zoneinfo import ZoneInfo

from watchdog.domain.duration import format_duration
from watchdog.domain.window import (
    MIDNIGHT,
    Calendar,
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

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
#: Wall times whose instants are remembered, of all zones together: two for each window that is in use.
_REMEMBERED = 4096


def window_at(windows: Windows, at: datetime, cycle: Window | None = None) -> Window:
    """The window that this instant is in.

    `cycle` is the cycle that the platform told last (None: not yet), and only matters where windows follow it. What was
    before that cycle and what comes after it is one window each, whose other border is not known.
    """
    at = at.astimezone(UTC)
    match windows:
        case Hours():
            return _hour_at(windows.time_zone, at)
        case Days() | Weeks() | Months() | Years():
            return _calendar_window_at(windows, at)
        case Every():
            origin = instant_of(windows.origin, windows.time_zone)
            start = origin + (at - origin) // windows.length * windows.length
            return Window(start, start + windows.length)
        case Rolling():
            return Window(at - windows.length, None)
        case Cycle():
            return _cycle_window_at(at, cycle)
        case _:
            assert_never(windows)


def window_after(windows: Windows, window: Window, cycle: Window | None = None) -> Window | None:
    """The next one; None if none is known, and for rolling windows, which do not follow each other."""
    return None if window.end is None else window_at(windows, window.end, cycle)


def window_before(windows: Windows, window: Window, cycle: Window | None = None) -> Window | None:
    """The one before; None as in `window_after`."""
    if isinstance(windows, Rolling) or window.start is None:
        return None
    return window_at(windows, window.start - timedelta.resolution, cycle)


def split(windows: Windows, start: datetime, end: datetime, cycle: Window | None = None) -> Iterator[Piece]:
    """The span from `start` to `end` in pieces that each lie in one window, in their order, without gap or overlap.

    A span without length is one piece. A rolling window has no borders: there the span is one piece, with the window as
    it is at the span's end.
    """
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if isinstance(windows, Rolling):
        yield Piece(window_at(windows, end), start, end)
        return
    window = window_at(windows, start, cycle)
    while window.end is not None and window.end < end:
        yield Piece(window, start, window.end)
        start, window = window.end, window_at(windows, window.end, cycle)
    yield Piece(window, start, end)


def label(windows: Windows, window: Window) -> str:
    """A name of the window for people, in the time of its zone; no two windows of a budget have the same.

    `2026-03-29` is a day, `2026-03` a month, `2026` a year, from midnight on its first day; others say from when they
    are. Hours and fixed lengths show how far the clock is from UTC, since an hour may come twice.
    """
    if isinstance(windows, Rolling):
        return f"last {format_duration(windows.length.total_seconds(), exact=True)}"
    if isinstance(windows, Cycle):
        return _cycle_name(window)
    assert window.start is not None, "only before a cycle"
    local = window.start.astimezone(windows.time_zone)
    if isinstance(windows, Hours | Every):
        return f"from {_shown(local)}"
    name = _calendar_name(windows, local)
    return name if windows.at == MIDNIGHT else f"from {_shown(local.replace(tzinfo=None))}"


def _calendar_name(windows: Calendar, first: datetime) -> str:
    """Of windows that begin at midnight, on this date."""
    match windows:
        case Days():
            return f"{first:%Y-%m-%d}"
        case Weeks():
            return f"week from {first:%Y-%m-%d}"
        case Months(day=1):
            return f"{first:%Y-%m}"
        case Years(month=1, day=1):
            return f"{first:%Y}"
        case _:
            return f"from {first:%Y-%m-%d}"


def _cycle_name(window: Window) -> str:
    if window.start is not None:
        return f"cycle from {_shown(window.start)}"
    return "cycle not known yet" if window.end is None else "before the cycle"


def _shown(at: datetime) -> str:
    """`2026-03-29 00:00+01:00`, with seconds where there are any, and without the offset where it has none."""
    return at.isoformat(" ", "auto" if at.second or at.microsecond else "minutes")


def _calendar_window_at(windows: Calendar, at: datetime) -> Window:
    """The last window whose wall time the clock has shown by then."""
    wall = _wall(at, windows.time_zone)
    number = windows.number((wall - _since_midnight(windows.at)).date())
    start, end = _start(windows, number), _start(windows, number + 1)
    # The clock has been set back over the border since, or windows are empty since their dates do not exist.
    while end <= at:
        number += 1
        start, end = end, _start(windows, number + 1)
    return Window(start, end)


def _start(windows: Calendar, number: int) -> datetime:
    return instant_of(datetime.combine(windows.first_day(number), windows.at), windows.time_zone)


def _since_midnight(at: time) -> timedelta:
    return datetime.combine(date.min, at) - datetime.min


def _hour_at(zone: ZoneInfo, at: datetime) -> Window:
    return Window(_last_full_hour(zone, at), _next_full_hour(zone, at))


def _last_full_hour(zone: ZoneInfo, at: datetime) -> datetime:
    """The last instant, `at` or before it, at which the clock shows a full hour."""
    while True:
        start = at - _past_full_hour(zone, at)
        if _offset(start, zone) == _offset(at, zone):
            return start
        at = _change(zone, start, at) - timedelta.resolution


def _next_full_hour(zone: ZoneInfo, at: datetime) -> datetime:
    """The first instant after `at` at which the clock shows a full hour."""
    while True:
        end = at - _past_full_hour(zone, at) + _HOUR
        if _offset(end, zone) == _offset(at, zone):
            return end
        at = _change(zone, at, end)
        if not _past_full_hour(zone, at):
            return at


def _past_full_hour(zone: ZoneInfo, at: datetime) -> timedelta:
    """What the clock shows beyond the full hour."""
    wall = _wall(at, zone)
    return wall - wall.replace(minute=0, second=0, microsecond=0)


def _cycle_window_at(at: datetime, cycle: Window | None) -> Window:
    if cycle is None:
        return Window(None, None)
    if cycle.start is not None and at < cycle.start:
        return Window(None, cycle.start)
    if cycle.end is not None and at >= cycle.end:
        return Window(cycle.end, None)
    return cycle


@lru_cache(maxsize=_REMEMBERED)
def instant_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the clock of this zone shows this wall time or a later one."""
    # Fold 0 is the first of two; of a time that is skipped it is an instant after the gap, and fold 1 one before it.
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(first, zone) == wall:
        return first
    return _change(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first)


def _change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first instant after `low` and not after `high` at which the clock is another distance from UTC than at `low`.
    It must be so at `high`, too. Clocks are changed at full seconds."""
    before, low = _offset(low, zone), low.replace(microsecond=0)
    # Rounded up.
    seconds = -((low - high) // _SECOND)
    changed = bisect_left(range(seconds), True, key=lambda after: _offset(low + _SECOND * after, zone) != before)
    return low + _SECOND * changed


def _wall(at: datetime, zone: ZoneInfo) -> datetime:
    """What the clock of this zone shows."""
    return at.astimezone(zone).replace(tzinfo=None)


def _offset(at: datetime, zone: ZoneInfo) -> timedelta | None:
    return at.astimezone(zone).utcoffset()
