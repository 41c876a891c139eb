"""Apify's side: Actors, tasks and runs that burn money on a clock.

Life cycle, abort and resurrection follow Apify's public documentation ("Runs and builds", API reference):
READY -> RUNNING -> SUCCEEDED | FAILED | TIMING-OUT -> TIMED-OUT | ABORTING -> ABORTED.
"""

from __future__ import annotations

import random
import string
import threading
from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from watchdog.simulated.account import Account, Fate, SimRun, require_finite
from watchdog.simulated.clock import SimClock, iso_millis
from watchdog.simulated.life import Life, Phase, Step
from watchdog.simulated.rate import SlidingWindow
from watchdog.simulated.records import PlatformName, Usage

Curve = Callable[[float], float]
"""Running seconds -> cost so far; monotone."""

TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"})
STATUSES: Final = TERMINAL | {"READY", "RUNNING", "TIMING-OUT", "ABORTING"}
ABORTABLE: Final = frozenset({"READY", "RUNNING", "TIMING-OUT"})
ORIGINS: Final = frozenset(
    # RunOrigin of the description.
    ("DEVELOPMENT", "WEB", "API", "SCHEDULER", "TEST", "WEBHOOK", "ACTOR", "CLI", "CI", "STANDBY", "MCP")
)

SETTLE_LAG_S: Final = 2.0
"""How far behind the end the totals of a run that has just finished are."""
DATASET_LAG_S: Final = 5.0
"""How far behind the run its dataset's itemCount is (documented as eventually consistent)."""

_ID_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 17


class RunMeta(msgspec.Struct):
    origin: str


class RunShort(msgspec.Struct, rename="camel"):
    """One item of the run list, as the description's RunShort has it."""

    id: str
    act_id: str
    user_id: str
    actor_task_id: str | None
    status: str
    started_at: str
    finished_at: str | None
    build_id: str
    build_number: str
    meta: RunMeta
    default_key_value_store_id: str
    default_dataset_id: str
    default_request_queue_id: str
    usage_total_usd: float | msgspec.UnsetType = msgspec.UNSET


class ApifyActor(msgspec.Struct, frozen=True):
    """An Actor (in words of the user: `owner/name`)."""

    id: str
    owner: str
    name: str
    created_s: float

    @property
    def label(self) -> str:
        return f"{self.owner}/{self.name}"


class ApifyTask(msgspec.Struct, frozen=True):
    """A task: a saved configuration of an Actor."""

    id: str
    actor: ApifyActor
    name: str
    created_s: float


class ApifyRun(SimRun):
    """A run of an Actor."""

    platform: PlatformName = "apify"
    terminal = TERMINAL

    def __init__(
        self,
        life: Life,
        clock: SimClock,
        account: int,
        short: RunShort,
        actor: ApifyActor,
        *,
        cost: Curve | None,
        memory_mbytes: int,
        timeout_secs: int,
        ends_after_s: float | None,
        ends_as: str,
        graceful_takes_s: float | None,
        results_per_hour: float,
        resurrect_count: int,
        max_total_charge_usd: float | None,
        refresh_every_s: float,
        refresh_stats: bool,
        settle_s: float,
    ) -> None:
        self.short = short
        super().__init__(short.id, actor.label, life, clock, account)
        self.actor = actor
        self.cost = cost
        self.memory_mbytes = memory_mbytes
        self.timeout_secs = timeout_secs
        self.ends_after_s = ends_after_s
        self.ends_as = ends_as
        self.graceful_takes_s = graceful_takes_s
        self.results_per_hour = results_per_hour
        self.resurrect_count = resurrect_count
        self.max_total_charge_usd = max_total_charge_usd
        self.refresh_every_s = refresh_every_s
        self.refresh_stats = refresh_stats
        self.settle_s = settle_s
        self.status_message: str | None = None
        self.is_status_message_terminal: bool | None = None

    def enter(self, phase: Phase) -> None:
        super().enter(phase)
        finished = phase.status in TERMINAL
        self.short.status = phase.status
        self.short.finished_at = iso_millis(self._clock.at(phase.start_s)) if finished else None

    def usage_at(self, now_s: float) -> Usage:
        phase = self.life.at(now_s)
        ran_s = phase.ran_s(max(now_s, self.life.start_s))
        return self._usage(ran_s, phase.gb_seconds(max(now_s, self.life.start_s)))

    def natural_usage(self) -> Usage | None:
        end = self.natural_end
        return None if end is None else self._usage(end.ran_before_s, end.gb_seconds_before)

    def cost_usd(self, ran_s: float) -> float | None:
        """Cost after so many running seconds; None if this account may not see it."""
        return None if self.cost is None else self.cost(ran_s)

    def shown_usd(self, now_s: float) -> float | msgspec.UnsetType:
        """`usageTotalUsd` as the API shows it at `now_s`."""
        if self.cost is None:
            return msgspec.UNSET
        phase = self.phase
        if phase.status in TERMINAL or self.refresh_every_s:
            return round(self.cost(self.life.ran_s(self.figures_s(now_s))), 9)
        # The hot way: 1,000 of these make a page.
        return round(self.cost(phase.ran_s(now_s)), 9)

    def figures_s(self, now_s: float, refreshed: bool = True) -> float:
        """The moment that the figures shown at `now_s` are of."""
        if self.phase.status in TERMINAL:
            end_s = self.phase.start_s
            if now_s >= end_s + self.settle_s:
                return end_s
            now_s = end_s - SETTLE_LAG_S
        if refreshed and self.refresh_every_s:
            now_s -= (now_s - self.life.start_s) % self.refresh_every_s
        return max(now_s, self.life.start_s)

    def item_count(self, now_s: float) -> int:
        """Results in the default dataset as the API shows them."""
        ran_s = self.life.ran_s(max(now_s - DATASET_LAG_S, self.life.start_s))
        return int(ran_s * self.results_per_hour / 3600)

    def _usage(self, ran_s: float, gb_seconds: float) -> Usage:
        return Usage(credits=gb_seconds / 3600, cost_usd=self.cost_usd(ran_s), duration_s=ran_s)


class ApifyAccount(Account[ApifyRun]):
    """The Actors and runs of one Apify user.

    Attributes may be changed at any time; seconds are platform time.
    """

    platform: PlatformName = "apify"

    def __init__(
        self,
        token: str,
        username: str,
        index: int,
        clock: SimClock,
        lock: threading.RLock,
        seed: int,
    ) -> None:
        super().__init__(token, index, clock, lock, seed)
        self.username = username
        self.user_id = self._new_id()
        self.abort_takes_s = 1.0
        """From an immediate abort to ABORTED; costs like running."""
        self.graceful_limit_s = 30.0
        """When a graceful abort is forced (documented)."""
        self.timing_out_takes_s = 3.0
        self.abort_escalates = False
        """Whether an immediate abort hastens a run that is ABORTING. Documented: it does nothing."""
        self.settle_seconds = 10.0
        """For runs started from now on: how long the totals stay preliminary after the end."""
        self.can_pay = True
        """If not, resurrecting is answered with 402."""
        self.requests_per_second: int | None = None
        """Limit per resource (one run is one resource), in platform time; off by default."""
        self.too_many_requests_count = 0
        self.max_monthly_usage_usd = 300.0
        self.actors: dict[str, ApifyActor] = {}
        self.tasks: dict[str, ApifyTask] = {}
        self.datasets: dict[str, ApifyRun] = {}
        self._windows: dict[str, SlidingWindow] = {}
        self._selections: dict[object, list[ApifyRun]] = {}
        self._selections_of = -1

    def add_actor(self, owner: str = "compass", name: str = "crawler-google-places") -> str:
        """Make an Actor known; its id (17 characters, the same for every account and every time)."""
        with self.lock:
            actor_id = "".join(random.Random(f"{owner}/{name}").choices(_ID_ALPHABET, k=_ID_LENGTH))
            actor = ApifyActor(actor_id, owner, name, self.clock.elapsed_s())
            return self.actors.setdefault(actor_id, actor).id

    def add_task(self, actor: str, name: str) -> str:
        """Save a task of the Actor with this id; the task's id. KeyError for an unknown Actor."""
        with self.lock:
            task = ApifyTask(self._new_id(), self.actors[actor], name, self.clock.elapsed_s())
            self.tasks[task.id] = task
            return task.id

    def start_run(
        self,
        actor: str | None = None,
        task: str | None = None,
        *,
        origin: str = "API",
        memory_mbytes: int = 1024,
        timeout_secs: int = 0,
        usd_per_hour: float | None = 1.0,
        curve: Curve | None = None,
        ready_for: float = 0.0,
        ends_after: float | None = None,
        ends_as: Literal["SUCCEEDED", "FAILED"] = "SUCCEEDED",
        started_ago: float = 0.0,
        resurrect_count: int = 0,
        stopped_for: float = 0.0,
        max_total_charge_usd: float | None = None,
        graceful_takes: float | None = None,
        results_per_hour: float = 600.0,
        refresh_every: float = 0.0,
        refresh_stats: bool = True,
        run_id: str | None = None,
    ) -> ApifyRun:
        """Start a run; all durations in seconds of platform time.

        `actor`, `task`: ids; without both, an Actor is made up. `usd_per_hour`: cost per running hour, None
        hides the cost as from one who does not own the Actor. `curve`: running seconds -> USD (monotone),
        instead of linear. `ends_after`: running seconds until the natural end; None: never. `started_ago`:
        how long ago it was started; of these it was stopped for `stopped_for` in the middle (then it counts
        as resurrected). `timeout_secs` counts from the (re)start. `max_total_charge_usd` is only shown.
        `graceful_takes`: what the run needs after a graceful abort; the full 30 s if left out.
        `refresh_every`: cost (and, with `refresh_stats`, stats) shown are those of the last full multiple.
        ValueError for what cannot be; KeyError for unknown ids.
        """
        require_finite(
            usd_per_hour=usd_per_hour,
            ready_for=ready_for,
            ends_after=ends_after,
            started_ago=started_ago,
            stopped_for=stopped_for,
            graceful_takes=graceful_takes,
            results_per_hour=results_per_hour,
            refresh_every=refresh_every,
            timeout_secs=timeout_secs,
        )
        _require_known(origin, ORIGINS, "origin")
        _require_known(ends_as, frozenset({"SUCCEEDED", "FAILED"}), "ends_as")
        with self.lock:
            owner = self._actor_of(actor, task)
            now_s = self.clock.elapsed_s()
            steps = self._first_life(ready_for, started_ago, stopped_for, ends_after, timeout_secs, ends_as)
            life = Life(now_s - started_ago, steps, memory_mbytes / 1024)
            run = ApifyRun(
                life,
                self.clock,
                self.index,
                self._short(run_id, owner, task, origin, life),
                owner,
                cost=_cost(usd_per_hour, curve),
                memory_mbytes=memory_mbytes,
                timeout_secs=timeout_secs,
                ends_after_s=ends_after,
                ends_as=ends_as,
                graceful_takes_s=graceful_takes,
                results_per_hour=results_per_hour,
                resurrect_count=max(resurrect_count, 1 if stopped_for else 0),
                max_total_charge_usd=max_total_charge_usd,
                refresh_every_s=refresh_every,
                refresh_stats=refresh_stats,
                settle_s=self.settle_seconds,
            )
            run.settle_plan()
            self.datasets[run.short.default_dataset_id] = run
            return self.admit(run)

    def resurrect(
        self,
        run: ApifyRun,
        *,
        timeout_secs: int | None = None,
        memory_mbytes: int | None = None,
        max_total_charge_usd: float | None = None,
        ends_after: float | None = None,
    ) -> None:
        """Bring a finished run back to RUNNING (ValueError if it has not finished).

        `startedAt` stays, the stopped time does not count, the timeout counts from now. It ends naturally
        after `ends_after` more running seconds; left out, after what an abort had left of it, or after as
        long again.
        """
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if run.phase.status not in TERMINAL:
                raise ValueError(f"run {run.id} has not finished")
            run.timeout_secs = run.timeout_secs if timeout_secs is None else timeout_secs
            run.memory_mbytes = run.memory_mbytes if memory_mbytes is None else memory_mbytes
            if max_total_charge_usd is not None:
                run.max_total_charge_usd = max_total_charge_usd
            run.resurrect_count += 1
            remaining_s = _remaining_s(run, now_s) if ends_after is None else ends_after
            steps = self._running(remaining_s, run.timeout_secs, run.ends_as)
            run.life.replan(now_s, steps, run.memory_mbytes / 1024)
            run.settle_plan()
            self.replanned(run, now_s)

    def abort_in_console(self, run: ApifyRun, *, gracefully: bool = False) -> None:
        """Let the user abort a run by hand: the same as the call, but the truth does not count it as one."""
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            self._abort(run, now_s, gracefully, Fate.NORMAL)

    def abort(self, run: ApifyRun, now_s: float, gracefully: bool, fate: Fate = Fate.NORMAL) -> None:
        """What the abort call does.

        On anything but READY, RUNNING, TIMING-OUT: nothing (see `abort_escalates`).
        """
        if self._abort(run, now_s, gracefully, fate):
            run.graceful = gracefully
            run.effective_abort_s = now_s

    def _abort(self, run: ApifyRun, now_s: float, gracefully: bool, fate: Fate) -> bool:
        status = run.phase.status
        hastens = status == "ABORTING" and self.abort_escalates and not gracefully
        if fate is Fate.IGNORED or not (status in ABORTABLE or hastens):
            return False
        if fate is Fate.STUCK:
            takes_s = None
        elif gracefully:
            takes_s = self.graceful_limit_s
            if run.graceful_takes_s is not None:
                takes_s = min(takes_s, run.graceful_takes_s)
        else:
            takes_s = self.abort_takes_s
        burns = run.phase.running
        run.life.replan(now_s, [Step("ABORTING", burns, takes_s), Step("ABORTED", False)])
        self.replanned(run, now_s)
        return True

    def selection(self, statuses: frozenset[str], after_s: float, before_s: float, desc: bool) -> list[ApifyRun]:
        """Runs with one of `statuses` (none: any) that started within the bounds, in order of start.

        Kept until some run changes its status, so that the pages of one sweep do not each filter all runs.
        """
        if self._selections_of != self.changes or len(self._selections) > 32:
            self._selections.clear()
            self._selections_of = self.changes
        key = (statuses, after_s, before_s, desc)
        if (found := self._selections.get(key)) is None:
            found = [
                run
                for run in self._ordered
                if (not statuses or run.short.status in statuses) and after_s <= run.life.start_s <= before_s
            ]
            if desc:
                found.reverse()
            self._selections[key] = found
        return found

    def is_too_fast(self, resource: str, now_s: float) -> bool:
        """Count a request to a resource; whether it goes over the limit."""
        if self.requests_per_second is None:
            return False
        window = self._windows.setdefault(resource, SlidingWindow(1.0))
        if window.take(now_s, self.requests_per_second).allowed:
            return False
        self.too_many_requests_count += 1
        return True

    def actor_by(self, key: str) -> ApifyActor | None:
        """An Actor by its id or `owner~name`."""
        if key in self.actors:
            return self.actors[key]
        label = key.replace("~", "/", 1)
        return next((actor for actor in self.actors.values() if actor.label == label), None)

    def _actor_of(self, actor: str | None, task: str | None) -> ApifyActor:
        if task is not None:
            return self.tasks[task].actor
        return self.actors[self.add_actor() if actor is None else actor]

    def _first_life(
        self,
        ready_s: float,
        started_ago_s: float,
        stopped_s: float,
        ends_after_s: float | None,
        timeout_secs: int,
        ends_as: str,
    ) -> Iterable[Step]:
        if ready_s:
            yield Step("READY", False, ready_s)
        if stopped_s:
            ran_s = (started_ago_s - ready_s - stopped_s) / 2
            if ran_s < 0:
                raise ValueError("stopped_for (and ready_for) must fit into started_ago")
            yield Step("RUNNING", True, ran_s)
            yield Step("ABORTED", False, stopped_s)
            if ends_after_s is not None:
                ends_after_s = max(0.0, ends_after_s - ran_s)
        yield from self._running(ends_after_s, timeout_secs, ends_as)

    def _running(self, remaining_s: float | None, timeout_secs: int, ends_as: str) -> Iterable[Step]:
        if timeout_secs and (remaining_s is None or timeout_secs < remaining_s):
            yield Step("RUNNING", True, timeout_secs)
            yield Step("TIMING-OUT", True, self.timing_out_takes_s)
            yield Step("TIMED-OUT", False)
        else:
            yield Step("RUNNING", True, remaining_s)
            yield Step(ends_as, False)

    def _short(self, run_id: str | None, actor: ApifyActor, task: str | None, origin: str, life: Life) -> RunShort:
        return RunShort(
            id=run_id or self._new_id(),
            act_id=actor.id,
            user_id=self.user_id,
            actor_task_id=task,
            status=life.last.status,
            started_at=iso_millis(self.clock.at(life.start_s)),
            finished_at=None,
            build_id=self._new_id(),
            build_number="0.0.2",
            meta=RunMeta(origin),
            default_key_value_store_id=self._new_id(),
            default_dataset_id=self._new_id(),
            default_request_queue_id=self._new_id(),
        )

    def _new_id(self) -> str:
        return self.new_id(_ID_ALPHABET, _ID_LENGTH)


def _cost(usd_per_hour: float | None, curve: Curve | None) -> Curve | None:
    if curve is not None:
        return curve
    if usd_per_hour is None:
        return None
    usd_per_s = usd_per_hour / 3600
    return lambda ran_s: ran_s * usd_per_s


def _remaining_s(run: ApifyRun, now_s: float) -> float | None:
    if run.ends_after_s is None:
        return None
    left_s = run.ends_after_s - run.life.ran_s(now_s)
    return left_s if left_s > 0 else run.ends_after_s


def _require_known(value: str, known: frozenset[str], name: str) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; there are {', '.join(sorted(known))}")
