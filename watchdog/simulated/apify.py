"""Apify's side: Actors, tasks and runs that burn money on a clock.

Abort and resurrection follow Apify's public documentation ("Runs and builds", API reference), and where that is silent
what the official clients' tests and the emulator apify/actor-runtime know.
"""

from __future__ import annotations

import random
import string
import threading
from collections.abc import Collection, Iterable
from typing import Final, Literal, get_args

import msgspec

from watchdog.simulated.account import Account, Fate, require_finite
from watchdog.simulated.apify_pricing import Curve, Pricing
from watchdog.simulated.apify_run import (
    ABORTABLE,
    DATASET_LAG_S,
    METAMORPHS_MAX,
    TERMINAL,
    ApifyActor,
    ApifyRun,
    ApifyTask,
    Metamorph,
    RunMeta,
    RunShort,
    Shown,
)
from watchdog.simulated.clock import SimClock, iso_millis
from watchdog.simulated.life import Life, Step
from watchdog.simulated.rate import SlidingWindow
from watchdog.simulated.records import PlatformName

_ID_ALPHABET: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 17

Refusal = Literal["forbidden", "not-found", "not-found-or-denied"]
"""403 insufficient-permissions, 404 record-not-found, 404 record-or-token-not-found."""


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
        """Whether an immediate abort hastens a run that is ABORTING. Documented: it does nothing; the emulator stops
        the run at once."""
        self.resurrect_ready_seconds = 1.0
        """How long a resurrected run is READY before it runs again."""
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
        self.refusals: dict[str, Refusal] = {}
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

    def rename_actor(self, actor: str, name: str, owner: str | None = None) -> None:
        """Give the Actor with this id another name (and owner). KeyError for an unknown one."""
        with self.lock:
            known = self.actors[actor]
            self.actors[actor] = msgspec.structs.replace(known, name=name, owner=owner or known.owner)

    def rename_task(self, task: str, name: str) -> None:
        """Give the task with this id another name. KeyError for an unknown one."""
        with self.lock:
            self.tasks[task] = msgspec.structs.replace(self.tasks[task], name=name)

    def delete_actor(self, actor: str) -> None:
        """Forget the Actor with this id: 404 from now on; its runs stay. KeyError for an unknown one."""
        with self.lock:
            del self.actors[actor]

    def delete_task(self, task: str) -> None:
        """Forget the task with this id: 404 from now on; its runs stay. KeyError for an unknown one."""
        with self.lock:
            del self.tasks[task]

    def refuse(self, thing: str, how: Refusal | None = "forbidden") -> None:
        """Let this token not read the Actor, task, run or dataset with this id; None: let it again.

        Runs stay in the lists. ValueError for an unknown way.
        """
        with self.lock:
            if how is None:
                self.refusals.pop(thing, None)
                return
            _require_known(how, frozenset(get_args(Refusal)), "refusal")
            self.refusals[thing] = how

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
        pricing: Pricing | None = None,
        ready_for: float = 0.0,
        ends_after: float | None = None,
        ends_as: Literal["SUCCEEDED", "FAILED"] = "SUCCEEDED",
        started_ago: float = 0.0,
        resurrect_count: int = 0,
        stopped_for: float = 0.0,
        max_total_charge_usd: float | None = None,
        graceful_takes: float | None = None,
        results_per_hour: float = 600.0,
        results: Curve | None = None,
        refresh_every: float = 0.0,
        refresh_stats: bool = True,
        stats_missing: Collection[str] = (),
        stats_none: bool = False,
        stats_fresh_s: float | None = None,
        cost_in_list: bool = True,
        cost_hidden: bool = False,
        cost_lag: float = 0.0,
        dataset_lag: float = DATASET_LAG_S,
        detail_after: float = 0.0,
        started_at_after: float = 0.0,
        run_id: str | None = None,
    ) -> ApifyRun:
        """Start a run; all durations in seconds of platform time.

        `actor`, `task`: ids; without both, an Actor is made up. `origin`: any word, the set is open. `usd_per_hour`:
        cost per running hour, None: there is none to see or to know. `curve`: running seconds -> USD (monotone),
        instead of linear. `pricing`: the Actor charges by event or result, instead. `results_per_hour`, `results`
        (running seconds -> number): what it puts into its dataset. `ends_after`: running seconds until the natural
        end; None: never. `started_ago`: how long ago it was started, READY included; of these it was stopped for
        `stopped_for` in the middle (then it counts as resurrected). `timeout_secs` counts from the (re)start.
        `max_total_charge_usd` is only shown. `graceful_takes`: what the run needs after a graceful abort; the full
        30 s if left out.

        What the API shows late or not at all: `refresh_every`: cost (and, with `refresh_stats`, stats) are those of
        the last full multiple. `stats_missing`: names of stats that are absent; `stats_none`: no `stats` at all; both
        for the first `stats_fresh_s` running seconds, or for ever. `cost_in_list` False: `usageTotalUsd` only in the
        run's own page; `cost_hidden`: nowhere. `cost_lag`: how far `usageTotalUsd` is behind, also after the end;
        `dataset_lag`: the same for the dataset's itemCount. `detail_after`: for so long after now its id gives 404,
        while lists have it. `started_at_after`: for so long after now `startedAt` is absent.

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
            stats_fresh_s=stats_fresh_s,
            cost_lag=cost_lag,
            dataset_lag=dataset_lag,
            detail_after=detail_after,
            started_at_after=started_at_after,
        )
        if not origin:
            raise ValueError("origin must not be empty")
        _require_known(ends_as, frozenset({"SUCCEEDED", "FAILED"}), "ends_as")
        with self.lock:
            owner = self._actor_of(actor, task)
            now_s = self.clock.elapsed_s()
            steps = self._first_life(ready_for, started_ago, stopped_for, ends_after, timeout_secs, ends_as)
            life = Life(now_s - started_ago, steps, memory_mbytes / 1024)
            shown = Shown(
                stats_missing=stats_missing,
                stats_none=stats_none,
                stats_fresh_s=stats_fresh_s,
                cost_in_list=cost_in_list,
                cost_hidden=cost_hidden,
                cost_lag_s=cost_lag,
                dataset_lag_s=dataset_lag,
                refresh_every_s=refresh_every,
                refresh_stats=refresh_stats,
                settle_s=self.settle_seconds,
                detail_from_s=now_s + detail_after if detail_after else float("-inf"),
                start_from_s=now_s + started_at_after if started_at_after else float("-inf"),
            )
            run = ApifyRun(
                life,
                self.clock,
                self.index,
                self._short(run_id, owner, task, origin, life),
                owner,
                cost=_cost(usd_per_hour, curve) if pricing is None else None,
                pricing=pricing,
                results=results or _linear(results_per_hour),
                shown=shown,
                memory_mbytes=memory_mbytes,
                timeout_secs=timeout_secs,
                ends_after_s=ends_after,
                ends_as=ends_as,
                graceful_takes_s=graceful_takes,
                resurrect_count=max(resurrect_count, 1 if stopped_for else 0),
                max_total_charge_usd=max_total_charge_usd,
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
        """Bring a finished run back: READY for `resurrect_ready_seconds`, then RUNNING.

        `startedAt` stays, the stopped time does not count, the timeout counts from when it runs again. It ends
        naturally after `ends_after` more running seconds; left out, after what an abort had left of it, or after as
        long again. ValueError if it has not finished, or for a maximum charge below the one that it has.
        """
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if run.phase.status not in TERMINAL:
                raise ValueError(f"run {run.id} has not finished")
            if max_total_charge_usd is not None and max_total_charge_usd < (run.max_total_charge_usd or 0.0):
                raise ValueError(f"the maximum charge of run {run.id} can only be raised")
            run.timeout_secs = run.timeout_secs if timeout_secs is None else timeout_secs
            run.memory_mbytes = run.memory_mbytes if memory_mbytes is None else memory_mbytes
            if max_total_charge_usd is not None:
                run.max_total_charge_usd = max_total_charge_usd
            run.resurrect_count += 1
            remaining_s = _remaining_s(run, now_s) if ends_after is None else ends_after
            waiting = [Step("READY", False, self.resurrect_ready_seconds)] if self.resurrect_ready_seconds else []
            steps = [*waiting, *self._running(remaining_s, run.timeout_secs, run.ends_as)]
            run.life.replan(now_s, steps, run.memory_mbytes / 1024)
            run.settle_plan()
            self.replanned(run, now_s)

    def metamorph(self, run: ApifyRun, actor: str, *, changes_act_id: bool = False) -> None:
        """Let a run go on as another Actor; whether its `actId` becomes that one's is not known of the real platform.

        ValueError if it is not running, or has changed ten times; KeyError for an unknown Actor.
        """
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if run.phase.status != "RUNNING":
                raise ValueError(f"run {run.id} is not running")
            if len(run.metamorphs) >= METAMORPHS_MAX:
                raise ValueError(f"run {run.id} has changed {METAMORPHS_MAX} times already")
            change = Metamorph(iso_millis(self.clock.at(now_s)), self.actors[actor].id, self._new_id())
            run.metamorphs.append(change)
            if changes_act_id:
                run.short.act_id, run.short.build_id = change.actor_id, change.build_id

    def abort_in_console(self, run: ApifyRun, *, gracefully: bool = False) -> None:
        """Let the user abort a run by hand: the same as the call, but the truth does not count it as one."""
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            self._abort(run, now_s, gracefully, Fate.NORMAL)

    def abort(self, run: ApifyRun, now_s: float, gracefully: bool, fate: Fate = Fate.NORMAL) -> None:
        """What the abort call does.

        On anything but READY, RUNNING, TIMING-OUT: nothing (see `abort_escalates`). What is still READY has nothing
        to do gracefully: it stops at once.
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
        elif gracefully and status != "READY":
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
    return _linear(usd_per_hour)


def _linear(per_hour: float) -> Curve:
    per_s = per_hour / 3600
    return lambda ran_s: ran_s * per_s


def _remaining_s(run: ApifyRun, now_s: float) -> float | None:
    if run.ends_after_s is None:
        return None
    left_s = run.ends_after_s - run.life.ran_s(now_s)
    return left_s if left_s > 0 else run.ends_after_s


def _require_known(value: str, known: frozenset[str], name: str) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; there are {', '.join(sorted(known))}")
