"""Ways to do one cycle over an Apify account: list, judge, look again at what is over a limit, abort it.

`Naive` is what a user would write over the official client. `Bare` is the least that can be written by hand, with
aiohttp and msgspec; `Floor` the same with httpx's client over aiohttp's connections, as our own requests are made.
`Ours` is the daemon as it is in production: ledger on disk, metrics, logs. Each lives in a process of its own and has
the same face: `begin` (untimed), `cycle` (timed, up to the answer of the last abort), `end` (untimed).
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import msgspec
from pydantic import SecretStr

from bench.fleet import PlainRule, write_rules
from bench.frame import Sample, Stopwatch
from bench.profile import Breakdown, broken_down
from watchdog.app import App, opened
from watchdog.config.models import AccountSettings, Settings
from watchdog.domain.notice import Notice, RequestDone
from watchdog.net.transport import AiohttpTransport
from watchdog.telemetry.logs import LogObserver, configure_logging

ACTIVE = ["READY", "RUNNING", "TIMING-OUT"]
SWEEPS_MAX = 4
Params = dict[str, str | int] | None


class TooFewAborts(AssertionError):
    """A contender did not do the job, so its time means nothing."""


@dataclass(frozen=True, slots=True)
class Task:
    """What every contender gets: where, with which rules, and how many aborts are right."""

    url: str
    token: str
    rules: tuple[PlainRule, ...]
    crossing: int
    actor_ids: tuple[str, ...] = ()


# --- (a) what a user would write -------------------------------------------------------------------------------------


class Naive:
    """A loop over the official client, one thing after the other, in good faith: its own pagination, `fnmatch` on names
    that are looked up once, and a second look before each abort."""

    def __init__(self, task: Task) -> None:
        from apify_client import ApifyClient  # only the benchmarks have it

        self._task = task
        self._client = ApifyClient(task.token, api_url=task.url, api_public_url=task.url)
        self._names: dict[str, str] = {}

    def begin(self, cold: bool) -> None:
        self._names.clear()
        if not cold:
            for actor_id in self._task.actor_ids:
                self._name_of(actor_id)
        gc.collect()

    def cycle(self) -> Sample:
        watch = Stopwatch()
        aborts = self._cycle(watch)
        if len(aborts) != self._task.crossing:
            raise TooFewAborts(f"{len(aborts)} aborts")
        return aborts[-1]

    def end(self) -> None:
        """Nothing is kept but names."""

    def _cycle(self, watch: Stopwatch | None = None) -> list[Sample]:
        """One pass; when the answer to each abort came."""
        aborted = []
        for run in list(self._client.runs().iterate(status=ACTIVE, desc=True)):
            name = self._name_of(run.act_id)
            rules = [rule for rule in self._task.rules if fnmatch(name, rule.actor)]
            # The list does not tell compute units: a limit on them takes a look at the run itself.
            units = any(rule.max_credits is not None for rule in rules)
            if not self._is_broken(self._client.run(run.id).get() if units else run, rules):
                continue
            fresh = self._client.run(run.id).get()
            if fresh is not None and fresh.status in ACTIVE and self._is_broken(fresh, rules):
                self._client.run(run.id).abort()
                if watch is not None:
                    aborted.append(watch.stop())
        return aborted

    def _name_of(self, actor_id: str) -> str:
        if actor_id not in self._names:
            actor = self._client.actor(actor_id).get()
            self._names[actor_id] = f"{actor.username}/{actor.name}" if actor else actor_id
        return self._names[actor_id]

    @staticmethod
    def _is_broken(run: Any, rules: Sequence[PlainRule]) -> bool:
        seconds = (datetime.now(UTC) - run.started_at).total_seconds()
        units = run.stats.compute_units if hasattr(run, "stats") else None
        for rule in rules:
            if rule.max_cost_usd is not None and (run.usage_total_usd or 0) >= rule.max_cost_usd:
                return True
            if rule.max_duration_s is not None and seconds >= rule.max_duration_s:
                return True
            if rule.max_credits is not None and units is not None and units >= rule.max_credits:
                return True
        return False


# --- (b) the floors --------------------------------------------------------------------------------------------------


class _Short(msgspec.Struct, rename="camel", gc=False):
    id: str
    act_id: str
    status: str
    started_at: datetime
    usage_total_usd: float = 0.0


class _Items(msgspec.Struct):
    items: list[_Short]
    total: int


class _List(msgspec.Struct):
    data: _Items


class _Stats(msgspec.Struct, rename="camel"):
    run_time_secs: float = 0.0
    compute_units: float = 0.0


class _Options(msgspec.Struct, rename="camel"):
    memory_mbytes: int = 0


class _Long(_Short, rename="camel"):
    stats: _Stats = field(default_factory=_Stats)
    options: _Options = field(default_factory=_Options)


class _One(msgspec.Struct):
    data: _Long


class _Named(msgspec.Struct):
    id: str
    name: str
    username: str


class _ActorOne(msgspec.Struct):
    data: _Named


class _ActorItems(msgspec.Struct):
    items: list[_Named]
    total: int


class _ActorList(msgspec.Struct):
    data: _ActorItems


@dataclass(slots=True)
class _Lowest:
    """The lowest limits on the runs of one Actor."""

    usd: float = math.inf
    seconds: float = math.inf
    units: float = math.inf

    def add(self, rule: PlainRule) -> None:
        self.usd = min(self.usd, math.inf if rule.max_cost_usd is None else rule.max_cost_usd)
        self.seconds = min(self.seconds, math.inf if rule.max_duration_s is None else rule.max_duration_s)
        self.units = min(self.units, math.inf if rule.max_credits is None else rule.max_credits)


class Bare:
    """The least that does the job: no ledger, no metrics, no retries, no care for faults."""

    IN_FLIGHT = 8
    #: From so many Actors on the list of them is read.
    LIST_FROM = 5

    def __init__(self, task: Task) -> None:
        self._task = task
        self._runner = asyncio.Runner()
        self._client: aiohttp.ClientSession
        self._page = msgspec.json.Decoder(_List)
        self._one = msgspec.json.Decoder(_One)
        self._limits: dict[str, _Lowest] = {}
        self._memory: dict[str, float] = {}
        self._runner.run(self._open())

    def begin(self, cold: bool) -> None:
        if cold:
            self._limits.clear()
            self._memory.clear()
        elif not self._limits:
            self._runner.run(self._cycle(Stopwatch()))
        gc.collect()

    def cycle(self) -> Sample:
        samples = self._runner.run(self._cycle(Stopwatch()))
        if len(samples) != self._task.crossing:
            raise TooFewAborts(f"{len(samples)} aborts")
        return samples[-1]

    def end(self) -> None:
        """Nothing is kept but names and memory sizes."""

    def close(self) -> None:
        self._runner.run(self._aclose())
        self._runner.close()

    async def _open(self) -> None:
        headers = {"Authorization": f"Bearer {self._task.token}"}
        self._client = aiohttp.ClientSession(self._task.url, headers=headers)

    async def _aclose(self) -> None:
        await self._client.close()

    async def _ask(self, method: str, path: str, params: Params = None) -> bytes:
        async with self._client.request(method, path, params=params) as answer:
            return await answer.read()

    async def _cycle(self, watch: Stopwatch) -> list[Sample]:
        aborted: list[Sample] = []
        gate = asyncio.Semaphore(self.IN_FLIGHT)

        async def see_to(run: _Short) -> None:
            async with gate:
                if await self._see_to(run):
                    aborted.append(watch.stop())

        runs = await self._list()
        await self._learn({run.act_id for run in runs} - self._limits.keys())
        await asyncio.gather(*(see_to(run) for run in self._suspects(runs)))
        return aborted

    async def _list(self) -> list[_Short]:
        first = await self._list_page(0)
        pages = await asyncio.gather(*(self._list_page(offset) for offset in range(1000, first.total, 1000)))
        return [run for page in (first, *pages) for run in page.items]

    async def _list_page(self, offset: int) -> _Items:
        params: dict[str, str | int] = {"status": ",".join(ACTIVE), "limit": 1000, "offset": offset}
        return self._page.decode(await self._ask("GET", "/v2/actor-runs", params)).data

    async def _learn(self, actor_ids: set[str]) -> None:
        """The limits on each Actor's runs, once: by the list of Actors, and one by one what that does not show."""
        gate = asyncio.Semaphore(self.IN_FLIGHT)

        async def learn(actor_id: str) -> None:
            async with gate:
                answer = await self._ask("GET", f"/v2/actors/{actor_id}")
            self._take(msgspec.json.decode(answer, type=_ActorOne).data)

        if len(actor_ids) >= self.LIST_FROM:
            for actor in await self._list_actors():
                self._take(actor)
        await asyncio.gather(*map(learn, actor_ids - self._limits.keys()))

    async def _list_actors(self) -> list[_Named]:
        first = await self._actors_page(0)
        pages = await asyncio.gather(*(self._actors_page(offset) for offset in range(1000, first.total, 1000)))
        return [actor for page in (first, *pages) for actor in page.items]

    async def _actors_page(self, offset: int) -> _ActorItems:
        answer = await self._ask("GET", "/v2/actors", {"limit": 1000, "offset": offset})
        return msgspec.json.decode(answer, type=_ActorList).data

    def _take(self, actor: _Named) -> None:
        lowest = self._limits[actor.id] = _Lowest()
        for rule in self._task.rules:
            if fnmatch(f"{actor.username}/{actor.name}", rule.actor):
                lowest.add(rule)

    def _suspects(self, runs: list[_Short]) -> list[_Short]:
        now = datetime.now(UTC)
        found = []
        for run in runs:
            limit = self._limits[run.act_id]
            seconds = (now - run.started_at).total_seconds()
            over = run.usage_total_usd >= limit.usd or seconds >= limit.seconds
            if over or (limit.units < math.inf and self._most_units(run, seconds) >= limit.units):
                found.append(run)
        return found

    def _most_units(self, run: _Short, seconds: float) -> float:
        """Compute units are memory x time; the memory takes one look."""
        return self._memory.get(run.id, math.inf) / 1024 * seconds / 3600

    async def _see_to(self, run: _Short) -> bool:
        answer = await self._ask("GET", f"/v2/actor-runs/{run.id}")
        fresh, limit = self._one.decode(answer).data, self._limits[run.act_id]
        self._memory[run.id] = fresh.options.memory_mbytes
        broken = (
            fresh.usage_total_usd >= limit.usd
            or fresh.stats.run_time_secs >= limit.seconds
            or fresh.stats.compute_units >= limit.units
        )
        if not broken or fresh.status not in ACTIVE:
            return False
        await self._ask("POST", f"/v2/actor-runs/{run.id}/abort")
        return True


class Floor(Bare):
    """The same, with what httpx takes for its comfort."""

    async def _open(self) -> None:
        headers = {"Authorization": f"Bearer {self._task.token}"}
        transport = AiohttpTransport(httpx.create_ssl_context())
        self._over_httpx = httpx.AsyncClient(base_url=self._task.url, headers=headers, transport=transport)

    async def _aclose(self) -> None:
        await self._over_httpx.aclose()

    async def _ask(self, method: str, path: str, params: Params = None) -> bytes:
        return (await self._over_httpx.request(method, path, params=params)).content


# --- (c) ours --------------------------------------------------------------------------------------------------------


class Gate:
    """An observer that knows when so many aborts have been answered."""

    def __init__(self) -> None:
        self.wanted = 0
        self._watch: Stopwatch | None = None
        self.reached: asyncio.Future[Sample] | None = None

    def arm(self, wanted: int, watch: Stopwatch) -> asyncio.Future[Sample]:
        """Resolved at the answer to the last of so many aborts."""
        self.wanted, self._watch = wanted, watch
        self.reached = asyncio.get_running_loop().create_future()
        return self.reached

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, RequestDone) and notice.endpoint == "abort" and notice.status == 200:
            self.wanted -= 1
            if self.wanted == 0 and self.reached is not None and self._watch is not None:
                self.reached.set_result(self._watch.stop())


def settings_for(url: str, tokens: Sequence[str], folder: Path, rules: Sequence[PlainRule], **more: Any) -> Settings:
    """Settings as in production, on a ledger and a rule file in this folder."""
    accounts = tuple(
        AccountSettings(name=f"apify-{token}", platform="apify", token=SecretStr(token), base_url=url)
        for token in tokens
    )
    path = write_rules(rules, folder / "rules.yaml")
    return Settings(accounts=accounts, rules=path, ledger=f"sqlite:///{folder / 'ledger.db'}", **more)


def log_to(folder: Path) -> Callable[[], None]:
    """Logs as in production, in JSON to a file; call the result to close it."""
    stream = (folder / "log.jsonl").open("a", encoding="utf-8")
    configure_logging("json", stream)
    return stream.close


class Ours:
    """The daemon, put together by its own composition root."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._gate = Gate()
        self._app: App
        self.threads_cpu_s = 0.0

    def begin(self, cold: bool) -> None:
        self._runner.run(self._begin(cold))
        gc.collect()

    def cycle(self) -> Sample:
        """One sweep of the real watch and what follows from it."""
        return self._runner.run(self._cycle())

    def threads_cpu(self) -> float:
        """Processor seconds that the last cycle used outside of the event loop's thread (the ledger's)."""
        return self.threads_cpu_s

    def profiled(self) -> Breakdown:
        """A cycle under cProfile: where the event loop's thread spends its time."""
        profile = cProfile.Profile(time.perf_counter)
        profile.enable()
        try:
            self._runner.run(self._cycle())
        finally:
            profile.disable()
        return broken_down(profile)

    def end(self) -> None:
        self._runner.run(self._end())

    def close(self) -> None:
        self._runner.run(self._end())
        self._runner.close()

    async def _begin(self, cold: bool) -> None:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.callback(log_to(folder))
        settings = settings_for(self._task.url, [self._task.token], folder, self._task.rules)
        self._app = await self._stack.enter_async_context(opened(settings, observers=[LogObserver(), self._gate]))
        self._stack.push_async_callback(self._stop)
        self._app.announce()
        if not cold:
            (watch,) = self._app.watches
            await watch.sweep()
            await watch.drain()

    async def _cycle(self) -> Sample:
        (watch,) = self._app.watches
        own_cpu = time.thread_time()
        stopwatch = Stopwatch()
        reached = self._gate.arm(self._task.crossing, stopwatch)
        for _ in range(SWEEPS_MAX):
            await watch.sweep()
            # Whatever slipped through a sweep waits for the next one, as it would in production.
            await asyncio.wait({reached}, timeout=watch.interval_s)
            if reached.done():
                break
        else:
            raise TooFewAborts(f"{self._gate.wanted} aborts are lacking after {SWEEPS_MAX} sweeps")
        sample = reached.result()
        self.threads_cpu_s = max(0.0, sample.cpu_s - (time.thread_time() - own_cpu))
        return sample

    async def _stop(self) -> None:
        for watch in self._app.watches:
            watch.cancel()
        await self._app.enforcer.close(0)

    async def _end(self) -> None:
        await self._stack.aclose()
