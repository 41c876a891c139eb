"""lobstr's side: squids and runs that burn credits on a clock.

Life cycle after lobstr.io's public documentation: pending -> running <-> paused -> uploading -> done |
aborted, or error. One active run a squid.
"""

from __future__ import annotations

import bisect
import random
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal

import msgspec

from watchdog.simulated.account import Account, Fate, SimRun, require_finite
from watchdog.simulated.clock import SimClock
from watchdog.simulated.life import Life, Step
from watchdog.simulated.rate import RateVerdict, SlidingWindow
from watchdog.simulated.records import PlatformName, Usage

TERMINAL: Final = frozenset({"done", "aborted", "error"})
ABORTABLE: Final = frozenset({"pending", "running", "paused"})
COLLECTED: Final = TERMINAL | {"uploading"}
"""Statuses in which nothing is collected, or charged, any more."""

_ID_ALPHABET: Final = "0123456789abcdef"
_ID_LENGTH: Final = 32
_DEFAULT_RESULTS_PER_S: Final = 1000 / 3600


class LobstrSquid(msgspec.Struct, eq=False):
    """A squid: a configured project on a crawler."""

    id: str
    name: str
    crawler_id: str
    crawler: str
    created_s: float
    is_active: bool = True
    runs: list[LobstrRun] = msgspec.field(default_factory=list)
    """Newest start last."""


class LobstrRun(SimRun):
    """A run of a squid."""

    platform: PlatformName = "lobstr"
    terminal = TERMINAL

    def __init__(
        self,
        run_id: str,
        squid: LobstrSquid,
        life: Life,
        clock: SimClock,
        account: int,
        *,
        credits_of: Callable[[float], float],
        results_total: int | None,
        results_per_s: float,
        total_tasks: int,
        duration_null: bool,
        uploading_s: float,
    ) -> None:
        super().__init__(run_id, squid.name, life, clock, account)
        self.squid = squid
        self.credits_of = credits_of
        self.results_total = results_total
        self.results_per_s = results_per_s
        self.total_tasks = total_tasks
        self.duration_null = duration_null
        self.uploading_s = uploading_s
        self.is_aborted = False

    def usage_at(self, now_s: float) -> Usage:
        return self._usage(self.life.ran_s(now_s))

    def natural_usage(self) -> Usage | None:
        return None if self.natural_end is None else self._usage(self.natural_end.ran_before_s)

    def results_at(self, now_s: float) -> int:
        """Results collected so far."""
        # The small addition keeps a run that has just reached its end from missing the last result by
        # rounding.
        collected = int(self.life.ran_s(now_s) * self.results_per_s + 1e-6)
        return collected if self.results_total is None else min(collected, self.results_total)

    def collecting_started_s(self, now_s: float) -> float | None:
        """When it began to run; None before, and if it never did."""
        started_s = next((p.start_s for p in self.life.phases if p.status == "running"), None)
        return started_s if started_s is not None and started_s <= now_s else None

    def collecting_ended_s(self, now_s: float) -> float | None:
        """When it stopped collecting; None before."""
        ended_s = next((p.start_s for p in self.life.phases if p.status in COLLECTED), None)
        return ended_s if ended_s is not None and ended_s <= now_s else None

    def _usage(self, ran_s: float) -> Usage:
        return Usage(credits=self.credits_of(ran_s), cost_usd=None, duration_s=ran_s)


class LobstrAccount(Account[LobstrRun]):
    """The squids and runs of one lobstr user.

    Attributes may be changed at any time; seconds are platform time.
    """

    platform: PlatformName = "lobstr"

    def __init__(self, token: str, index: int, clock: SimClock, lock: threading.RLock, seed: int) -> None:
        super().__init__(token, index, clock, lock, seed)
        self.requests_per_minute: int | None = 120
        """Sliding limit on /v1/squids and on /v1/runs each, in platform time; None: off."""
        self.too_many_requests_count = 0
        """How many requests were answered with 429 because of that limit."""
        self.abort_uploading_s = 5.0
        """How long an aborted run is `uploading` before it is `aborted`."""
        self.uploading_is_done = True
        """`is_done` of runs that are `uploading` (both are possible on the platform)."""
        self.credits_available = 100_000.0
        """The allotment of the interval, not the rest."""
        self.credits_consumed_before = 0.0
        """Consumed in this interval by what the simulation does not show."""
        self.slots = 10
        self.squids: dict[str, LobstrSquid] = {}
        self._windows = {"squids": SlidingWindow(60.0), "runs": SlidingWindow(60.0)}

    def add_squid(self, name: str, crawler: str = "Google Maps Search Export", crawler_id: str | None = None) -> str:
        """Make a squid on a crawler; its id (32 hex digits).

        `crawler_id` is made from the crawler's name if left out.
        """
        with self.lock:
            crawler_id = crawler_id or _made_id(crawler)
            squid = LobstrSquid(self._new_id(), name, crawler_id, crawler, self.clock.elapsed_s())
            self.squids[squid.id] = squid
            return squid.id

    def start_run(
        self,
        squid: str,
        *,
        credits_per_hour: float = 60.0,
        curve: Callable[[float], float] | None = None,
        results_total: int | None = 1000,
        ends_after: float | None = 3600.0,
        ends_as: Literal["done", "error"] = "done",
        pauses: Sequence[tuple[float, float]] = (),
        started_ago: float = 0.0,
        pending_for: float = 0.0,
        uploading_for: float = 10.0,
        total_tasks: int = 10,
        run_id: str | None = None,
        duration_null: bool = False,
    ) -> LobstrRun:
        """Start a run of the squid with this id; durations in seconds of platform time.

        `curve`: running seconds -> credits (monotone), instead of linear. `results_total`: expected results,
        None if the platform cannot know. `ends_after`: running seconds until the natural end, None: never.
        `pauses`: after how many running seconds, and for how long. `duration_null`: `duration` is null in all
        answers. ValueError if the squid has an active run, or for figures that cannot be; KeyError for an
        unknown squid.
        """
        require_finite(
            credits_per_hour=credits_per_hour,
            ends_after=ends_after,
            started_ago=started_ago,
            pending_for=pending_for,
            uploading_for=uploading_for,
        )
        with self.lock:
            home = self.squids[squid]
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if any(run.phase.status not in TERMINAL for run in home.runs):
                raise ValueError(f"squid {home.name!r} has an active run")
            credits_per_s = credits_per_hour / 3600
            run = LobstrRun(
                run_id or self._new_id(),
                home,
                Life(now_s - started_ago, _plan(pending_for, pauses, ends_after, uploading_for, ends_as)),
                self.clock,
                self.index,
                credits_of=curve or (lambda ran_s: ran_s * credits_per_s),
                results_total=results_total,
                results_per_s=_results_per_s(results_total, ends_after),
                total_tasks=total_tasks,
                duration_null=duration_null,
                uploading_s=uploading_for,
            )
            run.settle_plan()
            self.admit(run)
            bisect.insort(home.runs, run, key=lambda other: other.life.start_s)
            return run

    def abort_in_dashboard(self, run: LobstrRun) -> None:
        """Let the user abort a run by hand: the same as the call, but the truth does not count it as one."""
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if run.phase.status in ABORTABLE:
                self._stop(run, now_s, Fate.NORMAL)

    def abort(self, run: LobstrRun, now_s: float, fate: Fate = Fate.NORMAL) -> bool:
        """What the abort call does: stop collecting, export what there is.

        False if there is nothing to abort.
        """
        if run.phase.status not in ABORTABLE:
            return False
        if fate is not Fate.IGNORED:
            self._stop(run, now_s, fate)
            run.effective_abort_s = now_s
        return True

    def _stop(self, run: LobstrRun, now_s: float, fate: Fate) -> None:
        takes_s = None if fate is Fate.STUCK else self.abort_uploading_s
        run.life.replan(now_s, [Step("uploading", False, takes_s), Step("aborted", False)])
        run.is_aborted = True
        self.replanned(run, now_s)

    def take(self, group: str, now_s: float) -> RateVerdict | None:
        """Count a request to `squids` or `runs`; None if nothing limits it."""
        if self.requests_per_minute is None or group not in self._windows:
            return None
        verdict = self._windows[group].take(now_s, self.requests_per_minute)
        if not verdict.allowed:
            self.too_many_requests_count += 1
        return verdict

    def _new_id(self) -> str:
        return self.new_id(_ID_ALPHABET, _ID_LENGTH)


def _made_id(name: str) -> str:
    return "".join(random.Random(name).choices(_ID_ALPHABET, k=_ID_LENGTH))


def _plan(
    pending_s: float,
    pauses: Sequence[tuple[float, float]],
    ends_after_s: float | None,
    uploading_s: float,
    ends_as: str,
) -> Iterable[Step]:
    if pending_s:
        yield Step("pending", False, pending_s)
    ran_s = 0.0
    for after_s, for_s in sorted(pauses):
        if ends_after_s is not None and after_s >= ends_after_s:
            break
        yield Step("running", True, max(0.0, after_s - ran_s))
        yield Step("paused", False, for_s)
        ran_s = max(ran_s, after_s)
    yield Step("running", True, None if ends_after_s is None else ends_after_s - ran_s)
    if ends_as == "done":
        yield Step("uploading", False, uploading_s)
    yield Step(ends_as, False)


def _results_per_s(results_total: int | None, ends_after_s: float | None) -> float:
    if results_total is None or not ends_after_s:
        return _DEFAULT_RESULTS_PER_S
    return results_total / ends_after_s
