"""Compare runs with limits: which apply, and how a run stands to each.

A limit is inclusive: `used >= limit` is a breach. All rules that match apply, and each limit stands alone. A figure
that is not known gives the verdict `unknown`, which is never a reason to abort and never passes silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter

from watchdog.domain.decision import Verdict, VerdictKind
from watchdog.domain.limit import Do, Limit, Step
from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.rule import Matched, Rule, RuleSet, SelectorIndex
from watchdog.domain.run import Snapshot

#: Share of a limit from which a run is said to come close to it, where no step of its own says so.
WARNING_RATIO = 0.8
#: More sources than this remembered, or this many runs beside twice those that there are: all is worked out anew.
SOURCES_MAX = 100_000
SPARE_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class Threshold:
    """One step of a limit that applies to a run, and the `figure` of its meter at which it is reached; not `sure` while
    names needed to tell whether it applies are not known."""

    limit: Limit
    step: Step
    figure: float
    sure: bool = True

    @property
    def rule(self) -> Rule:
        """Whose it is."""
        return self.limit.owner

    @property
    def meter(self) -> Meter:
        """What it counts."""
        return self.limit.meter

    @property
    def is_careful(self) -> bool:
        """Whether it takes effect earlier, so that the limit is never exceeded."""
        return self.limit.owner.never_exceed and self.step.do.stops


def _shown_of(meter: Meter) -> Callable[[Snapshot], float | None]:
    field = meter.entry.field
    proven = attrgetter(f"usage.{field}")
    if meter.is_learned:
        return proven
    at_most = attrgetter(f"most.{field}")

    def longest(seen: Snapshot) -> float | None:
        figure: float | None = at_most(seen)
        return proven(seen) if figure is None else figure

    return longest


#: Reads what a list shows of a meter: the most that it may be, where that grows by itself.
SHOWN = {meter: _shown_of(meter) for meter in Meter}


@dataclass(frozen=True, slots=True)
class LimitsOfSource:
    """Every threshold for the runs of one source, and the lowest sure one of each meter for a quick look. `simple`:
    each takes effect just at its figure, whatever else the run has used. `unsure` are those of which it is not known
    whether they apply, and `unsure_meters` their meters. `shown` reads what lists show of the meters of `lowest`;
    `goals` is the latter as a mapping. `meters` are all that any of them asks for."""

    thresholds: tuple[Threshold, ...]
    lowest: tuple[tuple[Meter, float], ...]
    unsure: tuple[Threshold, ...]
    simple: bool = True
    unsure_meters: frozenset[Meter] = frozenset()
    shown: tuple[Callable[[Snapshot], float | None], ...] = ()
    goals: Mapping[Meter, float] = field(default_factory=dict)
    meters: frozenset[Meter] = frozenset()

    @staticmethod
    def of(thresholds: Iterable[Threshold]) -> LimitsOfSource:
        """Those of one source."""
        kept = tuple(thresholds)
        lowest: dict[Meter, float] = {}
        for each in kept:
            if each.sure:
                lowest[each.meter] = min(each.figure, lowest.get(each.meter, each.figure))
        unsure = tuple(each for each in kept if not each.sure)
        simple = not any(each.is_careful or each.rule.after for each in kept)
        return LimitsOfSource(
            kept,
            tuple(lowest.items()),
            unsure,
            simple,
            frozenset(each.meter for each in unsure),
            tuple(SHOWN[meter] for meter in lowest),
            lowest,
            frozenset(meter for each in kept for meter in (each.meter, *each.rule.after)),
        )


#: How much a run may still use, in the unit of the meter, before it can be stopped; 0 for limits that may be exceeded.
Margin = Callable[[Threshold], float]


def no_margin(threshold: Threshold) -> float:
    """Every limit takes effect at its figure."""
    return 0.0


_Group = tuple[str, str, str | None]


class _Rules:
    """Some of the rules, so that those which apply to a run are found quickly, however many there are."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._index = SelectorIndex(rule.selector for rule in self._rules)
        # Made once, and shared by all whom they apply to: thousands of rules times thousands of sources are too many.
        self._thresholds = {sure: [thresholds_of(rule, sure=sure) for rule in self._rules] for sure in (True, False)}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def candidates(self, snapshot: Snapshot) -> list[int]:
        """The numbers of those that may apply."""
        return self._index.candidates(snapshot)

    def applied(self, snapshot: Snapshot, numbers: Iterable[int]) -> tuple[Threshold, ...]:
        """The thresholds of those of them that apply, or may."""
        found: list[Threshold] = []
        for number in numbers:
            matched = self._rules[number].selector.matches(snapshot)
            if matched is not Matched.NO:
                found += self._thresholds[matched is Matched.YES][number]
        return tuple(found)


def thresholds_of(rule: Rule, *, sure: bool = True) -> tuple[Threshold, ...]:
    """Every step of its limits."""
    return tuple(
        Threshold(limit, step, limit.figure * step.at, sure) for limit in rule.all_limits for step in limit.steps
    )


class Evaluator:
    """A rule set made ready for many runs.

    Which limits apply depends only on the account, the source and the origin, so that is worked out once for each
    such group, and kept once for all groups that have the same; rules that name single runs are found by the run's id.
    """

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._by_source = _Rules(rule for rule in rules.rules if not rule.selector.names_run)
        self._by_run = _Rules(rule for rule in rules.rules if rule.selector.names_run)
        self._memo: dict[_Group, LimitsOfSource] = {}
        self._shared: dict[tuple[int, ...], LimitsOfSource] = {}
        #: Of the runs of each account that have limits of their own, or may; with the group that this was found for.
        self._of_runs: dict[str, dict[str, tuple[_Group, LimitsOfSource]]] = {}
        #: Whether some step makes a graceful abort that is going on an immediate one.
        self.stops_at_once = any(step.do is Do.ABORT_NOW for rule in rules.rules for step in rule.steps)
        #: Whether some rule is about the runs of certain sources only.
        self.goes_by_source = any(rule.selector.names_source for rule in rules.rules)

    def limits(self, snapshot: Snapshot) -> LimitsOfSource:
        """The limits on this run."""
        group = (snapshot.account, snapshot.source.key, snapshot.origin)
        known = self._memo.get(group)
        if known is None:
            applied = self._by_source.applied(snapshot, self._by_source.candidates(snapshot))
            known = self._memo[group] = self._share(applied)
        return self._of_run(known, group, snapshot) if self._by_run else known

    def _of_run(self, of_source: LimitsOfSource, group: _Group, snapshot: Snapshot) -> LimitsOfSource:
        of_runs = self._of_runs.setdefault(snapshot.account, {})
        known = of_runs.get(snapshot.run_id)
        if known is not None and known[0] == group:
            return known[1]
        numbers = self._by_run.candidates(snapshot)
        if not numbers:
            return of_source
        own = self._by_run.applied(snapshot, numbers)
        limits = self._share((*of_source.thresholds, *own)) if own else of_source
        of_runs[snapshot.run_id] = (group, limits)
        return limits

    def _share(self, applied: tuple[Threshold, ...]) -> LimitsOfSource:
        """Equal limits are the same object: what is summed up over the runs of each is then summed up once."""
        key = tuple(map(id, applied))  # the thresholds themselves live as long as this does
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = LimitsOfSource.of(applied)
        return found

    def verdicts(self, snapshot: Snapshot, margin: Margin = no_margin) -> list[Verdict]:
        """How the run stands to every threshold for it; `margin` tells how much earlier those take effect that are
        never to be exceeded."""
        limits = self.limits(snapshot)
        if limits.simple:
            return [judge(each, snapshot.usage, 0.0, snapshot.most) for each in limits.thresholds]
        return [judge(each, snapshot.usage, margin(each), snapshot.most) for each in limits.thresholds]

    def tidy(self, account: str, runs: int) -> None:
        """Drop what was worked out for sources and runs long gone, to bound memory over months: this account has so
        many runs now."""
        of_runs = self._of_runs.get(account, {})
        if len(self._memo) > SOURCES_MAX or len(of_runs) > SPARE_RUNS + 2 * runs:
            self._memo.clear()
            self._shared.clear()
            self._of_runs.clear()


def judge(threshold: Threshold, usage: Usage, margin: float = 0.0, most: Usage = NOTHING_KNOWN) -> Verdict:
    """One threshold against one usage, and the `margin` that it takes effect earlier by. Where `most` says that the run
    may have used more than is proven, only what is proven breaks a limit, and one that may be broken is unknown."""
    limit, figure = threshold.limit, threshold.figure
    used, at_most = usage.of(limit.meter), most.of(limit.meter)
    why, projected = "", None
    if not threshold.sure:
        kind, why = VerdictKind.UNKNOWN, "source"
    elif used is None or math.isnan(used):
        kind, why = VerdictKind.UNKNOWN, "usage"
    elif (waits := waits_for(limit, usage, most)) is not None and max(used + margin, at_most or 0.0) >= figure:
        kind, why = (VerdictKind.UNKNOWN, "after") if waits.is_unknown else (VerdictKind.WITHIN, "")
    elif used >= figure:
        kind = VerdictKind.BREACH
    elif margin > 0 and used + margin >= figure:
        kind, projected = VerdictKind.BREACH, used + margin
    elif used >= WARNING_RATIO * figure and not limit.owner.steps and waits is None:
        kind = VerdictKind.WARNING
    elif at_most is not None and at_most >= figure:
        kind, why = VerdictKind.UNKNOWN, "usage"
    else:
        kind = VerdictKind.WITHIN
    return Verdict(limit.owner, limit.meter, limit.figure, used, kind, why, projected, threshold.step)


@dataclass(frozen=True, slots=True)
class Wait:
    """A limit is not judged before the run has used so much of another meter. `is_unknown`: whether it has is not
    known."""

    meter: Meter
    figure: float
    is_unknown: bool


def waits_for(limit: Limit, usage: Usage, most: Usage = NOTHING_KNOWN) -> Wait | None:
    """What a limit still waits for (`after` of its rule) by what a run is proven to have used; None: it counts."""
    for meter, figure in limit.owner.after.items():
        used, at_most = usage.of(meter), most.of(meter)
        if used is None or used < figure:
            return Wait(meter, figure, is_unknown=used is None or (at_most is not None and at_most >= figure))
    return None
