"""CrawlHub: GET /jobs (all active jobs), GET /jobs/{id}, POST /jobs/{id}/stop; `Authorization: Key TOKEN`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Usage
from watchdog.domain.ports import PlatformTraits, Seen, Sweep
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.net import Answer, Call, Priority, Session, path_segment
from watchdog.platforms.registry import PlatformSpec
from watchdog.platforms.wire import figure, moment, read_items, seconds, text

TRAITS = PlatformTraits(
    name="crawlhub",
    modes=frozenset({Mode.IMMEDIATE}),  # what an abort can be; Mode.GRACEFUL if jobs can be asked to end by themselves
    graceful_window_s=0.0,  # how long a job may live after a graceful abort
    settle_s=5.0,  # how long after the end figures still change
    default_poll_interval_s=10.0,  # None: as often as the number of runs and the rate budget allow
)

STATES = {
    "queued": RunState.PENDING,
    "running": RunState.RUNNING,
    "finished": RunState.SUCCEEDED,
    "crashed": RunState.FAILED,
    "stopped": RunState.ABORTED,
}


class Job(msgspec.Struct):
    """Only what tells jobs apart is typed; the rest is read with `wire`, where unreadable is None, never zero."""

    id: str
    state: str
    spider: Any = None
    spent: Any = None
    runtime: Any = None
    started: Any = None
    trigger: Any = None


class Jobs(msgspec.Struct):
    jobs: list[msgspec.Raw]


class CrawlHub:
    """One CrawlHub account. Every call may raise a `PlatformError`; none returns a guess."""

    traits = TRAITS

    def __init__(self, session: Session) -> None:
        self._session = session

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        """Every active job. One that cannot be read hurts only itself."""
        call = Call("GET", "/jobs", endpoint="list", family="jobs", priority=Priority.SWEEP)
        listed, answer = await self._session.get(call, Jobs)
        jobs, bad_items = read_items(listed.jobs, Job, "the jobs")
        snapshots = [self._snapshot(job, answer, inspected=False) for job in jobs]
        return Sweep([snapshot for snapshot in snapshots if snapshot.state.is_active], bad_items)

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """One job in detail. Looks around an abort may use the rate budget that is kept for them."""
        priority = Priority.URGENT if urgent else Priority.LOOK
        return await self._read(
            Call("GET", f"/jobs/{path_segment(run_id)}", endpoint="run", family="job", priority=priority)
        )

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        """Ask for the stop, once: `attempts=1`, since whether a lost answer did something is for a look to tell."""
        path = f"/jobs/{path_segment(run_id)}/stop"
        return await self._read(
            Call("POST", path, endpoint="abort", family="stop", priority=Priority.ABORT, attempts=1)
        )

    async def explain(self, run_id: str, text: str) -> None:
        """CrawlHub has no place on a job for the reason of its end; elsewhere this writes it there."""

    async def check(self) -> str:
        """Try the token with one cheap call, and say what it can see."""
        listed, _ = await self._session.get(Call("GET", "/jobs", endpoint="list", family="jobs"), Jobs)
        return f"can list jobs ({len(listed.jobs)} active)"

    async def _read(self, call: Call) -> Snapshot:
        job, answer = await self._session.get(call, Job)
        return self._snapshot(job, answer, inspected=True)

    def _snapshot(self, job: Job, answer: Answer, *, inspected: bool) -> Snapshot:
        spider = text(job.spider) or ""
        names = (spider,) if spider else ()
        return Snapshot(
            account=self._session.account,
            platform=TRAITS.name,
            run_id=job.id,
            source=Source(key=spider, label=spider or "unknown spider", facets={"spider": names}),
            state=STATES.get(job.state, RunState.UNKNOWN),  # a new word counts as active
            status=job.state,
            usage=Usage(cost_usd=figure(job.spent), duration_s=seconds(job.runtime)),
            seen_at=answer.received_at,
            inspected=inspected,
            origin=text(job.trigger),
            started_at=moment(job.started),
        )


CRAWLHUB = PlatformSpec(
    traits=TRAITS,
    base_url="https://api.crawlhub.example",
    auth_scheme="Key",
    requests_per_minute=300,
    build=lambda session, options: CrawlHub(session),
    match_keys=("spider",),
)
