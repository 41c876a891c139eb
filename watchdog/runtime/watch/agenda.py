"""Which run is to be looked at when: one heap, one task. Nothing is dropped because it is late."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from watchdog.domain.ports import Clock

#: So many at a time; a few milliseconds of work.
BATCH = 100


class Agenda:
    """Tells which keys are due, earliest first.

    A key has at most one time: a new one replaces the old. Times are seconds of the clock's monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        self._count = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def late_s(self) -> float:
        """How long the first of them has been due; 0 if its time is still to come, or there is none."""
        return max(0.0, self._clock.monotonic() - self._heap[0][0]) if self._heap else 0.0

    def in_s(self, key: str) -> float | None:
        """In how many seconds this key is due (0: it is late); None: not at all."""
        due_s = self._due.get(key)
        return None if due_s is None else max(0.0, due_s - self._clock.monotonic())

    def set(self, key: str, due_s: float) -> None:
        """Look at this key then, and not at any time set before."""
        if self._due.get(key) == due_s:
            return
        self._due[key] = due_s
        heapq.heappush(self._heap, (due_s, next(self._count), key))
        if self._heap[0][0] == due_s:
            self._changed.set()

    def wake(self) -> None:
        """Look at the clock now: the wait under way may be too long, as after the machine was suspended."""
        self._changed.set()

    def drop(self, key: str) -> None:
        """Forget this key."""
        self._due.pop(key, None)

    async def due(self) -> list[str]:
        """What is due, a batch of it, as soon as anything is; each key once."""
        # However many are due at once, everything else gets its turn in between.
        await asyncio.sleep(0)
        while True:
            self._changed.clear()
            if taken := self.take():
                return taken
            await self._wait()

    def take(self) -> list[str]:
        """What is due by now, a batch of it at most."""
        now, taken = self._clock.monotonic(), list[str]()
        while len(taken) < BATCH and self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                taken.append(key)
        return taken

    async def _wait(self) -> None:
        """Until the next time, or until an earlier one is set."""
        if not self._heap:
            await self._changed.wait()
            return
        seconds = self._clock.wall(self._heap[0][0] - self._clock.monotonic())
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._changed.wait()
        except TimeoutError:
            return
