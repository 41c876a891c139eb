"""Judge one run, once a look: from what is remembered of it, the limits on it, the history of its source and one `now`
to how it stands, what follows from that, and when to look again.

A sweep only raises suspicion (`suspect`): it says whether a look is called for. Only an inspection is judged
(`judged`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from watchdog.domain.decision import Decision, Mode, Verdict
from watchdog.domain.limit import Do
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import RunState, Snapshot
from watchdog.engine.cadence import Haste, ceiling_s, haste, next_look
from watchdog.engine.decide import Ruling, choose_mode
from watchdog.engine.evaluate import WARNING_RATIO, LimitsOfSource, Threshold, judge, waits_for
from watchdog.engine.forecast import NO_HISTORY, SourceHistory
from watchdog.engine.remembered import NEVER, Plan, Remembered, answered

#: So many earlier runs make a history.
HISTORY_MIN = 3
#: Deadlines that are so near are put on the agenda, in seconds; and those within two intervals.
HORIZON_MIN_S = 120.0
#: A run whose cost only the detail shows (a figure that sweeps show of others) is looked at this often, in seconds, as
#: long as the forecast does not ask for more.
DETAIL_CEILING_S = 60.0
#: Where sweeps are further apart than a run can stop and go on unseen, looks keep this share of that time.
GAP_SHARE = 0.9
#: After a look in vain wait at least this long, in seconds, doubled each time up to the second figure.
VAIN_FIRST_S = 0.05
VAIN_MAX_S = 5.0
#: A limit that is never to be exceeded takes effect earlier by at most this share of it.
MARGIN_SHARE_MAX = 0.5
#: A run far from every limit is not judged anew for so many seconds, nor while a figure has come no further than this
#: share of what is left.
CALM_S = 30.0
CALM_SHARE = 0.25
#: States in which a run can be calm.
_GOING_ON = frozenset({RunState.RUNNING, RunState.PENDING})


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms the runs of an account are watched, the same for all of them at one moment. Seconds, unless said.

    `runs`: how many there are. `sweep_shows_usage`: whether lists show what runs have used. `interval_s`: between two
    sweeps; `poll_interval_s`: as somebody wants it (None: as the rate budget allows). `gap_s`: in less a run cannot
    have stopped and gone on unseen. `look_s`: what a look takes. `stopping_s`: how long a run goes on spending once it
    is decided to stop it, by the `modes` that the platform has. `overdue_s`: after so long an abort that is not ours
    should have worked. `changes`: of the rules and overrides so far. `far_off` and `calm_until_s` are the plan of a run
    that is far from every limit at `now_s`, the same object for all of them, and how long it is left alone.
    """

    runs: int
    requests_per_minute: float
    sweep_shows_usage: bool
    interval_s: float
    poll_interval_s: float | None
    gap_s: float
    look_s: float
    modes: frozenset[Mode]
    stopping_s: Mapping[Mode, float]
    overdue_s: float
    changes: int
    now_s: float
    far_off: Plan
    calm_until_s: float


@dataclass(frozen=True, slots=True)
class Case:
    """A run, and all that it is judged by. `flagged`: it is to be resurrected, whatever rule it breaks."""

    run: Remembered
    limits: LimitsOfSource
    terms: Terms
    now_s: float
    history: SourceHistory = NO_HISTORY
    flagged: bool = False

    @property
    def has_history(self) -> bool:
        """Whether enough is known of earlier runs of its source."""
        return self.history.runs >= HISTORY_MIN

    @property
    def haste(self) -> Haste:
        """How closely it is followed."""
        return haste(self.terms.requests_per_minute, known=self.has_history)


class Calm(msgspec.Struct, gc=False):
    """Until when, and up to which figures, a run needs no judging: so far is it from every limit. `changes` are those
    of the rules that this was found under; `ceilings` those of the meters of `limits.lowest`, in that order."""

    until_s: float
    changes: int
    limits: LimitsOfSource
    ceilings: tuple[float, ...] = ()

    @staticmethod
    def for_ever(limits: LimitsOfSource, changes: int) -> Calm:
        """Of a run that no rule is about."""
        return Calm(NEVER, changes, limits)

    def holds(self, before: Snapshot, now: Snapshot, now_s: float, changes: int) -> bool:
        """Whether nothing has happened since that calls for more than taking the new figures down."""
        if now_s >= self.until_s or changes != self.changes:
            return False
        if now.state is not before.state or now.source is not before.source:
            return False
        for of, ceiling in zip(self.limits.shown, self.ceilings, strict=True):
            figure = of(now)
            # A figure that is missing all at once is news too.
            if figure is None:
                if of(before) is not None:
                    return False
            elif figure >= ceiling:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Assessment:
    """How a run stands. `used`: the most that it can have used by now. `goals`: the figure of each meter at which
    something is to be done next. `wants_look`: a look is called for at once, else `plan` says when; `calm`: so far is
    it from every limit. `verdicts` and `decision` only come from an inspection."""

    used: Usage
    goals: Mapping[Meter, float]
    wants_look: bool = False
    plan: Plan | None = None
    calm: Calm | None = None
    verdicts: tuple[Verdict, ...] = ()
    decision: Decision | None = None


def suspect(case: Case) -> Assessment:
    """What a sweep makes of a run: the most that it can have used, against what is to be done next."""
    run = case.run
    if (far_off := _far_off(case)) is not None:
        return far_off
    used = run.most_used(case.now_s)
    goals = goals_of(case, used, run.answered())
    if calls_for_look(case, goals, used):
        return Assessment(used, goals, wants_look=True)
    plan = plan_of(case, goals, used, run.vain_looks)
    calm = None
    if run.decision is None and run.swept.state in _GOING_ON:
        calm = calm_of(case.limits, goals, used, plan.wait_s, case.now_s, case.terms.changes)
    return Assessment(used, goals, plan=plan, calm=calm)


def _far_off(case: Case) -> Assessment | None:
    """The same, of a run that lists show to be so far from all of its limits that nothing needs to be worked out: at
    the fastest rate that is plausible, none is reached before the longest time to the next look. None: it is not."""
    run, terms, limits, now_s = case.run, case.terms, case.limits, case.now_s
    swept = run.swept
    if run.inspected is not None or run.decision is not None or run.vain_looks or run.ticket or not limits.simple:
        return None
    if not terms.sweep_shows_usage or limits.unsure or swept.state not in _GOING_ON or terms.gap_s < terms.interval_s:
        return None
    horizon_s = terms.far_off.wait_s
    lapsed_s = now_s - run.swept_at
    elapsed_s = max(swept.most.duration_s or swept.usage.duration_s or 0.0, run.running.proven_at(now_s))
    ceilings = []
    for (meter, goal), shown in zip(limits.lowest, limits.shown, strict=True):
        figure = shown(swept)
        if figure is None:
            return None
        rate = meter.entry.rate_per_s
        if rate is not None:
            figure, share = max(figure + rate * lapsed_s, rate * elapsed_s), 1.0
        else:
            rate, share = run.fastest_plausible(meter, figure, elapsed_s, case.history, now_s), case.haste.share
        near = WARNING_RATIO * goal
        if rate is None or figure >= near or share * (goal - figure) < rate * horizon_s:
            return None
        ceilings.append(min(near, figure + CALM_SHARE * (goal - figure)))
    calm = Calm(terms.calm_until_s, terms.changes, limits, tuple(ceilings))
    return Assessment(swept.usage, limits.goals, plan=terms.far_off, calm=calm)


def plan_far_off(interval_s: float, now_s: float) -> Plan:
    """Of a run so far from all of its limits that the next sweeps are looks enough."""
    horizon_s = max(HORIZON_MIN_S, 2 * interval_s)
    at_s = now_s + horizon_s
    return Plan(horizon_s, at_s, at_s, NEVER, by_sweep=True, due_at=None)


def judged(case: Case, seen: Snapshot, ruling: Ruling) -> Assessment:
    """What an inspection makes of a run: every verdict, what follows, and when to look again. `seen` is completed by
    what is proven of it, and the newest inspection that is remembered."""
    run, terms = case.run, case.terms
    verdicts = tuple(
        judge(each, seen.usage, margin_of(case, each, seen.usage), seen.most) for each in case.limits.thresholds
    )
    overdue = run.aborting_since is not None and case.now_s - run.aborting_since > terms.overdue_s
    decision = ruling.decide(seen, verdicts, modes=terms.modes, overdue=overdue)
    used = run.most_used(case.now_s)
    goals = goals_of(case, used, answered(decision))
    if decision is not None and (decision.abort is not None or decision.waits):
        return Assessment(used, goals, verdicts=verdicts, decision=decision)
    # Within its limits, or over such as only ask for a notice: the next one may be an abort's.
    plan = plan_of(case, goals, seen.usage, 0 if decision is not None else run.vain_looks)
    calm = None
    if decision is None and seen.state in _GOING_ON:
        calm = calm_of(case.limits, goals, seen.usage, plan.wait_s, case.now_s, terms.changes)
    return Assessment(used, goals, plan=plan, calm=calm, verdicts=verdicts, decision=decision)


def may_break(seen: Snapshot, limits: LimitsOfSource) -> bool:
    """Whether this look may show a limit broken: then what people have decided is to be read before it is judged."""
    share = 1.0 if limits.simple else 1.0 - MARGIN_SHARE_MAX
    return any((used := seen.usage.of(meter)) is not None and used >= share * lowest for meter, lowest in limits.lowest)


def goals_of(case: Case, used: Usage, settled: Mapping[tuple[str, Meter], float]) -> Mapping[Meter, float]:
    """The figure of each meter at which something is to be done next. A limit whose breach has been answered for good
    (notified, protected, dry run) up to some step needs no more looks for that; one that is judged only later has as
    its goal what it waits for."""
    limits = case.limits
    if not settled and limits.simple:
        return limits.goals
    lowest: dict[Meter, float] = {}
    for each in limits.thresholds:
        if not each.sure or each.step.at <= settled.get((each.rule.name, each.meter), -1.0):
            continue
        meter, figure = each.meter, each.figure - margin_of(case, each, used)
        if (waits := waits_for(each.limit, used)) is not None:
            meter, figure = waits.meter, waits.figure
        lowest[meter] = min(figure, lowest.get(meter, figure))
    return lowest


def margin_of(case: Case, threshold: Threshold, used: Usage) -> float:
    """By how much a threshold takes effect earlier whose limit is never to be exceeded: what the run may use, at the
    fastest rate that is plausible, until the next look, for that look and the request that follows, and until it has
    really stopped; and what it has used already where its figure lags behind."""
    if not threshold.is_careful:
        return 0.0
    outlook = case.run.outlook(threshold.meter, threshold.figure, used, case.history, case.now_s)
    if outlook is None or not outlook.fast:
        return 0.0
    seconds = case.terms.look_s + case.terms.stopping_s[_mode_of(case, threshold)]
    if not outlook.exact:
        floor_s = haste(case.terms.requests_per_minute, known=True).floor_s
        seconds += max(floor_s, outlook.period_s) + outlook.age_s
    return min(outlook.fast * seconds, MARGIN_SHARE_MAX * threshold.figure)


def _mode_of(case: Case, threshold: Threshold) -> Mode:
    """How the run would be asked to stop there."""
    return choose_mode(
        case.run.swept,
        resurrect=case.flagged or threshold.rule.resurrect,
        modes=case.terms.modes,
        at_once=threshold.step.do is Do.ABORT_NOW,
    )


def calls_for_look(case: Case, goals: Mapping[Meter, float], used: Usage) -> bool:
    """Whether a figure is at its goal, or lacking. One that an inspection lacked too, or could only prove a part of, is
    asked for again only after a while."""
    run, now_s = case.run, case.now_s
    for meter, goal in goals.items():
        figure = used.of(meter)
        if figure is not None and figure >= goal:
            return True
        lacking = figure is None or run.may_be_over(meter, goal, now_s)
        if lacking and (run.inspected is None or now_s >= run.unknown_until):
            return True
    return False


def closeness(case: Case) -> float:
    """How close the run may be to anything that is to be done about it: from 1 on, the look is one before an abort."""
    used = case.run.most_used(case.now_s)
    goals = goals_of(case, used, case.run.answered())
    known = ((used.of(meter), goal) for meter, goal in goals.items())
    return max((figure / goal if goal > 0 else 1.0 for figure, goal in known if figure is not None), default=0.0)


def plan_of(case: Case, goals: Mapping[Meter, float], used: Usage, vain_looks: int) -> Plan:
    """When to look next, unless the next sweeps show the run again before that. After looks in vain (a figure just
    short of its limit that does not move) the next ones come at growing distance."""
    run, terms, now_s = case.run, case.terms, case.now_s
    outlooks = [
        outlook
        for meter, goal in goals.items()
        if (figure := used.of(meter)) is not None
        and figure < goal
        and (outlook := run.outlook(meter, goal, used, case.history, now_s)) is not None
    ]
    # What waits in the queue is counted by this.
    by_sweep = run.plan.by_sweep if run.ticket else terms.sweep_shows_usage and _sweep_shows(run, goals)
    ceiling = _ceiling_s(case, by_sweep=by_sweep)
    look = next_look(outlooks, case.haste, ceiling)
    wait_s = look.wait_s
    latest = run.inspected or run.swept
    if terms.gap_s < terms.interval_s and Meter.DURATION in goals and latest.most.duration_s is not None:
        # Its running time is what is seen of it, and sweeps are too far apart to show that.
        wait_s = min(wait_s, GAP_SHARE * terms.gap_s)
    if vain_looks:
        wait_s = max(wait_s, min(VAIN_MAX_S, VAIN_FIRST_S * 2 ** min(vain_looks - 1, 10)))
    due_at: float | None = None
    if not by_sweep or wait_s < ceiling:
        due_at = now_s + wait_s
        if run.due_at and not by_sweep:
            # A sweep shows nothing new of such a figure: it does not put off the look that will.
            due_at = min(due_at, run.due_at)
        due_at = max(due_at, run.not_before)
    return Plan(wait_s, now_s + look.breach_s, now_s + look.turn_s, now_s + look.deadline_s, by_sweep, due_at)


def _ceiling_s(case: Case, *, by_sweep: bool) -> float:
    """The longest time to the next look. Where sweeps show the figures of a run they are looks enough, but the next one
    may come later than planned: a deadline that is near is kept all the same."""
    terms = case.terms
    if by_sweep:
        return max(HORIZON_MIN_S, 2 * terms.interval_s)
    if terms.poll_interval_s is not None and not terms.sweep_shows_usage:
        return terms.poll_interval_s
    watched_s = case.now_s - case.run.since
    longest = ceiling_s(terms.runs, terms.requests_per_minute, known=case.has_history, watched_s=watched_s)
    return max(DETAIL_CEILING_S, longest) if terms.sweep_shows_usage else longest


def _sweep_shows(run: Remembered, goals: Mapping[Meter, float]) -> bool:
    """Whether the next sweeps show every figure that these goals ask for, or it grows in a way that is known."""
    swept, inspected = run.swept.usage, run.inspected
    exact = inspected.burn_cap_per_s if inspected is not None else {}
    return all(
        not meter.is_learned or meter in exact or swept.of(meter) is not None or inspected is None for meter in goals
    )


def calm_of(
    limits: LimitsOfSource, goals: Mapping[Meter, float], used: Usage, wait_s: float, now_s: float, changes: int
) -> Calm | None:
    """How long a run that was just judged can be left alone by the sweeps; None if it is not far from every limit."""
    if limits.unsure or not limits.simple:
        return None
    ceilings = []
    for meter, lowest in limits.lowest:
        figure, goal = used.of(meter), goals.get(meter, lowest)
        if figure is None or figure >= WARNING_RATIO * goal:
            return None
        ceilings.append(min(WARNING_RATIO * goal, figure + CALM_SHARE * (goal - figure)))
    return Calm(now_s + min(CALM_S, wait_s / 2), changes, limits, tuple(ceilings))
