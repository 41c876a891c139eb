"""The door to a platform: one account on it, and what an adapter may be able to do beside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, cast, runtime_checkable

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter
from watchdog.domain.platform import PlatformTraits
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.domain.status import RateUse


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


class ReadsExtra(Protocol):
    """A `Platform` whose traits name `extra_meters`. Apart from it, since an adapter may have none."""

    async def inspect(
        self, run_id: str, *, urgent: bool = False, progress: bool = False, meters: Collection[Meter] = ()
    ) -> Snapshot:
        """The same; `meters` are those of the `extra_meters` that are to be read as well."""
        ...


async def look(
    platform: Platform, run_id: str, wanted: Collection[Meter], *, urgent: bool = False, progress: bool = False
) -> Snapshot:
    """Look at one run in detail, with those of the wanted meters that are only read where they are asked for."""
    extra = tuple(meter for meter in wanted if meter in platform.traits.extra_meters)
    if not extra:
        return await platform.inspect(run_id, urgent=urgent, progress=progress)
    return await cast(ReadsExtra, platform).inspect(run_id, urgent=urgent, progress=progress, meters=extra)


@runtime_checkable
class Owned(Protocol):
    """A `Platform` that can tell whose token it has. Apart from it, since an adapter may lack this."""

    async def owner(self) -> str | None:
        """Who the token belongs to: the same for two tokens that see the same runs. None: the platform does not say.
        May raise a `PlatformError`."""
        ...


class Rates(Protocol):
    """Tells how much of each rate budget is used."""

    def rate_of(self, account: str) -> RateUse | None:
        """That of this account; None: not known."""
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
