"""Writes the reason of an abort onto the run, for its owner to see. Nothing depends on it, so nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from watchdog.domain.decision import Abort
from watchdog.domain.notice import Trouble
from watchdog.domain.ports import Clock, Observer, Platform
from watchdog.errors import PlatformError

#: So long after the proof of a stop its reason is written onto the run, in seconds.
LETTER_AFTER_S = 1.0


class Letters:
    """Those that are on their way."""

    def __init__(self, platforms: Mapping[str, Platform], observer: Observer, clock: Clock) -> None:
        self._platforms = platforms
        self._observer = observer
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, abort: Abort) -> None:
        """Write the reason of this abort onto its run."""
        task = asyncio.create_task(self._write(abort), name=f"reason {abort.key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def under_way(self) -> list[asyncio.Task[None]]:
        """The task of each."""
        return list(self._tasks)

    async def _write(self, abort: Abort) -> None:
        # When many runs are stopped at once, their aborts go first.
        await self._clock.sleep(LETTER_AFTER_S)
        try:
            await self._platforms[abort.account].explain(abort.run_id, f"Aborted by budget-watchdog: {abort.reason}")
        except PlatformError as error:
            text = f"the reason of the abort could not be written onto the run: {error}"
            self._observer.notice(Trouble(text, account=abort.account, run_id=abort.run_id))
