"""One daemon a ledger: a lock file beside it, held as long as the process lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from watchdog.errors import LedgerError


class LedgerLock:
    """Held from `acquire` to `release`; the kernel lets go of it if the process dies."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(ledger.name + ".lock")
        self._ledger = ledger
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take it, or raise LedgerError that names the process that has it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise LedgerError(
                f"ledger {self._ledger}: in use by another budget-watchdog (pid {holder}); stop that one, or give this "
                "one a ledger of its own"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def is_held_by_other(self) -> bool:
        """Whether a daemon is running on this ledger."""
        try:
            self.acquire()
        except LedgerError:
            return True
        except OSError:
            return False
        self.release()
        return False

    def release(self) -> None:
        """Let go. The file stays: removing it would race with another that has just opened it."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None
