"""Connections: how they are kept, shared, broken and closed, through proxies and TLS."""

from __future__ import annotations

import asyncio
import base64
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from watchdog.domain.notice import Notice
from watchdog.errors import BadAnswer, Unreachable
from watchdog.net import Bounds, Call, Net, Priority, Session
from watchdog.net.proxies import proxy_for
from watchdog.net.transport import AiohttpTransport
from watchdog.runtime.clock import FastClock

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LOOK = Call("GET", "/v1/things/a", endpoint="thing", family="things", attempts=1)
WRITE = Call("PUT", "/v1/things/a", endpoint="thing", family="things", attempts=1, json={"a": "ö"})
STOP = Call("POST", "/v1/things/a/stop", endpoint="stop", family="stop", priority=Priority.ABORT, attempts=1)


@dataclass
class Line:
    """A server that keeps its connections; it gives its answers one after the other, then the last one for ever. An
    empty one ends the connection."""

    answers: list[bytes] = field(default_factory=lambda: [OK])
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self.open):
            writer.close()
        while self.open:  # noqa: ASYNC110  # until every connection has ended
            await asyncio.sleep(0.001)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        try:
            while answer := await self._read(reader):
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.open.discard(writer)

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        self.bodies.append(await reader.readexactly(int(headers.get("content-length", 0))))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Ears:
    def notice(self, notice: Notice) -> None:
        pass


@asynccontextmanager
async def bounded(bounds: Bounds) -> AsyncIterator[Net]:
    made = Net(FastClock(100), Ears(), bounds=bounds)
    yield made
    await made.aclose()


@pytest.fixture
async def net() -> AsyncIterator[Net]:
    async with bounded(Bounds()) as made:
        yield made


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    async with Line() as started:
        yield started


def session(net: Net, url: str) -> Session:
    return net.session("acme", url, scheme="Bearer", token=SecretStr("tok-123"), requests_per_minute=60_000)


def at(line: Line) -> str:
    return f"http://127.0.0.1:{line.port}"


async def test_a_connection_is_used_again(net: Net, line: Line) -> None:
    for _ in range(5):
        await session(net, at(line)).send(LOOK)
    assert (line.connections, len(line.heads)) == (1, 5)


async def test_a_write(net: Net, line: Line) -> None:
    await session(net, at(line)).send(WRITE)
    await session(net, at(line)).send(STOP)
    assert line.bodies == ['{"a":"ö"}'.encode(), b""]
    assert "content-type: application/json\r\n" in line.heads[0].lower()
    assert "content-length: 0\r\n" in line.heads[1].lower()


@pytest.mark.parametrize("call", [LOOK, WRITE, STOP])
async def test_nothing_is_sent_twice_when_a_kept_connection_breaks(net: Net, line: Line, call: Call) -> None:
    """The budget has counted one, and an abort may have been carried out."""
    line.answers = [OK, b"", OK]
    await session(net, at(line)).send(LOOK)
    with pytest.raises(Unreachable, match="the connection broke") as caught:
        await session(net, at(line)).send(call)
    assert caught.value.maybe_done
    assert (line.connections, len(line.heads)) == (1, 2)


async def test_a_connection_that_was_closed_meanwhile_is_not_used(net: Net, line: Line) -> None:
    await session(net, at(line)).send(LOOK)
    for writer in list(line.open):
        writer.close()
    while line.open:  # noqa: ASYNC110  # until it has ended
        await asyncio.sleep(0.001)
    await session(net, at(line)).send(STOP)
    assert line.connections == 2


async def test_a_body_that_was_not_read_to_its_end_costs_the_connection(line: Line) -> None:
    line.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + b" " * 499_000, OK]
    async with bounded(Bounds(whole_s=0.2)) as net:
        with pytest.raises(Unreachable, match="no complete answer"):
            await session(net, at(line)).send(LOOK)
        await session(net, at(line)).send(LOOK)
    assert line.connections == 2


async def test_more_connections_than_pools_have_by_default(net: Net) -> None:
    async with Line(answers=[b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]) as slow, Line() as quick:
        hanging = [asyncio.create_task(session(net, at(slow)).send(LOOK)) for _ in range(150)]
        async with asyncio.timeout(10):
            while slow.connections < 150:  # noqa: ASYNC110  # the other side can only be watched
                await asyncio.sleep(0.005)
        await asyncio.wait_for(session(net, at(quick)).send(LOOK), 5)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    ],
)
async def test_what_is_no_http_may_have_worked(net: Net, line: Line, answer: bytes) -> None:
    line.answers = [answer, b""]

    async def end_soon() -> None:
        while not line.heads:  # noqa: ASYNC110  # the other side can only be watched
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        for writer in list(line.open):
            writer.close()

    ending = asyncio.create_task(end_soon())
    with pytest.raises(Unreachable, match="the connection broke") as caught:
        await session(net, at(line)).send(STOP)
    assert caught.value.maybe_done
    await ending


async def test_closing_while_a_request_waits_for_its_turn(net: Net, line: Line) -> None:
    one = session(net, at(line))
    one.budget.pause("stop", 60)
    waiting = asyncio.create_task(one.send(STOP))
    await asyncio.sleep(0.01)
    await net.aclose()
    with pytest.raises(Unreachable, match="this program is stopping") as caught:
        await waiting
    assert not caught.value.maybe_done
    assert line.heads == []


# --- proxies -------------------------------------------------------------------------------------------------------

ALL = {"http": "http://h", "https": "https://s:1", "all": "http://a"}
PROXIES: list[tuple[str, dict[str, str], str | None]] = [
    ("http://api.example.com", ALL, "http://h"),
    ("https://api.example.com", ALL, "https://s:1"),
    ("https://api.example.com", {"all": "proxy:3128"}, "http://proxy:3128"),
    ("https://api.example.com", {"http": "http://h"}, None),
    ("https://api.example.com", {}, None),
    ("https://127.0.0.1", ALL, None),
    ("https://localhost:8", ALL, None),
    ("https://[::1]:8", ALL, None),
    ("https://api.example.com", ALL | {"no": "*"}, None),
    ("https://api.example.com", ALL | {"no": "x.org, example.com"}, None),
    ("https://api.example.com", ALL | {"no": ".Example.com"}, None),
    ("https://api.example.com", ALL | {"no": "https://api.example.com"}, None),
    ("https://api.example.com", ALL | {"no": "api.example.com:443"}, None),
    ("https://api.example.com:8443", ALL | {"no": "api.example.com:443"}, "https://s:1"),
    ("https://notexample.com", ALL | {"no": "example.com,"}, "https://s:1"),
    ("https://10.0.0.7", ALL | {"no": "10.0.0.7"}, None),
    ("https://[fd00::7]", ALL | {"no": "[fd00::7]"}, None),
    # Without a standard: what curl, Go, Python and people do.
    ("https://127.9.9.9", ALL, None),
    ("https://api.localhost", ALL, None),
    *((url, ALL | {"no": no}, None if free else "https://s:1") for url, no, free in [
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.9/24", True),
        ("https://11.1.2.3", "10.0.0.0/8", False),
        ("https://10.1.2.3:8443", "10.0.0.0/255.0.0.0", True),
        ("https://[fd00::7]", "fd00::/8", True),
        ("https://[fd00::7]:8443", "[fd00::]/8", True),
        ("https://[fe00::7]", "fd00::/8", False),
        ("https://[::ffff:10.1.2.3]", "10.0.0.0/8", True),
        ("https://api.example.com", "10.0.0.0/8,::/0,0.0.0.0/0", False),
        ("https://10.1.2.3", "10.0.0.0/99", False),
        ("https://[fd00::7]", "fd00::7", True),
        ("https://[fd00::7]", "FD00:0::7", True),
        ("https://[fd00::7]:8443", "[fd00::7]:8443", True),
        ("https://[fd00::7]", "[fd00::7]:8443", False),
        ("https://10.0.0.7", "0.0.7", False),
        ("https://10.0.0.7", ".7", False),
        ("https://10.0.0.7", "10.0.0.*", True),
        ("https://10.0.0.7:8443", "10.0.0.7:8443", True),
        ("https://api.corp.example", "*.corp.example", True),
        ("https://a.b.corp.example", "*.corp.example", True),
        ("https://corp.example", "*.corp.example", False),
        ("https://notcorp.example", "*corp.example", True),
        ("https://notcorp.example", "*.corp.example", False),
        ("https://api-eu.corp.example", "api-*.corp.example", True),
        ("https://api.corp", ".corp", True),
        ("https://corp", ".corp", True),
        ("https://api.corpx", ".corp", False),
        ("https://api.corp.example:8443", "*.corp.example:8443", True),
        ("https://api.corp.example", "*.corp.example:8443", False),
        ("https://api.corp.example", "x.org corp.example", True),
        ("https://api.corp.example", " x.org ,\tcorp.example\n", True),
        ("https://api.corp.example", "x.org;corp.example", True),
        ("https://api.corp.example", ", ,,", False),
        ("https://API.Corp.Example", "api.CORP.example.", True),
        ("https://api.corp.example.", "corp.example", True),
        ("https://bücher.example", "bücher.example", True),
        ("https://xn--bcher-kva.example", "BÜCHER.example", True),
        ("https://api.example", "*", True),
        ("https://api.example", "*:8443", False),
        ("https://api.example", "https://api.example/v1/", True),
        ("https://api.example", "[", False),
        ("https://api.example", "]:x, [::1, ://, :443, a:b:c", False),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("url", "environment", "proxy"), PROXIES)
def test_which_proxy(url: str, environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(httpx.URL(url), environment) == proxy


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Net]:
    """A net behind this proxy."""

    def made(proxy: str) -> Net:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        return Net(FastClock(100), Ears())

    return made


async def test_a_proxy_with_a_password(through: Callable[[str], Net], line: Line) -> None:
    net = through(f"http://me:p%40ss@127.0.0.1:{line.port}")
    await session(net, "http://platform.invalid").send(LOOK)
    await net.aclose()
    assert line.heads[0].startswith("GET http://platform.invalid/v1/things/a HTTP/1.1\r\n")
    headers = dict(row.lower().split(": ", 1) for row in line.heads[0].split("\r\n")[1:] if row)
    assert headers["proxy-authorization"] == f"basic {base64.b64encode(b'me:p@ss').decode().lower()}"
    assert headers["authorization"] == "bearer tok-123"


@pytest.mark.parametrize("status", [403, 407, 502])
async def test_a_proxy_that_refuses_never_sees_the_token(
    through: Callable[[str], Net], line: Line, status: int
) -> None:
    line.answers = [b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status]
    net = through(f"http://127.0.0.1:{line.port}")
    with pytest.raises(Unreachable, match="the proxy does not let us through") as caught:
        await session(net, "https://platform.invalid").send(STOP)
    await net.aclose()
    assert not caught.value.maybe_done
    assert line.heads[0].startswith("CONNECT platform.invalid:443 ")
    assert "tok-123" not in "".join(line.heads)
    assert f"it answers {status} No" in str(caught.value)
    assert "check the proxy" in str(caught.value)
    assert "not about the token" in str(caught.value)


async def test_a_proxys_password_is_in_no_error(through: Callable[[str], Net], line: Line) -> None:
    line.answers = [b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n"]
    for proxy in (f"http://me:S3CRET@127.0.0.1:{line.port}", "http://me:S3CRET@127.0.0.1:1", "http://me:S3CRET@h:x"):
        net = through(proxy)
        with pytest.raises(Unreachable, match="the proxy does not let us through") as caught:
            await session(net, "https://platform.invalid").send(STOP)
        await net.aclose()
        assert "S3CRET" not in str(caught.value)


async def test_the_page_of_a_proxy_does_not_refuse_the_token(through: Callable[[str], Net], line: Line) -> None:
    """Without TLS the proxy answers in place of the platform."""
    line.answers = [b"HTTP/1.1 403 No\r\nContent-Length: 13\r\n\r\n<html>blocked"]
    net = through(f"http://127.0.0.1:{line.port}")
    with pytest.raises(BadAnswer, match="a proxy, a firewall or a log-in page in between"):
        await session(net, "http://platform.invalid").send(STOP)
    await net.aclose()


async def test_a_kind_of_proxy_that_we_do_not_speak(through: Callable[[str], Net]) -> None:
    net = through("socks5://127.0.0.1:1")
    with pytest.raises(Unreachable, match=r"the proxy does not let us through.*socks5://") as caught:
        await session(net, "https://platform.invalid").send(STOP)
    await net.aclose()
    assert not caught.value.maybe_done


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for 127.0.0.1 that nobody signed, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind: list[Any] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run([openssl, "req", "-x509", *kind, *names, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    (folder / "hashed").mkdir()
    shutil.copy(folder / "cert.pem", folder / "hashed")
    subprocess.run([openssl, "rehash", folder / "hashed"], check=True, capture_output=True)
    return both


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_a_certificate_that_nobody_vouches_for(net: Net, certificate: Path) -> None:
    async with Line(tls=serving(certificate)) as line:
        with pytest.raises(Unreachable, match=r"cannot connect.*(?i:certificate)") as caught:
            await session(net, f"https://127.0.0.1:{line.port}").send(STOP)
        assert not caught.value.maybe_done
        assert line.heads == []


@pytest.mark.parametrize(("variable", "place"), [("SSL_CERT_FILE", "cert.pem"), ("SSL_CERT_DIR", "hashed")])
async def test_an_authority_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, net: Net, variable: str, place: str
) -> None:
    async with Line(tls=serving(certificate)) as line:
        url = f"https://127.0.0.1:{line.port}"
        with pytest.raises(Unreachable, match="name it in SSL_CERT_FILE"):
            await session(net, url).send(STOP)
        monkeypatch.setenv(variable, str(certificate.parent / place))
        believing = Net(FastClock(100), Ears())
        await session(believing, url).send(STOP)
        await believing.aclose()


async def test_certificates_that_vanish_after_the_start(monkeypatch: pytest.MonkeyPatch, net: Net) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    with pytest.raises(Unreachable, match=r"cannot connect \(SSL_CERT_FILE: '/nowhere/ca.pem' cannot be read"):
        await session(net, "https://127.0.0.1:1").send(STOP)


async def test_a_server_that_does_not_speak_tls(line: Line) -> None:
    async with bounded(Bounds(connect_s=0.2)) as net:
        with pytest.raises(Unreachable, match="no connection within") as caught:
            await session(net, f"https://127.0.0.1:{line.port}").send(STOP)
    assert not caught.value.maybe_done


async def test_tls_connections_are_kept_and_closed_without_a_trace(certificate: Path) -> None:
    """Warnings are errors here: an unclosed transport would be one."""
    transport = AiohttpTransport(ssl.create_default_context(cafile=str(certificate)))
    async with Line(tls=serving(certificate)) as line:
        for _ in range(3):
            request = httpx.Request("GET", f"https://127.0.0.1:{line.port}/x")
            response = await transport.handle_async_request(request)
            assert await response.aread() == b"{}"
        assert line.connections == 1
        await transport.aclose()
