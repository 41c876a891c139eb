"""Opening the SQLite ledger: created on first use, migrated at start, refused where it cannot be trusted."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import SQLAlchemyError

from watchdog.errors import LedgerError
from watchdog.ledger.store import SqlLedger, sentence

_MIGRATIONS = Path(__file__).parent / "migrations"
#: How long a write waits for another connection (a `hold` or a `history` beside the daemon), in seconds.
BUSY_S = 5.0


def open_sqlite(path: Path, *, read_only: bool = False) -> SqlLedger:
    """The ledger in this file, with its tables up to date.

    `read_only` neither creates nor migrates. Raises LedgerError if the file cannot be used: no permission, not a
    ledger, damaged, or written by a newer version; nothing is altered then.
    """
    where = f"ledger {path}"
    try:
        _refuse_unknown(path, where)
        if read_only:
            if not path.exists():
                raise LedgerError(f"{where}: there is none yet; it is made by `budget-watchdog run`")
            return SqlLedger(_engine(path), where, _refuse_writes(where))
        _create(path)
        engine = _engine(path)
        migrate(engine)
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise LedgerError(f"{where}: {sentence(error)}") from error
    return SqlLedger(engine, where, _same_file(path, where))


def _create(path: Path) -> None:
    """The folder and the file, readable by this user only: run ids and account names are nobody else's business."""
    if not path.parent.exists():
        path.parent.mkdir(parents=True, mode=0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _engine(path: Path) -> sa.Engine:
    engine = sa.create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_S, "check_same_thread": False}, pool_size=1, max_overflow=0
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        # An intent must survive a power cut, not only a crash of the process.
        connection.execute("PRAGMA synchronous=FULL")

    return engine


def _refuse_unknown(path: Path, where: str) -> None:
    """Look at the file without changing it: is it ours, whole, and of a version that we know?"""
    if not path.exists() or path.stat().st_size == 0:
        return
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            return
        if "alembic_version" not in tables:
            raise LedgerError(f"{where}: this is a database of another program; name another file")
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        fault = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    if found is not None and found[0] not in known_revisions():
        raise LedgerError(
            f"{where}: written by a newer version of budget-watchdog (schema {found[0]}); upgrade, or name another file"
        )
    if fault is not None and fault[0] != "ok":
        raise LedgerError(f"{where}: the file is damaged ({fault[0]}): restore it from a backup, or move it away")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def known_revisions() -> set[str]:
    """The schema versions that this program knows."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def migrate(engine: sa.Engine) -> None:
    """Bring the tables up to date, in one transaction. Works for any database that the store supports."""
    config = _config()
    with engine.begin() as connection:
        if MigrationContext.configure(connection).get_current_revision() == _head(config):
            return
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _head(config: Config) -> str | None:
    return ScriptDirectory.from_config(config).get_current_head()


def _same_file(path: Path, where: str) -> Callable[[], None]:
    """A guard against writing into a file that was deleted or replaced: SQLite would not notice, and the records
    would be gone with the last process that has it open."""
    born = os.stat(path).st_ino

    def check() -> None:
        try:
            now = os.stat(path).st_ino
        except OSError as error:
            raise LedgerError(f"{where}: the file has been deleted while in use; restart to make a new one") from error
        if now != born:
            raise LedgerError(f"{where}: the file has been replaced while in use; restart to use the new one")

    return check


def _refuse_writes(where: str) -> Callable[[], None]:
    def refuse() -> None:
        raise LedgerError(f"{where}: opened for reading only")

    return refuse
