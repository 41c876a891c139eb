"""Opening the SQLite ledger: created on first use, migrated at start, refused where it cannot be trusted."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from watchdog.errors import LedgerError
from watchdog.ledger.database import sentence
from watchdog.ledger.lease import Lease
from watchdog.ledger.schema import HEAD, REVISIONS, VERSION_TABLE, WRITES
from watchdog.ledger.store import SqlLedger
from watchdog.ledger.tables import migrate

#: How long a write waits for another connection (a `hold` or a `history` beside the daemon), in seconds.
BUSY_S = 2.0
_PAUSE_S = 0.02
#: Files up to this size are read from end to end before they are written to: a tenth of a second.
WHOLE_CHECK_MAX_BYTES = 32 * 1024 * 1024


class Signature(NamedTuple):
    """As whom a process owns a store, and whose ends it has proof of."""

    owner: str
    gone: Collection[str] = ()


def open_sqlite(
    path: Path, *, read_only: bool = False, may_upgrade: bool = True, signature: Signature | None = None
) -> SqlLedger:
    """The ledger in this file, with its tables up to date. With a `signature` this process owns it (`Lease.take`).

    `read_only` neither creates nor migrates; `may_upgrade` False creates, but leaves a ledger of an older version as it
    is. Raises LedgerError if the file cannot be used: no permission, not a ledger, damaged, or written by a newer
    version; nothing is altered then.
    """
    where = f"ledger {path}"
    try:
        # Only for whoever may be the first to write to it.
        found = _examine(path, where, thoroughly=not read_only and may_upgrade)
        if read_only:
            _refuse_unready(found, where)
            engine = _engine(path, lambda: _connect_to_read(path))
            return SqlLedger(engine, where, _refuse_writes(where), damage=_damage_by_itself)
        if found not in (None, HEAD) and not may_upgrade:
            raise LedgerError(
                f"{where}: an older version of budget-watchdog is running on it (schema {found}); restart that first"
            )
        _create(path)
        if signature is not None:
            _refuse_other_names(path, where)
        guard = _SameFile(path, where)
        engine = _engine(path, guard.connect)
        try:
            migrate(engine)
            lease = None if signature is None else Lease(engine, where, signature.owner)
            if lease is not None and signature is not None:
                lease.take(gone=signature.gone)
        except BaseException:
            engine.dispose()
            raise
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise LedgerError(f"{where}: {sentence(error)}") from error
    return SqlLedger(engine, where, guard, lease, _damage_by_itself)


def examine(path: Path) -> str | None:
    """The version of the ledger in this file, which stays as it is; None if there is none yet. Raises LedgerError if it
    is none, damaged, or of a newer version."""
    where = f"ledger {path}"
    try:
        return _examine(path, where, thoroughly=False)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{where}: {sentence(error)}") from error


def _create(path: Path) -> None:
    """The folder and the file, readable by this user only: run ids and account names are nobody else's business."""
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _refuse_other_names(path: Path, where: str) -> None:
    """SQLite keeps its log beside the name that a file was opened by: two processes that open one file by two names
    each have a log of their own, and destroy each other's records."""
    if os.stat(path).st_nlink > 1:
        raise LedgerError(
            f"{where}: the file has another name as well (a hard link), under which records get lost; remove that, or "
            "make a copy of the file and use the copy"
        )


# --- connections -----------------------------------------------------------------------------------------------------


def _connect(path: Path, options: str) -> sqlite3.Connection:
    """By URI, so that no character of the path means anything, and SQLite never makes a file on its own."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}",
        uri=True,
        timeout=BUSY_S,
        check_same_thread=False,
        isolation_level=None,  # transactions are begun below: the driver would leave CREATE TABLE outside of them
    )


def _connect_to_read(path: Path) -> sqlite3.Connection:
    """Without leaving a trace: opening a file in WAL mode makes its journal and index, even for reading, unless it is
    told that nobody writes; and nobody does while there is no journal."""
    real = _real(path)
    in_use = any(_beside(real, suffix).exists() for suffix in ("-wal", "-journal"))
    return _connect(real, "mode=ro" if in_use else "mode=ro&immutable=1")


def _real(path: Path) -> Path:
    """The file behind symbolic links: SQLite keeps its journals beside that one."""
    return Path(os.path.realpath(path))


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _engine(path: Path, connect: Callable[[], sqlite3.Connection]) -> sa.Engine:
    engine = sa.create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=1, max_overflow=0)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that is going to write says so at once: one that found out later could not wait its turn.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _to_wal(connection: sqlite3.Connection) -> Any:
    """Switch the journal over. SQLite does not wait for others that have a new file open; so this does."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            return connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(_PAUSE_S)


class _SameFile:
    """A guard against writing into a file that was deleted or replaced: SQLite would not notice, and the records
    would be gone with the last process that has it open. The same holds for its write-ahead log."""

    def __init__(self, path: Path, where: str) -> None:
        self._path = _real(path)
        self._where = where
        self._born = _identity(self._path)
        self._log: tuple[int, int] | None = None
        self._has_log = True

    def connect(self) -> sqlite3.Connection:
        """A connection for writing to this very file."""
        connection = _connect(self._path, "mode=rw")
        try:
            mode = _to_wal(connection)
            # An intent must survive a power cut, not only a crash of the process.
            connection.execute("PRAGMA synchronous=FULL")
        except BaseException:
            connection.close()
            raise
        self._log, self._has_log = None, mode == ("wal",)
        return connection

    def __call__(self) -> None:
        """Raise LedgerError if the file is not there any more; called with a transaction begun."""
        now = _identity_or_none(self._path)
        if now is None:
            raise LedgerError(f"{self._where}: the file has been deleted while in use; restart to make a new one")
        if now != self._born:
            raise LedgerError(f"{self._where}: the file has been replaced while in use; restart to use the new one")
        if self._has_log:
            self._check_log()

    def _check_log(self) -> None:
        log = _identity_or_none(_beside(self._path, "-wal"))
        if self._log is None:
            self._log = log
        if log is None or log != self._log:
            raise LedgerError(
                f"{self._where}: its write-ahead log (the file ending in -wal) has been deleted or replaced while in "
                "use; restart to save what is in it"
            )


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _identity_or_none(path: Path) -> tuple[int, int] | None:
    try:
        return _identity(path)
    except OSError:
        return None


def _refuse_writes(where: str) -> Callable[[], None]:
    def refuse() -> None:
        raise LedgerError(f"{where}: opened for reading only")

    return refuse


# --- what the file is ------------------------------------------------------------------------------------------------


def _examine(path: Path, where: str, *, thoroughly: bool) -> str | None:
    """Look at the file without changing it: is it ours, whole, and of a version that we know? Its version; None if
    there is nothing in it yet."""
    if path.exists() and not path.is_file():
        raise LedgerError(f"{where}: this is no file; name another")
    if not path.exists() or path.stat().st_size == 0:
        _refuse_orphans(path, where)
        return None
    before = _stamp(path)
    try:
        return _look_into(path, where, thoroughly=thoroughly)
    except (LedgerError, sqlite3.Error):
        if _stamp(path) == before:
            raise
    # Somebody has just been making it, or moving its log into it: what was seen may have been half of it.
    return _look_into(path, where, thoroughly=thoroughly)


def _look_into(path: Path, where: str, *, thoroughly: bool) -> str | None:
    with contextlib.closing(_connect_to_read(path)) as connection:
        found = _version(connection, where)
        fault = _damage(connection, path.stat().st_size) if thoroughly else None
    if fault is not None:
        raise LedgerError(f"{where}: the file is damaged ({fault}): restore it from a backup, or move it away")
    return found


def _damage(connection: sqlite3.Connection, size: int) -> str | None:
    """What of the file is damaged, in SQLite's words. Of a large file the records of aborts are left out, which make it
    large: a daemon that reads years of them before it guards anything may never come to it. `ledger check` reads all.
    """
    if size <= WHOLE_CHECK_MAX_BYTES:
        checks = ["PRAGMA quick_check(1)"]
    else:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name != 'aborts'"
        checks = [f"PRAGMA quick_check('{name}')" for (name,) in connection.execute(query)]  # none of ours has a quote
    for check in checks:
        if (fault := connection.execute(check).fetchone()) is not None and fault[0] != "ok":
            return " ".join(str(fault[0]).split())
    return None


def _damage_by_itself(connection: sa.Connection) -> list[str]:
    """The same from end to end, for whoever asks for it."""
    words = connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars().all()
    return [f"the file is damaged: {' '.join(str(each).split())}" for each in words if each != "ok"]


def _stamp(path: Path) -> tuple[object, ...]:
    """What changes when a file or its log is written to."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, _identity_or_none(_beside(_real(path), "-wal"))


def _refuse_orphans(path: Path, where: str) -> None:
    """A log without its file may hold the last records; SQLite would delete it with the first write."""
    log = _beside(_real(path), "-wal")
    if log.exists() and log.stat().st_size > 0:
        raise LedgerError(
            f"{where}: the file is gone or empty, but its write-ahead log {log} is there and may hold records; restore "
            "the file, or move the log away"
        )


def _version(connection: sqlite3.Connection, where: str) -> str | None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if not {VERSION_TABLE, "aborts"} <= tables:
        raise LedgerError(f"{where}: this is a database of another program; name another file")
    row: Any = connection.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608  # a constant
    if row is None:
        raise LedgerError(f"{where}: the file does not say its version: restore it from a backup, or move it away")
    if row[0] not in REVISIONS:
        raise LedgerError(
            f"{where}: written by a newer version of budget-watchdog (schema {row[0]}); upgrade, or name another file"
        )
    return str(row[0])


def _refuse_unready(found: str | None, where: str) -> None:
    """What is opened for reading is neither made nor migrated."""
    if found is None:
        raise LedgerError(f"{where}: there is none yet; it is made by `run`, `once`, `hold` or `abort`")
    if found != HEAD:
        raise LedgerError(
            f"{where}: written by an older version of budget-watchdog (schema {found}); `budget-watchdog run` brings "
            "it up to date"
        )


def known_revisions() -> set[str]:
    """The schema versions that this program knows."""
    return set(REVISIONS)
