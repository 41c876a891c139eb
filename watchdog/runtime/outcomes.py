"""What became of aborts, for those who watch the runs."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from watchdog.domain.decision import Abort


class Outcome(NamedTuple):
    """An abort that is closed, so that nothing more is asked under its record; or, `is_settled`, whose figures have
    settled since."""

    abort: Abort
    is_settled: bool


class Outcomes:
    """Those of one account that nobody has taken yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[Outcome] = deque()
        self._any = asyncio.Event()

    def add(self, outcome: Outcome) -> None:
        """One more."""
        self._waiting.append(outcome)
        self._any.set()

    async def wait(self) -> None:
        """Until there is one."""
        await self._any.wait()

    def take(self) -> list[Outcome]:
        """All there are, each to one taker only."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._any.clear()
        return taken
