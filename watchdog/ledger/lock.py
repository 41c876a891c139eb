"""One daemon a ledger: a lock file beside it, held as long as the process lives.

Whoever holds it proves by that that those who signed it before have ended: then the row that says who owns the store
(`lease`) needs no waiting for. All of the latest are kept, not the last alone: one that was killed between its
signature and the row leaves the row to the one before it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
import uuid
from pathlib import Path

from watchdog.errors import LedgerError

#: A command that only looks whether a daemon is running holds the lock for an instant: try again for so long, seconds.
_PATIENCE_S = 0.5
_PAUSE_S = 0.05
#: So many signatures are kept, at 33 bytes each.
_SIGNATURES_MAX = 64
_BYTES_MAX = 4096


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
        #: As whom this process signs, and who signed before it, the last first.
        self.owner = uuid.uuid4().hex
        self.predecessors: tuple[str, ...] = ()

    def acquire(self) -> None:
        """Take it, or raise LedgerError that names the process that has it, or says that the file cannot be a lock;
        OSError if the folder cannot be written."""
        end = time.monotonic() + _PATIENCE_S
        while not self._try():
            if time.monotonic() > end:
                pid, role, _ = self._holder()
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
        self.predecessors = self._holder()[2]
        with contextlib.suppress(OSError):
            self._write(f"{os.getpid()} {self._role}")

    def _write(self, who: str) -> None:
        """Over what is there, and to the disk: neither a kill nor a power cut may leave the row without its proof."""
        assert self._fd is not None
        line = f"{' '.join((who, self.owner, *self.predecessors[: _SIGNATURES_MAX - 1]))}\n".encode()
        os.pwrite(self._fd, line, 0)
        os.ftruncate(self._fd, len(line))
        os.fsync(self._fd)

    def _try(self) -> bool:
        fd = self._open(os.O_RDWR | os.O_CREAT)
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

    def _open(self, flags: int) -> int:
        """The file itself: what a link points to is nothing of ours, and would be overwritten."""
        try:
            fd = os.open(self._path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise self._no_file() from error
            raise
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(fd)
            raise self._no_file()
        return fd

    def _no_file(self) -> LedgerError:
        return LedgerError(
            f"ledger {self._ledger}: its lock file {self._path} is a link, or no file at all, and is left alone; "
            "remove it, and see who put it there"
        )

    def _is_still(self, fd: int) -> bool:
        ours, there = os.fstat(fd), os.stat(self._path)
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def _holder(self) -> tuple[str, str, tuple[str, ...]]:
        """Pid and role of the process that has it, or had it last, as far as it could write them down; its signature,
        and those before it."""
        try:
            fd = self._open(os.O_RDONLY)
        except (OSError, LedgerError):
            return "unknown", "", ()
        try:
            line, _, _ = os.pread(fd, _BYTES_MAX, 0).decode("ascii", "replace").partition("\n")
        finally:
            os.close(fd)
        words = line.split()
        return words[0] if words else "unknown", words[1] if len(words) > 1 else "", tuple(words[2:])

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
        except (OSError, LedgerError):
            return False
        if free:
            self._let_go()
        return not free

    def release(self) -> None:
        """Let go. The file stays: removing it would race with another that has just opened it."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                # Who it was is still a proof, should the row that says so not have been written.
                self._write("unknown -")
            self._let_go()

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
