"""How long holds and pauses still hold: by the time that passed since they were first read, not by the hour.

They are kept with the hour at which they end (`until`, UTC), as somebody's wall clock had it. When that clock is
set while the daemon runs, the hour means another moment. So each gets the rest of its time once, when it is read
first, and that runs down by the steady clock. What the ledger says is then moved to the new hour, so that `holds`,
`release` and the next daemon agree. Over a restart the wall clock is all there is; but nothing ever gets more time
than it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from watchdog.domain.override import Override

#: Hours in the ledger that are off by less are left alone.
_OFF = timedelta(seconds=5)
#: An override that lapsed is remembered for so many seconds: a wall clock that is set back does not bring it back.
REMEMBERED_S = 30 * 86400.0
_MOMENT = timedelta(microseconds=1)


class Leases:
    """What holds, of all overrides that were read."""

    def __init__(self, steady_s: Callable[[], float]) -> None:
        self._steady_s = steady_s
        self._ends_s: dict[str, float] = {}
        self._read: tuple[Override, ...] = ()
        self._holding: tuple[Override, ...] = ()

    def hour_to_ask_for(self, now: datetime) -> datetime:
        """At this hour the ledger shows all that holds by the time that passed, also what has ended by the clock."""
        return min([now, *(each.until - _MOMENT for each in self._holding if each.until is not None)])

    def take(self, read: Iterable[Override], now: datetime) -> tuple[Override, ...]:
        """What the ledger shows at `now` by the wall clock; returns what of that holds."""
        at_s, self._read = self._steady_s(), tuple(read)
        for each in self._read:
            if each.until is not None and each.id not in self._ends_s:
                left = min(each.until - now, each.until - each.created_at)
                self._ends_s[each.id] = at_s + left.total_seconds()
        for forgotten in [key for key, end_s in self._ends_s.items() if end_s < at_s - REMEMBERED_S]:
            del self._ends_s[forgotten]
        self._holding = tuple(each for each in self._read if self._left_s(each, at_s) > 0)
        return self._holding

    def in_force(self, now: datetime) -> tuple[Override, ...]:
        """What holds at this moment, each with the hour of its end by the wall clock as it is now."""
        if not self._holding:
            return ()
        at_s = self._steady_s()
        return tuple(self._told(each, now, at_s) for each in self._holding if self._left_s(each, at_s) > 0)

    def misplaced(self, now: datetime) -> list[Override]:
        """Those whose hour in the ledger is no longer that of their end, with the right one."""
        at_s = self._steady_s()
        told = ((each, self._told(each, now, at_s)) for each in self._read)
        return [new for old, new in told if old.until and new.until and abs(new.until - old.until) > _OFF]

    def _told(self, override: Override, now: datetime, at_s: float) -> Override:
        if override.until is None:
            return override
        return replace(override, until=now + timedelta(seconds=max(0.0, self._left_s(override, at_s))))

    def _left_s(self, override: Override, at_s: float) -> float:
        return float("inf") if override.until is None else self._ends_s[override.id] - at_s
