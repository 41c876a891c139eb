"""The rate budget on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.net import BACKOFF_MAX_S, PAUSE_MAX_S, Departure, Priority, Quota, RateBudget

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
        self.replies: list[Quota | str | None] = []

    def ask(self, *wishes: Wish) -> None:
        self.tasks += [asyncio.create_task(self._ask(wish)) for wish in wishes]

    async def _ask(self, wish: Wish) -> None:
        await self.clock.sleep(wish.at_s - self.clock.monotonic())
        async with self.budget.slot(wish.family, wish.priority) as departure:
            began = self.clock.monotonic()
            await self.clock.sleep(wish.takes_s)
            self.sent.append(Sent(wish, began, self.clock.monotonic()))
            self.hear(departure, self.replies.pop(0) if self.replies else None)

    def hear(self, departure: Departure, reply: Quota | str | None) -> None:
        if isinstance(reply, Quota):
            self.budget.learn(departure, reply)
        elif reply == "429":
            self.budget.shrink(departure)
            self.budget.back_off(departure.family)

    async def departure(self, family: str = "run", priority: Priority = Priority.ABORT) -> Departure:
        """A request that is answered at once."""
        async with asyncio.timeout(5), self.budget.slot(family, priority) as departure:
            return departure

    def allowed(self, family: str = "run") -> int:
        return self.budget.state(family).allowed_per_minute

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
quotas = st.builds(Quota, st.integers(-2, 40), st.floats(-10, 1000), st.none() | st.integers(1, 40))
#: What the answers say, in their order: a quota, a 429, or nothing.
replies = st.lists(st.none() | st.just("429") | quotas, max_size=30)


@settings(max_examples=80, deadline=None)
@given(per_minute=st.integers(1, 30), wishes=wishes, pauses=pauses, replies=replies, where=st.randoms())
def test_never_more_than_promised_wherever_the_platform_counts(
    per_minute: int,
    wishes: list[Wish],
    pauses: list[tuple[float, str, float]],
    replies: list[Quota | str | None],
    where: Any,
) -> None:
    """And whatever it says, everybody's turn comes."""

    async def scene() -> None:
        s = Scene(per_minute)
        s.replies = replies.copy()
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
        for number, priority in enumerate(sorted(Priority, reverse=True)):
            # Looks take the whole of the minute for their share.
            at_s = 59.4 + number / 10 if number else 0.0
            s.ask(*(Wish(at_s, "run", priority, 0.0) for _ in range(200)))
        await s.clock.run(59.9)
        counts = {priority: len(s.starts(priority)) for priority in Priority}
        assert counts == {Priority.LOOK: 106, Priority.SWEEP: 2, Priority.URGENT: 6, Priority.ABORT: 6}
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


# --- the pace ------------------------------------------------------------------------------------------------------


def longest_gap(times: list[float]) -> float:
    return max(later - earlier for earlier, later in pairwise(times))


def test_looks_are_spread_over_the_minute() -> None:
    """A few at once, then one after the other: whoever is next waits for less than a second."""

    async def scene() -> None:
        s = Scene(120)
        s.ask(*(look() for _ in range(600)))
        await s.clock.run(300)
        starts = s.starts(Priority.LOOK)
        assert 15 <= sum(start == 0 for start in starts) <= 21
        assert longest_gap(starts) < 1.0
        assert len(starts) >= 0.95 * 106 * 5
        await s.end()

    play(scene())


def test_looks_are_spread_beside_sweeps_and_other_families() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.ask(*(look(0.0, family) for family in ("run", "actor") for _ in range(300)))
        s.ask(*(Wish(number * 3, "list", Priority.SWEEP, 0.0) for number in range(100)))
        await s.clock.run(300)
        assert longest_gap(sorted(sent.from_s for sent in s.sent)) < 1.2
        sweeps = [sent for sent in s.sent if sent.wish.priority is Priority.SWEEP]
        assert len(sweeps) == 100
        assert max(sent.from_s - sent.wish.at_s for sent in sweeps) < 1.5
        await s.end()

    play(scene())


@pytest.mark.parametrize(("per_minute", "at_once"), [(1, 1), (4, 2), (10, 4), (30, 5)])
def test_small_budgets_start_briskly(per_minute: int, at_once: int) -> None:
    async def scene() -> None:
        s = Scene(per_minute)
        s.ask(*(look() for _ in range(50)))
        await s.clock.run(0.5)
        assert len(s.sent) == at_once
        await s.end()

    play(scene())


@pytest.mark.parametrize(("priority", "at_once"), [(Priority.URGENT, 114), (Priority.ABORT, 120)])
def test_what_is_urgent_is_not_paced(priority: Priority, at_once: int) -> None:
    async def scene() -> None:
        s = Scene(120)
        s.ask(*(Wish(0.0, "run", priority, 0.0) for _ in range(200)))
        await s.clock.run(0.5)
        assert len(s.sent) == at_once
        await s.end()

    play(scene())


def test_a_large_sweep_is_not_slowed_and_looks_go_on_after_it() -> None:
    async def scene() -> None:
        s = Scene(6000)
        s.ask(*(Wish(0.0, "list", Priority.SWEEP, 0.0) for _ in range(900)), look(0.1))
        await s.clock.run(5.0)
        assert s.starts(Priority.SWEEP) == [0.0] * 900
        assert s.starts(Priority.LOOK)[0] < 1.5
        await s.end()

    play(scene())


@settings(max_examples=60, deadline=None)
@given(
    per_minute=st.integers(1, 200),
    wishes=st.lists(
        st.builds(Wish, st.floats(0, 100), st.just("run"), st.just(Priority.LOOK), st.floats(0, 20)), max_size=80
    ),
)
def test_no_more_leave_in_any_time_than_the_bucket_gives(per_minute: int, wishes: list[Wish]) -> None:
    async def scene() -> None:
        s = Scene(per_minute)
        s.ask(*wishes)
        await s.clock.run(9_000)
        starts = s.starts(Priority.LOOK)
        assert len(starts) == len(wishes)
        # One that waits for ten seconds goes by the pace of a sweep.
        a_minute = max(1, per_minute - max(1, round(0.10 * per_minute)))
        # And sweeps owe the looks before it no more than a second beyond their burst, which may let one more through.
        at_once = max(4, 0.2 * a_minute + 1) + 1
        for first, start in enumerate(starts):
            for count, other in enumerate(starts[first:], 1):
                assert count <= at_once + (other - start) * a_minute / 60 + 1e-3

    play(scene())


# --- what the platform tells ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "remaining", "leave"),
    [
        (Priority.LOOK, 30, 16),
        (Priority.LOOK, 14, 0),
        (Priority.SWEEP, 30, 18),
        (Priority.URGENT, 36, 30),
        (Priority.ABORT, 36, 36),
        (Priority.ABORT, 0, 0),
    ],
)
def test_what_remains_is_for_those_that_go_first(priority: Priority, remaining: int, leave: int) -> None:
    """After a restart the own window knows nothing of what was sent before."""

    async def scene() -> None:
        s = Scene(120)
        s.budget.learn(await s.departure(), Quota(remaining, 9.0, 120))
        s.ask(*(Wish(0.0, "run", priority, 0.0) for _ in range(100)))
        s.ask(Wish(0.0, "elsewhere", Priority.LOOK, 0.0))
        await s.clock.run(9.9)
        own = [sent for sent in s.sent if sent.wish.family == "run"]
        assert len(own) == leave
        assert len(s.sent) == leave + 1
        await s.clock.run(12)
        assert len(s.sent) > leave + 1, "it starts anew"
        await s.end()

    play(scene())


def test_the_last_that_remains_is_for_the_one_that_goes_first() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.budget.learn(await s.departure(), Quota(15, 30.0))
        s.budget.pause("run", 1.0)
        s.ask(look(), Wish(0.0, "run", Priority.SWEEP, 0.0))
        await s.clock.run(9.0)
        assert [sent.wish.priority for sent in s.sent] == [Priority.SWEEP]
        await s.end()

    play(scene())


def test_those_under_way_are_not_yet_in_what_remains() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.ask(*(Wish(0.0, "run", Priority.ABORT, 5.0) for _ in range(8)))
        await s.clock.run(1.0)
        first = await s.departure()  # leaves after those, and is answered before them
        s.ask(Wish(1.0, "run", Priority.ABORT, 0.0))  # has left when the answer to the first comes
        await s.clock.run(1.1)
        s.budget.learn(first, Quota(20, 30.0))
        s.ask(*(Wish(1.1, "run", Priority.ABORT, 0.0) for _ in range(50)))
        await s.clock.run(20)
        assert len(s.starts(Priority.ABORT)) == 8 + 1 + (20 - 8 - 1)
        await s.end()

    play(scene())


def test_the_last_one_asked_knows_best() -> None:
    async def scene() -> None:
        s = Scene(120)
        first, second = await s.departure(), await s.departure()
        s.budget.learn(second, Quota(10, 30.0))
        s.budget.learn(first, Quota(50, 30.0))  # asked before, answered after
        s.ask(*(Wish(0.0, "run", Priority.ABORT, 0.0) for _ in range(60)))
        await s.clock.run(1.0)
        assert len(s.sent) == 10
        s.ask(look(1.0))
        await s.clock.run(2.0)
        third = Departure("run", 1.0, number=99, answered_before=12)
        s.budget.learn(third, Quota(70, 30.0))
        await s.clock.run(4.0)
        assert len(s.starts(Priority.ABORT)) == 60
        await s.end()

    play(scene())


def test_an_abort_does_not_wait_long_for_a_reset_that_may_mean_something_else() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.budget.learn(await s.departure(), Quota(0, 600.0))
        s.ask(Wish(0.0, "run", Priority.ABORT, 0.0), Wish(0.0, "run", Priority.SWEEP, 0.0))
        await s.clock.run(599)
        assert s.starts(Priority.ABORT) == [pytest.approx(60.0, abs=1)]
        assert not s.starts(Priority.SWEEP)
        await s.clock.run(602)
        assert s.starts(Priority.SWEEP)

    play(scene())


@pytest.mark.parametrize("quota", [Quota(0, -1.0, 1), Quota(0, 0.0, 1), Quota(0, 901.0, 1), Quota(-1, 30.0, 1)])
def test_nonsense_is_not_learnt(quota: Quota) -> None:
    async def scene() -> None:
        s = Scene(120)
        s.budget.learn(await s.departure(), quota)
        assert s.allowed() == 120
        s.ask(look())
        await s.clock.run(1.0)
        assert len(s.sent) == 1

    play(scene())


def test_a_lower_limit_holds_for_its_family() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.budget.learn(await s.departure(), Quota(29, 60.0, 30))
        assert s.allowed() == 30
        s.ask(*(Wish(61.0, family, Priority.ABORT, 0.0) for family in ("run", "other") for _ in range(200)))
        await s.clock.run(70.0)
        families = [sent.wish.family for sent in s.sent]
        assert (families.count("run"), families.count("other")) == (30, 90)
        await s.clock.run(PAUSE_MAX_S + 1)
        assert s.allowed() == 120, "not told again for long enough"
        await s.end()

    play(scene())


def test_a_limit_a_second_is_not_one_a_minute() -> None:
    async def scene() -> None:
        s = Scene(6000)
        s.budget.learn(await s.departure(), Quota(59, 0.9, 60))
        assert s.allowed() == 3600
        s.ask(*(look() for _ in range(100)))
        await s.clock.run(0.8)
        assert len(s.sent) == 59 - 7, "the reserves are those of the limit that is told"
        s.sent.clear()
        await s.end()
        s.ask(*(Wish(2.0, "run", Priority.SWEEP, 0.0) for _ in range(500)))
        await s.clock.run(3.0)
        assert len(s.sent) == 500

    play(scene())


def test_the_longest_time_to_a_reset_tells_what_a_limit_is_for() -> None:
    async def scene() -> None:
        s = Scene(120)
        s.budget.learn(await s.departure(), Quota(50, 30.0, 60))
        assert s.allowed() == 120
        s.budget.learn(await s.departure(), Quota(59, 60.0, 60))
        assert s.allowed() == 60
        s.budget.learn(await s.departure(), Quota(10, 1.0, 60))
        assert s.allowed() == 60
        s.budget.learn(await s.departure(), Quota(10, 1.0, 90))
        assert s.allowed() == 120, "another limit may be for another time"
        s.budget.learn(await s.departure(), Quota(10, 60.0, 90))
        assert s.allowed() == 90
        s.budget.learn(await s.departure(), Quota(1000, 60.0, 100_000))
        assert s.allowed() == 120

    play(scene())


SHARE_LEFT = {Priority.ABORT: (0, 0), Priority.URGENT: (0.05, 1), Priority.SWEEP: (0.10, 1), Priority.LOOK: (0.12, 2)}


@settings(max_examples=80, deadline=None)
@given(
    remaining=st.integers(0, 40),
    reset_s=st.floats(0.5, 60),
    under_way=st.integers(0, 10),
    wishes=st.lists(
        st.builds(Wish, st.floats(1, 60), st.just("run"), st.sampled_from(Priority), st.floats(0, 5)), max_size=50
    ),
)
def test_no_more_leaves_than_remains(remaining: int, reset_s: float, under_way: int, wishes: list[Wish]) -> None:
    async def scene() -> None:
        s = Scene(40)
        s.ask(*(Wish(0.0, "run", Priority.ABORT, 70.0) for _ in range(under_way)))
        await s.clock.run(0.5)
        s.budget.learn(await s.departure(), Quota(remaining, reset_s))
        s.ask(*wishes)
        await s.clock.run(5_000)
        later = sorted((sent for sent in s.sent if sent.from_s > 0.4), key=lambda sent: sent.from_s)
        assert len(later) == len(wishes)
        for count, sent in enumerate(later):
            if sent.from_s < 0.5 + reset_s - 1e-6:
                share, least = SHARE_LEFT[sent.wish.priority]
                if sent.wish.priority is Priority.LOOK and sent.from_s - sent.wish.at_s >= 10:
                    share, least = SHARE_LEFT[Priority.SWEEP]
                assert count < remaining - under_way - max(least, round(share * 40))

    play(scene())


# --- 429 -----------------------------------------------------------------------------------------------------------


def test_a_429_shrinks_its_family_once_for_all_that_left_together() -> None:
    async def scene() -> None:
        s = Scene(100)
        together = [await s.departure() for _ in range(8)]
        await s.clock.run(1.0)
        for departure in together:
            s.budget.shrink(departure)
        assert s.allowed() == 70
        await s.clock.run(1.5)
        late = await s.departure()
        await s.clock.run(2.0)
        s.budget.shrink(late)
        assert s.allowed() == 49
        s.ask(*(Wish(2.0, "other", Priority.URGENT, 0.0) for _ in range(200)))
        await s.clock.run(3.0)
        assert len(s.sent) == 95 - 9, "another family keeps all that the account has"
        await s.end()

    play(scene())


def test_what_shrank_grows_back() -> None:
    async def scene() -> None:
        s = Scene(100)
        s.budget.shrink(await s.departure())
        seen = []
        for minute in range(5):
            await s.clock.run(minute * 60.0)
            seen.append(s.allowed())
        assert seen == [70, 80, 90, 100, 100]

    play(scene())


def test_it_never_shrinks_to_nothing() -> None:
    async def scene() -> None:
        s = Scene(100)
        for second in range(1, 30):
            departure = await s.departure()
            await s.clock.run(float(second))
            s.budget.shrink(departure)
        assert s.allowed() == 10
        await s.clock.run(10 * 60)
        assert s.allowed() == 100

    play(scene())


def test_aborts_keep_the_whole_when_all_else_shrinks() -> None:
    async def scene() -> None:
        s = Scene(100)
        s.budget.shrink(await s.departure())
        s.ask(*(Wish(1.0, "run", Priority.URGENT, 0.0) for _ in range(200)))
        await s.clock.run(2.0)
        assert len(s.sent) == 70 - round(0.05 * 70) - 1
        s.ask(*(Wish(2.0, "run", Priority.ABORT, 0.0) for _ in range(200)))
        await s.clock.run(3.0)
        assert len(s.sent) == 100 - 1
        await s.end()

    play(scene())


def test_the_state_tells_what_is_used() -> None:
    async def scene() -> None:
        s = Scene(100)
        for family in ("run", "run", "run", "list"):
            await s.departure(family)
        assert (s.budget.state("run").used, s.budget.state("list").used) == (0.03, 0.01)
        s.budget.shrink(await s.departure("list"))
        state = s.budget.state("run")
        assert (state.allowed_per_minute, state.used) == (70, 0.03), "the most limited family"
        assert s.budget.state("list").used == pytest.approx(2 / 70)
        await s.clock.run(61)
        assert s.budget.state("run").used == 0

    play(scene())
