"""Which entries of the rule files match the runs there are, seen anew from time to time and shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from watchdog.domain.ports import Clock
from watchdog.engine.coverage import Coverage, Entry
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.status import StatusReader

#: So many runs at a time are compared with the rules: a few milliseconds.
AT_A_TIME = 2_000

#: Shows the entries, and when each was last seen to match a run.
Show = Callable[[Sequence[Entry], Sequence[datetime]], None]


class Matches:
    """Keeps `coverage` true to the rules in force and the runs of the moment."""

    def __init__(self, rulebook: Rulebook, status: StatusReader, clock: Clock, show: Show) -> None:
        self._rulebook = rulebook
        self._status = status
        self._clock = clock
        self._show = show
        self.coverage = Coverage(rulebook.rules, clock.now())

    def show(self) -> None:
        """As far as it is known."""
        self._show(self.coverage.entries, self.coverage.times)

    async def look(self) -> None:
        """See which entries match the runs of this moment, and show it."""
        now = self._clock.now()
        if self.coverage.rules is not self._rulebook.rules:
            self.coverage = self.coverage.replaced(self._rulebook.rules, now)
        for runs in self._status.swept_runs():
            while some := list(islice(runs, AT_A_TIME)):
                self.coverage.see(some, now)
                await asyncio.sleep(0)
        self.show()
