"""A sliding-window rate limit in platform time."""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple


class RateVerdict(NamedTuple):
    """What a request meets: `remaining` requests after this one; `reset_s` until the oldest leaves the
    window."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float

    @property
    def retry_after_s(self) -> int:
        """Whole seconds, rounded up, as `Retry-After` wants them."""
        return max(1, math.ceil(self.reset_s))


class SlidingWindow:
    """At most `limit` requests in any `window_s` seconds. Refused requests do not count."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._seen: deque[float] = deque()

    def take(self, now_s: float, limit: int) -> RateVerdict:
        while self._seen and self._seen[0] <= now_s - self._window_s:
            self._seen.popleft()
        allowed = len(self._seen) < limit
        if allowed:
            self._seen.append(now_s)
        reset_s = self._seen[0] + self._window_s - now_s if self._seen else self._window_s
        return RateVerdict(allowed, limit, max(0, limit - len(self._seen)), reset_s)
