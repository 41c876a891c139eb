"""What people decide while the daemon runs: holds, flags for single runs, pauses, and aborts by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from watchdog.domain.decision import Mode, Response
from watchdog.domain.run import Snapshot


class OverrideKind(StrEnum):
    """`hold` exempts a run for a time; `protect` for good; `resurrect` flags it to be resumed later, so that an abort
    is graceful; `pause` keeps the whole daemon (or one account) from aborting anything."""

    HOLD = "hold"
    PROTECT = "protect"
    RESURRECT = "resurrect"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class Override:
    """One such decision. `run_id` is None for a pause; `account` None for any. It ends by itself at `until` (UTC), or
    when somebody ends it (`ended_at`)."""

    id: str
    kind: OverrideKind
    created_at: datetime
    run_id: str | None = None
    account: str | None = None
    until: datetime | None = None
    reason: str = ""
    ended_at: datetime | None = None

    def is_active(self, now: datetime) -> bool:
        """Whether it holds now."""
        return self.ended_at is None and (self.until is None or now < self.until)

    def is_about(self, snapshot: Snapshot) -> bool:
        """Whether it means this run."""
        return self.account in (None, snapshot.account) and self.run_id in (None, snapshot.run_id)


@dataclass(frozen=True, slots=True)
class Overrides:
    """Every override that may hold; each is asked with the time of the decision."""

    items: tuple[Override, ...] = ()
    _by_run: Mapping[str | None, Sequence[Override]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        by_run: dict[str | None, list[Override]] = {}
        for each in self.items:
            by_run.setdefault(each.run_id, []).append(each)
        object.__setattr__(self, "_by_run", by_run)

    @staticmethod
    def of(items: Iterable[Override]) -> Overrides:
        """From any collection."""
        return Overrides(tuple(items))

    def obstacle(self, snapshot: Snapshot, now: datetime) -> tuple[Response, str] | None:
        """What keeps this run from being aborted now, with a note for people; the lasting one first."""
        found = [each for each in self._about(snapshot) if each.is_active(now)]
        for kind, response in _OBSTACLES:
            for override in found:
                if override.kind is kind:
                    return response, _note(override)
        return None

    def pause_of(self, account: str, now: datetime) -> Override | None:
        """What pauses this account now; of several pauses the one that lasts longest."""
        found = [
            each
            for each in self.items
            if each.kind is OverrideKind.PAUSE and each.account in (None, account) and each.is_active(now)
        ]
        return max(found, key=lambda each: (each.until is None, each.until or now), default=None)

    def resurrects(self, snapshot: Snapshot, now: datetime) -> bool:
        """Whether this run is flagged to be resumed later."""
        return any(each.kind is OverrideKind.RESURRECT and each.is_active(now) for each in self._about(snapshot))

    def _about(self, snapshot: Snapshot) -> Iterator[Override]:
        """Those that mean this run, found by its id: there may be thousands of holds, and of breaches at once."""
        for run_id in (snapshot.run_id, None):
            yield from (each for each in self._by_run.get(run_id, ()) if each.is_about(snapshot))


_OBSTACLES = (
    (OverrideKind.PROTECT, Response.PROTECTED),
    (OverrideKind.HOLD, Response.HELD),
    (OverrideKind.PAUSE, Response.HELD),
)


def _note(override: Override) -> str:
    words = {OverrideKind.PROTECT: "protected", OverrideKind.HOLD: "held", OverrideKind.PAUSE: "paused"}
    until = f" until {override.until:%Y-%m-%d %H:%M} UTC" if override.until else ""
    reason = f": {override.reason}" if override.reason else ""
    return f"{words[override.kind]}{until}{reason}"


@dataclass(frozen=True, slots=True)
class Order:
    """An abort that somebody asked for by hand. `account` None: whichever account has the run. `answer` is what came
    of it, for the one who asked; None while nobody has taken it on."""

    id: str
    run_id: str
    mode: Mode
    created_at: datetime
    account: str | None = None
    reason: str = ""
    answer: str | None = None


#: The rule that an abort by hand is booked on: no rule was broken, so it is no breach.
MANUAL = "manual"
