"""States and usage."""

from __future__ import annotations

from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import ACTIVE_STATES, RunState


def test_a_run_is_active_as_long_as_it_can_still_spend() -> None:
    over = {RunState.STOPPED, RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.ABORTED}
    assert set(ACTIVE_STATES) == set(RunState) - over
    assert all(state.is_active is (state not in over) for state in RunState)


def test_usage_by_kind_of_limit_tells_unknown_from_zero() -> None:
    used = Usage(credits=1.0, cost_usd=2.0, duration_s=3.0)
    assert [used.of(kind) for kind in Meter] == [1.0, 3.0, 2.0]
    assert [Usage(credits=0.0).of(kind) for kind in Meter] == [0.0, None, None]
