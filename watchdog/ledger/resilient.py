"""A ledger that fails must not stop the watchdog: what cannot be written waits in memory and is written later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from watchdog.domain.decision import Abort
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Usage
from watchdog.domain.notice import LedgerState, Trouble
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.ports import AbortFilter, Clock, Ledger, Observer
from watchdog.domain.run import RunKey, Snapshot
from watchdog.domain.sums import AbortGroup, AbortSums
from watchdog.errors import LedgerError
from watchdog.ledger.clean import clean_abort, clean_labels
from watchdog.ledger.memory import age, fits
from watchdog.redaction import Redactor

K = TypeVar("K")
T = TypeVar("T")

#: Nobody waits longer than this for the inner ledger, in real seconds: a disk that hangs must not hold an abort up.
PATIENCE_S = 3.0
#: A failure that took at least so long is slow, and so is every time-out; after one, saves go into memory at once for
#: the pause (`flush` tries).
_SLOW_S = 0.5
_PAUSE_S = 5.0
#: Other waiting records that a save writes after its own; `flush` writes all.
_BATCH = 20
#: Records that a flush hands over at once: the store writes them together, and what comes meanwhile must not wait long.
_PORTION = 200
#: Finished runs, and burn rates, that wait at most: each is only one of many in an estimate.
WAITING_MAX = 10_000
#: Records written by this process that are shown while the inner ledger cannot be read.
_RECENT_MAX = 1_000


class _Pausing(LedgerError):
    """Not tried, so soon after a slow failure."""


#: Puts records somewhere safe, and says where each is, by its id; OSError if it can put none.
Rescue = Callable[[Sequence[Abort]], Mapping[str, object]]


class _Backlog(Generic[K, T]):
    """What waits to be written: the latest of each key."""

    def __init__(self, write: Callable[[K, T], Awaitable[None]], most: int | None = None) -> None:
        self.write = write
        self.items: dict[K, T] = {}
        self._most = most
        # Those nobody is writing at the moment, in the order in which they are tried again.
        self._idle: dict[K, None] = {}
        self._turns: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    def put(self, key: K, item: T) -> None:
        self.items[key] = item
        self._idle[key] = None
        if self._most is not None and len(self.items) > self._most:
            oldest = next(iter(self.items))
            del self.items[oldest]
            self._idle.pop(oldest, None)

    def turn(self, key: K) -> asyncio.Lock:
        """One write of a key at a time, each of the latest version: an older one can never come last. Different keys do
        not wait for each other, so that the store can write them together."""
        return self._turns.setdefault(key, asyncio.Lock())

    @contextlib.contextmanager
    def taken(self, key: K) -> Iterator[T]:
        """The item while it is being written. If it, or a later version, still waits after that: last in the line, so
        that one that can never be written does not keep the others from it."""
        self._idle.pop(key, None)
        try:
            yield self.items[key]
        finally:
            if key in self.items:
                self._idle[key] = None

    def done(self, key: K, item: T) -> None:
        """This version is written; a later one that came meanwhile is not."""
        if self.items.get(key) is item:
            del self.items[key]

    def idle(self, most: int) -> list[K]:
        """Some that nobody is writing."""
        return list(islice(self._idle, most))

    def all(self) -> list[K]:
        """Every one, those that nobody is writing first."""
        return list(dict.fromkeys([*self._idle, *self.items]))


class ResilientLedger:
    """The `Ledger` port over another one.

    A record of an abort that cannot be written is kept in memory, told of, and written again at every save and every
    `flush`; until then reads show it as if it were written. What is saved at once is handed on at once, so that the
    inner ledger can write it together. A hold lasts while overrides cannot be read, and an answer
    to an order counts even if it cannot be written.

    LedgerError comes out of what people ask for by hand (`add_override`, `end_overrides`, `add_order`), of
    `move_override`, `burns` and `open_aborts`, and of `aborts` and `overrides` if they have never been read: whoever
    starts must not take a ledger that cannot be read for an empty one.
    """

    def __init__(
        self,
        inner: Ledger,
        observer: Observer,
        clock: Clock,
        *,
        patience_s: float = PATIENCE_S,
        waiting_max: int = WAITING_MAX,
        redactor: Redactor | None = None,
    ) -> None:
        self._redactor = redactor or Redactor()
        self._inner = inner
        self._observer = observer
        self._clock = clock
        self._patience_s = patience_s
        self._aborts = _Backlog[str, Abort](lambda _, abort: self._inner.save(abort))
        self._answers = _Backlog[str, str](lambda order_id, answer: self._inner.answer_order(order_id, answer))
        self._finished = _Backlog[RunKey, Snapshot](lambda _, run: self._inner.add_finished(run), waiting_max)
        self._burns = _Backlog[RunKey, BurnRecord](lambda _, record: self._inner.add_burn(record), waiting_max)
        self._backlogs: tuple[_Backlog[Any, Any], ...] = (self._aborts, self._answers, self._finished, self._burns)
        self._recent: dict[str, Abort] = {}
        self._overrides: list[Override] | None = None
        self._overrides_changed = 0
        self._aborts_read = False
        self._pause_until = float("-inf")
        self._write_error: LedgerError | None = None
        self._read_error: LedgerError | None = None
        self._told_failing = False

    @property
    def pending(self) -> int:
        """Records that wait in memory."""
        return len(self._aborts.items)

    # Aborts

    async def save(self, abort: Abort) -> None:
        """Write it, or keep it until it can be written."""
        abort = clean_abort(abort, self._redactor)
        self._aborts.put(abort.id, abort)
        self._remember(abort)
        if await self._write(self._aborts, abort.id) and (others := self._aborts.idle(_BATCH)):
            await self._write_together(self._aborts, others)

    def _remember(self, abort: Abort) -> None:
        self._recent.pop(abort.id, None)
        self._recent[abort.id] = abort
        if len(self._recent) > _RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    async def flush(self) -> None:
        """Write what waits; stop as soon as the inner ledger seems to hang."""
        for backlog in self._backlogs:
            if not await self._write_all(backlog) and self._is_pausing:
                return

    async def _write_all(self, backlog: _Backlog[K, T]) -> bool:
        """Whether something could be written, if anything waits. The first goes alone: while the disk is gone, the
        others need not find that out as well."""
        keys = backlog.all()
        portions = [keys[:1], *(keys[start : start + _PORTION] for start in range(1, len(keys), _PORTION))]
        for portion in portions:
            if portion and not await self._write_together(backlog, portion, insist=True):
                return False
        return True

    async def _write_together(self, backlog: _Backlog[K, T], keys: Collection[K], *, insist: bool = False) -> bool:
        """Whether any of them waits no more."""
        return any(await asyncio.gather(*(self._write(backlog, key, insist=insist) for key in keys)))

    async def _write(self, backlog: _Backlog[K, T], key: K, *, insist: bool = False) -> bool:
        """Write the latest of what waits under this key; whether nothing waits there any more."""
        async with backlog.turn(key):
            if key not in backlog.items:
                return True
            with backlog.taken(key) as item:
                if not await self._attempt(partial(backlog.write, key, item), insist=insist):
                    return False
                backlog.done(key, item)
        self._settle()
        return key not in backlog.items

    async def _attempt(self, write: Callable[[], Awaitable[object]], *, insist: bool = False) -> bool:
        """Whether it was written."""
        try:
            await self._patiently(write, insist=insist)
        except _Pausing:
            return False
        except LedgerError as error:
            self._write_error = error
            self._tell()
            return False
        return True

    async def _patiently(self, work: Callable[[], Awaitable[T]], *, insist: bool = False) -> T:
        """Do it, but wait only so long. During the pause after a slow failure it is not even tried, unless somebody
        insists: a hundred aborts must not each wait for a disk that hangs."""
        started = _now_s()
        if self._is_pausing and not insist:
            raise _Pausing("the ledger has just failed to answer")
        try:
            async with asyncio.timeout(self._patience_s):
                return await work()
        except (LedgerError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or _now_s() - started >= _SLOW_S:
                self._pause_until = _now_s() + _PAUSE_S
            if isinstance(error, LedgerError):
                raise
            raise LedgerError(
                f"the ledger gave no answer within {self._patience_s:g} s; look after the disk it is on"
            ) from None

    @property
    def _is_pausing(self) -> bool:
        return _now_s() < self._pause_until

    def _settle(self) -> None:
        """After a write that worked: all is well once nothing waits."""
        if not any(backlog.items for backlog in self._backlogs):
            self._write_error = None
        self._tell()

    def _tell(self) -> None:
        """Tell of a change for the worse or the better, not of every failure."""
        error = self._write_error or self._read_error
        if (error is not None) != self._told_failing:
            self._told_failing = error is not None
            self._observer.notice(LedgerState(error, self.pending, self._clock.now()))

    async def _read(self, work: Callable[[], Awaitable[T]]) -> T:
        """Read, and tell of a change; LedgerError if it cannot be read."""
        try:
            found = await self._patiently(work)
        except _Pausing:
            raise
        except LedgerError as error:
            self._read_error = error
            self._tell()
            raise
        self._read_error = None
        self._tell()
        return found

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do; those in memory count as written. LedgerError if they cannot be read."""
        waiting = dict(self._aborts.items)
        written = await self._read(self._inner.open_aborts)
        newest = self._newest(written, waiting)
        return [abort for abort in newest if not abort.is_complete]

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """The records wanted, with what waits in memory in place of what is written. While they cannot be read: those
        that this process wrote lately."""
        waiting = dict(self._aborts.items)
        try:
            written = await self._read(partial(self._inner.aborts, wanted))
        except LedgerError:
            if not self._aborts_read:
                raise
            written = list(self._recent.values())
        self._aborts_read = True
        fitting = [abort for abort in self._newest(written, waiting) if wanted is None or fits(abort, wanted)]
        return fitting if wanted is None or wanted.newest is None else fitting[-wanted.newest :]

    async def sums(self) -> Mapping[AbortGroup, AbortSums]:
        """What all complete aborts add up to that are written; LedgerError if they cannot be read."""
        return await self._read(self._inner.sums)

    def _newest(self, written: Sequence[Abort], waiting: dict[str, Abort]) -> list[Abort]:
        """What waited before the read may have been written during it, after the place where the read looked."""
        return sorted(({each.id: each for each in written} | waiting | self._aborts.items).values(), key=age)

    # Runs

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Write the last known usage of runs; not kept if that fails, since the next sweep brings it again."""
        runs = clean_labels(snapshots, self._redactor)
        if runs and await self._attempt(partial(self._inner.save_runs, runs)):
            self._settle()

    async def seen_running(self, account: str) -> Mapping[str, float]:
        """Seconds that runs of this account were seen running; none if they cannot be read: then they count anew."""
        try:
            return await self._read(partial(self._inner.seen_running, account))
        except LedgerError:
            return {}

    async def add_finished(self, snapshot: Snapshot) -> None:
        """Remember a finished run, later if it must be."""
        (snapshot,) = clean_labels([snapshot], self._redactor)
        self._finished.put(snapshot.key, snapshot)
        await self._write(self._finished, snapshot.key)

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """Earlier runs of a source; none if they cannot be read, which only leaves an estimate out."""
        try:
            return await self._read(partial(self._inner.finished_usages, source_id))
        except LedgerError:
            return []

    async def add_burn(self, record: BurnRecord) -> None:
        """Remember how fast a run used up what it used, later if it must be."""
        self._burns.put(record.key, record)
        await self._write(self._burns, record.key)

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        """Records of these sources; LedgerError if they cannot be read: no history would pass for a new source."""
        return await self._read(partial(self._inner.burns, source_ids))

    # Overrides and orders

    async def overrides(self, now: datetime) -> list[Override]:
        """Those that hold now; the last ones known if they cannot be read: a hold must not lapse with the disk."""
        changed = self._overrides_changed
        try:
            found = await self._read(partial(self._inner.overrides, now))
        except LedgerError:
            if self._overrides is None:
                raise
        else:
            if changed == self._overrides_changed or self._overrides is None:
                self._overrides = found
        return [override for override in self._overrides if override.is_active(now)]

    async def add_override(self, override: Override) -> None:
        """Write an override."""
        override = replace(override, reason=self._redactor.text(override.reason))
        await self._inner.add_override(override)
        self._overrides_changed += 1
        if self._overrides is not None:
            self._overrides = [*(each for each in self._overrides if each.id != override.id), override]

    async def end_overrides(
        self, kinds: Sequence[OverrideKind], run_id: str | None, at: datetime, account: str | None = None
    ) -> int:
        """End overrides."""
        ended = await self._inner.end_overrides(kinds, run_id, at, account)
        self._overrides_changed += 1
        if self._overrides is not None:
            self._overrides = [
                each
                for each in self._overrides
                if each.kind not in kinds or each.run_id != run_id or account not in (None, each.account)
            ]
        return ended

    async def move_override(self, override_id: str, until: datetime | None) -> None:
        """Let one end at another hour."""
        await self._inner.move_override(override_id, until)
        self._overrides_changed += 1
        if self._overrides is not None:
            self._overrides = [
                replace(each, until=until) if each.id == override_id else each for each in self._overrides
            ]

    async def add_order(self, order: Order) -> None:
        """Write an order."""
        await self._inner.add_order(replace(order, reason=self._redactor.text(order.reason)))

    async def orders(self) -> list[Order]:
        """Orders that nobody has taken on; none if they cannot be read."""
        answered = set(self._answers.items)
        try:
            found = await self._read(self._inner.orders)
        except LedgerError:
            return []
        answered |= self._answers.items.keys()
        return [order for order in found if order.id not in answered]

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order, later if it must be: an order is taken on once, whatever the disk does."""
        self._answers.put(order_id, self._redactor.text(answer))
        await self._write(self._answers, order_id)

    # Upkeep

    async def prune(self, before: datetime) -> int:
        """Delete what is old; nothing if that cannot be done now."""
        try:
            return await self._inner.prune(before)
        except LedgerError as error:
            self._write_error = error
            self._tell()
            return 0

    async def close(self, rescue: Rescue | None = None) -> None:
        """Try once more to write what waits, then close. What still waits goes to `rescue`, which says where it put it;
        what cannot be rescued either is told of as lost."""
        await self.flush()
        if self._aborts.items:
            self._tell_of_leftovers(rescue)
        with contextlib.suppress(LedgerError):
            await self._patiently(self._inner.close, insist=True)

    def _tell_of_leftovers(self, rescue: Rescue | None) -> None:
        lost, places = "is lost with the end of the process", dict[str, object]()
        if rescue is not None:
            try:
                places.update(rescue(list(self._aborts.items.values())))
            except OSError as error:
                lost += f" ({error})"
        for abort in self._aborts.items.values():
            place = places.get(abort.id)
            fate = lost if place is None else f"waits in {place}; the next start takes it in"
            text = f"the record of this abort ({abort.id}, {abort.state}) could not be written and {fate}"
            self._observer.notice(Trouble(text, account=abort.account, run_id=abort.run_id, level="error"))


def _now_s() -> float:
    """Real time: it is a disk that is waited for, whatever the clock of a demo does."""
    return asyncio.get_running_loop().time()
