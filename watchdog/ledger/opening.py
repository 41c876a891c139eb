"""From an address to a ledger that is ready for use."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from watchdog.errors import LedgerError
from watchdog.ledger.location import AUTO, default_address, locate
from watchdog.ledger.lock import COMMAND, LedgerLock
from watchdog.ledger.memory import MemoryLedger

if TYPE_CHECKING:
    from watchdog.ledger.store import SqlLedger

#: The owner of a store gives a sign of life so often, in seconds (see `lease.EXPIRE_S`).
RENEW_S = 10.0

LedgerStore: TypeAlias = "MemoryLedger | SqlLedger"


@dataclass(slots=True)
class OpenLedger:
    """A ledger, the file it is in (None: memory), and the lock held on it (None: not ours alone)."""

    store: LedgerStore
    path: Path | None
    lock: LedgerLock | None

    async def close(self) -> None:
        """Close it and let others in."""
        try:
            await self.store.close()
        finally:
            if self.lock is not None:
                self.lock.release()

    async def keep(self, lost: Callable[[str], None]) -> None:
        """Give signs of life, until cancelled; `lost` is told why the store is not ours any more, if that comes to
        pass. A store that cannot be written is not lost for that."""
        if isinstance(self.store, MemoryLedger) or (lease := self.store.lease) is None:
            return
        sentence = ""
        while not sentence:
            await asyncio.sleep(RENEW_S)
            with contextlib.suppress(LedgerError):
                await self.store.renew()
            sentence = lease.lost
        lost(sentence)


def path_of(address: str, config: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file behind the setting `ledger`; None is memory. `config` is the configuration file, if there is one."""
    folder = config.parent if config is not None else Path()
    return locate(default_address(environ, config) if address == AUTO else address, folder).path


def is_writable(path: Path) -> bool:
    """Whether a ledger at this path could be made or used at all."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.R_OK | os.W_OK))


def foresee(path: Path | None) -> str:
    """What opening the ledger will find, in a few words, without altering anything. Raises LedgerError if it could not
    be opened or made."""
    if path is None:
        return "is kept in memory and lost at the end"
    from watchdog.ledger.sqlite import examine  # SQLAlchemy takes a while to load

    version = examine(path)
    try:
        if not is_writable(path):
            user = f"this user (uid {os.geteuid()})"
            raise LedgerError(f"ledger {path}: {user} cannot write there; make it writable, or name another place")
        if version is not None:
            return "is there"
        return "will be made" if path.parent.exists() else "will be made, and its folder, which does not exist"
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error.strerror}; make its folder accessible") from error


def open_configured(
    address: str, config: Path | None, environ: Mapping[str, str], role: str = COMMAND
) -> tuple[OpenLedger, str]:
    """The ledger that the setting `ledger` names, as `open_exclusively` gives it, and a warning if it is not where it
    should be. One that somebody asked for must work; the default place gives way to memory where it cannot be written,
    as in a container without a volume."""
    path = path_of(address, config, environ)
    if address != AUTO or path is None or is_writable(path):
        return open_exclusively(path, role), ""
    text = f"the ledger is kept in memory and lost at the end, since {path} cannot be written; set `ledger`"
    return open_exclusively(None), text


def open_exclusively(path: Path | None, role: str = COMMAND) -> OpenLedger:
    """For the one process that aborts runs: locked against a second one, created and migrated. `role` is DAEMON for the
    one that takes orders.

    Raises LedgerError if it cannot be used, with nothing altered.
    """
    if path is None:
        return OpenLedger(MemoryLedger(), None, None)
    from watchdog.ledger.sqlite import Signature, open_sqlite  # SQLAlchemy takes a while to load

    lock = LedgerLock(path, role)
    try:
        path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise LedgerError(f"ledger {path}: {error.strerror}: {error.filename}; make its folder writable") from error
    try:
        signature = Signature(lock.owner, lock.predecessors)
        return OpenLedger(open_sqlite(path, signature=signature), path, lock)
    except BaseException:
        with contextlib.suppress(OSError):
            lock.release()
        raise


def open_beside(path: Path | None, *, read_only: bool = False) -> OpenLedger:
    """For commands that work on the file whether or not a daemon is running. They do not change the tables under one
    that is; an older one would not understand them."""
    if path is None:
        raise LedgerError("the ledger is in memory (`ledger: memory`), so there is nothing to open")
    from watchdog.ledger.sqlite import open_sqlite

    may_upgrade = not read_only and not LedgerLock(path).is_held_by_other()
    return OpenLedger(open_sqlite(path, read_only=read_only, may_upgrade=may_upgrade), path, None)


def daemon_is_running(path: Path) -> bool:
    """Whether a process that takes orders has the ledger."""
    return LedgerLock(path).is_held_by_daemon()
