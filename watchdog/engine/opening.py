"""The record of an abort as it is opened, before anything is done about it."""

from __future__ import annotations

from datetime import datetime

from watchdog.domain.decision import Abort, AbortState, Decision, Mode, reason_text
from watchdog.domain.override import MANUAL
from watchdog.domain.platform import PlatformTraits
from watchdog.domain.run import Snapshot


def open_abort(
    decision: Decision,
    abort_id: str,
    now: datetime,
    detected_at: datetime,
    used_at_detection: float | None = None,
    platform: PlatformTraits | None = None,
) -> Abort:
    """The record of a decision to abort, before anything is done about it. `used_at_detection` is the figure that
    raised the suspicion, if it was another than the inspection's; `platform` has the words for the reason."""
    if decision.abort is None:
        raise ValueError("the decision is not to abort")
    verdict, run = decision.abort.verdict, decision.snapshot
    used = verdict.used or 0.0
    return Abort(
        id=abort_id,
        account=run.account,
        platform=run.platform,
        run_id=run.run_id,
        source=run.source.label,
        rule=verdict.rule.name,
        limit=verdict.kind,
        limit_value=verdict.limit,
        used_at_detection=used if used_at_detection is None else used_at_detection,
        detected_at=detected_at,
        asked_mode=decision.mode,
        mode=decision.mode,
        state=AbortState.INTENDED,
        history=(),
        before=run,
        used_at_request=used,
        projected=verdict.projected,
        reason=reason_text(verdict, platform),
        step_at=verdict.step.at,
    ).advance(AbortState.INTENDED, now)


def open_by_hand(run: Snapshot, mode: Mode, reason: str, abort_id: str, now: datetime) -> Abort:
    """The record of an abort that somebody asked for: booked on the rule `manual`, with no limit."""
    return Abort(
        id=abort_id,
        account=run.account,
        platform=run.platform,
        run_id=run.run_id,
        source=run.source.label,
        rule=MANUAL,
        limit=None,
        limit_value=0.0,
        used_at_detection=0.0,
        detected_at=now,
        asked_mode=mode,
        mode=mode,
        state=AbortState.INTENDED,
        history=(),
        before=run,
        reason=f"stopped by hand: {reason}" if reason else "stopped by hand",
    ).advance(AbortState.INTENDED, now)
