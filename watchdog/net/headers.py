"""What the headers of an answer say of the platform's clock and of its rate limit.

Facts used: lobstr sends `Retry-After`, `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset` (epoch
seconds; other servers give the seconds left). Apify sends `X-RateLimit-Limit: 60` alone, which means a second and one
resource: a limit without its reset is not used.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

import httpx

from watchdog.net.family import PAUSE_MAX_S, Quota

#: Differences below this are the one-second grain of the Date header and the way of the answer, not a wrong clock.
SKEW_NOISE_S = 2.0
#: A Date header further off than this is nonsense, not a wrong clock.
_SKEW_MAX_S = 100 * 366 * 86400.0
#: A reset below this is not a moment (epoch seconds) but the seconds left.
_EPOCH_MIN = 1_000_000
_REMAINING = b"x-ratelimit-remaining"
_USED = frozenset(
    (b"date", b"retry-after", b"x-ratelimit-limit", _REMAINING, b"x-ratelimit-reset"),
)


class Told:
    """The headers of one answer that came at `at` (UTC by our clock). Anything that makes no sense counts as absent."""

    __slots__ = ("_at", "_values")

    def __init__(self, headers: httpx.Headers, at: datetime) -> None:
        self._at = at
        # One pass over the raw ones: a look-up in httpx's goes through all of them each time.
        self._values = {name: value.decode("latin-1") for key, value in headers.raw if (name := key.lower()) in _USED}

    def skew_s(self, before_s: float) -> float:
        """How far the platform's clock is ahead of ours; `before_s`, what was known before, if it does not say."""
        skew = self._skew_s()
        if skew is None:
            return before_s
        return skew if abs(skew) > SKEW_NOISE_S else 0.0

    @property
    def tells_time(self) -> bool:
        """Whether the answer has a date that can be the platform's time."""
        return self._skew_s() is not None

    def retry_after_s(self, skew_s: float, *, or_reset: bool) -> float | None:
        """For how long the platform wants to be left alone, as far as it is believed: what `Retry-After` says, in
        seconds or as a date, or else, with `or_reset`, when its count starts anew."""
        value = self._values.get(b"retry-after", "")
        if (seconds := _finite(value)) is not None:
            return min(seconds, PAUSE_MAX_S)
        if (date := _parse_date(value)) is not None:
            return min(max(0.0, (date - self._platform_time(skew_s)).total_seconds()), PAUSE_MAX_S)
        reset = self._reset_s(skew_s) if or_reset else None
        return None if reset is None else min(max(0.0, reset), PAUSE_MAX_S)

    def quota(self, skew_s: float) -> Quota | None:
        """How many requests remain, and until when."""
        if _REMAINING not in self._values:
            return None
        remaining, reset = _finite(self._values[_REMAINING]), self._reset_s(skew_s)
        if remaining is None or reset is None:
            return None
        limit = _finite(self._values.get(b"x-ratelimit-limit", ""))
        if limit is None or limit < 1 or limit < remaining:
            return Quota(int(remaining), reset)
        return Quota(int(remaining), reset, int(limit))

    def _reset_s(self, skew_s: float) -> float | None:
        """Seconds until the platform's count starts anew; below 0 if that is over."""
        reset = _finite(self._values.get(b"x-ratelimit-reset", ""))
        if reset is None or reset < _EPOCH_MIN:
            return reset
        return reset - self._platform_time(skew_s).timestamp()

    def _platform_time(self, skew_s: float) -> datetime:
        return self._at + timedelta(seconds=self.skew_s(skew_s))

    def _skew_s(self) -> float | None:
        date = _parse_date(self._values.get(b"date", ""))
        if date is None:
            return None
        skew = (date - self._at).total_seconds() + 0.5
        return skew if abs(skew) <= _SKEW_MAX_S else None


def _finite(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e12 else None


@lru_cache(maxsize=64)
def _parse_date(value: str) -> datetime | None:
    """Answers of one second carry the same date."""
    try:
        parsed = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
