"""How old an order is, when the wall clock cannot be trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from watchdog.domain.decision import Mode
from watchdog.domain.notice import Notice
from watchdog.domain.override import Order
from watchdog.domain.rule import RuleSet
from watchdog.ledger.memory import MemoryLedger
from watchdog.runtime.desk import ORDER_MAX_AGE_S, Desk
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.rulebook import Rulebook

pytestmark = pytest.mark.anyio
TOO_OLD = "not aborted: the order is too old; ask again"
TAKEN = "not aborted: no account has a run r"  # looked for, but this desk has no platform


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Clock:
    def __init__(self) -> None:
        self.passed_s = self.set_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.passed_s + self.set_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds

    def wall(self, seconds: float) -> float:
        return seconds


class Office:
    """A desk on a ledger, and somebody who writes orders into it."""

    def __init__(self) -> None:
        self.clock, self.ledger = Clock(), MemoryLedger()
        self.desk = Desk(
            {}, Enforcer({}, {}, Rulebook(RuleSet()), self.ledger, self, self.clock), self.ledger, self.clock
        )

    def notice(self, notice: Notice) -> None:
        """Nobody listens."""

    async def order(self) -> None:
        await self.ledger.add_order(Order("o", "r", Mode.IMMEDIATE, self.clock.now()))

    async def answer(self) -> str | None:
        await self.desk.serve()
        return await self.ledger.order_answer("o")


@pytest.mark.parametrize(("age_s", "answer"), [(ORDER_MAX_AGE_S - 1, TAKEN), (ORDER_MAX_AGE_S + 1, TOO_OLD)])
async def test_one_from_before_the_start_is_as_old_as_the_wall_clock_says(age_s: float, answer: str) -> None:
    office = Office()
    await office.order()
    office.clock.passed_s += age_s
    assert await office.answer() == answer


async def test_one_from_the_future_is_not_carried_out_at_the_start() -> None:
    office = Office()
    await office.order()
    office.clock.set_s -= 86400
    assert await office.answer() == TOO_OLD


@pytest.mark.parametrize("step_s", [-86400.0, 3600.0, 31 * 86400.0])
async def test_a_step_of_the_wall_clock_makes_none_too_old(step_s: float) -> None:
    office = Office()
    await office.answer()
    office.clock.passed_s += 1
    await office.order()
    office.clock.set_s += step_s
    office.clock.passed_s += 1
    assert await office.answer() == TAKEN
