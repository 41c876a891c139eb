"""Carries aborts out: one task for each open abort, from the intent in the ledger to the proven stop.

What to do next is `engine.escalation`'s; this does it, stores every step before the next, and tells of it.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from datetime import datetime

from watchdog.domain.decision import Abort, AbortState, Decision, Mode
from watchdog.domain.notice import AbortChanged, AbortTrouble, SavingBooked, Trouble
from watchdog.domain.ports import Clock, EnforceLedger, ListsEnds, Observer, Platform, look
from watchdog.domain.run import RunKey, Snapshot, replace
from watchdog.engine import escalation
from watchdog.engine.ends import is_behind, last_seen, may_wait_for_list, not_listed
from watchdog.engine.grounds import ASKED_FOR, STAND, Grounds
from watchdog.engine.opening import open_abort, open_by_hand
from watchdog.engine.pursuit import Do, Pace, Pursuit
from watchdog.engine.settling import give_up_settling, is_out_of_tries, known_meters, lacks_figures
from watchdog.errors import CredentialsRefused, Gone, LedgerError, PlatformError, RateLimited, Refused
from watchdog.runtime.books import Books
from watchdog.runtime.clock import SteadyTime
from watchdog.runtime.cooling import Cooling
from watchdog.runtime.ends import Ends
from watchdog.runtime.letters import Letters
from watchdog.runtime.memory import Memory
from watchdog.runtime.outcomes import Outcome, Outcomes
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.stopping import StoppingTimes

#: A platform that asks to wait and does not say for how long is left alone for so many seconds.
_RATE_LIMIT_PAUSE_S = 5.0


def pace_for(platform: Platform) -> Pace:
    """How patient to be with this platform."""
    return Pace(window_s=platform.traits.graceful_window_s, settle_s=platform.traits.settle_s)


class Enforcer:
    """Every open abort of every account. At most one is open for a run. One that is closed, and whose figures are still
    to settle, is in nobody's way: if the run is resurrected meanwhile, the next abort of it has a record of its own."""

    def __init__(
        self,
        platforms: Mapping[str, Platform],
        memories: Mapping[str, Memory],
        rulebook: Rulebook,
        ledger: EnforceLedger,
        observer: Observer,
        clock: Clock,
    ) -> None:
        """`memories` are those of the runs of each account."""
        self._platforms = platforms
        self._memories = memories
        self._rulebook = rulebook
        self._ledger = ledger
        self._observer = observer
        self._clock = clock
        self._tasks: dict[RunKey, asyncio.Task[None]] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._current: dict[RunKey, Abort] = {}
        self._stored: dict[str, Abort] = {}
        self._times: dict[str, SteadyTime] = {}
        self._cooling = Cooling(clock)
        self._asked_for: set[RunKey] = set()
        self._letters = Letters(platforms, observer, clock)
        self._outcomes = {name: Outcomes() for name in platforms}
        self._first_of: dict[str, str] = {}
        self.books = Books(ledger, observer, self._first_of)
        self._ends = {
            name: Ends(name, each, observer, clock) for name, each in platforms.items() if isinstance(each, ListsEnds)
        }
        self._stopping_times = StoppingTimes(platforms)

    def outcomes_of(self, account: str) -> Outcomes:
        """What becomes of the aborts on this account."""
        return self._outcomes[account]

    def stopping_s(self, account: str) -> dict[Mode, float]:
        """Seconds that a run of this account goes on spending once it is decided to stop it, by mode."""
        return self._stopping_times.of(account)

    def unite(self, account: str, first: str) -> None:
        """Take the runs of this account for those of another one: their tokens are of one owner. Both are watched, but
        a run is aborted once, and booked on the first."""
        self._first_of[account] = first

    def is_busy_with(self, key: RunKey) -> bool:
        """Whether an abort of this run is going on, or has just failed and rests before the next."""
        return any(self._is_busy_with(each) for each in self._names_of(key))

    def _is_busy_with(self, key: RunKey) -> bool:
        return key in self._tasks or self._cooling.rests(key)

    def _names_of(self, key: RunKey) -> tuple[RunKey, ...]:
        """The run under the name of every account that shows it."""
        if not self._first_of:
            return (key,)
        account, run_id = key
        first = self._first_of.get(account, account)
        others = (name for name, of in self._first_of.items() if of == first)
        return tuple((name, run_id) for name in (first, *others))

    def _as_of_first(self, run: Snapshot) -> Snapshot:
        first = self._first_of.get(run.account)
        return run if first is None else replace(run, account=first)

    @property
    def open_aborts(self) -> list[Abort]:
        """The aborts whose stop is not proven yet."""
        return list(self._current.values())

    def submit(self, decision: Decision, detected_at: datetime, used_at_detection: float | None = None) -> bool:
        """Take a decision to abort on; False if the run is being aborted already."""
        if self.is_busy_with(decision.snapshot.key):
            return False
        decision = replace(decision, snapshot=self._as_of_first(decision.snapshot))
        now = self._clock.now()
        if (left_open := self._current.get(decision.snapshot.key)) is not None:
            # Broken off by an internal error: one record, one abort.
            self._start(escalation.begin(left_open, now, resumed=True))
            return True
        platform = self._platforms[decision.snapshot.account].traits
        abort = open_abort(decision, uuid.uuid4().hex, now, detected_at, used_at_detection, platform)
        self._start(escalation.begin(abort, now))
        return True

    def submit_by_hand(self, run: Snapshot, mode: Mode, reason: str) -> str | None:
        """Take an abort on that somebody asked for; the id of its record, or None if one is going on already."""
        run = self._as_of_first(run)
        if going_on := [key for key in self._names_of(run.key) if key in self._tasks or key in self._current]:
            self._asked_for.update(going_on)
            return None
        now = self._clock.now()
        abort = open_by_hand(run, mode, reason, uuid.uuid4().hex, now)
        self._start(escalation.begin(abort, now))
        return abort.id

    async def resume(self) -> None:
        """Take up what the ledger says is not finished: look at each run first, then confirm, repeat or close."""
        for abort in await self._ledger.open_aborts():
            if abort.account not in self._platforms:
                text = f"this abort is not finished, but there is no account '{abort.account}' to finish it on"
                self._observer.notice(Trouble(text, account=abort.account, run_id=abort.run_id, level="error"))
            else:
                self._take_up(abort)

    async def resume_one(self, key: RunKey) -> str | None:
        """Take up the unfinished abort of this run because somebody asked for one, if the ledger has such that nobody
        is busy with; the id of it."""
        found = (abort for abort in await self._ledger.open_aborts() if abort.key == key and abort.state.is_open)
        abort = next(found, None)
        if abort is None or not self._take_up(abort):
            return None
        self._asked_for.add(key)
        return abort.id

    def _take_up(self, abort: Abort) -> bool:
        if abort.id in self._stored or (abort.state.is_open and abort.key in self._tasks):
            return False
        self._start(escalation.begin(abort, self._clock.now(), resumed=True))
        return True

    def _start(self, pursuit: Pursuit) -> None:
        abort = pursuit.abort
        self._stored[abort.id] = abort
        self._times[abort.id] = SteadyTime(self._clock)
        task = asyncio.create_task(self._pursue(pursuit), name=f"abort {abort.key}")
        if abort.state.is_open:
            self._current[abort.key] = abort
            self._tasks[abort.key] = task
        else:
            self._settle(task)

    def _settle(self, task: asyncio.Task[None]) -> None:
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    @property
    def _under_way(self) -> list[asyncio.Task[None]]:
        return [*self._tasks.values(), *self._settling, *self._letters.under_way]

    async def drain(self) -> None:
        """Wait until every abort is finished and booked. Whoever waits no longer (a time-out) ends no abort by that."""
        while under_way := self._under_way:
            await asyncio.shield(asyncio.gather(*under_way, return_exceptions=True))

    async def close(self, seconds: float) -> None:
        """Give open aborts this many real seconds to finish; what is not proven then stays open in the ledger."""
        if under_way := self._under_way:
            await asyncio.wait(under_way, timeout=seconds)
        for ends in self._ends.values():
            ends.cancel()
        for task in (under_way := self._under_way):
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for abort in self.open_aborts:
            self._observer.notice(
                Trouble(
                    "stopping while this abort is not proven yet; its record stays open",
                    account=abort.account,
                    run_id=abort.run_id,
                    level="error",
                )
            )

    async def _pursue(self, pursuit: Pursuit) -> None:
        abort = pursuit.abort
        platform = self._platforms[abort.account]
        pace = pace_for(platform)
        try:
            if abort.state is AbortState.CONFIRMED:
                # Taken up again after its proof: the process may have ended before this was done.
                self._letters.send(abort)
            while (step := escalation.next_step(pursuit, self._now(pursuit), pace)).do is not Do.NOTHING:
                await self._clock.sleep((step.at - self._now(pursuit)).total_seconds())
                act = self._request if step.do is Do.REQUEST else self._look
                pursuit = await self._advance(await act(pursuit, platform, pace))
        except Exception as error:  # noqa: BLE001  # a fault here must be seen, and must not leave the run unwatched
            self._observer.notice(AbortTrouble(pursuit.abort, f"internal error: {error!r}; the run stays watched"))
            if pursuit.abort.state.is_open:
                self._cooling.failed(abort.key)
        finally:
            last = self._stored.pop(abort.id)
            self._times.pop(abort.id, None)
            if (ends := self._ends.get(abort.account)) is not None:
                ends.forget(abort.id)
            if pursuit.abort.state.is_open:
                # Broken off: its record stays the current one, unless that is closed and only could not be told of.
                self._tasks.pop(abort.key, None)
                self._asked_for.discard(abort.key)
                if not last.state.is_open:
                    self._current.pop(abort.key, None)

    def _now(self, pursuit: Pursuit) -> datetime:
        """UTC by the steady clock since this pursuit began: patience is time that passes, whatever the wall clock
        does."""
        return self._times[pursuit.abort.id].now()

    def _closed(self, abort: Abort) -> None:
        """The record is closed, and the run free for another; what is left is to let its figures settle."""
        task = self._tasks.pop(abort.key)
        del self._current[abort.key]
        self._asked_for.discard(abort.key)
        self._settle(task)
        if abort.state is AbortState.FAILED:
            self._cooling.failed(abort.key)
        else:
            self._cooling.forget(abort.key)
        self._outcomes[abort.account].add(Outcome(abort, is_settled=False))

    async def _request(self, pursuit: Pursuit, platform: Platform, pace: Pace) -> Pursuit:
        """Store that a request leaves, send it, and take its outcome in."""
        if pursuit.abort.effective_requests and not escalation.was_raised(pursuit.abort):
            count = pursuit.abort.requests
            self._observer.notice(AbortTrouble(pursuit.abort, f"not stopped after {count} requests; asking again"))
        pursuit = await self._advance(escalation.requesting(pursuit, self._now(pursuit)))
        abort = pursuit.abort
        began_s = self._clock.monotonic()
        try:
            seen = await platform.abort(abort.run_id, abort.mode)
            self._stopping_times.requested(abort.account, self._clock.monotonic() - began_s)
            if (ends := self._ends.get(abort.account)) is not None:
                ends.expect(abort.id)
        except RateLimited as error:
            wait = error.retry_after if error.retry_after is not None else _RATE_LIMIT_PAUSE_S
            return escalation.postponed(pursuit, self._now(pursuit), wait, pace)
        except Gone as error:
            if escalation.is_denied(error):
                self._trouble(abort, error)
            return escalation.no_longer_abortable(pursuit, self._now(pursuit), pace)
        except (Refused, CredentialsRefused) as error:
            self._trouble(abort, error)
            return escalation.refused(pursuit, error, self._now(pursuit), pace)
        except PlatformError as error:
            self._trouble(abort, error)
            return escalation.unanswered(pursuit, error, self._now(pursuit), pace)
        return escalation.answered(pursuit, seen, self._now(pursuit), pace)

    async def _look(self, pursuit: Pursuit, platform: Platform, pace: Pace) -> Pursuit:
        """See the run again: has it stopped, and once it has, are its figures settled?"""
        settling = not pursuit.abort.state.is_open
        if (listed := await self._listed(pursuit, pace)) is not None:
            return listed
        try:
            abort = pursuit.abort
            seen = self._proven(await look(platform, abort.run_id, known_meters(abort), urgent=True))
        except PlatformError as error:
            if isinstance(error, Gone) and not escalation.is_denied(error):
                return escalation.not_found(pursuit, self._now(pursuit), pace)
            self._trouble(pursuit.abort, error)
            return self._look_in_vain(pursuit, pace, error)
        if settling and not seen.state.is_active and lacks_figures(pursuit.abort, seen):
            return self._look_in_vain(pursuit, pace)
        grounds, in_question = STAND, escalation.is_in_question(pursuit, seen)
        try:
            if in_question or escalation.may_be_raised(pursuit, seen):
                grounds = await self._grounds_of(pursuit.abort, seen)
        except LedgerError as error:
            if not in_question:
                return escalation.looked(pursuit, seen, self._now(pursuit), pace)
            # What people have decided cannot be read, and never could: there may be a hold.
            self._observer.notice(AbortTrouble(pursuit.abort, str(error)))
            return escalation.look_failed(pursuit, self._now(pursuit), pace)
        after = escalation.looked(pursuit, seen, self._now(pursuit), pace, grounds)
        if after.unknown_since is not None and pursuit.unknown_since is None:
            what = grounds.why or "whether the run was resurrected"
            text = f"nothing is asked for now, as a new look leaves open: {what}; looking again at growing distance"
            self._observer.notice(AbortTrouble(after.abort, text))
        return after

    async def _listed(self, pursuit: Pursuit, pace: Pace) -> Pursuit | None:
        """Where many runs are being stopped, let a list of ended runs show this one; None: it takes a look of its
        own."""
        abort, ends = pursuit.abort, self._ends.get(pursuit.abort.account)
        last = last_seen(pursuit)
        if ends is None or last is None:
            return None
        if abort.mode is Mode.GRACEFUL and self._rulebook.evaluator.stops_at_once:
            return None  # a look of its own shows whether a step is reached that makes it an immediate one
        if not ends.help or not may_wait_for_list(pursuit, self._now(pursuit), pace):
            return None
        found = await ends.of(last)
        now = self._now(pursuit)
        if found is None:
            may_wait = abort.state.is_open and may_wait_for_list(pursuit, now, pace)
            return not_listed(pursuit, now, pace) if may_wait else None
        seen = self._proven(found.snapshot)
        proven = found.exact and not is_behind(abort, seen)
        if not abort.state.is_open and (not proven or lacks_figures(abort, seen)):
            return None
        return escalation.looked(pursuit, seen, now, pace)

    def _proven(self, seen: Snapshot) -> Snapshot:
        memory = self._memories.get(seen.account)
        return seen if memory is None else memory.prove(seen)

    def _look_in_vain(self, pursuit: Pursuit, pace: Pace, error: PlatformError | None = None) -> Pursuit:
        """Try again later; after a few tries for final figures the last ones seen are kept."""
        failed = escalation.look_failed(pursuit, self._now(pursuit), pace, error)
        return give_up_settling(failed) if is_out_of_tries(failed) else failed

    async def _grounds_of(self, abort: Abort, seen: Snapshot) -> Grounds:
        """Whether by this look alone the rules, and people, still want it stopped: figures may have been wrong, rules
        and holds may have changed."""
        if abort.key in self._asked_for:
            return ASKED_FOR
        now = self._clock.now()
        await self._rulebook.refresh(self._ledger, now)
        return self._rulebook.grounds(abort, seen, now)

    async def _advance(self, pursuit: Pursuit) -> Pursuit:
        """Store what changed in the record since it was last stored, then tell of it."""
        before, after = self._stored[pursuit.abort.id], pursuit.abort
        if after.settled and not before.settled:
            after = await self.books.book(after)
        if after != before:
            await self._store(after)
            self._tell(before, after)
        if after.state is AbortState.CONFIRMED and before.state.is_open:
            self._stopping_times.stopped(after)
            self._letters.send(after)
        if before.state.is_open and not after.state.is_open:
            self._closed(after)
        elif after.settled and not before.settled:
            self._outcomes[after.account].add(Outcome(after, is_settled=True))
        return replace(pursuit, abort=after)

    async def _store(self, abort: Abort) -> None:
        self._stored[abort.id] = abort
        if abort.state.is_open:
            self._current[abort.key] = abort
        try:
            await self._ledger.save(abort)
        except Exception as error:  # noqa: BLE001  # also a fault of ours in keeping the books must not save the run
            # The run goes on spending: abort it all the same, with the record in memory.
            text = str(error) if isinstance(error, LedgerError) else f"internal error in the ledger: {error!r}"
            self._observer.notice(Trouble(text, account=abort.account, run_id=abort.run_id, level="error"))

    def _tell(self, before: Abort, after: Abort) -> None:
        opened = after.requests == 1 and before.requests == 0
        if opened or after.state is not before.state or after.mode is not before.mode:
            self._observer.notice(AbortChanged(after, None if opened else before.state))
        if after.settled and not before.settled:
            self._observer.notice(SavingBooked(after))

    def _trouble(self, abort: Abort, error: PlatformError) -> None:
        self._observer.notice(AbortTrouble(abort, str(error)))
