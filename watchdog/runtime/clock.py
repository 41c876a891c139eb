"""The clocks. Everything that reads the time or waits is given one of these."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        """UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

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
