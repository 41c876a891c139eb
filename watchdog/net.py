"""The only door to httpx: one shared client, time-outs, retries, the rate budget, and errors by class.

Facts used: Apify asks clients to back off from 500 ms, by a random time between D and 2D, doubling D each time; lobstr
and Apify answer 429, lobstr with `Retry-After`. Errors come as `{"error": {"type", "message"}}` from both and as
`{"detail": "..."}` from lobstr.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import IntEnum
from typing import Any, TypeVar

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
#: More than this in flight and httpx gets slower, not faster (measured; DESIGN section 6).
IN_FLIGHT_MAX = 8
READ_ATTEMPTS = 3
BACKOFF_S = 0.5
#: Differences below this are the one-second grain of the Date header and the way of the answer, not a wrong clock.
SKEW_NOISE_S = 2.0
#: A pause that a platform asks for is believed up to this; beyond it we look again ourselves.
PAUSE_MAX_S = 900.0
_WINDOW_S = 60.0


class Priority(IntEnum):
    """Who goes first when the rate budget is short: each class leaves a share of the budget to those before it."""

    ABORT = 0
    SWEEP = 1
    LOOK = 2


class RateBudget:
    """At most `per_minute` requests in any 60 s, with a share kept for aborts, and another for sweeps before looks.

    A sliding window rather than a bucket: a bucket lets a burst and its refill through in one minute, which is more
    than was promised. Families are groups of endpoints that a platform limits together; a pause it asks for
    (`pause`) holds for its family only.
    """

    def __init__(self, clock: Clock, per_minute: int) -> None:
        self._clock = clock
        self._limit = max(1, per_minute)
        self._reserve = round(0.15 * self._limit)
        self._sent: deque[float] = deque()
        self._paused_until: dict[str, float] = {}

    async def acquire(self, family: str, priority: Priority) -> None:
        """Wait until a request may be sent, and count it."""
        while (wait := self._wait(family, priority)) > 0:
            await self._clock.sleep(wait)
        self._sent.append(self._clock.monotonic())

    def _wait(self, family: str, priority: Priority) -> float:
        now = self._clock.monotonic()
        while self._sent and self._sent[0] <= now - _WINDOW_S:
            self._sent.popleft()
        allowed = max(1, self._limit - priority * self._reserve)
        full_for = self._sent[len(self._sent) - allowed] + _WINDOW_S - now if len(self._sent) >= allowed else 0.0
        return max(full_for, self._paused_until.get(family, now) - now)

    def pause(self, family: str, seconds: float) -> None:
        """Send nothing of this family for a while, because the platform asked for it."""
        until = self._clock.monotonic() + min(seconds, PAUSE_MAX_S)
        self._paused_until[family] = max(until, self._paused_until.get(family, until))

    @property
    def in_window(self) -> int:
        """Requests counted in the current window."""
        return len(self._sent)


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


class Net:
    """The shared client. Close it with `aclose`."""

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self.clock = clock
        self.observer = observer
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16, keepalive_expiry=60)
        # Proxies of the environment hold for the platforms, but loopback is never behind one.
        direct: dict[str, httpx.AsyncBaseTransport | None] = {
            f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")
        }
        self.client = httpx.AsyncClient(
            timeout=timeout,
            limits=limits,
            mounts=direct,
            follow_redirects=False,
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
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)

    @property
    def clock(self) -> Clock:
        """The clock that every time here is read from."""
        return self._net.clock

    async def send(self, call: Call) -> Answer:
        """Send a request and return the answer, if it is a good one (2xx).

        Raises the `PlatformError` that fits; retryable ones only after `call.attempts` tries.
        """
        pause = BACKOFF_S
        for attempt in range(1, call.attempts + 1):
            try:
                return await self._send_once(call)
            except PlatformError as error:
                if not error.retryable or attempt == call.attempts or _asks_for_long_pause(error):
                    raise
            await self.clock.sleep(random.uniform(pause, 2 * pause))
            pause *= 2
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def get(self, call: Call, shape: type[T]) -> tuple[T, Answer]:
        """Send a request and decode the JSON of its answer."""
        answer = await self.send(call)
        return self.decode(call, answer, shape), answer

    def decode(self, call: Call, answer: Answer, shape: type[T]) -> T:
        """The body as `shape`; `BadAnswer` says in what way it is not."""
        try:
            return msgspec.json.decode(answer.body, type=shape)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            wrong = _what_is_wrong(answer.body, error)
            raise BadAnswer(f"{self._where(call)}: {wrong}", account=self.account) from error

    async def _send_once(self, call: Call) -> Answer:
        await self.budget.acquire(call.family, call.priority)
        if call.priority is Priority.ABORT:
            return await self._exchange(call)
        async with self._in_flight:
            return await self._exchange(call)

    async def _exchange(self, call: Call) -> Answer:
        started = asyncio.get_running_loop().time()
        status = 0
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                response, body = await self._transfer(call)
            status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise self._no_answer(call, error) from error
        finally:
            seconds = asyncio.get_running_loop().time() - started
            self._net.observer.notice(RequestDone(self.account, call.endpoint, status, seconds))
        self._read_headers(call, response)
        if not response.is_success:
            raise self._error(call, response, body)
        return Answer(body, self.clock.now())

    async def _transfer(self, call: Call) -> tuple[httpx.Response, bytes]:
        client = self._net.client
        request = client.build_request(
            call.method,
            self.base_url + call.path,
            params=call.params,
            json=call.json,
            headers={"Authorization": f"{self._scheme} {self._token.get_secret_value()}"},
        )
        response = await client.send(request, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > BODY_MAX_BYTES:
                    raise httpx.DecodingError("the answer is larger than any documented one", request=request)
            return response, bytes(body)
        finally:
            await response.aclose()

    def _where(self, call: Call) -> str:
        return f"account '{self.account}': {call.method} {self.base_url}{call.path}"

    def _no_answer(self, call: Call, error: Exception) -> Unreachable:
        never_sent = isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.InvalidURL))
        what = {
            httpx.ConnectError: "cannot connect",
            httpx.ConnectTimeout: f"no connection within {CONNECT_TIMEOUT_S:.0f} s",
            httpx.ReadTimeout: f"no answer within {READ_TIMEOUT_S:.0f} s",
            TimeoutError: f"no complete answer within {TOTAL_TIMEOUT_S:.0f} s",
        }.get(type(error), "the connection broke")
        detail = self._safe(str(error))
        text = f"{self._where(call)}: {what}{f' ({detail})' if detail else ''}; check base_url and the network"
        return Unreachable(text, account=self.account, maybe_done=not never_sent)

    def _read_headers(self, call: Call, response: httpx.Response) -> None:
        """Learn the platform's clock and how much of its rate limit is left."""
        if (date := _parse_date(response.headers.get("Date"))) is not None:
            skew = (date - self.clock.now()).total_seconds() + 0.5
            self.skew_s = skew if abs(skew) > SKEW_NOISE_S else 0.0
        if response.status_code == 429:
            self.budget.pause(call.family, self._retry_after(response) or BACKOFF_S)
        elif response.headers.get("X-RateLimit-Remaining") == "0":
            self.budget.pause(call.family, self._seconds_to_reset(response) or 0.0)

    def _retry_after(self, response: httpx.Response) -> float | None:
        value = response.headers.get("Retry-After", "")
        if (seconds := _finite(value)) is not None:
            return seconds
        if (date := _parse_date(value)) is not None:
            return max(0.0, (date - self._platform_now()).total_seconds())
        return self._seconds_to_reset(response)

    def _seconds_to_reset(self, response: httpx.Response) -> float | None:
        epoch = _finite(response.headers.get("X-RateLimit-Reset", ""))
        if epoch is None:
            return None
        # Some servers give the seconds left instead of the epoch.
        left = epoch if epoch < 1_000_000 else epoch - self._platform_now().timestamp()
        return min(max(0.0, left), PAUSE_MAX_S)

    def _platform_now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.now().timestamp() + self.skew_s, UTC)

    def _error(self, call: Call, response: httpx.Response, body: bytes) -> PlatformError:
        status = response.status_code
        said = self._safe(_message(body))
        text = f"{self._where(call)}: HTTP {status}{f': {said}' if said else ''}"
        account = self.account
        if status == 429:
            return RateLimited(f"{text}; slowing down", account=account, retry_after=self._retry_after(response))
        if status in (408, 425) or status >= 500:
            return ServerFault(f"{text}; the platform has a problem", account=account, status=status)
        if status in (401, 403):
            return CredentialsRefused(f"{text}; check the token of this account", account=account, status=status)
        if status == 404:
            return Gone(text, account=account, status=status)
        if 300 <= status < 400:
            hint = "redirects are not followed, since the token belongs to this host; check base_url"
            return BadAnswer(f"{text}; {hint}", account=account, status=status)
        return Refused(text, account=account, status=status)

    def _safe(self, text: str) -> str:
        """Foreign text made fit for logs: short, one line, and without our token if the server echoed it."""
        token = self._token.get_secret_value()
        text = text.replace(token, "***") if token else text
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


def _asks_for_long_pause(error: PlatformError) -> bool:
    return isinstance(error, RateLimited) and (error.retry_after or 0.0) > 10.0


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
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    if not isinstance(data, dict):
        return ""
    error = data.get("error")
    if isinstance(error, dict):
        return f"{error.get('type', '')}: {error.get('message', '')}".strip(": ")
    text = data.get("detail", error)
    return text if isinstance(text, str) else ""


def _what_is_wrong(body: bytes, error: Exception) -> str:
    start = body[:200].lstrip()
    if not start:
        return "an empty answer instead of JSON"
    if start.startswith(b"<"):
        return "a web page instead of JSON; check base_url, and whether a proxy or a log-in page stands in between"
    if isinstance(error, msgspec.ValidationError):
        return f"JSON that is not as documented: {error}"
    return f"broken JSON: {error}"
