"""What people decide while the daemon runs: which runs it is about, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from watchdog.domain.decision import Response
from watchdog.domain.meter import Usage
from watchdog.domain.override import Override, OverrideKind, Overrides
from watchdog.domain.run import RunState, Snapshot, Source, replace

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RUN = Snapshot("main", "apify", "run-1", Source("k", "maps"), RunState.RUNNING, "RUNNING", Usage(), NOON, True)


def override(kind: OverrideKind, **details: Any) -> Override:
    return replace(Override("o1", kind, NOON, run_id="run-1"), **details)


@pytest.mark.parametrize(
    ("details", "at", "holds"),
    [
        ({}, NOON, True),
        ({"until": NOON + HOUR}, NOON + HOUR - timedelta(seconds=1), True),
        ({"until": NOON + HOUR}, NOON + HOUR, False),
        ({"ended_at": NOON}, NOON, False),
        ({"run_id": "run-2"}, NOON, False),
        ({"account": "main"}, NOON, True),
        ({"account": "other"}, NOON, False),
        ({"run_id": None, "account": "main"}, NOON, True),
        ({"run_id": None}, NOON, True),
    ],
)
@pytest.mark.parametrize(
    ("kind", "response"),
    [
        (OverrideKind.HOLD, Response.HELD),
        (OverrideKind.PAUSE, Response.HELD),
        (OverrideKind.PROTECT, Response.PROTECTED),
    ],
)
def test_an_override_stands_in_the_way_of_its_runs_while_it_lasts(
    details: dict[str, Any], at: datetime, holds: bool, kind: OverrideKind, response: Response
) -> None:
    obstacle = Overrides.of([override(kind, **details)]).obstacle(RUN, at)
    assert (obstacle[0] if obstacle else None) == (response if holds else None)


def test_protection_counts_before_a_pause_that_ends() -> None:
    both = Overrides.of(
        [override(OverrideKind.PAUSE, run_id=None), override(OverrideKind.PROTECT, reason="signed off")]
    )
    assert both.obstacle(RUN, NOON) == (Response.PROTECTED, "protected: signed off")


def test_the_note_says_until_when_and_why() -> None:
    held = Overrides.of([override(OverrideKind.HOLD, until=NOON + HOUR, reason="demo")])
    assert held.obstacle(RUN, NOON) == (Response.HELD, "held until 2026-03-01 13:00 UTC: demo")


def test_the_flag_to_resurrect_is_no_obstacle() -> None:
    flagged = Overrides.of([override(OverrideKind.RESURRECT, until=NOON + HOUR)])
    assert flagged.obstacle(RUN, NOON) is None
    assert flagged.resurrects(RUN, NOON)
    assert not flagged.resurrects(RUN, NOON + HOUR)
    assert not flagged.resurrects(replace(RUN, run_id="run-2"), NOON)
