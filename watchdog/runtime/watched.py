"""What is remembered of each active run between looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from watchdog.domain.decision import Decision, Response, Verdict
from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.run import NO_PROGRESS, Progress, RunState, Snapshot, Source, joined, replace
from watchdog.engine.evaluate import WARNING_RATIO, LimitsOfSource
from watchdog.engine.forecast import (
    Burn,
    Outlook,
    SourceHistory,
    exact_outlook,
    outlook,
    upper_bound,
)
from watchdog.engine.running import RunningTime, proven

Told = tuple[str, Meter, str, float]

#: A run far from every limit is not judged anew for so many seconds, nor while a figure has come no further than this
#: share of what is left.
CALM_S = 30.0
CALM_SHARE = 0.25
_NEVER = float("inf")


class Calm(msgspec.Struct, gc=False):
    """Until when, and up to which figures, a run needs no judging: so far is it from every limit. `changes` are those
    of the rulebook that this was found under."""

    until_s: float
    credits: float
    cost_usd: float
    duration_s: float
    changes: int
    limits: LimitsOfSource

    @staticmethod
    def for_ever(limits: LimitsOfSource, changes: int) -> Calm:
        """Of a run that no rule is about."""
        return Calm(_NEVER, _NEVER, _NEVER, _NEVER, changes, limits)

    def holds(self, before: Snapshot, now: Snapshot, now_s: float, changes: int) -> bool:
        """Whether nothing has happened since that calls for more than taking the new figures down."""
        if now_s >= self.until_s or changes != self.changes:
            return False
        if now.state is not before.state or now.source is not before.source:
            return False
        # A figure that is missing all at once is news too.
        used, then = now.usage, before.usage
        return (
            _is_below(used.cost_usd, self.cost_usd, then.cost_usd)
            and _is_below(_longest(now), self.duration_s, _longest(before))
            and _is_below(used.credits, self.credits, then.credits)
        )


def _longest(swept: Snapshot) -> float | None:
    return swept.usage.duration_s if swept.most.duration_s is None else swept.most.duration_s


def _is_below(figure: float | None, ceiling: float, before: float | None) -> bool:
    """Whether the figure is below its ceiling, or is as missing as it was before."""
    if figure is None:
        return before is None or ceiling == _NEVER
    return figure < ceiling


@dataclass(slots=True)
class Watched:
    """What is remembered of one active run. Times are seconds of the monotonic clock."""

    swept: Snapshot
    swept_at: float
    running: RunningTime
    since: float = 0.0
    sources: tuple[Source, ...] = ()
    glimpsed_at: float = -_NEVER
    sweep: int = 0
    inspected: Snapshot | None = None
    inspected_at: float = 0.0
    burns: dict[Meter, Burn] | None = None
    paused: bool = False
    calm: Calm | None = None
    shown: Usage = NOTHING_KNOWN
    missing: int = 0
    failures: int = 0
    looking: bool = False
    look: asyncio.Task[None] | None = None
    ticket: int = 0
    due_at: float = 0.0
    breach_at: float = _NEVER
    deadline_at: float = _NEVER
    turn_at: float = _NEVER
    progress: Progress = NO_PROGRESS
    progress_at: float = -_NEVER
    by_sweep: bool = False
    not_before: float = 0.0
    unknown_until: float = 0.0
    unknown_looks: int = 0
    vain_looks: int = 0
    over: bool = False
    over_looks: int = 0
    listed_over: int = 0
    doubted_since: float | None = None
    doubted_at: float = 0.0
    suspected_at: datetime | None = None
    suspected: Usage | None = None
    aborting_since: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    decision: Decision | None = None
    told: set[Told] | None = None
    told_unsure: LimitsOfSource | None = None
    generation: int = 0
    edition: int = 0
    written: tuple[RunState, Usage, float] | None = None

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

    def as_of_all_sources(self, seen: Snapshot) -> Snapshot:
        """The run as one of every source that it has been of: what the list and the detail name may differ, and change,
        when a run becomes one of another source."""
        known = self.swept.source
        if seen.source is known or (not self.sources and seen.source.id == known.id):
            return seen
        latest = {source.id: source for source in (*(self.sources or (known,)), seen.source)}
        self.sources = tuple(latest.values())
        return seen if len(latest) == 1 else replace(seen, source=joined(*self.sources))

    def is_vague(self, kind: Meter) -> bool:
        """Whether the last inspection only proved a part of what the run may have used."""
        return self.inspected is not None and self.inspected.most.of(kind) is not None

    def may_have_used(self, kind: Meter, limit: float) -> bool:
        """Whether the last inspection left it open whether the run is over this limit."""
        if self.inspected is None or (at_most := self.inspected.most.of(kind)) is None:
            return False
        return at_most >= limit > (self.inspected.usage.of(kind) or 0.0)

    def first_time(self, told: Told) -> bool:
        """Whether this has not been told of the run before; from now on it has."""
        if self.told is None:
            self.told = set()
        if told in self.told:
            return False
        self.told.add(told)
        return True


def spending(watched: Watched) -> float:
    """How much a run burns, to tell which of many is stopped first: US dollars a second, on average or at the rate seen
    of late; where dollars are not known, credits a second, after all that are."""
    latest = newest(watched)
    for kind, weight in ((Meter.COST_USD, 1.0), (Meter.CREDITS, 1e-9)):
        used = latest.usage.of(kind)
        if used is None:
            continue
        seconds = latest.usage.duration_s or latest.most.duration_s or 0.0
        seen = watched.burns[kind].mean if watched.burns and kind in watched.burns else 0.0
        return weight * max(used / max(seconds, 1.0), seen)
    return 0.0


def answered(watched: Watched) -> dict[tuple[str, Meter], float]:
    """The limits, by rule and meter, whose breach has been answered for good (notified, protected, dry run), and up to
    which step."""
    if watched.decision is None:
        return {}
    return {
        (breach.verdict.rule.name, breach.verdict.kind): breach.verdict.step.at
        for breach in watched.decision.breaches
        if breach.response in (Response.NOTIFY, Response.PROTECTED, Response.DRY_RUN)
    }


def most_used(watched: Watched, now_s: float) -> Usage:
    """The most that an inspection may show a run to have used by now, as far as figures with a fastest growth tell: a
    suspicion. Where the last inspection could only prove a part of the running time, that part counts on."""
    most = upper_bound(watched.swept, watched.inspected, now_s - watched.inspected_at, now_s - watched.swept_at)
    proven_s = watched.running.proven_at(now_s)
    if watched.is_vague(Meter.DURATION) or (most.duration_s is not None and most.duration_s < proven_s):
        # Whatever clocks say, it was seen running for so long.
        return replace(most, duration_s=proven_s)
    return most


def may_be_over(watched: Watched, kind: Meter, limit: float, now_s: float) -> bool:
    """Whether the run may be over this limit, though the last inspection could not prove it."""
    if watched.inspected is None or (at_most := watched.inspected.most.of(kind)) is None:
        return False
    growth = {Meter.DURATION: 1.0}.get(kind, watched.inspected.burn_cap_per_s.get(kind, 0.0))
    return at_most + growth * (now_s - watched.inspected_at) >= limit


def prove(watched: Watched, seen: Snapshot, now_s: float, gap_max_s: float) -> Snapshot:
    """A fresh inspection of a run with what was seen of it before; its running time is not remembered."""
    running = watched.running.copy()
    running.inspect(seen, now_s, unbroken=now_s - watched.sighted_at <= gap_max_s)
    return proven(watched.as_of_all_sources(seen), running)


def aged(watched: Watched, now_s: float) -> tuple[Usage, float]:
    """The most that a run can have used by now, as far as its rates so far tell, and the seconds since it was seen."""
    inspected = watched.inspected
    if inspected is not None and watched.inspected_at >= watched.swept_at:
        used, seen_at = inspected.usage, watched.inspected_at
    else:
        used = most_used(watched, watched.swept_at)
        seen_at = watched.swept_at
    age_s = now_s - seen_at
    caps = inspected.burn_cap_per_s if inspected is not None else {}
    burns = watched.burns or {}

    def grown(kind: Meter) -> float | None:
        figure = used.of(kind)
        if figure is None:
            return None
        if (cap := caps.get(kind)) is not None:
            return figure + cap * age_s
        return figure + burns[kind].fast * age_s if kind in burns else figure

    return Usage(
        credits=grown(Meter.CREDITS),
        cost_usd=grown(Meter.COST_USD),
        duration_s=None if used.duration_s is None else used.duration_s + age_s,
    ), age_s


def newest(watched: Watched) -> Snapshot:
    """What is known of a run: the last sweep's figures, and the last inspection's where the list lacks them."""
    inspected = watched.inspected
    if inspected is None or inspected.seen_at >= watched.swept.seen_at:
        return inspected or watched.swept
    swept, before = watched.swept.usage, inspected.usage
    usage = Usage(
        credits=before.credits if swept.credits is None else swept.credits,
        cost_usd=before.cost_usd if swept.cost_usd is None else swept.cost_usd,
        duration_s=before.duration_s if swept.duration_s is None else swept.duration_s,
    )
    return replace(watched.swept, usage=usage)


def learn(watched: Watched, seen: Snapshot, limits: LimitsOfSource, at_s: float) -> None:
    """Take the metered figures of a look into the run's rates, where a limit asks for them."""
    exact = watched.inspected.burn_cap_per_s if watched.inspected is not None else {}
    for kind, _ in limits.lowest:
        figure = seen.usage.of(kind)
        if kind is Meter.DURATION or figure is None or kind in exact:
            continue
        if watched.burns is None:
            watched.burns = {}
        burn = watched.burns.get(kind)
        if burn is None:
            watched.burns[kind] = Burn.at(figure, at_s)
        else:
            burn.look(figure, at_s)


def note_pause(watched: Watched, state: RunState) -> None:
    """While a run is paused it uses nothing, which says nothing about how fast it goes on. When it went on is not known
    either, so that its rates are measured anew from then."""
    if state is RunState.PAUSED:
        watched.paused = True
    elif watched.paused:
        watched.paused = False
        for burn in (watched.burns or {}).values():
            burn.interrupt()


def outlook_on(
    watched: Watched, kind: Meter, limit: float, used: Usage, history: SourceHistory, now_s: float
) -> Outlook | None:
    """One limit of a run as it stands; None if nothing can be said, or the run must go on first."""
    figure = used.of(kind)
    if figure is None:
        return None
    paused = watched.state is RunState.PAUSED
    if kind is Meter.DURATION:
        return None if paused else exact_outlook(limit, figure, 1.0)
    inspected = watched.inspected
    if inspected is not None and (cap := inspected.burn_cap_per_s.get(kind)) is not None:
        return None if paused else exact_outlook(limit, figure, cap)
    burn = watched.burns.get(kind) if watched.burns else None
    return outlook(kind, limit, used, burn, history, now_s)


def calm_until(
    limits: LimitsOfSource, lowest: Mapping[Meter, float], used: Usage, wait_s: float, now_s: float, changes: int
) -> Calm | None:
    """How long a run that was just judged can be left alone by the sweeps; None if it is not far from every limit."""
    if limits.unsure or not limits.simple:
        return None
    ceilings = dict.fromkeys(Meter, _NEVER)
    for kind, limit in lowest.items():
        figure = used.of(kind)
        if figure is None or figure >= WARNING_RATIO * limit:
            return None
        ceilings[kind] = min(WARNING_RATIO * limit, figure + CALM_SHARE * (limit - figure))
    until_s = now_s + min(CALM_S, wait_s / 2)
    return Calm(
        until_s,
        ceilings[Meter.CREDITS],
        ceilings[Meter.COST_USD],
        ceilings[Meter.DURATION],
        changes,
        limits,
    )
