from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from watchdog.simulated import SimClock

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_clock_of_speed_zero_moves_only_by_hand() -> None:
    clock = SimClock(speed=0, start=START)
    assert clock.now() == START
    clock.advance(90.5)
    assert clock.now() == START + timedelta(seconds=90.5)


def test_an_accelerated_clock_runs_ahead() -> None:
    clock = SimClock(speed=1e6, start=START)
    before = clock.now()
    while clock.now() == before:
        pass
    assert clock.now() > before >= START


def test_a_change_of_speed_does_not_jump() -> None:
    clock = SimClock(speed=1e9, start=START)
    clock.speed = 0
    stopped = clock.now()
    clock.speed = 1e-9
    assert clock.now() - stopped < timedelta(milliseconds=1)


def test_time_does_not_go_back() -> None:
    clock = SimClock(speed=0, start=START)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="speed"):
        SimClock(speed=-1)
    with pytest.raises(ValueError, match="aware"):
        SimClock(start=datetime(2026, 3, 1))


def test_the_default_start_is_now() -> None:
    assert abs(SimClock().now() - datetime.now(UTC)) < timedelta(seconds=5)
