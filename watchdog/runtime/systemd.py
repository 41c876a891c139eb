"""What systemd is told of the daemon: that it is ready, how it stands, that it is alive, that it ends.

The protocol is sd_notify(3): assignments, one a line, in a datagram to the socket named by NOTIFY_SOCKET. Spoken by
hand, it is a few lines, and no dependency. Where the variable is not set nothing happens; and nothing that happens on
the socket disturbs the daemon: it is told once, in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from watchdog.errors import ConfigurationError, WatchdogError

T = TypeVar("T")

_log = logging.getLogger("budget_watchdog.systemd")

#: The status is renewed at least this often, in seconds; pings for the watchdog go with it.
STATUS_S = 5.0
#: Opening the ledger may migrate it, or read a large one through: so long it may take, in seconds.
OPENING_S = 600.0
#: While it starts or stops, each beat asks for so many seconds more.
EXTEND_S = 30.0
#: Longer ones are cut: a status is a line.
_STATUS_CHARS = 500
#: Messages that could not be sent yet and must not get lost are kept, the newest of them.
_OWED_MAX = 8
#: The receiver is there, but takes nothing right now: try again at the next beat.
_BUSY = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.EINTR})


class Systemd:
    """The service manager at the other end of the socket, if there is one.

    `watchdog_s`: it wants a ping at least this often, in seconds; None if it wants none (WATCHDOG_USEC is not set, or
    WATCHDOG_PID names another process; sd_watchdog_enabled(3)). `redact` takes secrets out of what is told.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._failed = False
        self._address = self._address_in(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = self._watchdog_s(environ) if self._address else None
        self._socket: socket.socket | None = None
        self._owed: list[str] = []

    @property
    def is_there(self) -> bool:
        """Whether anybody wants to be told."""
        return self._address is not None

    def starting(self, status: str, *, within_s: float) -> None:
        """The start goes on, and may take so many seconds more (it counts only beyond TimeoutStartSec)."""
        self._tell(_extend(within_s), _status(status), must=False)

    def ready(self, status: str) -> None:
        """The start is done."""
        self._tell("READY=1", _status(status))

    def reloading(self) -> None:
        """Rules are read anew from now on, until `ready`."""
        usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={usec}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", _extend(EXTEND_S), _status(status))

    def beat(self, status: str, *, ping: bool, extend: bool) -> None:
        """How it stands; with a ping for the watchdog, and asking for more time, if so said."""
        lines = [_status(status)]
        if ping and self.watchdog_s is not None:
            lines.append("WATCHDOG=1")
        if extend:
            lines.append(_extend(EXTEND_S))
        self._tell(*lines, must=False)

    def failed(self, error: WatchdogError) -> None:
        """The closing sentence, for `systemctl status`; with the number of the system's error, if one is behind it."""
        lines = [_status(_sentence(error))]
        if isinstance(error.__cause__, OSError) and error.__cause__.errno:
            lines.append(f"ERRNO={error.__cause__.errno}")
        self._tell(*lines)

    @contextlib.contextmanager
    def told_of_the_end(self) -> Iterator[None]:
        """Tell how this ends, and close the socket."""
        try:
            yield
            self._tell(_status("stopped"))
        except WatchdogError as error:
            self.failed(error)
            raise
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # Sending

    def _tell(self, *lines: str, must: bool = True) -> None:
        """Send one message, after those that are owed; `must` is for those that make a difference for good."""
        if self._address is None:
            return
        self._owed.append(self._redact("\n".join(lines)))
        while self._owed and self._sent(self._owed[0]):
            del self._owed[0]
        if self._owed and not must:
            del self._owed[-1]
        del self._owed[:-_OWED_MAX]

    def _sent(self, message: str) -> bool:
        """Never waits: systemd may be busy, and nothing here is worth holding up an abort."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            assert self._address is not None
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            if error.errno not in _BUSY:
                self._complain(f"cannot tell systemd how it stands: {error.strerror}")
            return False
        return True

    def _complain(self, sentence: str) -> None:
        if not self._failed:
            _log.warning("%s; the daemon goes on without", sentence)
        self._failed = True

    # The environment

    def _address_in(self, text: str) -> str | None:
        """A path, or a name in the abstract namespace (written with an @)."""
        if text.startswith("@"):
            return "\0" + text[1:]
        if text and not text.startswith("/"):
            self._complain(f"NOTIFY_SOCKET is {text!r}, which is neither a path nor an abstract name")
            return None
        return text or None

    def _watchdog_s(self, environ: Mapping[str, str]) -> float | None:
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        if not usec or (pid and pid != str(os.getpid())):
            return None
        if not usec.isdecimal() or int(usec) == 0:
            self._complain(f"WATCHDOG_USEC is {usec!r}, not a number of microseconds")
            return None
        return int(usec) / 1e6


class Heartbeat:
    """Tells systemd, if it is there, over and over how it stands; pings go with it only while all is alive. The log
    tells what has come to a stand in any case.

    It is a task of the daemon's event loop, so a loop that hangs sends nothing. `stuck` says what else does not go on
    though it should (None: all does): then the pings end too, and systemd restarts the service. A machine that stood
    still makes everything look late at once, so only what is still stuck one beat later counts.
    """

    def __init__(self, systemd: Systemd, status: Callable[[], str], stuck: Callable[[], str | None]) -> None:
        self._systemd = systemd
        self._status = status
        self._stuck = stuck
        self._phase = "starting"
        self._suspected = False
        self._told: str | None = None

    @property
    def period_s(self) -> float:
        """Seconds between two beats: at most half of what the watchdog allows, as sd_watchdog_enabled(3) advises."""
        watchdog_s = self._systemd.watchdog_s
        return STATUS_S if watchdog_s is None else min(STATUS_S, watchdog_s / 2)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(self.period_s)

    def beat(self) -> None:
        """One beat. It must not end with an error: that would be taken for a hang."""
        stuck, status = _sure(self._stuck_for_sure, None), _sure(self._line, "running")
        self._tell_change(stuck)
        if stuck is not None:
            status = f"{stuck}; to be restarted" if self._systemd.watchdog_s is not None else stuck
        underway = self._phase != "ready"
        self._systemd.beat(status, ping=stuck is None, extend=underway and stuck is None)

    def ready(self) -> None:
        """The daemon watches at least one account, or has tried to for each. Told once, however often called."""
        if self._phase == "starting":
            self._phase = "ready"
            self._systemd.ready(self._line())

    @contextlib.contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload. Before the daemon is ready, and while it stops, nothing is told: READY=1 would be a lie."""
        told = self._phase == "ready"
        if told:
            self._systemd.reloading()
        try:
            yield
        finally:
            if told:
                self._systemd.ready(self._line())

    def stopping(self) -> None:
        """The daemon ends."""
        self._phase = "stopping"
        self._systemd.stopping(self._line())

    def _line(self) -> str:
        return self._status() if self._phase == "ready" else f"{self._phase}: {self._status()}"

    def _stuck_for_sure(self) -> str | None:
        stuck, before = self._stuck(), self._suspected
        self._suspected = stuck is not None
        return stuck if before else None

    def _tell_change(self, stuck: str | None) -> None:
        if stuck == self._told:
            return
        self._told = stuck
        if stuck is None:
            _log.warning("all parts of the daemon go on again")
        else:
            end = "no more pings to systemd" if self._systemd.watchdog_s is not None else "restart the daemon"
            _log.error("internal error: %s; %s", stuck, end)


def _sure(ask: Callable[[], T], otherwise: T) -> T:
    """The answer, or another in its place if there is none: a fault of ours in it is to be seen, and to do no harm."""
    try:
        return ask()
    except Exception:  # noqa: BLE001  # what tells systemd how we are must not end us; the log has it
        _log.exception("internal error: the daemon cannot say how it stands")
        return otherwise


def _status(text: str) -> str:
    """A line of status. What else is in the text must not be taken for assignments."""
    line = " ".join(text.split())
    return "STATUS=" + (line if len(line) <= _STATUS_CHARS else line[: _STATUS_CHARS - 3] + "...")


def _extend(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"


def _sentence(error: WatchdogError) -> str:
    """The error as one line: of many mistakes the first, and how many there are."""
    if isinstance(error, ConfigurationError) and len(error.problems) > 1:
        return f"{error.problems[0]} (and {len(error.problems) - 1} more; see the journal)"
    return str(error)
