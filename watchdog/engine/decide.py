"""Decide what follows from the verdicts on a run.

Terminal states come before limits, what people have decided before rules, and any doubt means no abort.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from watchdog.domain.decision import Breach, Decision, Mode, Response, Verdict, VerdictKind
from watchdog.domain.limit import Do
from watchdog.domain.meter import Meter
from watchdog.domain.override import Overrides
from watchdog.domain.rule import Matched, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot

NO_OVERRIDES = Overrides()


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
    broken = sorted(_harshest(verdicts), key=_severity, reverse=True)
    if not broken:
        return None
    obstacle = overrides.obstacle(snapshot, at) or _obstacle(snapshot, rules, dry_run=dry_run, overdue=overdue)
    breaches = tuple(_respond(verdict, obstacle) for verdict in broken)
    aborting = [breach for breach in breaches if breach.response is Response.ABORT]
    # A dry run says what would be done.
    stopping = [each.verdict for each in breaches if each.response in (Response.ABORT, Response.DRY_RUN)]
    return Decision(
        snapshot=snapshot,
        breaches=breaches,
        abort=aborting[0] if aborting else None,
        mode=choose_mode(
            snapshot,
            # By a broken rule, or by a flag of its own.
            resurrect=any(verdict.rule.resurrect for verdict in stopping)
            or overrides.resurrects(snapshot, at)
            or is_flagged(snapshot, rules.flags_of(snapshot)),
            modes=modes,
            at_once=any(verdict.step.do is Do.ABORT_NOW for verdict in stopping),
        ),
    )


def _harshest(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Of each limit, the harshest step that is reached."""
    found: dict[tuple[str, Meter], Verdict] = {}
    for verdict in verdicts:
        if verdict.verdict is VerdictKind.BREACH:
            key = (verdict.rule.name, verdict.kind)
            known = found.get(key)
            if known is None or verdict.step.do.harshness >= known.step.do.harshness:
                found[key] = verdict
    return list(found.values())


_WORST = (VerdictKind.BREACH, VerdictKind.UNKNOWN, VerdictKind.WARNING, VerdictKind.WITHIN)


def one_a_limit(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Of the verdicts on the steps of each limit the one that people should see: the harshest step that is reached,
    else the worst of the others."""
    found: dict[tuple[str, Meter], Verdict] = {}
    for verdict in verdicts:
        key = (verdict.rule.name, verdict.kind)
        known = found.get(key)
        if known is None or _weight(verdict) > _weight(known):
            found[key] = verdict
    return tuple(found.values())


def _weight(verdict: Verdict) -> tuple[int, int]:
    reached = verdict.verdict is VerdictKind.BREACH
    return -_WORST.index(verdict.verdict), verdict.step.do.harshness if reached else 0


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
    if not verdict.step.do.stops:
        return Breach(verdict, Response.NOTIFY)
    if obstacle is not None:
        return Breach(verdict, *obstacle)
    return Breach(verdict, Response.ABORT)


def is_flagged(snapshot: Snapshot, flagged: Iterable[Selector]) -> bool:
    """Whether an entry of `resurrect` means the run, or may."""
    return any(selector.matches(snapshot) is not Matched.NO for selector in flagged)


def choose_mode(snapshot: Snapshot, *, resurrect: bool, modes: frozenset[Mode], at_once: bool = False) -> Mode:
    """Graceful where the platform can and the run is to be resurrected; but not where a step asks for the end at
    once, nor where somebody is aborting it already."""
    if at_once or Mode.GRACEFUL not in modes or snapshot.state is RunState.ABORTING:
        return Mode.IMMEDIATE
    return Mode.GRACEFUL if resurrect else Mode.IMMEDIATE


@dataclass(frozen=True, slots=True)
class Ruling:
    """Everything beside the figures of a run that a decision rests on: the rules, what people have decided beside them,
    and the time (UTC)."""

    rules: RuleSet
    overrides: Overrides
    dry_run: bool
    now: datetime

    def decide(
        self, snapshot: Snapshot, verdicts: Sequence[Verdict], *, modes: frozenset[Mode], overdue: bool = False
    ) -> Decision | None:
        """What to do about an inspected run."""
        return decide(
            snapshot,
            verdicts,
            self.rules,
            modes=modes,
            dry_run=self.dry_run,
            overdue=overdue,
            overrides=self.overrides,
            now=self.now,
        )

    def is_flagged(self, snapshot: Snapshot) -> bool:
        """Whether the run is to be resurrected, whatever rule it breaks."""
        return self.overrides.resurrects(snapshot, self.now) or is_flagged(snapshot, self.rules.flags_of(snapshot))
