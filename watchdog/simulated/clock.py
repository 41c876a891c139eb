"""Platform time: a clock that the caller can accelerate, or move by hand."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class SimClock:
    """The time of the simulated platforms.

    `speed` is platform seconds per real second; 0 gives a clock that only `advance` moves. `start` (aware) is
    the platform time at construction; real UTC now if left out. Time never goes back. Safe to use from
    several threads.
    """

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError("start must be an aware datetime")
        self._start = (start or datetime.now(UTC)).astimezone(UTC)
        self._lock = threading.Lock()
        self._base_s = 0.0
        self._anchor_s = time.monotonic()
        self._speed = _checked_speed(speed)

    @property
    def start(self) -> datetime:
        """Platform time at construction (UTC)."""
        return self._start

    @property
    def speed(self) -> float:
        """Platform seconds per real second. May be changed while running; time does not jump then."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        checked = _checked_speed(value)
        with self._lock:
            now_s = time.monotonic()
            self._base_s += (now_s - self._anchor_s) * self._speed
            self._anchor_s = now_s
            self._speed = checked

    def now(self) -> datetime:
        """Platform time, UTC."""
        return self.at(self.elapsed_s())

    def advance(self, seconds: float) -> None:
        """Jump `seconds` of platform time forward. ValueError if negative."""
        if not seconds >= 0:
            raise ValueError(f"time does not go back: {seconds!r}")
        with self._lock:
            self._base_s += seconds

    def elapsed_s(self) -> float:
        """Platform seconds since `start`. The models compute in these: small floats keep sums exact."""
        with self._lock:
            return self._base_s + (time.monotonic() - self._anchor_s) * self._speed

    def at(self, elapsed_s: float) -> datetime:
        """The UTC instant that lies `elapsed_s` after `start`."""
        return self._start + timedelta(seconds=elapsed_s)

    def elapsed_at(self, moment: datetime) -> float:
        """The inverse of `at`; `moment` must be aware."""
        return (moment - self._start).total_seconds()


def _checked_speed(speed: float) -> float:
    if not 0 <= speed < float("inf"):
        raise ValueError(f"speed must be finite and not negative: {speed!r}")
    return float(speed)


def iso_millis(moment: datetime) -> str:
    """`2019-11-30T07:34:24.202Z`: the way Apify writes instants."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_seconds(moment: datetime) -> str:
    """`2025-02-10T14:30:55Z`: the way lobstr writes instants in list and abort answers."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def iso_naive(moment: datetime) -> str:
    """`2025-02-10T14:30:55.175532`: UTC without saying so, as lobstr writes it in get-run and stats."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()
