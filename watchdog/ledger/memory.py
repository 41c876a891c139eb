"""A ledger in memory: for one sweep, the demo and tests. It forgets everything when the process ends."""

from __future__ import annotations

from collections import defaultdict, deque

from watchdog.domain.decision import Abort
from watchdog.domain.run import Snapshot, Usage

#: Finished runs remembered for each source.
HISTORY_MAX = 100


class MemoryLedger:
    """The `Ledger` port over dictionaries."""

    def __init__(self) -> None:
        self._aborts: dict[str, Abort] = {}
        self._finished: defaultdict[str, deque[Usage]] = defaultdict(lambda: deque(maxlen=HISTORY_MAX))

    async def save(self, abort: Abort) -> None:
        """Keep this version of the record."""
        self._aborts[abort.id] = abort

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do, oldest first."""
        return [abort for abort in self._aborts.values() if not abort.is_complete]

    async def aborts(self) -> list[Abort]:
        """All records, oldest first."""
        return list(self._aborts.values())

    async def add_finished(self, snapshot: Snapshot) -> None:
        """Remember what a run used that ended by itself."""
        self._finished[snapshot.source.key].append(snapshot.usage)

    async def finished_usages(self, source_key: str) -> list[Usage]:
        """What earlier runs of this source used, oldest first."""
        return list(self._finished.get(source_key, ()))
