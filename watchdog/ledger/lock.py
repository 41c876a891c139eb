"""One daemon a ledger: a lock file beside it, held as long as the process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from watchdog.errors import LedgerError

#: A command that only looks whether a daemon is running holds the lock for an instant: try again for so long, seconds.
_PATIENCE_S = 0.5
_PAUSE_S = 0.05


#: The role of a process that takes orders, and of one that does one thing and ends.
DAEMON = "daemon"
COMMAND = "command"


class LedgerLock:
    """Held from `acquire` to `release`; the kernel lets go of it if the process dies."""

    def __init__(self, ledger: Path, role: str = COMMAND) -> None:
        # Two names of one file (a symbolic link, a path with `..`) must meet at one lock.
        real = Path(os.path.realpath(ledger))
        self._path = real.with_name(real.name + ".lock")
        self._ledger = ledger
        self._role = role
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take it, or raise LedgerError that names the process that has it; OSError if the folder cannot be written."""
        end = time.monotonic() + _PATIENCE_S
        while not self._try():
            if time.monotonic() > end:
                pid, role = self._holder()
                if self._role == COMMAND and role == DAEMON:
                    raise LedgerError(
                        f"ledger {self._ledger}: a daemon (pid {pid}) is on duty; use `once --dry-run`, or stop it"
                    )
                raise LedgerError(
                    f"ledger {self._ledger}: in use by another budget-watchdog (pid {pid}); stop that one, or give "
                    "this one a ledger of its own"
                )
            time.sleep(_PAUSE_S)
        self._sign()

    def _sign(self) -> None:
        """Write whose it is. On a full disk it stays unsigned: the lock holds all the same."""
        assert self._fd is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {self._role}".strip().encode() + b"\n", 0)

    def _try(self) -> bool:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_still(fd):
                # Somebody removed the file between our opening and locking it: a lock on nothing.
                os.close(fd)
                return False
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def _is_still(self, fd: int) -> bool:
        ours, there = os.fstat(fd), os.stat(self._path)
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def _holder(self) -> tuple[str, str]:
        """Pid and role of the process that has it, as far as it could write them down."""
        try:
            words = self._path.read_text(encoding="ascii", errors="replace").split()
        except OSError:
            words = []
        return words[0] if words else "unknown", words[1] if len(words) > 1 else ""

    def is_held_by_daemon(self) -> bool:
        """Whether the process that has it takes orders; one that looks once, or aborts one run, does not. One that
        could not sign (a full disk) counts as a daemon."""
        return self.is_held_by_other() and self._holder()[1] != COMMAND

    def is_held_by_other(self) -> bool:
        """Whether another process has it."""
        if self._fd is not None or not self._path.exists():
            return False
        try:
            free = self._try()
        except OSError:
            return False
        if free:
            self._let_go()
        return not free

    def release(self) -> None:
        """Let go. The file stays: removing it would race with another that has just opened it."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            self._let_go()

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
