"""A SQL database behind one thread: the event loop never waits for a disk, and writes keep their order. Those that wait
for the thread share a transaction (`together`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from watchdog.errors import LedgerError, of_system
from watchdog.ledger.rows import Row, storable
from watchdog.ledger.schema import WRITES
from watchdog.ledger.together import GroupCommit

T = TypeVar("T")

#: What a database, its driver, or the executor raise; the others are values that cannot be bound or written as JSON.
_FAULTS = (SQLAlchemyError, OSError, RuntimeError, ValueError, OverflowError, msgspec.MsgspecError)


class Database:
    """The one way to read and write: every read and every write is a transaction, in the thread.

    `guard` is called before every write and raises LedgerError if the store must not be written; `fence` is, within the
    transaction. `where` names the store in messages.
    """

    def __init__(
        self,
        engine: sa.Engine,
        where: str,
        guard: Callable[[], None],
        fence: Callable[[sa.Connection], None] | None = None,
    ) -> None:
        self.engine = engine
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._where = where
        self._writes = GroupCommit(engine.execution_options(**{WRITES: True}), guard, fence)

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Sees every write that was awaited before; waits for no more than what already stands in the line."""

        def in_transaction() -> T:
            with self.engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self.thread, in_transaction)
        except _FAULTS as error:
            raise self._fault(error) from error

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """On disk when this returns, and even if its caller does not wait for that."""
        try:
            # Each write asks for the thread; the first that gets it takes all the others along.
            done = self._writes.add(work, lambda: self.thread.submit(self._writes.carry_out))
            return await asyncio.wrap_future(done)
        except LedgerError as error:
            # Of the guard, and shared by all that were written together: everybody raises one of his own.
            raise LedgerError(str(error)) from error
        except _FAULTS as error:
            raise self._fault(error) from error

    def legible(self, what: str, read: Callable[[], T]) -> T:
        """A row that cannot be read must not pass for none: behind it may be an open abort, or a hold."""
        try:
            return read()
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise LedgerError(f"{self._where}: {what} cannot be read: {error}; the file is damaged") from error

    async def close(self) -> None:
        """Finish what waits to be written, let go of the file."""
        # In the thread as well: the last connection to a SQLite file moves its journal into it.
        disposed = self.thread.submit(self.engine.dispose)
        self.thread.shutdown(wait=False)
        await asyncio.wrap_future(disposed)

    def _fault(self, error: Exception) -> LedgerError:
        return LedgerError(f"{self._where}: {sentence(error)}")


class Slice:
    """A part of the ledger, by who uses it: a few tables of the database."""

    def __init__(self, database: Database) -> None:
        self._database = database


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Put these rows in the place of those with the same keys, made fit to be stored."""
    clean = [{name: storable(value) for name, value in row.items()} for row in rows]
    connection.execute(_upsert_into(table, connection.dialect.name), clean)


@cache
def _upsert_into(table: sa.Table, dialect: str) -> Any:
    """Made once: making it takes ten times as long as carrying it out."""
    insert = _insert(dialect)(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)


def _insert(dialect: str) -> Any:
    """Each dialect has its own INSERT ... ON CONFLICT; only the one in use is loaded."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert


def sentence(error: Exception) -> str:
    """What a database says, without the statement and its values, and what to do about the usual ones."""
    cause = error.__cause__ or getattr(error, "orig", None) or error
    if isinstance(cause, OSError):
        return of_system(cause)
    text = " ".join(str(cause).split()) or type(cause).__name__
    hints = {
        "full": "free some space",
        "readonly": "make the file and its folder writable",
        "locked": "another program holds it; stop that one",
        "malformed": "the file is damaged: restore it from a backup, or move it away",
        "not a database": "the file is not a ledger: name another one, or move it away",
        "unable to open": "check that the folder exists, and that this user may write it and the file",
    }
    hint = next((hint for word, hint in hints.items() if word in text), "")
    return f"{text}; {hint}" if hint else text
