"""Compare runs with rules, and decide what follows.

A limit is inclusive: `used >= limit` is a breach. All rules that match apply, and each limit stands alone. A figure
that is not known gives the verdict `unknown`, which is never a reason to abort and never passes silently.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from watchdog.domain.decision import Breach, Decision, Mode, Response, Verdict, VerdictKind
from watchdog.domain.override import Overrides
from watchdog.domain.rule import Action, Matched, Rule, RuleSet, Selector, SelectorIndex
from watchdog.domain.run import NOTHING_KNOWN, LimitKind, RunState, Snapshot, Usage

#: Share of a limit from which a run is said to come close to it.
WARNING_RATIO = 0.8
NO_OVERRIDES = Overrides()
#: More sources than this remembered, or this many runs beside twice those that there are: all is worked out anew.
SOURCES_MAX = 100_000
SPARE_RUNS = 10_000


@dataclass(frozen=True, slots=True)
class AppliedLimit:
    """One limit of a rule that applies to a run; not `sure` while names needed to tell are not known."""

    rule: Rule
    kind: LimitKind
    limit: float
    sure: bool = True


@dataclass(frozen=True, slots=True)
class LimitsOfSource:
    """Every limit on the runs of one source, and the lowest sure one of each kind for a quick look. `careful`: some are
    never to be exceeded, so that they take effect earlier. `unsure` are those of which it is not known whether they
    apply, and `unsure_kinds` their kinds."""

    limits: tuple[AppliedLimit, ...]
    lowest: tuple[tuple[LimitKind, float], ...]
    unsure: tuple[AppliedLimit, ...]
    careful: bool = False
    unsure_kinds: frozenset[LimitKind] = frozenset()

    @staticmethod
    def of(limits: Iterable[AppliedLimit]) -> LimitsOfSource:
        kept = tuple(limits)
        lowest: dict[LimitKind, float] = {}
        for limit in kept:
            if limit.sure:
                lowest[limit.kind] = min(limit.limit, lowest.get(limit.kind, limit.limit))
        unsure = tuple(limit for limit in kept if not limit.sure)
        careful = any(limit.rule.never_exceed for limit in kept)
        return LimitsOfSource(kept, tuple(lowest.items()), unsure, careful, frozenset(each.kind for each in unsure))


#: How much a run may still use, in the unit of the limit, before it can be stopped; 0 for limits that may be exceeded.
Margin = Callable[[AppliedLimit], float]


_Group = tuple[str, str, str | None]


class _Rules:
    """Some of the rules, so that those which apply to a run are found quickly, however many there are."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        self._index = SelectorIndex(rule.selector for rule in self._rules)
        # Made once, and shared by all whom they apply to: thousands of rules times thousands of sources are too many.
        self._limits = {sure: [_limits_of(rule, sure=sure) for rule in self._rules] for sure in (True, False)}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def candidates(self, snapshot: Snapshot) -> list[int]:
        """The numbers of those that may apply."""
        return self._index.candidates(snapshot)

    def applied(self, snapshot: Snapshot, numbers: Iterable[int]) -> tuple[AppliedLimit, ...]:
        """The limits of those of them that apply, or may."""
        limits: list[AppliedLimit] = []
        for number in numbers:
            matched = self._rules[number].selector.matches(snapshot)
            if matched is not Matched.NO:
                limits += self._limits[matched is Matched.YES][number]
        return tuple(limits)


def _limits_of(rule: Rule, *, sure: bool) -> tuple[AppliedLimit, ...]:
    return tuple(AppliedLimit(rule, kind, limit, sure) for kind, limit in rule.limits.items())


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
        limits = self._share((*of_source.limits, *own)) if own else of_source
        of_runs[snapshot.run_id] = (group, limits)
        return limits

    def _share(self, applied: tuple[AppliedLimit, ...]) -> LimitsOfSource:
        """Equal limits are the same object: what is summed up over the runs of each is then summed up once."""
        key = tuple(map(id, applied))  # the limits themselves live as long as this does
        found = self._shared.get(key)
        if found is None:
            found = self._shared[key] = LimitsOfSource.of(applied)
        return found

    def verdicts(self, snapshot: Snapshot, margin: Margin | None = None) -> list[Verdict]:
        """How the run stands to every limit on it; `margin` tells how much earlier those take effect that are never to
        be exceeded."""
        limits = self.limits(snapshot)
        if margin is None or not limits.careful:
            return [judge(limit, snapshot.usage, most=snapshot.most) for limit in limits.limits]
        return [judge(limit, snapshot.usage, margin(limit), snapshot.most) for limit in limits.limits]

    def tidy(self, account: str, runs: int) -> None:
        """Drop what was worked out for sources and runs long gone, to bound memory over months: this account has so
        many runs now."""
        of_runs = self._of_runs.get(account, {})
        if len(self._memo) > SOURCES_MAX or len(of_runs) > SPARE_RUNS + 2 * runs:
            self._memo.clear()
            self._shared.clear()
            self._of_runs.clear()


def judge(applied: AppliedLimit, usage: Usage, margin: float = 0.0, most: Usage = NOTHING_KNOWN) -> Verdict:
    """One limit against one usage, and the `margin` that it takes effect earlier by. Where `most` says that the run may
    have used more than is proven, only what is proven breaks a limit, and one that may be broken is unknown."""
    used, at_most = usage.of(applied.kind), most.of(applied.kind)
    why, projected = "", None
    if not applied.sure:
        kind, why = VerdictKind.UNKNOWN, "source"
    elif used is None or math.isnan(used):
        kind, why = VerdictKind.UNKNOWN, "usage"
    elif used >= applied.limit:
        kind = VerdictKind.BREACH
    elif margin > 0 and used + margin >= applied.limit:
        kind, projected = VerdictKind.BREACH, used + margin
    elif used >= WARNING_RATIO * applied.limit:
        kind = VerdictKind.WARNING
    elif at_most is not None and at_most >= applied.limit:
        kind, why = VerdictKind.UNKNOWN, "usage"
    else:
        kind = VerdictKind.WITHIN
    return Verdict(applied.rule, applied.kind, applied.limit, used, kind, why, projected)


def decide(
    snapshot: Snapshot,
    verdicts: Sequence[Verdict],
    rules: RuleSet,
    *,
    modes: frozenset[Mode],
    dry_run: bool = False,
    overdue: bool = False,
    overrides: Overrides = NO_OVERRIDES,
    now: datetime | None = None,
) -> Decision | None:
    """What to do about a run, from an inspection of it; None if no limit is broken or it is over already.

    Terminal states are checked before limits: a run that ended is never aborted. `modes` are those the platform has.
    `overdue`: somebody else's abort of it should long have worked, so it no longer counts as being stopped.
    `overrides` are what people have decided meanwhile, and `now` (UTC; default: when the run was seen) says which of
    them hold.
    """
    at = now or snapshot.seen_at
    if not snapshot.state.is_active:
        return None
    broken = sorted((v for v in verdicts if v.verdict is VerdictKind.BREACH), key=_severity, reverse=True)
    if not broken:
        return None
    obstacle = overrides.obstacle(snapshot, at) or _obstacle(snapshot, rules, dry_run=dry_run, overdue=overdue)
    breaches = tuple(_respond(verdict, obstacle) for verdict in broken)
    aborting = [breach for breach in breaches if breach.response is Response.ABORT]
    return Decision(
        snapshot=snapshot,
        breaches=breaches,
        abort=aborting[0] if aborting else None,
        mode=choose_mode(
            snapshot,
            # A dry run says what would be done.
            [breach.verdict.rule for breach in breaches if breach.response in (Response.ABORT, Response.DRY_RUN)],
            rules.flags_of(snapshot),
            modes,
            flagged_by_hand=overrides.resurrects(snapshot, at),
        ),
    )


def _severity(verdict: Verdict) -> float:
    return verdict.ratio or 0.0


def _obstacle(snapshot: Snapshot, rules: RuleSet, *, dry_run: bool, overdue: bool) -> tuple[Response, str] | None:
    """What stands between a breach and an abort, if anything."""
    unsure = False
    for protection in rules.protections_of(snapshot):
        matched = protection.selector.matches(snapshot)
        if matched is Matched.YES:
            return Response.PROTECTED, protection.reason or "protected"
        unsure = unsure or matched is Matched.UNSURE
    if unsure:
        return Response.DEFERRED, _why_unsure(snapshot)
    if dry_run:
        return Response.DRY_RUN, "dry run"
    if snapshot.state is RunState.ABORTING and not overdue:
        return Response.DEFERRED, "it is being aborted already"
    return None


def _why_unsure(snapshot: Snapshot) -> str:
    if snapshot.source.denied:
        return (
            "it may be protected by a name that this account's token may not read; allow the token to read Actors and "
            "tasks, or protect runs by id"
        )
    return "its names or origin are not known yet, so it may be protected"


def _respond(verdict: Verdict, obstacle: tuple[Response, str] | None) -> Breach:
    if verdict.rule.action is Action.NOTIFY:
        return Breach(verdict, Response.NOTIFY)
    if obstacle is not None:
        return Breach(verdict, *obstacle)
    return Breach(verdict, Response.ABORT)


def choose_mode(
    snapshot: Snapshot,
    rules: Iterable[Rule],
    flagged: Iterable[Selector],
    modes: frozenset[Mode],
    *,
    flagged_by_hand: bool = False,
) -> Mode:
    """Graceful where the platform can and the run is to be resurrected: by a broken rule or by a flag of its own."""
    if Mode.GRACEFUL not in modes or snapshot.state is RunState.ABORTING:
        return Mode.IMMEDIATE
    wanted = flagged_by_hand or any(rule.resurrect for rule in rules)
    if wanted or any(selector.matches(snapshot) is not Matched.NO for selector in flagged):
        return Mode.GRACEFUL
    return Mode.IMMEDIATE
