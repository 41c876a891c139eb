"""The simulated platforms: one server on loopback that speaks both APIs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec

from watchdog.simulated.account import Fate
from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_api import ApifyDialect
from watchdog.simulated.apify_run import ABORTABLE
from watchdog.simulated.clock import SimClock
from watchdog.simulated.faults import ArmedFault, BodySpoiler, Fault, Faults, Layout, spoil_wire
from watchdog.simulated.http import (
    Answer,
    Delivery,
    Request,
    Route,
    Target,
    resolve,
    serve_connection,
)
from watchdog.simulated.lobstr import LobstrAccount
from watchdog.simulated.lobstr_api import LobstrDialect
from watchdog.simulated.records import PlatformName, RequestRecord, RunTruth

_WEB_PAGE: Final = b"<!doctype html><html><head><title>Just a moment...</title></head><body>Please wait.</body></html>"
_THREAD_TIMEOUT_S: Final = 10.0
_HOLD_STEP_S: Final = 0.02


class Dialect(Protocol):
    """How one platform speaks; each is written in a module of its own."""

    @property
    def name(self) -> str: ...
    @property
    def routes(self) -> tuple[Route, ...]: ...
    @property
    def layout(self) -> Layout: ...
    def token(self, request: Request) -> str | None: ...
    def error(self, status: int, message: str | None = None) -> Answer: ...
    def unauthorized(self, token: str | None) -> Answer: ...
    def lost(self, target: Target) -> Answer: ...
    def throttled(self, retry_after_s: int | None) -> Answer: ...
    def dress(self, answer: Answer, account: Any = None) -> Answer: ...
    def answer(self, account: Any, target: Target, request: Request, now_s: float, fate: Fate) -> Answer: ...
    def preceding(self, account: Any, request: Request, now_s: float) -> Any: ...


class SimulatedPlatforms:
    """Both platforms behind one address: Apify under `/v2`, lobstr under `/v1`.

    Serve with `async with`, or from synchronous code with `with platforms.serve_in_thread()`. Accounts, runs
    and faults may be added before or while serving, from any thread. `port` 0 takes a free one; `seed` makes
    ids and random faults the same every time.
    """

    def __init__(self, clock: SimClock | None = None, *, host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> None:
        self.clock = clock or SimClock()
        self.faults = Faults(seed)
        self.requests: list[RequestRecord] = []
        """Every request that was read completely, in the order of the answers."""
        self.date_skew_seconds = 0.0
        """Added to the platform's time in the `Date` header."""
        self._host = host
        self._port = port
        self._seed = seed
        self._lock = threading.RLock()
        self._dialects: dict[PlatformName, Dialect] = {"apify": ApifyDialect(), "lobstr": LobstrDialect()}
        self._accounts: list[ApifyAccount | LobstrAccount] = []
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, the base URL of both APIs. RuntimeError unless serving."""
        if self._server is None:
            raise RuntimeError("the simulated platforms are not serving")
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def accounts(self) -> tuple[ApifyAccount | LobstrAccount, ...]:
        """All accounts, in the order of their index."""
        with self._lock:
            return tuple(self._accounts)

    def apify(self, token: str = "apify_api_simulated", username: str = "janedoe") -> ApifyAccount:  # noqa: S107  # made up
        """The Apify account of this token; made if it is new."""
        with self._lock:
            known = self._account("apify", token)
            if isinstance(known, ApifyAccount):
                return known
            account = ApifyAccount(token, username, len(self._accounts), self.clock, self._lock, self._seed)
            self._accounts.append(account)
            return account

    def lobstr(self, token: str = "lobstr_simulated") -> LobstrAccount:  # noqa: S107  # made up
        """The lobstr account of this token; made if it is new."""
        with self._lock:
            known = self._account("lobstr", token)
            if isinstance(known, LobstrAccount):
                return known
            account = LobstrAccount(token, len(self._accounts), self.clock, self._lock, self._seed)
            self._accounts.append(account)
            return account

    def truth(self) -> list[RunTruth]:
        """What really happened to every run of every account."""
        with self._lock:
            return [truth for account in self._accounts for truth in account.truth()]

    async def __aenter__(self) -> Self:
        if self._server is not None:
            raise RuntimeError("the simulated platforms are serving already")
        self._server = await asyncio.start_server(self._connected, self._host, self._port, backlog=1024)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        # Hanging requests would keep a polite shutdown waiting for ever.
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        # The sockets close in the next turn of the loop.
        await asyncio.sleep(0)
        await server.wait_closed()

    @contextlib.contextmanager
    def serve_in_thread(self) -> Iterator[Self]:
        """Serve from a thread with an event loop of its own, for synchronous callers."""
        started, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()
        failures: list[BaseException] = []

        async def serve() -> None:
            stop = asyncio.Event()
            async with self:
                loops.append((asyncio.get_running_loop(), stop))
                started.set()
                await stop.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as failure:  # noqa: BLE001  # handed to the thread that waits
                failures.append(failure)
            finally:
                started.set()

        thread = threading.Thread(target=run, name="simulated-platforms", daemon=True)
        thread.start()
        started.wait(_THREAD_TIMEOUT_S)
        if not loops:
            raise RuntimeError("the simulated platforms did not start") from next(iter(failures), None)
        try:
            yield self
        finally:
            loop, stop = loops[0]
            loop.call_soon_threadsafe(stop.set)
            thread.join(_THREAD_TIMEOUT_S)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve_connection(reader, writer, self._answer, self._date))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    def _date(self) -> str:
        now = self.clock.now() + timedelta(seconds=self.date_skew_seconds)
        return format_datetime(now, usegmt=True)

    def _account(self, platform: PlatformName, token: str) -> ApifyAccount | LobstrAccount | None:
        same = (a for a in self._accounts if a.platform == platform and token in {a.token, *a.other_tokens})
        return next(same, None)

    async def _answer(self, request: Request) -> Answer:
        platform: PlatformName = "lobstr" if request.path.startswith("/v1") else "apify"
        dialect = self._dialects[platform]
        target = resolve(dialect.routes, request.method, request.path)
        token = dialect.token(request)
        account = None if token is None else self._account(platform, token)
        exchange = _Exchange(self.clock, self.faults, dialect, account, target, request)
        struck = exchange.strike()
        for armed in struck:
            if armed.fault.kind == "delay":
                await asyncio.sleep(armed.fault.delay_s)
        with self._lock:
            answer = exchange.answer(token, struck)
        if (hold := answer.hold) is not None:
            while not hold.is_over():  # noqa: ASYNC110  # platform time has no events to wait for
                await asyncio.sleep(_HOLD_STEP_S)
            with self._lock:
                answer = exchange.finish(hold.answer(), struck)
        self._record(platform, exchange, answer)
        return answer

    def _record(self, platform: PlatformName, exchange: _Exchange, answer: Answer) -> None:
        request = exchange.request
        record = RequestRecord(
            monotonic_s=time.monotonic(),
            at=self.clock.now(),
            account=exchange.account_index,
            platform=platform,
            endpoint=exchange.target.endpoint,
            method=request.method,
            path=request.path,
            query={name: "***" if name == "token" else value for name, value in request.query.items()},
            status=answer.status if answer.is_sent else None,
        )
        self.requests.append(record)


class _Exchange:
    """One request and its answer, with the faults between them."""

    def __init__(
        self,
        clock: SimClock,
        faults: Faults,
        dialect: Dialect,
        account: ApifyAccount | LobstrAccount | None,
        target: Target,
        request: Request,
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._dialect = dialect
        self._account = account
        self.target = target
        self.request = request

    @property
    def account_index(self) -> int | None:
        return None if self._account is None else self._account.index

    def strike(self) -> list[ArmedFault]:
        """Find the faults that strike; count the abort requests of runs first, whatever becomes of them."""
        if self.target.endpoint is None:
            return []
        if self.target.endpoint == "abort" and self._account is not None:
            run = self._account.find(self.target.id)
            if run is not None:
                run.abort_requests += 1
        return self._faults.strike(self.target.endpoint, self.account_index, self.target.id)

    def answer(self, token: str | None, struck: list[ArmedFault]) -> Answer:
        """The answer, as the faults leave it."""
        for armed in struck:
            if (instead := self._instead(armed.fault)) is not None:
                return instead
        honest = self._honest(token, struck)
        return honest if honest.hold is not None else self.finish(honest, struck)

    def finish(self, honest: Answer, struck: list[ArmedFault]) -> Answer:
        """An honest answer with the headers that all have, spoilt by the faults."""
        answer = self._dialect.dress(honest, self._account)
        self._spoiler().apply(answer, struck)
        for armed in struck:
            self._claim(answer, armed.fault)
            spoil_wire(answer, armed.fault)
        return answer

    def _honest(self, token: str | None, struck: list[ArmedFault]) -> Answer:
        if self.target.endpoint is None:
            return self._dialect.lost(self.target)
        if self._account is None:
            return self._dialect.unauthorized(token)
        now_s = self._clock.elapsed_s()
        return self._dialect.answer(self._account, self.target, self.request, now_s, _fate(struck))

    def _instead(self, fault: Fault) -> Answer | None:
        """The answer of a fault that keeps the request from being carried out; None for other faults."""
        match fault.kind:
            case "hang":
                return Answer(0, delivery=Delivery.HANG)
            case "reset":
                return Answer(0, delivery=Delivery.RESET)
            case "html":
                return Answer(200, fault.body or _WEB_PAGE, dict(fault.headers), "text/html; charset=utf-8")
            case "redirect":
                return Answer(302, headers={"Location": fault.location, **fault.headers})
            case "rate_limited":
                return self._with_headers(
                    self._dialect.dress(self._dialect.throttled(fault.retry_after_s), self._account), fault
                )
            case "status":
                answer = self._dialect.dress(self._dialect.error(fault.status), self._account)
                answer.body = answer.body if fault.body is None else fault.body
                return self._with_headers(answer, fault)
        return None

    def _with_headers(self, answer: Answer, fault: Fault) -> Answer:
        answer.headers.update(fault.headers)
        return answer

    def _spoiler(self) -> BodySpoiler:
        now_s = self._clock.elapsed_s()
        preceding = functools.partial(self._dialect.preceding, self._account, self.request, now_s)
        return BodySpoiler(self._dialect.layout, self.target.endpoint or "", self._faults, preceding)

    def _claim(self, answer: Answer, fault: Fault) -> None:
        """Let the answer to an abort that was ignored say that it was not."""
        if not (fault.kind == "abort_ignored" and fault.claims_stopped and answer.status == 200):
            return
        if not answer.body:
            return
        document = msgspec.json.decode(answer.body)
        if self._dialect.name == "lobstr":
            document.update(status="uploading", is_done=True, done_reason="aborted")
        elif document["data"]["status"] in ABORTABLE:
            document["data"]["status"] = "ABORTING"
        answer.body = msgspec.json.encode(document)


def _fate(struck: list[ArmedFault]) -> Fate:
    kinds = {armed.fault.kind for armed in struck}
    if "abort_ignored" in kinds:
        return Fate.IGNORED
    return Fate.STUCK if "abort_stuck" in kinds else Fate.NORMAL
