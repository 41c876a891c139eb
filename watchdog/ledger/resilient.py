"""A ledger that fails must not stop the watchdog: what cannot be written waits in memory and is written later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from watchdog.domain.decision import Abort
from watchdog.domain.notice import LedgerState
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.ports import AbortFilter, Clock, Ledger, Observer
from watchdog.domain.run import RunKey, Snapshot, Usage
from watchdog.errors import LedgerError


class ResilientLedger:
    """The `Ledger` port over another one.

    A record of an abort that cannot be written is kept in memory, told of, and written again at every save and every
    `flush`; until then reads show it as if it were written. Histories and overrides that cannot be read are those last
    read. Nothing here raises LedgerError but what people ask for by hand (`add_override`, `add_order`).
    """

    def __init__(self, inner: Ledger, observer: Observer, clock: Clock) -> None:
        self._inner = inner
        self._observer = observer
        self._clock = clock
        self._pending: dict[str, Abort] = {}
        self._pending_finished: dict[RunKey, Snapshot] = {}
        self._overrides: list[Override] = []
        self._failing = False

    @property
    def pending(self) -> int:
        """Records that wait in memory."""
        return len(self._pending)

    async def save(self, abort: Abort) -> None:
        """Write it, or keep it until it can be written."""
        self._pending[abort.id] = abort
        await self.flush()

    async def flush(self) -> None:
        """Write what waits, oldest first; stop at the first that fails."""
        try:
            for abort_id in list(self._pending):
                # Read at the last moment: a newer version may have come in while an older record was written.
                abort = self._pending.get(abort_id)
                if abort is None:
                    continue
                await self._inner.save(abort)
                if self._pending.get(abort_id) is abort:
                    del self._pending[abort_id]
            for key, snapshot in list(self._pending_finished.items()):
                await self._inner.add_finished(snapshot)
                self._pending_finished.pop(key, None)
        except LedgerError as error:
            self._tell(error)
        else:
            self._tell(None)

    def _tell(self, error: LedgerError | None) -> None:
        """Tell of a change for the worse or the better, not of every failed write."""
        if (error is not None) == self._failing:
            return
        self._failing = error is not None
        self._observer.notice(LedgerState(error, self.pending, self._clock.now()))

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do; those in memory count as written."""
        return (
            [abort for abort in await self.aborts() if not abort.is_complete]
            if self._pending
            else (await self._inner.open_aborts())
        )

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """The records wanted, with what waits in memory in place of what is written."""
        try:
            written = await self._inner.aborts(wanted)
        except LedgerError as error:
            self._tell(error)
            written = []
        newest = {abort.id: abort for abort in written} | self._pending
        return sorted(newest.values(), key=lambda abort: (abort.history[0].at, abort.id))

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Write the last known usage of runs; not kept if that fails, since the next sweep brings it again."""
        try:
            await self._inner.save_runs(snapshots)
        except LedgerError as error:
            self._tell(error)

    async def add_finished(self, snapshot: Snapshot) -> None:
        """Remember a finished run, later if it must be."""
        self._pending_finished[snapshot.key] = snapshot
        await self.flush()

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """Earlier runs of a source; none if they cannot be read, which only leaves an estimate out."""
        try:
            return await self._inner.finished_usages(source_id)
        except LedgerError as error:
            self._tell(error)
            return []

    async def overrides(self, now: datetime) -> list[Override]:
        """Those that hold now; the last ones read if they cannot be read: a hold must not lapse with the disk."""
        try:
            self._overrides = await self._inner.overrides(now)
        except LedgerError as error:
            self._tell(error)
        return [override for override in self._overrides if override.is_active(now)]

    async def add_override(self, override: Override) -> None:
        """Write an override."""
        await self._inner.add_override(override)

    async def end_overrides(self, kinds: Sequence[OverrideKind], run_id: str | None, at: datetime) -> int:
        """End overrides."""
        return await self._inner.end_overrides(kinds, run_id, at)

    async def add_order(self, order: Order) -> None:
        """Write an order."""
        await self._inner.add_order(order)

    async def orders(self) -> list[Order]:
        """Orders that nobody has taken on; none if they cannot be read."""
        try:
            return await self._inner.orders()
        except LedgerError as error:
            self._tell(error)
            return []

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order."""
        try:
            await self._inner.answer_order(order_id, answer)
        except LedgerError as error:
            self._tell(error)

    async def prune(self, before: datetime) -> int:
        """Delete what is old."""
        try:
            return await self._inner.prune(before)
        except LedgerError as error:
            self._tell(error)
            return 0

    async def close(self) -> None:
        """Try once more to write what waits, then close."""
        await self.flush()
        await self._inner.close()
