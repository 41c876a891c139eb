"""The door to time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The only source of time. In a demo it runs faster than the wall clock."""

    def now(self) -> datetime:
        """UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from some fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def wall(self, seconds: float) -> float:
        """How many seconds of the wall clock these seconds take; for libraries that only know that one."""
        ...
