"""Watches one account: sweeps it, looks at what is suspicious or due, and hands breaches on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from watchdog.domain.arming import Arming
from watchdog.domain.notice import AccountInfo
from watchdog.errors import PlatformError
from watchdog.runtime.memory import Memory
from watchdog.runtime.watch.account import Account
from watchdog.runtime.watch.agenda import Agenda
from watchdog.runtime.watch.looking import Looking
from watchdog.runtime.watch.sweeping import Sweeping

#: A sweep that comes early, in place of many looks, keeps at least this distance from the last one, in seconds.
EARLY_SWEEP_S = 1.0


class Watch:
    """One account, watched."""

    def __init__(self, account: Account, turn: asyncio.Lock | None = None) -> None:
        """`turn` is shared by those that are to take turns."""
        self.started_s = account.clock.monotonic()
        self._account = account
        self._clock = account.clock
        self.looking = Looking(account)
        self.sweeping = Sweeping(account, self.looking, turn or asyncio.Lock())
        self._outcomes = account.enforcer.outcomes_of(account.name)
        self._early_sweep: asyncio.Task[None] | None = None

    @property
    def info(self) -> AccountInfo:
        """The account as observers see it."""
        return self._account.info

    @property
    def memory(self) -> Memory:
        """What is remembered of its runs."""
        return self._account.memory

    @property
    def agenda(self) -> Agenda:
        """Which run is looked at when."""
        return self.looking.agenda

    @property
    def interval_s(self) -> float:
        """Seconds between two sweeps."""
        return self._account.interval_s

    @property
    def arming(self) -> Arming:
        """Whether breaches on this account lead to aborts at this moment."""
        return self._account.rulebook.arming(self.info.name, self._clock.now())

    @property
    def looks_waiting(self) -> int:
        """Looks that are due and wait for their turn."""
        return self.looking.looks.waiting

    @property
    def last_error(self) -> PlatformError | None:
        """Why the last sweep failed; None if it did not."""
        return self.sweeping.last_error

    @property
    def last_success_s(self) -> float | None:
        """When a sweep last succeeded; None: never."""
        return self.sweeping.last_success_s

    async def sweep(self) -> None:
        """One sweep. Faults are told, not raised."""
        await self.take_outcomes()
        await self.sweeping.sweep()

    async def run(self) -> None:
        """Serve the agenda, and what becomes of aborts, until cancelled."""
        following = asyncio.create_task(self._follow_aborts(), name=f"outcomes on {self.info.name}")
        try:
            while True:
                self.serve(await self.agenda.due())
        finally:
            following.cancel()

    def serve(self, due: Iterable[str]) -> None:
        """Look at these runs, whose time has come."""
        now_s = self._clock.monotonic()
        for run_id in due:
            watched = self.memory.of(run_id)
            if watched is not None:
                self.looking.look_now(watched, now_s)
        if self.looking.sweep_is_cheaper:
            self._sweep_early(now_s)

    def _sweep_early(self, now_s: float) -> None:
        """Many runs are due at once: one sweep shows them all, and drops those that can wait."""
        sweeping = self.sweeping
        if sweeping.under_way or self._early_sweep is not None or now_s - sweeping.began_s < EARLY_SWEEP_S:
            return
        self._early_sweep = asyncio.create_task(self.sweep(), name=f"early sweep {self.info.name}")
        self._early_sweep.add_done_callback(self._swept_early)

    def _swept_early(self, task: asyncio.Task[None]) -> None:
        self._early_sweep = None

    async def _follow_aborts(self) -> None:
        while True:
            await self._outcomes.wait()
            await self.take_outcomes()

    async def take_outcomes(self) -> None:
        """Take in what became of aborts on this account since it was last asked for."""
        for outcome in self._outcomes.take():
            await (self.looking.abort_settled if outcome.is_settled else self.looking.abort_closed)(outcome.abort)

    async def drain(self) -> None:
        """Wait for the looks under way, and for those that wait their turn."""
        await self.looking.drain()

    def cancel(self) -> None:
        """Stop looking."""
        self.looking.cancel()
        if self._early_sweep is not None:
            self._early_sweep.cancel()
