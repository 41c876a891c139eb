"""lobstr.io: its API v1 to domain and back.

Facts and traps: lobstr's documentation. Runs are listed per squid only, so the squid list says which squids are
active and each active one costs a call; one active run a squid at a time. `uploading` no longer collects and no longer
costs, whatever `is_done` says. `duration` is a number of seconds in lists and abort answers and a text in the detail;
times are naive (UTC) in some answers. After an abort the stats say 100 %, so progress is read before it. `credit_used`
and `duration` are different things, however alike the documentation's examples look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.ports import PlatformTraits, Sweep
from watchdog.domain.run import Progress, RunState, Snapshot, Source, Usage
from watchdog.errors import BadAnswer, PlatformError
from watchdog.net import Answer, Call, Priority, Session
from watchdog.platforms.names import NameCache
from watchdog.platforms.wire import count, figure, moment, percent, seconds, text

NAME = "lobstr"
BASE_URL = "https://api.lobstr.io"
AUTH_SCHEME = "Token"
#: The documented limit is 120 a minute for squids and for runs each; we stay inside it for both together.
REQUESTS_PER_MINUTE = 120
MATCH_KEYS = ("squid", "crawler")

TRAITS = PlatformTraits(
    name=NAME,
    modes=frozenset({Mode.IMMEDIATE}),
    graceful_window_s=0.0,
    settle_s=10.0,
    default_poll_interval_s=None,
)

PAGE_MAX = 100
_PAGES_MAX = 1000

_STATES = {
    "pending": RunState.PENDING,
    "running": RunState.RUNNING,
    "paused": RunState.PAUSED,
    "uploading": RunState.STOPPED,
    "done": RunState.SUCCEEDED,
    "aborted": RunState.ABORTED,
    "error": RunState.FAILED,
}


class _Run(msgspec.Struct):
    id: str
    status: str
    squid: Any = None
    is_done: Any = None
    started_at: Any = None
    ended_at: Any = None
    duration: Any = None
    credit_used: Any = None
    origin: Any = None
    done_reason: Any = None
    total_results: Any = None


class _Stats(msgspec.Struct):
    percent_done: Any = None
    results_total: Any = None
    results_done: Any = None


class _Squid(msgspec.Struct):
    id: str
    name: Any = None
    crawler: Any = None
    crawler_name: Any = None
    last_run_status: Any = msgspec.UNSET
    is_active: Any = None


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw]
    total_results: Any = None
    total_pages: Any = None
    next: Any = None


@dataclass(slots=True)
class _Reading:
    """What a sweep has read so far."""

    runs: list[tuple[_Squid, _Run, datetime]]
    bad_items: list[str]
    sure: bool = True


class Lobstr:
    """One lobstr.io account; a `Platform`.

    `usd_per_credit` turns credits into US dollars; without it the cost of runs is unknown.
    """

    traits = TRAITS

    def __init__(self, session: Session, usd_per_credit: float | None = None) -> None:
        self._session = session
        self._usd_per_credit = usd_per_credit
        self._squids = NameCache(session.clock, self._look_up_squid)
        self._watched_squids: set[str] = set()

    async def sweep(self) -> Sweep:
        """Every active run: the squid list, and one call for each squid with an active run.

        A squid whose run was active at the last sweep is asked for once more even if the list says otherwise.
        """
        reading = _Reading([], [])
        squids = await self._list_squids(reading)
        for squid in squids.values():
            self._squids.put(squid.id, squid)
        wanted = [squid for squid in squids.values() if _may_be_active(squid) or squid.id in self._watched_squids]
        await asyncio.gather(*(self._read_newest_run(squid, reading) for squid in wanted))
        active = [(squid, run, at) for squid, run, at in reading.runs if _state(run).is_active]
        self._watched_squids = {squid.id for squid, _, _ in active}
        snapshots = [self._snapshot(run, squid, at) for squid, run, at in active]
        return Sweep(snapshots, tuple(reading.bad_items), reading.sure)

    async def _list_squids(self, reading: _Reading) -> dict[str, _Squid]:
        squids: dict[str, _Squid] = {}
        for page in range(1, _PAGES_MAX + 1):
            params = {"limit": PAGE_MAX, "page": page}
            call = Call("GET", "/v1/squids", endpoint="squids", family="squids", params=params, priority=Priority.SWEEP)
            envelope, _ = await self._session.get(call, _Envelope)
            squids.update((squid.id, squid) for squid in _read_items(envelope, _Squid, "squid", reading.bad_items))
            if not envelope.data or _is_last(envelope, page):
                break
        return squids

    async def _read_newest_run(self, squid: _Squid, reading: _Reading) -> None:
        """The newest run of a squid. A squid that cannot be asked hurts only itself."""
        params: dict[str, str | int] = {"squid": squid.id, "limit": 1, "page": 1}
        call = Call("GET", "/v1/runs", endpoint="list", family="runs", params=params, priority=Priority.SWEEP)
        try:
            envelope, answer = await self._session.get(call, _Envelope)
        except PlatformError as error:
            reading.bad_items.append(f"runs of squid {squid.id}: {error}")
            reading.sure = False
            return
        runs = _read_items(envelope, _Run, f"run of squid {squid.id}", reading.bad_items)
        reading.runs.extend((squid, run, answer.received_at) for run in runs)

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """The run in detail; with `progress` also its stats, at the same time. Stats that cannot be read are left
        out: they only serve estimates."""
        call = Call("GET", _run_path(run_id), endpoint="run", family="runs", priority=_priority(urgent))
        if not progress:
            return await self._read_run(call, run_id)
        snapshot, done = await asyncio.gather(self._read_run(call, run_id), self._read_progress(run_id, urgent))
        return replace(snapshot, progress=done)

    async def _read_progress(self, run_id: str, urgent: bool) -> Progress:
        path = f"{_run_path(run_id)}/stats"
        call = Call("GET", path, endpoint="stats", family="runs", priority=_priority(urgent), attempts=1)
        try:
            stats, _ = await self._session.get(call, _Stats)
        except PlatformError:
            return Progress()
        return Progress(percent(stats.percent_done), count(stats.results_done), count(stats.results_total))

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        """Ask for the stop; lobstr has one way to do that, whatever the mode."""
        path = f"{_run_path(run_id)}/abort"
        call = Call("POST", path, endpoint="abort", family="runs", priority=Priority.ABORT, attempts=1)
        return await self._read_run(call, run_id)

    async def _read_run(self, call: Call, run_id: str) -> Snapshot:
        run, answer = await self._session.get(call, _Run)
        if run.id != run_id:
            raise BadAnswer(f"account '{self._session.account}': asked for run {run_id}, got another one")
        return replace(await self._of_squid(run, answer), inspected=True)

    async def _of_squid(self, run: _Run, answer: Answer) -> Snapshot:
        squid_id = text(run.squid)
        if squid_id and self._squids.get(squid_id) is None:
            await self._squids.fill([squid_id])
        squid = self._squids.get(squid_id) if squid_id else None
        return self._snapshot(run, squid or _Squid(squid_id or ""), answer.received_at)

    async def _look_up_squid(self, squid_id: str) -> _Squid:
        call = Call(
            "GET", f"/v1/squids/{quote(squid_id, safe='')}", endpoint="squid", family="squids", priority=Priority.SWEEP
        )
        return (await self._session.get(call, _Squid))[0]

    async def check(self) -> str:
        """One squid of the list: it needs the very permission that sweeps need."""
        call = Call("GET", "/v1/squids", endpoint="squids", family="squids", params={"limit": 1, "page": 1})
        envelope, _ = await self._session.get(call, _Envelope)
        return f"can list squids ({count(envelope.total_results) or 0} in all)"

    def _snapshot(self, run: _Run, squid: _Squid, received: datetime) -> Snapshot:
        credits_used = figure(run.credit_used)
        known = credits_used is not None and self._usd_per_credit is not None
        cost = credits_used * self._usd_per_credit if known else None  # type: ignore[operator]  # known: both numbers
        return Snapshot(
            account=self._session.account,
            platform=NAME,
            run_id=run.id,
            source=_source(squid),
            state=_state(run),
            status=run.status,
            usage=Usage(credits=credits_used, cost_usd=cost, duration_s=self._running_time(run)),
            seen_at=received,
            inspected=False,
            origin=text(run.origin),
            started_at=moment(run.started_at),
            finished_at=moment(run.ended_at),
            end_reason=text(run.done_reason),
        )

    @staticmethod
    def _running_time(run: _Run) -> float | None:
        """Seconds spent running, by the platform's own account of it. The time since the start is no substitute: a run
        may have been paused for hours. A run not yet started has not run."""
        reported = seconds(run.duration)
        return 0.0 if reported is None and _state(run) is RunState.PENDING else reported


def _state(run: _Run) -> RunState:
    """The state behind a status, in either case of letters. `done` by an abort is an abort; a status never heard of
    counts as active unless the run is said to be done."""
    state = _STATES.get(run.status.lower())
    if state is None:
        return RunState.STOPPED if run.is_done is True else RunState.UNKNOWN
    if state is RunState.SUCCEEDED and run.done_reason == "aborted":
        return RunState.ABORTED
    return state


def _may_be_active(squid: _Squid) -> bool:
    """Whether the squid list leaves it possible that a run of the squid is active: null says that it never ran; a list
    that does not say anything, or a word never heard of, leaves it open."""
    if squid.last_run_status is None:
        return False
    status = text(squid.last_run_status)
    return status is None or _STATES.get(status.lower(), RunState.UNKNOWN).is_active


def _source(squid: _Squid) -> Source:
    names = _present(squid.name, squid.id)
    crawler_names = _present(squid.crawler_name, squid.crawler)
    unresolved = frozenset(
        facet for facet, known in (("squid", text(squid.name)), ("crawler", crawler_names)) if not known
    )
    label = names[0] if names else "unknown squid"
    key = "|".join((*names, "", *crawler_names, *sorted(unresolved)))
    return Source(key, label, {"squid": names, "crawler": crawler_names}, unresolved)


def _present(*values: object) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str) and value)


def _priority(urgent: bool) -> Priority:
    return Priority.ABORT if urgent else Priority.LOOK


def _run_path(run_id: str) -> str:
    return f"/v1/runs/{quote(run_id, safe='')}"


def _is_last(envelope: _Envelope, page: int) -> bool:
    pages = count(envelope.total_pages)
    return page >= pages if pages is not None else not envelope.next


def _read_items(envelope: _Envelope, shape: type[Any], what: str, bad_items: list[str]) -> Iterable[Any]:
    """The items that can be read; a sentence for each that cannot."""
    items = []
    for number, raw in enumerate(envelope.data):
        try:
            items.append(msgspec.json.decode(raw, type=shape))
        except msgspec.DecodeError as error:
            bad_items.append(f"{what}, item {number} of the list, cannot be read: {error}")
    return items
