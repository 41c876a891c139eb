"""What is remembered of each active run between looks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from watchdog.domain.decision import Decision, Response, Verdict
from watchdog.domain.run import LimitKind, RunState, Snapshot, Usage
from watchdog.engine.forecast import RunningFloor, upper_bound


@dataclass(slots=True)
class Watched:
    """What is remembered of one active run. Times are seconds of the monotonic clock."""

    swept: Snapshot
    swept_at: float
    inspected: Snapshot | None = None
    inspected_at: float = 0.0
    floor: RunningFloor | None = None
    resurrections: int | None = None
    rates: dict[LimitKind, float] | None = None
    missing: int = 0
    failures: int = 0
    looking: bool = False
    queued: bool = False
    not_before: float = 0.0
    unknown_until: float = 0.0
    vain_looks: int = 0
    over: bool = False
    suspected_at: datetime | None = None
    suspected: Usage | None = None
    aborting_since: float | None = None
    verdicts: tuple[Verdict, ...] = ()
    decision: Decision | None = None
    told: set[tuple[str, LimitKind, str]] = field(default_factory=set)
    generation: int = 0
    edition: int = 0
    written: tuple[RunState, Usage] | None = None


def answered(watched: Watched) -> set[tuple[str, LimitKind]]:
    """The limits, by rule and kind, whose breach has been answered for good: notified, protected, dry run."""
    if watched.decision is None:
        return set()
    return {
        (breach.verdict.rule.name, breach.verdict.kind)
        for breach in watched.decision.breaches
        if breach.response in (Response.NOTIFY, Response.PROTECTED, Response.DRY_RUN)
    }


def aged(watched: Watched, now_s: float) -> tuple[Usage, float]:
    """The most that a run can have used by now, as far as its rates so far tell, and the seconds since it was seen."""
    inspected = watched.inspected
    if inspected is not None and watched.inspected_at >= watched.swept_at:
        used, seen_at = inspected.usage, watched.inspected_at
    else:
        used = upper_bound(watched.swept, inspected, watched.swept_at - watched.inspected_at)
        seen_at = watched.swept_at
    age_s = now_s - seen_at
    rates = {**(watched.rates or {}), **(inspected.burn_cap_per_s if inspected is not None else {})}

    def grown(kind: LimitKind, rate_per_s: float) -> float | None:
        figure = used.of(kind)
        return None if figure is None else figure + rate_per_s * age_s

    return Usage(
        credits=grown(LimitKind.MAX_CREDITS, rates.get(LimitKind.MAX_CREDITS, 0.0)),
        cost_usd=grown(LimitKind.MAX_COST_USD, rates.get(LimitKind.MAX_COST_USD, 0.0)),
        duration_s=grown(LimitKind.MAX_DURATION, 1.0),
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


def learn_rates(watched: Watched, snapshot: Snapshot, now_s: float) -> None:
    """Keep the highest rate seen between two sweeps, for each metered figure."""
    seconds = now_s - watched.swept_at
    if seconds <= 0:
        return
    for kind in (LimitKind.MAX_CREDITS, LimitKind.MAX_COST_USD):
        before, after = watched.swept.usage.of(kind), snapshot.usage.of(kind)
        if before is None or after is None or after <= before:
            continue
        rates = watched.rates = watched.rates or {}
        rates[kind] = max(rates.get(kind, 0.0), (after - before) / seconds)
