"""Holds and pauses last as long as they were to last, whatever the wall clock does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.notice import AccountInfo, ArmingChanged, Notice
from watchdog.domain.override import Override, OverrideKind
from watchdog.domain.rule import RuleSet
from watchdog.errors import LedgerError
from watchdog.ledger.memory import MemoryLedger
from watchdog.runtime.leases import Leases
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.sentry import Sentry

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    """Steady seconds, and a wall clock that can be set."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.set_s = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed_s + self.set_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds

    def wall(self, seconds: float) -> float:
        return seconds


def hold(seconds: float, clock: Clock, key: str = "h", kind: OverrideKind = OverrideKind.HOLD) -> Override:
    now = clock.now()
    run_id = None if kind is OverrideKind.PAUSE else "r"
    return Override(key, kind, now, run_id, until=now + timedelta(seconds=seconds))


class World:
    """A rulebook on a ledger, with a clock, as the daemon has them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = MemoryLedger()
        self.told: list[Notice] = []
        self.accounts = [AccountInfo("apify", name, frozenset()) for name in ("a", "b")]
        self.restart()

    def restart(self, *, dry_run: bool = False) -> None:
        self.rulebook = Rulebook(RuleSet(()), dry_run, self.clock.monotonic)
        self.sentry = Sentry(self.accounts, self.rulebook, self.ledger, self, self.clock)

    def notice(self, notice: Notice) -> None:
        self.told.append(notice)

    async def read(self) -> None:
        await self.rulebook.refresh(self.ledger, self.clock.now())

    def holding(self) -> list[str]:
        return [each.id for each in self.rulebook._leases.in_force(self.clock.now())]

    async def in_ledger(self) -> list[Override]:
        return await self.ledger.overrides(self.clock.now())

    def armings(self) -> list[tuple[str, list[str]]]:
        told = [each for each in self.told if isinstance(each, ArmingChanged)]
        self.told.clear()
        return [(str(each.arming), [account.name for account in each.accounts]) for each in told]


@pytest.mark.parametrize("step_s", [3600.0, 86400.0 * 366, -10.0, -3600.0, -86400.0 * 366])
@pytest.mark.parametrize("reads", [True, False])
async def test_a_step_neither_ends_nor_prolongs_a_hold(step_s: float, reads: bool) -> None:
    world = World()
    await world.ledger.add_override(hold(600, world.clock))
    await world.read()
    world.clock.passed_s += 300
    world.clock.set_s += step_s
    for _ in range(29):
        world.clock.passed_s += 10
        if reads:
            await world.read()
        assert world.holding() == ["h"]
    world.clock.passed_s += 10
    if reads:
        await world.read()
    assert world.holding() == []


async def test_what_has_lapsed_does_not_come_back() -> None:
    """Not even if the clock is set back after the ledger has ceased to show it."""
    world = World()
    await world.ledger.add_override(hold(600, world.clock))
    await world.read()
    world.clock.passed_s += 700
    await world.read()
    world.clock.set_s -= 500
    await world.read()
    assert await world.in_ledger(), "by the wall clock it holds"
    assert world.holding() == []


async def test_the_ledger_is_set_right_for_those_who_read_it() -> None:
    world = World()
    await world.ledger.add_override(hold(600, world.clock))
    await world.sentry.look()
    world.clock.passed_s += 100
    world.clock.set_s += 86400
    assert await world.in_ledger() == [], "by the wall clock it is over"
    await world.sentry.look()
    (shown,) = await world.in_ledger()
    assert shown.until == world.clock.now() + timedelta(seconds=500)
    world.restart()
    world.clock.passed_s += 490
    await world.read()
    assert world.holding() == ["h"], "the next daemon has the rest of its time"
    world.clock.passed_s += 10
    assert world.holding() == []


async def test_one_that_somebody_ended_is_not_moved() -> None:
    world = World()
    await world.ledger.add_override(hold(600, world.clock))
    await world.sentry.look()
    world.clock.set_s -= 86400
    assert await world.ledger.end_overrides([OverrideKind.HOLD], "r", world.clock.now()) == 1
    await world.sentry.look()
    assert await world.in_ledger() == []
    assert world.holding() == []


async def test_over_a_restart_nothing_gets_more_time_than_it_was_given() -> None:
    world = World()
    await world.ledger.add_override(hold(600, world.clock))
    world.clock.set_s -= 86400
    await world.read()
    world.clock.passed_s += 599
    assert world.holding() == ["h"]
    world.clock.passed_s += 1
    assert world.holding() == []


async def test_small_differences_are_left_alone() -> None:
    world = World()
    given = hold(600, world.clock)
    await world.ledger.add_override(given)
    await world.sentry.look()
    world.clock.set_s += 4
    await world.sentry.look()
    assert await world.in_ledger() == [given]


@given(
    lasts_s=st.floats(1, 1e5),
    moves=st.lists(st.tuples(st.floats(0, 5e4), st.floats(-1e7, 1e7)), max_size=10),
)
def test_only_the_time_that_passed_counts(lasts_s: float, moves: list[tuple[float, float]]) -> None:
    clock = Clock()
    leases = Leases(clock.monotonic)
    given = hold(lasts_s, clock)
    leases.take([given], clock.now())
    for passed_s, step_s in moves:
        clock.passed_s += passed_s
        clock.set_s += step_s
        # What a ledger shows that is asked for the hour that the leases ask for.
        hour, until = leases.hour_to_ask_for(clock.now()), given.until
        assert until is not None
        leases.take([given] if until > hour else [], clock.now())
        in_force = leases.in_force(clock.now())
        if abs(clock.passed_s - lasts_s) > 0.001:
            assert bool(in_force) == (clock.passed_s < lasts_s)
        for each in in_force:
            assert each.until is not None
            left_s = (each.until - clock.now()).total_seconds()
            assert left_s == pytest.approx(lasts_s - clock.passed_s, abs=0.001)


async def test_what_is_told_of_pauses() -> None:
    world = World()
    await world.sentry.look()
    assert world.armings() == [("armed", ["a", "b"])]
    await world.sentry.look()
    assert world.armings() == []
    pause = replace(hold(600, world.clock, "p", OverrideKind.PAUSE), account="b", reason="night shift")
    await world.ledger.add_override(pause)
    await world.sentry.look()
    assert world.armings() == [("paused until 2026-01-01 12:10 UTC: night shift", ["b"])]
    world.clock.set_s += 86400
    await world.sentry.look()
    assert world.armings() == [], "still the same pause"
    assert str(world.rulebook.arming("b", world.clock.now())) == "paused until 2026-01-02 12:10 UTC: night shift"
    world.clock.passed_s += 600
    await world.sentry.look()
    assert world.armings() == [("armed", ["b"])]


async def test_a_pause_ends_though_the_ledger_cannot_be_read() -> None:
    world = World()
    await world.ledger.add_override(hold(600, world.clock, "p", OverrideKind.PAUSE))
    await world.sentry.look()
    assert world.armings() == [("paused until 2026-01-01 12:10 UTC", ["a", "b"])]

    class Broken(MemoryLedger):
        async def overrides(self, now: datetime) -> list[Override]:
            raise LedgerError("the disk is gone")

    sentry = Sentry(world.accounts, world.rulebook, Broken(), world, world.clock)
    sentry._told = world.sentry._told
    world.clock.passed_s += 601
    await sentry.look()
    assert world.armings() == [("armed", ["a", "b"])]


async def test_a_dry_run_says_so_whatever_is_paused() -> None:
    world = World()
    world.restart(dry_run=True)
    await world.ledger.add_override(hold(600, world.clock, "p", OverrideKind.PAUSE))
    await world.sentry.look()
    assert world.armings() == [("dry run", ["a", "b"])]
