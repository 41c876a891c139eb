"""The HTTP server: uvicorn as a guest in the daemon's event loop, which keeps its own signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import stat
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from watchdog.errors import StartupError
from watchdog.web.connections import Connection, Listener, Sparing, cut_slow

_BACKLOG = 128
_MAX_HEAD_BYTES = 16 * 1024
#: Longer than the scrape intervals that matter, so that Prometheus need not connect anew each time.
_KEEP_ALIVE_S = 65
#: How long we wait for a client: for its request, and six times as long until it has read an answer. A liveness probe
#: of Kubernetes that finds no place is not allowed for long.
_PATIENCE_S = 10.0
_LOOK_S = 1.0
#: What `stop` leaves to answers under way, and then to the end of the server itself; together below 1 s.
_GRACE_S = 0.5
_LAST_WAIT_S = 0.4
_uvicorn_log = logging.getLogger("uvicorn.error")


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


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket for its owner only. What an earlier process left behind at this path is removed.

    Raises StartupError with one sentence on what is wrong and what to do.
    """
    problem = _parent_problem(path.parent)
    if problem:
        raise StartupError(f"cannot listen on the socket {path}: {problem}; change `web.socket`")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(str(path))
        # Nobody can connect before `listen`, so nobody ever finds it open to all.
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartupError(f"cannot listen on the socket {path}: {reason}; change `web.socket`") from error
    except BaseException:
        listener.close()
        raise
    return listener


def _parent_problem(folder: Path) -> str:
    """Why a socket in this folder could not be trusted, or ""."""
    try:
        found = folder.stat()
    except OSError as error:
        return f"its folder {folder} cannot be used: {os.strerror(error.errno or 0)}"
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is not a folder"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX:
        return f"others can write to its folder {folder} and could put a socket of their own in its place"
    return ""


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise StartupError(f"cannot listen on the socket {path}: there is something else of this name, which is kept")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        with contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
            probe.connect(str(path))
            raise StartupError(f"cannot listen on the socket {path}: another process does so already")
    path.unlink(missing_ok=True)


class _SocketFile:
    """The file of a Unix socket, which does not go with the socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._path = Path(listener.getsockname())
        self._identity = self._found()

    def remove(self) -> None:
        """Take it away, unless it is the file of a later socket."""
        if self._identity is not None and self._found() == self._identity:
            self._path.unlink(missing_ok=True)

    def _found(self) -> tuple[int, int] | None:
        try:
            found = self._path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class _Guest(uvicorn.Server):
    """uvicorn without its signal handlers: in `serve`, they are all that this context sets up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.sparing = Sparing()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it, but each connection is counted from its first moment."""
        context = self.config.ssl
        connection = partial(Connection, config=self.config, server_state=self.server_state, app_state={})
        self.servers = [Listener(listener, connection, context, self.sparing) for listener in sockets or ()]  # type: ignore[misc]  # all that is asked of them is to close
        self.started = True


class WebServer:
    """Serves an ASGI application on a socket from `bind`, which it owns and closes. For one start and one stop.

    `tls`: the context of an HTTPS server; None is plain HTTP. `patience_s`: how many seconds a client may take for a
    request; for an answer six times as many.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        *,
        tls: ssl.SSLContext | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._listener = listener
        self._file = _SocketFile(listener) if listener.family is socket.AF_UNIX else None
        self._patience_s = patience_s
        self._server = _Guest(_settings(app, tls))
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def port(self) -> int:
        """The port in use, also where the system chose it."""
        return int(self._listener.getsockname()[1])

    async def start(self) -> None:
        """Returns when requests are answered."""
        _uvicorn_log.addFilter(self._server.sparing)
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]), name="web server")
        self._tasks = [serving, asyncio.create_task(self._cut_slow(), name="web server: slow connections")]
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
        _uvicorn_log.removeFilter(self._server.sparing)
        self._listener.close()
        if self._file is not None:
            self._file.remove()

    def _connections(self) -> list[Connection]:
        return [each for each in self._server.server_state.connections if isinstance(each, Connection)]

    async def _cut_slow(self) -> None:
        """uvicorn has no time-out but for idle connections."""
        while True:
            await asyncio.sleep(min(_LOOK_S, self._patience_s / 5))
            cut_slow(self._connections(), asyncio.get_running_loop().time(), self._patience_s)


def _settings(app: ASGIApp, tls: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Connection,
        ssl_context_factory=None if tls is None else lambda *_: tls,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
