"""Limits as values: whose, on which meter, how much, and what is done at which share of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from watchdog.domain.meter import Meter

if TYPE_CHECKING:
    from watchdog.domain.rule import Rule


class Do(StrEnum):
    """What a step asks for: a notice; an abort, graceful where the run is to be resurrected; one that is immediate,
    also where a graceful one is going on already. From mild to harsh."""

    NOTIFY = "notify"
    ABORT = "abort"
    ABORT_NOW = "abort_now"

    @property
    def harshness(self) -> int:
        """Of several steps that are reached at one look, the one with the highest counts."""
        return _HARSHNESS[self]

    @property
    def stops(self) -> bool:
        """Whether it stops the run."""
        return self is not Do.NOTIFY


_HARSHNESS = {do: number for number, do in enumerate(Do)}


@dataclass(frozen=True, slots=True)
class Step:
    """At which share of a limit (1.0: all of it) what is done."""

    at: float
    do: Do

    def __str__(self) -> str:
        """In the words of the rule files: `abort at 80%`."""
        return f"{self.do} at {self.at * 100:.6g}%"


#: What a limit asks for where nothing else is said.
ABORT_AT_ONCE = Step(1.0, Do.ABORT)


@dataclass(frozen=True, slots=True)
class Limit:
    """Whose it is, what it counts, how much of that is allowed (in the unit of the meter), and its steps, rising."""

    owner: Rule
    meter: Meter
    figure: float
    steps: tuple[Step, ...]
