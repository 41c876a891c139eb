"""Watches one account: sweeps it, inspects what looks suspicious or is due, and hands breaches on.

A sweep only raises suspicion. Nothing is decided from it: a run is inspected freshly first, and only that inspection
can lead to an abort.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from watchdog.domain.decision import Decision, Response, Verdict, VerdictKind
from watchdog.domain.notice import (
    AccountInfo,
    InspectionDone,
    LimitBreached,
    LimitNear,
    PollFailed,
    Trouble,
    UsageUnknown,
)
from watchdog.domain.ports import Clock, Ledger, Observer, Platform, Sweep
from watchdog.domain.run import LimitKind, RunState, Snapshot, Usage
from watchdog.engine.cadence import auto_interval_s, seconds_to_next_look
from watchdog.engine.evaluate import WARNING_RATIO, LimitsOfSource, judge
from watchdog.engine.forecast import next_floor, upper_bound, with_floor
from watchdog.errors import CredentialsRefused, Gone, PlatformError
from watchdog.runtime.agenda import Agenda
from watchdog.runtime.enforcer import Enforcer, pace_for
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.tally import Tally
from watchdog.runtime.watched import Watched, aged, answered, learn_rates, newest

#: A run whose figures are not known, or whose abort is deferred, is inspected again after this many seconds.
LOOK_AGAIN_S = 30.0
#: A run not listed in so many sweeps in a row is looked at, to learn how it ended.
MISSING_MAX = 2
#: How many such runs, or runs not seen while sweeps fail, are looked at after one sweep: a thousand runs that end at
#: once must not hold up the next sweep.
ENDED_LOOKS_MAX = 10
#: How many inspections may be under way at once; those before an abort come on top.
LOOKS_MAX = 32
#: Deadlines that are so near are put on the agenda, in seconds; and those within two intervals.
HORIZON_MIN_S = 120.0
#: From so close to a limit on, a look may use the rate budget that is kept for aborts.
URGENT_RATIO = 0.95
#: Longest pause after failed polls, in seconds.
BACKOFF_MAX_S = 60.0
#: After a look in vain wait at least this long, in seconds, doubled each time up to the second figure.
VAIN_FIRST_S = 0.05
VAIN_MAX_S = 5.0
_RUNNING_RATE = {LimitKind.MAX_DURATION: 1.0}
_NATURAL_ENDS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT})
_YIELD_EVERY = 500


class Poller:
    """One account, watched."""

    def __init__(
        self,
        info: AccountInfo,
        platform: Platform,
        rulebook: Rulebook,
        enforcer: Enforcer,
        ledger: Ledger,
        observer: Observer,
        clock: Clock,
        *,
        interval_s: float | None,
        requests_per_minute: float,
    ) -> None:
        self.info = info
        self.last_error: PlatformError | None = None
        self.last_success_s: float | None = None
        self.started_s = clock.monotonic()
        self.watched: dict[str, Watched] = {}
        self.agenda = Agenda(clock, self._on_due)
        self._platform = platform
        self._rulebook = rulebook
        self._enforcer = enforcer
        self._ledger = ledger
        self._observer = observer
        self._clock = clock
        self._interval_s = interval_s
        self._requests_per_minute = requests_per_minute
        self._failures = 0
        self._not_before = 0.0
        self._sweeping = False
        self._unknown_statuses: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[Watched] = deque()

    @property
    def interval_s(self) -> float:
        """Seconds between two sweeps: as configured, else as the number of runs and the rate budget allow."""
        if self._interval_s is not None:
            return self._interval_s
        return auto_interval_s(len(self.watched), self._requests_per_minute)

    # Sweeping

    async def sweep(self) -> None:
        """One sweep: list, judge, start the inspections that are called for. Faults are told, not raised; after several
        in a row it pauses for longer. While it pauses, or the last sweep still waits for its answer, the runs known so
        far are watched one by one."""
        if self._sweeping or self._clock.monotonic() < self._not_before:
            await self._carry_on()
            return
        self._sweeping = True
        try:
            await self._sweep()
        except PlatformError as error:
            await self._sweep_failed(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours must be seen, and must not end the watch
            await self._sweep_failed(PlatformError(f"internal error: {error!r}", account=self.info.name))
        finally:
            self._sweeping = False

    async def _sweep(self) -> None:
        began = self._clock.monotonic()
        await self._rulebook.refresh(self._ledger, self._clock.now())
        sweep = await self._platform.sweep(self._take_early)
        tally = await self._take_in(sweep)
        self._failures, self._not_before, self.last_error = 0, 0.0, None
        self.last_success_s = self._clock.monotonic()
        self._observer.notice(tally.notice(self.info, self._clock.now(), self.last_success_s - began, sweep))
        self._rulebook.tidy()

    async def _sweep_failed(self, error: PlatformError) -> None:
        self._failures += 1
        self.last_error = error
        pause = min(BACKOFF_MAX_S, self.interval_s * 2 ** min(self._failures - 1, 6))
        self._not_before = self._clock.monotonic() + pause - self.interval_s / 2
        self._observer.notice(PollFailed(self.info, "sweep", error, self._clock.now(), self._failures))
        if not isinstance(error, CredentialsRefused):
            await self._carry_on()

    async def _carry_on(self) -> None:
        """No list to be had: judge each known run by what it can have used since it was last seen, and look at those
        that may be over a limit, and at a few that were not seen for long. The detail call may work all the same."""
        now_s = self._clock.monotonic()
        looks = ENDED_LOOKS_MAX - len(self._tasks) - len(self._queue)
        for number, watched in enumerate(list(self.watched.values())):
            limits = self._open_limits(watched, self._rulebook.evaluator.limits(watched.swept))
            if not limits:
                continue
            used, age_s = aged(watched, now_s)
            if self._calls_for_look(watched, limits, used, now_s):
                self._look_now(watched, now_s)
            elif age_s >= LOOK_AGAIN_S and looks > 0:
                looks -= 1
                self._look_now(watched, now_s)
            else:
                self._plan(watched, limits, used, now_s)
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)

    def _take_early(self, snapshot: Snapshot) -> None:
        """One run of a sweep that still goes on: a breach does not wait for the rest of the list."""
        self._take_one(snapshot, self._clock.now(), self._clock.monotonic(), Tally())

    def _take_one(self, snapshot: Snapshot, now: datetime, now_s: float, tally: Tally) -> None:
        """Judge a run as it was when its answer came, which may be a while ago."""
        age_s = max(0.0, (now - snapshot.seen_at).total_seconds())
        watched = self._see(snapshot, now_s - age_s)
        try:
            self._consider(watched, now_s, tally)
        except Exception as error:  # noqa: BLE001  # one run that cannot be judged must not stop the sweep
            self._went_wrong(watched, error)

    async def _take_in(self, sweep: Sweep) -> Tally:
        now, now_s = self._clock.now(), self._clock.monotonic()
        tally = Tally()
        for number, snapshot in enumerate(sweep.snapshots):
            self._take_one(snapshot, now, now_s, tally)
            if number % _YIELD_EVERY == _YIELD_EVERY - 1:
                await asyncio.sleep(0)
        self._note_missing(sweep, now_s)
        return tally

    def _see(self, snapshot: Snapshot, at_s: float) -> Watched:
        """Remember a swept run as it was at this time of the monotonic clock."""
        watched = self.watched.get(snapshot.run_id)
        if watched is None:
            watched = self.watched[snapshot.run_id] = Watched(snapshot, at_s)
        else:
            learn_rates(watched, snapshot, at_s)
            watched.swept, watched.swept_at, watched.missing = snapshot, at_s, 0
        if snapshot.state is RunState.UNKNOWN:
            self._tell_status(snapshot)
        if snapshot.state is not RunState.ABORTING:
            watched.aborting_since = None
        elif watched.aborting_since is None:
            watched.aborting_since = at_s
        if watched.edition != self._rulebook.edition:
            watched.edition, watched.decision, watched.not_before = self._rulebook.edition, None, 0.0
        if watched.generation != self._rulebook.generation:
            watched.generation, watched.decision, watched.verdicts = self._rulebook.generation, None, ()
            watched.not_before = watched.unknown_until = 0.0
            watched.told.clear()
        return watched

    def _consider(self, watched: Watched, now_s: float, tally: Tally) -> None:
        """Judge a run by the most it can have used, and plan its next look."""
        limits = self._rulebook.evaluator.limits(watched.swept)
        used = upper_bound(watched.swept, watched.inspected, now_s - watched.inspected_at, now_s - watched.swept_at)
        tally.add(watched, limits, used)
        if not limits.limits:
            return
        if limits.unsure:
            unsure = tuple(judge(limit, used) for limit in limits.limits if not limit.sure)
            self._tell_verdicts(watched, watched.swept, unsure)
        open_limits = self._open_limits(watched, limits)
        if self._calls_for_look(watched, open_limits, used, now_s):
            self._look_now(watched, now_s)
        else:
            self._plan(watched, open_limits, used, now_s)

    def _open_limits(self, watched: Watched, limits: LimitsOfSource) -> Mapping[LimitKind, float]:
        """The lowest limit of each kind that is not dealt with yet. A limit whose breach has been answered for good
        (notified, protected, dry run) needs no more looks."""
        settled = answered(watched)
        if not settled:
            return dict(limits.lowest)
        rest = [limit for limit in limits.limits if (limit.rule.name, limit.kind) not in settled]
        return dict(LimitsOfSource.of(rest).lowest)

    @staticmethod
    def _calls_for_look(watched: Watched, limits: Mapping[LimitKind, float], used: Usage, now_s: float) -> bool:
        """Whether a figure is over its limit, or lacking. One that an inspection lacked too is asked for again only
        after a while."""
        for kind, limit in limits.items():
            figure = used.of(kind)
            if figure is not None:
                if figure >= limit:
                    return True
            elif watched.inspected is None or now_s >= watched.unknown_until:
                return True
        return False

    def _plan(self, watched: Watched, limits: Mapping[LimitKind, float], used: Usage, now_s: float) -> None:
        """Set the next look if it must come before the next sweep shows the run again. After looks in vain (a figure
        just short of its limit that does not move) the next ones come at growing distance."""
        exact: dict[LimitKind, float] = dict(_RUNNING_RATE)
        if watched.inspected is not None:
            exact.update(watched.inspected.burn_cap_per_s)
        if watched.swept.state is RunState.PAUSED:
            exact = {}
        # The next sweep may come later than planned: a deadline that is near is kept all the same.
        horizon_s = max(HORIZON_MIN_S, 2 * self.interval_s)
        wait = seconds_to_next_look(
            used, limits, exact_rates_per_s=exact, seen_rates_per_s=watched.rates or {}, ceiling_s=horizon_s
        )
        if watched.vain_looks:
            wait = max(wait, min(VAIN_MAX_S, VAIN_FIRST_S * 2 ** min(watched.vain_looks - 1, 10)))
        if wait < horizon_s:
            self.agenda.set(watched.swept.run_id, max(now_s + wait, watched.not_before))
        else:
            self.agenda.drop(watched.swept.run_id)

    def _note_missing(self, sweep: Sweep, now_s: float) -> None:
        """A run not in the list has not thereby ended: it is looked at after a while, a few at a time. So is one that
        is not in the list because a part of the list could not be read (a failing squid)."""
        listed = {snapshot.run_id for snapshot in sweep.snapshots}
        looks = ENDED_LOOKS_MAX
        for run_id, watched in list(self.watched.items()):
            if run_id in listed:
                continue
            watched.missing += 1
            if watched.over:
                self._forget(run_id)
            elif watched.missing >= MISSING_MAX and looks > 0:
                looks -= 1
                self._look_now(watched, now_s)

    def changed_runs(self) -> list[Snapshot]:
        """The newest snapshot of each run whose usage or state is not what it was when last asked here."""
        changed = []
        for watched in self.watched.values():
            latest = newest(watched)
            if watched.written != (latest.state, latest.usage):
                watched.written = (latest.state, latest.usage)
                changed.append(latest)
        return changed

    # Inspecting

    def _on_due(self, run_id: str) -> None:
        watched = self.watched.get(run_id)
        if watched is not None:
            self._look_now(watched, self._clock.monotonic())

    def _look_now(self, watched: Watched, now_s: float) -> None:
        if watched.looking or now_s < watched.not_before:
            return
        if self._enforcer.is_busy_with(watched.swept.key):
            # It is seen to; but should that fail, the run is not left to the next sweep, which may be far off.
            self.agenda.set(watched.swept.run_id, now_s + LOOK_AGAIN_S)
            return
        if self._closest(watched) >= 1.0:
            self._begin_look(watched)
        elif not watched.queued:
            watched.queued = True
            self._queue.append(watched)
            self._serve_queue()

    def _serve_queue(self) -> None:
        """Looks that are not before an abort wait their turn: ten thousand tasks at once cost 40 MB and get nothing
        done sooner."""
        while self._queue and len(self._tasks) < LOOKS_MAX:
            watched = self._queue.popleft()
            watched.queued = False
            if not watched.looking and self.watched.get(watched.swept.run_id) is watched:
                self._begin_look(watched)

    def _begin_look(self, watched: Watched) -> None:
        watched.looking = True
        task = asyncio.create_task(self._inspect(watched))
        self._tasks.add(task)
        task.add_done_callback(self._look_done)

    def _look_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._serve_queue()

    async def drain(self) -> None:
        """Wait for the inspections under way, and for those that wait their turn."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cancel(self) -> None:
        """Stop inspecting."""
        self._queue.clear()
        for task in self._tasks:
            task.cancel()

    async def _inspect(self, watched: Watched) -> None:
        run_id = watched.swept.run_id
        try:
            closest = self._closest(watched) if watched.missing == 0 else 0.0
            suspected = closest >= 1.0
            if not suspected:
                watched.suspected_at = None
            elif watched.suspected_at is None:
                watched.suspected_at, watched.suspected = self._clock.now(), self._most_used(watched)
            # An abort needs to know how far the run had come, and after it nobody can tell.
            near = closest >= WARNING_RATIO
            # A look at a deadline comes a moment early, and is one before an abort all the same.
            urgent = closest >= URGENT_RATIO
            snapshot = await self._platform.inspect(run_id, urgent=urgent, progress=near)
            watched.vain_looks = watched.vain_looks + 1 if suspected else 0
            watched.failures = 0
            await self._take_inspection(watched, snapshot)
        except PlatformError as error:
            watched.failures += 1
            if isinstance(error, Gone) and watched.failures > 1 and watched.missing:
                # Neither listed nor there; should it be listed again, it is watched again.
                self._forget(run_id)
                return
            pause = min(BACKOFF_MAX_S, 2.0 ** min(watched.failures, 10))
            self._look_later(watched, pause)
            self._observer.notice(
                PollFailed(self.info, "inspection", error, self._clock.now(), watched.failures, run_id)
            )
        except Exception as error:  # noqa: BLE001  # a fault of ours must hurt this run only, and must be seen
            self._went_wrong(watched, error)
        finally:
            watched.looking = False

    def _went_wrong(self, watched: Watched, error: Exception) -> None:
        """An error of our own about one run: told, and its next look pushed on."""
        self._look_later(watched, LOOK_AGAIN_S)
        text = f"internal error: {error!r}; this run is looked at again in {LOOK_AGAIN_S:.0f} s"
        run = watched.swept
        self._observer.notice(Trouble(text, account=run.account, run_id=run.run_id, level="error"))

    def _closest(self, watched: Watched) -> float:
        """How close the run may be to any limit that is not answered yet: from 1 on, the look is one before an
        abort."""
        limits = self._rulebook.evaluator.limits(watched.swept)
        settled = answered(watched)
        used = self._most_used(watched)
        ratios = (
            judge(limit, used).ratio
            for limit in limits.limits
            if limit.sure and (limit.rule.name, limit.kind) not in settled
        )
        return max((ratio for ratio in ratios if ratio is not None), default=0.0)

    def _most_used(self, watched: Watched) -> Usage:
        now_s = self._clock.monotonic()
        ages = now_s - watched.inspected_at, now_s - watched.swept_at
        return upper_bound(watched.swept, watched.inspected, *ages)

    def _look_later(self, watched: Watched, seconds: float) -> None:
        watched.not_before = self._clock.monotonic() + seconds
        self.agenda.set(watched.swept.run_id, watched.not_before)

    async def _take_inspection(self, watched: Watched, seen: Snapshot) -> None:
        now, now_s = self._clock.now(), self._clock.monotonic()
        if not seen.state.is_active:
            await self._ended(watched, seen)
            return
        if seen.resurrect_count is not None:
            # A figure that was unreadable once is no resurrection.
            if watched.resurrections not in (None, seen.resurrect_count):
                watched.told.clear()
            watched.resurrections = seen.resurrect_count
        watched.floor = next_floor(watched.floor, watched.inspected, seen, now_s)
        snapshot = replace(seen, usage=with_floor(seen.usage, watched.floor))
        watched.over = False
        watched.inspected, watched.inspected_at, watched.missing = snapshot, now_s, 0
        self._observer.notice(InspectionDone(self.info, snapshot))
        if any(verdict.verdict is VerdictKind.BREACH for verdict in self._rulebook.evaluator.verdicts(snapshot)):
            # What people have decided counts up to the last moment.
            await self._rulebook.refresh(self._ledger, now)
        self._decide(watched, snapshot, now, now_s)

    async def _ended(self, watched: Watched, seen: Snapshot) -> None:
        if watched.missing:
            self._forget(seen.run_id)
        else:
            # The list still has it, and may for a while: it is over until a later look says otherwise.
            watched.over, watched.inspected, watched.not_before = True, None, self._clock.monotonic() + LOOK_AGAIN_S
            self.agenda.drop(seen.run_id)
        self._observer.notice(InspectionDone(self.info, seen))
        if seen.state in _NATURAL_ENDS:
            await self._ledger.add_finished(seen)

    def _forget(self, run_id: str) -> None:
        self.watched.pop(run_id, None)
        self.agenda.drop(run_id)

    # Deciding

    def _decide(self, watched: Watched, snapshot: Snapshot, now: datetime, now_s: float) -> None:
        """One decision from one inspection, with one `now`."""
        rulebook = self._rulebook
        verdicts = watched.verdicts = tuple(rulebook.evaluator.verdicts(snapshot))
        self._tell_verdicts(watched, snapshot, verdicts)
        overdue = self._is_overdue(watched, now_s)
        decision = watched.decision = rulebook.decide(snapshot, verdicts, now, modes=self.info.modes, overdue=overdue)
        detected, suspected = watched.suspected_at or now, watched.suspected
        watched.suspected_at, watched.suspected = None, None
        if any(verdict.verdict is VerdictKind.UNKNOWN for verdict in verdicts):
            watched.unknown_until = now_s + LOOK_AGAIN_S
        if decision is not None:
            watched.vain_looks = 0
            self._tell_breaches(watched, decision)
            if decision.abort is not None:
                used = suspected.of(decision.abort.verdict.kind) if suspected is not None else None
                self._enforcer.submit(decision, detected, used)
                self.agenda.set(snapshot.run_id, now_s + LOOK_AGAIN_S)
                return
            if any(breach.response in (Response.DEFERRED, Response.HELD) for breach in decision.breaches):
                self._look_later(watched, LOOK_AGAIN_S)
                return
        # Within its limits, or over such as only ask for a notice: the next one may be an abort's.
        self._plan(watched, self._open_limits(watched, rulebook.evaluator.limits(snapshot)), snapshot.usage, now_s)

    def _is_overdue(self, watched: Watched, now_s: float) -> bool:
        """Whether an abort that is not ours should long have stopped the run."""
        pace = pace_for(self._platform)
        patience = pace.window_s + pace.slack_s
        return watched.aborting_since is not None and now_s - watched.aborting_since > patience

    def _tell_status(self, snapshot: Snapshot) -> None:
        """Once for each status that this version does not know: the run counts as active."""
        if snapshot.status in self._unknown_statuses:
            return
        self._unknown_statuses.add(snapshot.status)
        text = f"status '{snapshot.status}' is not known to this version; such runs count as active; look for an update"
        self._observer.notice(Trouble(text, account=snapshot.account, run_id=snapshot.run_id))

    def _tell_verdicts(self, watched: Watched, snapshot: Snapshot, verdicts: tuple[Verdict, ...]) -> None:
        for verdict in verdicts:
            if verdict.verdict is VerdictKind.UNKNOWN and self._first(watched, verdict, "unknown"):
                self._observer.notice(UsageUnknown(snapshot, verdict))
            elif verdict.verdict is VerdictKind.WARNING and self._first(watched, verdict, "near"):
                self._observer.notice(LimitNear(snapshot, verdict))

    def _tell_breaches(self, watched: Watched, decision: Decision) -> None:
        for breach in decision.breaches:
            if self._first(watched, breach.verdict, breach.response):
                self._observer.notice(LimitBreached(decision.snapshot, breach, decision.mode))

    @staticmethod
    def _first(watched: Watched, verdict: Verdict, what: str) -> bool:
        told = (verdict.rule.name, verdict.kind, what)
        if told in watched.told:
            return False
        watched.told.add(told)
        return True
