"""The only door to httpx: one shared client, time-outs, retries, the rate budget, and errors by class.

Facts used: Apify asks clients to back off from 500 ms, by a random time between D and 2D, doubling D each time; lobstr
and Apify answer 429, lobstr with `Retry-After`. Errors come as `{"error": {"type", "message"}}` from both and as
`{"detail": "..."}` from lobstr.

Waits for the network (time-outs) are in seconds of the wall clock; back-off, pauses and the rate budget go by the
clock that is given.
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import IntEnum
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus, urlsplit

import httpx
import msgspec
from pydantic import SecretStr

from watchdog import __version__
from watchdog.domain.notice import RequestDone
from watchdog.domain.ports import Clock, Observer
from watchdog.errors import (
    BadAnswer,
    CredentialsRefused,
    Gone,
    PlatformError,
    RateLimited,
    Refused,
    ServerFault,
    Unreachable,
)

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 15.0
#: For a whole answer: a server that drips a byte a second never trips the read time-out.
TOTAL_TIMEOUT_S = 30.0
#: An answer larger than this is not one of the documented ones.
BODY_MAX_BYTES = 64 * 1024 * 1024
#: More than this in flight and httpx gets slower, not faster (measured; DESIGN section 6). For each priority of an
#: account: what waits for a slow answer holds up only its equals.
IN_FLIGHT_MAX = 8
READ_ATTEMPTS = 3
BACKOFF_S = 0.5
#: Differences below this are the one-second grain of the Date header and the way of the answer, not a wrong clock.
SKEW_NOISE_S = 2.0
#: A pause that a platform asks for is believed up to this; beyond it we look again ourselves.
PAUSE_MAX_S = 900.0
#: A 429 that names no time: the pause doubles from BACKOFF_S up to this while 429s go on.
BACKOFF_MAX_S = 60.0
#: A look that has been the next of its kind for so long counts as a sweep: sweeps alone must not starve it.
PROMOTION_S = 10.0
_WINDOW_S = 60.0
#: Waiting callers look again at least this often, and never sleep for less than the second figure.
_RECHECK_S = 5.0
_TICK_S = 0.001
#: A Date header further off than this is nonsense, not a wrong clock.
_SKEW_MAX_S = 100 * 366 * 86400.0


class Priority(IntEnum):
    """Who goes first when the rate budget is short: each class leaves a share of the budget to those before it.

    `URGENT` are the looks right before and after an abort.
    """

    ABORT = 0
    URGENT = 1
    SWEEP = 2
    LOOK = 3


#: The part of the budget that each class leaves to those before it, and the least number of requests that is.
_LEFT = {
    Priority.ABORT: (0.0, 0),
    Priority.URGENT: (0.05, 1),
    Priority.SWEEP: (0.15, 1),
    Priority.LOOK: (0.30, 2),
}


@dataclass(eq=False, slots=True)
class _Head:
    """The caller whose turn is next among those of its family and priority."""

    family: str
    priority: Priority
    since_s: float
    number: int

    def rank(self, now_s: float) -> Priority:
        overdue = self.priority is Priority.LOOK and now_s - self.since_s >= PROMOTION_S
        return Priority.SWEEP if overdue else self.priority


class RateBudget:
    """At most `per_minute` requests in any 60 s, with a share kept for aborts, and another for sweeps before looks.

    A sliding window rather than a bucket: a bucket lets a burst and its refill through in one minute, which is more
    than was promised. A request counts from before it leaves until 60 s after its answer: whenever in between the
    platform counted it, its window is never over the limit. Families are groups of endpoints that a platform limits
    together; a pause it asks for (`pause`) holds for its family only. First come, first served within a family and
    priority.
    """

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        limit = max(1, per_minute)
        self._allowed = {
            priority: max(1, limit - max(least, round(share * limit))) for priority, (share, least) in _LEFT.items()
        }
        self._open = 0
        self._sent: deque[float] = deque()
        self._turns: defaultdict[tuple[str, Priority], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._heads: list[_Head] = []
        self._heads_so_far = 0
        self._paused_until: dict[str, float] = {}
        self._strikes: dict[str, int] = {}

    async def acquire(self, family: str, priority: Priority) -> None:
        """Wait until a request may be sent, and count it as one that is over at once."""
        async with self.slot(family, priority):
            pass

    @asynccontextmanager
    async def slot(self, family: str, priority: Priority) -> AsyncIterator[None]:
        """Wait until a request may be sent; it is under way until the block is left."""
        await self._turn(family, priority)
        try:
            yield
        finally:
            self._open -= 1
            self._sent.append(self._clock.monotonic())

    async def _turn(self, family: str, priority: Priority) -> None:
        async with self._turns[family, priority]:
            self._heads_so_far += 1
            head = _Head(family, priority, self._clock.monotonic(), self._heads_so_far)
            self._heads.append(head)
            try:
                while (wait := self._wait(head)) > 0:
                    await self._clock.sleep(min(max(wait, _TICK_S), _RECHECK_S))
                self._open += 1
            finally:
                self._heads.remove(head)

    def _wait(self, head: _Head) -> float:
        """Seconds until it is worth asking again; 0: go."""
        now = self._clock.monotonic()
        while self._sent and self._sent[0] <= now - _WINDOW_S:
            self._sent.popleft()
        if (paused := self._paused_for(head.family, now)) > 0:
            return paused
        over = self._open + len(self._sent) + self._ahead(head, now) - self._allowed[head.rank(now)]
        if over < 0:
            return 0.0
        # Those under way leave the window after all that are over.
        leaves = self._sent[over] if over < len(self._sent) else now
        return max(leaves + _WINDOW_S - now, _TICK_S)

    def _ahead(self, head: _Head, now: float) -> int:
        """How many others go first."""
        order = (head.rank(now), head.number)
        return sum(
            (other.rank(now), other.number) < order and self._paused_for(other.family, now) <= 0
            for other in self._heads
            if other is not head
        )

    def _paused_for(self, family: str, now: float) -> float:
        return self._paused_until.get(family, now) - now

    def pause(self, family: str, seconds: float) -> None:
        """Send nothing of this family for a while, because the platform asked for it."""
        until = self._clock.monotonic() + min(seconds, PAUSE_MAX_S)
        self._paused_until[family] = max(until, self._paused_until.get(family, until))

    def back_off(self, family: str) -> None:
        """Pause a family for a time of our own choice: longer with each call until `ease`. Several answers to
        requests that left together count once."""
        if self._paused_for(family, self._clock.monotonic()) <= 0:
            strikes = self._strikes[family] = self._strikes.get(family, 0) + 1
            self.pause(family, min(BACKOFF_MAX_S, BACKOFF_S * 2 ** min(strikes - 1, 10)))

    def ease(self, family: str) -> None:
        """The platform answers again: the next `back_off` begins anew."""
        self._strikes.pop(family, None)

    @property
    def in_window(self) -> int:
        """Requests that count at present."""
        return self._open + len(self._sent)


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its body, and when it came (UTC by our clock)."""

    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `endpoint` is the label in metrics, `family` what shares a rate limit, `attempts` how often it may
    be sent (1 for anything that changes something)."""

    method: str
    path: str
    endpoint: str
    family: str
    params: Mapping[str, str | int] | None = None
    json: Any = None
    priority: Priority = Priority.LOOK
    attempts: int = READ_ATTEMPTS


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates costs more than everything else about a client; once is enough."""
    return httpx.create_ssl_context()


class Net:
    """The shared client. Close it with `aclose`."""

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self.clock = clock
        self.observer = observer
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        # No limit here: accounts limit themselves, and one that hangs must not take the connections of the others.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60)
        # Proxies of the environment hold for the platforms, but loopback is never behind one.
        direct: dict[str, httpx.AsyncBaseTransport | None] = {
            f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")
        }
        self.client = httpx.AsyncClient(
            verify=_tls(),
            timeout=timeout,
            limits=limits,
            mounts=direct,
            follow_redirects=False,
            # A session cookie set for one account would speak for it in the requests of another on the same host.
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            headers={"User-Agent": f"budget-watchdog/{__version__}", "Accept": "application/json"},
        )

    def session(
        self, account: str, base_url: str, *, scheme: str, token: SecretStr, requests_per_minute: int
    ) -> Session:
        """A way to one account: its address, its token (sent as `Authorization: SCHEME TOKEN`), its rate budget."""
        return Session(self, account, base_url, scheme, token, RateBudget(self.clock, requests_per_minute))

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()


class Session:
    """Requests of one account, to its own host only."""

    def __init__(
        self, net: Net, account: str, base_url: str, scheme: str, token: SecretStr, budget: RateBudget
    ) -> None:
        self.account = account
        self.base_url = base_url.rstrip("/")
        self.budget = budget
        self.skew_s = 0.0
        self._net = net
        self._scheme = scheme
        self._token = token
        self._in_flight = {priority: asyncio.Semaphore(IN_FLIGHT_MAX) for priority in Priority}

    @property
    def clock(self) -> Clock:
        """The clock that every time here is read from."""
        return self._net.clock

    async def send(self, call: Call) -> Answer:
        """Send a request and return the answer, if it is a good one (2xx).

        Raises the `PlatformError` that fits; retryable ones only after `call.attempts` tries.
        """
        return await self.read(call, lambda answer: answer)

    async def get(self, call: Call, shape: type[T]) -> tuple[T, Answer]:
        """Send a request and decode the JSON of its answer."""
        return await self.read(call, lambda answer: (self.decode(call, answer, shape), answer))

    async def read(self, call: Call, decode: Callable[[Answer], T]) -> T:
        """Send a request and make something of its answer; a `BadAnswer` from `decode` is tried again like any other
        fault that may pass."""
        pause = BACKOFF_S
        for attempt in range(1, call.attempts + 1):
            try:
                return decode(await self._send_once(call))
            except PlatformError as error:
                if attempt == call.attempts or not _may_pass_soon(error):
                    raise
            await self.clock.sleep(random.uniform(pause, 2 * pause))
            pause *= 2
        raise ValueError(f"a call needs at least one attempt: {call.attempts}")

    def decode(self, call: Call, answer: Answer, shape: type[T]) -> T:
        """The body as `shape`; `BadAnswer` says in what way it is not."""
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except UNREADABLE as error:
            wrong = self._safe(_what_is_wrong(answer.body, error))
            raise BadAnswer(f"{self._where(call)}: {wrong}", account=self.account) from error

    async def _send_once(self, call: Call) -> Answer:
        self._check_token()
        if self._net.client.is_closed:
            text = f"{self._where(call)}: not sent, because this program is stopping"
            raise Unreachable(text, account=self.account)
        async with self.budget.slot(call.family, call.priority), self._in_flight[call.priority]:
            return await self._exchange(call)

    def _check_token(self) -> None:
        """The libraries below would put a token that cannot be a header into their error messages."""
        token = self._token.get_secret_value()
        if not token or any(not "!" <= char <= "~" for char in token):
            raise CredentialsRefused(
                f"account '{self.account}': the token is empty or holds characters that no token has (white space, "
                "line breaks, accents); nothing was sent; check the token of this account",
                account=self.account,
            )

    async def _exchange(self, call: Call) -> Answer:
        started = asyncio.get_running_loop().time()
        status = 0
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                response, body, at = await self._transfer(call)
            status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            raise self._no_answer(call, error) from error
        finally:
            seconds = asyncio.get_running_loop().time() - started
            self._net.observer.notice(RequestDone(self.account, call.endpoint, status, seconds))
        self._read_headers(call, response, at)
        if not response.is_success:
            raise self._error(call, response, body, at)
        return Answer(body, self.clock.now())

    async def _transfer(self, call: Call) -> tuple[httpx.Response, bytes, datetime]:
        """The response, its body, and when its headers came (UTC)."""
        client = self._net.client
        request = client.build_request(
            call.method,
            self.base_url + call.path,
            params=call.params,
            json=call.json,
            headers={"Authorization": f"{self._scheme} {self._token.get_secret_value()}".strip()},
        )
        # An Auth that does nothing: a user name in the address must not replace the token.
        response = await client.send(request, auth=httpx.Auth(), stream=True)
        at = self.clock.now()
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    raise httpx.DecodingError("the answer is larger than any documented one", request=request)
            return response, bytes(body), at
        finally:
            await response.aclose()

    def _where(self, call: Call) -> str:
        # Neither a password in the address nor a token that the platform sent back as somebody's id.
        return self._redacted(f"account '{self.account}': {call.method} {_without_user(self.base_url)}{call.path}")

    def _no_answer(self, call: Call, error: Exception) -> PlatformError:
        detail = self._safe(str(error))
        text = f"{self._where(call)}: {_what_broke(error)}{f' ({detail})' if detail else ''}"
        if isinstance(error, httpx.DecodingError):
            return BadAnswer(f"{text}; check base_url, and whether a proxy stands in between", account=self.account)
        maybe_done = not isinstance(error, _NEVER_SENT)
        return Unreachable(f"{text}; check base_url and the network", account=self.account, maybe_done=maybe_done)

    def _read_headers(self, call: Call, response: httpx.Response, at: datetime) -> None:
        """Learn the platform's clock and how much of its rate limit is left."""
        if response.is_success:
            # Error pages often come from something in between, with a clock of its own.
            self.skew_s = self._skew(response, at)
            self.budget.ease(call.family)
        if response.status_code == 429:
            if asked := self._retry_after(response, at):
                self.budget.pause(call.family, asked)
            else:
                self.budget.back_off(call.family)
        elif response.headers.get("X-RateLimit-Remaining") == "0":
            # Not for longer than the platforms' windows are: what this header means is not documented everywhere.
            self.budget.pause(call.family, min(self._seconds_to_reset(response, at) or 0.0, _WINDOW_S))

    def _skew(self, response: httpx.Response, at: datetime) -> float:
        """How far the platform's clock is ahead of ours; what was known before if the answer does not say."""
        date = _parse_date(response.headers.get("Date"))
        if date is None:
            return self.skew_s
        skew = (date - at).total_seconds() + 0.5
        if abs(skew) > _SKEW_MAX_S:
            return self.skew_s
        return skew if abs(skew) > SKEW_NOISE_S else 0.0

    def _retry_after(self, response: httpx.Response, at: datetime) -> float | None:
        """For how long the platform wants to be left alone, as far as it is believed."""
        value = response.headers.get("Retry-After", "")
        if (seconds := _finite(value)) is not None:
            return min(seconds, PAUSE_MAX_S)
        if (date := _parse_date(value)) is not None:
            return min(max(0.0, (date - self._platform_time(response, at)).total_seconds()), PAUSE_MAX_S)
        return self._seconds_to_reset(response, at)

    def _seconds_to_reset(self, response: httpx.Response, at: datetime) -> float | None:
        epoch = _finite(response.headers.get("X-RateLimit-Reset", ""))
        if epoch is None:
            return None
        # Some servers give the seconds left instead of the epoch.
        left = epoch if epoch < 1_000_000 else epoch - self._platform_time(response, at).timestamp()
        return min(max(0.0, left), PAUSE_MAX_S)

    def _platform_time(self, response: httpx.Response, at: datetime) -> datetime:
        return at + timedelta(seconds=self._skew(response, at))

    def _error(self, call: Call, response: httpx.Response, body: bytes, at: datetime) -> PlatformError:
        status = response.status_code
        said = _WEB_PAGE if _is_web_page(body) else self._safe(_message(body))
        text = f"{self._where(call)}: HTTP {status}{f': {said}' if said else ''}"
        account = self.account
        if status == 429:
            return RateLimited(f"{text}; slowing down", account=account, retry_after=self._retry_after(response, at))
        if status in (408, 425) or status >= 500:
            return ServerFault(
                f"{text}; the platform has a problem, nothing to do but wait", account=account, status=status
            )
        if status in (401, 403):
            return CredentialsRefused(f"{text}; check the token of this account", account=account, status=status)
        if status == 404 and said is not _WEB_PAGE:
            hint = "the platform does not know this (any more); if it says so of everything, check base_url"
            return Gone(f"{text}; {hint}", account=account, status=status)
        if 300 <= status < 400:
            hint = "redirects are not followed, since the token belongs to this host; check base_url"
            return BadAnswer(f"{text}; {hint}", account=account, status=status)
        if status == 404:
            # The platforms' own 404 is JSON; this one says nothing about the object.
            hint = "check base_url, and whether a proxy or a log-in page stands in between"
            return BadAnswer(f"{text}; {hint}", account=account, status=status)
        return Refused(f"{text}; asking again will not help", account=account, status=status)

    def _redacted(self, text: str) -> str:
        """The text without our token, if it came back in any of its usual forms."""
        token = self._token.get_secret_value()
        forms = {token, quote(token, safe=""), quote_plus(token), repr(token)[1:-1], token.replace("\\", "\\\\")} - {""}
        pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        return re.sub(pattern, "***", text, flags=re.IGNORECASE) if pattern else text

    def _safe(self, text: str) -> str:
        """Foreign text made fit for logs: short, one line, and without our token if the server echoed it."""
        text = self._redacted(text)
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


#: What decoding a body may raise: broken JSON, JSON of another shape, broken UTF-8, brackets without end.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_WEB_PAGE = "a web page instead of JSON"
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    ValueError,
)


def _what_broke(error: Exception) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
    if isinstance(error, httpx.ReadTimeout):
        return f"no answer within {READ_TIMEOUT_S:.0f} s"
    if isinstance(error, TimeoutError):
        return f"no complete answer within {TOTAL_TIMEOUT_S:.0f} s"
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError)):
        return "the address cannot be used"
    words: dict[type[Exception], str] = {
        httpx.ConnectError: "cannot connect",
        httpx.ProxyError: "the proxy does not let us through",
        httpx.DecodingError: "an answer that cannot be read",
    }
    return words.get(type(error), "the connection broke")


def _may_pass_soon(error: PlatformError) -> bool:
    """Whether to try again at once: not what will be the same again, nor what asked for a long pause."""
    if isinstance(error, RateLimited):
        return (error.retry_after or 0.0) <= 10.0
    if isinstance(error, BadAnswer):
        return error.status is None and not isinstance(error.__cause__, msgspec.ValidationError)
    return error.retryable


def _without_user(url: str) -> str:
    """The address without user name, password and query, for messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def path_segment(text: str) -> str:
    """An id as one segment of a path: nothing in it can lead to another place (`/`, `?`, `..`)."""
    return "%2E" * len(text) if text in (".", "..") else quote(text, safe="~")


def _finite(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 <= number < 1e12 else None


def _parse_date(value: str | None) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(value or "")
    except (ValueError, TypeError, OverflowError):
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _message(body: bytes) -> str:
    """What an error answer says, from any of the documented shapes; nothing from a web page."""
    try:
        data = msgspec.json.decode(body)
    except UNREADABLE:
        return ""
    if not isinstance(data, dict):
        return ""
    error = data.get("error")
    if isinstance(error, dict):
        return ": ".join(part for key in ("type", "message") if isinstance(part := error.get(key), str) and part)
    texts = (data.get("detail"), error, data.get("message"))
    return next((text for text in texts if isinstance(text, str)), "")


def _is_web_page(body: bytes) -> bool:
    return body[:200].lstrip().startswith(b"<")


def _what_is_wrong(body: bytes, error: Exception) -> str:
    start = body[:200].lstrip()
    if not start:
        return "an empty answer instead of JSON; check base_url"
    if _is_web_page(body):
        return f"{_WEB_PAGE}; check base_url, and whether a proxy or a log-in page stands in between"
    if isinstance(error, msgspec.ValidationError):
        return f"JSON that is not as documented: {error}"
    return f"broken JSON: {error}"
