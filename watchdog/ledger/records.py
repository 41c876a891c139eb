"""What every kind of ledger agrees on: which records fit, their order, and how much history counts."""

from __future__ import annotations

from datetime import datetime

from watchdog.domain.decision import Abort
from watchdog.domain.ports import AbortFilter

#: Runs that are over, remembered for each source.
HISTORY_MAX = 100


def opened_at(abort: Abort) -> datetime:
    """When the record was opened; filters and the order of records go by it."""
    return abort.history[0].at if abort.history else abort.detected_at


def age(abort: Abort) -> tuple[datetime, str]:
    """What records are sorted by, oldest first."""
    return opened_at(abort), abort.id


def fits(abort: Abort, wanted: AbortFilter) -> bool:
    """Whether this record is wanted."""
    opened = opened_at(abort)
    return (
        (wanted.since is None or opened >= wanted.since)
        and (wanted.until is None or opened < wanted.until)
        and wanted.account in (None, abort.account)
        and wanted.rule in (None, abort.rule)
        and wanted.outcome in (None, abort.state.value)
        and wanted.abort_id in (None, abort.id)
        and wanted.run_id in (None, abort.run_id)
    )
