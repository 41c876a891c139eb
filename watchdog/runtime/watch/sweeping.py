"""Sweeps of one account: what the list shows of every active run, as soon as it is read.

A sweep only raises suspicion. Nothing is decided from it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence

from watchdog.domain.notice import PollFailed, Trouble
from watchdog.domain.ports import Glimpse, Sweep
from watchdog.domain.run import RunState, Snapshot, replace
from watchdog.engine.assess import Calm, Terms, calls_for_look, goals_of, plan_of, suspect
from watchdog.engine.doubts import Audits
from watchdog.engine.running import RunningTime
from watchdog.errors import CredentialsRefused, LedgerError, PlatformError
from watchdog.runtime.memory import Watched
from watchdog.runtime.watch.account import Account
from watchdog.runtime.watch.looking import LOOK_AGAIN_S, Looking
from watchdog.runtime.watch.tally import Tally

#: A run not listed in so many sweeps in a row is looked at, to learn how it ended.
MISSING_MAX = 2
#: How many such runs, or runs not seen while sweeps fail, are looked at after one sweep: a thousand runs that end at
#: once must not hold up the next sweep.
ENDED_LOOKS_MAX = 10
#: Longest pause after failed sweeps, in seconds.
BACKOFF_MAX_S = 60.0
#: Looks for runs that have become one of another source: the first so many seconds after the start of a run, then this
#: often, and at most for this share of the rate budget.
METAMORPH_FIRST_S = 10.0
METAMORPH_LOOK_S = 120.0
METAMORPH_SHARE = 0.05
#: So many runs are taken in at each turn of the event loop: whatever takes several turns, as the answer to a scrape
#: does, waits for each of them.
_BATCH = 50


class Sweeping:
    """Sweeps one account. `turn` is shared by those that are to take turns."""

    def __init__(self, account: Account, looking: Looking, turn: asyncio.Lock) -> None:
        self.under_way = False
        self.last_error: PlatformError | None = None
        self.last_success_s: float | None = None
        self.began_s = 0.0
        self._account = account
        self._looking = looking
        self._turn = turn
        self._memory = account.memory
        self._observer = account.observer
        self._clock = account.clock
        self._audits = Audits(account.requests_per_minute)
        self._failures = 0
        self._not_before = 0.0
        self._number = 0
        self._listed = 0
        self._tally = Tally()
        self._terms = account.terms(0.0)
        self._seen_before: Mapping[str, float] | None = None

    async def sweep(self) -> None:
        """One sweep: list, judge, start the looks that are called for. Faults are told, not raised; after several in a
        row it pauses for longer. While it pauses, or the last sweep still waits for its answer, the runs known so far
        are watched one by one."""
        if self.under_way or self._clock.monotonic() < self._not_before:
            await self._carry_on()
            return
        self.under_way = True
        try:
            await self._sweep()
        except PlatformError as error:
            await self._failed(error)
        except Exception as error:  # noqa: BLE001  # a fault of ours must be seen, and must not end the watch
            await self._failed(PlatformError(f"internal error: {error!r}", account=self._account.name))
        finally:
            self.under_way = False

    async def _sweep(self) -> None:
        account, before, began = self._account, self.began_s, self._clock.monotonic()
        self.began_s = began
        self._memory.note_interval(account.interval_s)
        self._audits.begin(began - before)
        await account.rulebook.refresh(account.ledger, self._clock.now())
        if self._seen_before is None:
            self._seen_before = await account.ledger.seen_running(account.name)
        self._number, self._listed, self._tally = self._number + 1, 0, Tally()
        sweep = await self._read_list()
        self._take_unread(sweep)
        self._note_missing(self._clock.monotonic())
        self._look_for_metamorphs(self._clock.monotonic())
        account.pages = sweep.pages
        self._failures, self._not_before, self.last_error = 0, 0.0, None
        self.last_success_s = self._clock.monotonic()
        seconds, waiting = self.last_success_s - began, self._looking.looks.waiting
        self._observer.notice(self._tally.notice(account.info, self._clock.now(), seconds, sweep, waiting))
        account.rulebook.tidy(account.name, len(self._memory))
        await self._load_histories()

    def _looked_at(self) -> Collection[str]:
        """The runs that are looked at one by one, so that the sweep need not read them."""
        if self._account.platform.traits.sweep_shows_usage:
            return ()
        return {run_id for run_id, each in self._memory.runs.items() if not each.over and not each.missing}

    async def _read_list(self) -> Sweep:
        """Sweep, and take each batch of runs in while the next one is read."""
        inbox: asyncio.Queue[Sequence[Snapshot] | None] = asyncio.Queue()
        taking = asyncio.create_task(self._take_all(inbox), name=f"sweep of {self._account.name}")
        try:
            sweep = await self._account.platform.sweep(inbox.put_nowait, self._looked_at())
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
                    self.take_in(snapshots[start : start + _BATCH])
                    await asyncio.sleep(0)

    async def _load_histories(self) -> None:
        """Read what is known of new sources. Runs that nobody sweeps get their next look by it."""
        try:
            found = await self._account.histories.load()
        except LedgerError as error:
            self._observer.notice(Trouble(f"forecasts do without history: {error}", account=self._account.name))
            return
        if found and not self._account.platform.traits.sweep_shows_usage:
            now_s = self._clock.monotonic()
            for watched in self._memory:
                if watched.swept.source.id in found and not watched.over:
                    self._looking.plan_again(watched, now_s)

    # What the list shows

    def take_in(self, snapshots: Sequence[Snapshot]) -> None:
        """Runs of a sweep, as soon as they are read: a breach does not wait for the rest of the list."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        seen_at, at_s, calm_runs = now, now_s, []
        terms = self._terms = self._account.terms(now_s)
        known, number, gap_s = self._memory.runs.get, self._number, self._memory.gap_s
        for snapshot in snapshots:
            if snapshot.seen_at is not seen_at:
                # Judge a run as it was when its answer came, which may be a while ago.
                seen_at = snapshot.seen_at
                # Not before this sweep began, should the wall clock have been set forward meanwhile.
                at_s = max(self.began_s, now_s - max(0.0, (now - seen_at).total_seconds()))
            watched = known(snapshot.run_id)
            if (
                watched is not None
                and (calm := watched.calm) is not None
                and watched.sweep != number
                and at_s - watched.swept_at <= gap_s
                and calm.holds(watched.swept, snapshot, now_s, terms.changes)
            ):
                # Far from every limit: it is enough to take its new figures down. All that nine of ten runs cost is
                # here.
                watched.swept, watched.swept_at, watched.missing, watched.sweep = snapshot, at_s, 0, number
                calm_runs.append(watched)
            else:
                self._take_one(watched, snapshot, at_s, now_s)
        self._listed += len(calm_runs)
        self._tally.add_calm(calm_runs)

    def _take_one(self, watched: Watched | None, snapshot: Snapshot, at_s: float, now_s: float) -> None:
        watched = self._see(watched, snapshot, at_s)
        try:
            self._consider(watched, at_s, now_s)
        except Exception as error:  # noqa: BLE001  # one run that cannot be judged must not stop the sweep
            self._tally.count(watched.swept.state)
            self._looking.went_wrong(watched, error)

    def _see(self, watched: Watched | None, snapshot: Snapshot, at_s: float) -> Watched:
        """Remember a swept run as it was at this time of the monotonic clock."""
        if watched is None:
            # Not counted from `started_at`: it may have waited since, or have been paused.
            before_s = (self._seen_before or {}).get(snapshot.run_id, 0.0)
            running = RunningTime(at_s, snapshot.state is RunState.RUNNING, before_s)
            watched = self._memory.runs[snapshot.run_id] = Watched(snapshot, at_s, running, since=at_s)
            watched.aborting_since = at_s if snapshot.state is RunState.ABORTING else None
        else:
            watched.list_shows(snapshot, at_s, self._memory.gap_s)
        self._looking.telling.of_status(snapshot)
        self._forget_old_rules(watched)
        return watched

    def _forget_old_rules(self, watched: Watched) -> None:
        """What was decided by rules, or by what people had said, that are no more."""
        rulebook = self._account.rulebook
        if watched.edition != rulebook.edition:
            watched.edition, watched.decision, watched.not_before = rulebook.edition, None, 0.0
        if (judged_by := watched.generation) != rulebook.generation:
            watched.generation, watched.decision, watched.verdicts = rulebook.generation, None, ()
            watched.not_before = watched.unknown_until = 0.0
            # What rules that are as before have told of the run is not told again.
            watched.told = {told for told in watched.told or () if not told[0] or rulebook.is_as_in(judged_by, told[0])}

    def _consider(self, watched: Watched, at_s: float, now_s: float) -> None:
        """Judge a run by the most it can have used, and plan its next look."""
        case = self._account.case(watched, now_s, self._terms)
        is_new, watched.calm = watched.sweep != self._number, None
        if is_new:
            self._mark_listed(watched)
        if not case.limits.thresholds:
            watched.calm = Calm.for_ever(case.limits, self._terms.changes)
            if is_new:
                self._tally.add_calm((watched,))
            return
        watched.learn(watched.swept, case.limits, at_s)
        self._looking.telling.of_unsure(case)
        self._looking.telling.of_doubt(case, watched.swept)
        assessment = suspect(case)
        is_audited = not watched.looking and self._audits.wants(watched, assessment.goals, now_s)
        if assessment.plan is None or is_audited:
            self._looking.look_now(watched, now_s)
        else:
            self._looking.looks.drop(watched)
            self._looking.follow(watched, assessment.plan)
            watched.calm = assessment.calm
        if not is_new:
            return
        if watched.calm is not None and watched.inspected is None:
            self._tally.add_calm((watched,))
        else:
            self._tally.add(watched, case.limits, watched.most_used(now_s))

    def _mark_listed(self, watched: Watched) -> None:
        watched.missing = 0
        watched.sweep = self._number
        self._listed += 1

    def _take_unread(self, sweep: Sweep) -> None:
        """Those that the list only named."""
        now_s = self._clock.monotonic()
        for run_id in sweep.unread:
            watched = self._memory.of(run_id)
            if watched is not None and watched.sweep != self._number:
                self._mark_listed(watched)
                with self._looking.sparing_others(watched):
                    self._take_glimpse(watched, sweep.glimpses.get(run_id), now_s)
                    self._tally.add(watched, self._account.limits(watched.swept), watched.most_used(now_s))

    def _take_glimpse(self, watched: Watched, glimpse: Glimpse | None, now_s: float) -> None:
        """What the list shows of a run that it only names: its state, and its names as they are now."""
        if glimpse is None:
            return
        if glimpse.source != watched.swept.source:
            watched.swept, watched.calm = replace(watched.swept, source=glimpse.source), None
            self._looking.plan_again(watched, now_s)
        watched.list_names(glimpse.state, now_s, self._memory.gap_s)
        if glimpse.state is RunState.RUNNING and watched.state is RunState.PAUSED:
            # It goes on, by the list: its time counts again from a look that shows so.
            self._looking.agenda.set(watched.swept.run_id, now_s)

    # What it does not show

    def _note_missing(self, now_s: float) -> None:
        """A run not in the list has not thereby ended: it is looked at after a while, a few at a time. So is one that
        is not in the list because a part of the list could not be read (a failing squid)."""
        if self._listed == len(self._memory):
            return
        looks = ENDED_LOOKS_MAX
        for watched in self._memory:
            if watched.sweep == self._number:
                continue
            watched.missing += 1
            watched.running.interrupt()
            if watched.over:
                self._looking.forget(watched.swept.run_id)
            elif watched.missing >= MISSING_MAX and looks > 0:
                looks -= 1
                self._looking.look_now(watched, now_s)

    def _look_for_metamorphs(self, now_s: float) -> None:
        """A run may have become one of another source, which lists need not show: where rules go by sources, each run
        is looked at now and then, soon after its start for the first time, at a small part of the rate budget."""
        account = self._account
        if not account.platform.traits.may_metamorph or not account.rulebook.evaluator.goes_by_source:
            return
        looks_per_s = METAMORPH_SHARE * account.requests_per_minute / 60.0
        every_s = max(METAMORPH_LOOK_S, len(self._memory) / looks_per_s)
        looks = math.ceil(looks_per_s * account.interval_s)
        for watched in self._memory:
            seen_s = watched.inspected_at if watched.inspected_at else watched.since - every_s + METAMORPH_FIRST_S
            if looks > 0 and now_s - seen_s >= every_s and not watched.over and not watched.missing:
                looks -= 1
                self._looking.look_now(watched, now_s)

    # Without a list

    async def _failed(self, error: PlatformError) -> None:
        self._failures += 1
        self.last_error = error
        interval_s = self._account.interval_s
        pause = min(BACKOFF_MAX_S, interval_s * 2 ** min(self._failures - 1, 6))
        self._not_before = self._clock.monotonic() + pause - interval_s / 2
        self._observer.notice(PollFailed(self._account.info, "sweep", error, self._clock.now(), self._failures))
        if not isinstance(error, CredentialsRefused) or error.token_works:
            await self._carry_on()

    async def _carry_on(self) -> None:
        """No list to be had: judge each known run by what it can have used since it was last seen, and look at those
        that may be over a limit, and at a few that were not seen for long. The detail call may work all the same."""
        now_s = self._clock.monotonic()
        terms = self._account.terms(now_s)
        looks = ENDED_LOOKS_MAX - len(self._looking.looks) - self._looking.looks.waiting
        for number, watched in enumerate(self._memory):
            calm = watched.calm
            if calm is None or now_s >= calm.until_s or calm.changes != terms.changes:
                with self._looking.sparing_others(watched):
                    looks -= self._carry_on_with(watched, terms, now_s, may_look=looks > 0)
            if number % _BATCH == _BATCH - 1:
                await asyncio.sleep(0)

    def _carry_on_with(self, watched: Watched, terms: Terms, now_s: float, *, may_look: bool) -> bool:
        """One of them; whether it was looked at for being unseen for long."""
        case = self._account.case(watched, now_s, terms)
        goals = goals_of(case, watched.most_used(now_s), watched.answered())
        if not goals:
            return False
        used, age_s = watched.aged(now_s)
        may_look = may_look and age_s >= LOOK_AGAIN_S
        if watched.over:
            # It may have been resurrected, which a list would show; until there is one, now and then a look does.
            if may_look and now_s >= watched.not_before:
                self._looking.looks.add(watched)
                return True
        elif calls_for_look(case, goals, used):
            self._looking.look_now(watched, now_s)
        elif may_look:
            self._looking.look_now(watched, now_s)
            return True
        else:
            self._looking.follow(watched, plan_of(case, goals, used, watched.vain_looks))
        return False
