"""Requests of one account: what is sent, what is tried again, and what every fault is called.

Facts used: Apify asks clients to back off from 500 ms, by a random time between D and 2D, doubling D each time; lobstr
and Apify answer 429, lobstr with `Retry-After`. How errors come is said in `error_body`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TypeVar

import httpx
from pydantic import SecretStr

from watchdog import __version__
from watchdog.domain.notice import RequestDone, Trouble
from watchdog.domain.ports import Clock, Observer
from watchdog.domain.status import RateUse
from watchdog.errors import (
    BadAnswer,
    ConfigurationError,
    CredentialsRefused,
    PlatformError,
    RateLimited,
    Unreachable,
)
from watchdog.net.budget import BACKOFF_S, RateBudget
from watchdog.net.call import Answer, Call
from watchdog.net.client import BOUNDS, Bounds, Client
from watchdog.net.error_body import (
    ErrorFacts,
    OwnError,
    error_of,
    read_error,
    says_anything,
)
from watchdog.net.family import Departure
from watchdog.net.faults import (
    NEVER_SENT,
    may_be_the_token,
    may_pass_soon,
    what_broke,
    what_is_wrong,
    what_to_check,
    without_user,
)
from watchdog.net.headers import Told
from watchdog.net.lenient import UNREADABLE, Flaws, describe
from watchdog.net.lenient import decode as decode_leniently
from watchdog.net.token import Token
from watchdog.net.unpacking import read_body
from watchdog.net.window import WINDOW_S, Priority
from watchdog.redaction import MASK, UNMISTAKABLE, Redactor

T = TypeVar("T")

#: For each priority of an account: what waits for a slow answer holds up only its equals.
IN_FLIGHT_MAX = 32
#: So many different sentences about flawed answers are remembered, to be told once.
_TOLD_MAX = 500
#: What we can unpack, and the rest that goes with every request.
_HEADERS = (
    (b"Accept", b"application/json"),
    (b"Accept-Encoding", b"gzip, deflate"),
    (b"Connection", b"keep-alive"),
    (b"User-Agent", f"budget-watchdog/{__version__}".encode()),
)


class Net:
    """What all sessions share: the clock, the observer, the client, and the redactor, which learns every secret that
    is sent. Close it with `aclose`."""

    def __init__(
        self, clock: Clock, observer: Observer, redactor: Redactor | None = None, bounds: Bounds = BOUNDS
    ) -> None:
        self.clock = clock
        self.observer = observer
        self.redactor = redactor or Redactor()
        self.client = Client(self.redactor, bounds)
        self._budgets: dict[str, RateBudget] = {}

    def session(
        self,
        account: str,
        base_url: str,
        *,
        scheme: str,
        token: Token | SecretStr,
        requests_per_minute: int,
        is_own_error: OwnError = says_anything,
    ) -> Session:
        """A way to one account: its address, its token (sent as `Authorization: SCHEME TOKEN`), its rate budget, and
        how to tell the platform's own errors from those of something in between."""
        budget = self._budgets[account] = RateBudget(self.clock, requests_per_minute)
        token = token if isinstance(token, Token) else Token(token)
        return Session(self, account, base_url, scheme, token, budget, is_own_error)

    def rate_of(self, account: str) -> RateUse | None:
        """How much of its rate budget this account has used; None if it has no session."""
        budget = self._budgets.get(account)
        return None if budget is None else budget.use

    async def aclose(self) -> None:
        """Close every connection."""
        await self.client.aclose()


class Session:
    """Requests of one account, to its own host only."""

    def __init__(
        self,
        net: Net,
        account: str,
        base_url: str,
        scheme: str,
        token: Token,
        budget: RateBudget,
        is_own_error: OwnError = says_anything,
    ) -> None:
        self.account = account
        self.base_url = base_url.rstrip("/")
        self.budget = budget
        self.skew_s = 0.0
        self.knows_time = False
        self._net = net
        self._scheme = scheme
        self._token = token
        net.redactor.add(token.secret)
        self._is_own_error = is_own_error
        #: The token that a good answer has come to.
        self._good: SecretStr | None = None
        self._headers: tuple[SecretStr, list[tuple[bytes, bytes]]] | None = None
        self._told_trouble = ""
        #: Sentences of late, the oldest first.
        self._told_flaws: dict[str, None] = {}
        self._in_flight = {priority: asyncio.Semaphore(IN_FLIGHT_MAX) for priority in Priority}

    @property
    def platform_skew_s(self) -> float | None:
        """How far the platform's clock is ahead of ours; None if no answer has told its time yet."""
        return self.skew_s if self.knows_time else None

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
                if attempt == call.attempts or not may_pass_soon(error):
                    raise
            await self.clock.sleep(random.uniform(pause, 2 * pause))
            pause *= 2
        raise ValueError(f"a call needs at least one attempt: {call.attempts}")

    def decode(self, call: Call, answer: Answer, shape: type[T]) -> T:
        """The body as `shape`; `BadAnswer` says in what way it is not. What is no strict JSON is read as far as it
        goes, and told of."""
        try:
            value, flaws = decode_leniently(answer.body, shape)
        except UNREADABLE as error:
            wrong = self._safe(what_is_wrong(answer.body, error))
            raise BadAnswer(f"{self._where(call)}: {wrong}", account=self.account) from error
        if flaws:
            self._tell_flaws(call, flaws)
        return value

    def _tell_flaws(self, call: Call, flaws: Flaws) -> None:
        """Once for the same flaws in the same place, not at every look."""
        where = self._where(call)
        text = f"{where}: the answer has {self._safe(describe(flaws))}; the rest of it is used"
        is_new = text not in self._told_flaws
        self._told_flaws.pop(text, None)
        self._told_flaws[text] = None
        if len(self._told_flaws) > _TOLD_MAX:
            del self._told_flaws[next(iter(self._told_flaws))]
        if is_new:
            self._net.observer.notice(Trouble(text, account=self.account))

    async def _send_once(self, call: Call) -> Answer:
        """Sent once more if the token was refused and another one lies where it came from: it was replaced."""
        token = self._token.secret
        try:
            return await self._send_with(token, call)
        except PlatformError as error:
            if not may_be_the_token(error) or not await self._renew(token):
                raise
        return await self._send_with(self._token.secret, call)

    async def _renew(self, refused: SecretStr) -> bool:
        """Read the token again; whether there is another one to try. That it cannot be read is told once."""
        try:
            is_new = await self._token.renew(refused)
            # Those of before stay secret: they may be good still, and texts may hold them.
            self._net.redactor.add(self._token.secret)
        except ConfigurationError as error:
            trouble = f"the platform refuses the token, and it cannot be read again: {error}"
            if trouble != self._told_trouble:
                self._net.observer.notice(Trouble(trouble, account=self.account))
            self._told_trouble = trouble
            return False
        self._told_trouble = ""
        return is_new

    async def _send_with(self, token: SecretStr, call: Call) -> Answer:
        headers = self._headers_with(token)
        self._check_open(call)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(None if call.patience_s is None else self.clock.wall(call.patience_s)):
                    departure = await stack.enter_async_context(self.budget.slot(call.family, call.priority))
                    await stack.enter_async_context(self._in_flight[call.priority])
            except TimeoutError:
                raise self._not_sent(call) from None
            self._check_open(call)
            return await self._exchange(call, token, headers, departure)

    def _not_sent(self, call: Call) -> RateLimited:
        wait_s = self.budget.pause_s(call.family)
        text = f"{self._where(call)}: not sent within {call.patience_s:.0f} s, as the platform asks to slow down"
        return RateLimited(text, account=self.account, retry_after=wait_s)

    def _check_open(self, call: Call) -> None:
        if self._net.client.is_closed:
            text = f"{self._where(call)}: not sent, because this program is stopping"
            raise Unreachable(text, account=self.account)

    def _headers_with(self, secret: SecretStr) -> list[tuple[bytes, bytes]]:
        """What goes with every request."""
        if self._headers is not None and self._headers[0] is secret:
            return self._headers[1]
        token = secret.get_secret_value()
        # The libraries below would put a token that cannot be a header into their error messages.
        if not token or any(not "!" <= char <= "~" for char in token):
            raise CredentialsRefused(
                f"account '{self.account}': the token is empty or holds characters that no token has (white space, "
                "line breaks, accents); nothing was sent; check the token of this account",
                account=self.account,
            )
        headers = [*_HEADERS, (b"Authorization", f"{self._scheme} {token}".strip().encode())]
        self._headers = secret, headers
        return headers

    async def _exchange(
        self, call: Call, token: SecretStr, headers: list[tuple[bytes, bytes]], departure: Departure
    ) -> Answer:
        started = asyncio.get_running_loop().time()
        status = 0
        try:
            response, body, at = await self._receive(call, headers)
            status = response.status_code
            told = Told(response.headers, at)
            self._take_to_heart(told, status, departure)
        finally:
            self._tell(call, status, asyncio.get_running_loop().time() - started)
        if not response.is_success:
            raise self._error(call, token, status, body, told)
        self._good = token
        return Answer(_without(token, body), self.clock.now())

    def _tell(self, call: Call, status: int, seconds: float) -> None:
        state = self.budget.state(call.family)
        self._net.observer.notice(
            RequestDone(self.account, call.endpoint, status, seconds, call.family, state.allowed_per_minute, state.used)
        )

    async def _receive(self, call: Call, headers: list[tuple[bytes, bytes]]) -> tuple[httpx.Response, bytes, datetime]:
        """The response, its body, and when its headers came (UTC)."""
        try:
            async with asyncio.timeout(self._net.client.bounds.whole_s):
                return await self._transfer(call, headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError, ValueError) as error:
            raise self._no_answer(call, error) from error

    async def _transfer(self, call: Call, headers: list[tuple[bytes, bytes]]) -> tuple[httpx.Response, bytes, datetime]:
        url = self.base_url + call.path
        # What we write onto a run is there for all to see who see the run.
        json = None if call.json is None else self._net.redactor.value(call.json)
        request = httpx.Request(call.method, url, params=call.params, headers=headers, json=json)
        response = await self._net.client.send(request)
        at = self.clock.now()
        try:
            return response, await read_body(response, request, self._net.client.bounds.body_bytes), at
        finally:
            await response.aclose()

    def _where(self, call: Call) -> str:
        # Neither a password in the address nor a token that the platform sent back as somebody's id.
        return self._redacted(f"account '{self.account}': {call.method} {without_user(self.base_url)}{call.path}")

    def _no_answer(self, call: Call, error: Exception) -> PlatformError:
        detail = self._safe(str(error))
        text = f"{self._where(call)}: {what_broke(error, self._net.client.bounds)}{f' ({detail})' if detail else ''}"
        if isinstance(error, httpx.DecodingError):
            return BadAnswer(f"{text}; check base_url, and whether a proxy stands in between", account=self.account)
        maybe_done = not isinstance(error, NEVER_SENT)
        return Unreachable(f"{text}; {what_to_check(error, detail)}", account=self.account, maybe_done=maybe_done)

    def _take_to_heart(self, told: Told, status: int, departure: Departure) -> None:
        """Learn the platform's clock and how much of its rate limit is left."""
        family = departure.family
        if 200 <= status < 300:
            # Error pages often come from something in between, with a clock of its own.
            self.skew_s = told.skew_s(self.skew_s)
            self.knows_time = self.knows_time or told.tells_time
            self.budget.ease(family)
        if quota := told.quota(self.skew_s):
            self.budget.learn(departure, quota)
        asked = self._asked_pause_s(told, status)
        if status == 429:
            self.budget.shrink(departure)
        if asked:
            self.budget.pause(family, asked)
        elif status == 429:
            self.budget.back_off(family)
        elif quota and quota.remaining == 0:
            # Not for longer than the platforms' windows are: what this header means is not documented everywhere.
            self.budget.pause(family, min(max(quota.reset_s, 0.0), WINDOW_S))

    def _asked_pause_s(self, told: Told, status: int) -> float | None:
        """For how long the platform asks to be left alone. The reset of its count means that only with a 429."""
        if 200 <= status < 300:
            return None
        return told.retry_after_s(self.skew_s, or_reset=status == 429)

    def _error(self, call: Call, token: SecretStr, status: int, body: bytes, told: Told) -> PlatformError:
        said = read_error(body, self._is_own_error)
        if status == 401 and said.is_own:
            self._good = None
        facts = ErrorFacts(
            self.account,
            status,
            self._where(call),
            self._safe(said.text),
            self._safe(said.kind),
            self._asked_pause_s(told, status),
            token_works=self._good == token,
        )
        return error_of(said, facts)

    def _redacted(self, text: str) -> str:
        """The text without secrets, if one came back in any of its usual forms."""
        return self._net.redactor.text(text)

    def _safe(self, text: str) -> str:
        """Foreign text made fit for logs: short, one line, and without our token if the server echoed it."""
        text = self._redacted(text)
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200]


def _without(token: SecretStr, body: bytes) -> bytes:
    """The body without our token, should the platform show it in a name or a text that we keep."""
    plain = token.get_secret_value().encode()
    return body.replace(plain, MASK.encode()) if len(plain) >= UNMISTAKABLE and plain in body else body
