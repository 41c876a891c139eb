"""Admin calls: `POST` to a path below `/-/`, and who may make them.

Over TCP there is one way in: the admin token. Not even loopback is trusted without it, since every user of the machine
and every web page in a browser on it can connect there. The Unix socket is the other way: its file mode lets in its
owner only. What a browser sends is refused even with the token, which has no business in a web page.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watchdog.domain.notice import Admission

PREFIX = "/-/"
#: More than any admin call has to say.
MAX_BODY_BYTES = 64 * 1024
#: How long a body may take to arrive.
BODY_S = 5.0

#: What a form in a web page can send without asking anybody.
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
_CHALLENGE = 'Bearer realm="budget-watchdog"'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an admin call came to, with the answer's body; a call that is not `ok` could not be carried out."""

    ok: bool
    body: Mapping[str, object]


#: What there is to be called, by path.
AdminCalls = Mapping[str, Callable[[], Awaitable[Outcome]]]
#: Told of every call: what became of it at the door, where it came from, and why it was not let in.
Told = Callable[[Admission, str, str], None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call is not let in."""

    admission: Admission
    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Door(Protocol):
    """Decides who may make admin calls on one listener."""

    def admit(self, request: Request) -> Refusal | None:
        """None lets the call in."""
        ...


class OpenGate:
    """Of a listener that only the right people can connect to."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def admit(self, request: Request) -> Refusal | None:
        """Everybody."""
        self._told(Admission.ACCEPTED, "", "")
        return None


class Gate:
    """Of a listener that anybody may connect to. `token`: None if there is none, and then nobody is let in. `local`:
    whether it only listens on this machine."""

    def __init__(self, token: bytes | None, *, local: bool, told: Told) -> None:
        self._token = token
        self._local = local
        self._told = told

    def renew(self, token: bytes) -> None:
        """Let in those who know this token from now on, and no longer those who know the one of before."""
        self._token = token

    def admit(self, request: Request) -> Refusal | None:
        """Programs that know the token."""
        refusal = self._refuse_browser(request) or self._refuse_stranger(request)
        client = request.client.host if request.client else ""
        if refusal is None:
            self._told(Admission.ACCEPTED, client, "")
        else:
            self._told(refusal.admission, client, refusal.reason)
        return refusal

    def _refuse_browser(self, request: Request) -> Refusal | None:
        headers = request.headers
        if "origin" in headers or "sec-fetch-site" in headers:
            return Refusal(Admission.FORBIDDEN, 403, "admin calls are not taken from web pages")
        # A page whose name was made to point here (DNS rebinding) says that name.
        if self._local and not is_local_name(headers.get("host", "")):
            reason = "on this address admin calls must be made to localhost or an IP address, by the Host header"
            return Refusal(Admission.FORBIDDEN, 403, reason)
        if headers.get("content-type", "").split(";")[0].strip().lower() in _FORMS:
            return Refusal(Admission.FORBIDDEN, 415, "admin calls take no forms; leave the body out, or send JSON")
        return None

    def _refuse_stranger(self, request: Request) -> Refusal | None:
        if self._token is None:
            reason = "admin calls need a token (set web.token_file or web.token_env) or the Unix socket (web.socket)"
            return Refusal(Admission.FORBIDDEN, 403, reason)
        given = request.headers.getlist("authorization")
        if not given:
            return self._challenge("admin calls need the header 'Authorization: Bearer TOKEN'", _CHALLENGE)
        scheme, _, token = given[0].partition(" ")
        # Bytes of any length and content, in constant time.
        is_right = hmac.compare_digest(token.strip().encode("utf-8", "surrogateescape"), self._token)
        if len(given) == 1 and scheme.lower() == "bearer" and is_right:
            return None
        return self._challenge("the admin token is wrong", f'{_CHALLENGE}, error="invalid_token"')

    @staticmethod
    def _challenge(reason: str, challenge: str) -> Refusal:
        return Refusal(Admission.UNAUTHORIZED, 401, reason, {"WWW-Authenticate": challenge})


def is_local_name(host: str) -> bool:
    """Whether a Host header names an IP address or this machine, which no foreign web page can."""
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    try:
        return bool(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        return name.rstrip(".").lower() == "localhost" or name.rstrip(".").lower().endswith(".localhost")


class AdminDoor:
    """ASGI middleware before everything below `/-/`: who is not let in learns nothing of what there is."""

    def __init__(self, app: ASGIApp, door: Door, body_s: float) -> None:
        self._app = app
        self._door = door
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        refusal = self._door.admit(request)
        if refusal is not None:
            answer = PlainTextResponse(refusal.reason + "\n", refusal.status, refusal.headers)
            await _closing(answer)(scope, receive, send)
            return
        await self._enter(scope, request, send)

    async def _enter(self, scope: Scope, request: Request, send: Send) -> None:
        try:
            async with asyncio.timeout(self._body_s):
                body = await _body(request)
        except TimeoutError:
            await _closing(PlainTextResponse("the body took too long\n", 408))(scope, request.receive, send)
        except _TooLarge:
            await _closing(PlainTextResponse("the body is too large\n", 413))(scope, request.receive, send)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        else:
            await self._app(scope, _Replay(body, request.receive), send)


class _TooLarge(Exception):
    """A body beyond the limit."""


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _TooLarge
    return bytes(body)


class _Replay:
    """A body that was read already, to be received again."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        body, self._body = self._body, None
        return await self._receive() if body is None else {"type": "http.request", "body": body, "more_body": False}


def _closing(answer: Response) -> Response:
    """What is left of the request is not waited for."""
    answer.headers["Connection"] = "close"
    return answer


def answer(outcome: Outcome) -> Response:
    """The outcome of a call as an answer: 200, or 422 for what could not be carried out."""
    return JSONResponse(dict(outcome.body), 200 if outcome.ok else 422)
