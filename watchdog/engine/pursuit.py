"""An abort being carried out, as values: its record with what is known beside it, and what it needs next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from watchdog.domain.decision import Abort
from watchdog.domain.run import Snapshot


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient to be with a platform, in seconds.

    `window_s`: what the platform grants a graceful abort; `slack_s`: what it may take to act on a request;
    `settle_s`: how long figures change after the end; `look_first_s`, `look_max_s`: pauses between two looks grow from
    one to the other; `retry_max_s`: the longest pause between two requests.
    """

    window_s: float = 30.0
    slack_s: float = 15.0
    settle_s: float = 10.0
    look_first_s: float = 1.0
    look_max_s: float = 10.0
    retry_max_s: float = 300.0


class Do(Enum):
    """What an abort needs next."""

    REQUEST = "request"
    LOOK = "look"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Step:
    """The next thing to do and the earliest time for it (UTC)."""

    do: Do
    at: datetime


@dataclass(frozen=True, slots=True)
class Pursuit:
    """An abort being carried out: the record, and what only matters while the process lives.

    `due` is the earliest time of the next step, set at `since`; `looks` counts looks since the last request that may
    have arrived, `settling_looks` those that showed figures not final yet; `gone` counts "no such run" answers in a
    row, the first of them at `gone_since`; `must_look`: the next step is a look; `yielded_at`: since when somebody
    else's abort of the run is given its time; `asked_before`: when the request before the last one was sent;
    `unknown_since`: since when looks do not tell whether the run is still to be stopped; `answer`: the run as the last
    accepted request was answered.
    """

    abort: Abort
    due: datetime
    looks: int = 0
    gone: int = 0
    must_look: bool = False
    since: datetime | None = None
    yielded_at: datetime | None = None
    asked_before: datetime | None = None
    gone_since: datetime | None = None
    unknown_since: datetime | None = None
    settling_looks: int = 0
    answer: Snapshot | None = None


def took_effect(pursuit: Pursuit) -> bool:
    """Whether the platform has accepted a request of this abort."""
    return pursuit.abort.effective_requests > 0
