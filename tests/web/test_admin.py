"""Admin calls, over real sockets: who is let in, and what a call may look like."""

# ruff: noqa: ASYNC240  # the file of a socket is looked at in between

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from watchdog.domain.arming import Arming
from watchdog.domain.notice import Admission
from watchdog.errors import StartupError
from watchdog.web import Check, Gate, OpenGate, Outcome, WebServer, bind, bind_unix, create_app

pytestmark = pytest.mark.anyio

TOKEN = "f1e2d3c4b5a69788-S3CRET"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CALL = "/-/reload"


class Site:
    """The pages with one admin call, on a TCP port or a Unix socket."""

    def __init__(self) -> None:
        self.calls = 0
        self.told: list[tuple[Admission, str, str]] = []
        self.ok = True

    def alive(self) -> bool:
        return True

    def arming(self) -> dict[str, Arming]:
        return {}

    def readiness(self) -> list[Check]:
        return []

    async def call(self) -> Outcome:
        self.calls += 1
        return Outcome(self.ok, {"done": self.ok})

    def tell(self, *told: Any) -> None:
        self.told.append(told)

    @contextlib.asynccontextmanager
    async def served(self, token: str | None = TOKEN, *, local: bool = True, unix: Path | None = None) -> Any:
        gate = OpenGate(self.tell) if unix else Gate(token.encode() if token else None, local=local, told=self.tell)

        async def render(accept: str) -> tuple[bytes, str]:
            return b"up 1\n", "text/plain"

        app = create_app(self, render, {CALL: self.call}, gate, body_s=0.4)
        server = WebServer(app, bind_unix(unix) if unix else bind("127.0.0.1", 0))
        await server.start()
        transport = httpx.AsyncHTTPTransport(uds=str(unix)) if unix else None
        base = "http://localhost" if unix else f"http://127.0.0.1:{server.port}"
        try:
            async with httpx.AsyncClient(base_url=base, trust_env=False, transport=transport) as client:
                client.port = 0 if unix else server.port  # type: ignore[attr-defined]
                yield client
        finally:
            await server.stop()


@pytest.fixture
def site() -> Site:
    return Site()


async def test_with_the_token(site: Site) -> None:
    async with site.served() as client:
        answer = await client.post(CALL, headers=BEARER)
    assert (answer.status_code, answer.json(), site.calls) == (200, {"done": True}, 1)
    assert site.told == [(Admission.ACCEPTED, "127.0.0.1", "")]


async def test_what_cannot_be_carried_out(site: Site) -> None:
    site.ok = False
    async with site.served() as client:
        answer = await client.post(CALL, headers=BEARER)
    assert (answer.status_code, answer.json()) == (422, {"done": False})


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
async def test_the_name_of_the_scheme_has_no_case(site: Site, scheme: str) -> None:
    async with site.served() as client:
        assert (await client.post(CALL, headers={"Authorization": f"{scheme}  {TOKEN}"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN.lower()}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"Authorization": "Bearer t\xf6ken".encode("latin-1")},
        [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")],
        [("Authorization", "Bearer x"), ("Authorization", f"Bearer {TOKEN}")],
    ],
    ids=str,
)
async def test_a_wrong_token(site: Site, headers: Any) -> None:
    async with site.served() as client:
        answer = await client.post(CALL, headers=headers)
    assert (answer.status_code, answer.text) == (401, "the admin token is wrong\n")
    assert answer.headers["www-authenticate"] == 'Bearer realm="budget-watchdog", error="invalid_token"'
    assert site.calls == 0
    assert site.told == [(Admission.UNAUTHORIZED, "127.0.0.1", "the admin token is wrong")]


async def test_no_token_given(site: Site) -> None:
    async with site.served() as client:
        answer = await client.post(f"{CALL}?token={TOKEN}", headers={"Cookie": f"Authorization=Bearer {TOKEN}"})
    assert (answer.status_code, site.calls) == (401, 0)
    assert answer.headers["www-authenticate"] == 'Bearer realm="budget-watchdog"'


@pytest.mark.parametrize("local", [True, False])
async def test_without_an_admin_token_nobody_is_let_in(site: Site, local: bool) -> None:
    async with site.served(None, local=local) as client:
        for headers in ({}, BEARER, {"Authorization": "Bearer"}, {"Authorization": "Bearer None"}):
            answer = await client.post(CALL, headers=headers)
            assert answer.status_code == 403
            assert "web.token_file" in answer.text
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/healthz")).status_code == 200
    assert site.calls == 0
    assert {admission for admission, _, _ in site.told} == {Admission.FORBIDDEN}


@pytest.mark.parametrize("path", [CALL, "/-/", "/-/nothing", "/%2D/reload"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
async def test_strangers_do_not_learn_what_there_is(site: Site, path: str, method: str) -> None:
    async with site.served() as client:
        answer = await client.request(method, path)
    assert (answer.status_code, site.calls) == (401, 0)


async def test_what_is_called_how(site: Site) -> None:
    async with site.served() as client:
        assert (await client.get(CALL, headers=BEARER)).status_code == 405
        assert (await client.post("/-/nothing", headers=BEARER)).status_code == 404
        assert (await client.post(f"/{CALL}", headers=BEARER)).status_code == 404
        assert (await client.post("/metrics", headers=BEARER)).status_code == 405
    assert site.calls == 0


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9877"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Host": "evil.example:9877"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "Text/Plain; charset=utf-8"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({"Host": "localhost"}, 200),
        ({"Host": "LOCALHOST.:9877"}, 200),
        ({"Host": "a.localhost:1"}, 200),
        ({"Host": "127.0.0.1:1"}, 200),
        ({"Host": "[::1]:9877"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Content-Type": "application/json"}, 200),
    ],
    ids=str,
)
async def test_web_pages_are_kept_out_even_with_the_token(site: Site, headers: dict[str, str], status: int) -> None:
    async with site.served() as client:
        answer = await client.post(CALL, headers={**BEARER, **headers})
    assert (answer.status_code, site.calls) == (status, int(status == 200))


async def test_elsewhere_than_on_loopback_any_name_will_do(site: Site) -> None:
    async with site.served(local=False) as client:
        assert (await client.post(CALL, headers={**BEARER, "Host": "watchdog.example:9877"})).status_code == 200


@pytest.mark.parametrize("path", [CALL, "/-/nothing"])
async def test_refusals_have_the_security_headers_and_no_banner(site: Site, path: str) -> None:
    async with site.served() as client:
        answer = await client.post(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["connection"] == "close"
    assert "server" not in answer.headers
    assert TOKEN not in answer.text + str(answer.headers)


def test_the_token_is_not_in_the_repr() -> None:
    gate = Gate(TOKEN.encode(), local=True, told=lambda *_: None)
    assert TOKEN not in repr(gate) + str(gate)


# ---- bodies


async def test_a_small_body_is_fine(site: Site) -> None:
    async with site.served() as client:
        assert (await client.post(CALL, headers=BEARER, json={"a": "b" * 60_000})).status_code == 200


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_body_is_refused(site: Site, chunked: bool) -> None:
    async def parts() -> Any:
        for _ in range(9):
            yield b"x" * 8192

    async with site.served() as client:
        answer = await client.post(CALL, headers=BEARER, content=parts() if chunked else b"x" * 70_000)
    assert (answer.status_code, answer.headers["connection"], site.calls) == (413, "close", 0)


async def raw(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reader.read(), 15)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_slow_body_is_not_waited_for(site: Site) -> None:
    head = f"POST {CALL} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\nabc"
    async with site.served() as client:
        answer = await raw(client.port, head.encode())
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert site.calls == 0


async def test_a_stranger_need_not_be_heard_out(site: Site) -> None:
    head = f"POST {CALL} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999\r\n\r\nabc"
    async with site.served() as client:
        assert (await raw(client.port, head.encode())).startswith(b"HTTP/1.1 401 ")


async def test_a_client_that_leaves_in_the_middle(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    head = f"POST {CALL} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9\r\n\r\nabc"
    async with site.served() as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(head.encode())
        await asyncio.sleep(0.1)
        writer.close()
        await writer.wait_closed()
        assert (await client.get("/healthz")).status_code == 200
    assert site.calls == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000,
        b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: nope\r\n\r\n",
    ],
)
async def test_the_servers_own_errors_have_no_banner(site: Site, request_bytes: bytes) -> None:
    async with site.served() as client:
        answer = await raw(client.port, request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in (b"400", b"501", b"505")
    assert not [line for line in head.lower().splitlines() if line.startswith((b"server", b"via", b"x-powered"))]
    for name in (b"uvicorn", b"h11", b"python", b"starlette"):
        assert name not in answer.lower()
    assert len(body) < 100


# ---- the Unix socket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "admin.sock"


async def test_the_unix_socket_needs_no_token(site: Site, path: Path) -> None:
    async with site.served(unix=path) as client:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (await client.post(CALL)).status_code == 200
        assert (await client.get("/metrics")).text == "up 1\n"
    assert site.told == [(Admission.ACCEPTED, "", "")]
    assert not path.exists(), "gone with the server"


async def test_a_large_body_over_the_unix_socket(site: Site, path: Path) -> None:
    async with site.served(unix=path) as client:
        assert (await client.post(CALL, content=b"x" * 70_000)).status_code == 413


def test_a_stale_socket_is_removed(path: Path) -> None:
    bind_unix(path).close()
    assert path.exists(), "what a crash leaves behind"
    bind_unix(path).close()


def test_a_socket_in_use_is_not_taken_away(path: Path) -> None:
    with bind_unix(path), pytest.raises(StartupError, match="another process does so already"):
        bind_unix(path)
    assert path.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_kept(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.parent / "elsewhere")
    with pytest.raises(StartupError, match="something else of this name"):
        bind_unix(path)
    assert path.is_symlink() or path.exists()


async def test_the_socket_of_a_later_process_is_left_alone(site: Site, path: Path) -> None:
    async with site.served(unix=path):
        path.unlink()
        later = bind_unix(path)
    assert path.exists()
    later.close()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: None, "No such file or directory"),
        (lambda folder: folder.write_text(""), "is not a folder"),
        (lambda folder: (folder.mkdir(), folder.chmod(0o777)), "others can write"),
        (lambda folder: (folder.mkdir(), folder.chmod(0o770)), "others can write"),
    ],
)
def test_a_folder_that_cannot_be_trusted(tmp_path: Path, make: Any, reason: str) -> None:
    make(tmp_path / "run")
    with pytest.raises(StartupError, match=reason):
        bind_unix(tmp_path / "run" / "admin.sock")


def test_a_folder_like_tmp_will_do(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o1777)
    bind_unix(tmp_path / "run" / "admin.sock").close()


def test_a_path_too_long(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(StartupError, match="cannot listen on the socket"):
        bind_unix(tmp_path / ("x" * 120))
    assert len(os.listdir("/proc/self/fd")) == before
