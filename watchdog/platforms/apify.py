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
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.ports import Ended, Seen, Sweep
from watchdog.domain.run import PlatformCap, RunState, Snapshot, joined, replace
from watchdog.errors import BadAnswer, CredentialsRefused, PlatformError
from watchdog.net import UNREADABLE, Answer, Call, Priority, Session, path_segment
from watchdog.platforms.apify_ends import as_ended, compared, merged
from watchdog.platforms.apify_facts import TRAITS
from watchdog.platforms.apify_names import ApifyNames, Pair
from watchdog.platforms.apify_pricing import Cost, cost, priced_dataset
from watchdog.platforms.names import PATIENCE_S as NAMES_PATIENCE_S
from watchdog.platforms.wire import ABORT_PATIENCE_S, count, figure, moment, part, read_items, text

NAME = TRAITS.name
BASE_URL = "https://api.apify.com"
AUTH_SCHEME = "Bearer"
#: Far inside the documented 60 requests/s per resource and 250,000/min per user, and enough to inspect thousands.
REQUESTS_PER_MINUTE = 6000


def is_own_error(body: Mapping[str, Any]) -> bool:
    """Whether this is how Apify words an error: `{"error": {"type", "message"}}`."""
    error = body.get("error")
    return isinstance(error, dict) and isinstance(error.get("type"), str)


PAGE_MAX = 1000
#: A page of ended runs must spare so many looks.
_LOOKS_A_PAGE = 10
#: Whether bounds of time are of the list is not documented.
_MARGIN = timedelta(seconds=1)
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
    metamorphs: Any = None


class _Run(_RunShort, rename="camel"):
    stats: Any = None
    options: Any = None
    pricing_info: Any = None
    charged_event_counts: Any = None
    default_dataset_id: Any = None


class _Dataset(msgspec.Struct):
    item_count: Any = msgspec.field(default=None, name="itemCount")


class _DatasetAnswer(msgspec.Struct):
    data: _Dataset


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


_decode_page = msgspec.json.Decoder(_PageAnswer).decode


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
        self.pairs: set[Pair] = set()
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
        self.pairs |= {(run.act_id, run.actor_task_id) for run in new.values()}
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
    """One Apify account; a `Platform`. Nothing waits longer than `names_patience_s` for names of Actors and tasks, in
    seconds of the wall clock."""

    traits = TRAITS

    def __init__(
        self, session: Session, *, write_reason: bool = True, names_patience_s: float = NAMES_PATIENCE_S
    ) -> None:
        self._session = session
        self._write_reason = write_reason
        self._names = ApifyNames(session, names_patience_s)

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
        return Sweep(
            snapshots,
            tuple(listing.bad_items),
            listing.sure,
            pages=max(1, listing.pages),
            nameless=self._names.nameless(listing.pairs),
        )

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

    async def ended(self, last: Mapping[str, Snapshot]) -> Mapping[str, Ended]:
        """Those of these runs that the list of aborted runs shows, among all that were created when they were. It gives
        up if that list has more pages than a tenth of the runs asked for."""
        starts = [run.started_at for run in last.values() if run.started_at is not None]
        found: dict[str, Ended] = {}
        if not starts:
            return found
        window = {"startedAfter": _iso(min(starts) - _MARGIN), "startedBefore": _iso(max(starts) + _MARGIN)}
        first = await self._ended_page(0, window)
        total = first.items if first.total is None else first.total
        pages = [first]
        if first.items and total / first.items <= 1 + len(last) / _LOOKS_A_PAGE:
            offsets = range(first.items, total, first.items)
            pages += await asyncio.gather(*(self._ended_page(offset, window) for offset in offsets))
        for of_page in await asyncio.gather(*(compared(_ended_on(page, last), last, self._looked) for page in pages)):
            found |= {run_id: merged(found.get(run_id), each) for run_id, each in of_page.items()}
        return found

    async def _looked(self, run_id: str) -> Snapshot:
        return await self.inspect(run_id, urgent=True)

    async def _ended_page(self, offset: int, window: Mapping[str, str]) -> _PageRead:
        """It spares ten looks at least, so that it goes before them."""
        return await self._list(offset, status="ABORTED", priority=Priority.ABORT, more=window)

    async def _list(
        self,
        offset: int,
        limit: int = PAGE_MAX,
        *,
        status: str = _ACTIVE_STATUSES,
        priority: Priority = Priority.SWEEP,
        more: Mapping[str, str] | None = None,
    ) -> _PageRead:
        call = Call(
            "GET",
            "/v2/actor-runs",
            endpoint="list",
            family="list",
            priority=priority,
            params={"status": status, "limit": limit, "offset": offset, "desc": "true", **(more or {})},
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
        items, bad_items = read_items(page.items, _RunShort, "the list of runs")
        runs = [_as_documented(run) for run in items]
        return _PageRead(runs, bad_items, len(page.items), count(page.total), answer.received_at)

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """The run with its stats and options, in one call."""
        call = Call("GET", _run_path(run_id), endpoint="run", family="run", priority=_priority(urgent))
        return await self._read_run(call, run_id)

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        """Ask for the stop. 200 is no proof: the snapshot says what became of it."""
        params = {"gracefully": "true"} if mode is Mode.GRACEFUL else None
        path = f"{_run_path(run_id)}/abort"
        call = Call(
            "POST",
            path,
            endpoint="abort",
            family="abort",
            params=params,
            priority=Priority.ABORT,
            attempts=1,
            patience_s=ABORT_PATIENCE_S,
        )
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
        pairs = _pairs(run)
        urgent = call.priority is Priority.URGENT and all(map(self._names.knows, pairs))
        await self._names.resolve(pairs, wait=call.priority is not Priority.ABORT and not urgent)
        return self._inspected(run, answer.received_at, await self._cost(run, call.priority))

    async def _cost(self, run: _Run, priority: Priority) -> Cost:
        """What the run has cost. Where the price is one for each result, they are counted: one call more, which the
        answer to an abort does not wait for."""
        items, dataset = None, priced_dataset(run)
        if dataset is not None and priority is not Priority.ABORT:
            items = await self._count_items(dataset, priority)
        return cost(run, items)

    async def _count_items(self, dataset_id: str, priority: Priority) -> int | None:
        """How many results a dataset has; None if that cannot be read, so that their cost is not known."""
        call = Call(
            "GET", f"/v2/datasets/{path_segment(dataset_id)}", endpoint="dataset", family="dataset", priority=priority
        )
        try:
            answered, _ = await self._session.get(call, _DatasetAnswer)
        except PlatformError:
            return None
        return count(answered.data.item_count)

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
        able = "can list runs" if total is None else f"can list runs ({total} in all)"
        return able + await self._check_names(page.data.items)

    async def _check_names(self, items: Sequence[msgspec.Raw]) -> str:
        """Whether the token may read the names that rules go by, tried on the newest run."""
        runs, _ = read_items(items, _RunShort, "the list of runs")
        pairs = {(text(run.act_id), text(run.actor_task_id)) for run in runs}
        await self._names.resolve(pairs)
        return "".join(f"; {sentence}" for sentence in self._names.nameless(pairs))

    def forget_names(self) -> None:
        """Look names up again; until then those that are known hold."""
        self._names.expire()

    # Snapshots

    async def _swept(self, runs: Iterable[_Listed], received: datetime) -> list[Snapshot]:
        """The active ones of a page, with their names looked up."""
        active = [run for run in runs if _state(run.status).is_active]
        pairs = {(run.act_id, run.actor_task_id) for run in active}
        await self._names.resolve(pairs)
        sources = {pair: self._names.source(pair) for pair in pairs}
        account = self._session.account
        skew_s = self._session.platform_skew_s
        snapshots = []
        for run in active:
            state, usd = _state(run.status), run.usage_total_usd
            if state is RunState.PENDING:
                elapsed: float | None = 0.0
            elif run.started_at is None or skew_s is None:
                # By nobody's clock, nothing can be said: an inspection has to.
                elapsed = None
            else:
                # A Date header that is late must not hide a breach: either clock may raise a suspicion.
                elapsed = max(0.0, (received - run.started_at).total_seconds() + max(0.0, skew_s))
            snapshots.append(
                # By position: by name it takes half as long again, ten thousand times a sweep.
                Snapshot(
                    account,
                    NAME,
                    run.id,
                    sources[run.act_id, run.actor_task_id],
                    state,
                    run.status,
                    Usage(None, usd if usd is not None and usd >= 0 else None),
                    received,
                    False,
                    run.meta.origin or None if run.meta is not None else None,
                    run.started_at,
                    run.finished_at,
                    Usage(None, None, elapsed),
                )
            )
        return snapshots

    def _inspected(self, run: _Run, received: datetime, paid: Cost) -> Snapshot:
        stats, options = part(run.stats), part(run.options)
        memory = figure(options.get("memoryMbytes"))
        rate = memory * _GIGABYTE_HOURS_PER_MB_SECOND if memory else None
        resurrections = count(stats.get("resurrectCount"))
        credits_used, duration_s = _metered(run, stats, rate, resurrections)
        return replace(
            self._snapshot(run, received, Usage(credits_used, paid.usd, duration_s)),
            inspected=True,
            resurrect_count=resurrections,
            cap=PlatformCap(figure(options.get("timeoutSecs")) or None, figure(options.get("maxTotalChargeUsd"))),
            burn_cap_per_s={} if rate is None else {Meter.CREDITS: rate},
            most=Usage(None, paid.most_usd, self._elapsed(run, received) if duration_s is None else None),
            cost_basis=paid.basis,
        )

    def _snapshot(self, run: _RunShort, received: datetime, usage: Usage) -> Snapshot:
        return Snapshot(
            account=self._session.account,
            platform=NAME,
            run_id=run.id,
            source=joined(*map(self._names.source, _pairs(run))),
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
        """Seconds from the creation to the end, or until now: the run has waited for a worker and may have been stopped
        meanwhile, so that it has run for no more than that."""
        started, finished = moment(run.started_at), moment(run.finished_at)
        if started is None:
            return None
        if finished is not None and not _state(run.status).is_active:
            return max(0.0, (finished - started).total_seconds())
        skew_s = self._session.platform_skew_s
        # Whichever clock says more: this is what it may have run for at most.
        return None if skew_s is None else max(0.0, (received - started).total_seconds() + max(0.0, skew_s))

    # Whose token it is

    async def owner(self) -> str | None:
        """The id of the token's user (`GET /v2/users/me`); tokens of one organisation have the same."""
        call = Call("GET", "/v2/users/me", endpoint="me", family="me", attempts=1)
        answered, _ = await self._session.get(call, _OwnerAnswer)
        return text(answered.data.id)


def _ended_on(page: _PageRead, last: Mapping[str, Snapshot]) -> dict[str, Ended]:
    """Those of these runs that a page of ended runs shows."""
    found: dict[str, Ended] = {}
    for run in page.runs:
        state, usd = _state(run.status), run.usage_total_usd
        if (known := last.get(run.id)) is not None and not state.is_active:
            paid = usd if usd is not None and usd >= 0 else None
            ended = as_ended(known, state, run.status, run.finished_at, paid, page.received_at)
            found[run.id] = merged(found.get(run.id), ended)
    return found


def _metered(
    run: _RunShort, stats: Mapping[str, object], rate: float | None, resurrections: int | None
) -> tuple[float | None, float | None]:
    """Compute units and seconds of running time, by the platform's own account of them.

    `stats.computeUnits` and `stats.runTimeSecs`, else `durationMillis`; 0 of a run that is running is not filled in
    yet. Where one is lacking the other gives it, since compute units are gigabytes x hours exactly; but not after a
    resurrection, which may have changed the memory. A run that has not come to a worker has not run.
    """
    state, millis = _state(run.status), figure(stats.get("durationMillis"))
    credits_used, duration_s = figure(stats.get("computeUnits")), figure(stats.get("runTimeSecs"))
    if duration_s is None and millis is not None:
        duration_s = millis / 1000
    if state is RunState.PENDING and not resurrections:
        credits_used, duration_s = credits_used or 0.0, duration_s or 0.0
    elif state.is_active:
        credits_used, duration_s = credits_used or None, duration_s or None
    if rate and not resurrections:
        if credits_used is None and duration_s is not None:
            credits_used = rate * duration_s
        elif duration_s is None and credits_used is not None:
            duration_s = credits_used / rate
    return credits_used, duration_s


def _iso(at: datetime) -> str:
    """As Apify writes times."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


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


def _pairs(run: _RunShort) -> tuple[Pair, ...]:
    """The Actor and task of a run, and every Actor that it has metamorphed into. Whether `actId` then becomes the new
    Actor's is not documented; that the detail lists them is."""
    first = (text(run.act_id), text(run.actor_task_id))
    listed = run.metamorphs if isinstance(run.metamorphs, list) else []
    others = ((text(part(each).get("actorId")), None) for each in listed)
    return tuple(dict.fromkeys((first, *((actor, task) for actor, task in others if actor not in (None, first[0])))))
