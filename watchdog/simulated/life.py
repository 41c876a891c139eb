"""The life of a run as a plan of phases: status and running time are pure functions of platform time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """A phase still without a place in time. `lasts_s` None: for ever."""

    status: str
    running: bool
    """Whether time counts and money burns."""
    lasts_s: float | None = None


class Phase(NamedTuple):
    """A stretch of life, from `start_s` until the next phase starts."""

    start_s: float
    status: str
    running: bool
    memory_gb: float
    ran_before_s: float
    gb_seconds_before: float

    def ran_s(self, now_s: float) -> float:
        """Seconds spent running, up to `now_s`, which lies in this phase."""
        return self.ran_before_s + (now_s - self.start_s) if self.running else self.ran_before_s

    def gb_seconds(self, now_s: float) -> float:
        """Memory times running time, up to `now_s`, which lies in this phase."""
        if not self.running:
            return self.gb_seconds_before
        return self.gb_seconds_before + self.memory_gb * (now_s - self.start_s)


class Life:
    """The planned phases of one run; `replan` replaces the future, never the past."""

    def __init__(self, start_s: float, steps: Iterable[Step], memory_gb: float = 0.0) -> None:
        self._phases = _placed([], start_s, steps, memory_gb)

    @property
    def start_s(self) -> float:
        return self._phases[0].start_s

    @property
    def phases(self) -> Sequence[Phase]:
        return tuple(self._phases)

    @property
    def last(self) -> Phase:
        """The phase that the present plan ends in."""
        return self._phases[-1]

    def at(self, now_s: float) -> Phase:
        """The phase at `now_s`; the first one before the start."""
        for phase in reversed(self._phases):
            if phase.start_s <= now_s:
                return phase
        return self._phases[0]

    def next_change_s(self, now_s: float) -> float | None:
        """When the next phase after `now_s` starts; None if none is planned."""
        for phase in self._phases:
            if phase.start_s > now_s:
                return phase.start_s
        return None

    def ran_s(self, now_s: float) -> float:
        return self.at(now_s).ran_s(max(now_s, self.start_s))

    def gb_seconds(self, now_s: float) -> float:
        return self.at(now_s).gb_seconds(max(now_s, self.start_s))

    def ahead(self, now_s: float) -> list[Step]:
        """The steps that are still planned, the present one with what is left of it."""
        left = [phase for phase in self._phases if phase.start_s > now_s]
        starts = [max(now_s, self.at(now_s).start_s), *(phase.start_s for phase in left)]
        lasting = [*(later - sooner for sooner, later in itertools.pairwise(starts)), None]
        phases = [self.at(now_s), *left]
        return [Step(phase.status, phase.running, lasts_s) for phase, lasts_s in zip(phases, lasting, strict=True)]

    def replan(self, now_s: float, steps: Iterable[Step], memory_gb: float | None = None) -> None:
        """From `now_s` on live through `steps` instead of what was planned."""
        kept = [phase for phase in self._phases if phase.start_s <= now_s] or self._phases[:1]
        # One assignment: other threads look at lives without taking a lock.
        self._phases = _placed(kept, now_s, steps, kept[-1].memory_gb if memory_gb is None else memory_gb)


def _placed(before: list[Phase], start_s: float, steps: Iterable[Step], memory_gb: float) -> list[Phase]:
    """`before`, and after it `steps` one after the other from `start_s` on."""
    phases = list(before)
    for step in steps:
        last = phases[-1] if phases else None
        ran_s = last.ran_s(start_s) if last else 0.0
        gb_seconds = last.gb_seconds(start_s) if last else 0.0
        phases.append(Phase(start_s, step.status, step.running, memory_gb, ran_s, gb_seconds))
        if step.lasts_s is None:
            break
        start_s += step.lasts_s
    return phases
