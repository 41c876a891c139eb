"""Follows runs that ended by themselves until the platform calls their figures final."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from watchdog.domain.ports import Clock, Platform
from watchdog.domain.run import Snapshot
from watchdog.engine.pursuit import Pace
from watchdog.engine.settling import SETTLING_MAX_S, settling_pause_s
from watchdog.errors import Gone, PlatformError

Take = Callable[[Snapshot], Awaitable[None]]


class Settling:
    """The runs of one account that are over and whose figures may still change."""

    def __init__(self, platform: Platform, clock: Clock) -> None:
        self._platform = platform
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, run: Snapshot, take: Take) -> None:
        """Look at this run again, at growing distance and for a day at most, and hand on every change of its
        figures."""
        if run.run_id not in self._tasks:
            task = asyncio.create_task(self._follow(run, take), name=f"figures of {run.key}")
            self._tasks[run.run_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(run.run_id, None))

    async def _follow(self, run: Snapshot, take: Take) -> None:
        pace = Pace(settle_s=self._platform.traits.settle_s)
        end_s, looks = self._clock.monotonic() + SETTLING_MAX_S, 0
        while run.settling and self._clock.monotonic() < end_s:
            await self._clock.sleep(settling_pause_s(looks, pace))
            looks += 1
            try:
                seen = await self._platform.inspect(run.run_id)
            except Gone:
                return
            except PlatformError:
                continue  # what is known so far stands, and the next look may succeed
            if seen.state.is_active:
                return  # resurrected: it is watched again
            if (seen.usage, seen.state) != (run.usage, run.state):
                await take(seen)
            run = seen

    def cancel(self) -> None:
        """Follow nothing any more."""
        for task in self._tasks.values():
            task.cancel()
