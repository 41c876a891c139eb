"""The rate budget on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.net import BACKOFF_MAX_S, PAUSE_MAX_S, Priority, RateBudget

START = datetime(2026, 3, 1, tzinfo=UTC)


class HandClock:
    """Time moves only to the next sleeper, when nothing else is left to do."""

    def __init__(self) -> None:
        self.time_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time_s)

    def monotonic(self) -> float:
        return self.time_s

    def wall(self, seconds: float) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.time_s + max(0.0, seconds), self._count, future))
        await future

    async def run(self, until_s: float) -> None:
        """Let everything happen that happens up to then."""
        while True:
            for _ in range(12):
                await asyncio.sleep(0)
            if not self._sleepers or self._sleepers[0][0] > until_s:
                self.time_s = max(self.time_s, until_s)
                return
            due, _, future = heapq.heappop(self._sleepers)
            self.time_s = max(self.time_s, due)
            if not future.done():
                future.set_result(None)


@dataclass(frozen=True)
class Wish:
    at_s: float
    family: str
    priority: Priority
    takes_s: float


@dataclass(frozen=True)
class Sent:
    wish: Wish
    from_s: float
    to_s: float


class Scene:
    """A budget, those who want something of it, and what came of that."""

    def __init__(self, per_minute: int) -> None:
        self.clock = HandClock()
        self.budget = RateBudget(self.clock, per_minute)
        self.sent: list[Sent] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, *wishes: Wish) -> None:
        self.tasks += [asyncio.create_task(self._ask(wish)) for wish in wishes]

    async def _ask(self, wish: Wish) -> None:
        await self.clock.sleep(wish.at_s - self.clock.monotonic())
        async with self.budget.slot(wish.family, wish.priority):
            began = self.clock.monotonic()
            await self.clock.sleep(wish.takes_s)
            self.sent.append(Sent(wish, began, self.clock.monotonic()))

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def starts(self, priority: Priority) -> list[float]:
        return sorted(sent.from_s for sent in self.sent if sent.wish.priority is priority)


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def look(at_s: float = 0.0, family: str = "run", takes_s: float = 0.0) -> Wish:
    return Wish(at_s, family, Priority.LOOK, takes_s)


wishes = st.lists(
    st.builds(
        Wish,
        st.floats(0, 200),
        st.sampled_from(["list", "run", "abort"]),
        st.sampled_from(Priority),
        st.floats(0, 45),
    ),
    max_size=60,
)
pauses = st.lists(st.tuples(st.floats(0, 200), st.sampled_from(["list", "run"]), st.floats(0, 90)), max_size=3)


@settings(max_examples=80, deadline=None)
@given(per_minute=st.integers(1, 30), wishes=wishes, pauses=pauses, where=st.randoms())
def test_never_more_than_promised_wherever_the_platform_counts(
    per_minute: int, wishes: list[Wish], pauses: list[tuple[float, str, float]], where: Any
) -> None:
    async def scene() -> None:
        s = Scene(per_minute)
        s.ask(*wishes)

        async def pause(at_s: float, family: str, seconds: float) -> None:
            await s.clock.sleep(at_s)
            s.budget.pause(family, seconds)

        s.tasks += [asyncio.create_task(pause(*each)) for each in pauses]
        await s.clock.run(20_000)
        assert len(s.sent) == len(wishes), "somebody starved"
        assert all(task.done() for task in s.tasks)

        # The platform counts a request at some moment while it is under way.
        counted = sorted(where.uniform(sent.from_s, sent.to_s) for sent in s.sent)
        for first, last in zip(counted, counted[per_minute:], strict=False):
            assert last - first >= 60.0 - 1e-6
        for at_s, family, seconds in pauses:
            held = [x for x in s.sent if x.wish.family == family and at_s < x.from_s < at_s + seconds - 1e-6]
            assert not held

    play(scene())


def test_acquire_counts_at_once() -> None:
    async def scene() -> None:
        clock = HandClock()
        budget = RateBudget(clock, 5)
        for _ in range(5):
            await budget.acquire("run", Priority.ABORT)
        assert budget.in_window == 5
        waiting = asyncio.create_task(budget.acquire("run", Priority.ABORT))
        await clock.run(59.9)
        assert not waiting.done()
        await clock.run(60.1)
        assert waiting.done()

    play(scene())


@pytest.mark.parametrize("per_minute", [2, 3, 4, 10, 120, 6000])
def test_aborts_get_through_when_looks_have_had_their_share(per_minute: int) -> None:
    async def scene() -> None:
        s = Scene(per_minute)
        s.ask(*(look() for _ in range(min(per_minute, 500) * 2)))
        await s.clock.run(1.0)
        if per_minute <= 120:
            assert len(s.sent) < per_minute
        s.ask(Wish(1.0, "abort", Priority.ABORT, 0.0))
        await s.clock.run(1.5)
        assert s.starts(Priority.ABORT) == [1.0]
        await s.end()

    play(scene())


def test_each_class_leaves_a_share_to_those_before_it() -> None:
    async def scene() -> None:
        s = Scene(120)
        for at_s, priority in enumerate(sorted(Priority, reverse=True)):
            s.ask(*(Wish(at_s, "run", priority, 0.0) for _ in range(200)))
        await s.clock.run(5.0)
        counts = {priority: len(s.starts(priority)) for priority in Priority}
        assert counts == {Priority.LOOK: 84, Priority.SWEEP: 18, Priority.URGENT: 12, Priority.ABORT: 6}
        await s.end()

    play(scene())


def test_urgent_looks_leave_room_for_the_abort_itself() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.ask(*(Wish(0.0, "run", Priority.URGENT, 0.0) for _ in range(500)), Wish(2.0, "run", Priority.ABORT, 0.0))
        await s.clock.run(3.0)
        assert s.starts(Priority.ABORT) == [2.0]
        await s.end()

    play(scene())


def test_a_slow_answer_keeps_its_place_until_a_minute_after_it() -> None:
    async def scene() -> None:
        s = Scene(1)
        s.ask(look(0.0, takes_s=30.0), look(1.0))
        await s.clock.run(200.0)
        assert [sent.from_s for sent in s.sent] == [0.0, pytest.approx(90.0, abs=0.01)]

    play(scene())


def test_first_come_first_served() -> None:
    async def scene() -> None:
        s = Scene(4)
        s.ask(*(look(number / 10) for number in range(30)))
        await s.clock.run(5_000)
        assert [sent.wish.at_s for sent in s.sent] == sorted(sent.wish.at_s for sent in s.sent)
        assert len(s.sent) == 30

    play(scene())


def test_families_take_turns() -> None:
    async def scene() -> None:
        s = Scene(4)
        s.ask(*(look(0.0, family) for family in ("run", "actor") for _ in range(20)))
        await s.clock.run(600)
        families = [sent.wish.family for sent in s.sent]
        assert len(families) > 15
        assert families.count("actor") >= len(families) // 3
        await s.end()

    play(scene())


def test_sweeps_alone_do_not_starve_looks() -> None:
    async def scene() -> None:
        s = Scene(60)
        s.ask(*(Wish(number / 10, "list", Priority.SWEEP, 0.0) for number in range(6000)), look(5.0), look(200.0))
        await s.clock.run(600)
        first, second = s.starts(Priority.LOOK)
        assert first < 75
        assert second < 275
        await s.end()

    play(scene())


def test_a_pause_holds_for_its_family_only() -> None:
    async def scene() -> None:
        s = Scene(60)
        s.budget.pause("runs", 30.0)
        s.budget.pause("runs", 5.0)  # a shorter one does not end it
        s.ask(look(1.0, "runs"), look(1.0, "squids"), Wish(1.0, "runs", Priority.ABORT, 0.0))
        await s.clock.run(29.9)
        assert [sent.wish.family for sent in s.sent] == ["squids"]
        await s.clock.run(31.0)
        assert len(s.sent) == 3

    play(scene())


def test_a_pause_without_reason_is_not_believed_for_ever() -> None:
    async def scene() -> None:
        s = Scene(60)
        s.budget.pause("runs", 1e11)
        s.ask(look(0.0, "runs"))
        await s.clock.run(PAUSE_MAX_S + 1)
        assert len(s.sent) == 1

    play(scene())


def test_backing_off_doubles_once_for_each_round_until_it_is_over() -> None:
    async def scene() -> None:
        s = Scene(1000)

        async def pause_s() -> float:
            for _ in range(8):  # eight requests that left together
                s.budget.back_off("runs")
            began = s.clock.time_s
            s.ask(look(began, "runs"))
            await s.clock.run(began + 2 * BACKOFF_MAX_S)
            return s.sent[-1].from_s - began

        assert [await pause_s() for _ in range(9)] == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60], abs=0.01)
        s.budget.ease("runs")
        assert await pause_s() == pytest.approx(0.5, abs=0.01)

    play(scene())


def test_one_who_gives_up_holds_nobody_up() -> None:
    async def scene() -> None:
        s = Scene(1)
        s.ask(look(0.0), look(1.0), look(2.0))
        await s.clock.run(10.0)
        s.tasks[1].cancel()
        await s.clock.run(61.0)
        assert [sent.wish.at_s for sent in s.sent] == [0.0, 2.0]
        await s.end()

    play(scene())
