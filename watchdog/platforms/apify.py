"""Apify: its API v2 to domain and back.

Facts and traps: Apify's OpenAPI description and documentation. The list of runs is short objects without stats;
`usageTotalUsd` may be null; `startedAt` stays at a resurrection while `stats.runTimeSecs` leaves the stopped time out;
an abort of a run that is not READY, RUNNING or TIMING-OUT does nothing and still answers 200; offsets page over a
changing list, so an item may appear twice or slip between pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.ports import PlatformTraits, Sweep
from watchdog.domain.run import LimitKind, PlatformCap, RunState, Snapshot, Source, Usage
from watchdog.errors import BadAnswer
from watchdog.net import Answer, Call, Priority, Session
from watchdog.platforms.names import NameCache
from watchdog.platforms.wire import count, figure, moment, text

NAME = "apify"
BASE_URL = "https://api.apify.com"
AUTH_SCHEME = "Bearer"
#: Far inside the documented 60 requests/s per resource and 250,000/min per user, and enough to inspect thousands.
REQUESTS_PER_MINUTE = 6000
MATCH_KEYS = ("actor", "task")

TRAITS = PlatformTraits(
    name=NAME,
    modes=frozenset({Mode.GRACEFUL, Mode.IMMEDIATE}),
    graceful_window_s=30.0,
    settle_s=10.0,
    default_poll_interval_s=5.0,
)

PAGE_MAX = 1000
#: 10 million runs: more pages than this is a list that never ends.
_PAGES_MAX = 10_000

_STATES = {
    "READY": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "TIMING-OUT": RunState.TIMING_OUT,
    "ABORTING": RunState.ABORTING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "TIMED-OUT": RunState.TIMED_OUT,
    "ABORTED": RunState.ABORTED,
}
_ACTIVE_STATUSES = ",".join(status for status, state in _STATES.items() if state.is_active)
_GIGABYTE_HOURS_PER_MB_SECOND = 1 / 1024 / 3600


class _Meta(msgspec.Struct):
    origin: Any = None


class _RunShort(msgspec.Struct, rename="camel"):
    """A run in a list. Figures are `Any`: one of a wrong type must not cost the whole item."""

    id: str
    status: str
    act_id: Any = None
    actor_task_id: Any = None
    started_at: Any = None
    finished_at: Any = None
    meta: _Meta | None = None
    usage_total_usd: Any = None


class _Stats(msgspec.Struct, rename="camel"):
    run_time_secs: Any = None
    duration_millis: Any = None
    compute_units: Any = None
    resurrect_count: Any = None


class _Options(msgspec.Struct, rename="camel"):
    memory_mbytes: Any = None
    timeout_secs: Any = None
    max_total_charge_usd: Any = None


class _Run(_RunShort, rename="camel"):
    stats: _Stats | None = None
    options: _Options | None = None


class _RunAnswer(msgspec.Struct):
    data: _Run


class _Page(msgspec.Struct):
    items: list[_RunShort]
    total: int | None = None


class _PageAnswer(msgspec.Struct):
    data: _Page


class _RawPage(msgspec.Struct):
    items: list[msgspec.Raw]
    total: Any = None


class _RawPageAnswer(msgspec.Struct):
    data: _RawPage


class _Named(msgspec.Struct):
    id: str
    name: str
    username: str | None = None


class _NamedAnswer(msgspec.Struct):
    data: _Named


@dataclass(frozen=True, slots=True)
class _PageRead:
    runs: Sequence[_RunShort]
    bad_items: Sequence[str]
    items: int
    total: int | None


class Apify:
    """One Apify account; a `Platform`."""

    traits = TRAITS

    def __init__(self, session: Session) -> None:
        self._session = session
        self._actors = NameCache(session.clock, self._look_up_actor)
        self._tasks = NameCache(session.clock, self._look_up_task)
        self._sources: dict[tuple[str | None, str | None], Source] = {}

    async def sweep(self) -> Sweep:
        """Every active run: one call for each 1,000, and one for each Actor or task not seen before."""
        runs: dict[str, _RunShort] = {}
        bad_items: list[str] = []
        offset, received = 0, self._session.clock.now()
        for _ in range(_PAGES_MAX):
            page, answer = await self._list(offset)
            received = answer.received_at
            bad_items.extend(page.bad_items)
            runs.update((run.id, run) for run in page.runs)
            offset += page.items
            if page.items == 0 or (offset >= page.total if page.total is not None else page.items < PAGE_MAX):
                break
        active = [run for run in runs.values() if _state(run.status).is_active]
        await self._resolve(active)
        return Sweep([self._swept(run, received) for run in active], tuple(bad_items))

    async def _list(self, offset: int) -> tuple[_PageRead, Answer]:
        call = Call(
            "GET",
            "/v2/actor-runs",
            endpoint="list",
            family="list",
            priority=Priority.SWEEP,
            params={"status": _ACTIVE_STATUSES, "limit": PAGE_MAX, "offset": offset, "desc": "true"},
        )
        answer = await self._session.send(call)
        try:
            page = msgspec.json.decode(answer.body, type=_PageAnswer).data
            return _PageRead(page.items, (), len(page.items), page.total), answer
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._list_item_by_item(call, answer), answer

    def _list_item_by_item(self, call: Call, answer: Answer) -> _PageRead:
        """A page with something unreadable in it: a bad item hurts only itself."""
        page = self._session.decode(call, answer, _RawPageAnswer).data
        runs: list[_RunShort] = []
        bad_items: list[str] = []
        for number, raw in enumerate(page.items):
            try:
                runs.append(msgspec.json.decode(raw, type=_RunShort))
            except msgspec.DecodeError as error:
                bad_items.append(f"item {number} of the list of runs cannot be read: {error}")
        return _PageRead(runs, bad_items, len(page.items), count(page.total))

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """The run with its stats and options, in one call."""
        call = Call("GET", _run_path(run_id), endpoint="run", family="run", priority=_priority(urgent))
        return await self._read_run(call, run_id)

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        """Ask for the stop. 200 is no proof: the snapshot says what became of it."""
        params = {"gracefully": "true"} if mode is Mode.GRACEFUL else None
        path = f"{_run_path(run_id)}/abort"
        call = Call("POST", path, endpoint="abort", family="abort", params=params, priority=Priority.ABORT, attempts=1)
        return await self._read_run(call, run_id)

    async def _read_run(self, call: Call, run_id: str) -> Snapshot:
        answered, answer = await self._session.get(call, _RunAnswer)
        run = answered.data
        if run.id != run_id:
            raise BadAnswer(f"account '{self._session.account}': asked for run {run_id}, got another one")
        if call.priority is not Priority.ABORT or (text(run.act_id), text(run.actor_task_id)) not in self._sources:
            # A look-up of names never holds up an abort.
            await self._resolve([run])
        return self._inspected(run, answer.received_at)

    async def check(self) -> str:
        """One run of the list: it needs the very permission that sweeps need."""
        params: dict[str, str | int] = {"limit": 1, "desc": "true"}
        call = Call("GET", "/v2/actor-runs", endpoint="list", family="list", params=params)
        page, _ = await self._session.get(call, _RawPageAnswer)
        return f"can list runs ({count(page.data.total) or 0} in all)"

    # Names

    async def _resolve(self, runs: Iterable[_RunShort]) -> None:
        """Look up the names of every Actor and task among these runs that is not known yet."""
        pairs = {(text(run.act_id), text(run.actor_task_id)) for run in runs}
        await self._actors.fill(actor for actor, _ in pairs if actor)
        await self._tasks.fill(task for _, task in pairs if task)
        for pair in pairs:
            self._sources[pair] = self._make_source(*pair)

    def _make_source(self, actor_id: str | None, task_id: str | None) -> Source:
        actor = self._actors.get(actor_id) if actor_id else None
        task = self._tasks.get(task_id) if task_id else None
        facets = {"actor": _names(actor, actor_id), "task": _names(task, task_id)}
        looked_up = (("actor", actor, actor_id), ("task", task, task_id))
        unresolved = frozenset(facet for facet, known, wanted in looked_up if wanted and known is None)
        label = facets["actor"][0] if facets["actor"] else "unknown Actor"
        if facets["task"]:
            label += f" ({task.name if task else task_id})"
        names = "|".join((*facets["actor"], "", *facets["task"]))
        return Source(f"{names}|{sorted(unresolved)}", label, facets, unresolved)

    async def _look_up_actor(self, actor_id: str) -> _Named:
        call = Call(
            "GET", f"/v2/actors/{quote(actor_id, safe='~')}", endpoint="actor", family="actor", priority=Priority.SWEEP
        )
        return (await self._session.get(call, _NamedAnswer))[0].data

    async def _look_up_task(self, task_id: str) -> _Named:
        call = Call(
            "GET",
            f"/v2/actor-tasks/{quote(task_id, safe='~')}",
            endpoint="task",
            family="task",
            priority=Priority.SWEEP,
        )
        return (await self._session.get(call, _NamedAnswer))[0].data

    # Snapshots

    def _swept(self, run: _RunShort, received: datetime) -> Snapshot:
        return self._snapshot(run, received, Usage(cost_usd=figure(run.usage_total_usd), duration_s=self._elapsed(run)))

    def _inspected(self, run: _Run, received: datetime) -> Snapshot:
        stats, options = run.stats or _Stats(), run.options or _Options()
        memory = figure(options.memory_mbytes)
        usage = Usage(
            credits=figure(stats.compute_units),
            cost_usd=figure(run.usage_total_usd),
            duration_s=self._running_time(run, stats),
        )
        return replace(
            self._snapshot(run, received, usage),
            inspected=True,
            resurrect_count=count(stats.resurrect_count),
            cap=PlatformCap(figure(options.timeout_secs) or None, figure(options.max_total_charge_usd)),
            burn_cap_per_s={LimitKind.MAX_CREDITS: memory * _GIGABYTE_HOURS_PER_MB_SECOND} if memory else {},
        )

    def _snapshot(self, run: _RunShort, received: datetime, usage: Usage) -> Snapshot:
        return Snapshot(
            account=self._session.account,
            platform=NAME,
            run_id=run.id,
            source=self._sources[text(run.act_id), text(run.actor_task_id)],
            state=_state(run.status),
            status=run.status,
            usage=usage,
            seen_at=received,
            inspected=False,
            origin=text(run.meta.origin) if run.meta else None,
            started_at=moment(run.started_at),
            finished_at=moment(run.finished_at),
        )

    def _elapsed(self, run: _RunShort) -> float | None:
        """Seconds since the start by the platform's clock: for a run never resurrected its running time, for others
        more than that. A run not yet on a worker has not run."""
        if run.status == "READY":
            return 0.0
        started = moment(run.started_at)
        if started is None:
            return None
        return max(0.0, (self._session.clock.now() - started).total_seconds() + self._session.skew_s)

    def _running_time(self, run: _Run, stats: _Stats) -> float | None:
        """Seconds spent running, by the platform's own account of it.

        `stats.runTimeSecs`, else `durationMillis`. Where the stats say nothing, or 0 of a run that is running, they
        are not filled in yet; then the time since the start counts, but only if the run was never resurrected.
        """
        millis = figure(stats.duration_millis)
        reported = figure(stats.run_time_secs) or (millis / 1000 if millis else None)
        if reported:
            return reported
        if run.status == "READY":
            return 0.0
        if count(stats.resurrect_count) != 0:
            return None
        started, finished = moment(run.started_at), moment(run.finished_at)
        if started is not None and finished is not None and not _state(run.status).is_active:
            return max(0.0, (finished - started).total_seconds())
        return self._elapsed(run)


def _state(status: str) -> RunState:
    """The state behind a status; one that this version has never heard of counts as active."""
    return _STATES.get(status, RunState.UNKNOWN)


def _priority(urgent: bool) -> Priority:
    return Priority.ABORT if urgent else Priority.LOOK


def _run_path(run_id: str) -> str:
    return f"/v2/actor-runs/{quote(run_id, safe='')}"


def _names(known: _Named | None, object_id: str | None) -> tuple[str, ...]:
    """Every name that a rule may use: `owner/name`, the bare name, the id; the first is the label for people."""
    if known is None:
        return (object_id,) if object_id else ()
    owned = (f"{known.username}/{known.name}",) if known.username else ()
    return (*owned, known.name, known.id)
