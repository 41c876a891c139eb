"""Looks at single runs: when each has its turn, what it shows, and what follows from that.

Only a look can lead to an abort: the run is seen afresh, and judged once by what is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from watchdog.domain.decision import Abort, VerdictKind
from watchdog.domain.meter import NOTHING_KNOWN, Meter
from watchdog.domain.notice import InspectionDone, PollFailed, Trouble
from watchdog.domain.ports import look
from watchdog.domain.run import NO_PROGRESS, RunState, Snapshot, replace
from watchdog.engine.assess import Assessment, Case, closeness, goals_of, judged, may_break, plan_of
from watchdog.engine.cadence import sweep_is_cheaper
from watchdog.engine.doubts import went_back
from watchdog.engine.forecast import Burn
from watchdog.engine.remembered import Plan
from watchdog.errors import Gone, PlatformError
from watchdog.runtime.memory import Watched
from watchdog.runtime.watch.account import Account
from watchdog.runtime.watch.agenda import Agenda
from watchdog.runtime.watch.looks import Looks, looks_at_once, suspects_at_once
from watchdog.runtime.watch.settling import Settling
from watchdog.runtime.watch.telling import Telling

#: A run whose figures are not known, or whose abort is deferred, is inspected again after this many seconds; one whose
#: figures stay unknown at growing distance, up to the second figure.
LOOK_AGAIN_S = 30.0
LOOK_AGAIN_MAX_S = 600.0
#: A run that was seen to be over and is listed as active is looked at after so many seconds, doubled each time:
#: the list may lag behind, or the run be resurrected.
LISTED_FIRST_S = 1.0
#: From so close to a limit on, a look goes before all others: one at a deadline may come a moment early.
SUSPECT_RATIO = 0.999
#: From so close to a limit on, a look may use the rate budget that is kept for aborts.
URGENT_RATIO = 0.95
#: Longest pause after failed looks, in seconds.
BACKOFF_MAX_S = 60.0
#: The last look before a breach is one that comes so close to it; progress read so long ago still counts. In seconds.
PROGRESS_AHEAD_S = 2.0
PROGRESS_KEPT_S = 15.0
_NATURAL_ENDS = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT})


class Looking:
    """Looks at the runs of one account, each when its time has come."""

    def __init__(self, account: Account) -> None:
        rate = account.requests_per_minute
        self.agenda = Agenda(account.clock)
        self.looks = Looks(self._look, looks_at_once(rate), suspects_at_once(rate))
        self.telling = Telling(account)
        self._account = account
        self._memory = account.memory
        self._enforcer = account.enforcer
        self._observer = account.observer
        self._clock = account.clock
        self._settling = Settling(account.platform, account.clock)
        self._stopped: dict[str, dict[Meter, Burn]] = {}

    @property
    def sweep_is_cheaper(self) -> bool:
        """Whether so many runs are due at once that a sweep, which shows them all, costs less."""
        return sweep_is_cheaper(self.looks.waiting_for_swept_figures, self._account.pages)

    async def drain(self) -> None:
        """Wait for the looks under way, and for those that wait their turn."""
        await self.looks.drain()

    def cancel(self) -> None:
        """No more looks."""
        self.looks.cancel()
        self._settling.cancel()

    # When

    def look_now(self, watched: Watched, now_s: float) -> None:
        """Look at this run as soon as its turn comes."""
        with self.sparing_others(watched):
            self._look_in_turn(watched, now_s)

    def _look_in_turn(self, watched: Watched, now_s: float) -> None:
        if now_s < watched.not_before:
            return
        if self._is_seen_to(watched, now_s):
            return
        if closeness(self._account.case(watched, now_s)) >= SUSPECT_RATIO:
            self.looks.add_suspect(watched)
            return
        if watched.looking:
            return
        self.looks.add(watched)
        if now_s < watched.plan.deadline_at < math.inf:
            # The look may have to wait for its turn; a deadline does not.
            self.agenda.set(watched.swept.run_id, watched.plan.deadline_at)

    def _is_seen_to(self, watched: Watched, now_s: float) -> bool:
        """Whether an abort of it is going on; but should that fail, the run is not left to the next sweep, which may be
        far off."""
        if not self._enforcer.is_busy_with(watched.swept.key):
            return False
        self.agenda.set(watched.swept.run_id, now_s + LOOK_AGAIN_S)
        return True

    def look_later(self, watched: Watched, seconds: float) -> None:
        """Not before so many seconds have passed, and then."""
        watched.not_before = self._clock.monotonic() + seconds
        self.agenda.set(watched.swept.run_id, watched.not_before)

    def follow(self, watched: Watched, plan: Plan) -> None:
        """Look at this run when the plan says so."""
        watched.plan = plan
        if plan.due_at is None:
            self.agenda.drop(watched.swept.run_id)
        else:
            watched.due_at = plan.due_at
            self.agenda.set(watched.swept.run_id, plan.due_at)

    def plan_again(self, watched: Watched, now_s: float) -> None:
        """What is known of its source has changed."""
        with self.sparing_others(watched):
            case, used = self._account.case(watched, now_s), watched.most_used(now_s)
            goals = goals_of(case, used, watched.answered())
            if goals and not watched.looking:
                self.follow(watched, plan_of(case, goals, used, watched.vain_looks))

    @contextmanager
    def sparing_others(self, watched: Watched) -> Iterator[None]:
        """What goes wrong in here is about this run only: the sweep and the agenda go on to the next one."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # a fault of ours must hurt this run only, and must be seen
            self.went_wrong(watched, error)

    def went_wrong(self, watched: Watched, error: Exception) -> None:
        """An error of our own about one run: told, and its next look pushed on. What was learned from its figures is
        forgotten: were it made of the wrong ones, it would spoil the right ones, too."""
        watched.burns, watched.calm = (), None
        self.look_later(watched, LOOK_AGAIN_S)
        text = f"internal error: {error!r}; this run is looked at again in {LOOK_AGAIN_S:.0f} s"
        run = watched.swept
        self._observer.notice(Trouble(text, account=run.account, run_id=run.run_id, level="error"))

    # A look

    async def _look(self, watched: Watched) -> None:
        run_id, now_s = watched.swept.run_id, self._clock.monotonic()
        # It may have been seen to while this waited for its turn.
        if self._memory.of(run_id) is not watched or self._is_seen_to(watched, now_s):
            return
        try:
            case = self._account.case(watched, now_s)
            closest = closeness(case) if watched.missing == 0 else 0.0
            suspected = closest >= 1.0
            self._note_suspicion(watched, now_s, suspected=suspected)
            # A look at a deadline comes a moment early, and is one before an abort all the same.
            urgent = closest >= URGENT_RATIO
            progress = _wants_progress(watched, closest, now_s)
            seen = await look(self._account.platform, run_id, case.limits.meters, urgent=urgent, progress=progress)
            if urgent:
                self._account.look_s.took(self._clock.monotonic() - now_s)
            watched.vain_looks = watched.vain_looks + 1 if suspected else 0
            watched.failures = 0
            await self._take(watched, _with_progress(watched, seen, self._clock.monotonic()))
        except PlatformError as error:
            self._failed(watched, error)
        except Exception as error:  # noqa: BLE001  # a fault of ours must hurt this run only, and must be seen
            self.went_wrong(watched, error)

    def _note_suspicion(self, watched: Watched, now_s: float, *, suspected: bool) -> None:
        if not suspected:
            watched.suspected_at = None
        elif watched.suspected_at is None:
            watched.suspected_at, watched.suspected = self._clock.now(), watched.most_used(now_s)

    def _failed(self, watched: Watched, error: PlatformError) -> None:
        run_id = watched.swept.run_id
        watched.failures += 1
        if isinstance(error, Gone) and watched.failures > 1 and watched.missing:
            # Neither listed nor there; should it be listed again, it is watched again.
            self.forget(run_id)
            return
        self.look_later(watched, min(BACKOFF_MAX_S, 2.0 ** min(watched.failures, 10)))
        failed = PollFailed(self._account.info, "inspection", error, self._clock.now(), watched.failures, run_id)
        self._observer.notice(failed)

    async def _take(self, watched: Watched, seen: Snapshot) -> None:
        """Take in what a look shows; judge it once; do what follows."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        if not seen.state.is_active:
            await self._ended(watched, seen)
            return
        snapshot = watched.inspection_shows(seen, now_s, self._memory.gap_s)
        case = self._account.case(watched, now_s, run=snapshot)
        self.telling.of_doubt(case, snapshot)
        over = went_back(watched.swept, snapshot, dict(case.limits.lowest)) is not None
        watched.listed_over = watched.listed_over + 1 if over else 0
        late_s = max(0.0, now_s - watched.due_at) if watched.due_at else None
        watched.keep(snapshot, now_s)
        watched.over_looks, watched.calm, watched.due_at = 0, None, 0.0
        watched.learn(snapshot, case.limits, now_s)
        self._observer.notice(InspectionDone(self._account.info, snapshot, late_s, self.looks.waiting))
        if may_break(snapshot, case.limits):
            # What people have decided counts up to the last moment.
            await self._account.rulebook.refresh(self._account.ledger, now)
            case = self._account.case(watched, now_s, run=snapshot)
        assessment = judged(case, snapshot, self._account.rulebook.ruling(now))
        self._act(watched, snapshot, case, assessment, now)

    def _act(self, watched: Watched, seen: Snapshot, case: Case, assessment: Assessment, now: datetime) -> None:
        """What follows from one look, with one `now`."""
        decision, now_s = assessment.decision, case.now_s
        watched.verdicts, watched.decision = assessment.verdicts, decision
        self.telling.of_verdicts(case, seen, assessment.verdicts)
        detected_at, suspected = watched.suspected_at or now, watched.suspected
        watched.suspected_at, watched.suspected = None, None
        self._note_unknown(watched, seen, now_s)
        if decision is not None:
            watched.vain_looks = 0
            self.telling.of_breaches(watched, decision)
            if decision.abort is not None:
                used = suspected.of(decision.abort.verdict.kind) if suspected is not None else None
                self._enforcer.submit(decision, detected_at, used)
                self.agenda.set(seen.run_id, now_s + LOOK_AGAIN_S)
                return
        if assessment.plan is None:
            self.look_later(watched, LOOK_AGAIN_S)
            return
        self.follow(watched, assessment.plan)
        if watched.listed_over:
            # The list says that it is over a limit, and will at every sweep: the detail knows when to look again.
            pause_s = min(LOOK_AGAIN_S, LISTED_FIRST_S * 2 ** min(watched.listed_over - 1, 10))
            watched.not_before = now_s + min(assessment.plan.wait_s, pause_s)
        watched.calm = assessment.calm

    @staticmethod
    def _note_unknown(watched: Watched, seen: Snapshot, now_s: float) -> None:
        """Figures that this look lacked are asked for again at growing distance."""
        lacking = any(verdict.verdict is VerdictKind.UNKNOWN for verdict in watched.verdicts)
        if not lacking and seen.most == NOTHING_KNOWN:
            watched.unknown_looks = 0
        elif now_s >= watched.unknown_until:
            pause_s = min(LOOK_AGAIN_MAX_S, LOOK_AGAIN_S * 2 ** min(watched.unknown_looks, 10))
            watched.unknown_until, watched.unknown_looks = now_s + pause_s, watched.unknown_looks + 1

    # Ends

    async def _ended(self, watched: Watched, seen: Snapshot, *, inspected: bool = True) -> None:
        known = watched.over
        self._note_end(watched)
        if inspected:
            self._observer.notice(InspectionDone(self._account.info, seen))
        if known:
            return
        await self._book_end(watched, seen)
        if seen.settling:
            self._settling.follow(seen, partial(self._book_end, watched))

    async def _book_end(self, watched: Watched, seen: Snapshot) -> None:
        """Remember what a run that is over, but not by an abort of ours, has used; the latest figures count."""
        await self._enforcer.books.correct(seen)
        await self._account.histories.add(seen, by_itself=seen.state in _NATURAL_ENDS, burns=watched.rates)

    def _note_end(self, watched: Watched) -> None:
        """It was seen to be over."""
        if watched.missing:
            self.forget(watched.swept.run_id)
            return
        # The list still has it, and may for a while; or it has it again, resurrected, which only a look can tell: it is
        # over until one says otherwise.
        pause_s = min(LOOK_AGAIN_S, LISTED_FIRST_S * 2 ** min(watched.over_looks, 10))
        watched.over, watched.inspected, watched.not_before = True, None, self._clock.monotonic() + pause_s
        watched.over_looks, watched.calm = watched.over_looks + 1, None
        self.agenda.drop(watched.swept.run_id)

    async def abort_closed(self, abort: Abort) -> None:
        """An abort is closed. If the run is over, that needs no look of its own; if not (the abort was taken back, or
        the run resurrected), it is watched on."""
        watched, seen = self._memory.of(abort.run_id), abort.final
        if watched is None or watched.over:
            return
        if seen is None or seen.state.is_active:
            self.agenda.set(abort.run_id, self._clock.monotonic())
        elif abort.is_complete:
            await self._ended(watched, seen, inspected=False)
        else:
            self._stopped[abort.id] = watched.rates
            self._note_end(watched)

    async def abort_settled(self, abort: Abort) -> None:
        """What the run has used in the end makes history."""
        burns = self._stopped.pop(abort.id, None)
        if burns is not None and abort.final is not None:
            await self._account.histories.add(abort.final, by_itself=False, burns=burns)

    def forget(self, run_id: str) -> None:
        """Watch this run no more."""
        watched = self._memory.runs.pop(run_id, None)
        if watched is not None:
            self.looks.drop(watched)
        self.agenda.drop(run_id)


def _wants_progress(watched: Watched, closest: float, now_s: float) -> bool:
    """Whether this look may be the one before an abort, which needs to know how far the run had come: after it nobody
    can tell. Where that is a call of its own, not at each of many looks in a row."""
    last = watched.plan.breach_at <= now_s + PROGRESS_AHEAD_S or closest >= 1.0
    return last and now_s - watched.progress_at >= PROGRESS_KEPT_S


def _with_progress(watched: Watched, seen: Snapshot, now_s: float) -> Snapshot:
    """The snapshot with the progress of a moment ago, if it was not read this time."""
    if seen.progress != NO_PROGRESS:
        watched.progress, watched.progress_at = seen.progress, now_s
        return seen
    if now_s - watched.progress_at > 2 * PROGRESS_KEPT_S:
        return seen
    return replace(seen, progress=watched.progress)
