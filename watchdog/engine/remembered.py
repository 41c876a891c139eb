"""What is remembered of one run from the looks at it, as far as it is judged by that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from watchdog.domain.decision import Decision, Response, Verdict
from watchdog.domain.meter import LEARNED, Meter, Usage
from watchdog.domain.run import NO_PROGRESS, RunState, Snapshot, Source, joined, replace
from watchdog.engine.evaluate import LimitsOfSource
from watchdog.engine.forecast import Burn, Outlook, SourceHistory, exact_outlook, outlook, plausible_rate, upper_bound
from watchdog.engine.rare import Rare
from watchdog.engine.running import RunningTime, proven

NEVER = float("inf")
_PLACES = {meter: number for number, meter in enumerate(LEARNED)}
_NO_BURNS = (None,) * len(LEARNED)

#: What has been told of a run: the rule, the meter, what of it, and at which step.
Told = tuple[str, Meter, str, float]


class Plan(NamedTuple):
    """When a run is looked at next. Times of the monotonic clock: the earliest plausible breach; when its turn should
    come; when an exact limit is broken; when the look is due (None: the next sweeps show the run before, `by_sweep`
    with all that is asked of it)."""

    wait_s: float
    breach_at: float
    turn_at: float
    deadline_at: float
    by_sweep: bool
    due_at: float | None


#: Of a run that nothing is planned for.
NO_PLAN = Plan(NEVER, NEVER, NEVER, NEVER, by_sweep=False, due_at=None)


@dataclass(slots=True)
class Remembered:
    """What is remembered of a run. Times are seconds of the monotonic clock.

    `swept` and `inspected` are the newest looks of either kind, `glimpsed_at` when a list last named it as running
    without showing more; `since`: the first look of all. `sources` are all that it has been of, if more than one.
    `burns`: how fast its learned meters grow, in the order of `LEARNED`. `over`: it was seen to have ended; `missing`:
    so many lists in a row lacked it. `aborting_since`: somebody has been stopping it since. `decision` and `verdicts`
    are those of the last inspection. `unknown_until`, `unknown_looks`: when figures that are lacking are asked for
    again, and how often they were in vain; `vain_looks`: looks in a row that a breach was expected of. `plan`: when to
    look next. `due_at`: its next look, if it has one; `not_before`: no look earlier.
    """

    swept: Snapshot
    swept_at: float
    running: RunningTime
    since: float = 0.0
    inspected: Snapshot | None = None
    inspected_at: float = 0.0
    burns: tuple[Burn | None, ...] = ()
    decision: Decision | None = None
    over: bool = False
    missing: int = 0
    plan: Plan = NO_PLAN
    due_at: float = 0.0
    not_before: float = 0.0
    ticket: int = 0
    vain_looks: int = 0
    rare: dict[str, Any] | None = None

    sources = Rare[tuple[Source, ...]](())
    glimpsed_at = Rare(-NEVER)
    paused = Rare(False)
    aborting_since = Rare[float | None](None)
    verdicts = Rare[tuple[Verdict, ...]](())
    unknown_until = Rare(0.0)
    unknown_looks = Rare(0)
    progress = Rare(NO_PROGRESS)
    progress_at = Rare(-NEVER)
    suspected_at = Rare[datetime | None](None)
    suspected = Rare[Usage | None](None)
    doubted_since = Rare[float | None](None)
    doubted_at = Rare(0.0)
    told = Rare[set[Told] | None](None)
    told_unsure = Rare[LimitsOfSource | None](None)

    @property
    def sighted_at(self) -> float:
        """When it was last seen, or named as running by a list that shows no more."""
        return max(self.swept_at, self.inspected_at, self.glimpsed_at)

    @property
    def state(self) -> RunState:
        """As it was last seen."""
        if self.inspected is not None and self.inspected_at >= self.swept_at:
            return self.inspected.state
        return self.swept.state

    @property
    def newest(self) -> Snapshot:
        """What is known of it: the last sweep's figures, and the last inspection's where the list lacks them."""
        inspected = self.inspected
        if inspected is None or inspected.seen_at >= self.swept.seen_at:
            return inspected or self.swept
        swept, before = self.swept.usage, inspected.usage
        usage = Usage.by(lambda meter: before.of(meter) if swept.of(meter) is None else swept.of(meter))
        return replace(self.swept, usage=usage)

    def as_of_all_sources(self, seen: Snapshot) -> Snapshot:
        """The run as one of every source that it has been of: what the list and the detail name may differ, and change,
        when a run becomes one of another source."""
        known = self.swept.source
        if seen.source is known or (not self.sources and seen.source.id == known.id):
            return seen
        latest = {source.id: source for source in (*(self.sources or (known,)), seen.source)}
        self.sources = tuple(latest.values())
        return seen if len(latest) == 1 else replace(seen, source=joined(*self.sources))

    def is_vague(self, meter: Meter) -> bool:
        """Whether the last inspection only proved a part of what the run may have used."""
        return self.inspected is not None and self.inspected.most.of(meter) is not None

    def may_have_used(self, meter: Meter, figure: float) -> bool:
        """Whether the last inspection left it open whether the run has used as much as this."""
        if self.inspected is None or (at_most := self.inspected.most.of(meter)) is None:
            return False
        return at_most >= figure > (self.inspected.usage.of(meter) or 0.0)

    def first_time(self, told: Told) -> bool:
        """Whether this has not been told of the run before; from now on it has."""
        if self.told is None:
            self.told = set()
        if told in self.told:
            return False
        self.told.add(told)
        return True

    # What looks show

    def list_shows(self, seen: Snapshot, at_s: float, gap_s: float) -> None:
        """A list showed the run at this moment; in no more than `gap_s` seconds since the last sighting it cannot have
        stopped and gone on."""
        self.running.sight(seen.state, at_s, unbroken=at_s - self.sighted_at <= gap_s)
        self.swept, self.swept_at = self.as_of_all_sources(seen), at_s
        if seen.state is not RunState.ABORTING:
            self.aborting_since = None
        elif self.aborting_since is None:
            self.aborting_since = at_s

    def list_names(self, state: RunState, now_s: float, gap_s: float) -> None:
        """A list named the run with this state, and showed no more of it."""
        if state is not RunState.RUNNING or now_s - self.sighted_at > gap_s:
            self.running.interrupt()
        if state is RunState.RUNNING:
            self.glimpsed_at = now_s

    def inspection_shows(self, seen: Snapshot, now_s: float, gap_s: float) -> Snapshot:
        """An inspection showed the run active; the snapshot with what is proven beside it. It becomes the newest one
        with `keep`."""
        seen = self.as_of_all_sources(seen)
        if self.sources:
            self.swept = replace(self.swept, source=seen.source)
        before, after = self.running.resurrections, seen.resurrect_count
        # A figure that was unreadable once is no resurrection.
        if before is not None and after is not None and before != after:
            self.told = None
            self._interrupt_burns()
        self.running.inspect(seen, now_s, unbroken=now_s - self.sighted_at <= gap_s)
        return proven(seen, self.running)

    def keep(self, inspected: Snapshot, now_s: float) -> None:
        """This inspection is the newest look."""
        self.inspected, self.inspected_at, self.missing, self.over = inspected, now_s, 0, False

    def prove(self, seen: Snapshot, now_s: float, gap_s: float) -> Snapshot:
        """A fresh inspection of the run with what is proven beside it; nothing of it is remembered."""
        running = self.running.copy()
        running.inspect(seen, now_s, unbroken=now_s - self.sighted_at <= gap_s)
        return proven(self.as_of_all_sources(seen), running)

    def learn(self, seen: Snapshot, limits: LimitsOfSource, at_s: float) -> None:
        """Take the figures of a look into the run's rates, where a limit asks for them."""
        self._note_pause(seen.state)
        exact = self.inspected.burn_cap_per_s if self.inspected is not None else {}
        for meter, _ in limits.lowest:
            figure = seen.usage.of(meter)
            if figure is None or not meter.is_learned or meter in exact:
                continue
            burn = self.burn(meter)
            if burn is not None:
                burn.look(figure, at_s)
            else:
                burns = list(self.burns or _NO_BURNS)
                burns[_PLACES[meter]] = Burn.at(figure, at_s)
                self.burns = tuple(burns)

    def _note_pause(self, state: RunState) -> None:
        """While a run is paused it uses nothing, which says nothing about how fast it goes on. When it went on is not
        known either, so that its rates are measured anew from then."""
        if state is RunState.PAUSED:
            self.paused = True
        elif self.paused:
            self.paused = False
            self._interrupt_burns()

    def _interrupt_burns(self) -> None:
        for burn in self.burns:
            if burn is not None:
                burn.interrupt()

    def burn(self, meter: Meter) -> Burn | None:
        """How fast this meter of it grows, as far as that has been learned."""
        return self.burns[_PLACES[meter]] if self.burns and meter in _PLACES else None

    @property
    def rates(self) -> dict[Meter, Burn]:
        """What has been learned, by meter."""
        return {meter: burn for meter, burn in zip(LEARNED, self.burns, strict=False) if burn is not None}

    # What follows from them

    def spending(self) -> float:
        """How much it burns, to tell which of many is stopped first: US dollars a second, on average or at the rate
        seen of late; where dollars are not known, credits a second, after all that are."""
        latest = self.newest
        for meter, weight in ((Meter.COST_USD, 1.0), (Meter.CREDITS, 1e-9)):
            used = latest.usage.of(meter)
            if used is None:
                continue
            seconds = latest.usage.duration_s or latest.most.duration_s or 0.0
            burn = self.burn(meter)
            return weight * max(used / max(seconds, 1.0), 0.0 if burn is None else burn.mean)
        return 0.0

    def answered(self) -> dict[tuple[str, Meter], float]:
        """What `answered` says of its last decision."""
        return answered(self.decision)

    def most_used(self, now_s: float) -> Usage:
        """The most that an inspection may show it to have used by now, as far as figures with a fastest growth tell: a
        suspicion. Where the last inspection could only prove a part of the running time, that part counts on."""
        most = upper_bound(self.swept, self.inspected, now_s - self.inspected_at, now_s - self.swept_at)
        proven_s = self.running.proven_at(now_s)
        if self.is_vague(Meter.DURATION) or (most.duration_s is not None and most.duration_s < proven_s):
            # Whatever clocks say, it was seen running for so long.
            return replace(most, duration_s=proven_s)
        return most

    def may_be_over(self, meter: Meter, figure: float, now_s: float) -> bool:
        """Whether it may have used as much as this, though the last inspection could not prove it."""
        if self.inspected is None or (at_most := self.inspected.most.of(meter)) is None:
            return False
        growth = self._fastest(meter) or 0.0
        return at_most + growth * (now_s - self.inspected_at) >= figure

    def aged(self, now_s: float) -> tuple[Usage, float]:
        """The most that it can have used by now, as far as its rates so far tell, and the seconds since it was seen."""
        if self.inspected is not None and self.inspected_at >= self.swept_at:
            used, seen_at = self.inspected.usage, self.inspected_at
        else:
            used, seen_at = self.most_used(self.swept_at), self.swept_at
        age_s = now_s - seen_at

        def grown(meter: Meter) -> float | None:
            figure = used.of(meter)
            rate = self._fastest(meter)
            if rate is None:
                burn = self.burn(meter)
                rate = 0.0 if burn is None else burn.fast
            return None if figure is None else figure + rate * age_s

        return Usage.by(grown), age_s

    def _fastest(self, meter: Meter) -> float | None:
        """The rate per second that this meter cannot exceed; None: there is none that is known."""
        if meter.entry.rate_per_s is not None:
            return meter.entry.rate_per_s
        return None if self.inspected is None else self.inspected.burn_cap_per_s.get(meter)

    def fastest_plausible(
        self, meter: Meter, used: float, seconds: float, history: SourceHistory, now_s: float
    ) -> float | None:
        """The rate per second that `outlook` takes to be the fastest that is plausible; None where the meter is renewed
        periodically, or little can be said."""
        burn = self.burn(meter)
        if burn is not None and burn.refresh is not None and burn.refresh.is_periodic:
            return None
        fast = plausible_rate(burn, used, seconds, history.fast(meter))
        return 0.0 if fast is None and not used else fast

    def outlook(self, meter: Meter, figure: float, used: Usage, history: SourceHistory, now_s: float) -> Outlook | None:
        """How far it is from this figure, and how fast it gets there; None if nothing can be said, or the run must go
        on first."""
        now = used.of(meter)
        if now is None:
            return None
        if (rate := self._fastest(meter)) is not None:
            return None if self.state is RunState.PAUSED else exact_outlook(figure, now, rate)
        return outlook(meter, figure, used, self.burn(meter), history, now_s)


def answered(decision: Decision | None) -> dict[tuple[str, Meter], float]:
    """The limits, by rule and meter, whose breach has been answered for good (notified, protected, dry run), and up to
    which step."""
    if decision is None:
        return {}
    return {
        (breach.verdict.rule.name, breach.verdict.kind): breach.verdict.step.at
        for breach in decision.breaches
        if breach.response in (Response.NOTIFY, Response.PROTECTED, Response.DRY_RUN)
    }
