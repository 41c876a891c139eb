"""lobstr.io: the adapter of one account, over its API v1.

Facts and traps: lobstr's documentation, its own clients, recorded answers. After an abort the stats say 100 %, so
progress is read before it. What is known of its lists and figures is said in the modules beside this one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from watchdog.domain.decision import Mode
from watchdog.domain.ports import Seen, Sweep
from watchdog.domain.run import Progress, Snapshot, replace
from watchdog.errors import BadAnswer, PlatformError
from watchdog.net import Answer, Call, Priority, Session, path_segment
from watchdog.platforms.lobstr_facts import TRAITS
from watchdog.platforms.lobstr_snapshots import LobstrSnapshots
from watchdog.platforms.lobstr_squids import LobstrSquids
from watchdog.platforms.lobstr_sweeps import LobstrSweeps
from watchdog.platforms.lobstr_wire import UNTOLD, Envelope, Profile, Run, Squid, Stats, squid_id_of
from watchdog.platforms.wire import ABORT_PATIENCE_S, count, percent, text

NAME = TRAITS.name
BASE_URL = "https://api.lobstr.io"
AUTH_SCHEME = "Token"
#: The documented limit is 120 a minute for squids and for runs each; we stay inside it for both together.
REQUESTS_PER_MINUTE = 120
#: A run's stats only serve estimates: once the run itself is read they are waited for no longer than this, in seconds
#: of the wall clock.
STATS_PATIENCE_S = 2.0


def is_own_error(body: Mapping[str, Any]) -> bool:
    """Whether this is how lobstr words an error: `{"error": {"message", "type"}}`, `{"errors": {"message", "type",
    "code"}}` or `{"detail": "..."}`."""
    errors = (body.get("error"), body.get("errors"))
    return isinstance(body.get("detail"), str) or any(
        isinstance(error, dict) and isinstance(error.get("type"), str) for error in errors
    )


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
        self._stats_patience_s = stats_patience_s
        self._squids = LobstrSquids(session)
        self._snapshots = LobstrSnapshots(session, usd_per_credit)
        self._sweeps = LobstrSweeps(session, self._squids, self._snapshots)

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        """Every active run: the squid list, and one call for each squid with an active run that is not `watched`."""
        return await self._sweeps.sweep(seen, watched)

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
            stats, _ = await self._session.get(call, Stats)
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

    def _read_aborted(self, call: Call, answer: Answer, run_id: str) -> Run:
        """The run as the answer shows it; where it shows less, only a look will tell what became of it."""
        told = self._session.decode(call, answer, dict[str, Any]) if answer.body.strip() else {}
        if "status" in told and "id" not in told:
            return Run(run_id, text(told["status"]) or UNTOLD)
        return self._session.decode(call, answer, Run) if told else Run(run_id, UNTOLD)

    async def _read_run(self, call: Call, run_id: str) -> Snapshot:
        run, answer = await self._session.get(call, Run)
        return await self._inspected(call, run, answer, run_id)

    async def _inspected(self, call: Call, run: Run, answer: Answer, run_id: str) -> Snapshot:
        if run.id != run_id:
            raise BadAnswer(
                f"account '{self._session.account}': asked for run {run_id}, got another one; check base_url",
                account=self._session.account,
            )
        squid = await self._find_squid(run, wait=call.priority is not Priority.ABORT)
        return replace(self._snapshots.snapshot(run, squid, answer.received_at), inspected=True)

    async def _find_squid(self, run: Run, *, wait: bool) -> Squid:
        """The squid of a run. A look-up of names never holds up an abort."""
        squid_id = squid_id_of(run) or self._sweeps.squid_id(run.id)
        return Squid("") if squid_id is None else await self._squids.find(squid_id, wait=wait)

    def forget_names(self) -> None:
        """The list brings the names at every sweep; those that it leaves out are looked up again."""
        self._squids.expire()

    async def explain(self, run_id: str, text: str) -> None:
        """lobstr has no place for it."""

    async def check(self) -> str:
        """One squid of the list: it needs the very permission that sweeps need."""
        call = Call("GET", "/v1/squids", endpoint="squids", family="squids", params={"limit": 1, "page": 1})
        envelope, _ = await self._session.get(call, Envelope)
        total = count(envelope.total_results)
        return "can list squids" if total is None else f"can list squids ({total} in all)"

    async def owner(self) -> str | None:
        """The e-mail address of the token's user (`GET /v1/me`), which is all that tells one from another there."""
        call = Call("GET", "/v1/me", endpoint="me", family="me", attempts=1)
        profile, _ = await self._session.get(call, Profile)
        address = text(profile.email)
        return None if address is None else address.strip().casefold() or None


def _priority(urgent: bool) -> Priority:
    return Priority.URGENT if urgent else Priority.LOOK


def _run_path(run_id: str) -> str:
    return f"/v1/runs/{path_segment(run_id)}"
