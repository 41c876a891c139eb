"""The heap of due looks, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.runtime.watch.agenda import Agenda


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += max(0.0, seconds)

    def wall(self, seconds: float) -> float:
        return seconds


KEYS = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.integers(0, 40)),
        st.tuples(st.just("drop"), KEYS, st.just(0)),
        st.tuples(st.just("move"), st.just(""), st.integers(0, 15)),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_key_comes_once_at_its_last_set_time_earliest_first(steps: list[tuple[str, str, int]]) -> None:
    clock = HandClock()
    due: dict[str, float] = {}
    agenda = Agenda(clock)
    for what, key, number in steps:
        if what == "set":
            due[key] = float(number)
            agenda.set(key, float(number))
        elif what == "drop":
            due.pop(key, None)
            agenda.drop(key)
        else:
            clock.at_s += number
            expected = sorted(at for at in due.values() if at <= clock.at_s)
            came = [due.pop(key) for key in agenda.take()]
            assert came == expected, "nothing lost, nothing early, the earliest first"
            assert all(at > clock.at_s for at in due.values())
        assert len(agenda) == len(due)


def test_a_key_may_be_set_again_once_it_is_taken() -> None:
    clock, came = HandClock(), list[float]()
    agenda = Agenda(clock)
    agenda.set("a", 1)
    for _ in range(20):
        clock.at_s += 1
        for key in agenda.take():
            came.append(clock.at_s)
            if len(came) < 3:
                agenda.set(key, clock.at_s + 5)
    assert came == [1, 6, 11]


def test_a_hundred_thousand_due_at_one_instant_all_come() -> None:
    clock, came = HandClock(), set[str]()
    agenda = Agenda(clock)
    for number in range(100_000):
        agenda.set(str(number), 7.0)
    clock.at_s = 3600.0
    turns = 1
    while taken := agenda.take():
        came.update(taken)
        turns += 1
    assert len(came) == 100_000
    assert turns > 100, "a few at a time, so that nothing else has to wait for all of them"
    assert len(agenda) == 0


class RealClock(HandClock):
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


@pytest.mark.anyio
async def test_an_earlier_time_wakes_the_sleeper() -> None:
    clock = RealClock()
    agenda = Agenda(clock)
    due = asyncio.create_task(agenda.due())
    await asyncio.sleep(0)  # waits with nothing to do
    agenda.set("far", clock.monotonic() + 3600)
    await asyncio.sleep(0)  # waits for an hour
    agenda.set("near", clock.monotonic() + 0.01)
    async with asyncio.timeout(5):
        assert await due == ["near"]
    assert len(agenda) == 1
