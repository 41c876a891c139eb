"""Turns the scheduler by the time that really passes, whatever becomes of the wall clock.

APScheduler knows only the wall clock. Set back by an hour, that would let nothing fire for an hour; set forward by a
year, every fire time of that year would be counted. So each job's times are worked out from the steady clock
(`Every`), which never counts what was missed; and once a second a task of its own compares both clocks. When they
part, all jobs are planned anew, and that is told once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from watchdog.domain.duration import format_duration
from watchdog.runtime.clock import steady

#: The clocks are compared this often, in seconds.
TICK_S = 1.0
#: Jobs are planned anew once the clocks have parted by this much, in seconds: also little by little, as when the wall
#: clock is made to run slower or faster.
PARTED_S = 0.5
#: A step of the wall clock of this many seconds or more is told.
TOLD_S = 2.0
#: A tick that comes this many seconds late means that the whole process stood still.
STILL_S = 10.0
#: Both clocks are read within so many seconds of each other, or again: the process may be stopped in between.
_APART_S = 0.05
_READINGS = 5
#: A job that has just fired is never due again at the very same moment.
_LEAST_S = 0.001


class Every(BaseTrigger):  # type: ignore[misc]  # apscheduler is untyped
    """Fires every so many seconds of the steady clock. However far the wall clock was set forward, and however long the
    process stood still, that is one fire time, not many."""

    def __init__(self, seconds: float, steady_s: Callable[[], float] = steady) -> None:
        self._every_s = seconds
        self._steady_s = steady_s
        self._due_s = steady_s() + seconds
        self._fired: datetime | None = None

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """When the next time comes by a wall clock that shows `now`. APScheduler asks more than once for the same
        `previous_fire_time`, and with None when the job is planned (anew)."""
        at_s = self._steady_s()
        if previous_fire_time is None:
            self._fired = None
        elif previous_fire_time != self._fired:
            self._fired = previous_fire_time
            self._due_s += self._every_s
            if not at_s < self._due_s <= at_s + self._every_s:
                self._due_s = at_s + self._every_s
        least_s = 0.0 if previous_fire_time is None else _LEAST_S
        return now + timedelta(seconds=max(least_s, self._due_s - at_s))


@dataclass(frozen=True, slots=True)
class Surprise:
    """What a comparison of the clocks has shown: the wall clock was set forward by `step_s` seconds (back: below 0), or
    nothing of this process ran for `still_s` seconds; 0 for what did not happen."""

    step_s: float
    still_s: float

    def __str__(self) -> str:
        """For the log: what happened, and what follows from it."""
        told = []
        if self.step_s:
            way = "forward" if self.step_s > 0 else "back"
            told.append(
                f"the wall clock was set {way} by {format_duration(abs(self.step_s))}: sweeps, aborts and holds go on "
                "by the time that really passes, and new records bear the new time"
            )
        if self.still_s:
            told.append(
                f"the daemon stood still for {format_duration(self.still_s)} (suspended, stopped, or no processor "
                "time): it looks at every account now"
            )
        return "; ".join(told)


class Comparison:
    """Compares the wall clock with the steady one, at each `look`. Both give seconds."""

    def __init__(self, wall_s: Callable[[], float] = time.time, steady_s: Callable[[], float] = steady) -> None:
        self._wall_s = wall_s
        self._steady_s = steady_s
        self._ahead_s, self._at_s = self._read()
        self._planned_ahead_s = self._ahead_s
        self._set_forward_at: float | None = None

    def look(self, within_s: float) -> tuple[Surprise | None, bool]:
        """What is to be told, if anything, and whether jobs must be planned anew. This look should have come `within_s`
        seconds after the last one."""
        ahead_s, at_s = self._read()
        step_s, late_s = ahead_s - self._ahead_s, at_s - self._at_s - within_s
        self._ahead_s, self._at_s = ahead_s, at_s
        if step_s >= TOLD_S:
            self._set_forward_at = at_s
        surprise = Surprise(step_s if abs(step_s) >= TOLD_S else 0.0, late_s if late_s >= STILL_S else 0.0)
        told = surprise if surprise.step_s or surprise.still_s else None
        parted = abs(ahead_s - self._planned_ahead_s) >= PARTED_S
        if parted or told is not None:
            self._planned_ahead_s = ahead_s
        return told, parted or told is not None

    def was_set_forward_within(self, seconds: float) -> bool:
        """Whether the wall clock was set forward so short a time ago that it may still be set right again."""
        return self._set_forward_at is not None and self._steady_s() - self._set_forward_at < seconds

    def _read(self) -> tuple[float, float]:
        """How far the wall clock is ahead of the steady one, and the latter."""
        for _ in range(_READINGS):
            before_s, wall_s, after_s = self._steady_s(), self._wall_s(), self._steady_s()
            if after_s - before_s < _APART_S:
                break
        return wall_s - after_s, after_s


class Ticker:
    """The scheduler, and the task that keeps it right. `told` hears of each surprise, after jobs are planned anew."""

    def __init__(self, told: Callable[[Surprise], None]) -> None:
        self._told = told
        self._comparison = Comparison()
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._task: asyncio.Task[None] | None = None

    def every(
        self,
        seconds: float,
        work: Callable[..., Awaitable[object]],
        args: Sequence[Any],
        name: str,
        *,
        at_once: int = 1,
    ) -> Job:
        """Do this over and over, every so many real seconds. It is never dropped for being late; `at_once`: how many of
        it may be going on."""
        return self._scheduler.add_job(
            work, Every(seconds), args=args, name=name, max_instances=at_once, coalesce=True, misfire_grace_time=None
        )

    def change(self, job: Job, seconds: float) -> None:
        """From now on do it at this interval."""
        job.reschedule(Every(seconds))

    def start(self) -> None:
        """Begin; needs the running event loop."""
        self._scheduler.start()
        self._comparison = Comparison()
        self._task = asyncio.create_task(self._run(), name="ticker")

    def stop(self) -> None:
        """Start nothing any more. What is under way goes on."""
        if self._task is not None:
            self._task.cancel()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def was_set_forward_within(self, seconds: float) -> bool:
        """See `Comparison`."""
        return self._comparison.was_set_forward_within(seconds)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            surprise, plan_anew = self._comparison.look(TICK_S)
            if plan_anew:
                for job in self._scheduler.get_jobs():
                    job.reschedule(job.trigger)
            if surprise is not None:
                self._told(surprise)
