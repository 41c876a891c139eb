"""lobstr.io: its API v1 to domain and back.

Facts and traps: lobstr's documentation, its own clients, recorded answers. Runs are listed per squid only, so the squid
list says which squids are active and each active one costs a call; one active run a squid at a time, though a newer
one may be pending while it goes on. `uploading` no longer collects and no longer costs, whatever `is_done` says.
`duration` is a number of seconds in lists and abort answers and a text in the detail, and nowhere the time elapsed;
times are naive (UTC) in some answers. After an abort the stats say 100 %, so progress is read before it. `credit_used`
and `duration` are different things, however alike the documentation's examples look.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Usage
from watchdog.domain.ports import Glimpse, Seen, Sweep
from watchdog.domain.run import CostBasis, Progress, RunState, Snapshot, Source, replace
from watchdog.errors import BadAnswer, CredentialsRefused, Gone, PlatformError
from watchdog.net import Answer, Call, Priority, Session, path_segment
from watchdog.platforms.lobstr_facts import TRAITS
from watchdog.platforms.names import NameCache
from watchdog.platforms.wire import ABORT_PATIENCE_S, count, figure, moment, part, percent, read_items, seconds, text

NAME = TRAITS.name
BASE_URL = "https://api.lobstr.io"
AUTH_SCHEME = "Token"
#: The documented limit is 120 a minute for squids and for runs each; we stay inside it for both together.
REQUESTS_PER_MINUTE = 120


def is_own_error(body: Mapping[str, Any]) -> bool:
    """Whether this is how lobstr words an error: `{"error": {"message", "type"}}`, `{"errors": {"message", "type",
    "code"}}` or `{"detail": "..."}`."""
    errors = (body.get("error"), body.get("errors"))
    return isinstance(body.get("detail"), str) or any(
        isinstance(error, dict) and isinstance(error.get("type"), str) for error in errors
    )


PAGE_MAX = 100
#: Names come with the list; so many look-ups a second may be spent on those that it leaves out.
_REFRESH_PER_S = 0.1
#: So many of a squid's newest runs are read: an older one may still be going on behind one that waits.
RUNS_MAX = 10
#: Squids whose newest run is over, by the list, are asked for once all the same, so many at each sweep but the first.
ONCE_MAX = 3
_PAGES_MAX = 1000
#: So many pages may fail, after all their retries, before a sweep makes do with what it has.
_BAD_PAGES_MAX = 3
#: A run's stats only serve estimates: once the run itself is read they are waited for no longer than this, in seconds
#: of the wall clock.
STATS_PATIENCE_S = 2.0

_STATES = {
    "pending": RunState.PENDING,
    "running": RunState.RUNNING,
    "paused": RunState.PAUSED,
    "uploading": RunState.STOPPED,
    "done": RunState.SUCCEEDED,
    "aborted": RunState.ABORTED,
    "error": RunState.FAILED,
    # Words that lobstr's own clients expect besides.
    "success": RunState.SUCCEEDED,
    "succeeded": RunState.SUCCEEDED,
    "finished": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "cancelled": RunState.ABORTED,
    "canceled": RunState.ABORTED,
}
#: The status of a run whose answer does not tell it.
_UNTOLD = "untold"
#: Reasons of an end that somebody brought about; the set of reasons is open.
_CUT_SHORT = frozenset({"aborted", "deactivated"})


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
    email_verification: Any = None
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
    last_run_at: Any = None
    is_active: Any = None


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw]
    total_results: Any = None
    total_pages: Any = None
    next: Any = msgspec.UNSET
    warning: Any = None


@dataclass(slots=True)
class _Reading:
    """What a sweep has read so far."""

    squids: dict[str, _Squid] = field(default_factory=dict)
    runs: dict[str, tuple[_Squid, _Run]] = field(default_factory=dict)
    bad_items: list[str] = field(default_factory=list)
    bad_pages: int = 0
    failed: dict[str, PlatformError] = field(default_factory=dict)
    sure: bool = True
    pages: int = 0


@dataclass(frozen=True, slots=True)
class _Latest:
    """The newest active run of a squid when it was last asked for, and what the squid list said then of when its newest
    run began. `alone`: it was the only active one, so that what the squid list says of the squid is about it."""

    run_id: str
    listed_at: object
    alone: bool


class Lobstr:
    """One lobstr.io account; a `Platform`.

    `usd_per_credit` turns credits into US dollars; without it the cost of runs is unknown. `stats_patience_s`: see
    `STATS_PATIENCE_S`.
    """

    traits = TRAITS

    def __init__(
        self, session: Session, usd_per_credit: float | None = None, stats_patience_s: float = STATS_PATIENCE_S
    ) -> None:
        self._session = session
        self._usd_per_credit = usd_per_credit
        self._stats_patience_s = stats_patience_s
        self._squids = NameCache(session.clock, self._look_up_squid, refresh_per_s=_REFRESH_PER_S)
        self._latest: dict[str, _Latest] = {}
        self._unasked: set[str] = set()
        self._squid_of_run: dict[str, str] = {}
        self._listed: dict[str, _Squid] = {}
        self._asked: set[str] = set()
        self._has_swept = False

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        """Every active run: the squid list, and one call for each squid with an active run that is not `watched`.

        A squid whose run was active at the last sweep, or could not be asked for, is asked for once more even if the
        list leaves it out or says otherwise. The list only tells of the newest run of a squid; so a squid not asked for
        yet is asked for once, a few at each sweep, whatever it says.
        """
        reading = _Reading()
        await self._list_squids(reading)
        wanted = {squid.id: squid for squid in reading.squids.values() if _may_be_active(squid)}
        goes_on = {squid_id for squid_id, squid in wanted.items() if self._is_watched(squid, watched)}
        wanted |= {
            squid_id: self._squid(squid_id)
            for squid_id in self._latest.keys() | self._unasked
            if squid_id not in wanted
        }
        wanted |= {squid.id: squid for squid in self._not_asked_yet(reading, wanted)}
        self._listed = reading.squids
        await self._name(reading, wanted.values())
        asked = [squid for squid_id, squid in wanted.items() if squid_id not in goes_on]
        found: list[Snapshot] = []
        take = seen or found.extend
        await asyncio.gather(*(self._read_newest_runs(squid, reading, take) for squid in asked))
        if asked and len(reading.failed) == len(wanted):
            # Nothing at all could be seen: that is a failed sweep, not an account without runs.
            raise next(iter(reading.failed.values()))
        unread = {self._latest[squid_id].run_id for squid_id in goes_on}
        active = [(squid, run) for squid, run in reading.runs.values() if _state(run).is_active]
        self._latest = {squid_id: self._latest[squid_id] for squid_id in goes_on}
        self._latest |= _latest_of(active)
        self._unasked = set(reading.failed)
        self._asked = (self._asked | {squid.id for squid in asked}) & reading.squids.keys()
        self._has_swept = True
        kept = {run_id: squid_id for run_id, squid_id in self._squid_of_run.items() if run_id in unread}
        self._squid_of_run = kept | {run.id: _squid_id(run) or squid.id for squid, run in active}
        glimpses = {self._latest[squid_id].run_id: self._glimpse(wanted[squid_id]) for squid_id in goes_on}
        pages = max(1, reading.pages)
        return Sweep(found, tuple(reading.bad_items), reading.sure, unread, pages=pages, glimpses=glimpses)

    def _not_asked_yet(self, reading: _Reading, wanted: Collection[str]) -> list[_Squid]:
        """A few of the squids that ran but were not asked for yet, the last ones to run first: behind a newest run that
        is over an older one may be going on. The first sweep does not wait for them."""
        if not self._has_swept:
            return []
        left = [
            squid
            for squid in reading.squids.values()
            if squid.last_run_status is not None and squid.id not in self._asked and squid.id not in wanted
        ]
        return sorted(left, key=lambda squid: text(squid.last_run_at) or "", reverse=True)[:ONCE_MAX]

    def _glimpse(self, listed: _Squid) -> Glimpse:
        """What the squid list says of the newest run of a squid."""
        state = _STATES.get((text(listed.last_run_status) or "").lower(), RunState.UNKNOWN)
        return Glimpse(state, _source(self._squid(listed.id)))

    def _is_watched(self, squid: _Squid, watched: Collection[str]) -> bool:
        """Whether the run of this squid is known, and looked at by itself; not if the list shows that a newer one has
        begun since, nor if there are two: the squid list tells of one only whether it pauses."""
        latest = self._latest.get(squid.id)
        if latest is None or not latest.alone:
            return False
        return latest.run_id in watched and latest.listed_at == squid.last_run_at

    async def _list_squids(self, reading: _Reading) -> None:
        """Every page of the squid list. A page that cannot be read hurts only itself, unless it is the first."""
        for page in range(1, _PAGES_MAX + 1):
            params = {"limit": PAGE_MAX, "page": page}
            call = Call("GET", "/v1/squids", endpoint="squids", family="squids", params=params, priority=Priority.SWEEP)
            try:
                envelope, _ = await self._session.get(call, _Envelope)
            except PlatformError as error:
                if page == 1 or isinstance(error, CredentialsRefused):
                    raise
                if isinstance(error, Gone):
                    return  # the list has become shorter meanwhile
                reading.bad_pages += 1
                reading.bad_items.append(f"page {page} of the squids: {error}")
                reading.sure = False
                if not error.retryable or reading.bad_pages >= _BAD_PAGES_MAX:
                    return
                continue
            reading.pages += 1
            known = len(reading.squids)
            squids, bad_items = read_items(envelope.data, _Squid, "the list of squids")
            reading.bad_items += bad_items
            reading.squids.update((squid.id, squid) for squid in squids)
            brought_nothing = len(reading.squids) == known and bool(squids)
            if not envelope.data or brought_nothing or _is_last(envelope, page, len(reading.squids)):
                self._note_cut(envelope, reading)
                return

    @staticmethod
    def _note_cut(last: _Envelope, reading: _Reading) -> None:
        """Tell if the list ended before all squids were listed: on some plans lobstr shows only so many."""
        total, listed = count(last.total_results), len(reading.squids)
        warning = text(last.warning)
        if warning is None and (total is None or listed >= total or reading.bad_items):
            return
        said = f"; it says: {' '.join(warning.split())[:200]}" if warning else ""
        reading.bad_items.append(
            f"lobstr lists {listed} of {'an unknown number of' if total is None else total} squids{said}; the runs of "
            "the others are not watched; see whether the plan of this account limits lists"
        )
        reading.sure = False

    async def _name(self, reading: _Reading, wanted: Iterable[_Squid]) -> None:
        """Keep the names that the list gives, and look up those that it leaves out, of squids that matter."""
        for squid in reading.squids.values():
            if _is_named(squid):
                self._squids.put(squid.id, squid)
        await self._squids.fill(squid.id for squid in wanted if not _is_named(squid))

    async def _read_newest_runs(self, squid: _Squid, reading: _Reading, seen: Seen) -> None:
        """The newest runs of a squid, which cost no more than one. A squid that cannot be asked hurts only itself."""
        params: dict[str, str | int] = {"squid": squid.id, "limit": RUNS_MAX, "page": 1}
        call = Call("GET", "/v1/runs", endpoint="list", family="runs", params=params, priority=Priority.SWEEP)
        try:
            envelope, answer = await self._session.get(call, _Envelope)
        except PlatformError as error:
            if isinstance(error, Gone) and squid.id not in reading.squids:
                return  # deleted since the last sweep
            reading.bad_items.append(f"runs of squid {squid.id}: {error}")
            reading.failed[squid.id] = error
            reading.sure = False
            return
        runs, bad_items = read_items(envelope.data, _Run, f"the runs of squid {squid.id}")
        reading.bad_items += bad_items
        for run in runs:
            if run.id in reading.runs:
                continue
            reading.runs[run.id] = (squid, run)
            if _state(run).is_active:
                seen([self._snapshot(run, self._squid_of(run, squid), answer.received_at)])

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """The run in detail; with `progress` also its stats, at the same time. Stats that cannot be read are left
        out: they only serve estimates."""
        call = Call("GET", _run_path(run_id), endpoint="run", family="runs", priority=_priority(urgent))
        if not progress:
            return await self._read_run(call, run_id)
        stats = asyncio.create_task(self._read_progress(run_id, urgent))
        try:
            snapshot = await self._read_run(call, run_id)
            done, _ = await asyncio.wait([stats], timeout=self._stats_patience_s)
            return replace(snapshot, progress=stats.result() if done else Progress())
        finally:
            stats.cancel()

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
        call = Call(
            "POST",
            path,
            endpoint="abort",
            family="runs",
            priority=Priority.ABORT,
            attempts=1,
            patience_s=ABORT_PATIENCE_S,
        )
        run, answer = await self._session.read(call, lambda answer: (self._read_aborted(call, answer, run_id), answer))
        return await self._inspected(call, run, answer, run_id)

    def _read_aborted(self, call: Call, answer: Answer, run_id: str) -> _Run:
        """The run as the answer shows it; where it shows less, only a look will tell what became of it."""
        told = self._session.decode(call, answer, dict[str, Any]) if answer.body.strip() else {}
        if "status" in told and "id" not in told:
            return _Run(run_id, text(told["status"]) or _UNTOLD)
        return self._session.decode(call, answer, _Run) if told else _Run(run_id, _UNTOLD)

    async def _read_run(self, call: Call, run_id: str) -> Snapshot:
        run, answer = await self._session.get(call, _Run)
        return await self._inspected(call, run, answer, run_id)

    async def _inspected(self, call: Call, run: _Run, answer: Answer, run_id: str) -> Snapshot:
        if run.id != run_id:
            raise BadAnswer(
                f"account '{self._session.account}': asked for run {run_id}, got another one; check base_url",
                account=self._session.account,
            )
        squid = await self._find_squid(run, wait=call.priority is not Priority.ABORT)
        return replace(self._snapshot(run, squid, answer.received_at), inspected=True)

    async def _find_squid(self, run: _Run, *, wait: bool) -> _Squid:
        """The squid of a run. A look-up of names never holds up an abort."""
        squid_id = _squid_id(run) or self._squid_of_run.get(run.id)
        if squid_id is None:
            return _Squid("")
        if self._squids.get(squid_id) is None:
            await self._squids.fill([squid_id], wait=wait)
        return self._squid(squid_id)

    def _squid(self, squid_id: str) -> _Squid:
        """What is known of a squid."""
        return self._squids.get(squid_id) or self._listed.get(squid_id) or _Squid(squid_id)

    def _squid_of(self, run: _Run, asked: _Squid) -> _Squid:
        """The squid that a listed run belongs to: the one it names, even if another was asked for."""
        return self._squid(_squid_id(run) or asked.id)

    async def _look_up_squid(self, squid_id: str) -> _Squid:
        call = Call("GET", f"/v1/squids/{path_segment(squid_id)}", endpoint="squid", family="squids")
        return (await self._session.get(call, _Squid))[0]

    def forget_names(self) -> None:
        """The list brings the names at every sweep; those that it leaves out are looked up again."""
        self._squids.expire()

    async def explain(self, run_id: str, text: str) -> None:
        """lobstr has no place for it."""

    async def check(self) -> str:
        """One squid of the list: it needs the very permission that sweeps need."""
        call = Call("GET", "/v1/squids", endpoint="squids", family="squids", params={"limit": 1, "page": 1})
        envelope, _ = await self._session.get(call, _Envelope)
        total = count(envelope.total_results)
        return "can list squids" if total is None else f"can list squids ({total} in all)"

    def _snapshot(self, run: _Run, squid: _Squid, received: datetime) -> Snapshot:
        credits_used = figure(run.credit_used)
        known = credits_used is not None and self._usd_per_credit is not None
        cost = credits_used * self._usd_per_credit if known else None  # type: ignore[operator]  # known: both numbers
        least_s, most_s = self._running_time(run, received)
        return Snapshot(
            account=self._session.account,
            platform=NAME,
            run_id=run.id,
            source=_source(squid),
            state=_state(run),
            status=run.status,
            usage=Usage(credits=credits_used, cost_usd=cost, duration_s=least_s),
            seen_at=received,
            inspected=False,
            origin=text(run.origin),
            started_at=moment(run.started_at),
            finished_at=moment(run.ended_at),
            # A run that goes on may carry the reason of a pause.
            end_reason=None if _state(run).is_active else text(run.done_reason),
            most=Usage(duration_s=most_s),
            cost_basis=CostBasis.CREDITS if known else None,
            settling=_is_settling(run),
        )

    def _running_time(self, run: _Run, received: datetime) -> tuple[float | None, float]:
        """The least and the most seconds that the run can have spent running.

        `duration` is less than that (10.4 s of 15 on a real account), and may be 0 or null while it runs. The time from
        its start to its end, or until now, is more: the run may have been paused. A run not yet started has not run.
        """
        reported, started = seconds(run.duration), moment(run.started_at)
        if _state(run) is RunState.PENDING and not reported:
            return 0.0, 0.0
        ended = None if _state(run).is_active else moment(run.ended_at)
        if started is not None and ended is not None:
            elapsed_s = (ended - started).total_seconds()
        elif started is not None and (skew_s := self._session.platform_skew_s) is not None:
            elapsed_s = (received - started).total_seconds() + max(0.0, skew_s)
        else:
            return reported, math.inf
        elapsed_s = max(0.0, elapsed_s)
        return None if reported is None else min(reported, elapsed_s), elapsed_s

    async def owner(self) -> str | None:
        """The e-mail address of the token's user (`GET /v1/me`), which is all that tells one from another there."""
        call = Call("GET", "/v1/me", endpoint="me", family="me", attempts=1)
        profile, _ = await self._session.get(call, _Profile)
        address = text(profile.email)
        return None if address is None else address.strip().casefold() or None


#: Words for a verification that is under way or about to begin.
_VERIFYING = frozenset({"pending", "queued", "waiting", "started", "running", "processing", "in_progress"})
_VERIFIED = frozenset(
    {"done", "completed", "finished", "success", "succeeded", "error", "failed", "aborted", "cancelled"}
)


def _is_settling(run: _Run) -> bool:
    """Whether the credits of a run that is over may still rise: the e-mail addresses that it found are verified after
    `done`, and every one is billed. A run that is `uploading` has not come to that yet."""
    state = _state(run)
    if state.is_active:
        return False
    return state is RunState.STOPPED or _is_verifying(part(run.email_verification))


def _is_verifying(verification: Mapping[str, object]) -> bool:
    """By `{status, progress, verified_emails, total_emails, is_done}`, of which anything may be missing. Without any
    address there is nothing to wait for, unless the status says so."""
    is_done, status = verification.get("is_done"), (text(verification.get("status")) or "").lower()
    if is_done is True or (is_done is not False and status in _VERIFIED):
        return False
    return status in _VERIFYING or bool(count(verification.get("total_emails")))


class _Profile(msgspec.Struct):
    email: Any = None


def _state(run: _Run) -> RunState:
    """The state behind a status, in either case of letters. `done` by an abort, or because its squid was deactivated,
    is an abort; a status never heard of counts as active unless the run is said to be done."""
    state = _STATES.get(run.status.lower())
    if state is None:
        return RunState.STOPPED if run.is_done is True else RunState.UNKNOWN
    if state is RunState.SUCCEEDED and (text(run.done_reason) or "").lower() in _CUT_SHORT:
        return RunState.ABORTED
    return state


def _latest_of(active: Iterable[tuple[_Squid, _Run]]) -> dict[str, _Latest]:
    """The newest active run of each squid that was asked for."""
    latest: dict[str, _Latest] = {}
    for squid, run in active:
        newer = latest.get(squid.id)
        latest[squid.id] = (
            _Latest(run.id, squid.last_run_at, alone=True) if newer is None else replace(newer, alone=False)
        )
    return latest


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
        facet for facet, name in (("squid", squid.name), ("crawler", squid.crawler_name)) if not text(name)
    )
    label = names[0] if names else "unknown squid"
    key = "|".join((*names, "", *crawler_names, *sorted(unresolved)))
    return Source(key, label, {"squid": names, "crawler": crawler_names}, unresolved, id=squid.id)


def _is_named(squid: _Squid) -> bool:
    return text(squid.name) is not None and text(squid.crawler_name) is not None


def _squid_id(run: _Run) -> str | None:
    """The id of a run's squid; webhooks write it as an object with id and name."""
    return text(run.squid) or text(part(run.squid).get("id"))


def _present(*values: object) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str) and value)


def _priority(urgent: bool) -> Priority:
    return Priority.URGENT if urgent else Priority.LOOK


def _run_path(run_id: str) -> str:
    return f"/v1/runs/{path_segment(run_id)}"


def _is_last(envelope: _Envelope, page: int, seen: int) -> bool:
    """Whether no page follows, by whatever the envelope says of it; if it says nothing, only an empty page is the
    end."""
    pages, total = count(envelope.total_pages), count(envelope.total_results)
    if text(envelope.next) or (pages is not None and page < pages):
        return False
    if pages is not None or envelope.next is None:
        return True
    return total is not None and seen >= total
