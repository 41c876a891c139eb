"""What holds back the requests of one endpoint family: endpoints that a platform limits together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from watchdog.net.window import GRAIN_S, WINDOW_S, Priority, Window, shares

#: What a platform tells (a pause, a reset, a limit) is believed for so long; beyond it we look again ourselves.
PAUSE_MAX_S = 900.0
#: A 429 leaves so much of a family's limit, but never less than the second figure of the whole of it.
SHRINK = 0.7
SHRINK_MIN = 0.1
#: So much of the whole limit comes back in a second without a 429: all of it in three minutes after one.
RECOVERY_PER_S = 0.1 / 60
#: Resets are given in whole seconds.
RESET_SLACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Quota:
    """What a platform tells of its own count: so many requests remain in the next `reset_s` seconds. `limit`: how many
    it allows from one reset to the next, if it says so."""

    remaining: int
    reset_s: float
    limit: int | None = None


@dataclass(eq=False, slots=True)
class Departure:
    """A request that left."""

    family: str
    at_s: float
    #: Counts the requests of its family.
    number: int
    #: How many of them had been answered before it left.
    answered_before: int


@dataclass(slots=True)
class _Remaining:
    """How many requests remain by the platform's count, less those that it may not have counted yet."""

    left: int
    until_s: float
    #: An abort does not wait longer than this for a reset that may mean something else.
    abort_until_s: float
    #: The request whose answer told it.
    number: int
    #: Of how many, for the reserves.
    limit: int

    def wait(self, rank: Priority, ahead: int, now: float) -> float:
        if self.left - shares(self.limit)[rank].reserve - ahead > 0:
            return 0.0
        return (self.abort_until_s if rank is Priority.ABORT else self.until_s) - now


class Family:
    """Endpoints that a platform limits together."""

    def __init__(self, limit: int) -> None:
        self.window = Window()
        self.paused_until = -math.inf
        self.strikes = 0
        self.departed = 0
        self.answered = 0
        self._limit = limit
        self._remaining: _Remaining | None = None
        self._told_limit = 0
        self._told_window_s = 0.0
        self._told_limit_until = -math.inf
        self._factor = 1.0
        self._shrunk_at = -math.inf

    # ---- what may be sent

    def whole(self, now: float) -> int:
        """Requests a minute by our limit and the platform's, whichever is lower."""
        if now >= self._told_limit_until:
            return self._limit
        # As long a window as was ever seen, at most a minute: a limit a second must not be taken for one a minute.
        return max(1, min(self._limit, math.floor(self._told_limit * WINDOW_S / self._told_window_s)))

    def per_minute(self, now: float) -> int:
        """The same after shrinking."""
        return max(1, math.floor(self.whole(now) * self._share(now) + GRAIN_S))

    def _share(self, now: float) -> float:
        if self._factor >= 1.0:
            return 1.0
        return min(1.0, self._factor + (now - self._shrunk_at) * RECOVERY_PER_S)

    def wait(self, rank: Priority, ahead: int, now: float) -> float:
        """Seconds until the family has room for a request behind `ahead` others; 0: now."""
        if self.paused_until > now:
            return self.paused_until - now
        if (told := self._remains(now)) and (wait := told.wait(rank, ahead, now)) > 0:
            return wait
        # Aborts may use the whole of it: what shrinks is for all that can wait.
        limit = self.whole(now) if rank is Priority.ABORT else self.per_minute(now)
        return self.window.wait(shares(limit)[rank], rank, ahead, now)

    def leave(self, rank: Priority, now: float) -> None:
        """A request leaves."""
        if told := self._remains(now):
            told.left -= 1
        self.departed += 1
        self.window.leave(shares(self.per_minute(now)), rank, now)

    def back(self, now: float) -> None:
        """A request is over."""
        self.answered += 1
        self.window.back(now)

    # ---- what the platform says

    def _remains(self, now: float) -> _Remaining | None:
        if self._remaining and now >= self._remaining.until_s:
            self._remaining = None
        return self._remaining

    def learn(self, request: Departure, quota: Quota, now: float) -> None:
        """The answer to this request told how much the platform has left."""
        if quota.limit is not None:
            self._learn_limit(quota.limit, quota.reset_s, now)
        limit = min(quota.limit or self._limit, self._limit)
        # All that were under way together with this one, or after it: nobody knows in which order they were counted.
        unsure = self.departed - request.answered_before - 1
        until_s = now + quota.reset_s + RESET_SLACK_S
        new = _Remaining(quota.remaining - unsure, until_s, min(until_s, now + WINDOW_S), request.number, limit)
        old = self._remains(now)
        if old is None or request.number > old.number:
            self._remaining = new
        elif new.until_s >= old.until_s - 2 * RESET_SLACK_S:
            # An older question answered later: the platform may have counted it before or after.
            old.left = min(old.left, new.left)

    def _learn_limit(self, limit: int, reset_s: float, now: float) -> None:
        known = limit == self._told_limit and now < self._told_limit_until
        seen_s = max(self._told_window_s, reset_s) if known else reset_s
        self._told_limit, self._told_limit_until = limit, now + PAUSE_MAX_S
        self._told_window_s = min(max(seen_s, 1.0), WINDOW_S)

    def shrink(self, now: float) -> None:
        """The platform refused a request for its rate (429)."""
        self._factor, self._shrunk_at = max(SHRINK_MIN, self._share(now) * SHRINK), now

    @property
    def shrunk_at(self) -> float:
        """When it did so last, in seconds of the monotonic clock; -inf: never."""
        return self._shrunk_at
