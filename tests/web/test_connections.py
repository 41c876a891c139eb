"""Clients that hold connections, by the hundred: the one that asks how we are is answered all the same."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from watchdog.config.models import WebSettings
from watchdog.domain.arming import Arming
from watchdog.web import Check, Gate, WebServer, bind, create_app

pytestmark = pytest.mark.anyio

#: More than are let in, and more than are cut without further ado.
CROWDS = (120, 230)
#: Seconds within which something happens, on a busy machine.
SOON_S = 20.0
BIG = b"x" * 5_000_000
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

#: What a client sends, piece by piece, and whether it reads what it gets.
HABITS: dict[str, tuple[list[bytes], bool]] = {
    "silent": ([], False),
    "half a head": ([b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "], False),
    "a head that drips": ([b"GET /healthz HTTP/1.1\r\n", *[b"x"] * 1000], False),
    "half a body": ([b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc"], False),
    "half a body of a page": ([b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\nabc"], False),
    "reads nothing": ([b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"], False),
    "idle": ([b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], True),
    "nonsense": ([b"\x16\x03\x01 nonsense\r\n\r\n"], False),
}


class Healthy:
    def alive(self) -> bool:
        return True

    def arming(self) -> dict[str, Arming]:
        return {}

    def readiness(self) -> list[Check]:
        return []


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[WebServer]:
    gate = Gate(b"token", local=True, told=lambda *_: None)
    app = create_app(Healthy(), lambda accept: (BIG, "text/plain"), {}, gate)
    server = WebServer(app, bind("127.0.0.1", 0), **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class Crowd:
    """Clients of one habit, until the end of the test."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Crowd:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def join(self, pieces: list[bytes], reads: bool) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1024)
        self._writers.append(writer)
        for piece in pieces[:1]:
            writer.write(piece)
        if pieces[1:]:
            self._tasks.append(asyncio.create_task(self._drip(writer, pieces[1:])))
        if reads:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await reader.readuntil(b"\r\n\r\nok")
        return reader

    @staticmethod
    async def _drip(writer: asyncio.StreamWriter, pieces: list[bytes]) -> None:
        with contextlib.suppress(OSError):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.01)


async def health(port: int, tls: ssl.SSLContext | None = None) -> bytes:
    """What a probe gets that has a connection of its own."""
    async with asyncio.timeout(SOON_S):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
        )
        writer.write(HEALTH)
        answer = await reader.read()
        writer.close()
    return answer.partition(b"\r\n")[0]


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("size", CROWDS)
async def test_health_is_told_whatever_others_do(habit: str, size: int) -> None:
    pieces, reads = HABITS[habit]
    async with served() as server, Crowd(server.port) as crowd:
        for _ in range(size):
            await crowd.join(pieces, reads)
        for _ in range(3):
            assert await health(server.port) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("habit", sorted(set(HABITS) - {"idle", "nonsense"}))
async def test_a_slow_client_is_cut(habit: str) -> None:
    pieces, reads = HABITS[habit]
    async with served(patience_s=0.05) as server, Crowd(server.port) as crowd:
        reader = await crowd.join(pieces, reads)
        if habit == "reads nothing":
            await asyncio.sleep(1)
        async with asyncio.timeout(SOON_S):
            with contextlib.suppress(ConnectionError):
                assert len(await reader.read(-1)) < len(BIG)


async def test_who_asks_again_keeps_the_connection() -> None:
    """Prometheus, while others come and stay silent."""
    async with served() as server, Crowd(server.port) as crowd:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEALTH.replace(b"Connection: close\r\n", b""))
        await reader.readuntil(b"\r\n\r\nok")
        for _ in range(CROWDS[1]):
            await crowd.join([], False)
        writer.write(HEALTH)
        async with asyncio.timeout(SOON_S):
            assert b"\r\n\r\nok" in await reader.read()
        writer.close()


async def test_bad_requests_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with served() as server, Crowd(server.port) as crowd:
            for request in (
                b"nonsense\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n",
            ):
                for _ in range(50):
                    await (await crowd.join([request], False)).read(1)
            assert await health(server.port) == b"HTTP/1.1 200 OK"
    assert 0 < len(caplog.records) <= 3, [record.getMessage() for record in caplog.records]


@pytest.fixture
def web(tmp_path: Path) -> WebSettings:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return WebSettings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")


async def test_handshakes_that_never_end(web: WebSettings) -> None:
    async with served(tls=web.tls_context()) as server, Crowd(server.port) as crowd:
        readers = [await crowd.join([], False) for _ in range(120)]
        assert await health(server.port, ssl.create_default_context(cafile=str(web.tls_cert))) == b"HTTP/1.1 200 OK"
        cut = 0
        async with asyncio.timeout(SOON_S):
            for reader in readers[: 120 - 60]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                cut += 1
        assert cut == 60, "the oldest handshakes give way"
