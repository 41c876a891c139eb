"""Standard error written by a thread, so that nobody who says something ever waits for whoever should read it.

A pipe that nobody reads takes 64 KiB; then a write to it waits, for ever if need be. So what is said goes into a
bounded queue and a thread writes it. What finds the queue full is lost, counted, and told where it would have stood
once the pipe flows again.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

#: So much may wait to be written. It is more than a busy hour says, and little beside what the daemon needs anyway.
WAITING_MAX_BYTES = 2 * 1024 * 1024
#: At the end, what waits gets so many seconds to be written.
LAST_WAIT_S = 1.0


def _in_words(lost: int) -> str:
    return f"budget-watchdog: {lost} lines are missing here, since they were not read or could not be written"


class Outlet:
    """Text for one file descriptor, in the order in which it is given.

    `describe_loss` says in one line that so many lines are missing; it is called in the thread.
    """

    def __init__(self, fd: int, *, waiting_max_bytes: int = WAITING_MAX_BYTES) -> None:
        self.describe_loss: Callable[[int], str] = _in_words
        self._fd = fd
        self._max = waiting_max_bytes
        # May be entered again: a handler of a signal may say something while we are in here.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        #: Lines lost since the queue was full, and those before it that could not be written.
        self._gap = 0
        self._missed = 0
        self._lost = 0
        self._is_writing = False
        # Not waited for at the end of the process, as any other thread would be.
        threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def lost(self) -> int:
        """Lines that were lost since the start."""
        return self._lost

    def put(self, text: bytes) -> None:
        """Have it written, whole or not at all. Never waits."""
        with self._changed:
            is_full = self._waiting_bytes > 0 and self._waiting_bytes + len(text) > self._max
            # Behind lines that are lost nothing is taken until they can be told of: their place must show.
            if is_full or self._gap:
                self._gap += 1
                self._lost += 1
                return
            self._waiting.append(text)
            self._waiting_bytes += len(text)
            self._changed.notify_all()

    def drain(self, within_s: float = LAST_WAIT_S) -> None:
        """Wait until all is written, but only so many seconds."""
        end = time.monotonic() + within_s
        with self._changed:
            while (self._waiting or self._is_writing) and (left := end - time.monotonic()) > 0:
                self._changed.wait(left)

    def _run(self) -> None:
        while True:
            missed, texts, gap = self._take()
            is_written = self._write(b"".join([*self._loss(missed), *texts, *self._loss(gap)]))
            with self._changed:
                self._is_writing = False
                if not is_written:
                    self._missed = missed + len(texts) + gap
                    self._lost += len(texts)
                self._changed.notify_all()

    def _take(self) -> tuple[int, list[bytes], int]:
        """Everything that waits, with how many lines were lost before it and after it. Waits until there is some."""
        with self._changed:
            while not self._waiting:
                self._changed.wait()
            taken = self._missed, self._waiting, self._gap
            self._missed, self._waiting, self._gap, self._waiting_bytes = 0, [], 0, 0
            self._is_writing = True
        return taken

    def _loss(self, lines: int) -> list[bytes]:
        if not lines:
            return []
        with contextlib.suppress(Exception):  # whatever is wrong with the telling must not end the writing
            return [self.describe_loss(lines).encode("utf-8", "backslashreplace") + b"\n"]
        return []

    def _write(self, text: bytes) -> bool:
        """Whether it could be written. Where it cannot (a full disk, a closed pipe) nobody is there to tell."""
        while text:
            try:
                text = text[os.write(self._fd, text) :]
            except BlockingIOError:
                # Somebody else has set it not to wait.
                select.select([], [self._fd], [])
            except OSError:
                return False
        return True


class _Raw(io.RawIOBase):
    """What is printed to standard error goes the same way as the log."""

    def __init__(self, outlet: Outlet, fd: int) -> None:
        self.outlet = outlet
        self._fd = fd

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        text = bytes(data)
        self.outlet.put(text)
        return len(text)

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)


def outlet_of_stderr() -> Outlet | None:
    """The outlet that `sys.stderr` writes to from now on; None where that is no file of the system (within tests, or
    closed). What waits at the end of the process gets a moment to be written."""
    raw = getattr(getattr(sys.stderr, "buffer", None), "raw", None)
    if isinstance(raw, _Raw):
        return raw.outlet
    try:
        sys.stderr.flush()
        fd = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    outlet = Outlet(fd)
    atexit.register(outlet.drain)
    buffer = io.BufferedWriter(_Raw(outlet, fd))
    encoding, errors = sys.stderr.encoding, sys.stderr.errors or "backslashreplace"
    # Of its own kind: what that does to all text is done to this as well.
    kind = type(sys.stderr) if isinstance(sys.stderr, io.TextIOWrapper) else io.TextIOWrapper
    sys.stderr = kind(buffer, encoding, errors, line_buffering=True)
    return outlet
