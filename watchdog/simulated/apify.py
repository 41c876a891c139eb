"""Apify's side: Actors, tasks and runs that burn money on a clock.

Abort and resurrection follow Apify's public documentation ("Runs and builds", API reference), and where that is silent
what the official clients' tests and the emulator apify/actor-runtime know.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable
from typing import Any, Literal

import msgspec

from watchdog.simulated.account import Fate, require_finite
from watchdog.simulated.apify_pricing import Curve, PayPerResult, Pricing
from watchdog.simulated.apify_records import ApifyActor, Metamorph, RunMeta, RunShort
from watchdog.simulated.apify_run import (
    ABORTABLE,
    DATASET_LAG_S,
    METAMORPHS_MAX,
    RESTARTS_MAX,
    TERMINAL,
    ApifyRun,
    Shown,
)
from watchdog.simulated.apify_things import ApifyThings, require_known
from watchdog.simulated.clock import SimClock, iso_millis
from watchdog.simulated.life import Life, Step
from watchdog.simulated.rate import SlidingWindow


class ApifyAccount(ApifyThings):
    """The Actors and runs of one Apify user.

    Attributes may be changed at any time; seconds are platform time.
    """

    def __init__(
        self, token: str, username: str, index: int, clock: SimClock, lock: threading.RLock, seed: int
    ) -> None:
        super().__init__(token, username, index, clock, lock, seed)
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
        self.data_retention_days = 90
        self.other_usage_usd = 0.0
        """What the account used this month beside its runs: builds, storage, Server Actors."""
        self.metamorph_changes_act_id = False
        """Whether the call for a metamorph changes the run's `actId`."""
        self.starts_as: dict[str, Any] = {"ready_for": 1.0}
        """How runs that a client starts are: what `start_run` takes."""
        self.datasets: dict[str, ApifyRun] = {}
        self._windows: dict[str, SlidingWindow] = {}
        self._selections: dict[object, list[ApifyRun]] = {}
        self._selections_of = -1

    def start_run(
        self,
        actor: str | None = None,
        task: str | None = None,
        *,
        schedule: str | None = None,
        origin: str | None = None,
        user_agent: str | None = None,
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
        restart_on_error: bool = False,
        max_total_charge_usd: float | None = None,
        max_items: int | None = None,
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
        list_lag: float = 0.0,
        list_less_usd: float = 0.0,
        dataset_lag: float = DATASET_LAG_S,
        detail_after: float = 0.0,
        started_at_after: float = 0.0,
        run_id: str | None = None,
    ) -> ApifyRun:
        """Start a run; all durations in seconds of platform time.

        `actor`, `task`: ids; without both, an Actor is made up. `schedule`: the id of the one that started it.
        `origin`: any word, the set is open; left out, SCHEDULER for those of a schedule, else API. `usd_per_hour`:
        cost per running hour, None: there is none to see or to know. `curve`: running seconds -> USD (monotone),
        instead of linear. `pricing`: the Actor charges by event or result, instead. `results_per_hour`, `results`
        (running seconds -> number): what it puts into its dataset. `ends_after`: running seconds until the natural
        end; None: never. `started_ago`: how long ago it was started, READY included; of these it was stopped for
        `stopped_for` in the middle (then it counts as resurrected). `timeout_secs` counts from the (re)start.
        `restart_on_error`: it fails three times more before it ends as FAILED. `max_total_charge_usd` is only shown;
        `max_items` limits what an Actor that charges by result may charge. `graceful_takes`: what the run needs after
        a graceful abort; the full 30 s if left out.

        What the API shows late or not at all: `refresh_every`: cost (and, with `refresh_stats`, stats) are those of
        the last full multiple. `stats_missing`: names of stats that are absent; `stats_none`: no `stats` at all; both
        for the first `stats_fresh_s` running seconds, or for ever. `cost_in_list` False: `usageTotalUsd` only in the
        run's own page; `cost_hidden`: nowhere. `cost_lag`: how far `usageTotalUsd` is behind, also after the end;
        `list_lag`: how much further in lists, which show it less by `list_less_usd`, too; `dataset_lag`: the same as
        `cost_lag` for the dataset's itemCount. `detail_after`: for so long after now its id gives 404,
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
            list_lag=list_lag,
            list_less_usd=list_less_usd,
            dataset_lag=dataset_lag,
            detail_after=detail_after,
            started_at_after=started_at_after,
        )
        if origin == "":
            raise ValueError("origin must not be empty")
        require_known(ends_as, frozenset({"SUCCEEDED", "FAILED"}), "ends_as")
        with self.lock:
            owner = self._actor_of(actor, task)
            now_s = self.clock.elapsed_s()
            if isinstance(pricing, PayPerResult):
                pricing = msgspec.structs.replace(
                    pricing, max_items=pricing.max_items if max_items is None else max_items
                )
                max_items = pricing.max_items
            tries = 1 + RESTARTS_MAX if restart_on_error and ends_as == "FAILED" else 1
            lasts = None if ends_after is None else ends_after * tries
            steps = self._first_life(ready_for, started_ago, stopped_for, lasts, timeout_secs, ends_as)
            life = Life(now_s - started_ago, steps, memory_mbytes / 1024)
            shown = Shown(
                stats_missing=stats_missing,
                stats_none=stats_none,
                stats_fresh_s=stats_fresh_s,
                cost_in_list=cost_in_list,
                cost_hidden=cost_hidden,
                cost_lag_s=cost_lag,
                list_lag_s=list_lag,
                list_less_usd=list_less_usd,
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
                self._short(run_id, owner, task, self._meta(origin, schedule, user_agent, life), life),
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
                restart_on_error=restart_on_error,
                max_total_charge_usd=max_total_charge_usd,
                max_items=max_items,
            )
            run.settle_plan()
            self.datasets[run.short.default_dataset_id] = run
            return self.admit(run)

    def delete_run(self, run: ApifyRun) -> None:
        """Forget a finished run. ValueError if it has not finished."""
        with self.lock:
            self.sync(self.clock.elapsed_s())
            if run.phase.status not in TERMINAL:
                raise ValueError(f"run {run.id} has not finished")
            self.forget(run)
            self.datasets.pop(run.short.default_dataset_id, None)

    def resurrect(
        self,
        run: ApifyRun,
        *,
        timeout_secs: int | None = None,
        memory_mbytes: int | None = None,
        restart_on_error: bool | None = None,
        max_total_charge_usd: float | None = None,
        max_items: int | None = None,
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
            run.restart_on_error = run.restart_on_error if restart_on_error is None else restart_on_error
            run.max_items = run.max_items if max_items is None else max_items
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
            change = Metamorph(iso_millis(self.clock.at(now_s)), self.actors[actor].id, self.actors[actor].build_id)
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

    def _meta(self, origin: str | None, schedule: str | None, user_agent: str | None, life: Life) -> RunMeta:
        if schedule is None:
            return RunMeta(origin or "API", user_agent=user_agent)
        planned = iso_millis(self.clock.at(life.start_s))
        return RunMeta(origin or "SCHEDULER", self.schedules[schedule]["id"], planned, user_agent)

    def _short(self, run_id: str | None, actor: ApifyActor, task: str | None, meta: RunMeta, life: Life) -> RunShort:
        return RunShort(
            id=run_id or self.make_id(),
            act_id=actor.id,
            user_id=self.user_id,
            actor_task_id=task,
            status=life.last.status,
            started_at=iso_millis(self.clock.at(life.start_s)),
            finished_at=None,
            build_id=actor.build_id,
            build_number="0.0.2",
            meta=meta,
            default_key_value_store_id=self.make_id(),
            default_dataset_id=self.make_id(),
            default_request_queue_id=self.make_id(),
        )


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
