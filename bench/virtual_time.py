"""asyncio on virtual time: a simulated hour passes in as long as its work takes.

The loop's clock stands still while anything is ready to run, and jumps to the next timer when nothing is. There are no
threads and no real I/O on such a loop: a task that waits for a socket waits for ever.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")

#: So many turns of the loop without time going on, and something spins: better an error than a hang.
TURNS_MAX = 5_000_000
EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


class Standstill(RuntimeError):
    """Nothing is ready and no timer is set, or the same instant never ends: the simulation cannot go on."""


class _JumpingSelector(selectors.SelectSelector):
    """Where a real selector would sleep, this one lets the loop's time jump."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """No file is ever ready; `timeout` is the time to the next timer (0: callbacks are ready, None: no timer)."""
        if timeout is None:
            # Another thread (Ctrl-C) may still wake the loop through its own pipe.
            if ready := super().select(0):
                return ready
            raise Standstill("every task waits, and no timer is set")
        if timeout > 0:
            self._turns = 0
            self._jump(timeout)
        else:
            self._turns += 1
            if self._turns > TURNS_MAX:
                raise Standstill(f"{TURNS_MAX} turns of the loop in one instant of virtual time")
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` is virtual, in seconds from 0."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_JumpingSelector(self._jump))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds


class VirtualClock:
    """The `Clock` port over the running loop's virtual time; `now()` starts at `epoch` (UTC)."""

    def __init__(self, epoch: datetime = EPOCH) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoch = epoch

    def now(self) -> datetime:
        """UTC of the simulation."""
        return self._epoch + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait these virtual seconds."""
        await asyncio.sleep(max(0.0, seconds))

    def wall(self, seconds: float) -> float:
        """The same seconds: for this loop they are the wall clock's."""
        return seconds


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
