"""Apify: the adapter of one account, over its API v2.

Facts and traps: Apify's OpenAPI description and documentation. An abort of a run that is not READY, RUNNING or
TIMING-OUT does nothing and still answers 200. What is known of its lists, details, prices and names is said in the
modules beside this one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from watchdog.domain.decision import Mode
from watchdog.domain.ports import Ended, Seen, Sweep
from watchdog.domain.run import Snapshot
from watchdog.errors import BadAnswer, PlatformError
from watchdog.net import Call, Priority, Session, path_segment
from watchdog.platforms.apify_ends import ended_runs
from watchdog.platforms.apify_facts import TRAITS
from watchdog.platforms.apify_list import RunList, read_all
from watchdog.platforms.apify_names import ApifyNames
from watchdog.platforms.apify_pricing import Cost, cost, priced_dataset
from watchdog.platforms.apify_snapshots import ApifySnapshots
from watchdog.platforms.apify_wire import (
    DatasetAnswer,
    Listed,
    OwnerAnswer,
    RawPageAnswer,
    Run,
    RunAnswer,
    RunShort,
    pairs_of,
)
from watchdog.platforms.names import PATIENCE_S as NAMES_PATIENCE_S
from watchdog.platforms.wire import ABORT_PATIENCE_S, count, read_items, text

NAME = TRAITS.name
BASE_URL = "https://api.apify.com"
AUTH_SCHEME = "Bearer"
#: Far inside the documented 60 requests/s per resource and 250,000/min per user, and enough to inspect thousands.
REQUESTS_PER_MINUTE = 6000


def is_own_error(body: Mapping[str, Any]) -> bool:
    """Whether this is how Apify words an error: `{"error": {"type", "message"}}`."""
    error = body.get("error")
    return isinstance(error, dict) and isinstance(error.get("type"), str)


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
        self._snapshots = ApifySnapshots(session, self._names)
        self._list = RunList(session)

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        """Every active run, page by page: one call for each 1,000, and one for each Actor or task not seen before. The
        list shows what each has used in dollars, so that every run is given, `watched` or not."""
        snapshots: list[Snapshot] = []
        give = seen or snapshots.extend

        async def take(runs: Collection[Listed], received_at: datetime) -> None:
            give(await self._snapshots.swept(runs, received_at))

        listing = await read_all(self._list.page, take)
        return Sweep(
            snapshots,
            tuple(listing.bad_items),
            listing.sure,
            pages=max(1, listing.pages),
            nameless=self._names.nameless(listing.pairs),
        )

    async def ended(self, last: Mapping[str, Snapshot]) -> Mapping[str, Ended]:
        """Those of these runs that the list of aborted runs shows, among all that were created when they were. It gives
        up if that list has more pages than a tenth of the runs asked for."""
        return await ended_runs(self._list, last, self._looked)

    async def _looked(self, run_id: str) -> Snapshot:
        return await self.inspect(run_id, urgent=True)

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
        answered, answer = await self._session.get(call, RunAnswer)
        run = answered.data
        if run.id != run_id:
            raise BadAnswer(
                f"account '{self._session.account}': asked for run {run_id}, got another one; check base_url",
                account=self._session.account,
            )
        # A look-up of names never holds up an abort, nor the look before it if its source has been seen before.
        pairs = pairs_of(run)
        urgent = call.priority is Priority.URGENT and all(map(self._names.knows, pairs))
        await self._names.resolve(pairs, wait=call.priority is not Priority.ABORT and not urgent)
        return self._snapshots.inspected(run, answer.received_at, await self._cost(run, call.priority))

    async def _cost(self, run: Run, priority: Priority) -> Cost:
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
            answered, _ = await self._session.get(call, DatasetAnswer)
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
        page, _ = await self._session.get(call, RawPageAnswer)
        total = count(page.data.total)
        able = "can list runs" if total is None else f"can list runs ({total} in all)"
        return able + await self._check_names(page.data.items)

    async def _check_names(self, items: Sequence[msgspec.Raw]) -> str:
        """Whether the token may read the names that rules go by, tried on the newest run."""
        runs, _ = read_items(items, RunShort, "the list of runs")
        pairs = {(text(run.act_id), text(run.actor_task_id)) for run in runs}
        await self._names.resolve(pairs)
        return "".join(f"; {sentence}" for sentence in self._names.nameless(pairs))

    def forget_names(self) -> None:
        """Look names up again; until then those that are known hold."""
        self._names.expire()

    async def owner(self) -> str | None:
        """The id of the token's user (`GET /v2/users/me`); tokens of one organisation have the same."""
        call = Call("GET", "/v2/users/me", endpoint="me", family="me", attempts=1)
        answered, _ = await self._session.get(call, OwnerAnswer)
        return text(answered.data.id)


def _priority(urgent: bool) -> Priority:
    return Priority.URGENT if urgent else Priority.LOOK


def _run_path(run_id: str) -> str:
    return f"/v2/actor-runs/{path_segment(run_id)}"
