"""Apify: its API v2 to domain and back.

Facts and traps: Apify's OpenAPI description and documentation. The list of runs is short objects without stats;
`usageTotalUsd` may be null; `startedAt` stays at a resurrection while `stats.runTimeSecs` leaves the stopped time out;
an abort of a run that is not READY, RUNNING or TIMING-OUT does nothing and still answers 200; offsets page over a
changing list, so an item may appear twice or slip between pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.ports import PlatformTraits, Seen, Sweep
from watchdog.domain.run import LimitKind, PlatformCap, RunState, Snapshot, Source, Usage, replace
from watchdog.errors import BadAnswer, CredentialsRefused, PlatformError
from watchdog.net import UNREADABLE, Answer, Call, Priority, Session, path_segment
from watchdog.platforms.names import NameCache
from watchdog.platforms.wire import count, figure, moment, part, text

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
#: So many pages are asked for ahead of the one that is being read.
_AHEAD_MAX = 3
#: How often we run after items that slip between two pages.
_SLIPPED_TRIES = 3
#: 10 million runs: more pages than this is a list that never ends.
_PAGES_MAX = 10_000
#: So many pages may fail, after all their retries, before a sweep makes do with what it has.
_BAD_PAGES_MAX = 3

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


_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Meta(msgspec.Struct, gc=False):
    origin: str | None = None


class _Listed(msgspec.Struct, rename="camel"):
    """A run in a list as documented: a thousand of these are decoded without a line of Python."""

    id: str
    status: str
    act_id: str | None = None
    actor_task_id: str | None = None
    started_at: _Moment | None = None
    finished_at: _Moment | None = None
    meta: _Meta | None = None
    usage_total_usd: float | None = None


class _RunShort(msgspec.Struct, rename="camel"):
    """A run in a list. All but what it cannot be told by is `Any`: a wrong type must not cost the whole item."""

    id: str
    status: str
    act_id: Any = None
    actor_task_id: Any = None
    started_at: Any = None
    finished_at: Any = None
    meta: Any = None
    usage_total_usd: Any = None


class _Run(_RunShort, rename="camel"):
    stats: Any = None
    options: Any = None


class _RunAnswer(msgspec.Struct):
    data: _Run


class _Page(msgspec.Struct):
    items: list[_Listed]
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


_decode_page = msgspec.json.Decoder(_PageAnswer).decode


#: The ids of an Actor and a task.
_Pair = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class _Known:
    actor: _Named | None
    task: _Named | None
    source: Source


@dataclass(frozen=True, slots=True)
class _PageRead:
    runs: Sequence[_Listed]
    bad_items: Sequence[str]
    items: int
    total: int | None
    received_at: datetime


class _Listing:
    """How far a sweep has come."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.bad_items: list[str] = []
        self.sure = True
        self.next_offset = 0
        self.pages = 0
        self._bad_pages = 0
        self._total: int | None = None

    def add(self, page: _PageRead) -> tuple[Collection[_Listed], bool]:
        """Take a page in: what is new in it, and whether there is another. Pages get their length from the server,
        which may give less than asked for, and the total may be missing; a page that brings nothing new is the end of
        any list."""
        self._total = page.total
        new = self.add_between(page)
        self.next_offset += page.items
        self.pages += 1
        if page.total is not None and self.next_offset >= page.total:
            return new, False
        goes_on = page.items > 0 and (bool(new) or not page.runs)
        self.sure = self.sure and (goes_on or page.total is None)
        return new, goes_on

    def miss(self, offset: int, error: PlatformError) -> None:
        """Take down that a part of the list could not be read."""
        self.bad_items.append(f"the list of runs from item {offset} on: {error}")
        self.sure = False

    def add_between(self, page: _PageRead) -> Collection[_Listed]:
        """Take in items that are not the next ones of the list; those among them that are new."""
        new = {run.id: run for run in page.runs if run.id not in self.ids}
        self.ids |= new.keys()
        self.bad_items.extend(page.bad_items)
        return new.values()

    def shrunk_by(self, page: _PageRead) -> int:
        """By how many items the list has become shorter between the last page and this one. Items of this page have
        moved up by no more than that, since new runs are listed first."""
        if self._total is None or page.total is None:
            return 0
        return min(max(0, self._total - page.total), self.next_offset, PAGE_MAX)

    def skip(self, error: PlatformError) -> bool:
        """A page that cannot be read hurts only itself; whether to try the next one. Not if nothing was read before:
        then the list is what cannot be read."""
        self._bad_pages += 1
        if self.next_offset == 0 or isinstance(error, CredentialsRefused):
            raise error
        self.miss(self.next_offset, error)
        self.next_offset += PAGE_MAX
        return error.retryable and self._bad_pages < _BAD_PAGES_MAX


class _Pages:
    """The pages of the list by offset, with the next ones asked for ahead: over a real network a hundred pages one
    after the other take longer than the pause between two sweeps."""

    def __init__(self, read: Callable[[int], Awaitable[_PageRead]]) -> None:
        self._read = read
        self._ahead: dict[int, asyncio.Task[_PageRead]] = {}

    async def at(self, offset: int) -> _PageRead:
        """The page from this item on."""
        page = await (self._ahead.pop(offset, None) or self._task(offset))
        # Only a page of full length says where the next ones begin.
        if page.items == PAGE_MAX and page.total is not None:
            following = range(offset + PAGE_MAX, page.total, PAGE_MAX)[:_AHEAD_MAX]
            self._ahead |= {each: self._task(each) for each in following if each not in self._ahead}
        return page

    def _task(self, offset: int) -> asyncio.Task[_PageRead]:
        return asyncio.ensure_future(self._read(offset))

    async def close(self) -> None:
        """Let go of what nobody came for."""
        for task in self._ahead.values():
            task.cancel()
        await asyncio.gather(*self._ahead.values(), return_exceptions=True)


class Apify:
    """One Apify account; a `Platform`."""

    traits = TRAITS

    def __init__(self, session: Session, *, write_reason: bool = True) -> None:
        self._session = session
        self._write_reason = write_reason
        self._actors = NameCache(session.clock, self._look_up_actor)
        self._tasks = NameCache(session.clock, self._look_up_task)
        self._sources: dict[_Pair, _Known] = {}

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        """Every active run, page by page: one call for each 1,000, and one for each Actor or task not seen before. The
        list shows what each has used in dollars, so that every run is given, `watched` or not."""
        listing, pages, snapshots = _Listing(), _Pages(self._list), list[Snapshot]()
        take = seen or snapshots.extend
        try:
            for _ in range(_PAGES_MAX):
                try:
                    page = await pages.at(listing.next_offset)
                except PlatformError as error:
                    more = listing.skip(error)
                else:
                    offset, shrunk_by = listing.next_offset, listing.shrunk_by(page)
                    runs, more = listing.add(page)
                    take(await self._swept(runs, page.received_at))
                    if shrunk_by:
                        take(await self._slipped(listing, offset, shrunk_by, page.total or 0))
                if not more:
                    break
        finally:
            await pages.close()
        return Sweep(snapshots, tuple(listing.bad_items), listing.sure, pages=max(1, listing.pages))

    async def _slipped(self, listing: _Listing, offset: int, count: int, total: int) -> list[Snapshot]:
        """What moved past us between the last page and the one from `offset` on, when the list had `total` items: runs
        that end while we read make the list `count` shorter, and what follows them moves up, onto pages that we have
        read already; and goes on moving until this is answered."""
        found: list[Snapshot] = []
        for _ in range(_SLIPPED_TRIES):
            start = max(0, offset - 2 * count)
            try:
                page = await self._list(start, min(offset - start, PAGE_MAX))
            except PlatformError as error:
                listing.miss(start, error)
                break
            found += await self._swept(listing.add_between(page), page.received_at)
            moved = count + max(0, total - (total if page.total is None else page.total))
            if moved <= offset - start or start == 0:
                break
            count = moved
        return found

    async def _list(self, offset: int, limit: int = PAGE_MAX) -> _PageRead:
        call = Call(
            "GET",
            "/v2/actor-runs",
            endpoint="list",
            family="list",
            priority=Priority.SWEEP,
            params={"status": _ACTIVE_STATUSES, "limit": limit, "offset": offset, "desc": "true"},
        )
        return await self._session.read(call, lambda answer: self._read_page(call, answer))

    def _read_page(self, call: Call, answer: Answer) -> _PageRead:
        try:
            page = _decode_page(answer.body).data
        except UNREADABLE:
            return self._read_item_by_item(call, answer)
        if any(not run.id for run in page.items):
            return self._read_item_by_item(call, answer)
        return _PageRead(page.items, (), len(page.items), count(page.total), answer.received_at)

    def _read_item_by_item(self, call: Call, answer: Answer) -> _PageRead:
        """A page with something in it that is not as documented: a bad item hurts only itself, a bad figure only that
        figure."""
        page = self._session.decode(call, answer, _RawPageAnswer).data
        runs: list[_Listed] = []
        bad_items: list[str] = []
        for number, raw in enumerate(page.items):
            try:
                runs.append(_as_documented(_with_id(msgspec.json.decode(raw, type=_RunShort))))
            except UNREADABLE as error:
                bad_items.append(f"item {number} of the list of runs cannot be read: {error}")
        return _PageRead(runs, bad_items, len(page.items), count(page.total), answer.received_at)

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
            raise BadAnswer(
                f"account '{self._session.account}': asked for run {run_id}, got another one; check base_url",
                account=self._session.account,
            )
        # A look-up of names never holds up an abort, nor the look before it if its source has been seen before.
        pair = (text(run.act_id), text(run.actor_task_id))
        urgent = call.priority is Priority.URGENT and pair in self._sources
        await self._resolve([pair], wait=call.priority is not Priority.ABORT and not urgent)
        return self._inspected(run, answer.received_at)

    async def explain(self, run_id: str, text: str) -> None:
        """The run's status message, as the last one; the Console shows it beside the run."""
        if not self._write_reason:
            return
        body = {"runId": run_id, "statusMessage": text, "isStatusMessageTerminal": True}
        call = Call("PUT", _run_path(run_id), endpoint="update", family="run", json=body, attempts=1)
        await self._session.send(call)

    async def check(self) -> str:
        """One run of the list: it needs the very permission that sweeps need."""
        params: dict[str, str | int] = {"limit": 1, "desc": "true"}
        call = Call("GET", "/v2/actor-runs", endpoint="list", family="list", params=params)
        page, _ = await self._session.get(call, _RawPageAnswer)
        total = count(page.data.total)
        return "can list runs" if total is None else f"can list runs ({total} in all)"

    # Names

    async def _resolve(self, pairs: Collection[_Pair], *, wait: bool = True) -> None:
        """Look up the names of every Actor and task among these that is not known yet."""
        await asyncio.gather(
            self._actors.fill((actor for actor, _ in pairs if actor), wait=wait),
            self._tasks.fill((task for _, task in pairs if task), wait=wait),
        )
        for pair in pairs:
            self._know(pair)

    def _know(self, pair: _Pair) -> None:
        """Make the source of an Actor and a task, anew only if their names have changed: the same names are the same
        object."""
        actor_id, task_id = pair
        actor = self._actors.get(actor_id) if actor_id else None
        task = self._tasks.get(task_id) if task_id else None
        known = self._sources.get(pair)
        if known is None or (known.actor, known.task) != (actor, task):
            self._sources[pair] = _Known(actor, task, _make_source(pair, actor, task))

    async def _look_up_actor(self, actor_id: str) -> _Named:
        call = Call("GET", f"/v2/actors/{path_segment(actor_id)}", endpoint="actor", family="actor")
        return (await self._session.get(call, _NamedAnswer))[0].data

    async def _look_up_task(self, task_id: str) -> _Named:
        call = Call("GET", f"/v2/actor-tasks/{path_segment(task_id)}", endpoint="task", family="task")
        return (await self._session.get(call, _NamedAnswer))[0].data

    # Snapshots

    async def _swept(self, runs: Iterable[_Listed], received: datetime) -> list[Snapshot]:
        """The active ones of a page, with their names looked up."""
        active = [run for run in runs if _state(run.status).is_active]
        pairs = {(run.act_id, run.actor_task_id) for run in active}
        await self._resolve(pairs)
        sources = {pair: self._sources[pair].source for pair in pairs}
        account = self._session.account
        skew_s = self._session.skew_s
        snapshots = []
        for run in active:
            state, cost = _state(run.status), run.usage_total_usd
            if state is RunState.PENDING:
                elapsed: float | None = 0.0
            elif run.started_at is None:
                elapsed = None
            else:
                elapsed = max(0.0, (received - run.started_at).total_seconds() + skew_s)
                if elapsed and skew_s < 0:
                    # A Date header that is late must not hide a breach: either clock may raise a suspicion.
                    elapsed -= skew_s
            snapshots.append(
                # By position: by name it takes half as long again, ten thousand times a sweep.
                Snapshot(
                    account,
                    NAME,
                    run.id,
                    sources[run.act_id, run.actor_task_id],
                    state,
                    run.status,
                    Usage(None, cost if cost is not None and cost >= 0 else None, elapsed),
                    received,
                    False,
                    run.meta.origin or None if run.meta is not None else None,
                    run.started_at,
                    run.finished_at,
                )
            )
        return snapshots

    def _inspected(self, run: _Run, received: datetime) -> Snapshot:
        stats, options = part(run.stats), part(run.options)
        memory = figure(options.get("memoryMbytes"))
        usage = Usage(
            credits=figure(stats.get("computeUnits")),
            cost_usd=figure(run.usage_total_usd),
            duration_s=self._running_time(run, stats, received),
        )
        return replace(
            self._snapshot(run, received, usage),
            inspected=True,
            resurrect_count=count(stats.get("resurrectCount")),
            cap=PlatformCap(figure(options.get("timeoutSecs")) or None, figure(options.get("maxTotalChargeUsd"))),
            burn_cap_per_s={LimitKind.MAX_CREDITS: memory * _GIGABYTE_HOURS_PER_MB_SECOND} if memory else {},
        )

    def _snapshot(self, run: _RunShort, received: datetime, usage: Usage) -> Snapshot:
        return Snapshot(
            account=self._session.account,
            platform=NAME,
            run_id=run.id,
            source=self._sources[text(run.act_id), text(run.actor_task_id)].source,
            state=_state(run.status),
            status=run.status,
            usage=usage,
            seen_at=received,
            inspected=False,
            origin=text(part(run.meta).get("origin")),
            started_at=moment(run.started_at),
            finished_at=moment(run.finished_at),
        )

    def _elapsed(self, run: _RunShort, received: datetime) -> float | None:
        """Seconds since the start by the platform's clock: for a run never resurrected its running time, for others
        more than that. A run not yet on a worker has not run."""
        if _state(run.status) is RunState.PENDING:
            return 0.0
        started = moment(run.started_at)
        if started is None:
            return None
        return max(0.0, (received - started).total_seconds() + self._session.skew_s)

    def _running_time(self, run: _Run, stats: Mapping[str, object], received: datetime) -> float | None:
        """Seconds spent running, by the platform's own account of it.

        `stats.runTimeSecs`, else `durationMillis`. Where the stats say nothing, or 0 of a run that is running, they
        are not filled in yet; then the time since the start counts, but only if the run was never resurrected.
        """
        millis = figure(stats.get("durationMillis"))
        reported = figure(stats.get("runTimeSecs")) or (millis / 1000 if millis else None)
        if reported:
            return reported
        if _state(run.status) is RunState.PENDING:
            return 0.0
        if count(stats.get("resurrectCount")) != 0:
            return None
        started, finished = moment(run.started_at), moment(run.finished_at)
        if started is not None and finished is not None and not _state(run.status).is_active:
            return max(0.0, (finished - started).total_seconds())
        return self._elapsed(run, received)

    # Whose token it is

    async def owner(self) -> str | None:
        """The id of the token's user (`GET /v2/users/me`); tokens of one organisation have the same."""
        call = Call("GET", "/v2/users/me", endpoint="me", family="me", attempts=1)
        answered, _ = await self._session.get(call, _OwnerAnswer)
        return text(answered.data.id)


class _Owner(msgspec.Struct):
    id: Any = None


class _OwnerAnswer(msgspec.Struct):
    data: _Owner


def _state(status: str) -> RunState:
    """The state behind a status, in any letters (webhooks write TIMED_OUT); one that this version has never heard of
    counts as active."""
    return _STATES.get(status) or _STATES.get(status.upper().replace("_", "-"), RunState.UNKNOWN)


def _priority(urgent: bool) -> Priority:
    return Priority.URGENT if urgent else Priority.LOOK


def _run_path(run_id: str) -> str:
    return f"/v2/actor-runs/{path_segment(run_id)}"


def _with_id(run: _RunShort) -> _RunShort:
    if not run.id:
        raise msgspec.ValidationError("its id is empty")
    return run


def _as_documented(run: _RunShort) -> _Listed:
    """The same run with every figure that is not as documented unknown."""
    return _Listed(
        id=run.id,
        status=run.status,
        act_id=text(run.act_id),
        actor_task_id=text(run.actor_task_id),
        started_at=moment(run.started_at),
        finished_at=moment(run.finished_at),
        meta=_Meta(text(part(run.meta).get("origin"))),
        usage_total_usd=figure(run.usage_total_usd),
    )


def _make_source(pair: _Pair, actor: _Named | None, task: _Named | None) -> Source:
    actor_id, task_id = pair
    facets = {"actor": _names(actor, actor_id), "task": _names(task, task_id)}
    # Every run has an Actor, so one that is not named is not known; a run without a task simply has none.
    missing = (("actor", actor is None), ("task", bool(task_id) and task is None))
    unresolved = frozenset(facet for facet, is_missing in missing if is_missing)
    label = facets["actor"][0] if facets["actor"] else "unknown Actor"
    if facets["task"]:
        label += f" ({task.name if task else task_id})"
    names = "|".join((*facets["actor"], "", *facets["task"]))
    return Source(f"{names}|{sorted(unresolved)}", label, facets, unresolved, id=f"{actor_id}/{task_id or ''}")


def _names(known: _Named | None, object_id: str | None) -> tuple[str, ...]:
    """Every name that a rule may use: `owner/name`, the bare name, the id; the first is the label for people."""
    if known is None:
        return (object_id,) if object_id else ()
    owned = (f"{known.username}/{known.name}",) if known.username else ()
    return (*owned, known.name, known.id)
