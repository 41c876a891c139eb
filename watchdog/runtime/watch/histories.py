"""What is known of sources from their earlier runs."""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Meter
from watchdog.domain.ports import HistoryLedger
from watchdog.domain.run import Snapshot
from watchdog.engine.forecast import NO_HISTORY, Burn, SourceHistory

#: More records of a source than this are not kept in mind.
_RECORDS_MAX = 100
#: More sources than this remembered, and the memory of them is dropped and read anew.
_SOURCES_MAX = 50_000


class Histories:
    """The history of each source that has been asked for, read from the ledger once and kept up to date with the runs
    that end meanwhile."""

    def __init__(self, ledger: HistoryLedger) -> None:
        self._ledger = ledger
        self._records: dict[str, list[BurnRecord]] = {}
        self._histories: dict[str, SourceHistory] = {}
        self._wanted: set[str] = set()

    def of(self, source_id: str) -> SourceHistory:
        """The history of a source, as far as it has been read."""
        known = self._histories.get(source_id)
        if known is None:
            if source_id:
                self._wanted.add(source_id)
            return NO_HISTORY
        return known

    async def load(self) -> set[str]:
        """Read what was asked for and not known; the sources of which there is something new."""
        wanted, self._wanted = self._wanted, set()
        if not wanted:
            return set()
        if len(self._records) > _SOURCES_MAX:
            self._records.clear()
            self._histories.clear()
        found = await self._ledger.burns(wanted)
        for source_id in wanted:
            self._take(source_id, found.get(source_id, []))
        return set(found)

    async def add(self, run: Snapshot, *, by_itself: bool, burns: Mapping[Meter, Burn]) -> None:
        """Remember a run that is over. One whose rates nobody could measure still says what it used in the end."""
        rates = {kind: burn.highest for kind, burn in burns.items() if burn.highest > 0}
        record = BurnRecord(
            account=run.account,
            run_id=run.run_id,
            source_id=run.source.id,
            ended_at=run.finished_at or run.seen_at,
            rates=rates,
            final=run.usage,
            ended_by_itself=by_itself,
        )
        if (known := self._records.get(record.source_id)) is not None:
            key = (record.account, record.run_id)
            others = [each for each in known if (each.account, each.run_id) != key]
            self._take(record.source_id, [*others, record][-_RECORDS_MAX:])
        await self._ledger.add_burn(record)

    def _take(self, source_id: str, records: list[BurnRecord]) -> None:
        self._records[source_id] = records
        self._histories[source_id] = SourceHistory.of(records)
