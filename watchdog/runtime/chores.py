"""What is done over and over beside the sweeps, and how often."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from watchdog.domain.ports import Clock, Ledger
from watchdog.runtime import collector
from watchdog.runtime.desk import Desk
from watchdog.runtime.matches import Matches
from watchdog.runtime.owners import AGAIN_S, Owners
from watchdog.runtime.sentry import Sentry
from watchdog.runtime.watch import Watch

#: How often, in seconds: orders and pauses are looked for, records in memory tried again, usage of runs written, old
#: rows pruned, and which rules match any run.
ORDERS_S = 2.0
ARMING_S = 2.0
FLUSH_S = 10.0
RUNS_S = 60.0
PRUNE_S = 3600.0
MATCHES_S = 15.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something small that is done over and over beside the sweeps: orders, writing, pruning. `every_s` seconds of the
    clock pass between two times. One that goes `by_wall_clock` rests while that may have to be set right again."""

    name: str
    every_s: float
    work: Callable[[], Awaitable[object]]
    by_wall_clock: bool = False


class PatientLedger(Ledger, Protocol):
    """A ledger that keeps in memory what cannot be written yet."""

    @property
    def pending(self) -> int:
        """Records that wait in memory."""
        ...

    async def flush(self) -> None:
        """Try to write them."""
        ...


class Upkeep:
    """Keeps the ledger in order. `retention`: what is older is pruned. `show_pending` shows how many records wait in
    memory."""

    def __init__(
        self,
        ledger: PatientLedger,
        watches: Sequence[Watch],
        clock: Clock,
        retention: timedelta,
        show_pending: Callable[[int], None],
    ) -> None:
        self._ledger = ledger
        self._watches = watches
        self._clock = clock
        self._retention = retention
        self._show_pending = show_pending

    async def flush(self) -> None:
        """Write what waits in memory, and show how much still does."""
        await self._ledger.flush()
        self._show_pending(self._ledger.pending)

    async def save_runs(self) -> None:
        """Write the usage of runs that has changed since it was written last."""
        changed = [run for watch in self._watches for run in watch.memory.changed()]
        await self._ledger.save_runs(changed)

    async def prune(self) -> None:
        """Delete what is older than anybody wants it."""
        await self._ledger.prune(self._clock.now() - self._retention)


def all_chores(desk: Desk, sentry: Sentry, upkeep: Upkeep, matches: Matches, owners: Owners) -> tuple[Chore, ...]:
    """Those of a daemon."""
    return (
        Chore("orders", ORDERS_S, desk.serve),
        Chore("armed or not", ARMING_S, sentry.look),
        Chore("ledger: what waits in memory", FLUSH_S, upkeep.flush),
        Chore("ledger: usage of runs", RUNS_S, upkeep.save_runs),
        Chore("ledger: pruning", PRUNE_S, upkeep.prune, by_wall_clock=True),
        Chore("which rules match", MATCHES_S, matches.look),
        Chore("owners of tokens", AGAIN_S, owners.ask_again),
        Chore("garbage collection", collector.COLLECT_S, _collect),
    )


async def _collect() -> None:
    collector.settle()
