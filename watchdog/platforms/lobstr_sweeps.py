"""The sweeps of a lobstr account: which squids are asked for their runs, and what that shows.

Facts used: runs are listed per squid only, so the squid list says which squids are active and each active one costs a
call; one active run a squid at a time, though a newer one may be pending while it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from watchdog.domain.ports import Seen, Sweep
from watchdog.domain.run import Snapshot, replace
from watchdog.errors import Gone, PlatformError
from watchdog.net import Call, Priority, Session
from watchdog.platforms.lobstr_snapshots import LobstrSnapshots, glimpse_of
from watchdog.platforms.lobstr_squids import LobstrSquids
from watchdog.platforms.lobstr_wire import Envelope, Run, Squid, may_be_active, squid_id_of, state_of
from watchdog.platforms.wire import read_items, text

#: So many of a squid's newest runs are read: an older one may still be going on behind one that waits.
RUNS_MAX = 10
#: Squids whose newest run is over, by the list, are asked for once all the same, so many at each sweep but the first.
ONCE_MAX = 3


@dataclass(slots=True)
class _Reading:
    """What a sweep has read of runs so far. `listed`: the squids that the list shows."""

    listed: Mapping[str, Squid]
    runs: dict[str, tuple[Squid, Run]] = field(default_factory=dict)
    bad_items: list[str] = field(default_factory=list)
    failed: dict[str, PlatformError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Latest:
    """The newest active run of a squid when it was last asked for, and what the squid list said then of when its newest
    run began. `alone`: it was the only active one, so that what the squid list says of the squid is about it."""

    run_id: str
    listed_at: object
    alone: bool


class LobstrSweeps:
    """Sweeps one account, and remembers from one sweep to the next which squids have active runs."""

    def __init__(self, session: Session, squids: LobstrSquids, snapshots: LobstrSnapshots) -> None:
        self._session = session
        self._squids = squids
        self._snapshots = snapshots
        self._latest: dict[str, _Latest] = {}
        self._unasked: set[str] = set()
        self._squid_of_run: dict[str, str] = {}
        self._asked: set[str] = set()
        self._has_swept = False

    def squid_id(self, run_id: str) -> str | None:
        """The squid of a run that the last sweep found active; None: not known."""
        return self._squid_of_run.get(run_id)

    async def sweep(self, seen: Seen | None, watched: Collection[str]) -> Sweep:
        """Every active run: the squid list, and one call for each squid with an active run that is not `watched`.

        A squid whose run was active at the last sweep, or could not be asked for, is asked for once more even if the
        list leaves it out or says otherwise. The list only tells of the newest run of a squid; so a squid not asked for
        yet is asked for once, a few at each sweep, whatever it says.
        """
        listing = await self._squids.read_list()
        reading = _Reading(listing.squids)
        wanted = self._wanted(reading.listed)
        unread = {
            squid_id: self._latest[squid_id].run_id
            for squid_id, squid in reading.listed.items()
            if may_be_active(squid) and self._is_watched(squid, watched)
        }
        await self._squids.remember(reading.listed, wanted.values())
        asked = [squid for squid_id, squid in wanted.items() if squid_id not in unread]
        found: list[Snapshot] = []
        take = seen or found.extend
        await asyncio.gather(*(self._read_newest_runs(squid, reading, take) for squid in asked))
        if asked and len(reading.failed) == len(wanted):
            # Nothing at all could be seen: that is a failed sweep, not an account without runs.
            raise next(iter(reading.failed.values()))
        self._remember(reading, asked, unread)
        return Sweep(
            found,
            (*listing.bad_items, *reading.bad_items),
            listing.sure and not reading.failed,
            set(unread.values()),
            pages=max(1, listing.pages),
            glimpses={
                run_id: glimpse_of(wanted[squid_id], self._squids.known(squid_id))
                for squid_id, run_id in unread.items()
            },
        )

    def _wanted(self, listed: Mapping[str, Squid]) -> dict[str, Squid]:
        """The squids that may have active runs, and those that are asked for to be sure."""
        wanted = {squid.id: squid for squid in listed.values() if may_be_active(squid)}
        wanted |= {
            squid_id: self._squids.known(squid_id)
            for squid_id in self._latest.keys() | self._unasked
            if squid_id not in wanted
        }
        return wanted | {squid.id: squid for squid in self._not_asked_yet(listed, wanted)}

    def _not_asked_yet(self, listed: Mapping[str, Squid], wanted: Collection[str]) -> list[Squid]:
        """A few of the squids that ran but were not asked for yet, the last ones to run first: behind a newest run that
        is over an older one may be going on. The first sweep does not wait for them."""
        if not self._has_swept:
            return []
        left = [
            squid
            for squid in listed.values()
            if squid.last_run_status is not None and squid.id not in self._asked and squid.id not in wanted
        ]
        return sorted(left, key=lambda squid: text(squid.last_run_at) or "", reverse=True)[:ONCE_MAX]

    def _is_watched(self, squid: Squid, watched: Collection[str]) -> bool:
        """Whether the run of this squid is known, and looked at by itself; not if the list shows that a newer one has
        begun since, nor if there are two: the squid list tells of one only whether it pauses."""
        latest = self._latest.get(squid.id)
        if latest is None or not latest.alone:
            return False
        return latest.run_id in watched and latest.listed_at == squid.last_run_at

    async def _read_newest_runs(self, squid: Squid, reading: _Reading, seen: Seen) -> None:
        """The newest runs of a squid, which cost no more than one. A squid that cannot be asked hurts only itself."""
        params: dict[str, str | int] = {"squid": squid.id, "limit": RUNS_MAX, "page": 1}
        call = Call("GET", "/v1/runs", endpoint="list", family="runs", params=params, priority=Priority.SWEEP)
        try:
            envelope, answer = await self._session.get(call, Envelope)
        except PlatformError as error:
            if isinstance(error, Gone) and squid.id not in reading.listed:
                return  # deleted since the last sweep
            reading.bad_items.append(f"runs of squid {squid.id}: {error}")
            reading.failed[squid.id] = error
            return
        runs, bad_items = read_items(envelope.data, Run, f"the runs of squid {squid.id}")
        reading.bad_items += bad_items
        for run in runs:
            if run.id in reading.runs:
                continue
            reading.runs[run.id] = (squid, run)
            if state_of(run).is_active:
                # The squid that the run names counts, even if another was asked for.
                its_squid = self._squids.known(squid_id_of(run) or squid.id)
                seen([self._snapshots.snapshot(run, its_squid, answer.received_at)])

    def _remember(self, reading: _Reading, asked: Iterable[Squid], unread: Mapping[str, str]) -> None:
        """Keep what the next sweep goes by. `unread`: the runs, by squid, that were left to the looks at them."""
        active = [(squid, run) for squid, run in reading.runs.values() if state_of(run).is_active]
        self._latest = {squid_id: self._latest[squid_id] for squid_id in unread} | _latest_of(active)
        self._unasked = set(reading.failed)
        self._asked = (self._asked | {squid.id for squid in asked}) & reading.listed.keys()
        self._has_swept = True
        kept = {run_id: self._squid_of_run[run_id] for run_id in unread.values() if run_id in self._squid_of_run}
        self._squid_of_run = kept | {run.id: squid_id_of(run) or squid.id for squid, run in active}


def _latest_of(active: Iterable[tuple[Squid, Run]]) -> dict[str, _Latest]:
    """The newest active run of each squid that was asked for."""
    latest: dict[str, _Latest] = {}
    for squid, run in active:
        newer = latest.get(squid.id)
        latest[squid.id] = (
            _Latest(run.id, squid.last_run_at, alone=True) if newer is None else replace(newer, alone=False)
        )
    return latest
