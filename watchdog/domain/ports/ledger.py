"""The doors to the ledger, one for each kind of user: whoever only takes orders cannot write an abort.

Every call may raise a LedgerError. Those who watch and abort runs know `Ledger` as the slices below; what only commands
ask of a store, beside a daemon or without one, is at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from watchdog.domain.decision import Abort
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Usage
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.run import RunKey, Snapshot
from watchdog.domain.sums import AbortGroup, AbortSums


@dataclass(frozen=True, slots=True)
class AbortFilter:
    """Which records are wanted: opened from `since` on and before `until` (UTC); None: any. `newest`: of these only so
    many, the newest."""

    since: datetime | None = None
    until: datetime | None = None
    account: str | None = None
    rule: str | None = None
    outcome: str | None = None
    run_id: str | None = None
    abort_id: str | None = None
    newest: int | None = None


class AbortLedger(Protocol):
    """Where aborts are written before anything is done, and read again after a crash."""

    async def save(self, abort: Abort) -> None:
        """Write this version of the record; the latest by `id` counts."""
        ...

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do, oldest first."""
        ...

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """The records wanted (None: all), oldest first."""
        ...


class SumLedger(Protocol):
    """What all aborts add up to, for counters that go on after a restart."""

    async def sums(self) -> Mapping[AbortGroup, AbortSums]:
        """What all aborts add up to that nothing is left to do about, however many they are."""
        ...


class RunLedger(Protocol):
    """What is known of runs that are going on, for the next start."""

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Write the last known usage of these runs."""
        ...

    async def seen_running(self, account: str) -> Mapping[str, float]:
        """For how many seconds each run of this account was seen running when it was last written, by id; runs never
        seen running are left out."""
        ...


class HistoryLedger(Protocol):
    """What is remembered of runs that are over, for forecasts and estimates of later ones."""

    async def add_burn(self, record: BurnRecord) -> None:
        """Remember what a run that is over used, and how fast; the latest record of a run counts."""
        ...

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        """The latest records of each of these sources, oldest first; sources without any are left out."""
        ...

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """What earlier runs of this source used that ended by themselves, oldest first."""
        ...


class OverrideLedger(Protocol):
    """What people have decided: holds, protections, resurrect flags, pauses."""

    async def add_override(self, override: Override) -> None:
        """Write an override."""
        ...

    async def overrides(self, now: datetime) -> list[Override]:
        """Those that hold now, oldest first."""
        ...

    async def end_overrides(
        self, kinds: Sequence[OverrideKind], run_id: str | None, at: datetime, account: str | None = None
    ) -> int:
        """End those of these kinds about this run (None: about no single run), and of these only those for this account
        (None: all); how many there were."""
        ...

    async def move_override(self, override_id: str, until: datetime | None) -> None:
        """Let it end at another hour (UTC), unless somebody has ended it or it never ends."""
        ...


class OrderLedger(Protocol):
    """Aborts that people ask for by hand while a daemon runs."""

    async def add_order(self, order: Order) -> None:
        """Write an abort asked for by hand, for the daemon to take on."""
        ...

    async def orders(self) -> list[Order]:
        """Those that nobody has taken on, oldest first."""
        ...

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order."""
        ...


class BookLedger(AbortLedger, HistoryLedger, Protocol):
    """What booking the savings of aborts takes."""


class EnforceLedger(BookLedger, OverrideLedger, Protocol):
    """What carrying aborts out takes: people may decide otherwise meanwhile."""


class WatchLedger(RunLedger, HistoryLedger, OverrideLedger, Protocol):
    """What watching an account takes."""


class Ledger(AbortLedger, SumLedger, RunLedger, HistoryLedger, OverrideLedger, OrderLedger, Protocol):
    """All of it: what the composition root hands out in slices, and keeps in order."""

    async def prune(self, before: datetime) -> int:
        """Delete what is older than this, but never an abort; how many rows."""
        ...

    async def close(self) -> None:
        """Finish what is being written."""
        ...


# --- what commands ask of a store ------------------------------------------------------------------------------------


class AbortRecords(Protocol):
    """The records of years, to be read and added up."""

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """The records wanted (None: all), oldest first."""
        ...

    def newest_first(self, wanted: AbortFilter) -> AsyncIterator[list[Abort]]:
        """The records wanted, newest first, a portion at a time, so that they need not all be in memory."""
        ...


class KnownRuns(Protocol):
    """What tells a mistyped run from one that is there."""

    async def known_runs(self, run_id: str | None = None) -> list[RunKey]:
        """The runs that there is anything about, or those of this id."""
        ...


class CheckedOverrides(OverrideLedger, KnownRuns, Protocol):
    """What writing an override takes that may name a mistyped run."""
