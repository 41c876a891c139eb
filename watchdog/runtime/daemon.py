"""The long-running process: starts everything, keeps the sweeps going, stops in good order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from apscheduler.job import Job

from watchdog.domain.arming import Arming
from watchdog.domain.notice import Trouble
from watchdog.domain.ports import Clock, Observer
from watchdog.domain.status import AccountStatus
from watchdog.errors import ConfigurationError, CredentialsRefused, WatchdogError
from watchdog.runtime import collector
from watchdog.runtime.chores import Chore
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.status import StatusReader
from watchdog.runtime.systemd import Heartbeat, Systemd
from watchdog.runtime.ticker import Surprise, Ticker
from watchdog.runtime.vitals import PACE, Pace, Vitals
from watchdog.runtime.watch import Watch

#: Real seconds that open aborts get at the end; with the rest of the shutdown this stays under 5 s.
CLOSE_S = 3.0
#: An account counts as swept recently within this many of its intervals, and at least so many seconds.
RECENT_INTERVALS = 3.0
RECENT_MIN_S = 30.0
#: After the wall clock was set forward nothing is done by it for so long, in seconds: it may be set right again.
DOUBT_S = 86400.0
#: What keeps the sweeps going, as the vitals call it.
_SCHEDULER = "scheduler"


class Service(Protocol):
    """Something that runs beside the sweeps: the web server."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """One thing that must be so for the daemon to do its duty."""

    name: str
    ok: bool
    detail: str


async def _nothing() -> None:
    """There is nothing to do."""


class Daemon:
    """Sweeps on schedule until told to stop."""

    def __init__(
        self,
        watches: Sequence[Watch],
        enforcer: Enforcer,
        status: StatusReader,
        clock: Clock,
        observer: Observer,
        services: Sequence[Service] = (),
        chores: Sequence[Chore] = (),
        reload: Callable[[], Awaitable[object]] = _nothing,
        first: Callable[[], Awaitable[object]] = _nothing,
        pace: Pace = PACE,
    ) -> None:
        """`first` is done before anything else, and may refuse the start by raising ConfigurationError."""
        self._reload = reload
        self._first = first
        self._observer = observer
        self._chores = chores
        self._watches = watches
        self._status = status
        self._enforcer = enforcer
        self._clock = clock
        self._services = services
        self._stop = asyncio.Event()
        self._reason: WatchdogError | None = None
        self._ticker = Ticker(self._surprised)
        self._jobs: dict[str, Job] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._reloads: set[asyncio.Task[None]] = set()
        self._vitals = Vitals(watches, status, clock, pace)
        self._heart = self._heart_of(Systemd({}))

    def stop(self) -> None:
        """Ask for the end; `run` returns soon after."""
        self._stop.set()

    def stand_down(self, error: WatchdogError) -> None:
        """Ask for the end, which `run` raises this at: somebody else keeps watch, or nobody can with these tokens."""
        self._reason = error
        self._stop.set()

    async def reload(self) -> None:
        """Read the rules again, as SIGHUP asks for; systemd is told."""
        with self._heart.reloading():
            await self._reload()

    def stuck(self) -> str | None:
        """What of ours has come to a stand though it should go on, so that only a restart helps; None if all goes on.
        A platform that does not answer is no such thing, nor is what has been ended on purpose."""
        return None if self._stop.is_set() else self._vitals.stuck()

    async def run(self, *, close_s: float = CLOSE_S, systemd: Systemd | None = None) -> None:
        """Run until `stop`; at the end open aborts get `close_s` real seconds to be proven.
        `systemd` is told how it goes.

        Raises ConfigurationError if, before any account was swept, the platforms themselves refuse the token of every
        one; any other fault of a platform is told, and tried again, be it from the start. Raises what `stand_down` was
        told.
        """
        self._heart = self._heart_of(systemd or Systemd({}))
        async with AsyncExitStack() as stack:
            stack.callback(asyncio.create_task(self._heart.run(), name="heartbeat").cancel)
            for service in self._services:
                await service.start()
                stack.push_async_callback(service.stop)
            stack.push_async_callback(self._wind_down, close_s)
            await self._until_stopped(self._begin())
            await self._stop.wait()
        if self._reason is not None:
            raise self._reason

    async def _begin(self) -> None:
        await self._first()
        await self._enforcer.resume()
        for chore in self._chores:
            self._ticker.every(self._clock.wall(chore.every_s), self._do, [chore], chore.name)
        beat_s = self._vitals.pace.beat_s
        self._ticker.every(beat_s, self._beat, [], "beat")
        self._ticker.start()
        self._vitals.expect(_SCHEDULER, beat_s)
        await asyncio.gather(*(self._begin_with(watch) for watch in self._watches))
        collector.settle()
        if (error := refusal(self._status.accounts())) is not None:
            raise error
        self._tell_if_blind()
        # Nothing else is waited for: a platform that is down must not hold up the start, nor the boot of the machine.
        self._heart.ready()

    def _tell_if_blind(self) -> None:
        accounts = self._status.accounts()
        if all(account.swept_s is None for account in accounts):
            errors = "; ".join(str(account.error) for account in accounts)
            text = f"no account could be swept yet, so that no run is watched; each is tried again: {errors}"
            self._observer.notice(Trouble(text, level="error"))

    async def _begin_with(self, watch: Watch) -> None:
        """An account is watched from its own first sweep on, however long those of the others take."""
        self._tasks.append(asyncio.create_task(watch.run(), name=f"agenda {watch.info.name}"))
        self._vitals.expect_agenda(watch, self._tasks[-1])
        await watch.sweep()
        self._schedule(watch)
        if watch.last_success_s is not None:
            self._heart.ready()

    async def _until_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this, but let a stop cut it short."""
        task = asyncio.create_task(work)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
        else:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _schedule(self, watch: Watch) -> None:
        """A job per account. The second at once is for the ticks that come while a sweep is still waiting for its
        answer: the watch uses them to watch the runs it knows."""
        self._jobs[watch.info.name] = self._ticker.every(
            self._clock.wall(watch.interval_s), self._sweep, [watch], f"sweep {watch.info.name}", at_once=2
        )
        self._vitals.expect_sweeps(watch)

    async def _sweep(self, watch: Watch) -> None:
        self._vitals.beat_sweeps(watch)
        before = watch.interval_s
        try:
            await watch.sweep()
        except asyncio.CancelledError:
            # The end, which the scheduler would call a failed job.
            if self._stop.is_set():
                return
            raise
        if (error := refusal(self._status.accounts())) is not None:
            self.stand_down(error)
        if watch.interval_s != before:
            self._ticker.change(self._jobs[watch.info.name], self._clock.wall(watch.interval_s))
            self._vitals.expect_sweeps(watch)

    async def _do(self, chore: Chore) -> None:
        """One chore; a fault of ours in it must be seen, and must end neither the chore nor the daemon."""
        if chore.by_wall_clock and self._ticker.was_set_forward_within(DOUBT_S):
            return
        try:
            await chore.work()
        except asyncio.CancelledError:
            # As above.
            if not self._stop.is_set():
                raise
        except Exception as error:  # noqa: BLE001
            self._observer.notice(Trouble(f"internal error in '{chore.name}': {error!r}", level="error"))

    async def _beat(self) -> None:
        """Not a plain function: the scheduler would run that in a thread, of which there are only so many."""
        self._vitals.beat(_SCHEDULER)

    def _surprised(self, surprise: Surprise) -> None:
        """The clocks have parted, or everything stood still: what waits for its time looks again what time it is."""
        self._observer.notice(Trouble(str(surprise)))
        for watch in self._watches:
            watch.agenda.wake()

    def begin_reload(self) -> None:
        """Reload, beside everything else: rule files may lie on a file system that takes its time."""
        task = asyncio.create_task(self._do(Chore("reload", 0.0, self.reload)), name="reload")
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _wind_down(self, close_s: float) -> None:
        """No new looks; then let open aborts finish what they can."""
        self._stop.set()
        self._heart.stopping()
        self._ticker.stop()
        ending = [*self._tasks, *self._reloads]
        for task in ending:
            task.cancel()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await self._enforcer.close(close_s)
        # What stops have cost in the end makes history, also of those that were proven just now.
        for watch in self._watches:
            await watch.take_outcomes()

    def _heart_of(self, systemd: Systemd) -> Heartbeat:
        return Heartbeat(systemd, self._vitals.status, self.stuck)

    def arming(self) -> dict[str, Arming]:
        """Whether breaches lead to aborts, account by account."""
        return {account.name: account.arming for account in self._status.accounts()}

    def readiness(self) -> list[Readiness]:
        """Whether every account was swept recently, one entry each."""
        return [account_readiness(account) for account in self._status.accounts()]


def account_readiness(account: AccountStatus) -> Readiness:
    """Whether this account was swept recently enough, and if not, why."""
    name, age = f"account {account.name}", account.swept_s
    if age is None:
        return Readiness(name, ok=False, detail=_because(account, "not swept yet"))
    if age > max(RECENT_MIN_S, RECENT_INTERVALS * account.interval_s):
        return Readiness(name, ok=False, detail=_because(account, f"last swept {age:.0f} s ago"))
    if isinstance(account.error, CredentialsRefused):
        return Readiness(name, ok=False, detail=_because(account, "credentials refused"))
    return Readiness(name, ok=True, detail=f"swept {age:.0f} s ago; {account.arming}")


def _because(account: AccountStatus, text: str) -> str:
    return f"{text}: {account.error}" if account.error is not None else text


def refusal(accounts: Sequence[AccountStatus]) -> ConfigurationError | None:
    """The mistake in the configuration, if none of these accounts was ever swept and the platforms themselves refuse
    the token of every one: a restart does not mend it, nor does waiting. Anything else may pass."""
    errors = [account.error for account in accounts if account.swept_s is None]
    refused = [each for each in errors if isinstance(each, CredentialsRefused) and not each.token_works]
    return ConfigurationError("\n".join(map(str, refused))) if len(refused) == len(accounts) else None
