"""The HTTP server: uvicorn as a guest in the daemon's event loop, which keeps its own signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Generator
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from watchdog.errors import StartupError

_BACKLOG = 128
_MAX_CONNECTIONS = 100
_MAX_HEAD_BYTES = 16 * 1024
#: Longer than the scrape intervals that matter, so that Prometheus need not connect anew each time.
_KEEP_ALIVE_S = 65
#: How long a connection may make no headway: a head that never ends, an answer that nobody reads.
_PATIENCE_S = 75.0
#: What `stop` leaves to answers under way, and then to the end of the server itself; together below 1 s.
_GRACE_S = 0.5
_LAST_WAIT_S = 0.4


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 lets the system choose, an empty host is every interface.

    Raises StartupError with one sentence on what is wrong and what to do.
    """
    where = f"{_bracketed(host)}:{port}"
    unavailable: OSError | None = None
    for address in _resolve(host, port, where):
        try:
            return _listen(address)
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise StartupError(_explain(error, where)) from error
            unavailable = unavailable or error
    assert unavailable is not None  # getaddrinfo gives at least one address or raises
    raise StartupError(_explain(unavailable, where)) from unavailable


class _Address(NamedTuple):
    family: socket.AddressFamily
    sockaddr: tuple[str | int | bytes, ...]


def _resolve(host: str, port: int, where: str) -> list[_Address]:
    if not 0 <= port <= 65535:
        raise StartupError(f"cannot listen on {where}: a port is a number from 0 to 65535")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, ValueError) as error:  # ValueError: a name that no lookup can take
        raise StartupError(f"cannot listen on {where}: the host name cannot be resolved; use an address") from error
    return [_Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def _listen(address: _Address) -> socket.socket:
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        # Without it a restart would fail for a minute, as long as old connections are in TIME_WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address.sockaddr)
        # Two sockets may both be bound to a port; only listening tells that it is taken.
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _explain(error: OSError, where: str) -> str:
    reasons = {
        errno.EADDRINUSE: "the port is in use; stop the other program or choose another with `listen`",
        errno.EADDRNOTAVAIL: "this machine has no such address; change `listen`",
        errno.EAFNOSUPPORT: "this machine does not support that kind of address; change `listen`",
        errno.EACCES: "permission denied; ports below 1024 need a privilege, choose a higher one with `listen`",
        errno.EPERM: "permission denied by the system",
    }
    reason = reasons.get(error.errno or 0) or os.strerror(error.errno or 0)
    return f"cannot listen on {where}: {reason}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class _Guest(uvicorn.Server):
    """uvicorn without its signal handlers: in `serve`, they are all that this context sets up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class WebServer:
    """Serves an ASGI application on a socket from `bind`, which it owns and closes. For one start and one stop.

    `patience_s`: seconds after which a connection that makes no headway is dropped.
    """

    def __init__(self, app: ASGIApp, listener: socket.socket, *, patience_s: float = _PATIENCE_S) -> None:
        self._listener = listener
        self._patience_s = patience_s
        self._server = _Guest(_settings(app))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The port in use, also where the system chose it."""
        return int(self._listener.getsockname()[1])

    async def start(self) -> None:
        """Returns when requests are answered."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="web server")
        self._tasks = [serving, asyncio.create_task(self._drop_stuck(), name="web server: stuck connections")]
        while not self._server.started:
            if serving.done():
                await self.stop()
                raise StartupError("the web server ended before it began") from serving.exception()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Ends within a second: answers under way get a moment, then every connection is cut. Twice is harmless."""
        self._server.should_exit = True
        if self._tasks:
            serving, dropping = self._tasks
            dropping.cancel()
            await asyncio.wait([serving], timeout=_GRACE_S)
            self._server.force_exit = True
            for connection in self._connections():
                connection.transport.abort()
            await asyncio.wait([serving], timeout=_LAST_WAIT_S)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._listener.close()

    def _connections(self) -> list[H11Protocol]:
        return [each for each in self._server.server_state.connections if isinstance(each, H11Protocol)]

    async def _drop_stuck(self) -> None:
        """Cut connections without headway: uvicorn has no time-out for them, and enough of them would keep
        Prometheus out."""
        now = asyncio.get_running_loop().time
        known: dict[H11Protocol, _Headway] = {}
        while True:
            await asyncio.sleep(self._patience_s / 5)
            known = {each: _headway(each, known.get(each), now()) for each in self._connections()}
            for connection, headway in known.items():
                if now() - headway.since > self._patience_s:
                    connection.transport.abort()


class _Headway(NamedTuple):
    """How far a connection has come (its request, bytes still to be read by the client), and since when."""

    cycle: object
    unread: int
    since: float


def _headway(connection: H11Protocol, before: _Headway | None, now: float) -> _Headway:
    cycle, unread = connection.cycle, connection.transport.get_write_buffer_size()
    if before is not None and before.cycle is cycle and before.unread == unread:
        return before
    return _Headway(cycle, unread, now)


def _settings(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=H11Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        limit_concurrency=_MAX_CONNECTIONS,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
