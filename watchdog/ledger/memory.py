"""A ledger in memory: for the demo, tests, and `ledger: memory`. It forgets everything when the process ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from datetime import datetime

from watchdog.domain.decision import Abort
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Usage
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.ports import AbortFilter
from watchdog.domain.run import RunKey, Snapshot, replace
from watchdog.domain.sums import AbortGroup, AbortSums, sum_up
from watchdog.ledger.records import HISTORY_MAX, age, fits

#: Complete aborts remembered: some 30 MB of them.
ABORTS_MAX = 5_000


class _History:
    """The latest of each source, one for each run."""

    def __init__(self) -> None:
        self._of_source: defaultdict[str, dict[RunKey, BurnRecord]] = defaultdict(dict)
        self._source: dict[RunKey, str] = {}

    def add(self, record: BurnRecord) -> None:
        self.forget(record.key)  # its source may have been known by another id
        self._source[record.key] = record.source_id
        of_source = self._of_source[record.source_id]
        of_source[record.key] = record
        if len(of_source) > HISTORY_MAX:
            self.forget(min(of_source.values(), key=_end).key)

    def forget(self, key: RunKey) -> None:
        """Nothing is known of the end of this run."""
        if (source_id := self._source.pop(key, None)) is not None:
            del self._of_source[source_id][key]

    def of(self, source_id: str) -> list[BurnRecord]:
        """Oldest first."""
        return sorted(self._of_source.get(source_id, {}).values(), key=_end)

    def keys(self) -> Collection[RunKey]:
        """The runs that are remembered."""
        return self._source.keys()

    def prune(self, before: datetime) -> set[RunKey]:
        """The runs that were forgotten since they ended earlier."""
        old = {key for key, source in self._source.items() if self._of_source[source][key].ended_at < before}
        for key in old:
            self.forget(key)
        return old


def _end(record: BurnRecord) -> tuple[datetime, RunKey]:
    return record.ended_at, record.key


class MemoryLedger:
    """The `Ledger` port over dictionaries."""

    def __init__(self) -> None:
        self._aborts: dict[str, Abort] = {}
        self._complete: dict[str, None] = {}
        self._dropped: dict[AbortGroup, AbortSums] = {}
        self._runs: dict[RunKey, Snapshot] = {}
        self._ended = _History()
        # Apart, so that many aborts do not push out those that ended by themselves.
        self._ended_by_itself = _History()
        self._overrides: dict[str, Override] = {}
        self._orders: dict[str, Order] = {}

    async def save(self, abort: Abort) -> None:
        """Keep this version of the record; of those that are complete only the latest `ABORTS_MAX`, and what the others
        add up to."""
        self._aborts[abort.id] = abort
        if abort.is_complete:
            self._complete[abort.id] = None
            if len(self._complete) > ABORTS_MAX:
                self._drop(next(iter(self._complete)))

    def _drop(self, abort_id: str) -> None:
        del self._complete[abort_id]
        for group, summed in sum_up([self._aborts.pop(abort_id)]).items():
            self._dropped[group] = self._dropped.get(group, AbortSums()).plus(summed)

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do, oldest first."""
        return [abort for abort in await self.aborts() if not abort.is_complete]

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """Records that fit, oldest first."""
        fitting = [abort for abort in self._aborts.values() if wanted is None or fits(abort, wanted)]
        newest = None if wanted is None else wanted.newest
        return sorted(fitting, key=age)[0 if newest is None else -newest :]

    async def newest_first(self, wanted: AbortFilter) -> AsyncIterator[list[Abort]]:
        """Records that fit, newest first."""
        if found := await self.aborts(wanted):
            yield found[::-1]

    async def sums(self) -> dict[AbortGroup, AbortSums]:
        """What all complete aborts add up to."""
        summed = sum_up(self._aborts.values())
        for group, dropped in self._dropped.items():
            summed[group] = summed.get(group, AbortSums()).plus(dropped)
        return summed

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Keep the last known usage of these runs."""
        self._runs.update((snapshot.key, snapshot) for snapshot in snapshots)

    async def seen_running(self, account: str) -> dict[str, float]:
        """Seconds that runs of this account were seen running, by id."""
        runs = (run for run in self._runs.values() if run.account == account)
        return {run.run_id: run.seen_running_s for run in runs if run.seen_running_s > 0}

    async def add_burn(self, record: BurnRecord) -> None:
        """Remember what a run that is over used, and how fast."""
        record = record.as_kept
        self._ended.add(record)
        if record.ended_by_itself:
            self._ended_by_itself.add(record)
        else:
            self._ended_by_itself.forget(record.key)

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """What earlier runs of this source used, oldest first."""
        return [record.final for record in self._ended_by_itself.of(source_id)]

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        """The latest records of each of these sources, oldest first; sources without any are left out."""
        return {source_id: found for source_id in source_ids if (found := self._ended.of(source_id))}

    async def known_runs(self, run_id: str | None = None) -> list[RunKey]:
        """The runs that there is anything about, or those of this id."""
        keys = {
            *self._runs,
            *(abort.key for abort in self._aborts.values()),
            *self._ended.keys(),
            *self._ended_by_itself.keys(),
        }
        return sorted(key for key in keys if run_id in (None, key[1]))

    async def add_override(self, override: Override) -> None:
        """Keep an override."""
        self._overrides[override.id] = override

    async def overrides(self, now: datetime) -> list[Override]:
        """Those that hold now, oldest first."""
        holding = [override for override in self._overrides.values() if override.is_active(now)]
        return sorted(holding, key=lambda override: (override.created_at, override.id))

    async def end_overrides(
        self, kinds: Sequence[OverrideKind], run_id: str | None, at: datetime, account: str | None = None
    ) -> int:
        """End those of these kinds about this run that hold now (of these only those for this account, if one is
        given); how many there were."""
        found = [each for each in await self.overrides(at) if each.kind in kinds and each.run_id == run_id]
        found = [each for each in found if account in (None, each.account)]
        self._overrides.update((each.id, replace(each, ended_at=at)) for each in found)
        return len(found)

    async def move_override(self, override_id: str, until: datetime | None) -> None:
        """Let it end at another hour, unless somebody has ended it or it never ends."""
        found = self._overrides.get(override_id)
        if found is not None and found.ended_at is None and found.until is not None:
            self._overrides[override_id] = replace(found, until=until)

    async def add_order(self, order: Order) -> None:
        """Keep an abort asked for by hand."""
        self._orders[order.id] = order

    async def orders(self) -> list[Order]:
        """Those that nobody has taken on, oldest first."""
        waiting = [order for order in self._orders.values() if order.answer is None]
        return sorted(waiting, key=lambda order: (order.created_at, order.id))

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order."""
        if order_id in self._orders:
            self._orders[order_id] = replace(self._orders[order_id], answer=answer)

    async def order_answer(self, order_id: str) -> str | None:
        """What came of an order; None while nobody has taken it on."""
        order = self._orders.get(order_id)
        return order.answer if order else None

    async def check(self, *, repair: bool = False) -> list[str]:
        """There is nothing that could differ."""
        return []

    async def prune(self, before: datetime) -> int:
        """Forget runs, going on or over, overrides and orders older than this."""
        runs = {key for key, run in self._runs.items() if run.seen_at < before}
        orders = {key for key, order in self._orders.items() if order.answer is not None and order.created_at < before}
        overrides = {key for key, override in self._overrides.items() if _over_before(override, before)}
        ended = self._ended.prune(before) | self._ended_by_itself.prune(before)
        for key in runs:
            del self._runs[key]
        for order_id in orders:
            del self._orders[order_id]
        for override_id in overrides:
            del self._overrides[override_id]
        return len(runs) + len(orders) + len(overrides) + len(ended)

    async def close(self) -> None:
        """Nothing to do."""


def _over_before(override: Override, before: datetime) -> bool:
    ends = [at for at in (override.ended_at, override.until) if at is not None]
    return any(at < before for at in ends)
