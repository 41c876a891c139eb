"""What the accounts and the runs of both platforms have in common."""

from __future__ import annotations

import bisect
import heapq
import itertools
import random
import threading
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

from watchdog.simulated.clock import SimClock
from watchdog.simulated.life import Life, Phase, Step
from watchdog.simulated.records import PlatformName, RunTruth, Usage


class Fate(Enum):
    """What becomes of an abort (faults decide)."""

    NORMAL = "normal"
    IGNORED = "ignored"
    STUCK = "stuck"


class SimRun:
    """A run on a simulated platform. `status` and figures are pure functions of platform time."""

    platform: PlatformName
    terminal: frozenset[str]

    def __init__(self, run_id: str, source: str, life: Life, clock: SimClock, account: int) -> None:
        self.id = run_id
        self.source = source
        self.account = account
        self.life = life
        self.natural_end: Phase | None = None
        self.abort_requests = 0
        self.graceful: bool | None = None
        self.effective_abort_s: float | None = None
        self.phase: Phase = life.at(clock.elapsed_s())
        self.plan_version = 0
        self._clock = clock

    def status(self, now: datetime | None = None) -> str:
        """The status at `now` (aware; the present if left out), in the platform's words."""
        return self.life.at(self._elapsed_s(now)).status

    def is_active(self, now: datetime | None = None) -> bool:
        """Whether the status at `now` is not a terminal one."""
        return self.status(now) not in self.terminal

    def usage(self, now: datetime | None = None) -> Usage:
        """True usage at `now` (aware; the present if left out)."""
        return self.usage_at(self._elapsed_s(now))

    def usage_at(self, now_s: float) -> Usage:
        raise NotImplementedError

    def natural_usage(self) -> Usage | None:
        raise NotImplementedError

    def settle_plan(self) -> None:
        """Remember the present plan as the natural one (at a start or restart)."""
        last = self.life.last
        self.natural_end = last if last.status in self.terminal else None

    def enter(self, phase: Phase) -> None:
        """Called when platform time has reached `phase`."""
        self.phase = phase

    def truth(self) -> RunTruth:
        """What really happened to this run so far."""
        now_s = self._clock.elapsed_s()
        phase = self.life.at(now_s)
        ended = self._clock.at(phase.start_s) if phase.status in self.terminal else None
        aborted_s = self.effective_abort_s
        return RunTruth(
            id=self.id,
            platform=self.platform,
            account=self.account,
            source=self.source,
            started=self._clock.at(self.life.start_s),
            ended=ended,
            status=phase.status,
            aborted_by_api=aborted_s is not None,
            graceful=self.graceful,
            abort_requests=self.abort_requests,
            effective_abort_at=None if aborted_s is None else self._clock.at(aborted_s),
            usage=self.usage_at(now_s),
            natural_end_usage=self.natural_usage(),
        )

    def _elapsed_s(self, now: datetime | None) -> float:
        return self._clock.elapsed_s() if now is None else self._clock.elapsed_at(now)


R = TypeVar("R", bound=SimRun)


class Account(Generic[R]):
    """The runs of one token. All methods may be called from any thread."""

    platform: PlatformName

    def __init__(self, token: str, index: int, clock: SimClock, lock: threading.RLock, seed: int) -> None:
        self.index = index
        self.token = token
        self.other_tokens: set[str] = set()
        """More tokens of the same user: they see the same runs."""
        self.clock = clock
        self.lock = lock
        self.random = random.Random(f"{seed}/{index}")
        self._by_id: dict[str, R] = {}
        self._ordered: list[R] = []
        self._due: list[tuple[float, int, int, R]] = []
        self._serial = itertools.count()
        self.changes = 0
        """Rises whenever any run's status changes: what was computed before that is still good until then."""

    def __repr__(self) -> str:
        # The default of some tools prints attributes, and one of them is the token.
        return f"<{type(self).__name__} {self.index}>"

    @property
    def runs(self) -> Sequence[R]:
        """All runs, oldest start first."""
        with self.lock:
            return tuple(self._ordered)

    def run(self, run_id: str) -> R:
        """The run with this id; KeyError if there is none."""
        with self.lock:
            return self._by_id[run_id]

    def truth(self) -> list[RunTruth]:
        """What really happened to every run of this account, oldest start first."""
        return [run.truth() for run in self.runs]

    def finish(self, run: R, status: str) -> None:
        """Let a run end by itself right now, with this terminal status.

        ValueError if that is none, or it has ended.
        """
        if status not in run.terminal:
            raise ValueError(f"not a terminal status: {status!r}")
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if run.phase.status in run.terminal:
                raise ValueError(f"run {run.id} has ended already")
            run.life.replan(now_s, [Step(status, False)])
            if run.effective_abort_s is None:
                run.settle_plan()
            self.replanned(run, now_s)

    def find(self, run_id: str) -> R | None:
        return self._by_id.get(run_id)

    def new_id(self, alphabet: str, length: int) -> str:
        return "".join(self.random.choices(alphabet, k=length))

    def admit(self, run: R) -> R:
        if run.id in self._by_id:
            raise ValueError(f"there is a run {run.id!r} already")
        self._by_id[run.id] = run
        bisect.insort(self._ordered, run, key=lambda other: other.life.start_s)
        self.replanned(run, self.clock.elapsed_s())
        return run

    def forget(self, run: R) -> None:
        """Let a run be as if it had never been."""
        del self._by_id[run.id]
        self._ordered.remove(run)
        run.plan_version += 1
        self.changes += 1

    def replanned(self, run: R, now_s: float) -> None:
        """Take note that a run's plan is new: enter its present phase, and watch for the next."""
        run.plan_version += 1
        run.enter(run.life.at(now_s))
        self.changes += 1
        self._watch(run, now_s)

    def sync(self, now_s: float) -> None:
        """Bring every run's phase up to `now_s`; costs time only for runs that changed."""
        while self._due and self._due[0][0] <= now_s:
            _, _, version, run = heapq.heappop(self._due)
            if version == run.plan_version:
                run.enter(run.life.at(now_s))
                self.changes += 1
                self._watch(run, now_s)

    def _watch(self, run: R, now_s: float) -> None:
        if (next_s := run.life.next_change_s(now_s)) is not None:
            heapq.heappush(self._due, (next_s, next(self._serial), run.plan_version, run))


def require_finite(**figures: float | None) -> None:
    """ValueError naming the first figure that is negative or not finite. None passes."""
    for name, value in figures.items():
        if value is not None and not 0 <= value < float("inf"):
            raise ValueError(f"{name} must be finite and not negative: {value!r}")
