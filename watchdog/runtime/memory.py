"""The runs of one account that are watched, and what is remembered of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from watchdog.domain.meter import NOTHING_KNOWN, Usage
from watchdog.domain.ports import Clock
from watchdog.domain.run import RunState, Snapshot, replace
from watchdog.engine.assess import Calm
from watchdog.engine.rare import Rare
from watchdog.engine.remembered import Remembered

#: A run seen RUNNING twice has run all the while if the sightings are no further apart than so many intervals, but at
#: least and at most so many seconds: in less it can hardly stop, be resurrected and wait for a worker.
GAP_INTERVALS = 2.0
GAP_MIN_S = 5.0
GAP_MAX_S = 75.0


@dataclass(slots=True)
class Watched(Remembered):
    """A run, and how far the watch has come with it.

    `sweep`: the number of the last one that listed it; `calm`: while that holds, sweeps only take its figures down;
    `shown`: its figures as they were last summed up. `looking`: a look at it is under way (`look`) or waits as that of
    a suspect. `failures`, `over_looks`, `listed_over`: looks in a row that
    failed; that showed it over though lists have it; that showed it within limits that the list has it over.
    `generation`, `edition`: of the rules and overrides that it was judged by. `written`: what of it is in the ledger.
    """

    sweep: int = 0
    calm: Calm | None = None
    shown: Usage = NOTHING_KNOWN
    looking: bool = False
    generation: int = 0
    edition: int = 0
    written: tuple[RunState, Usage, float] | None = None

    look = Rare[asyncio.Task[None] | None](None)
    failures = Rare(0)
    over_looks = Rare(0)
    listed_over = Rare(0)


class Memory:
    """What is remembered of the runs of one account. `gap_s`: in no more seconds between two sightings of a running run
    it cannot have stopped and gone on."""

    def __init__(self, clock: Clock) -> None:
        self.runs: dict[str, Watched] = {}
        self.gap_s = GAP_MIN_S
        self._clock = clock

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Watched]:
        """Every run, as there are now; others may come and go meanwhile."""
        return iter(list(self.runs.values()))

    def of(self, run_id: str) -> Watched | None:
        """The run of this id."""
        return self.runs.get(run_id)

    def note_interval(self, interval_s: float) -> None:
        """Sweeps are so far apart. Where runs are looked at one by one, the list sights them meanwhile."""
        self.gap_s = min(GAP_MAX_S, max(GAP_MIN_S, GAP_INTERVALS * interval_s))

    def prove(self, seen: Snapshot) -> Snapshot:
        """A fresh inspection of a run, completed by what is proven of it though the look does not show it: lower bounds
        of figures that never go back, such as its running time. Nothing of it is remembered."""
        watched = self.runs.get(seen.run_id)
        return seen if watched is None else watched.prove(seen, self._clock.monotonic(), self.gap_s)

    def changed(self) -> list[Snapshot]:
        """The newest snapshot of each run whose usage or state is not what it was when last asked here, or whose
        running time only we know."""
        changed = []
        for watched in self.runs.values():
            latest, running = watched.newest, watched.running
            seen_s = 0.0 if running.exact else running.seen_s
            if watched.written != (latest.state, latest.usage, seen_s):
                watched.written = (latest.state, latest.usage, seen_s)
                changed.append(replace(latest, seen_running_s=running.seen_s))
        return changed
