"""The wrapper that lets the watch go on while the ledger fails: nothing lost, nothing older on top, told once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Abort, AbortState, Mode
from watchdog.domain.notice import LedgerState, Trouble
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.ports import AbortFilter
from watchdog.domain.run import replace
from watchdog.errors import LedgerError
from watchdog.ledger.memory import MemoryLedger
from watchdog.ledger.resilient import ResilientLedger
from watchdog.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio


class Failing(MemoryLedger):
    """A store whose calls fail, or take a while, as a test says: `hook` is awaited before each, by the call's name."""

    def __init__(self, hook: Callable[[str], Awaitable[None]] | None = None) -> None:
        super().__init__()
        self.broken: set[str] = set()
        self.calls: list[str] = []
        self._hook = hook

    def break_down(self, *names: str) -> None:
        self.broken = set(names) or {"*"}

    def mend(self) -> None:
        self.broken = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name.startswith("_") or name in ("broken", "calls", "break_down", "mend", "close") or not callable(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if self._hook is not None:
                await self._hook(name)
            if {"*", name} & self.broken or any(getattr(arg, "id", None) in self.broken for arg in args):
                raise LedgerError(f"{name}: the disk is on fire")
            return await found(*args, **kwargs)

        return call


@pytest.fixture
def inner() -> Failing:
    return Failing()


@pytest.fixture
def ledger(inner: Failing, notices: Any) -> ResilientLedger:
    return ResilientLedger(inner, notices, SystemClock())


def told(notices: Any) -> list[bool]:
    """What was said of the state, in order: whether it fails."""
    return [notice.error is not None for notice in notices.told if isinstance(notice, LedgerState)]


# --- aborts ----------------------------------------------------------------------------------------------------------


async def test_a_record_waits_in_memory_and_is_written_later(
    ledger: ResilientLedger, inner: Failing, make: Any, notices: Any
) -> None:
    await ledger.aborts()
    inner.break_down()
    await ledger.save(make.version(make.abort(), 0))
    await ledger.save(make.version(make.abort(), 1))
    assert ledger.pending == 1
    assert await ledger.aborts() == [make.version(make.abort(), 1)]
    inner.mend()
    assert await MemoryLedger.aborts(inner) == []
    await ledger.flush()
    assert await MemoryLedger.aborts(inner) == [make.version(make.abort(), 1)]
    assert ledger.pending == 0
    assert told(notices) == [True], "the last read failed, too"
    assert len(await ledger.aborts()) == 1
    assert told(notices) == [True, False]


async def test_the_next_save_writes_what_waits(ledger: ResilientLedger, inner: Failing, make: Any) -> None:
    inner.break_down()
    await ledger.save(make.abort("a"))
    inner.mend()
    await ledger.save(make.abort("b"))
    assert [abort.id for abort in await MemoryLedger.aborts(inner)] == ["a", "b"]


async def test_a_record_that_can_never_be_written_keeps_no_other_from_it(
    ledger: ResilientLedger, inner: Failing, make: Any, notices: Any
) -> None:
    inner.break_down("poison")
    await ledger.save(make.abort("poison"))
    for abort_id in "abc":
        await ledger.save(make.abort(abort_id))
        assert abort_id in {abort.id for abort in await MemoryLedger.aborts(inner)}
    inner.break_down()
    for abort_id in "de":
        await ledger.save(make.abort(abort_id))
    inner.break_down("poison")
    await ledger.flush()
    await ledger.flush()
    assert [abort.id for abort in await MemoryLedger.aborts(inner)] == list("abcde")
    assert ledger.pending == 1
    assert told(notices) == [True], "not all is well while a record waits"


async def test_pending_records_obey_the_filters(ledger: ResilientLedger, inner: Failing, make: Any) -> None:
    await ledger.save(make.abort("a"))
    await ledger.save(make.abort("b", rule="other"))
    inner.break_down("save")
    await ledger.save(make.abort("a").advance(AbortState.CONFIRMED, make.at(1)))
    await ledger.save(make.abort("c", rule="third"))
    for wanted, ids in [
        (AbortFilter(rule="other"), "b"),
        (AbortFilter(outcome="intended"), "bc"),
        (AbortFilter(outcome="confirmed"), "a"),
        (AbortFilter(since=make.at(1)), ""),
        (None, "abc"),
    ]:
        assert "".join(abort.id for abort in await ledger.aborts(wanted)) == ids


async def test_open_aborts_with_records_in_memory(ledger: ResilientLedger, inner: Failing, make: Any) -> None:
    for abort_id in "ab":
        await ledger.save(make.abort(abort_id))
    inner.break_down("save")
    await ledger.save(make.abort("a").advance(AbortState.FAILED, make.at(1)))
    await ledger.save(make.abort("c"))
    assert [abort.id for abort in await ledger.open_aborts()] == ["b", "c"]


async def test_a_ledger_that_cannot_be_read_at_the_start_is_not_taken_for_an_empty_one(
    ledger: ResilientLedger, inner: Failing, make: Any
) -> None:
    inner.break_down()
    for read in (ledger.open_aborts, ledger.aborts, lambda: ledger.overrides(make.t0)):
        with pytest.raises(LedgerError):
            await read()
    inner.mend()
    assert await ledger.aborts() == []
    inner.break_down()
    assert await ledger.aborts() == []
    with pytest.raises(LedgerError):
        await ledger.open_aborts()


async def test_while_it_cannot_be_read_the_records_of_this_process_are_shown(
    ledger: ResilientLedger, inner: Failing, make: Any
) -> None:
    await ledger.aborts()
    await ledger.save(make.abort("a"))
    inner.break_down()
    await ledger.save(make.abort("b", rule="other"))
    assert [abort.id for abort in await ledger.aborts()] == ["a", "b"]
    assert [abort.id for abort in await ledger.aborts(AbortFilter(rule="cap"))] == ["a"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), broken=st.floats(0, 0.95), records=st.integers(1, 5), versions=st.integers(1, 6))
def test_the_last_version_of_each_record_is_written_and_reads_never_go_back(
    make: Any, seed: int, broken: float, records: int, versions: int
) -> None:
    """Many savers at once over a store that fails and dawdles at random, before and after its work."""
    chance = random.Random(seed)
    observed: list[Any] = []
    fresh = type("Observer", (), {"notice": staticmethod(observed.append)})()

    async def trouble(_: str) -> None:
        for _turn in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if calm:
            return
        if chance.random() < broken:
            raise LedgerError("on fire")

    async def dawdling_save(self: Failing, abort: Abort) -> None:
        await MemoryLedger.save(self, abort)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if not calm and chance.random() < broken / 2:
            raise LedgerError("written, but the answer was lost")

    calm = False
    inner = type("Dawdling", (Failing,), {"save": dawdling_save})(trouble)
    ledger = ResilientLedger(inner, fresh, SystemClock())

    async def saver(record: Abort) -> None:
        for number in range(versions):
            version = make.version(record, number)
            await ledger.save(version)
            [seen] = [abort for abort in await ledger.aborts() if abort.id == record.id]
            assert seen == version, "nobody else saves this record, so its saver reads what it saved"
            if chance.random() < 0.2:
                await ledger.flush()

    async def reader(until: asyncio.Event) -> None:
        known: dict[str, int] = {}
        while not until.is_set():
            now = {abort.id: abort.requests for abort in await ledger.aborts()}
            assert all(now.get(abort_id, -1) >= number for abort_id, number in known.items())
            known = now
            await asyncio.sleep(0)

    async def whole() -> None:
        nonlocal calm
        calm = True
        await ledger.aborts()
        calm = False
        done = asyncio.Event()
        reading = asyncio.create_task(reader(done))
        aborts = [make.abort(f"a{number}", number) for number in range(records)]
        await asyncio.gather(*(saver(abort) for abort in aborts))
        done.set()
        await reading
        calm = True
        await ledger.flush()
        await ledger.aborts()
        expected = [make.version(abort, versions - 1) for abort in aborts]
        assert await MemoryLedger.aborts(inner) == await ledger.aborts() == expected
        assert ledger.pending == 0
        states = [notice.error is not None for notice in observed]
        assert states == [index % 2 == 0 for index in range(len(states))], "each change once"
        assert not states or not states[-1], "all is well at the end"

    asyncio.run(whole())


async def test_what_is_written_while_it_is_read_is_not_missed(notices: Any, make: Any) -> None:
    """The store looked before the record was written, and answers after it: by then nothing waits in memory."""
    looked, answer = asyncio.Event(), asyncio.Event()

    class Late(Failing):
        async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
            found = await MemoryLedger.aborts(self, wanted)
            looked.set()
            await answer.wait()
            return found

    inner = Late()
    ledger = ResilientLedger(inner, notices, SystemClock())
    inner.break_down("save")
    await ledger.save(make.abort())
    inner.mend()
    reading = asyncio.create_task(ledger.aborts())
    await looked.wait()
    await ledger.flush()
    assert ledger.pending == 0
    answer.set()
    assert await reading == [make.abort()]


async def test_a_save_that_is_cancelled_is_not_lost(notices: Any, make: Any) -> None:
    gate = asyncio.Event()

    async def wait(name: str) -> None:
        if name == "save":
            await gate.wait()

    inner = Failing(wait)
    ledger = ResilientLedger(inner, notices, SystemClock())
    saving = asyncio.create_task(ledger.save(make.abort()))
    await asyncio.sleep(0.01)
    saving.cancel()
    await asyncio.gather(saving, return_exceptions=True)
    assert ledger.pending == 1
    gate.set()
    await ledger.close()
    assert len(await MemoryLedger.aborts(inner)) == 1


# --- together --------------------------------------------------------------------------------------------------------


class Counting(MemoryLedger):
    """A store that writes down how many saves it is asked for at once, in all and of one record."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[str] = []
        self.most = self.most_of_one = 0
        self.broken = False

    async def save(self, abort: Abort) -> None:
        self.under_way.append(abort.id)
        self.most = max(self.most, len(self.under_way))
        self.most_of_one = max(self.most_of_one, self.under_way.count(abort.id))
        for _ in range(10):
            await asyncio.sleep(0)
        self.under_way.remove(abort.id)
        if self.broken:
            raise LedgerError("on fire")
        await super().save(abort)


async def test_what_is_saved_at_once_is_handed_on_at_once(notices: Any, make: Any) -> None:
    """Else the store could not write it together. Versions of one record go one at a time."""
    inner = Counting()
    ledger = ResilientLedger(inner, notices, SystemClock())
    records = [make.abort(f"a{number:03}", number) for number in range(100)]
    await asyncio.gather(*(ledger.save(make.version(record, step)) for step in range(3) for record in records))
    assert inner.most == 100
    assert inner.most_of_one == 1
    assert await inner.aborts() == [make.version(record, 2) for record in records]
    assert ledger.pending == 0


async def test_a_flush_tries_one_and_hands_the_others_on_at_once(notices: Any, make: Any) -> None:
    inner = Counting()
    ledger = ResilientLedger(inner, notices, SystemClock())
    inner.broken = True
    for number in range(100):
        await ledger.save(make.abort(f"a{number:03}", number))
    inner.most = 0
    await ledger.flush()
    assert (inner.most, ledger.pending) == (1, 100), "while the disk is gone, one write finds that out"
    inner.broken = False
    await ledger.flush()
    assert (inner.most, ledger.pending) == (99, 0)
    assert told(notices) == [True, False]


async def test_a_flush_writes_all_there_is_in_portions(notices: Any, make: Any) -> None:
    inner = Counting()
    ledger = ResilientLedger(inner, notices, SystemClock())
    inner.broken = True
    for number in range(1_000):
        await ledger.save(make.abort(f"a{number:03}", number))
    inner.broken, inner.most = False, 0
    await ledger.flush()
    assert ledger.pending == 0
    assert 10 < inner.most < 1_000


async def test_the_next_save_writes_some_of_what_waits_at_once(notices: Any, make: Any) -> None:
    inner = Counting()
    ledger = ResilientLedger(inner, notices, SystemClock())
    inner.broken = True
    for number in range(50):
        await ledger.save(make.abort(f"a{number:03}", number))
    inner.broken, inner.most = False, 0
    await ledger.save(make.abort("new"))
    assert (inner.most, ledger.pending) == (20, 30)


async def test_a_save_does_not_wait_for_one_of_another_record(notices: Any, make: Any) -> None:
    stuck, gate = asyncio.Event(), asyncio.Event()

    class Stuck(MemoryLedger):
        async def save(self, abort: Abort) -> None:
            if abort.id == "stuck":
                stuck.set()
                await gate.wait()
            await super().save(abort)

    ledger = ResilientLedger(Stuck(), notices, SystemClock())
    saving = asyncio.create_task(ledger.save(make.abort("stuck")))
    await stuck.wait()
    await ledger.save(make.abort("other"))
    assert not saving.done()
    closing = asyncio.create_task(ledger.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done(), "closing does"
    gate.set()
    await closing
    assert saving.done()
    assert ledger.pending == 0
    assert notices.told == []


# --- a disk that hangs -----------------------------------------------------------------------------------------------


async def test_a_disk_that_hangs_holds_no_abort_up(notices: Any, make: Any) -> None:
    """A hundred aborts at once wait for it once together, not one after the other."""
    answers = asyncio.Event()

    async def hang(_: str) -> None:
        await answers.wait()

    inner = Failing(hang)
    ledger = ResilientLedger(inner, notices, SystemClock(), patience_s=0.1)
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(ledger.save(make.abort(f"a{number:03}")) for number in range(100)))
    await ledger.save(make.abort("late"))
    assert await ledger.finished_usages("x") == []
    await ledger.save_runs([make.run()])
    await ledger.add_burn(make.finished("r", 1, 1.0))
    assert asyncio.get_running_loop().time() - began < 1.0
    assert ledger.pending == 101
    assert told(notices) == [True]
    assert "no answer within 0.1 s" in str(notices.told[0].error)
    answers.set()
    await ledger.flush()
    assert ledger.pending == 0
    assert len(await MemoryLedger.aborts(inner)) == 101
    assert told(notices) == [True, False]


async def test_the_first_read_is_waited_for_longer(notices: Any, make: Any) -> None:
    """As at the boot of a machine, when nothing but the end of the daemon would come of impatience."""
    asked, answers = asyncio.Event(), asyncio.Event()

    async def hang(_: str) -> None:
        asked.set()
        await answers.wait()

    inner = Failing(hang)
    await MemoryLedger.save(inner, make.abort("a"))
    ledger = ResilientLedger(inner, notices, SystemClock(), patience_s=0.1)
    reading = asyncio.create_task(ledger.open_aborts())
    await asked.wait()
    await asyncio.wait([reading], timeout=0.2)
    assert not reading.done()
    answers.set()
    assert [abort.id for abort in await reading] == ["a"]
    answers.clear()
    with pytest.raises(LedgerError, match=r"no answer within 0\.1 s"):
        await ledger.open_aborts()


async def test_a_first_read_without_an_answer_fails_in_the_end(notices: Any) -> None:
    async def hang(_: str) -> None:
        await asyncio.Event().wait()

    ledger = ResilientLedger(Failing(hang), notices, SystemClock(), patience_s=0.01)
    with pytest.raises(LedgerError, match=r"no answer within 0\.1 s"):
        await ledger.open_aborts()


async def test_a_flush_does_not_wait_for_a_disk_that_hangs_more_than_once(notices: Any, make: Any) -> None:
    answers = asyncio.Event()

    async def hang(_: str) -> None:
        await answers.wait()

    inner = Failing(hang)
    ledger = ResilientLedger(inner, notices, SystemClock(), patience_s=0.05)
    await ledger.save(make.abort("a"))
    await ledger.save(make.abort("b"))
    await ledger.answer_order("1", "done")
    await ledger.add_burn(make.burn("r"))
    inner.calls.clear()
    await ledger.flush()
    assert inner.calls == ["save"]
    answers.set()
    await ledger.flush()
    assert sorted(inner.calls[1:]) == ["add_burn", "answer_order", "save", "save"]
    assert told(notices) == [True, False]


# --- what is told ----------------------------------------------------------------------------------------------------


async def test_a_flush_with_nothing_to_write_proves_nothing(
    ledger: ResilientLedger, inner: Failing, make: Any, notices: Any
) -> None:
    inner.break_down("save_runs")
    for _ in range(3):
        await ledger.save_runs([make.run()])
        await ledger.flush()
    assert told(notices) == [True], "no flapping between failing and well"
    inner.mend()
    await ledger.save_runs([make.run()])
    assert told(notices) == [True, False]


async def test_reading_well_does_not_hide_that_writing_fails(
    ledger: ResilientLedger, inner: Failing, make: Any, notices: Any
) -> None:
    inner.break_down("save")
    await ledger.save(make.abort())
    for _ in range(3):
        await ledger.aborts()
        await ledger.overrides(make.t0)
    assert told(notices) == [True]
    inner.break_down("overrides")
    await ledger.flush()
    await ledger.overrides(make.t0)
    inner.mend()
    await ledger.overrides(make.t0)
    assert told(notices) == [True, False, True, False]


async def test_what_is_lost_at_the_end_is_said(
    ledger: ResilientLedger, inner: Failing, make: Any, notices: Any
) -> None:
    inner.break_down()
    await ledger.save(make.abort("lost"))
    await ledger.close()
    [trouble] = [notice for notice in notices.told if isinstance(notice, Trouble)]
    assert "lost" in trouble.message
    assert (trouble.account, trouble.run_id, trouble.level) == ("main", "run-lost", "error")


# --- runs, overrides, orders -----------------------------------------------------------------------------------------


async def test_runs_that_are_over_wait_too_and_the_newest_counts(inner: Failing, make: Any, notices: Any) -> None:
    ledger = ResilientLedger(inner, notices, SystemClock(), waiting_max=3)
    inner.break_down("add_burn")
    for number in range(5):
        await ledger.add_burn(make.finished(f"r{number}", number, float(number)))
    await ledger.add_burn(make.finished("r4", 9, 9.0))
    inner.calls.clear()
    await ledger.flush()
    assert inner.calls == ["add_burn"], "what is forgotten is not tried any more"
    inner.mend()
    await ledger.flush()
    assert [usage.cost_usd for usage in await ledger.finished_usages("actor:a")] == [2.0, 3.0, 9.0]


async def test_burn_rates_wait_too_but_a_history_that_cannot_be_read_is_not_none(
    inner: Failing, make: Any, notices: Any
) -> None:
    """An estimate can do without; a forecast would take a source without history for a new one."""
    ledger = ResilientLedger(inner, notices, SystemClock(), waiting_max=3)
    inner.break_down()
    for number in range(5):
        await ledger.add_burn(make.burn(f"r{number}", number))
    await ledger.add_burn(make.burn("r4", 9))
    assert told(notices) == [True]
    with pytest.raises(LedgerError, match="on fire"):
        await ledger.burns(["actor:a"])
    inner.mend()
    await ledger.flush()
    found = await ledger.burns(["actor:a"])
    assert found == {"actor:a": [make.burn("r2", 2), make.burn("r3", 3), make.burn("r4", 9)]}
    assert told(notices) == [True, False]


async def test_a_hold_does_not_lapse_with_the_disk(
    ledger: ResilientLedger, inner: Failing, make: Any, notices: Any
) -> None:
    hold = Override("1", OverrideKind.HOLD, make.t0, "r", until=make.at(100))
    await ledger.overrides(make.t0)
    await MemoryLedger.add_override(inner, hold)
    assert await ledger.overrides(make.at(1)) == [hold]
    inner.break_down()
    assert await ledger.overrides(make.at(99)) == [hold]
    assert await ledger.overrides(make.at(100)) == [], "but it ends when it ends"
    assert told(notices) == [True]


async def test_a_hold_just_made_or_ended_counts_though_it_was_never_read(
    ledger: ResilientLedger, inner: Failing, make: Any
) -> None:
    await ledger.overrides(make.t0)
    first, second = (Override(name, OverrideKind.HOLD, make.t0, f"run {name}") for name in "ab")
    await ledger.add_override(first)
    await ledger.add_override(second)
    assert await ledger.end_overrides([OverrideKind.HOLD], "run a", make.at(1)) == 1
    inner.break_down()
    assert await ledger.overrides(make.at(2)) == [second]


async def test_what_people_ask_for_fails_to_their_faces(ledger: ResilientLedger, inner: Failing, make: Any) -> None:
    inner.break_down()
    with pytest.raises(LedgerError):
        await ledger.add_override(Override("1", OverrideKind.HOLD, make.t0, "r"))
    with pytest.raises(LedgerError):
        await ledger.end_overrides([OverrideKind.HOLD], "r", make.t0)
    with pytest.raises(LedgerError):
        await ledger.add_order(Order("1", "r", Mode.GRACEFUL, make.t0))
    assert await ledger.orders() == []
    assert await ledger.prune(make.t0) == 0


async def test_an_order_is_taken_on_once_though_the_answer_cannot_be_written(
    ledger: ResilientLedger, inner: Failing, make: Any
) -> None:
    """Else the daemon would stop the run again after somebody resurrected it."""
    order = Order("1", "r", Mode.IMMEDIATE, make.t0)
    await ledger.add_order(order)
    inner.break_down("answer_order")
    assert await ledger.orders() == [order]
    await ledger.answer_order("1", "abort x is under way")
    assert await ledger.orders() == []
    inner.mend()
    await ledger.flush()
    assert await inner.order_answer("1") == "abort x is under way"
    assert await ledger.orders() == []


async def test_what_is_read_while_an_override_is_made_does_not_undo_it(notices: Any, make: Any) -> None:
    gate = asyncio.Event()
    gate.set()

    async def late(name: str) -> None:
        return None

    inner = Failing(late)
    ledger = ResilientLedger(inner, notices, SystemClock())
    await ledger.overrides(make.t0)
    hold = Override("1", OverrideKind.HOLD, make.t0, "r")
    original = inner.overrides

    async def slow(now: Any) -> Any:
        found = await original(now)
        await gate.wait()
        return found

    inner.__dict__["overrides"] = slow
    gate.clear()
    reading = asyncio.create_task(ledger.overrides(make.t0))
    await asyncio.sleep(0.01)
    await ledger.add_override(hold)
    gate.set()
    await reading
    inner.break_down()
    assert await ledger.overrides(make.t0) == [replace(hold)]
