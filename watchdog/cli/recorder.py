"""Remembers the aborts of this process, for commands that show what they did; the ledger also holds earlier ones."""

from __future__ import annotations

from watchdog.domain.decision import Abort
from watchdog.domain.notice import AbortChanged, Notice, SavingBooked


class Recorder:
    """An Observer that keeps the newest version of every abort it hears of."""

    def __init__(self) -> None:
        self._aborts: dict[str, Abort] = {}

    def notice(self, notice: Notice) -> None:
        """Keep the record, if it is about one."""
        if isinstance(notice, AbortChanged | SavingBooked):
            self._aborts[notice.abort.id] = notice.abort

    @property
    def aborts(self) -> list[Abort]:
        """Oldest first."""
        return list(self._aborts.values())
