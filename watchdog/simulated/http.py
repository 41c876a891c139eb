"""The wire: HTTP/1.1 by hand (h11 over asyncio streams), so that every way of failing is possible."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec

MAX_BODY_BYTES = 9_437_184
"""Longer request bodies are refused (the limit that Apify's own 413 names)."""

_CHUNK_BYTES = 1 << 18


class Delivery(Enum):
    """How an answer travels."""

    WHOLE = "whole"
    HALF = "half"
    """Half of the body that Content-Length promised, then the connection closes."""
    DRIP = "drip"
    """A few bytes at a time."""
    RESET = "reset"
    """No answer: the connection is reset (RST)."""
    HANG = "hang"
    """No answer, until the other side gives up or the server stops."""


@dataclass(frozen=True)
class Request:
    """A request that was read completely. Header names are lower case; `body_bytes` counts what came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    body_bytes: int


@dataclass(frozen=True)
class Hold:
    """An answer that waits: asked again and again whether it is over, then for the answer."""

    is_over: Callable[[], bool]
    answer: Callable[[], Answer]


@dataclass
class Answer:
    """An answer about to be sent."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json; charset=utf-8"
    delivery: Delivery = Delivery.WHOLE
    drip_bytes: int = 16
    drip_pause_s: float = 0.05
    hold: Hold | None = None
    """Do not send this one: wait, then send what the hold gives."""

    @property
    def is_sent(self) -> bool:
        """Whether at least a status line reaches the other side."""
        return self.delivery not in (Delivery.RESET, Delivery.HANG)


def json_answer(status: int, document: Any) -> Answer:
    """An answer with `document` (anything msgspec can encode) as JSON."""
    return Answer(status, msgspec.json.encode(document))


class Route(NamedTuple):
    """A path template and the endpoint name for each method it takes."""

    pattern: re.Pattern[str]
    endpoints: Mapping[str, str]


def route(template: str, **endpoints: str) -> Route:
    """`route("/v2/actors/{id}", GET="actor")`. `{any}` is a part that nobody asks for, `{rest}` any number of them."""
    pattern = re.escape(template).replace(r"\{id\}", "([^/]+)").replace(r"\{any\}", "[^/]+").replace(r"\{rest\}", ".+")
    return Route(re.compile(pattern), endpoints)


class Target(NamedTuple):
    """Where a request goes. No endpoint: the path is unknown (`allowed` empty) or the method is wrong."""

    endpoint: str | None
    id: str
    allowed: tuple[str, ...]


def resolve(routes: Sequence[Route], method: str, path: str) -> Target:
    """Find the endpoint of a request. The path is still percent-encoded; the id comes back decoded."""
    for pattern, endpoints in routes:
        if match := pattern.fullmatch(path):
            found = unquote(match[1]) if match.lastindex else ""
            return Target(endpoints.get(method), found, tuple(endpoints))
    return Target(None, "", ())


Handler = Callable[[Request], Awaitable[Answer]]
DateSource = Callable[[], str]


async def serve_connection(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler, date: DateSource
) -> None:
    """Answer one connection's requests until either side has had enough. Always leaves the socket closed."""
    try:
        # A client that goes away in the middle is everyday life for a server, not an error.
        with contextlib.suppress(ConnectionError, h11.RemoteProtocolError):
            await _Connection(reader, writer, date).serve(handle)
            writer.close()
            await writer.wait_closed()
    finally:
        # Closing waits until the other side has read everything; a server that stops cannot.
        writer.transport.abort()


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, date: DateSource) -> None:
        self._reader = reader
        self._writer = writer
        self._date = date
        self._h11 = h11.Connection(h11.SERVER)
        # Small answers must not wait for the acknowledgement of earlier ones.
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def serve(self, handle: Handler) -> None:
        while (request := await self._read_request()) is not None:
            answer = await handle(request)
            if not await self._deliver(answer, head=request.method == "HEAD"):
                return
            if self._h11.our_state is h11.MUST_CLOSE:
                return
            self._h11.start_next_cycle()

    async def _next_event(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                self._write(h11.InformationalResponse(status_code=100, headers=[]))
            self._h11.receive_data(await self._reader.read(65536))
        return event

    async def _read_request(self) -> Request | None:
        try:
            head = await self._next_event()
            if not isinstance(head, h11.Request):
                return None
            body, body_bytes = await self._read_body()
        except h11.RemoteProtocolError:
            await self._refuse()
            return None
        return _request(head, body, body_bytes)

    async def _read_body(self) -> tuple[bytes, int]:
        kept = bytearray()
        body_bytes = 0
        while isinstance(event := await self._next_event(), h11.Data):
            body_bytes += len(event.data)
            if body_bytes <= MAX_BODY_BYTES:
                kept += event.data
        return bytes(kept), body_bytes

    async def _refuse(self) -> None:
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send_whole(Answer(400, b"bad request", {"Connection": "close"}, "text/plain"), False)

    async def _deliver(self, answer: Answer, head: bool) -> bool:
        """Send; False when the connection is of no further use."""
        if answer.delivery is Delivery.RESET:
            self._reset()
            return False
        if answer.delivery is Delivery.HANG:
            while await self._reader.read(65536):
                pass
            return False
        if answer.delivery is Delivery.HALF:
            self._write_head(answer)
            self._writer.write(answer.body[: len(answer.body) // 2])
            await self._writer.drain()
            return False
        if answer.delivery is Delivery.DRIP:
            await self._drip(answer)
            return True
        await self._send_whole(answer, head)
        return True

    async def _send_whole(self, answer: Answer, head: bool) -> None:
        self._write_head(answer)
        body = b"" if head else answer.body
        for start in range(0, len(body), _CHUNK_BYTES):
            self._write(h11.Data(data=body[start : start + _CHUNK_BYTES]))
            await self._writer.drain()
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    async def _drip(self, answer: Answer) -> None:
        self._write_head(answer)
        for start in range(0, len(answer.body), answer.drip_bytes):
            self._write(h11.Data(data=answer.body[start : start + answer.drip_bytes]))
            await self._writer.drain()
            await asyncio.sleep(answer.drip_pause_s)
        self._write(h11.EndOfMessage())
        await self._writer.drain()

    def _write_head(self, answer: Answer) -> None:
        headers = {
            "Date": self._date(),
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            **answer.headers,
        }
        self._write(
            h11.Response(status_code=answer.status, headers=list(headers.items()), reason=_reason(answer.status))
        )

    def _write(self, event: Any) -> None:
        if data := self._h11.send(event):
            self._writer.write(data)

    def _reset(self) -> None:
        # Linger 0 makes the close an RST instead of an orderly FIN.
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


def _request(head: h11.Request, body: bytes, body_bytes: int) -> Request:
    target = urlsplit(head.target.decode("ascii", "replace"))
    return Request(
        method=head.method.decode("ascii"),
        path=target.path,
        query=dict(parse_qsl(target.query, keep_blank_values=True)),
        headers={name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body=body,
        body_bytes=body_bytes,
    )


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b"Unknown"
