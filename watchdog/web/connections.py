"""Who may hold a connection, and for how long: whatever clients do, there is room for one that asks how we are.

Beyond a bound it is not the newest connection that goes, but the one that has kept us waiting for longest; so 100
clients that say nothing keep neither a liveness probe nor Prometheus out. And no connection waits for its client for
ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: From so many on, one of those that keep us waiting goes for each that comes, if it has done so for some time ...
CONNECTIONS_MAX = 100
_GRACE_S = 1.0
#: ... and from so many on without further ado: files left open are what the calls to the platforms need, too.
_TOO_MANY_CONNECTIONS = 200
#: TLS handshakes under way; beyond it the oldest one goes.
_HANDSHAKES_MAX = 50
_HANDSHAKE_S = 10.0
#: After a connection that could not be taken, for want of files for example: so many seconds until the next try.
_PAUSE_S = 0.5

_log = logging.getLogger("budget_watchdog.web")


class Phase(enum.Enum):
    """What a connection waits for."""

    SILENT = "its first request"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    ANSWER = "an answer to be read"
    IDLE = "another request"
    WORK = "our answer"


#: How long a connection may stay in a phase, in units of the patience of the server. One that is idle has a time-out of
#: its own, and our own work is bounded elsewhere.
_PATIENCE = {Phase.SILENT: 1.0, Phase.HEAD: 1.0, Phase.BODY: 1.0, Phase.ANSWER: 6.0}
#: Who has asked for something before goes after those who have not.
_SUSPICIOUS = frozenset({Phase.SILENT, Phase.HEAD, Phase.BODY})


class _Waiting(NamedTuple):
    phase: Phase
    request: object
    since: float


class Connection(H11Protocol):
    """A connection that knows whom it waits for."""

    waiting: _Waiting | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        make_room(self._others(), self.loop.time())

    def _others(self) -> list[Connection]:
        return [each for each in self.connections if isinstance(each, Connection) and each is not self]

    def send_400_response(self, msg: str) -> None:
        """Nothing is left to say to a client whose nonsense comes behind a request that is being answered."""
        with contextlib.suppress(h11.LocalProtocolError):
            super().send_400_response(msg)
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing: the request is answered as if it had not asked for more."""

    def look(self, now: float) -> _Waiting:
        """What it waits for, and since when (in seconds of the loop) it has done so."""
        phase = self._phase()
        if self.waiting is None or self.waiting[:2] != (phase, self.cycle):
            self.waiting = _Waiting(phase, self.cycle, now)
        return self.waiting

    def _phase(self) -> Phase:
        if self.transport.get_write_buffer_size() > 0:
            return Phase.ANSWER
        if self.cycle is not None and not self.cycle.response_complete:
            return Phase.BODY if self.conn.their_state is h11.SEND_BODY else Phase.WORK
        if self.conn.their_state is h11.SEND_BODY:
            return Phase.BODY
        if self.conn.trailing_data[0]:
            return Phase.HEAD
        return Phase.SILENT if self.cycle is None else Phase.IDLE


def make_room(others: Iterable[Connection], now: float) -> None:
    """For one more connection than these: let one go, if there are many, that has kept us waiting for longest."""
    open_ones = [each for each in others if not each.transport.is_closing()]
    if len(open_ones) < CONNECTIONS_MAX:
        return
    waiting = [(each, each.look(now)) for each in open_ones]
    least_s = 0.0 if len(open_ones) >= _TOO_MANY_CONNECTIONS else _GRACE_S
    found = [each for each in waiting if each[1].phase is not Phase.WORK and now - each[1].since >= least_s]
    if found:
        longest, _ = min(found, key=lambda each: (each[1].phase not in _SUSPICIOUS, each[1].since))
        longest.transport.abort()


def cut_slow(connections: Iterable[Connection], now: float, patience_s: float) -> None:
    """Cut those that have waited for their client for too long. Bytes that drip in or out do not make it shorter."""
    for each in connections:
        waiting = each.look(now)
        if now - waiting.since > patience_s * _PATIENCE.get(waiting.phase, float("inf")):
            each.transport.abort()


class Listener:
    """Takes connections from a listening socket, each in turn with the rest of the loop. It stands where uvicorn has
    asyncio's own server, which does not count those that are in a TLS handshake."""

    def __init__(
        self, sock: socket.socket, make: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None, sparing: Sparing
    ) -> None:
        self._sock = sock
        self._make = make
        self._tls = tls
        self._sparing = sparing
        self._opening: dict[asyncio.Task[None], None] = {}
        self._accepting = asyncio.create_task(self._accept(), name="web server: new connections")

    def close(self) -> None:
        """Take no more, and let go of those that are not there yet."""
        for task in (self._accepting, *self._opening):
            task.cancel()

    async def wait_closed(self) -> None:
        """Until that is done."""
        await asyncio.gather(self._accepting, *self._opening, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, _ = await loop.sock_accept(self._sock)
            except OSError as error:
                self._sparing.tell(_log, "a connection could not be taken: %s", error.strerror)
                await asyncio.sleep(_PAUSE_S)
                continue
            if len(self._opening) >= _HANDSHAKES_MAX:
                next(iter(self._opening)).cancel()
            task = asyncio.create_task(self._open(taken), name="web server: a new connection")
            self._opening[task] = None
            task.add_done_callback(lambda done: self._opening.pop(done, None))
            # A connection that waits already is taken without a pause.
            await asyncio.sleep(0)

    async def _open(self, taken: socket.socket) -> None:
        patience_s = None if self._tls is None else _HANDSHAKE_S
        # What goes wrong here is the client's: it has gone, or speaks no TLS.
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make, taken, ssl=self._tls, ssl_handshake_timeout=patience_s
            )


class Sparing(logging.Filter):
    """Lets a warning through once in `every_s` seconds, with the number of those that it stands for: what anybody can
    bring about from outside must not fill the disk."""

    def __init__(self, every_s: float = 60.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._told_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """For a logger of somebody else."""
        if record.levelno < logging.WARNING:
            return True
        count = self._count(record.msg)
        if count > 1:
            record.msg, record.args = f"{record.getMessage()} (%d times)", (count,)
        return count > 0

    def tell(self, log: logging.Logger, text: str, *args: object) -> None:
        """A warning of our own."""
        count = self._count(text)
        if count:
            log.warning(f"{text} (%d times)" if count > 1 else text, *args, *([count] if count > 1 else []))

    def _count(self, text: str) -> int:
        """How many times it is to be told that this has come; 0: not now."""
        now = time.monotonic()
        self._unsaid[text] = self._unsaid.get(text, 0) + 1
        if now - self._told_s.get(text, float("-inf")) < self._every_s:
            return 0
        self._told_s[text] = now
        return self._unsaid.pop(text)
