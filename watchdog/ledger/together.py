"""Group commit: all the writes that wait while the disk is busy share the next transaction, and its one sync.

A hundred aborts decided at one moment must each be on disk before they leave; one after the other that is a hundred
syncs, and the last abort waits for all of them. Together it is one.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


def _begun() -> Future[Any]:
    """One that a caller who gives up waiting cannot cancel: what has been asked for is written all the same."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True, eq=False)
class _Write:
    work: Work[Any]
    done: Future[Any] = field(default_factory=_begun)


@dataclass(slots=True)
class _Outcome:
    result: Any = None
    error: Exception | None = None

    def tell(self, done: Future[Any]) -> None:
        if self.error is None:
            done.set_result(self.result)
        else:
            done.set_exception(self.error)


class _UnusableError(Exception):
    """No transaction could be begun: what is wrong (its cause) is wrong for every write."""


class GroupCommit:
    """Writes that wait, in the order they were asked for.

    Each has a savepoint of its own, so that one which fails hurts nobody else. `guard` is called once a transaction and
    raises if the store must not be written.
    """

    def __init__(
        self, engine: sa.Engine, guard: Callable[[], None], fence: Callable[[sa.Connection], None] | None = None
    ) -> None:
        self._engine = engine
        self._guard = guard
        self._fence = fence
        # Filled by the event loop, emptied by the thread: both ends of a deque may be used at once.
        self._waiting: deque[_Write] = deque()

    def add(self, work: Work[T], wake: Callable[[], object]) -> Future[T]:
        """Put it in the line and have `wake` see to it that `carry_out` is called after that; the future has its own
        result or error, once that is on disk. What `wake` raises leaves nothing behind."""
        write = _Write(work)
        self._waiting.append(write)
        try:
            wake()
        except BaseException:
            with contextlib.suppress(ValueError, IndexError):  # another call may have taken it along already
                self._waiting.remove(write)
            raise
        return write.done

    def carry_out(self) -> None:
        """Write everything that waits; nothing is left to do if an earlier call took it along. For one thread only."""
        batch = self._take()
        error: BaseException
        try:
            self._settle(batch)
        except _UnusableError as unusable:
            error = unusable.__cause__ or unusable
        except BaseException as unforeseen:  # noqa: BLE001  # it is raised where the write was asked for
            error = unforeseen
        else:
            return
        for write in batch:  # nobody may wait for ever
            if not write.done.done():
                write.done.set_exception(error)

    def _take(self) -> list[_Write]:
        batch = []
        with contextlib.suppress(IndexError):
            while True:
                batch.append(self._waiting.popleft())
        return batch

    def _settle(self, batch: Sequence[_Write]) -> None:
        """All in one transaction. If that fails as a whole (a full disk takes back more than the write that filled it),
        each in its own, so that those which can be written are."""
        if not batch:
            return
        try:
            outcomes = self._in_one_transaction(batch)
        except _UnusableError:
            raise
        except Exception as error:  # noqa: BLE001  # it is raised where the write was asked for
            if len(batch) > 1:
                for write in batch:
                    self._settle([write])
                return
            outcomes = [_Outcome(error=error)]
        for write, outcome in zip(batch, outcomes, strict=True):
            outcome.tell(write.done)

    def _in_one_transaction(self, batch: Sequence[_Write]) -> list[_Outcome]:
        with self._transaction() as connection:
            if len(batch) == 1:
                return [_Outcome(batch[0].work(connection))]
            return [_in_savepoint(connection, write.work) for write in batch]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with contextlib.ExitStack() as stack:
            try:
                connection = stack.enter_context(self._engine.begin())
                self._guard()
                if self._fence is not None:
                    self._fence(connection)
            except Exception as error:
                raise _UnusableError from error
            yield connection


def _in_savepoint(connection: sa.Connection, work: Work[Any]) -> _Outcome:
    """By hand: `begin_nested` takes four times as long. Raises if the database has given up the whole transaction, and
    the savepoint with it."""
    connection.exec_driver_sql("SAVEPOINT one_write")
    try:
        outcome = _Outcome(work(connection))
    except Exception as error:  # noqa: BLE001  # it is raised where the write was asked for
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT one_write")
        outcome = _Outcome(error=error)
    connection.exec_driver_sql("RELEASE SAVEPOINT one_write")
    return outcome
