"""A small HTTP server of the tests' own, and adapters that talk to it: what works only with `watchdog.simulated` is
no adapter."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from pydantic import SecretStr

from watchdog.domain.notice import Notice
from watchdog.domain.ports import Platform
from watchdog.net import Net
from watchdog.platforms.registry import AccountOptions, known_platforms

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RECORDED = Path(__file__).parent / "recorded"


#: What Python's `json` takes and writes, and a strict decoder does not; and some more.
FLAWS = {
    "half of a surrogate pair": b'"half \\ud83d"',
    "two wrong halves": b'"\\udc00\\ud83d"',
    "control character": b'"a\x01b"',
    "line break": b'"a\nb"',
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "out of range": b"1e999",
    "deep": b"[" * 1500 + b"]" * 1500,
    "very deep": b"[" * 60_000 + b"]" * 60_000,
    "deep objects": b'{"id":' * 1500 + b"7" + b"}" * 1500,
    "not UTF-8": b'"caf\xe9"',
    "escape": b'"\\q\\u12"',
}
_FLAW = "the flaw"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=FLAWS)
def flaw(request: pytest.FixtureRequest) -> str:
    """A way of serving."""
    return str(request.param)


class StillClock:
    """`now` is what the test says; waiting takes no time, but moves the monotonic seconds."""

    def __init__(self) -> None:
        self.time = NOW
        self.elapsed_s = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += max(0.0, seconds)
        await asyncio.sleep(0)

    def wall(self, seconds: float) -> float:
        return 0.0

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self.time += timedelta(seconds=seconds)


@dataclass
class Asked:
    method: str
    path: str  # decoded
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Reply:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Asked], Reply | None]


class Shelf:
    """Serves what a handler says over HTTP/1.1, in one of several ways of writing it; None is no answer at all."""

    def __init__(self, clock: StillClock) -> None:
        self.clock = clock
        self.tells_time = True
        self.handler: Handler = lambda asked: Reply({}, 404)
        self.way = "plain"
        self.prefix = ""
        self.asked: list[Asked] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Shelf:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets close in the next turn of the loop

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{self.prefix}"

    def paths(self, start: str = "/") -> list[str]:
        return [asked.path for asked in self.asked if asked.path.startswith(start)]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = await self._read(reader)
                reply = self._reply(asked)
                if reply is None:
                    await asyncio.sleep(3600)
                    continue
                writer.write(self._write(reply))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Asked:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        url = urlsplit(target)
        return Asked(method, unquote(url.path), url.path, dict(parse_qsl(url.query)), headers, body)

    def _reply(self, asked: Asked) -> Reply | None:
        if not asked.path.startswith(self.prefix + "/v"):
            return Reply("<html>elsewhere</html>", 404)
        asked.path = asked.path.removeprefix(self.prefix)
        asked.raw_path = asked.raw_path.removeprefix(self.prefix)
        self.asked.append(asked)
        return self.handler(asked)

    def _write(self, reply: Reply) -> bytes:
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(self._dressed(reply.body)).encode()
        body = body.replace(json.dumps(_FLAW).encode(), FLAWS.get(self.way, b""))
        date = {"Date": format_datetime(self.clock.now(), usegmt=True)} if self.tells_time else {}
        headers = {**date, **reply.headers}
        if self.way == "gzip":
            body = gzip.compress(body)
            headers["Content-Encoding"] = "gzip"
        if self.way == "chunked":
            headers["Transfer-Encoding"] = "chunked"
            pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            headers["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {reply.status} Any\r\n{head}\r\n".encode() + body

    def _dressed(self, value: Any) -> Any:
        """With fields that nobody has documented, or that are no strict JSON."""
        if self.way in FLAWS:
            if isinstance(value, dict):
                return {"aNewField": _FLAW, **{key: self._dressed(each) for key, each in value.items()}}
            return [self._dressed(each) for each in value] if isinstance(value, list) else value
        if self.way != "extra":
            return value
        if isinstance(value, dict):
            return {"aNewField": [{"id": 1}], **{key: self._dressed(each) for key, each in value.items()}, "zz": None}
        return [self._dressed(each) for each in value] if isinstance(value, list) else value


class Ears:
    def __init__(self) -> None:
        self.heard: list[Notice] = []

    def notice(self, notice: Notice) -> None:
        self.heard.append(notice)


class Recorded:
    """The recorded answers of one platform, and what an adapter must make of them."""

    def __init__(self, platform: str) -> None:
        self.platform = platform
        folder = RECORDED / platform
        self.expected = json.loads((folder / "expected.json").read_text("utf-8"))
        files = sorted(path for path in folder.glob("*.json") if path.name != "expected.json")
        self._answers = [json.loads(path.read_text("utf-8")) for path in files]

    def __call__(self, asked: Asked) -> Reply:
        exact = (answer for answer in self._answers if _fits(answer, asked))
        answer = next(exact, None) or next(answer for answer in self._answers if answer["path"] == "*")
        return Reply(answer["body"], answer["status"])


def _fits(answer: dict[str, Any], asked: Asked) -> bool:
    wanted = answer.get("query", {}).items()
    return (answer["method"], answer["path"]) == (asked.method, asked.path) and wanted <= asked.query.items()


Connect = Callable[..., Platform]


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def shelf(clock: StillClock) -> AsyncIterator[Shelf]:
    async with Shelf(clock) as serving:
        yield serving


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def heard(ears: Ears) -> list[Notice]:
    """What adapters made by `connect` gave notice of."""
    return ears.heard


@pytest.fixture
async def connect(clock: StillClock, ears: Ears) -> AsyncIterator[Connect]:
    """`connect(platform, url, **options)`: an adapter; the options are token, usd_per_credit, write_reason, clock and
    per_minute, and `build`, which makes the adapter of a session in the place of the registry."""
    nets: list[Net] = []

    def make(platform: str, url: str, *, token: str = "tok-0123456789abcdef", **options: Any) -> Platform:
        spec = known_platforms()[platform]
        net = Net(options.get("clock") or clock, ears)
        nets.append(net)
        session = net.session(
            "acme",
            url,
            scheme=spec.auth_scheme,
            token=SecretStr(token),
            requests_per_minute=options.get("per_minute") or 60_000,
        )
        if build := options.get("build"):
            adapter: Platform = build(session)
            return adapter
        return spec.build(session, AccountOptions(options.get("usd_per_credit"), options.get("write_reason", True)))

    yield make
    for net in nets:
        await net.aclose()


@pytest.fixture
def recorded() -> Callable[[str], Recorded]:
    return Recorded


@pytest.fixture
def reply() -> type[Reply]:
    return Reply


@pytest.fixture(scope="session")
def apify_description() -> Path:
    """The published description of Apify's API, which lies beside the repository."""
    beside = Path(__file__).resolve().parents[2].parent / "shared"
    path = Path(os.environ.get("BW_TEST_SHARED") or beside) / "specs" / "apify.openapi.yaml"
    if not path.is_file():
        reason = f"Apify's API description is not at {path} (set BW_TEST_SHARED)"
        if os.environ.get("BW_TEST_REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
