"""The doors between rooms, as Protocols: the runtime knows these, never an adapter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from watchdog.domain.decision import Abort, Mode
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Usage
from watchdog.domain.notice import Notice
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.platform import PlatformTraits
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.domain.sums import AbortGroup, AbortSums


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What a list shows of a run whose usage it does not show."""

    state: RunState
    source: Source


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one list call (all its pages) showed: every active run it could read.

    `snapshots` are the runs that were not handed over earlier (see `Platform.sweep`). `unread` are ids of runs that the
    list shows to be active still, though their usage was not read this time; `glimpses` is what it shows of those,
    by id, where it shows anything. `nameless` holds one sentence for each source whose names will not be had, since it
    is gone or the token may not read it. `bad_items` holds one sentence for each
    item that could not be read. `sure` is whether the whole list was seen, so that a run not in it was really not
    listed; even then it has not thereby ended. `pages` is how many calls the bare list takes.
    """

    snapshots: Sequence[Snapshot] = ()
    bad_items: Sequence[str] = ()
    sure: bool = True
    unread: Collection[str] = ()
    pages: int = 1
    glimpses: Mapping[str, Glimpse] = field(default_factory=dict)
    nameless: Sequence[str] = ()


Seen = Callable[[Sequence[Snapshot]], None]


class Platform(Protocol):
    """One account on one platform. Every call may raise a `PlatformError`; none returns a guess."""

    @property
    def traits(self) -> PlatformTraits: ...

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        """List every active run of the account, each once: handed to `seen` as soon as it is read (a breach must not
        wait for the rest of a long list), or in the answer. Runs in `watched` are looked at one by one anyway: where
        reading one would cost a call of its own, it is enough to name it in `Sweep.unread`."""
        ...

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """Look at one run in detail. `urgent` may use the rate budget kept for aborts; `progress` also reads how
        far the run says it has come, where that is a call of its own."""
        ...

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        """Ask for the stop, once, and return the run as the platform's answer shows it."""
        ...

    async def explain(self, run_id: str, text: str) -> None:
        """Write onto the run why it was stopped, where its owner sees it; nothing on a platform that has no such
        place, or if the account does not want it."""
        ...

    def forget_names(self) -> None:
        """Names may have changed: look them up again, and use those that are known until then."""
        ...

    async def check(self) -> str:
        """Try the token with one cheap call and say in a few words what it can see."""
        ...


@runtime_checkable
class Owned(Protocol):
    """A `Platform` that can tell whose token it has. Apart from it, since an adapter may lack this."""

    async def owner(self) -> str | None:
        """Who the token belongs to: the same for two tokens that see the same runs. None: the platform does not say.
        May raise a `PlatformError`."""
        ...


class Ended(NamedTuple):
    """A run that is over, as a list shows it. `exact`: its figures are those that a detailed look would show; else some
    are only lower bounds."""

    snapshot: Snapshot
    exact: bool


@runtime_checkable
class ListsEnds(Protocol):
    """A `Platform` that can show the ends of many runs at few calls. Apart from it, since an adapter may lack this."""

    async def ended(self, last: Mapping[str, Snapshot]) -> Mapping[str, Ended]:
        """Those of these runs that a list shows to be over, by id; the others may be over all the same. `last` are the
        last detailed looks at them. It gives up where it would take more calls than it spares."""
        ...


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


class Ledger(Protocol):
    """Where aborts are written before anything is done, and read again after a crash. Every call may raise a
    LedgerError."""

    async def save(self, abort: Abort) -> None:
        """Write this version of the record; the latest by `id` counts."""
        ...

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do, oldest first."""
        ...

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """The records wanted (None: all), oldest first."""
        ...

    async def sums(self) -> Mapping[AbortGroup, AbortSums]:
        """What all aborts add up to that nothing is left to do about, however many they are."""
        ...

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Write the last known usage of these runs."""
        ...

    async def seen_running(self, account: str) -> Mapping[str, float]:
        """For how many seconds each run of this account was seen running when it was last written, by id; runs never
        seen running are left out."""
        ...

    async def add_finished(self, snapshot: Snapshot) -> None:
        """Remember how much a run that ended by itself used, for later estimates."""
        ...

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """What earlier runs of this source used that ended by themselves, oldest first."""
        ...

    async def add_burn(self, record: BurnRecord) -> None:
        """Remember how fast a run that is over used up what it used; the latest record of a run counts."""
        ...

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        """The latest records of each of these sources, oldest first; sources without any are left out."""
        ...

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

    async def add_order(self, order: Order) -> None:
        """Write an abort asked for by hand, for the daemon to take on."""
        ...

    async def orders(self) -> list[Order]:
        """Those that nobody has taken on, oldest first."""
        ...

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order."""
        ...

    async def prune(self, before: datetime) -> int:
        """Delete what is older than this, but never an abort; how many rows."""
        ...

    async def close(self) -> None:
        """Finish what is being written."""
        ...


class Observer(Protocol):
    """Who is told what happens: metrics, logs, the live table. Must be quick, and must not raise."""

    def notice(self, notice: Notice) -> None: ...


class Clock(Protocol):
    """The only source of time. In a demo it runs faster than the wall clock."""

    def now(self) -> datetime:
        """UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from some fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def wall(self, seconds: float) -> float:
        """How many seconds of the wall clock these seconds take; for libraries that only know that one."""
        ...
