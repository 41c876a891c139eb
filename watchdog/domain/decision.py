"""What is decided and what came of it: verdicts, decisions, and the record of an abort."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from watchdog.domain.duration import format_duration
from watchdog.domain.limit import ABORT_AT_ONCE, Do, Step
from watchdog.domain.meter import BOOKED, NOTHING_KNOWN, Meter, Unit, Usage
from watchdog.domain.platform import Mode, PlatformTraits
from watchdog.domain.rule import Action, Rule
from watchdog.domain.run import RunKey, Snapshot, replace

#: How metrics and tables call the limit of an abort by hand.
NO_LIMIT = "none"


class VerdictKind(StrEnum):
    """How a run stands to one limit of one rule."""

    WITHIN = "within"
    WARNING = "warning"
    BREACH = "breach"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run against one step of one limit. `limit` (all of it) and `used` in the unit of the meter. For `unknown`,
    `used` is None, or what is proven of a figure that may be over the limit already.

    `why_unknown` says what is missing (`usage`: the figure; `after`: the one that says from when on the limit is
    judged; `source`: names or the origin, needed to tell if the rule applies). `projected`, of a breach that has not
    happened yet: what the run may have used by the time it could be stopped, under a rule that is never to be exceeded.
    """

    rule: Rule
    kind: Meter
    limit: float
    used: float | None
    verdict: VerdictKind
    why_unknown: str = ""
    projected: float | None = None
    step: Step = ABORT_AT_ONCE

    @property
    def threshold(self) -> float:
        """The figure at which its step is reached."""
        return self.limit * self.step.at

    @property
    def ratio(self) -> float | None:
        """Used over limit, as `ratio_of` has it; None if what was used is not known."""
        return None if self.used is None else ratio_of(self.used, self.limit)


def ratio_of(used: float, limit: float) -> float:
    """Used over limit: 1 is at it. A limit of 0 is reached by anything, which reads as infinite past 0."""
    if limit > 0:
        return used / limit
    return 1.0 if used <= 0 else float("inf")


class Response(StrEnum):
    """What is done about a breach; the `response` label of `breaches_total`."""

    ABORT = "abort"
    NOTIFY = "notify"
    DRY_RUN = "dry_run"
    PROTECTED = "protected"
    HELD = "held"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken limit with the response to it; `note` says why it is not an abort, where it is not."""

    verdict: Verdict
    response: Response
    note: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a run that broke limits.

    `breaches` is never empty and has the worst first. `abort` names the breach that the abort is booked on, or is
    None if nothing is to be aborted. `mode` counts only with an abort.
    """

    snapshot: Snapshot
    breaches: tuple[Breach, ...]
    abort: Breach | None
    mode: Mode = Mode.IMMEDIATE

    @property
    def waits(self) -> bool:
        """Whether some breach is only put off: the run is looked at again before long."""
        return any(each.response in (Response.DEFERRED, Response.HELD) for each in self.breaches)

    @property
    def is_at_once(self) -> bool:
        """Whether a step is reached that bears no graceful abort, not even one that is going on."""
        return any(each.response is Response.ABORT and each.verdict.step.do is Do.ABORT_NOW for each in self.breaches)


class AbortState(StrEnum):
    """Where an abort is: intended → requested → confirmed | already_finished | failed; or withdrawn, if by the
    newest look the figures, the rules or people no longer want it and nothing that was asked had an effect."""

    INTENDED = "intended"
    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    ALREADY_FINISHED = "already_finished"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"

    @property
    def is_open(self) -> bool:
        """Whether the stop is still to be proven."""
        return self in (AbortState.INTENDED, AbortState.REQUESTED)


class Basis(StrEnum):
    """What an estimate of savings rests on."""

    PROGRESS = "progress"
    HISTORY = "history"
    CAP = "cap"

    @property
    def is_bound(self) -> bool:
        """Whether it says no more than "at most": most runs end long before the platform itself would stop them, so it
        belongs into no sum that people are to believe."""
        return self is Basis.CAP


@dataclass(frozen=True, slots=True)
class Saving:
    """What a run would have used without the abort, and what was saved; `None` where nothing can be said.

    `note` holds the figures that the projection was made from, so that it can be checked by hand. `booked_credits` and
    `booked_usd` are what was booked at first, where some of it was taken back since: the run was resurrected and used
    it all the same. `credits` and `usd` are what stands; None in `booked_...`: nothing was taken back.
    """

    basis: Basis | None = None
    projected: Usage = NOTHING_KNOWN
    credits: float | None = None
    usd: float | None = None
    note: str = ""
    booked_credits: float | None = None
    booked_usd: float | None = None

    @property
    def amounts(self) -> Mapping[str, float | None]:
        """What stands, by what it is counted in."""
        return {meter.entry.booked: self.of(meter) for meter in BOOKED}

    def of(self, meter: Meter) -> float | None:
        """What stands of a booked meter."""
        amount: float | None = getattr(self, meter.entry.booked)
        return amount

    def at_first(self, meter: Meter) -> float | None:
        """What was booked of it before anything was taken back."""
        amount: float | None = getattr(self, f"booked_{meter.entry.booked}")
        return self.of(meter) if amount is None else amount


@dataclass(frozen=True, slots=True)
class Transition:
    """One step in the life of an abort: the state reached, when (UTC), and what led there."""

    state: AbortState
    at: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Abort:
    """The record of one abort, whole: a ledger row. Never mutated; `advance` gives the next version.

    `requests` counts POSTs sent; `effective_requests` those the platform accepted (answered with 200, or seen to
    work), `void_requests` those that provably did nothing (refused, postponed, never sent); the answers to the rest
    were lost. `refusals` counts those since the last accepted one. `asked_mode` is the mode first decided on, `mode`
    the one in force (an escalation changes it). `before` is the snapshot that proved the breach, `final` the last one
    seen after the stop, `settled` whether its figures are final. `used_at_detection` is what raised the suspicion,
    `used_at_request` what the inspection right before the first request showed. `projected` is what the run might have
    used by the time it could be stopped, if that and not its usage broke the limit. `step_at` is the share of the limit
    at which its step stands. An abort by hand has the rule `manual` and no `limit`. `reason` says why, for people.
    """

    id: str
    account: str
    platform: str
    run_id: str
    source: str
    rule: str
    limit: Meter | None
    limit_value: float
    used_at_detection: float
    detected_at: datetime
    asked_mode: Mode
    mode: Mode
    state: AbortState
    history: tuple[Transition, ...]
    before: Snapshot
    requests: int = 0
    effective_requests: int = 0
    void_requests: int = 0
    refusals: int = 0
    requested_at: datetime | None = None
    stopped_at: datetime | None = None
    final: Snapshot | None = None
    settled: bool = False
    saving: Saving | None = None
    used_at_request: float | None = None
    projected: float | None = None
    reason: str = ""
    step_at: float = 1.0

    @property
    def threshold(self) -> float:
        """The figure that it was aborted at: the step's share of the limit."""
        return self.limit_value * self.step_at

    @property
    def limit_label(self) -> str:
        """The limit as a label of metrics."""
        return self.limit.value if self.limit is not None else NO_LIMIT

    @property
    def key(self) -> RunKey:
        """The run this abort is about."""
        return (self.account, self.run_id)

    @property
    def may_have_arrived(self) -> bool:
        """Whether a request of ours may have had an effect: accepted, or its answer lost."""
        return self.requests > self.void_requests

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do: closed, and its figures settled if it was a stop of ours."""
        return not self.state.is_open and (self.settled or self.state is not AbortState.CONFIRMED)

    def advance(self, state: AbortState, at: datetime, note: str = "", **changes: object) -> Abort:
        """The record one step further, with the step in its history, whose times never go back."""
        if self.history:
            at = max(at, self.history[-1].at)
        history = (*self.history, Transition(state, at, note))
        return replace(self, state=state, history=history, **changes)


def reason_text(verdict: Verdict, platform: PlatformTraits | None = None) -> str:
    """One sentence for people on why a run on this platform was stopped: rule, used, limit."""
    text = f"rule '{verdict.rule.name}': {describe_use(verdict.kind, verdict.used, verdict.limit, platform)} allowed"
    if verdict.step.at != 1:
        text += f", {verdict.step}"
    if verdict.projected is None:
        return text
    return f"projected, {text}: {describe(verdict.kind, verdict.projected, platform)} by the time it could be stopped"


def describe(kind: Meter | None, value: float | None, platform: PlatformTraits | None = None) -> str:
    """A figure with its unit, as people write it: `$4.20`, `1h30m`, `40 credits`, or what this platform calls those."""
    if value is None:
        return "unknown"
    if kind is None:
        return "-"
    if kind.entry.unit is Unit.USD:
        return _dollars(value)
    if kind.entry.unit is Unit.SECONDS:
        return format_duration(value)
    number = _amount(value)
    words = platform.credits if platform is not None and kind is Meter.CREDITS else None
    one, several = (words.one, words.several) if words is not None else (kind.entry.one, kind.entry.several)
    return f"{number} {one if number == '1' else several}"


def describe_use(kind: Meter | None, used: float | None, limit: float, platform: PlatformTraits | None = None) -> str:
    """What was used against a limit: `$4.20 of $5.00`, `26 of 40 compute units`. A dash where there is no limit."""
    if kind is None:
        return "-"
    unit_follows = kind.entry.unit is Unit.NUMBER and used is not None
    figure = _amount(used or 0.0) if unit_follows else describe(kind, used, platform)
    return f"{figure} of {describe(kind, limit, platform)}"


#: No run uses as much: a figure from here on is shown by its power of ten.
_HUGE = 1e12


def _dollars(value: float) -> str:
    if value >= 0.1 or value <= 0:
        return f"${value:.4g}" if value >= _HUGE else f"${value:.2f}"
    return f"${value:.4f}" if value >= 0.00005 else "<$0.0001"


def _amount(value: float) -> str:
    """Four digits, and never 0 for what is more than nothing."""
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:.0f}" if 1000 <= value < _HUGE else f"{value:.4g}"


__all__ = [
    "Abort",
    "AbortState",
    "Action",
    "Basis",
    "Breach",
    "Decision",
    "Mode",
    "Response",
    "Saving",
    "Transition",
    "Verdict",
    "VerdictKind",
    "describe",
    "describe_use",
    "reason_text",
]
