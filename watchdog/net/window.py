"""The requests that count under one limit in any 60 s, what each class of them may do, and how fast."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

#: How long a request counts.
WINDOW_S = 60.0
#: The part of what a class may send in a minute that may leave at once, and the least number of requests that is.
BURST_SHARE = 0.2
BURST_MIN = 4
#: Those who go first may put off the pace of a class by so much at most, beyond its burst.
PACE_DEBT_S = 1.0
#: Waiting callers never sleep for less than this.
TICK_S = 0.001
#: Nor for less than this if it is only the pace: at hundreds a second several leave at once, for one timer.
_PACE_TICK_S = 0.02
#: Rounding of sums of floats, far below what any clock can tell.
GRAIN_S = 1e-6


class Priority(IntEnum):
    """Who goes first when the rate budget is short: each class leaves a share of the budget to those before it.

    `URGENT` are the looks right before and after an abort.
    """

    ABORT = 0
    URGENT = 1
    SWEEP = 2
    LOOK = 3


#: The part of the budget that each class leaves to those before it, and the least number of requests that is.
_LEFT = {
    Priority.ABORT: (0.0, 0),
    Priority.URGENT: (0.05, 1),
    Priority.SWEEP: (0.10, 1),
    Priority.LOOK: (0.12, 2),
}
_PACED = (Priority.SWEEP, Priority.LOOK)


@dataclass(frozen=True, slots=True)
class Share:
    """What one class may do under a limit."""

    per_minute: int
    #: Left to those before it.
    reserve: int
    #: Between two of its requests, if they are spread evenly.
    step_s: float
    #: How far ahead of its even pace it may be.
    burst_s: float


@lru_cache(maxsize=4096)
def shares(limit: int) -> tuple[Share, ...]:
    """By priority, for `limit` requests a minute."""
    return tuple(_share(limit, *_LEFT[priority]) for priority in Priority)


def _share(limit: int, share: float, least: int) -> Share:
    allowed = max(1, limit - max(least, round(share * limit)))
    step_s = WINDOW_S / allowed
    at_once = min(allowed, max(BURST_MIN, round(BURST_SHARE * allowed)))
    return Share(allowed, limit - allowed, step_s, (at_once - 1) * step_s)


class Window:
    """What counts under one limit, of the account or of a family, and how fast the rest of it may be used.

    The pace is a token bucket, kept as the time up to which its tokens are spent (`_spent`, by priority): a class may
    send while it is ahead of that by no more than its burst. What one class sends counts in the paces of all, as it
    does in the window: so looks slow down while sweeps go, rather than stop when the window is full. And once the burst
    is used, what the window has left is spread over the time until its oldest requests leave it: a bucket alone gives
    its burst and a minute's refill, so the window would be full before the minute is over.
    """

    __slots__ = ("_sent", "_spent", "open")

    def __init__(self) -> None:
        self.open = 0
        self._sent: deque[float] = deque()
        self._spent = dict.fromkeys(_PACED, -math.inf)

    def used(self, now: float) -> int:
        """Requests that count at present."""
        sent = self._sent
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        return self.open + len(sent)

    def wait(self, of: Share, rank: Priority, ahead: int, now: float) -> float:
        """Seconds until there is room for a request behind `ahead` others; 0: now."""
        over = self.used(now) + ahead - of.per_minute
        if over >= 0:
            # Those under way leave the window after all that are over.
            leaves = self._sent[over] if over < len(self._sent) else now
            return max(leaves + WINDOW_S - now, TICK_S)
        if rank not in self._spent:
            return 0.0
        early = self._spent[rank] + ahead * of.step_s - of.burst_s - now
        return max(early, _PACE_TICK_S) if early > GRAIN_S else 0.0

    def leave(self, of_each: tuple[Share, ...], rank: Priority, now: float) -> None:
        """A request leaves. `of_each`: the shares by priority."""
        used = self.used(now)
        free_s = (self._sent[0] + WINDOW_S if self._sent else now + WINDOW_S) - now
        for paced in _PACED:
            of = of_each[paced]
            left = of.per_minute - used
            spent = max(self._spent[paced], now)
            step_s = of.step_s
            if left > 0 and spent + step_s > now + of.burst_s:
                step_s = max(step_s, free_s / left)
            owed = spent + step_s
            if paced is not rank:
                owed = max(spent, min(owed, now + of.burst_s + PACE_DEBT_S))
            self._spent[paced] = owed
        self.open += 1

    def back(self, now: float) -> None:
        """A request is over."""
        self.open -= 1
        self._sent.append(now)
