"""How long an event loop is held up: what is due waits for whoever does not give way."""

from __future__ import annotations

import asyncio
import time
from typing import Self

_TICK_S = 0.001


class LoopMonitor:
    """Ticks every millisecond while it is open; a tick that comes late shows how long the loop was held up."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._arm()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._handle is not None:
            self._handle.cancel()
        # A hold-up that goes on until now.
        self._note()

    def _arm(self) -> None:
        self._due = time.perf_counter() + _TICK_S
        self._handle = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        self._note()
        self._arm()

    def _note(self) -> None:
        self.longest_s = max(self.longest_s, time.perf_counter() - self._due)
