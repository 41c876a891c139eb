"""What a list of ended runs proves of a run, and what takes a look at the run itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import CostBasis, RunState, Snapshot, Source, replace
from watchdog.platforms.apify_ends import as_ended

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = START + timedelta(seconds=3600)
RATE = 1 / 3600
LAST = Snapshot(
    "apify-main",
    "apify",
    "run-1",
    Source("maps", "compass/maps"),
    RunState.ABORTING,
    "ABORTING",
    Usage(3599.5 * RATE, 5.25, 3599.5),
    END,
    True,
    started_at=START,
    resurrect_count=0,
    burn_cap_per_s={Meter.CREDITS: RATE},
    cost_basis=CostBasis.PLATFORM,
)


def ended(finished_at: datetime | None = END, usd: float | None = 5.5, **last: Any) -> Any:
    return as_ended(replace(LAST, **last), RunState.ABORTED, "ABORTED", finished_at, usd, END + timedelta(seconds=20))


def test_a_run_that_was_never_stopped_has_run_from_its_start_to_its_end() -> None:
    found = ended()
    assert found.exact
    assert found.snapshot.usage == Usage(pytest.approx(1.0), 5.5, 3600.0)
    assert (found.snapshot.state, found.snapshot.finished_at) == (RunState.ABORTED, END)


@pytest.mark.parametrize(
    "details",
    [
        {"usd": None},
        {"usd": 5.0},
        {"finished_at": None},
        {"started_at": None},
        {"resurrect_count": 1},
        {"resurrect_count": None},
        {"usage": Usage(0.9, 5.25, 3500.0)},
        {"usage": Usage(0.9, 5.25, None)},
        {"usage": Usage(1.1, 5.25, 3700.0)},
        {"burn_cap_per_s": {}},
        {"cost_basis": CostBasis.EVENTS},
        {"cost_basis": CostBasis.ITEMS},
    ],
    ids=str,
)
def test_figures_that_are_not_proven_are_those_seen_last(details: dict[str, Any]) -> None:
    details = dict(details)
    found = ended(details.pop("finished_at", END), details.pop("usd", 5.5), **details)
    assert not found.exact
    assert found.snapshot.state is RunState.ABORTED, "the stop is proven all the same"
    assert found.snapshot.usage.duration_s == replace(LAST, **details).usage.duration_s


def test_what_it_waited_for_a_worker_may_be_a_thousandth_of_its_time() -> None:
    assert ended(usage=Usage(0.99, 5.25, 3596.5)).exact
    assert not ended(usage=Usage(0.99, 5.25, 3596.0)).exact


def test_what_was_seen_running_by_another_clock_may_be_a_moment_longer() -> None:
    assert ended(usage=Usage(1.0, 5.25, 3600.2)).exact


def test_a_run_that_ended_again_was_resurrected_meanwhile() -> None:
    last = replace(LAST, state=RunState.ABORTED, finished_at=END - timedelta(seconds=60))
    assert not as_ended(last, RunState.ABORTED, "ABORTED", END, 5.5, END).exact
    assert as_ended(replace(last, finished_at=END), RunState.ABORTED, "ABORTED", END, 5.5, END).exact
