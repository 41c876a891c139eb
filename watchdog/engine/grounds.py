"""How the reason of an abort stands by a new look at its run.

A decision rests on one look. Before anything is asked a second time there is another, and only that one counts: a first
request without effect gives no right to a second. A figure that was shown once and is shown no more was wrong, or is
wrong now; a run inside its limits is never to be stopped for it. What the new look lacks is not known, which is neither
a reason to stop the run nor one to let it go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from watchdog.domain.decision import Abort, Decision, Response, Verdict, VerdictKind, describe
from watchdog.domain.meter import Meter
from watchdog.domain.run import Snapshot
from watchdog.engine.evaluate import Margin, Threshold


class Ground(Enum):
    """Whether the reason of an abort still stands."""

    STANDS = "stands"
    UNKNOWN = "unknown"
    FALLEN = "fallen"


@dataclass(frozen=True, slots=True)
class Grounds:
    """How the reason stands, and in a few words why, where it does not. `at_once`: a step is reached that asks for the
    end at once, whatever is going on already."""

    ground: Ground
    why: str = ""
    at_once: bool = False


STAND = Grounds(Ground.STANDS)
STAND_AT_ONCE = Grounds(Ground.STANDS, at_once=True)
#: A person has asked for the stop meanwhile, which needs no other reason.
ASKED_FOR = Grounds(Ground.STANDS, "asked for by hand")


def grounds_of(abort: Abort, seen: Snapshot, verdicts: Sequence[Verdict], decision: Decision | None) -> Grounds:
    """How the reason of `abort` stands by the newest look: `verdicts` and `decision` are those of this look alone, by
    the rules and overrides of now. An abort that the platform has accepted goes on whatever becomes of its rule: then
    only the figure counts, against the limit of then."""
    if decision is not None and decision.abort is not None:
        return STAND_AT_ONCE if decision.is_at_once else STAND
    if abort.effective_requests and abort.limit is not None:
        used = seen.usage.of(abort.limit)
        if used is None:
            return Grounds(Ground.UNKNOWN, _words(abort.limit))
        if used >= abort.threshold or margin_stands(abort, seen):
            return STAND
    obstacle = _obstacle(decision)
    if obstacle is not None:
        return obstacle
    lacking = [what for verdict in verdicts if (what := _lacking(abort.before, seen, verdict))]
    if lacking:
        return Grounds(Ground.UNKNOWN, ", ".join(dict.fromkeys(lacking)))
    return Grounds(Ground.FALLEN, _why_fallen(abort, seen, verdicts))


def _obstacle(decision: Decision | None) -> Grounds | None:
    """What stands between the limits that this look shows broken and an abort, if any is."""
    for breach in decision.breaches if decision is not None else ():
        if breach.response is Response.DEFERRED:
            return Grounds(Ground.UNKNOWN, breach.note)
        if breach.response is not Response.NOTIFY:
            note = breach.note or breach.response.value
            return Grounds(Ground.FALLEN, f"the rules in force, or somebody, no longer want it stopped: {note}")
    return None


def _lacking(before: Snapshot, seen: Snapshot, verdict: Verdict) -> str:
    """What this look lacks for the verdict though the one decided on had it; "" if it lacks nothing, or what was
    unknown then too, so that the decision cannot have rested on it."""
    kind, most = verdict.kind, seen.most.of(verdict.kind)
    is_vague = most is not None and most >= verdict.limit
    if not verdict.step.do.stops or not (verdict.verdict is VerdictKind.UNKNOWN or is_vague):
        return ""
    if verdict.why_unknown != "source":
        return "" if before.usage.of(kind) is None else _words(kind)
    if seen.source.unresolved - before.source.unresolved:
        return "its names"
    return "its origin" if seen.origin is None and before.origin is not None else ""


def _words(kind: Meter) -> str:
    return f"its {kind.entry.word}"


def _why_fallen(abort: Abort, seen: Snapshot, verdicts: Sequence[Verdict]) -> str:
    """Both figures, if the rule is as it was and it is the figure that went back."""
    for verdict in verdicts:
        if (verdict.rule.name, verdict.kind) == (abort.rule, abort.limit) and verdict.limit == abort.limit_value:
            now, then = (describe(verdict.kind, seen_by.usage.of(verdict.kind)) for seen_by in (seen, abort.before))
            of = describe(verdict.kind, verdict.limit)
            return f"rule '{abort.rule}': a new look shows {now} of {of}, where the one decided on showed {then}"
    return "the rules in force no longer want it stopped"


def margin_stands(abort: Abort, seen: Snapshot) -> bool:
    """Whether it was decided by a projection, and the figure that this rested on has not gone back since."""
    used = seen.usage.of(abort.limit) if abort.limit is not None else None
    return abort.projected is not None and used is not None and used >= (abort.used_at_request or 0.0)


def margin_of(abort: Abort, seen: Snapshot) -> Margin:
    """What an abort that was decided by a projection took the run to use still: the forecast of then holds on, unless
    the figure that it rested on has gone back since."""
    margin = (abort.projected or 0.0) - (abort.used_at_request or 0.0)
    stands = margin_stands(abort, seen)

    def of(threshold: Threshold) -> float:
        is_ours = (threshold.rule.name, threshold.meter) == (abort.rule, abort.limit)
        return margin if stands and is_ours and threshold.is_careful else 0.0

    return of
