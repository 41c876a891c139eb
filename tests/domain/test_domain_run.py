"""States and usage."""

from __future__ import annotations

from watchdog.domain.meter import IN_ORDER, Meter, Usage
from watchdog.domain.run import ACTIVE_STATES, RunState


def test_a_run_is_active_as_long_as_it_can_still_spend() -> None:
    over = {RunState.STOPPED, RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT, RunState.ABORTED}
    assert set(ACTIVE_STATES) == set(RunState) - over
    assert all(state.is_active is (state not in over) for state in RunState)


def test_usage_by_kind_of_limit_tells_unknown_from_zero() -> None:
    used = Usage.by(lambda meter: 1.0 + IN_ORDER.index(meter))
    assert [used.of(meter) for meter in IN_ORDER] == [*used.figures.values()] == [*map(float, range(1, len(Meter) + 1))]
    assert Usage(1.0, 2.0, 3.0, 4.0) == Usage(credits=1.0, cost_usd=2.0, duration_s=3.0, results=4.0)
    assert {meter: Usage(credits=0.0).of(meter) for meter in Meter} == {**dict.fromkeys(Meter), Meter.CREDITS: 0.0}
