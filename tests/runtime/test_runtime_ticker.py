"""The scheduler goes by the time that passes: triggers, the comparison of the clocks, and both under APScheduler."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from hypothesis import given
from hypothesis import strategies as st

from watchdog.runtime.ticker import STILL_S, TOLD_S, Comparison, Every, Surprise

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR_S, DAY_S = 3600.0, 86400.0


class Clocks:
    """A wall clock that can be set, and a steady one."""

    def __init__(self) -> None:
        self.steady_s = 1000.0
        self.set_s = 0.0
        self.readings = 0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.steady_s + self.set_s)

    def steady(self) -> float:
        self.readings += 1
        return self.steady_s

    def wall(self) -> float:
        return self.now.timestamp()

    def comparison(self) -> Comparison:
        return Comparison(self.wall, self.steady)


class Scheduler:
    """What APScheduler does with one job, in virtual time; it wakes up when the next time was to come."""

    def __init__(self, clocks: Clocks, every_s: float) -> None:
        self.clocks = clocks
        self.trigger = Every(every_s, clocks.steady)
        self.asked = 0
        self.fired: list[float] = []
        self.plan()

    def plan(self) -> None:
        self.next = self.trigger.get_next_fire_time(None, self.clocks.now)
        self.wake_s = self.clocks.steady_s + max(0.0, (self.next - self.clocks.now).total_seconds())

    def process(self) -> None:
        """As `_process_jobs` and `_get_run_times` do."""
        now, times, upcoming = self.clocks.now, [], self.next
        while upcoming <= now:
            times.append(upcoming)
            upcoming = self.ask(upcoming, now)
        if times:
            self.fired.append(self.clocks.steady_s)
            self.next = self.ask(times[-1], now)
        self.wake_s = self.clocks.steady_s + max(0.0, (self.next - now).total_seconds())

    def ask(self, previous: datetime, now: datetime) -> datetime:
        self.asked += 1
        return self.trigger.get_next_fire_time(previous, now)

    def pass_time(self, seconds: float) -> None:
        end = self.clocks.steady_s + seconds
        while self.wake_s <= end:
            self.clocks.steady_s = max(self.wake_s, self.clocks.steady_s)
            self.process()
        self.clocks.steady_s = end


def test_a_job_keeps_its_rhythm() -> None:
    scheduler = Scheduler(Clocks(), 5.0)
    scheduler.pass_time(50.0)
    assert [at - 1000 for at in scheduler.fired] == pytest.approx([5.0 * n for n in range(1, 11)], abs=0.001)


@pytest.mark.parametrize("step_s", [HOUR_S, 31 * DAY_S, 366 * DAY_S, -10.0, -HOUR_S, -DAY_S, -366 * DAY_S, 3.0, -3.0])
@pytest.mark.parametrize("every_s", [0.5, 5.0, 3600.0])
def test_after_a_step_of_the_wall_clock_nothing_is_missed_and_nothing_counted(step_s: float, every_s: float) -> None:
    """The fire times of a year are not gone through, and planned anew the job goes on as if nothing had been."""
    clocks = Clocks()
    scheduler = Scheduler(clocks, every_s)
    scheduler.pass_time(3.2 * every_s)
    comparison = clocks.comparison()
    clocks.set_s += step_s
    fired, asked = len(scheduler.fired), scheduler.asked
    surprise, plan_anew = comparison.look(0.0)
    assert (surprise, plan_anew) == (Surprise(pytest.approx(step_s), 0.0), True)
    scheduler.plan()
    scheduler.pass_time(3.0 * every_s)
    assert len(scheduler.fired) - fired == 3
    assert scheduler.asked - asked == 6, "twice for each time it fires"
    gaps = [later - earlier for earlier, later in zip(scheduler.fired, scheduler.fired[1:], strict=False)]
    assert max(gaps) == pytest.approx(every_s, abs=0.01)


@pytest.mark.parametrize("step_s", [HOUR_S, 366 * DAY_S])
def test_a_step_forward_costs_one_early_fire_until_it_is_noticed(step_s: float) -> None:
    clocks = Clocks()
    scheduler = Scheduler(clocks, 5.0)
    scheduler.pass_time(7.0)
    clocks.set_s += step_s
    asked = scheduler.asked
    scheduler.process()
    assert scheduler.asked - asked == 2
    scheduler.pass_time(20.0)
    assert len(scheduler.fired) == 1 + 1 + 4


def test_what_was_missed_while_the_process_stood_still_is_done_once() -> None:
    clocks = Clocks()
    scheduler = Scheduler(clocks, 5.0)
    scheduler.pass_time(6.0)
    clocks.steady_s += DAY_S
    scheduler.pass_time(0.0)
    assert len(scheduler.fired) == 2
    assert scheduler.asked == 4
    scheduler.pass_time(10.1)
    assert len(scheduler.fired) == 4


@given(
    every_s=st.floats(0.001, 7200),
    moves=st.lists(
        st.tuples(st.floats(0, 20_000), st.floats(-1e8, 1e8) | st.floats(-5, 5), st.booleans()), max_size=12
    ),
)
def test_a_next_time_is_always_ahead_and_never_further_than_the_interval(
    every_s: float, moves: list[tuple[float, float, bool]]
) -> None:
    """Whatever the clocks do, and whether the scheduler plans anew or fires."""
    clocks = Clocks()
    trigger = Every(every_s, clocks.steady)
    upcoming = trigger.get_next_fire_time(None, clocks.now)
    for passed_s, step_s, fires in moves:
        clocks.steady_s += passed_s
        clocks.set_s += step_s
        upcoming = trigger.get_next_fire_time(upcoming if fires else None, clocks.now)
        ahead_s = (upcoming - clocks.now).total_seconds()
        assert ahead_s > 0 if fires else ahead_s >= 0
        assert ahead_s <= every_s + 0.002


def test_one_step_is_told_once() -> None:
    clocks = Clocks()
    comparison = clocks.comparison()
    told = []
    for second in range(20):
        clocks.steady_s += 1.0
        clocks.set_s -= HOUR_S if second == 7 else 0.0
        surprise, _ = comparison.look(1.0)
        told += [surprise] if surprise else []
    assert [str(each) for each in told] == [
        "the wall clock was set back by 1h: sweeps, aborts and holds go on by the time that really passes, and new "
        "records bear the new time"
    ]


def test_a_clock_that_is_slewed_is_followed_and_not_told() -> None:
    clocks = Clocks()
    comparison = clocks.comparison()
    plans = 0
    for _ in range(100):
        clocks.steady_s += 1.0
        clocks.set_s += 0.1
        surprise, plan_anew = comparison.look(1.0)
        assert surprise is None
        plans += plan_anew
    assert 15 <= plans <= 20, "each half second that they have parted"


def test_a_process_that_stood_still_is_told() -> None:
    clocks = Clocks()
    comparison = clocks.comparison()
    clocks.steady_s += 1.0 + STILL_S - 0.1
    assert comparison.look(1.0) == (None, False)
    clocks.steady_s += 1.0 + 90.0
    surprise, plan_anew = comparison.look(1.0)
    assert plan_anew
    assert str(surprise).startswith("the daemon stood still for 1m30s (suspended, stopped, or no processor time)")


def test_a_process_stopped_between_the_two_readings_sees_no_step() -> None:
    clocks = Clocks()
    comparison = clocks.comparison()
    plain = clocks.wall
    stops = [HOUR_S]

    def wall() -> float:
        shown = plain()
        clocks.steady_s += stops.pop() if stops else 0.0
        return shown

    comparison._wall_s = wall
    surprise, _ = comparison.look(HOUR_S)
    assert surprise is None


def test_for_a_while_after_a_step_forward_the_hour_is_not_trusted() -> None:
    clocks = Clocks()
    comparison = clocks.comparison()
    clocks.set_s -= DAY_S
    comparison.look(0.0)
    assert not comparison.was_set_forward_within(DAY_S)
    clocks.set_s += TOLD_S + DAY_S
    comparison.look(0.0)
    clocks.steady_s += DAY_S - 1
    assert comparison.was_set_forward_within(DAY_S)
    clocks.steady_s += 2
    assert not comparison.was_set_forward_within(DAY_S)


def test_apscheduler_takes_the_trigger_for_what_it_is() -> None:
    """The real one, with a trigger that counts how often it is asked."""

    class Counted(Every):
        asked = 0

        def get_next_fire_time(self, previous_fire_time: Any, now: Any) -> Any:
            Counted.asked += 1
            return super().get_next_fire_time(previous_fire_time, now)

    async def story() -> int:
        scheduler = AsyncIOScheduler(timezone=UTC)
        fired = asyncio.Event()
        times = 0

        async def work() -> None:
            nonlocal times
            times += 1
            if times == 20:
                fired.set()

        job = scheduler.add_job(work, Counted(0.01), misfire_grace_time=None, coalesce=True)
        scheduler.start()
        # As a wall clock would have it that was set forward by a year.
        job.modify(next_run_time=datetime.now(UTC) - timedelta(days=366))
        async with asyncio.timeout(10):
            await fired.wait()
        scheduler.shutdown(wait=False)
        await asyncio.sleep(0)
        return times

    times = asyncio.run(story())
    assert Counted.asked <= 2 * times + 5
