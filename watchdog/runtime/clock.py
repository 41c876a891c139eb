"""The clocks. Everything that reads the time or waits is given one of these."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from watchdog.domain.ports import Clock


def steady() -> float:
    """Seconds that pass in reality and never jump. On Linux the time that the machine was suspended counts too: what
    runs on a platform went on meanwhile."""
    return time.monotonic() if _BOOTTIME is None else time.clock_gettime(_BOOTTIME)


def _boottime() -> int | None:
    """The number of that clock; None where there is none (macOS), or it may not be read."""
    number: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    try:
        if number is not None:
            time.clock_gettime(number)
    except OSError:
        return None
    return number


_BOOTTIME = _boottime()


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back; see `steady`."""
        return steady()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(max(0.0, seconds))

    def wall(self, seconds: float) -> float:
        """The same seconds."""
        return seconds


class FastClock:
    """A clock that runs `speed` times as fast as the real one, from `start` (UTC) on; for the demo and for tests."""

    def __init__(self, speed: float, start: datetime | None = None) -> None:
        if speed <= 0:
            raise ValueError("speed must be positive")
        self.speed = speed
        self._start = start or datetime.now(UTC)
        self._origin = time.monotonic()

    def now(self) -> datetime:
        """UTC by this clock."""
        return self._start + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """Seconds of this clock since it was made."""
        return (time.monotonic() - self._origin) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Wait these seconds of this clock."""
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    def wall(self, seconds: float) -> float:
        """How long these seconds really take."""
        return seconds / self.speed


class SteadyTime:
    """UTC from now on by the steady clock: a step of the wall clock is no time that has passed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began, self._began_s = clock.now(), clock.monotonic()

    def now(self) -> datetime:
        """UTC."""
        return self._began + timedelta(seconds=self._clock.monotonic() - self._began_s)
