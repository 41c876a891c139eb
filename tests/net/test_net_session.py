"""Sessions against a scripted server on a real socket: what is sent, what is retried, what every fault is called."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import msgspec
import pytest
from pydantic import SecretStr

from watchdog.domain.notice import Notice, RequestDone, Trouble
from watchdog.errors import (
    BadAnswer,
    ConfigurationError,
    CredentialsRefused,
    Gone,
    PlatformError,
    RateLimited,
    Refused,
    ServerFault,
    Unreachable,
)
from watchdog.net import (
    IN_FLIGHT_MAX,
    Bounds,
    Call,
    Net,
    OwnError,
    Priority,
    Session,
    Token,
    path_segment,
    says_anything,
)
from watchdog.runtime.clock import FastClock

pytestmark = pytest.mark.anyio

TOKEN = "tok_Very-Secret'0123456789%20/abc+=="
GOOD = b'{"id": "a"}'


class Thing(msgspec.Struct):
    id: str


@dataclass
class Seen:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[asyncio.StreamWriter, Seen], Awaitable[None]]


@dataclass
class Wire:
    """A server that does as it is told: the next script for each request, the last one for ever."""

    scripts: list[Script | bytes] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets close in the next turn of the loop

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length") or 0))
            seen = Seen(method, target, headers, body)
            self.seen.append(seen)
            script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
            if isinstance(script, bytes):
                writer.write(script)
                await writer.drain()
            else:
                await script(writer, seen)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def answer(status: int = 200, body: bytes = GOOD, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def hang(writer: asyncio.StreamWriter, seen: Seen) -> None:
    await asyncio.sleep(3600)


async def reset(writer: asyncio.StreamWriter, seen: Seen) -> None:
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def drip(writer: asyncio.StreamWriter, seen: Seen) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


@dataclass
class World:
    wire: Wire
    clock: FastClock
    net: Net
    notices: list[Notice]

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def session(
        self,
        base_url: str | None = None,
        *,
        per_minute: int = 1000,
        token: str | Token = TOKEN,
        is_own_error: OwnError = says_anything,
    ) -> Session:
        return self.net.session(
            "acme",
            base_url or self.wire.url,
            scheme="Bearer",
            token=token if isinstance(token, Token) else SecretStr(token),
            requests_per_minute=per_minute,
            is_own_error=is_own_error,
        )

    async def bound(self, bounds: Bounds) -> None:
        """Begin anew, with other bounds."""
        await self.net.aclose()
        self.net = Net(self.clock, self, bounds=bounds)

    @property
    def statuses(self) -> list[int]:
        return [notice.status for notice in self.notices if isinstance(notice, RequestDone)]


class Ears:
    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    wire, clock, ears = Wire(), FastClock(2000), Ears()
    await wire.start()
    net = Net(clock, ears)
    world = World(wire, clock, net, ears.notices)
    yield world
    await world.net.aclose()
    await wire.stop()


def get(**options: Any) -> Call:
    return Call("GET", "/v1/things/a", endpoint="thing", family="things", **options)


def post() -> Call:
    return Call("POST", "/v1/things/a/stop", endpoint="stop", family="stop", priority=Priority.ABORT, attempts=1)


def json_error(text: str = "Something is odd") -> bytes:
    return b'{"error": {"type": "odd", "message": "%s"}}' % text.encode()


# --- what is sent -------------------------------------------------------------------------------------------------


async def test_a_request(world: World) -> None:
    world.wire.scripts = [answer()]
    thing, got = await world.session().get(get(params={"limit": 10, "q": "a b,c"}), Thing)
    assert (thing.id, got.body) == ("a", GOOD)
    seen = world.wire.seen[0]
    assert (seen.method, seen.target) == ("GET", "/v1/things/a?limit=10&q=a+b%2Cc")
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["user-agent"].startswith("budget-watchdog/")
    assert seen.headers["accept-encoding"] == "gzip, deflate"
    assert world.statuses == [200]


@pytest.mark.parametrize("suffix", ["", "/", "//", "/some/prefix", "/some/prefix/"])
async def test_base_urls(world: World, suffix: str) -> None:
    world.wire.scripts = [answer()]
    await world.session(world.wire.url + suffix).get(get(), Thing)
    assert world.wire.seen[0].target == f"{suffix.rstrip('/')}/v1/things/a"


@pytest.mark.parametrize(
    "run_id", ["..", ".", "a/b", "../../me", "a?b=c", "a#b", "a%2Fb", "a b", "ö", "a~b_c-d", "\x00"]
)
async def test_ids_stay_in_their_segment(world: World, run_id: str) -> None:
    world.wire.scripts = [answer()]
    await world.session().get(
        Call("GET", f"/v1/things/{path_segment(run_id)}/stop", endpoint="thing", family="things"), Thing
    )
    target = world.wire.seen[0].target
    first, last = target.removeprefix("/v1/things/").split("/")
    assert (httpx.URL(f"http://x/{first}").path, last) == (f"/{run_id}", "stop")
    assert first not in (".", "..")
    assert "?" not in target


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_cookies_of_one_account_do_not_speak_for_another(world: World, host: str) -> None:
    world.wire.scripts = [answer(Set_Cookie="sessionid=first; Path=/")]
    url = f"http://{host}:{world.wire.port}"
    await world.session(url).get(get(), Thing)
    await world.session(url, token="another-token").get(get(), Thing)
    assert "cookie" not in world.wire.seen[1].headers


async def test_a_user_name_in_the_address_does_not_replace_the_token(world: World) -> None:
    world.wire.scripts = [answer(500)]
    session = world.session(f"http://me:pa55word@127.0.0.1:{world.wire.port}")
    with pytest.raises(ServerFault) as caught:
        await session.get(get(), Thing)
    assert {seen.headers["authorization"] for seen in world.wire.seen} == {f"Bearer {TOKEN}"}
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a\nb", "tok en", "tök", "token\r\nX-Evil: 1"])
async def test_a_token_that_is_none_is_not_sent(world: World, token: str) -> None:
    world.wire.scripts = [answer()]
    with pytest.raises(CredentialsRefused, match="nothing was sent; check the token of this account") as caught:
        await world.session(token=token).get(get(), Thing)
    assert world.wire.connections == 0
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_proxies_of_the_environment_are_not_asked_for_loopback(
    monkeypatch: pytest.MonkeyPatch, world: World, host: str
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    world.wire.scripts = [answer()]
    net = Net(world.clock, Ears())
    session = net.session(
        "acme",
        f"http://{host}:{world.wire.port}",
        scheme="Bearer",
        token=SecretStr(TOKEN),
        requests_per_minute=60,
    )
    await session.get(get(attempts=1), Thing)
    elsewhere = net.session(
        "acme", "http://elsewhere.invalid", scheme="Bearer", token=SecretStr(TOKEN), requests_per_minute=60
    )
    with pytest.raises(Unreachable, match="cannot connect"):  # to the proxy: nothing listens there
        await elsewhere.get(get(attempts=1), Thing)
    await net.aclose()


# --- errors by class, and their sentences --------------------------------------------------------------------------

ERRORS: list[tuple[int, type[PlatformError], str]] = [
    (301, BadAnswer, "redirects are not followed, since the token belongs to this host; check base_url"),
    (307, BadAnswer, "redirects are not followed, since the token belongs to this host; check base_url"),
    (400, Refused, "asking again will not help"),
    (401, CredentialsRefused, "check the token of this account"),
    (402, Refused, "asking again will not help"),
    (403, CredentialsRefused, "check the token of this account"),
    (404, Gone, "the platform does not know this (any more); if it says so of everything, check base_url"),
    (405, Refused, "asking again will not help"),
    (408, ServerFault, "the platform has a problem, nothing to do but wait"),
    (409, Refused, "asking again will not help"),
    (422, Refused, "asking again will not help"),
    (425, ServerFault, "the platform has a problem, nothing to do but wait"),
    (429, RateLimited, "slowing down"),
    (500, ServerFault, "the platform has a problem, nothing to do but wait"),
    (502, ServerFault, "the platform has a problem, nothing to do but wait"),
    (503, ServerFault, "the platform has a problem, nothing to do but wait"),
]


@pytest.mark.parametrize(("status", "kind", "advice"), ERRORS)
async def test_every_class_and_its_sentence(world: World, status: int, kind: type[PlatformError], advice: str) -> None:
    world.wire.scripts = [answer(status, json_error())]
    with pytest.raises(PlatformError) as caught:
        await world.session().get(get(attempts=1), Thing)
    assert type(caught.value) is kind
    assert (caught.value.account, caught.value.status) == ("acme", status)
    where = f"account 'acme': GET {world.wire.url}/v1/things/a: HTTP {status}: odd: Something is odd"
    assert str(caught.value) == f"{where}; {advice}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"detail": "Invalid token."}', ": Invalid token."),
        (
            b'{"error": {"type": "not_found_error", "message": "Run not found", "param": "x"}}',
            ": not_found_error: Run not found",
        ),
        (b'{"error": {"type": null, "message": 7}}', ""),
        (b'{"error": "plain"}', ": plain"),
        (b'{"message": "plain"}', ": plain"),
        (
            b'{"errors": {"message": "No credits", "type": "NotEnoughCredits", "code": 402}}',
            ": NotEnoughCredits: No credits",
        ),
        (b'{"errors": {"message": "No credits", "code": "E7"}}', ": E7: No credits"),
        (b'{"errors": [{"message": "first", "type": "a"}, {"message": "second"}]}', ": a: first"),
        (b'{"errors": ["plain", "more"]}', ": plain"),
        (b'{"errors": "plain"}', ": plain"),
        (b'{"error": null, "errors": [], "detail": null, "message": "plain"}', ": plain"),
        (b'{"errors": [[], {}, 7]}', ""),
        (b'{"detail": ["a"]}', ""),
        (b'["a"]', ""),
        (b"", ""),
        (b"not json", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b'{"detail": "two\\nlines\\u001b[31m"}', ": two lines [31m"),
        (b'{"detail": "%s"}' % (b"x" * 5000), ": " + "x" * 200),
    ],
)
async def test_what_error_answers_say(world: World, body: bytes, said: str) -> None:
    world.wire.scripts = [answer(400, body)]
    with pytest.raises(Refused) as caught:
        await world.session().get(get(), Thing)
    assert str(caught.value).endswith(f"HTTP 400{said}; asking again will not help")


PAGE = b"  <!doctype html><html><body>Log in</body></html>"


@pytest.mark.parametrize("page", [PAGE, b'\xef\xbb\xbf<?xml version="1.0"?><error/>'])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, BadAnswer) for status in (200, 400, 401, 403, 404, 405, 407, 451, 511)),
        (408, ServerFault),
        (503, ServerFault),
    ],
)
async def test_web_pages(world: World, status: int, kind: type[PlatformError], page: bytes) -> None:
    world.wire.scripts = [answer(status, page)]
    with pytest.raises(kind, match="a web page instead of JSON") as caught:
        await world.session().get(get(attempts=1), Thing)
    assert (caught.value.retryable, caught.value.exit_code) == (True, 1)


def in_the_words_of_acme(body: Mapping[str, Any]) -> bool:
    return "acme" in body


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"acme": "no such token"}', CredentialsRefused),
        (403, b'{"acme": "no such permission"}', CredentialsRefused),
        (404, b'{"acme": "no such thing"}', Gone),
        *(
            (status, body, BadAnswer)
            for status in (401, 403, 404)
            for body in (
                b'{"message": "Forbidden"}',
                b'{"error": {"type": "x", "message": "policy"}}',
                b"",
                b"[]",
                b"no",
            )
        ),
        (407, b'{"acme": "only a proxy says 407"}', BadAnswer),
        (511, b'{"acme": "only a network says 511"}', BadAnswer),
    ],
)
async def test_only_the_platform_itself_refuses_a_token_or_knows_nothing_of_a_run(
    world: World, status: int, body: bytes, kind: type[PlatformError]
) -> None:
    """A proxy, a firewall and a log-in page say the same of everything, whatever becomes of token and run."""
    world.wire.scripts = [answer(status, body)]
    with pytest.raises(PlatformError) as caught:
        await world.session(is_own_error=in_the_words_of_acme).send(post())
    assert type(caught.value) is kind
    assert ("a proxy, a firewall or a log-in page in between" in str(caught.value)) == (kind is BadAnswer)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("body", "kind", "maybe_denied"),
    [
        (b'{"error": {"type": "record-not-found", "message": "Run was not found"}}', "record-not-found", False),
        (b'{"error": {"type": "record-or-token-not-found", "message": "x"}}', "record-or-token-not-found", True),
        (b'{"error": {"type": "t", "message": "Run was not found or access denied"}}', "t", True),
        (b'{"errors": {"type": "HTTPNotFound", "message": "Run not found", "code": 404}}', "HTTPNotFound", False),
        (b'{"detail": "Not found, or you do not have permission to see it."}', "", True),
        (b'{"detail": "Not found."}', "", False),
    ],
)
async def test_a_404_that_may_mean_no_access(world: World, body: bytes, kind: str, maybe_denied: bool) -> None:
    world.wire.scripts = [answer(404, body)]
    with pytest.raises(Gone) as caught:
        await world.session().send(post())
    assert (caught.value.kind, caught.value.maybe_denied) == (kind, maybe_denied)
    assert ("or does not let this token see it" in str(caught.value)) == maybe_denied


async def test_a_403_of_a_token_that_works_elsewhere_is_a_missing_permission(world: World) -> None:
    world.wire.scripts = [answer(403, json_error()), answer(), answer(403, json_error()), answer(401, json_error())]
    session = world.session()

    async def works() -> bool:
        with pytest.raises(CredentialsRefused) as caught:
            await session.send(post())
        return caught.value.token_works

    assert not await works()
    await session.get(get(), Thing)
    assert await works()
    assert not await works(), "a 401 is about the token itself"


@pytest.mark.parametrize(
    ("body", "says", "tries"),
    [
        (b'{"id": "a', "broken JSON", 3),
        (b"", "an empty answer instead of JSON; check base_url", 3),
        (b'{"id": \xff}', "broken JSON", 3),
        (PAGE, "a web page instead of JSON; check base_url", 3),
        (b'{"id": 7}', "JSON that is not as documented", 1),
        (b"[]", "JSON that is not as documented", 1),
        (b'{"id": "a", "x": ' + b"[" * 50_000, "broken JSON", 3),
    ],
)
async def test_good_answers_that_are_not(world: World, body: bytes, says: str, tries: int) -> None:
    world.wire.scripts = [answer(200, body)]
    with pytest.raises(BadAnswer, match=says) as caught:
        await world.session().get(get(), Thing)
    assert f"account 'acme': GET {world.wire.url}/v1/things/a: " in str(caught.value)
    assert len(world.wire.seen) == tries


async def test_what_is_no_strict_json_is_read_and_told_of_once(world: World) -> None:
    world.wire.scripts = [answer(200, b'{"id": "a", "message": "half \\ud83d", "n": NaN}')]
    session = world.session()
    for _ in range(3):
        assert (await session.get(get(), Thing))[0].id == "a"
    (told,) = [notice for notice in world.notices if isinstance(notice, Trouble)]
    assert told.account == "acme"
    assert "the answer has characters that no JSON has and numbers that are none" in told.message
    assert "in a; the rest of it is used" in told.message
    assert len(world.wire.seen) == 3


async def test_the_error_in_a_body_that_is_no_strict_json(world: World) -> None:
    world.wire.scripts = [answer(404, b'{"error": {"type": "not-found", "message": "No \x01 \\ud83d", "n": NaN}}')]
    with pytest.raises(Gone, match="not-found: No"):
        await world.session().get(get(), Thing)


async def test_a_body_that_is_not_what_its_header_says(world: World) -> None:
    world.wire.scripts = [answer(200, b"no gzip", Content_Encoding="gzip")]
    with pytest.raises(BadAnswer, match="an answer that cannot be read"):
        await world.session().get(get(), Thing)


@pytest.mark.parametrize("packed", [False, True])
async def test_huge_answers(world: World, packed: bool) -> None:
    await world.bound(Bounds(body_bytes=10_000))
    body = b'{"id": "' + b"x" * 20_000 + b'"}'
    reply = answer(200, gzip.compress(body), Content_Encoding="gzip") if packed else answer(200, body)
    world.wire.scripts = [reply]
    with pytest.raises(BadAnswer, match="larger than any documented one"):
        await world.session().get(get(attempts=1), Thing)


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_the_bound_holds_while_unpacking(world: World, pack: Callable[[bytes], bytes], status: int) -> None:
    """However much a few bytes stand for, nothing like it is ever allocated."""
    await world.bound(Bounds(body_bytes=10_000))
    encoding = "gzip" if pack is gzip.compress else "deflate"
    world.wire.scripts = [answer(status, pack(bytes(50_000_000))[:9_000], Content_Encoding=encoding)]
    session = world.session()
    tracemalloc.start()
    try:
        with pytest.raises(BadAnswer, match="larger than any documented one"):
            await session.get(get(attempts=1), Thing)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "deflate, identity, gzip"])
async def test_what_is_packed_more_than_once_is_not_taken(world: World, encoding: str) -> None:
    world.wire.scripts = [answer(200, gzip.compress(gzip.compress(GOOD)), Content_Encoding=encoding)]
    with pytest.raises(BadAnswer, match="packed 2 times over"):
        await world.session().get(get(attempts=1), Thing)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("X-GZip", gzip.compress),
        ("identity, gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
        ("utf-8", bytes),
    ],
)
async def test_every_way_of_packing(world: World, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    """Also an answer that takes many steps."""
    body = b'{"id": "' + b"x" * 3_000_000 + b'"}'
    world.wire.scripts = [answer(200, pack(body), Content_Encoding=encoding)]
    assert (await world.session().get(get(), Thing))[0].id == "x" * 3_000_000


async def test_chunked_and_gzip(world: World) -> None:
    packed = gzip.compress(GOOD)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (packed[:5], packed[5:])) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    world.wire.scripts = [head + chunks]
    assert (await world.session().get(get(), Thing))[0].id == "a"


# --- no answer -----------------------------------------------------------------------------------------------------


async def test_nobody_there(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match=r"cannot connect.*; check base_url and the network") as caught:
        await world.session(f"http://127.0.0.1:{port}").send(post())
    assert not caught.value.maybe_done
    assert world.statuses == [0]


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1", "127.0.0.1:80", "http://", "http://[::1", "http://a:b", f"http://{'a' * 70}.invalid"]
)
async def test_addresses_that_are_none(world: World, url: str) -> None:
    with pytest.raises(Unreachable) as caught:
        await world.session(url).send(post())
    assert not caught.value.maybe_done
    assert "check base_url" in str(caught.value)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (reset, "the connection broke"),
        (b"", "the connection broke"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "the connection broke"),
        (b"not http at all\r\n\r\n", "the connection broke"),
        (hang, "no answer within 0 s"),
    ],
)
async def test_answers_that_do_not_come_may_have_worked(world: World, script: Script | bytes, says: str) -> None:
    if script is hang:
        await world.bound(Bounds(read_s=0.05))
    world.wire.scripts = [script]
    with pytest.raises(Unreachable, match=says) as caught:
        await world.session().send(post())
    assert caught.value.maybe_done
    assert len(world.wire.seen) == 1


@pytest.mark.parametrize("script", [drip, hang])
async def test_the_whole_answer_has_a_time_out(world: World, script: Script) -> None:
    await world.bound(Bounds(whole_s=0.1))
    world.wire.scripts = [script]
    with pytest.raises(Unreachable, match="no complete answer within 0 s") as caught:
        await world.session().send(post())
    assert caught.value.maybe_done


async def test_one_account_that_hangs_leaves_connections_to_the_others(world: World) -> None:
    """Nor do its looks hold up its own sweeps and aborts."""
    world.wire.scripts = [hang]
    hanging = [world.session() for _ in range(10)]
    tasks = [asyncio.create_task(session.send(get())) for session in hanging for _ in range(40)]
    in_flight = 10 * IN_FLIGHT_MAX
    while len(world.wire.seen) < in_flight:  # noqa: ASYNC110  # the other side can only be watched
        await asyncio.sleep(0.005)
    world.wire.scripts = [answer()]
    for priority in (Priority.SWEEP, Priority.URGENT, Priority.ABORT):
        await asyncio.wait_for(hanging[0].send(get(priority=priority)), 5)
    await asyncio.wait_for(world.session().send(get()), 5)
    assert len(world.wire.seen) == in_flight + 4, "no more looks of an account at a time"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_closed_client_sends_nothing(world: World) -> None:
    session = world.session()
    await world.net.aclose()
    with pytest.raises(Unreachable, match="not sent, because this program is stopping") as caught:
        await session.send(post())
    assert not caught.value.maybe_done


# --- trying again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [answer(500), answer(408), answer(429), answer(200, b'{"id'), reset, b"", answer(429, Retry_After="3")]
)
async def test_reading_is_tried_again(world: World, fault: Script | bytes) -> None:
    world.wire.scripts = [fault, fault, answer()]
    began = world.clock.monotonic()
    assert (await world.session().get(get(), Thing))[0].id == "a"
    assert len(world.wire.seen) == 3
    assert world.clock.monotonic() - began >= 0.5 + 1.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 301])
async def test_what_will_be_the_same_is_not_tried_again(world: World, status: int) -> None:
    world.wire.scripts = [answer(status, json_error())]
    with pytest.raises(PlatformError):
        await world.session().get(get(), Thing)
    assert len(world.wire.seen) == 1


@pytest.mark.parametrize("fault", [answer(500), answer(429), answer(200, b'{"id'), reset, b"", answer(302)])
async def test_a_post_is_sent_once(world: World, fault: Script | bytes) -> None:
    world.wire.scripts = [fault, answer()]
    with pytest.raises(PlatformError):
        await world.session().get(post(), Thing)
    assert len(world.wire.seen) == 1


async def test_a_call_of_no_attempts_is_a_mistake(world: World) -> None:
    with pytest.raises(ValueError, match="at least one attempt"):
        await world.session().send(get(attempts=0))


# --- what the platform says of its limits -----------------------------------------------------------------------------


def date(clock: FastClock, ahead_s: float = 0.0) -> str:
    return format_datetime(clock.now() + timedelta(seconds=ahead_s), usegmt=True)


async def paused_s(world: World, session: Session) -> float:
    """How long the family is held up from now on."""
    began = world.clock.monotonic()
    await session.budget.acquire("things", Priority.ABORT)
    return world.clock.monotonic() - began


HEADERS: list[tuple[Callable[[FastClock], dict[str, str]], float | None]] = [
    (lambda clock: {"Retry_After": "60"}, 60),
    (lambda clock: {"Retry_After": "59.5"}, 59.5),
    (lambda clock: {"Retry_After": date(clock, 120)}, 120),
    (lambda clock: {"Retry_After": date(clock, 3600 + 120), "Date": date(clock, 3600)}, 120),
    (lambda clock: {"X_RateLimit_Reset": str(int(clock.now().timestamp()) + 90)}, 90),
    (lambda clock: {"X_RateLimit_Reset": "45"}, 45),
    (
        lambda clock: {"X_RateLimit_Reset": str(int(clock.now().timestamp()) - 3600 + 90), "Date": date(clock, -3600)},
        90,
    ),
    (lambda clock: {"Retry_After": "999999999"}, 900),
    (lambda clock: {"Retry_After": date(clock, 1e7)}, 900),
    (lambda clock: {"Retry_After": "1e11"}, 900),
    (lambda clock: {"Retry_After": date(clock, -500)}, 0),
    (lambda clock: {"Retry_After": "-5"}, None),
    (lambda clock: {"Retry_After": "nan"}, None),
    (lambda clock: {"Retry_After": "soon"}, None),
    (lambda clock: {"X_RateLimit_Reset": "inf"}, None),
    (lambda clock: {}, None),
]


@pytest.mark.parametrize(("headers", "expected"), HEADERS)
async def test_429(world: World, headers: Callable[[FastClock], dict[str, str]], expected: float | None) -> None:
    began = world.clock.monotonic()
    world.wire.scripts = [answer(429, json_error(), **headers(world.clock))]
    session = world.session()
    with pytest.raises(RateLimited, match="slowing down") as caught:
        await session.get(get(attempts=1), Thing)
    after = caught.value.retry_after
    # Time passes on the way, however busy the machine is; dates are whole seconds.
    on_the_way_s = world.clock.monotonic() - began
    if expected is None:
        assert after is None
    else:
        assert after is not None
        assert max(0.0, expected - on_the_way_s - 2) <= after <= min(expected + 2, 900)
    await session.budget.acquire("things", Priority.ABORT)
    assert world.clock.monotonic() - began >= (min(after, 900) if after else 0.5)


async def test_429_holds_up_its_family_only(world: World) -> None:
    world.wire.scripts = [answer(429, Retry_After="600"), answer()]
    session = world.session()
    with pytest.raises(RateLimited):
        await session.get(get(), Thing)
    assert len(world.wire.seen) == 1, "a long pause is not waited for in the call"
    began = world.clock.monotonic()
    await session.send(post())
    assert world.clock.monotonic() - began < 300
    assert await paused_s(world, session) > 200


async def test_a_request_that_would_leave_too_late_is_not_sent(world: World) -> None:
    """What was seen before it would be old by then."""
    world.wire.scripts = [answer(429, Retry_After="600"), answer()]
    session = world.session()
    with pytest.raises(RateLimited):
        await session.get(get(), Thing)
    impatient = replace(post(), family=get().family, priority=Priority.ABORT, patience_s=60.0)
    with pytest.raises(RateLimited, match="not sent within 60 s") as raised:
        await session.send(impatient)
    assert len(world.wire.seen) == 1
    assert raised.value.retry_after is not None
    assert 400 < raised.value.retry_after < 560


@pytest.mark.parametrize(
    ("status", "body"),
    [(status, b"") for status in (302, 400, 408, 500, 502, 503, 504, 520)]
    + [(401, json_error()), (403, PAGE), (404, json_error()), (407, PAGE), (503, PAGE)],
)
@pytest.mark.parametrize("say", [lambda clock: "300", lambda clock: date(clock, 300)])
async def test_retry_after_is_heeded_on_every_status(
    world: World, status: int, body: bytes, say: Callable[[FastClock], str]
) -> None:
    """Whoever is asked to wait does not ask again, and an abort waits too."""
    world.wire.scripts = [answer(status, body, Retry_After=say(world.clock))]
    session = world.session()
    with pytest.raises(PlatformError) as caught:
        await session.get(get(), Thing)
    assert len(world.wire.seen) == 1
    assert caught.value.retry_after == pytest.approx(300, abs=150)
    assert await paused_s(world, session) > 100


@pytest.mark.parametrize("headers", [{"Retry_After": "soon"}, {"Retry_After": "-5"}, {"X_RateLimit_Reset": "300"}, {}])
async def test_nothing_is_made_up_where_no_time_is_named(world: World, headers: dict[str, str]) -> None:
    """When the count of requests starts anew says nothing of when a fault is over."""
    world.wire.scripts = [answer(503, b"", **headers)]
    session = world.session()
    with pytest.raises(ServerFault) as caught:
        await session.get(get(attempts=1), Thing)
    assert caught.value.retry_after is None
    assert await paused_s(world, session) < 100


async def test_an_absurd_retry_after_ends_no_watch(world: World) -> None:
    world.wire.scripts = [answer(503, b"", Retry_After="1e11")]
    session = world.session()
    with pytest.raises(ServerFault) as caught:
        await session.get(get(), Thing)
    assert caught.value.retry_after == 900


async def test_a_short_retry_after_is_waited_for_in_the_call(world: World) -> None:
    world.wire.scripts = [answer(503, b"", Retry_After="8"), answer()]
    began = world.clock.monotonic()
    await world.session().get(get(), Thing)
    assert world.clock.monotonic() - began >= 8


@pytest.mark.parametrize(("remaining", "reset_s", "expected_s"), [("0", 30, 30), ("0", 7200, 60), ("1", 30, 0)])
async def test_nothing_remaining(world: World, remaining: str, reset_s: int, expected_s: float) -> None:
    """Nothing left pauses until the reset, but for a minute at most; anything left does not."""
    world.clock.speed = 50
    began = world.clock.monotonic()
    until = str(int(world.clock.now().timestamp()) + reset_s)
    world.wire.scripts = [answer(X_RateLimit_Remaining=remaining, X_RateLimit_Reset=until)]
    session = world.session()
    await session.get(get(), Thing)
    on_the_way_s = world.clock.monotonic() - began
    held_s = await paused_s(world, session)
    assert held_s >= expected_s - on_the_way_s - 2
    # 25 s of this clock are half a second of the machine's.
    assert held_s < expected_s + 25


@pytest.mark.parametrize(
    ("status", "value", "expected"),
    [
        (200, lambda clock: date(clock, 3600), 3600),
        (200, lambda clock: date(clock, -3600), -3600),
        (200, lambda clock: "yesterday", 0),
        (200, lambda clock: "", 0),
        (200, lambda clock: "Fri, 31 Dec 9999 23:59:59 GMT", 0),
        (500, lambda clock: date(clock, 3600), 0),  # whoever answered may not be the platform
    ],
)
async def test_the_clock_of_the_platform(
    world: World, status: int, value: Callable[[FastClock], str], expected: float
) -> None:
    world.clock.speed = 10
    world.wire.scripts = [answer(status, GOOD, Date=value(world.clock))]
    session = world.session()
    if status == 200:
        await session.send(get())
    else:
        with pytest.raises(ServerFault):
            await session.send(get(attempts=1))
    assert session.skew_s == pytest.approx(expected, abs=5)


async def test_a_slow_body_is_not_a_wrong_clock(world: World) -> None:
    world.clock.speed = 100

    async def slow(writer: asyncio.StreamWriter, seen: Seen) -> None:
        reply = answer(Date=date(world.clock))
        writer.write(reply[:-5])
        await writer.drain()
        await asyncio.sleep(0.3)  # 30 s of this clock
        writer.write(reply[-5:])
        await writer.drain()

    world.wire.scripts = [slow]
    session = world.session()
    await session.send(get())
    assert abs(session.skew_s) < 15


def quota(clock: FastClock, remaining: str, in_s: float, limit: str) -> dict[str, str]:
    reset = str(int(clock.now().timestamp() + in_s))
    return {"X_RateLimit_Limit": limit, "X_RateLimit_Remaining": remaining, "X_RateLimit_Reset": reset}


async def looks_until(world: World, session: Session, seconds: float) -> int:
    """How many looks leave in that time of the clock."""
    left = 0

    async def one() -> None:
        nonlocal left
        async with session.budget.slot("things", Priority.SWEEP):
            left += 1

    tasks = [asyncio.create_task(one()) for _ in range(300)]
    await world.clock.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return left


STEERING: list[tuple[Callable[[FastClock], dict[str, str]], int]] = [
    (lambda clock: quota(clock, "200", 50, "1000"), 100),
    (lambda clock: quota(clock, "200", 50, "1000") | {"X_RateLimit_Reset": "50"}, 100),
    (lambda clock: quota(clock, "200", 3600 + 50, "1000") | {"Date": date(clock, 3600)}, 100),
    (lambda clock: {"X_RateLimit_Limit": "60"}, 150),  # Apify's: a second, and one resource
    (lambda clock: {"X_RateLimit_Remaining": "3"}, 150),
    (lambda clock: quota(clock, "-3", 50, "1000"), 150),
    (lambda clock: quota(clock, "nan", 50, "1000"), 150),
    (lambda clock: quota(clock, "few", 50, "1000"), 150),
    (lambda clock: quota(clock, "3", -50, "1000"), 150),
    (lambda clock: quota(clock, "3", 1e6, "1000"), 150),
    (lambda clock: quota(clock, "1e15", 50, "1e15"), 150),
    (lambda clock: quota(clock, "3", 50, "1000") | {"X_RateLimit_Reset": "soon"}, 150),
    (lambda clock: quota(clock, "200", 50, "-1"), 100),  # the limit alone is nonsense
    (lambda clock: quota(clock, "200", 50, "0"), 100),
    (lambda clock: quota(clock, "200", 50, "nan"), 100),
    (lambda clock: quota(clock, "200", 50, "3"), 100),
]


@pytest.mark.parametrize(("headers", "expected"), STEERING)
async def test_steering(world: World, headers: Callable[[FastClock], dict[str, str]], expected: int) -> None:
    """Of 1000 a minute, sweeps leave 100 to those before them; of the rest 180 may leave at once."""
    world.clock.speed = 20
    world.wire.scripts = [answer(**headers(world.clock))]
    session = world.session()
    await session.send(get(priority=Priority.ABORT))
    left = await looks_until(world, session, 4.0)
    assert left == 100 if expected == 100 else left >= expected


async def test_a_told_limit_and_a_429_are_in_the_notices(world: World) -> None:
    world.clock.speed = 100
    world.wire.scripts = [answer(), answer(**quota(world.clock, "99", 70, "100")), answer(429, Retry_After="1")]
    session = world.session(per_minute=120)
    await session.send(get(priority=Priority.ABORT))
    await session.send(get(priority=Priority.ABORT))
    with pytest.raises(RateLimited):
        await session.send(get(priority=Priority.ABORT, attempts=1))
    notices = [notice for notice in world.notices if isinstance(notice, RequestDone)]
    assert [notice.family for notice in notices] == ["things"] * 3
    assert [notice.allowed_per_minute for notice in notices] == [120, 100, 70]
    assert [notice.used for notice in notices] == pytest.approx([1 / 120, 2 / 100, 3 / 70])


async def test_429s_to_requests_that_left_together_shrink_once(world: World) -> None:
    world.wire.scripts = [answer(429, Retry_After="1")]
    world.clock.speed = 10
    session = world.session(per_minute=100)
    calls = (session.send(get(attempts=1, priority=Priority.ABORT)) for _ in range(8))
    await asyncio.gather(*calls, return_exceptions=True)
    assert world.statuses == [429] * 8
    assert session.budget.state("things").allowed_per_minute == 70


async def test_the_rate_budget_holds_over_the_wire(world: World) -> None:
    world.clock.speed = 1000
    world.wire.scripts = [answer()]
    session = world.session(per_minute=20)
    began = world.clock.monotonic()
    await asyncio.gather(*(session.send(get(priority=Priority.ABORT)) for _ in range(60)))
    assert world.clock.monotonic() - began >= 120


# --- the token -----------------------------------------------------------------------------------------------------


async def test_the_other_host_of_a_redirect_gets_nothing(world: World) -> None:
    other = Wire([answer()])
    await other.start()
    world.wire.scripts = [answer(302, b"", Location=f"{other.url}/?t={TOKEN}")]
    for call in (get(), post()):
        with pytest.raises(BadAnswer, match="redirects are not followed") as caught:
            await world.session().get(call, Thing)
        assert TOKEN not in str(caught.value)
    assert other.connections == 0
    await other.stop()


ECHOES: list[Callable[[str], bytes]] = [
    lambda token: answer(400, msgspec.json.encode({"detail": f"who is {token}?"})),
    lambda token: answer(400, msgspec.json.encode({"detail": f"who is {token.upper()}?"})),
    lambda token: answer(400, msgspec.json.encode({"error": {"type": token, "message": token}})),
    lambda token: answer(400, msgspec.json.encode({"detail": repr(token)})),
    lambda token: answer(400, msgspec.json.encode({"detail": str(httpx.QueryParams({"t": token}))})),
    lambda token: answer(400, msgspec.json.encode({"detail": "x" * 190 + token})),
    lambda token: answer(401, token.encode()),
    lambda token: answer(302, b"", Location=f"http://elsewhere.invalid/{token}"),
    lambda token: answer(429, b"", Retry_After=token),
    lambda token: answer(200, msgspec.json.encode({token: token})),
    lambda token: answer(200, token.encode()),
    lambda token: f"HTTP/1.1 {token}\r\n\r\n".encode(),
    lambda token: f"{token}\r\n\r\n".encode(),
    lambda token: answer(200, b"", Transfer_Encoding=token),
]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("token", [TOKEN, "plain-token-0123456789", "back\\slash'and\"quotes"])
async def test_an_echoed_token_is_in_no_error(world: World, echo: Callable[[str], bytes], token: str) -> None:
    world.wire.scripts = [echo(token)]
    with pytest.raises(PlatformError) as caught:
        await world.session(token=token).get(get(attempts=1), Thing)
    assert token.lower() not in str(caught.value).lower()
    assert token[5:].lower() not in repr(caught.value).lower()
    assert str(httpx.QueryParams({"": token}))[6:] not in str(caught.value)


async def test_a_token_as_an_id_is_not_in_the_error(world: World) -> None:
    world.wire.scripts = [answer(404, json_error())]
    call = Call("GET", f"/v1/things/{path_segment(TOKEN)}", endpoint="thing", family="things")
    with pytest.raises(Gone) as caught:
        await world.session().send(call)
    assert "Very-Secret" not in str(caught.value)


# --- a token that is replaced ----------------------------------------------------------------------------------------


class Place:
    """Where a token lies, and may be replaced."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.reads = 0
        self.learned: list[str] = []

    def read(self) -> SecretStr:
        self.reads += 1
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        if not token:
            raise ConfigurationError("the token file x is empty")
        return SecretStr(token)

    def token(self) -> Token:
        return Token(SecretStr(TOKEN), self.read, lambda secret: self.learned.append(secret.get_secret_value()))


async def only_new(writer: asyncio.StreamWriter, seen: Seen) -> None:
    writer.write(answer() if seen.headers["authorization"] == "Bearer new-token" else answer(401, json_error()))
    await writer.drain()


@pytest.mark.parametrize("call", [get(), post()])
async def test_a_refused_token_is_read_again_and_the_new_one_tried(world: World, call: Call) -> None:
    place = Place("new-token")
    world.wire.scripts = [only_new]
    session = world.session(token=place.token())
    await session.get(call, Thing)
    await session.get(call, Thing)
    assert world.statuses == [401, 200, 200]
    assert (place.reads, place.learned) == (1, ["new-token"])


@pytest.mark.parametrize(
    ("refusal", "again"),
    [
        (answer(401, json_error()), True),
        (answer(403, json_error()), True),
        (answer(404, b'{"error": {"type": "record-or-token-not-found", "message": "x"}}'), True),
        (answer(404, json_error()), False),
        (answer(400, json_error()), False),
        (answer(500, json_error()), False),
    ],
)
async def test_what_makes_a_token_be_read_again(world: World, refusal: bytes, again: bool) -> None:
    place = Place("new-token")
    world.wire.scripts = [refusal]
    with pytest.raises(PlatformError):
        await world.session(token=place.token()).send(get(attempts=1))
    assert (place.reads > 0) == again
    assert len(world.wire.seen) == 1 + again


async def test_the_same_token_is_not_tried_twice(world: World) -> None:
    place = Place(TOKEN)
    world.wire.scripts = [only_new]
    with pytest.raises(CredentialsRefused):
        await world.session(token=place.token()).send(post())
    assert world.statuses == [401]
    assert place.learned == []


async def test_a_token_of_the_environment_cannot_have_changed(world: World) -> None:
    world.wire.scripts = [only_new]
    with pytest.raises(CredentialsRefused):
        await world.session(token=Token(SecretStr(TOKEN))).send(post())
    assert world.statuses == [401]


async def test_a_token_that_cannot_be_read_again_is_told_once_and_the_old_one_stays(world: World) -> None:
    place = Place("", "", "new-token")
    world.wire.scripts = [only_new]
    session = world.session(token=place.token())
    for _ in range(2):
        with pytest.raises(CredentialsRefused):
            await session.send(post())
    (trouble,) = [notice for notice in world.notices if isinstance(notice, Trouble)]
    assert trouble.message.endswith("cannot be read again: the token file x is empty")
    assert trouble.account == "acme"
    await session.send(post())


async def test_requests_that_were_refused_together_read_the_token_once(world: World) -> None:
    place = Place("new-token")
    world.wire.scripts = [only_new]
    session = world.session(token=place.token())
    await asyncio.gather(*(session.send(post()) for _ in range(8)))
    assert place.reads == 1


async def test_no_token_of_before_is_in_an_error(world: World) -> None:
    place = Place("new-token")
    world.wire.scripts = [answer(401, json_error(f"{TOKEN} new-token"))]
    with pytest.raises(CredentialsRefused, match=r"\*\*\* \*\*\*") as caught:
        await world.session(token=place.token()).send(post())
    assert TOKEN not in str(caught.value)


async def test_the_word_for_an_error_holds_no_token(world: World) -> None:
    world.wire.scripts = [answer(400, msgspec.json.encode({"error": {"type": f"bad-{TOKEN}", "message": ""}}))]
    with pytest.raises(Refused) as caught:
        await world.session().send(post())
    assert caught.value.kind == "bad-***"
