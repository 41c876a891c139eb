"""Looks that wait their turn: suspects first, the others by turn and a few at a time, and none is ever lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.meter import Usage
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.engine.remembered import NO_PLAN, Plan
from watchdog.engine.running import RunningTime
from watchdog.runtime.memory import Watched
from watchdog.runtime.watch.looks import LOOKS_MAX, SUSPECTS_MAX, Looks, looks_at_once

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = Source("k", "maps")


def plan(turn_at: float, *, by_sweep: bool = False) -> Plan:
    return NO_PLAN._replace(turn_at=turn_at, by_sweep=by_sweep)


def watched(run_id: str, turn_at: float = 0.0, *, by_sweep: bool = False) -> Watched:
    seen = Snapshot("main", "lobstr", run_id, SOURCE, RunState.RUNNING, "running", Usage(), NOON, False)
    return Watched(seen, 0.0, RunningTime(0.0, True), plan=plan(turn_at, by_sweep=by_sweep))


class Lab:
    """Looks that take until they are let go."""

    def __init__(self, at_once: int = 2) -> None:
        self.looks = Looks(self._look, at_once)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.cut_short: list[str] = []
        self.under_way: Counter[str] = Counter()
        self.most = 0
        self.fails = False
        self._gate = asyncio.Event()

    async def _look(self, each: Watched) -> None:
        run_id = each.swept.run_id
        self.begun.append(run_id)
        self.under_way[run_id] += 1
        self.most = max(self.most, self.under_way.total())
        try:
            await self._gate.wait()
            if self.fails:
                raise ZeroDivisionError
        except asyncio.CancelledError:
            self.cut_short.append(run_id)
            raise
        else:
            self.ended.append(run_id)
        finally:
            self.under_way[run_id] -= 1

    async def turn(self) -> None:
        """Let whatever can happen now happen."""
        for _ in range(6):
            await asyncio.sleep(0)

    def let_go(self) -> None:
        """Let the looks under way end; new ones wait again."""
        gate, self._gate = self._gate, asyncio.Event()
        gate.set()

    async def finish(self) -> None:
        self._gate.set()
        await self.looks.drain()


async def test_looks_begin_by_turn_a_few_at_a_time() -> None:
    lab = Lab(at_once=2)
    runs = [watched(name, turn) for name, turn in (("e", 50), ("c", 30), ("a", 10), ("d", 40), ("b", 20))]
    for each in runs:
        lab.looks.add(each)
    await lab.turn()
    assert lab.begun == ["e", "c"], "nothing to compare with when these came"
    assert (len(lab.looks), lab.looks.waiting) == (2, 3)
    lab.let_go()
    await lab.turn()
    assert lab.begun == ["e", "c", "a", "b"]
    await lab.finish()
    assert lab.begun == lab.ended == ["e", "c", "a", "b", "d"]
    assert (len(lab.looks), lab.looks.waiting, lab.most) == (0, 0, 2)
    assert not any(each.looking or each.ticket or each.look for each in runs)


async def test_a_run_waits_only_once_and_can_be_looked_at_again() -> None:
    lab = Lab(at_once=1)
    first, second = watched("a"), watched("b")
    for _ in range(3):
        lab.looks.add(first)
        lab.looks.add(second)
    assert lab.looks.waiting == 1
    await lab.turn()
    lab.looks.add(first)
    await lab.finish()
    assert lab.begun == ["a", "b"]
    lab.looks.add(first)
    await lab.looks.drain()
    assert lab.begun == ["a", "b", "a"]


async def test_a_run_that_is_dropped_is_not_looked_at_until_it_is_added_again() -> None:
    lab = Lab(at_once=1)
    busy, dropped, later = watched("busy"), watched("dropped", 1.0, by_sweep=True), watched("later", 2.0)
    for each in (busy, dropped, later):
        lab.looks.add(each)
    assert (lab.looks.waiting, lab.looks.waiting_for_swept_figures) == (2, 1)
    lab.looks.drop(dropped)
    lab.looks.drop(dropped)
    lab.looks.drop(busy)
    assert (lab.looks.waiting, lab.looks.waiting_for_swept_figures) == (1, 0)
    lab.looks.add(dropped)
    dropped.plan = plan(3.0, by_sweep=True)
    lab.looks.drop(dropped)
    lab.looks.add(dropped)
    await lab.finish()
    assert lab.begun == ["busy", "later", "dropped"], "once, and at its new turn"


async def test_suspects_go_before_all_others_however_many_wait() -> None:
    lab = Lab(at_once=2)
    others = [watched(f"o{number}") for number in range(50)]
    for each in others:
        lab.looks.add(each)
    await lab.turn()
    suspects = [watched(f"s{number}") for number in range(SUSPECTS_MAX + 10)]
    for each in suspects:
        lab.looks.add_suspect(each)
    await lab.turn()
    assert lab.begun == ["o0", "o1", *(f"s{number}" for number in range(SUSPECTS_MAX))]
    lab.let_go()
    await lab.turn()
    assert [each for each in lab.begun if each.startswith("s")] == [each.swept.run_id for each in suspects]
    await lab.finish()
    assert sorted(lab.ended) == sorted(each.swept.run_id for each in (*others, *suspects))
    assert lab.most <= SUSPECTS_MAX + 2


async def test_suspects_take_no_place_from_the_others() -> None:
    lab = Lab(at_once=2)
    for number in range(5):
        lab.looks.add_suspect(watched(f"s{number}"))
    for number in range(3):
        lab.looks.add(watched(f"o{number}"))
    await lab.turn()
    assert lab.begun == ["s0", "s1", "s2", "s3", "s4", "o0", "o1"]
    await lab.finish()


async def test_a_look_that_waits_for_the_rate_budget_gives_way_to_a_deadline_of_its_run() -> None:
    lab = Lab(at_once=1)
    run, other = watched("run"), watched("other", 5.0)
    lab.looks.add(run)
    lab.looks.add(other)
    await lab.turn()
    lab.looks.add_suspect(run)
    assert run.looking
    await lab.turn()
    assert lab.cut_short == ["run"]
    assert lab.begun[:2] == ["run", "run"]
    assert lab.begun[2:] == ["other"], "the place of the look that gave way is free"
    lab.looks.add_suspect(run)
    lab.looks.add(run)
    await lab.turn()
    assert lab.cut_short == ["run"], "a look before an abort gives way to nothing"
    await lab.finish()
    assert lab.ended.count("run") == 1
    assert not run.looking


async def test_a_look_that_has_not_even_begun_gives_way_too() -> None:
    lab = Lab(at_once=1)
    run = watched("run")
    lab.looks.add(run)
    lab.looks.add_suspect(run)
    await lab.finish()
    assert lab.begun == ["run"]
    assert not run.looking
    assert run.look is None


async def test_a_run_that_waits_becomes_a_suspect_only_once() -> None:
    lab = Lab(at_once=1)
    busy, run = watched("busy"), watched("run", by_sweep=True)
    lab.looks.add(busy)
    lab.looks.add(run)
    lab.looks.add_suspect(run)
    lab.looks.add_suspect(run)
    lab.looks.add(run)
    assert (lab.looks.waiting, lab.looks.waiting_for_swept_figures) == (0, 0)
    await lab.finish()
    assert sorted(lab.begun) == ["busy", "run"]


async def test_a_look_that_fails_takes_no_place_and_its_run_can_be_looked_at_again() -> None:
    lab = Lab(at_once=1)
    lab.fails = True
    first, second = watched("a"), watched("b")
    lab.looks.add(first)
    lab.looks.add_suspect(second)
    await lab.finish()
    lab.fails = False
    assert not first.looking
    assert not second.looking
    lab.looks.add(first)
    lab.looks.add_suspect(second)
    await lab.looks.drain()
    assert sorted(lab.ended) == ["a", "b"]


async def test_cancel_ends_what_is_under_way_and_begins_nothing_more() -> None:
    lab = Lab(at_once=2)
    for number in range(5):
        lab.looks.add(watched(f"o{number}", number))
    for number in range(SUSPECTS_MAX + 5):
        lab.looks.add_suspect(watched(f"s{number}"))
    await lab.turn()
    begun = len(lab.begun)
    lab.looks.cancel()
    async with asyncio.timeout(5):
        await lab.looks.drain()
    assert len(lab.begun) == begun
    assert sorted(lab.cut_short) == sorted(lab.begun)
    assert len(lab.looks) == 0


RUNS = 4
STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "suspect", "drop", "turn", "go"]), st.integers(0, RUNS - 1), st.integers(0, 9)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, at_once=st.integers(1, 3))
def test_whatever_happens_no_run_and_no_task_is_lost(steps: list[tuple[str, int, int]], at_once: int) -> None:
    """Each wish for a look is met by a look that begins after it, unless it was dropped while it waited."""

    async def play() -> None:
        lab = Lab(at_once)
        runs = [watched(str(number), by_sweep=number % 2 == 0) for number in range(RUNS)]
        for what, number, turn_at in steps:
            run = runs[number]
            if what == "add":
                if not run.ticket:
                    run.plan = plan(float(turn_at), by_sweep=run.plan.by_sweep)
                lab.looks.add(run)
                assert run.looking or run.ticket
            elif what == "suspect":
                lab.looks.add_suspect(run)
                assert run.looking
            elif what == "drop":
                lab.looks.drop(run)
                assert not run.ticket
            elif what == "turn":
                await lab.turn()
            else:
                lab.let_go()
                await lab.turn()
            assert lab.looks.waiting == sum(bool(each.ticket) for each in runs)
            assert lab.looks.waiting_for_swept_figures == sum(bool(each.ticket) and each.plan.by_sweep for each in runs)
        await lab.turn()
        assert all(count <= 1 for count in lab.under_way.values()), "a run is looked at by one task at a time"
        wanted = {each.swept.run_id for each in runs if each.looking or each.ticket}
        done = len(lab.ended)
        async with asyncio.timeout(5):
            await lab.finish()
        assert wanted <= set(lab.ended[done:])
        assert len(lab.looks) == lab.looks.waiting == lab.looks.waiting_for_swept_figures == 0
        assert not any(each.looking or each.ticket or each.look for each in runs)
        assert len(lab.begun) == len(lab.ended) + len(lab.cut_short)
        assert lab.most <= at_once + RUNS
        # And all can be looked at again.
        for each in runs:
            lab.looks.add(each)
        done = len(lab.ended)
        await lab.looks.drain()
        assert sorted(lab.ended[done:]) == sorted(str(number) for number in range(RUNS))

    asyncio.run(play())


@pytest.mark.parametrize(("budget", "looks"), [(1, 2), (120, 2), (600, 10), (6000, LOOKS_MAX), (1_000_000, LOOKS_MAX)])
async def test_so_many_looks_wait_for_the_rate_budget_as_it_lets_out_in_a_second(budget: float, looks: int) -> None:
    assert looks_at_once(budget) == looks
