"""Looks at single runs that wait their turn."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable

from watchdog.runtime.memory import Watched

#: How many looks may be under way at once: those before an abort, and at most so many others. Ten thousand tasks at
#: once cost 40 MB and get nothing done sooner.
SUSPECTS_MAX = 64
LOOKS_MAX = 32
#: Of so many suspects one is that which has waited longest; the others are those that burn most.
OLDEST_EVERY = 8


def looks_at_once(requests_per_minute: float) -> int:
    """How many looks may wait for the rate budget at once: what it lets out in a second. With more, one whose limit may
    be broken soon would wait behind others that have time."""
    return max(2, min(LOOKS_MAX, round(requests_per_minute / 60)))


def suspects_at_once(requests_per_minute: float) -> int:
    """How many looks before an abort may be under way at once: what the rate budget lets out in two seconds. With more,
    the requests for the aborts would wait behind looks at other runs, until what these had shown is old."""
    return max(2, min(SUSPECTS_MAX, round(requests_per_minute / 30)))


class Looks:
    """Starts `look(watched)` for each run that is added: at once for suspects, `suspects` at a time, those that burn
    most first; for the others by `Plan.turn_at`, `at_once` at a time."""

    def __init__(self, look: Callable[[Watched], Awaitable[None]], at_once: int, suspects: int = SUSPECTS_MAX) -> None:
        self._look = look
        self._at_once = at_once
        self._suspects_at_once = suspects
        self._suspects: dict[str, Watched] = {}
        self._costliest: list[tuple[float, int, Watched]] = []
        self._served = 0
        self._heap: list[tuple[float, int, Watched]] = []
        self._tickets = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._urgent: set[asyncio.Task[None]] = set()
        self.waiting = 0
        self.waiting_for_swept_figures = 0

    def __len__(self) -> int:
        """Looks under way."""
        return len(self._tasks)

    def add(self, watched: Watched) -> None:
        """Look at this run when its turn has come."""
        if watched.looking or watched.ticket:
            return
        ticket = watched.ticket = next(self._tickets)
        self.waiting += 1
        self.waiting_for_swept_figures += watched.plan.by_sweep
        heapq.heappush(self._heap, (watched.plan.turn_at, ticket, watched))
        self._serve()

    def drop(self, watched: Watched) -> None:
        """Not now after all."""
        if watched.ticket:
            watched.ticket = 0
            self.waiting -= 1
            self.waiting_for_swept_figures -= watched.plan.by_sweep

    def add_suspect(self, watched: Watched) -> None:
        """Look at this run before all that are no suspects. A look at it that is under way as one of those, and may be
        waiting for the rate budget, gives way."""
        if watched.looking:
            if watched.look is None or watched.look in self._urgent:
                return
            watched.look.cancel()
            watched.look = None
        self.drop(watched)
        watched.looking = True
        self._suspects[watched.swept.run_id] = watched
        heapq.heappush(self._costliest, (-watched.spending(), next(self._tickets), watched))
        self._serve()

    async def drain(self) -> None:
        """Wait for the looks under way, and for those that wait their turn."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cancel(self) -> None:
        """No more looks."""
        self._suspects.clear()
        self._costliest.clear()
        self._heap.clear()
        for task in self._tasks:
            task.cancel()

    def _serve(self) -> None:
        while self._suspects and len(self._urgent) < self._suspects_at_once:
            self._urgent.add(self._start(self._next_suspect()))
        while self._heap and len(self._tasks) - len(self._urgent) < self._at_once:
            _, ticket, watched = heapq.heappop(self._heap)
            if watched.ticket == ticket:
                self.drop(watched)
                watched.looking = True
                self._start(watched)

    def _next_suspect(self) -> Watched:
        """The one that burns most; but now and then the one that has waited longest, so that none waits for ever."""
        self._served += 1
        if self._served % OLDEST_EVERY:
            while self._costliest:
                _, _, watched = heapq.heappop(self._costliest)
                if self._suspects.pop(watched.swept.run_id, None) is not None:
                    return watched
        return self._suspects.pop(next(iter(self._suspects)))

    def _start(self, watched: Watched) -> asyncio.Task[None]:
        task = watched.look = asyncio.create_task(self._run(watched))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def _run(self, watched: Watched) -> None:
        try:
            await self._look(watched)
        finally:
            if watched.look is asyncio.current_task():
                watched.look, watched.looking = None, False

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._urgent.discard(task)
        self._serve()
