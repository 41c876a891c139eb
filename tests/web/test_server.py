"""The server: binding with clear errors, being a guest in the loop, and stopping in time whatever clients do."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time

import httpx
import pytest
from starlette.responses import PlainTextResponse

from watchdog.errors import StartupError
from watchdog.web import WebServer, bind

BIG = b"x" * 20_000_000


async def hello(scope, receive, send):
    body = BIG if scope["path"] == "/big" else b"hello"
    await PlainTextResponse(body)(scope, receive, send)


@contextlib.asynccontextmanager
async def served(host="127.0.0.1", **options):
    server = WebServer(hello, bind(host, 0), **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def timed_stop(server):
    start = time.monotonic()
    await server.stop()
    return time.monotonic() - start


async def connect(server, request=b""):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(request)
    await writer.drain()
    return reader, writer


async def close(writer):
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def ipv6_works():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


class TestBind:
    def test_a_port_in_use(self):
        with bind("127.0.0.1", 0) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(StartupError, match=rf"cannot listen on 127\.0\.0\.1:{port}: the port is in use"):
                bind("127.0.0.1", port)

    def test_a_port_is_free_again_at_once(self):
        with bind("127.0.0.1", 0) as first:
            port = first.getsockname()[1]
            client = socket.create_connection(("127.0.0.1", port))
            accepted = None
            while accepted is None:
                with contextlib.suppress(BlockingIOError):
                    accepted, _ = first.accept()
            accepted.close()  # this side closes first and stays in TIME_WAIT
            client.close()
        bind("127.0.0.1", port).close()

    def test_an_address_of_somebody_else(self):
        with pytest.raises(StartupError, match="this machine has no such address"):
            bind("192.0.2.1", 0)

    def test_a_host_that_nobody_knows(self):
        with pytest.raises(StartupError, match="cannot be resolved"):
            bind("no-such-host.invalid", 9877)

    @pytest.mark.parametrize("host", ["a" * 70 + ".x", "nul\0"])
    def test_a_host_that_is_no_name(self, host):
        with pytest.raises(StartupError, match="cannot be resolved"):
            bind(host, 9877)

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_a_port_that_is_none(self, port):
        with pytest.raises(StartupError, match="from 0 to 65535"):
            bind("127.0.0.1", port)

    def test_permission_denied(self, monkeypatch):
        class Refused(socket.socket):
            def bind(self, address):
                raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(socket, "socket", Refused)  # tests may run as root, who may take any port
        with pytest.raises(StartupError, match=r"127\.0\.0\.1:80: permission denied"):
            bind("127.0.0.1", 80)

    def test_an_empty_host_is_every_interface(self):
        with bind("", 0) as listener:
            assert listener.getsockname()[0] in ("0.0.0.0", "::")

    def test_ipv6_is_written_with_brackets(self):
        with pytest.raises(StartupError, match=r"cannot listen on \[2001:db8::1\]:9877"):
            bind("2001:db8::1", 9877)


@pytest.mark.anyio
class TestServer:
    @pytest.mark.skipif(not ipv6_works(), reason="this machine has no IPv6")
    async def test_ipv6(self):
        async with served("::1") as server, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://[::1]:{server.port}/")).text == "hello"

    async def test_signals_stay_with_the_daemon(self):
        watched = (signal.SIGINT, signal.SIGTERM)
        before = [signal.getsignal(each) for each in watched]
        async with served():
            assert [signal.getsignal(each) for each in watched] == before
        assert [signal.getsignal(each) for each in watched] == before

    async def test_stops_quickly_with_idle_keep_alive_connections(self):
        async with served() as server, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}/")).text == "hello"
            assert await timed_stop(server) < 1

    @pytest.mark.parametrize(
        "request_bytes",
        [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"],
        ids=["silent", "half a head", "reads nothing"],
    )
    async def test_a_slow_client_does_not_delay_the_stop(self, request_bytes):
        async with served() as server:
            _, writer = await connect(server, request_bytes)
            await asyncio.sleep(0.15)
            assert await timed_stop(server) < 1
            await close(writer)

    async def test_the_port_is_free_after_the_stop_and_a_second_stop_is_harmless(self):
        async with served() as server:
            port = server.port
            await server.stop()
            await server.stop()
        bind("127.0.0.1", port).close()

    async def test_a_stop_without_a_start_closes_the_socket(self):
        listener = bind("127.0.0.1", 0)
        await WebServer(hello, listener).stop()
        assert listener.fileno() == -1

    @pytest.mark.parametrize("request_bytes", [b"GET / HT", b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"])
    async def test_a_connection_without_headway_is_dropped(self, request_bytes):
        async with served(patience_s=0.05) as server:
            reader, writer = await connect(server, request_bytes)
            if b"big" in request_bytes:
                await asyncio.sleep(0.6)
            received = b""
            with contextlib.suppress(ConnectionError):
                while chunk := await asyncio.wait_for(reader.read(2**20), 5):
                    received += chunk
            assert len(received) < len(BIG)
            await close(writer)

    async def test_a_head_without_end_is_refused(self):
        async with served() as server:
            reader, writer = await connect(server, b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000)
            assert b" 400 " in await reader.readline()
            await close(writer)
