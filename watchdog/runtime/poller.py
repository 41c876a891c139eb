"""Watches one account: sweeps it, inspects what looks suspicious or is due, and hands breaches on.

A sweep only raises suspicion. Nothing is decided from it: a run is inspected freshly first, and only that inspection
can lead to an abort.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from watchdog.domain.arming import Arming
from watchdog.domain.decision import Abort, Decision, Mode, Response, Verdict, VerdictKind
from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.notice import (
    AccountInfo,
    InspectionDone,
    LimitBreached,
    LimitNear,
    PollFailed,
    Trouble,
    UsageUnknown,
)
from watchdog.domain.ports import Clock, Glimpse, Ledger, Observer, Platform, Sweep
from watchdog.domain.run import NO_PROGRESS, RunState, Snapshot, replace
from watchdog.engine.cadence import (
    LISTS_SHARE,
    ceiling_s,
    discovery_interval_s,
    haste,
    next_look,
    sweep_is_cheaper,
)
from watchdog.engine.decide import choose_mode
from watchdog.engine.evaluate import LimitsOfSource, Margin, Threshold, judge
from watchdog.engine.forecast import Burn, Latency, projected_final
from watchdog.engine.running import RunningTime, proven
from watchdog.errors import CredentialsRefused, Gone, LedgerError, PlatformError
from watchdog.runtime.agenda import Agenda
from watchdog.runtime.doubts import Audits, doubt, went_back
from watchdog.runtime.enforcer import Enforcer, pace_for
from watchdog.runtime.histories import HISTORY_MIN, Histories
from watchdog.runtime.looks import Looks, looks_at_once, suspects_at_once
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.settling import Settling
from watchdog.runtime.tally import Tally
from watchdog.runtime.watched import (
    Calm,
    Watched,
    aged,
    answered,
    calm_until,
    learn,
    may_be_over,
    most_used,
    newest,
    note_pause,
    outlook_on,
    prove,
)

#: A run whose figures are not known, or whose abort is deferred, is inspected again after this many seconds; one whose
#: figures stay unknown at growing distance, up to the second figure.
LOOK_AGAIN_S = 30.0
LOOK_AGAIN_MAX_S = 600.0
#: A run seen RUNNING twice has run all the while if the sightings are no further apart than so many intervals, but at
#: least and at most so many seconds: in less it can hardly stop, be resurrected and wait for a worker.
GAP_INTERVALS = 2.0
GAP_MIN_S = 5.0
GAP_MAX_S = 75.0
#: Where sweeps are further apart than that, looks keep this share of it.
GAP_SHARE = 0.9
#: A run not listed in so many sweeps in a row is looked at, to learn how it ended.
MISSING_MAX = 2
#: A run that was seen to be over and is listed as active is looked at after so many seconds, doubled each time:
#: the list may lag behind, or the run be resurrected.
LISTED_FIRST_S = 1.0
#: How many such runs, or runs not seen while sweeps fail, are looked at after one sweep: a thousand runs that end at
#: once must not hold up the next sweep.
ENDED_LOOKS_MAX = 10
#: Deadlines that are so near are put on the agenda, in seconds; and those within two intervals.
HORIZON_MIN_S = 120.0
#: From so close to a limit on, a look goes before all others: one at a deadline may come a moment early.
SUSPECT_RATIO = 0.999
#: From so close to a limit on, a look may use the rate budget that is kept for aborts.
URGENT_RATIO = 0.95
#: Longest pause after failed polls, in seconds.
BACKOFF_MAX_S = 60.0
#: After a look in vain wait at least this long, in seconds, doubled each time up to the second figure.
VAIN_FIRST_S = 0.05
VAIN_MAX_S = 5.0
#: A run whose cost only the detail shows (a figure that sweeps show of others) is looked at this often, in seconds, as
#: long as the forecast does not ask for more.
DETAIL_CEILING_S = 60.0
#: Looks for runs that have become one of another source: the first so many seconds after the start of a run, then this
#: often, and at most for this share of the rate budget.
METAMORPH_FIRST_S = 10.0
METAMORPH_LOOK_S = 120.0
METAMORPH_SHARE = 0.05
#: A sweep that comes early, in place of many looks, keeps at least this distance from the last one, in seconds.
EARLY_SWEEP_S = 1.0
#: A limit that is never to be exceeded takes effect earlier by at most this share of it.
MARGIN_SHARE_MAX = 0.5
#: The last look before a breach is one that comes so close to it; progress read so long ago still counts. In seconds.
PROGRESS_AHEAD_S = 2.0
PROGRESS_KEPT_S = 15.0
#: What a look takes before any has been measured, in seconds.
LOOK_FIRST_S = 0.5
#: So many rules of which it is not known whether they apply are told of each run that only a list has shown.
UNSURE_TOLD_MAX = 20
_NATURAL_ENDS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT})
#: States in which a run can be calm.
_GOING_ON = frozenset({RunState.RUNNING, RunState.PENDING})
_BATCH = 50


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
        turn: asyncio.Lock | None = None,
    ) -> None:
        """`interval_s` None: as the rate budget allows. `turn` is shared by pollers that are to take turns."""
        self.info = info
        self._turn = turn or asyncio.Lock()
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
        self._histories = Histories(ledger)
        self._settling = Settling(platform, clock)
        self._looks = Looks(self._inspect, looks_at_once(requests_per_minute), suspects_at_once(requests_per_minute))
        self._audits = Audits(requests_per_minute)
        self._look_s = Latency(LOOK_FIRST_S)
        self._haste = {known: haste(requests_per_minute, known=known) for known in (True, False)}
        enforcer.when_closed(info.name, self._abort_closed, self._abort_settled)
        enforcer.complete_with(info.name, self.prove)
        self._failures = 0
        self._not_before = 0.0
        self._sweeping = False
        self._sweeps = 0
        self._listed = 0
        self._pages = 1
        self._swept_at = 0.0
        self._gap_s = GAP_MIN_S
        self._seen_before: Mapping[str, float] = {}
        self._remembers = False
        self._early_sweep: asyncio.Task[None] | None = None
        self._tally = Tally()
        self._unknown_statuses: set[str] = set()
        self._stopped: dict[str, dict[Meter, Burn]] = {}

    @property
    def interval_s(self) -> float:
        """Seconds between two sweeps: as configured, else as the length of the list and the rate budget allow."""
        if self._interval_s is None:
            return discovery_interval_s(self._pages, self._requests_per_minute)
        if self._platform.traits.sweep_shows_usage:
            return self._interval_s
        # The list is not what shows usage: it must leave the rate budget to the looks that do.
        least_s = self._pages / self._requests_per_minute * 60.0 / LISTS_SHARE
        return max(self._interval_s, least_s)

    @property
    def arming(self) -> Arming:
        """Whether breaches on this account lead to aborts at this moment."""
        return self._rulebook.arming(self.info.name, self._clock.now())

    @property
    def looks_waiting(self) -> int:
        """Looks that are due and wait for their turn."""
        return self._looks.waiting

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
        before, began = self._swept_at, self._clock.monotonic()
        self._swept_at, self._gap_s = began, self._longest_gap_s()
        self._audits.begin(began - before)
        await self._rulebook.refresh(self._ledger, self._clock.now())
        if not self._remembers:
            self._seen_before, self._remembers = await self._ledger.seen_running(self.info.name), True
        self._sweeps, self._listed, self._tally = self._sweeps + 1, 0, Tally()
        sweep = await self._read_list()
        self._take_unread(sweep)
        self._note_missing(self._clock.monotonic())
        self._look_for_metamorphs(self._clock.monotonic())
        self._pages = sweep.pages
        self._failures, self._not_before, self.last_error = 0, 0.0, None
        self.last_success_s = self._clock.monotonic()
        seconds, waiting = self.last_success_s - began, self._looks.waiting
        self._observer.notice(self._tally.notice(self.info, self._clock.now(), seconds, sweep, waiting))
        self._rulebook.tidy(self.info.name, len(self.watched))
        await self._load_histories()

    def _looked_at(self) -> Collection[str]:
        """The runs that are looked at one by one, so that the sweep need not read them."""
        if self._platform.traits.sweep_shows_usage:
            return ()
        return {run_id for run_id, watched in self.watched.items() if not watched.over and not watched.missing}

    async def _read_list(self) -> Sweep:
        """Sweep, and take each batch of runs in while the next one is read."""
        inbox: asyncio.Queue[Sequence[Snapshot] | None] = asyncio.Queue()
        taking = asyncio.create_task(self._take_all(inbox), name=f"sweep of {self.info.name}")
        try:
            sweep = await self._platform.sweep(inbox.put_nowait, self._looked_at())
            inbox.put_nowait(sweep.snapshots)
        except asyncio.CancelledError:
            taking.cancel()
            raise
        except BaseException:
            inbox.put_nowait(None)
            await taking
            raise
        inbox.put_nowait(None)
        await taking
        return sweep

    async def _take_all(self, inbox: asyncio.Queue[Sequence[Snapshot] | None]) -> None:
        """A few runs at each turn of the event loop, whichever account they are of: aborts and answers to whoever asks
        do not wait for a long list."""
        while (snapshots := await inbox.get()) is not None:
            for start in range(0, len(snapshots), _BATCH):
                async with self._turn:
                    self._take_in(snapshots[start : start + _BATCH])
                    await asyncio.sleep(0)

    async def _load_histories(self) -> None:
        """Read what is known of new sources. Runs that nobody sweeps get their next look by it."""
        try:
            found = await self._histories.load()
        except LedgerError as error:
            self._observer.notice(Trouble(f"forecasts do without history: {error}", account=self.info.name))
            return
        if found and not self._platform.traits.sweep_shows_usage:
            now_s = self._clock.monotonic()
            for watched in list(self.watched.values()):
                if watched.swept.source.id in found and not watched.over:
                    self._plan_again(watched, now_s)

    async def _sweep_failed(self, error: PlatformError) -> None:
        self._failures += 1
        self.last_error = error
        pause = min(BACKOFF_MAX_S, self.interval_s * 2 ** min(self._failures - 1, 6))
        self._not_before = self._clock.monotonic() + pause - self.interval_s / 2
        self._observer.notice(PollFailed(self.info, "sweep", error, self._clock.now(), self._failures))
        if not isinstance(error, CredentialsRefused) or error.token_works:
            await self._carry_on()

    async def _carry_on(self) -> None:
        """No list to be had: judge each known run by what it can have used since it was last seen, and look at those
        that may be over a limit, and at a few that were not seen for long. The detail call may work all the same."""
        now_s = self._clock.monotonic()
        looks = ENDED_LOOKS_MAX - len(self._looks) - self._looks.waiting
        for number, watched in enumerate(list(self.watched.values())):
            calm = watched.calm
            if calm is not None and now_s < calm.until_s and calm.changes == self._rulebook.changes:
                continue
            limits = self._open_limits(watched, self._rulebook.evaluator.limits(watched.swept), now_s)
            if not limits:
                continue
            used, age_s = aged(watched, now_s)
            if watched.over:
                # It may have been resurrected, which a list would show; until there is one, now and then a look does.
                if age_s >= LOOK_AGAIN_S and looks > 0 and now_s >= watched.not_before:
                    looks -= 1
                    self._looks.add(watched)
            elif self._calls_for_look(watched, limits, used, now_s):
                self._look_now(watched, now_s)
            elif age_s >= LOOK_AGAIN_S and looks > 0:
                looks -= 1
                self._look_now(watched, now_s)
            else:
                self._plan(watched, limits, used, now_s)
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)

    def _take_in(self, snapshots: Sequence[Snapshot]) -> None:
        """Runs of a sweep, as soon as they are read: a breach does not wait for the rest of the list."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        seen_at, at_s = now, now_s
        for snapshot in snapshots:
            if snapshot.seen_at is not seen_at:
                # Judge a run as it was when its answer came, which may be a while ago.
                seen_at = snapshot.seen_at
                # Not before this sweep began, should the wall clock have been set forward meanwhile.
                at_s = max(self._swept_at, now_s - max(0.0, (now - seen_at).total_seconds()))
            self._take_one(snapshot, at_s, now_s)

    def _take_unread(self, sweep: Sweep) -> None:
        """Those that the list only named."""
        now_s = self._clock.monotonic()
        for run_id in sweep.unread:
            watched = self.watched.get(run_id)
            if watched is not None and watched.sweep != self._sweeps:
                self._take_glimpse(watched, sweep.glimpses.get(run_id), now_s)
                self._mark_listed(watched)
                limits = self._rulebook.evaluator.limits(watched.swept)
                self._tally.add(watched, limits, most_used(watched, now_s))

    def _take_glimpse(self, watched: Watched, glimpse: Glimpse | None, now_s: float) -> None:
        """What the list shows of a run that it only names: its state, and its names as they are now."""
        if glimpse is None:
            return
        if glimpse.source != watched.swept.source:
            watched.swept, watched.calm = replace(watched.swept, source=glimpse.source), None
            self._plan_again(watched, now_s)
        if glimpse.state is not RunState.RUNNING or now_s - watched.sighted_at > self._gap_s:
            watched.running.interrupt()
        if glimpse.state is RunState.RUNNING:
            watched.glimpsed_at = now_s
            if watched.state is RunState.PAUSED:
                # It goes on, by the list: its time counts again from a look that shows so.
                self.agenda.set(watched.swept.run_id, now_s)

    def _take_one(self, snapshot: Snapshot, at_s: float, now_s: float) -> None:
        watched = self.watched.get(snapshot.run_id)
        if watched is not None and watched.calm is not None:
            calm, changes = watched.calm, self._rulebook.changes
            fresh = watched.sweep != self._sweeps and at_s - watched.swept_at <= self._gap_s
            if fresh and calm.holds(watched.swept, snapshot, now_s, changes):
                watched.swept, watched.swept_at = snapshot, at_s
                self._mark_listed(watched)
                self._tally.add_calm(watched, calm.limits)
                return
        watched = self._see(watched, snapshot, at_s)
        try:
            self._consider(watched, at_s, now_s)
        except Exception as error:  # noqa: BLE001  # one run that cannot be judged must not stop the sweep
            self._went_wrong(watched, error)

    def _mark_listed(self, watched: Watched) -> None:
        watched.missing = 0
        watched.sweep = self._sweeps
        self._listed += 1

    def _see(self, watched: Watched | None, snapshot: Snapshot, at_s: float) -> Watched:
        """Remember a swept run as it was at this time of the monotonic clock."""
        if watched is None:
            # Not counted from `started_at`: it may have waited since, or have been paused.
            running = RunningTime(at_s, snapshot.state is RunState.RUNNING, self._seen_before.get(snapshot.run_id, 0.0))
            watched = self.watched[snapshot.run_id] = Watched(snapshot, at_s, running, since=at_s)
        else:
            watched.running.sight(snapshot.state, at_s, unbroken=at_s - watched.sighted_at <= self._gap_s)
            watched.swept, watched.swept_at = watched.as_of_all_sources(snapshot), at_s
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
            watched.told = None
        return watched

    def _longest_gap_s(self) -> float:
        """Seconds between two sightings in which a run that was running at both has not stood still. Where runs are
        looked at one by one, the list sights them meanwhile."""
        return min(GAP_MAX_S, max(GAP_MIN_S, GAP_INTERVALS * self.interval_s))

    def _consider(self, watched: Watched, at_s: float, now_s: float) -> None:
        """Judge a run by the most it can have used, and plan its next look."""
        limits = self._rulebook.evaluator.limits(watched.swept)
        used = most_used(watched, now_s)
        if watched.sweep != self._sweeps:
            self._mark_listed(watched)
            self._tally.add(watched, limits, used)
        watched.calm = None
        if not limits.thresholds:
            watched.calm = Calm.for_ever(limits, self._rulebook.changes)
            return
        self._learn(watched, watched.swept, limits, at_s)
        if limits.unsure and watched.told_unsure is not limits:
            watched.told_unsure = limits
            unsure = tuple(judge(limit, used) for limit in limits.unsure[:UNSURE_TOLD_MAX])
            self._tell_verdicts(watched, watched.swept, unsure)
        open_limits = self._open_limits(watched, limits, now_s)
        self._tell_doubt(watched, watched.swept, limits, now_s)
        wanted = self._calls_for_look(watched, open_limits, used, now_s)
        if wanted or self._audits.wants(watched, open_limits, now_s):
            self._look_now(watched, now_s)
            return
        self._looks.drop(watched)
        wait_s = self._plan(watched, open_limits, used, now_s)
        if watched.decision is None and watched.swept.state in _GOING_ON:
            watched.calm = calm_until(limits, open_limits, used, wait_s, now_s, self._rulebook.changes)

    def _learn(self, watched: Watched, seen: Snapshot, limits: LimitsOfSource, at_s: float) -> None:
        note_pause(watched, seen.state)
        learn(watched, seen, limits, at_s)

    def _open_limits(self, watched: Watched, limits: LimitsOfSource, now_s: float) -> Mapping[Meter, float]:
        """The lowest limit of each kind that is not dealt with yet, as it takes effect. A limit whose breach has been
        answered for good (notified, protected, dry run) needs no more looks."""
        settled = answered(watched)
        if not settled and limits.simple:
            return dict(limits.lowest)
        margin = self._margin(watched, most_used(watched, now_s), now_s)
        lowest: dict[Meter, float] = {}
        for each in limits.thresholds:
            if each.sure and each.step.at > settled.get((each.rule.name, each.meter), -1.0):
                effective = each.figure - margin(each)
                lowest[each.meter] = min(effective, lowest.get(each.meter, effective))
        return lowest

    def _margin(self, watched: Watched, used: Usage, now_s: float) -> Margin:
        """By how much limits take effect earlier that are never to be exceeded: what the run may use, at the fastest
        rate that is plausible, until the next look, for that look and the request that follows, and until it has really
        stopped; and what it has used already where its figure lags behind."""
        history = self._histories.of(watched.swept.source.id)

        def margin(applied: Threshold) -> float:
            if not applied.is_careful:
                return 0.0
            outlook = outlook_on(watched, applied.meter, applied.figure, used, history, now_s)
            if outlook is None or not outlook.fast:
                return 0.0
            seconds = self._look_s.high + self._enforcer.stopping_s(self.info.name, self._mode(watched, applied))
            if not outlook.exact:
                seconds += max(self._haste[True].floor_s, outlook.period_s) + outlook.age_s
            return min(outlook.fast * seconds, MARGIN_SHARE_MAX * applied.figure)

        return margin

    def _mode(self, watched: Watched, applied: Threshold) -> Mode:
        """How the run would be asked to stop for this limit."""
        book, run = self._rulebook, watched.swept
        by_hand = book.overrides.resurrects(run, self._clock.now())
        return choose_mode(run, [applied.rule], book.rules.flags_of(run), self.info.modes, flagged_by_hand=by_hand)

    @staticmethod
    def _calls_for_look(watched: Watched, limits: Mapping[Meter, float], used: Usage, now_s: float) -> bool:
        """Whether a figure is over its limit, or lacking. One that an inspection lacked too, or could only prove a part
        of, is asked for again only after a while."""
        for kind, limit in limits.items():
            figure = used.of(kind)
            if figure is not None and figure >= limit:
                return True
            lacking = figure is None or may_be_over(watched, kind, limit, now_s)
            if lacking and (watched.inspected is None or now_s >= watched.unknown_until):
                return True
        return False

    def _plan(self, watched: Watched, limits: Mapping[Meter, float], used: Usage, now_s: float) -> float:
        """Set the next look, unless the next sweeps show the run again before it is due; the seconds until then. After
        looks in vain (a figure just short of its limit that does not move) the next ones come at growing distance."""
        history = self._histories.of(watched.swept.source.id)
        known = history.runs >= HISTORY_MIN
        outlooks = []
        for kind, limit in limits.items():
            figure = used.of(kind)
            if figure is None or figure >= limit:
                continue
            outlook = outlook_on(watched, kind, limit, used, history, now_s)
            if outlook is not None:
                outlooks.append(outlook)
        if not watched.ticket:
            # What waits in the queue is counted by this.
            watched.by_sweep = self._platform.traits.sweep_shows_usage and _sweep_shows(watched, limits)
        ceiling = self._ceiling_s(watched, known=known, watched_s=now_s - watched.since)
        look = next_look(outlooks, self._haste[known], ceiling)
        wait_s = look.wait_s
        latest = watched.inspected or watched.swept
        if self._gap_s < self.interval_s and Meter.DURATION in limits and latest.most.duration_s is not None:
            # Its running time is what is seen of it, and sweeps are too far apart to show that.
            wait_s = min(wait_s, GAP_SHARE * self._gap_s)
        if watched.vain_looks:
            wait_s = max(wait_s, min(VAIN_MAX_S, VAIN_FIRST_S * 2 ** min(watched.vain_looks - 1, 10)))
        watched.breach_at, watched.turn_at = now_s + look.breach_s, now_s + look.turn_s
        watched.deadline_at = now_s + look.deadline_s
        if watched.by_sweep and wait_s >= ceiling:
            self.agenda.drop(watched.swept.run_id)
            return wait_s
        due_at = now_s + wait_s
        if watched.due_at and not watched.by_sweep:
            # A sweep shows nothing new of such a figure: it does not put off the look that will.
            due_at = min(due_at, watched.due_at)
        watched.due_at = max(due_at, watched.not_before)
        self.agenda.set(watched.swept.run_id, watched.due_at)
        return wait_s

    def _plan_again(self, watched: Watched, now_s: float) -> None:
        limits = self._open_limits(watched, self._rulebook.evaluator.limits(watched.swept), now_s)
        if limits and not watched.looking:
            self._plan(watched, limits, most_used(watched, now_s), now_s)

    def _ceiling_s(self, watched: Watched, *, known: bool, watched_s: float) -> float:
        """The longest time to the next look. Where sweeps show the figures of a run they are looks enough, but the next
        one may come later than planned: a deadline that is near is kept all the same."""
        if watched.by_sweep:
            return max(HORIZON_MIN_S, 2 * self.interval_s)
        if self._platform.traits.sweep_shows_usage:
            longest = ceiling_s(len(self.watched), self._requests_per_minute, known=known, watched_s=watched_s)
            return max(DETAIL_CEILING_S, longest)
        if self._interval_s is not None:
            return self._interval_s
        return ceiling_s(len(self.watched), self._requests_per_minute, known=known, watched_s=watched_s)

    def _note_missing(self, now_s: float) -> None:
        """A run not in the list has not thereby ended: it is looked at after a while, a few at a time. So is one that
        is not in the list because a part of the list could not be read (a failing squid)."""
        if self._listed == len(self.watched):
            return
        looks = ENDED_LOOKS_MAX
        for run_id, watched in list(self.watched.items()):
            if watched.sweep == self._sweeps:
                continue
            watched.missing += 1
            watched.running.interrupt()
            if watched.over:
                self._forget(run_id)
            elif watched.missing >= MISSING_MAX and looks > 0:
                looks -= 1
                self._look_now(watched, now_s)

    def _look_for_metamorphs(self, now_s: float) -> None:
        """A run may have become one of another source, which lists need not show: where rules go by sources, each run
        is looked at now and then, soon after its start for the first time, at a small part of the rate budget."""
        if not self._platform.traits.may_metamorph or not self._rulebook.evaluator.goes_by_source:
            return
        looks_per_s = METAMORPH_SHARE * self._requests_per_minute / 60.0
        every_s = max(METAMORPH_LOOK_S, len(self.watched) / looks_per_s)
        looks = math.ceil(looks_per_s * self.interval_s)
        for watched in list(self.watched.values()):
            seen_s = watched.inspected_at if watched.inspected_at else watched.since - every_s + METAMORPH_FIRST_S
            if looks > 0 and now_s - seen_s >= every_s and not watched.over and not watched.missing:
                looks -= 1
                self._look_now(watched, now_s)

    def changed_runs(self) -> list[Snapshot]:
        """The newest snapshot of each run whose usage or state is not what it was when last asked here, or whose
        running time only we know."""
        changed = []
        for watched in self.watched.values():
            latest, running = newest(watched), watched.running
            seen_s = 0.0 if running.exact else running.seen_s
            if watched.written != (latest.state, latest.usage, seen_s):
                watched.written = (latest.state, latest.usage, seen_s)
                changed.append(replace(latest, seen_running_s=running.seen_s))
        return changed

    # Inspecting

    def _on_due(self, run_id: str) -> None:
        watched = self.watched.get(run_id)
        if watched is not None:
            self._look_now(watched, self._clock.monotonic())

    def _look_now(self, watched: Watched, now_s: float) -> None:
        if now_s < watched.not_before:
            return
        if self._enforcer.is_busy_with(watched.swept.key):
            # It is seen to; but should that fail, the run is not left to the next sweep, which may be far off.
            self.agenda.set(watched.swept.run_id, now_s + LOOK_AGAIN_S)
            return
        if self._closest(watched, now_s) >= SUSPECT_RATIO:
            self._looks.add_suspect(watched)
            return
        if watched.looking:
            return
        self._looks.add(watched)
        if now_s < watched.deadline_at < math.inf:
            # The look may have to wait for its turn; a deadline does not.
            self.agenda.set(watched.swept.run_id, watched.deadline_at)
        if sweep_is_cheaper(self._looks.waiting_for_swept_figures, self._pages):
            self._sweep_early(now_s)

    def _sweep_early(self, now_s: float) -> None:
        """Many runs are due at once: one sweep shows them all, and drops those that can wait."""
        if self._sweeping or self._early_sweep is not None or now_s - self._swept_at < EARLY_SWEEP_S:
            return
        self._early_sweep = asyncio.create_task(self.sweep(), name=f"early sweep {self.info.name}")
        self._early_sweep.add_done_callback(self._swept_early)

    def _swept_early(self, task: asyncio.Task[None]) -> None:
        self._early_sweep = None

    async def drain(self) -> None:
        """Wait for the inspections under way, and for those that wait their turn."""
        await self._looks.drain()

    def cancel(self) -> None:
        """Stop inspecting."""
        self._looks.cancel()
        self._settling.cancel()
        if self._early_sweep is not None:
            self._early_sweep.cancel()

    async def _inspect(self, watched: Watched) -> None:
        run_id = watched.swept.run_id
        if self.watched.get(run_id) is not watched:
            return
        if self._enforcer.is_busy_with(watched.swept.key):
            # It was seen to while this waited for its turn; but should that fail, it is not left to the next sweep.
            self.agenda.set(run_id, self._clock.monotonic() + LOOK_AGAIN_S)
            return
        try:
            began_s = self._clock.monotonic()
            closest = self._closest(watched, began_s) if watched.missing == 0 else 0.0
            suspected = closest >= 1.0
            if not suspected:
                watched.suspected_at = None
            elif watched.suspected_at is None:
                watched.suspected_at, watched.suspected = self._clock.now(), most_used(watched, began_s)
            # A look at a deadline comes a moment early, and is one before an abort all the same.
            urgent = closest >= URGENT_RATIO
            progress = self._wants_progress(watched, closest, began_s)
            snapshot = self._with_progress(
                watched, await self._platform.inspect(run_id, urgent=urgent, progress=progress)
            )
            if urgent:
                self._look_s.took(self._clock.monotonic() - began_s)
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

    @staticmethod
    def _wants_progress(watched: Watched, closest: float, now_s: float) -> bool:
        """Whether this look may be the one before an abort, which needs to know how far the run had come: after it
        nobody can tell. Where that is a call of its own, not at each of many looks in a row."""
        last = watched.breach_at <= now_s + PROGRESS_AHEAD_S or closest >= 1.0
        return last and now_s - watched.progress_at >= PROGRESS_KEPT_S

    def _with_progress(self, watched: Watched, seen: Snapshot) -> Snapshot:
        """The snapshot with the progress of a moment ago, if it was not read this time."""
        now_s = self._clock.monotonic()
        if seen.progress != NO_PROGRESS:
            watched.progress, watched.progress_at = seen.progress, now_s
            return seen
        if now_s - watched.progress_at > 2 * PROGRESS_KEPT_S:
            return seen
        return replace(seen, progress=watched.progress)

    def _went_wrong(self, watched: Watched, error: Exception) -> None:
        """An error of our own about one run: told, and its next look pushed on."""
        self._look_later(watched, LOOK_AGAIN_S)
        text = f"internal error: {error!r}; this run is looked at again in {LOOK_AGAIN_S:.0f} s"
        run = watched.swept
        self._observer.notice(Trouble(text, account=run.account, run_id=run.run_id, level="error"))

    def _closest(self, watched: Watched, now_s: float) -> float:
        """How close the run may be to any limit that is not answered yet: from 1 on, the look is one before an
        abort."""
        used = most_used(watched, now_s)
        limits = self._open_limits(watched, self._rulebook.evaluator.limits(watched.swept), now_s)
        closest = 0.0
        for kind, limit in limits.items():
            if (figure := used.of(kind)) is not None:
                closest = max(closest, figure / limit if limit > 0 else 1.0)
        return closest

    def _look_later(self, watched: Watched, seconds: float) -> None:
        watched.not_before = self._clock.monotonic() + seconds
        self.agenda.set(watched.swept.run_id, watched.not_before)

    async def _take_inspection(self, watched: Watched, seen: Snapshot) -> None:
        now, now_s = self._clock.now(), self._clock.monotonic()
        if not seen.state.is_active:
            await self._ended(watched, seen)
            return
        seen = watched.as_of_all_sources(seen)
        if watched.sources:
            watched.swept = replace(watched.swept, source=seen.source)
        # A figure that was unreadable once is no resurrection.
        if (
            None not in (before := watched.running.resurrections, seen.resurrect_count)
            and before != seen.resurrect_count
        ):
            watched.told = None
            for burn in (watched.burns or {}).values():
                burn.interrupt()
        watched.running.inspect(seen, now_s, unbroken=now_s - watched.sighted_at <= self._gap_s)
        snapshot = proven(seen, watched.running)
        watched.over, watched.over_looks, watched.calm = False, 0, None
        of_source = self._rulebook.evaluator.limits(snapshot)
        self._tell_doubt(watched, snapshot, of_source, now_s)
        over = went_back(watched.swept, snapshot, dict(of_source.lowest)) is not None
        watched.listed_over = watched.listed_over + 1 if over else 0
        late_s = max(0.0, now_s - watched.due_at) if watched.due_at else None
        watched.inspected, watched.inspected_at, watched.missing, watched.due_at = snapshot, now_s, 0, 0.0
        self._learn(watched, snapshot, of_source, now_s)
        self._observer.notice(InspectionDone(self.info, snapshot, late_s, self._looks.waiting))
        if any(verdict.verdict is VerdictKind.BREACH for verdict in self._verdicts(watched, snapshot, now_s)):
            # What people have decided counts up to the last moment.
            await self._rulebook.refresh(self._ledger, now)
        self._decide(watched, snapshot, now, now_s)

    def _verdicts(self, watched: Watched, snapshot: Snapshot, now_s: float) -> tuple[Verdict, ...]:
        margin = self._margin(watched, snapshot.usage, now_s)
        return tuple(self._rulebook.evaluator.verdicts(snapshot, margin))

    async def _ended(self, watched: Watched, seen: Snapshot, *, inspected: bool = True) -> None:
        known = watched.over
        self._note_end(watched)
        if inspected:
            self._observer.notice(InspectionDone(self.info, seen))
        if known:
            return
        await self._book_end(watched, seen)
        if seen.settling:
            self._settling.follow(seen, partial(self._book_end, watched))

    async def _book_end(self, watched: Watched, seen: Snapshot) -> None:
        """Remember what a run that is over, but not by an abort of ours, has used; the latest figures count."""
        by_itself = seen.state in _NATURAL_ENDS
        await self._enforcer.books.correct(seen)
        await self._histories.add(seen, by_itself=by_itself, burns=watched.burns)
        if by_itself:
            await self._ledger.add_finished(seen)

    def _note_end(self, watched: Watched) -> None:
        """It was seen to be over."""
        if watched.missing:
            self._forget(watched.swept.run_id)
        else:
            # The list still has it, and may for a while; or it has it again, resurrected, which only a look can tell:
            # it is over until one says otherwise.
            pause_s = min(LOOK_AGAIN_S, LISTED_FIRST_S * 2 ** min(watched.over_looks, 10))
            watched.over, watched.inspected, watched.not_before = True, None, self._clock.monotonic() + pause_s
            watched.over_looks, watched.calm = watched.over_looks + 1, None
            self.agenda.drop(watched.swept.run_id)

    async def _abort_closed(self, abort: Abort) -> None:
        """An abort is closed. If the run is over, that needs no look of its own; if not (the abort was taken back,
        or the run resurrected), it is watched on."""
        watched, seen = self.watched.get(abort.run_id), abort.final
        if watched is None or watched.over:
            return
        if seen is not None and not seen.state.is_active:
            if abort.is_complete:
                await self._ended(watched, seen, inspected=False)
            else:
                self._stopped[abort.id] = watched.burns or {}
                self._note_end(watched)
        else:
            self.agenda.set(abort.run_id, self._clock.monotonic())

    async def _abort_settled(self, abort: Abort) -> None:
        """What the run has used in the end makes history."""
        burns = self._stopped.pop(abort.id, None)
        if burns is not None and abort.final is not None:
            await self._histories.add(abort.final, by_itself=False, burns=burns)

    def _forget(self, run_id: str) -> None:
        watched = self.watched.pop(run_id, None)
        if watched is not None:
            self._looks.drop(watched)
        self.agenda.drop(run_id)

    def prove(self, seen: Snapshot) -> Snapshot:
        """A fresh inspection of a run, completed by what was seen of it before."""
        watched = self.watched.get(seen.run_id)
        return seen if watched is None else prove(watched, seen, self._clock.monotonic(), self._gap_s)

    # Deciding

    def _decide(self, watched: Watched, snapshot: Snapshot, now: datetime, now_s: float) -> None:
        """One decision from one inspection, with one `now`."""
        rulebook = self._rulebook
        verdicts = watched.verdicts = self._verdicts(watched, snapshot, now_s)
        self._tell_verdicts(watched, snapshot, verdicts)
        overdue = self._is_overdue(watched, now_s)
        decision = watched.decision = rulebook.decide(snapshot, verdicts, now, modes=self.info.modes, overdue=overdue)
        detected, suspected = watched.suspected_at or now, watched.suspected
        watched.suspected_at, watched.suspected = None, None
        if any(verdict.verdict is VerdictKind.UNKNOWN for verdict in verdicts) or snapshot.most != NOTHING_KNOWN:
            if now_s >= watched.unknown_until:
                pause_s = min(LOOK_AGAIN_MAX_S, LOOK_AGAIN_S * 2 ** min(watched.unknown_looks, 10))
                watched.unknown_until, watched.unknown_looks = now_s + pause_s, watched.unknown_looks + 1
        else:
            watched.unknown_looks = 0
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
        of_source = rulebook.evaluator.limits(snapshot)
        limits = self._open_limits(watched, of_source, now_s)
        wait_s = self._plan(watched, limits, snapshot.usage, now_s)
        if watched.listed_over:
            # The list says that it is over a limit, and will at every sweep: the detail knows when to look again.
            pause_s = min(LOOK_AGAIN_S, LISTED_FIRST_S * 2 ** min(watched.listed_over - 1, 10))
            watched.not_before = now_s + min(wait_s, pause_s)
        if decision is None and snapshot.state in _GOING_ON:
            watched.calm = calm_until(of_source, limits, snapshot.usage, wait_s, now_s, rulebook.changes)

    def _is_overdue(self, watched: Watched, now_s: float) -> bool:
        """Whether an abort that is not ours should long have stopped the run."""
        pace = pace_for(self._platform)
        patience = pace.window_s + pace.slack_s
        return watched.aborting_since is not None and now_s - watched.aborting_since > patience

    def _tell_doubt(self, watched: Watched, seen: Snapshot, limits: LimitsOfSource, now_s: float) -> None:
        if limits.lowest and (text := doubt(watched, seen, dict(limits.lowest), now_s)) is not None:
            self._observer.notice(Trouble(text, account=seen.account, run_id=seen.run_id))

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
                self._observer.notice(self._near(watched, snapshot, verdict))

    def _near(self, watched: Watched, snapshot: Snapshot, verdict: Verdict) -> LimitNear:
        """With the forecast: when it will be broken, and what the run would use until its own end."""
        history, kind, now_s = self._histories.of(snapshot.source.id), verdict.kind, self._clock.monotonic()
        outlook = outlook_on(watched, kind, verdict.limit, snapshot.usage, history, now_s)
        burn = watched.burns.get(kind) if watched.burns else None
        return LimitNear(
            snapshot,
            verdict,
            expected_s=None if outlook is None or math.isinf(outlook.expected_s) else outlook.expected_s,
            projected=projected_final(kind, snapshot, burn, history),
        )

    def _tell_breaches(self, watched: Watched, decision: Decision) -> None:
        for breach in decision.breaches:
            if self._first(watched, breach.verdict, breach.response):
                self._observer.notice(LimitBreached(decision.snapshot, breach, decision.mode))

    @staticmethod
    def _first(watched: Watched, verdict: Verdict, what: str) -> bool:
        return watched.first_time((verdict.rule.name, verdict.kind, what, verdict.step.at))


def _sweep_shows(watched: Watched, limits: Mapping[Meter, float]) -> bool:
    """Whether the next sweeps show every figure that these limits ask for, or it grows in a way that is known."""
    swept, inspected = watched.swept.usage, watched.inspected
    exact = inspected.burn_cap_per_s if inspected is not None else {}
    return all(
        kind is Meter.DURATION or kind in exact or swept.of(kind) is not None or inspected is None for kind in limits
    )
