"""Writes that wait are carried out together: fewer commits, and everybody has his own answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from watchdog.domain.override import Override, OverrideKind
from watchdog.errors import LedgerError
from watchdog.ledger.resilient import ResilientLedger
from watchdog.ledger.sqlite import open_sqlite
from watchdog.ledger.store import SqlLedger
from watchdog.ledger.together import GroupCommit
from watchdog.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

#: A number that no database can hold: the record of this abort cannot be written.
TOO_MANY = 2**70


@dataclass
class Desk:
    """A store whose thread stands still in its first transaction until `gate` is set, so that all that a test asks for
    meanwhile must wait. `refusals` are raised by the guard, one a transaction."""

    path: Path
    gate: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    refusals: list[Exception] = field(default_factory=list)
    transactions: int = 0
    commits: int = 0

    def __post_init__(self) -> None:
        plain = open_sqlite(self.path)
        self.store = SqlLedger(plain._database.engine, "ledger x", self._guard)
        sa.event.listen(plain._database.engine, "commit", self._count)

    def _guard(self) -> None:
        self.transactions += 1
        self.reached.set()
        if not self.gate.wait(30):
            pytest.fail("never opened")
        if self.refusals:
            raise self.refusals.pop(0)

    def _count(self, _: sa.Connection) -> None:
        self.commits += 1

    async def begin(self, write: Any) -> asyncio.Task[Any]:
        """Start a write and come back when it has the thread."""
        task = asyncio.create_task(write)
        assert await asyncio.to_thread(self.reached.wait, 30)
        return task

    async def queue(self, *writes: Any) -> list[asyncio.Task[Any]]:
        """Start these too; they wait for the thread."""
        tasks = [asyncio.create_task(write) for write in writes]
        await asyncio.sleep(0)
        return tasks

    def rows(self) -> list[str]:
        """The ids of the aborts as another process sees them, in the order in which they were first written."""
        with closing(sqlite3.connect(self.path)) as connection:
            return [abort_id for (abort_id,) in connection.execute("SELECT id FROM aborts ORDER BY rowid")]


@pytest.fixture
async def desk(ledger: Path, anyio_backend: str) -> AsyncIterator[Desk]:
    desk = Desk(ledger)
    yield desk
    desk.gate.set()
    await desk.store.close()


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


# --- fewer commits ---------------------------------------------------------------------------------------------------


async def test_what_waits_is_committed_at_once_in_its_order(desk: Desk, make: Any) -> None:
    ids = [f"{(7 * number) % 100:02}" for number in range(100)]
    first = await desk.begin(desk.store.save(make.abort(ids[0])))
    others = await desk.queue(*(desk.store.save(make.abort(abort_id)) for abort_id in ids[1:]))
    desk.gate.set()
    assert await outcomes([first, *others]) == [None] * 100
    assert desk.commits == 2
    assert desk.rows() == ids


async def test_a_hundred_aborts_at_one_moment_need_few_commits(desk: Desk, make: Any, notices: Any) -> None:
    """Through the wrapper that the daemon uses."""
    desk.gate.set()
    ledger = ResilientLedger(desk.store, notices, SystemClock())
    await asyncio.gather(*(ledger.save(make.abort(f"a{number:02}", number)) for number in range(100)))
    assert desk.commits < 20
    assert len(desk.rows()) == 100


async def test_the_last_version_asked_for_is_the_one_that_stays(desk: Desk, make: Any) -> None:
    first = await desk.begin(desk.store.save(make.abort()))
    others = await desk.queue(*(desk.store.save(make.version(make.abort(), number)) for number in (3, 1, 4, 2)))
    desk.gate.set()
    assert await outcomes([first, *others]) == [None] * 5
    assert await desk.store.aborts() == [make.version(make.abort(), 2)]


async def test_every_write_has_its_own_answer(desk: Desk, make: Any) -> None:
    store = desk.store
    first = await desk.begin(store.save(make.abort()))
    holds = [Override(name, OverrideKind.HOLD, make.t0, "r" if name < "c" else "s") for name in "abcde"]
    others = await desk.queue(
        *(store.add_override(hold) for hold in holds),
        store.end_overrides([OverrideKind.HOLD], "r", make.at(1)),
        store.end_overrides([OverrideKind.HOLD], "s", make.at(1)),
        store.end_overrides([OverrideKind.HOLD], "s", make.at(1)),
        store.prune(make.at(5)),
    )
    desk.gate.set()
    assert await outcomes([first, *others]) == [None] * 6 + [2, 3, 0, 5]
    assert desk.commits == 2


async def test_a_read_comes_to_its_turn_while_writes_keep_coming(desk: Desk, make: Any) -> None:
    desk.gate.set()
    read = asyncio.Event()

    async def saver(name: str) -> int:
        number = 0
        while not read.is_set():
            await desk.store.save(make.abort(f"{name}{number}"))
            number += 1
        return number

    savers = [asyncio.create_task(saver(name)) for name in "abcdefgh"]
    await desk.store.save(make.abort("mine"))
    assert "mine" in {abort.id for abort in await desk.store.aborts()}
    read.set()
    assert len(desk.rows()) <= sum(await asyncio.gather(*savers)) + 1


async def test_a_read_does_not_wait_for_writes_asked_for_after_it(desk: Desk, make: Any) -> None:
    """The second transaction stands still; the read, asked for before, is answered all the same."""
    first = await desk.begin(desk.store.save(make.abort("a")))
    reading = (await desk.queue(desk.store.aborts()))[0]
    desk.gate.set()
    await first
    desk.gate.clear()
    later = await desk.queue(desk.store.save(make.abort("b")))
    assert "a" in {abort.id for abort in await reading}
    desk.gate.set()
    await outcomes(later)


# --- a bad one hurts only itself -------------------------------------------------------------------------------------


async def test_one_that_cannot_be_written_among_others(desk: Desk, make: Any) -> None:
    store = desk.store
    first = await desk.begin(store.save(make.abort("a")))
    others = await desk.queue(
        store.save(make.abort("b")),
        store.save(make.abort("bad", requests=TOO_MANY)),
        store.save(make.abort("c")),
        store.save(make.abort("worse", limit="no limit at all")),
        store.save(make.abort("b", reason="again")),
    )
    desk.gate.set()
    done, good, bad, fine, worse, again = await outcomes([first, *others])
    assert (done, good, fine, again) == (None, None, None, None)
    assert isinstance(bad, LedgerError)
    assert str(bad).startswith("ledger x: ")
    assert "too large" in str(bad)
    assert isinstance(worse, AttributeError), "a fault of ours is shown as one"
    assert desk.rows() == ["a", "b", "c"]
    assert [abort.reason for abort in await store.aborts()] == ["", "again", ""]
    assert desk.transactions == 2, "the others do not pay for it"


async def test_what_is_no_record_is_refused_before_it_makes_the_ledger_unreadable(desk: Desk, make: Any) -> None:
    desk.gate.set()
    with pytest.raises(LedgerError, match="Expected `int`"):
        await desk.store.save(make.abort("bad", requests="many"))
    await desk.store.save(make.abort("good"))
    assert [abort.id for abort in await desk.store.open_aborts()] == ["good"]


async def test_nothing_of_a_write_that_fails_half_way_stays(desk: Desk, make: Any) -> None:
    runs = [make.run(f"r{number}") for number in range(3)]
    bad = make.run(None)
    first = await desk.begin(desk.store.save(make.abort("a")))
    others = await desk.queue(desk.store.save_runs([*runs, bad]), desk.store.save(make.abort("b")))
    desk.gate.set()
    _, failed, fine = await outcomes([first, *others])
    assert isinstance(failed, LedgerError)
    assert fine is None
    assert await desk.store.prune(make.at(1)) == 0, "no row of a run is there"


async def test_a_store_that_must_not_be_written_refuses_all_once(desk: Desk, make: Any) -> None:
    first = await desk.begin(desk.store.save(make.abort("a")))
    others = await desk.queue(*(desk.store.save(make.abort(abort_id)) for abort_id in "bcd"))
    desk.refusals += [LedgerError("one"), LedgerError("ledger x: the file has been replaced")]
    desk.gate.set()
    alone, *together = await outcomes([first, *others])
    assert str(alone) == "one"
    assert [str(error) for error in together] == ["ledger x: the file has been replaced"] * 3
    assert len({id(error) for error in together}) == 3, "an error of his own for everybody"
    assert desk.transactions == 2
    assert desk.rows() == []
    await desk.store.save(make.abort("e"))
    assert desk.rows() == ["e"]


# --- callers that go away --------------------------------------------------------------------------------------------


async def test_callers_that_give_up_lose_nothing_and_disturb_nobody(desk: Desk, make: Any) -> None:
    first = await desk.begin(desk.store.save(make.abort("a")))
    others = await desk.queue(*(desk.store.save(make.abort(abort_id)) for abort_id in "bcde"))
    for task in (first, others[0], others[2]):
        task.cancel()
    for task in (first, others[0], others[2]):
        with pytest.raises(asyncio.CancelledError):
            await task
    desk.gate.set()
    assert await outcomes([others[1], others[3]]) == [None, None]
    assert desk.rows() == ["a", "b", "c", "d", "e"]


async def test_closing_writes_what_waits(desk: Desk, make: Any) -> None:
    first = await desk.begin(desk.store.save(make.abort("a")))
    others = await desk.queue(*(desk.store.save(make.abort(abort_id)) for abort_id in "bcd"))
    closing_it = (await desk.queue(desk.store.close()))[0]
    with pytest.raises(LedgerError, match="shutdown"):
        await desk.store.save(make.abort("late"))
    desk.gate.set()
    await closing_it
    assert await outcomes([first, *others]) == [None] * 4
    assert desk.rows() == ["a", "b", "c", "d"]


# --- the queue itself ------------------------------------------------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    """A table whose `strict` column is only looked at by the commit."""
    engine = sa.create_engine("sqlite://", creator=lambda: connection, poolclass=sa.pool.StaticPool)
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(
        "PRAGMA foreign_keys = ON; CREATE TABLE names (name PRIMARY KEY);"
        "CREATE TABLE t (x, strict REFERENCES names DEFERRABLE INITIALLY DEFERRED)"
    )
    sa.event.listen(engine, "begin", lambda begun: begun.exec_driver_sql("BEGIN"))
    yield engine
    engine.dispose()
    connection.close()


def put(x: int, strict: str | None = None) -> Callable[[sa.Connection], int]:
    def work(connection: sa.Connection) -> int:
        connection.exec_driver_sql("INSERT INTO t VALUES (?, ?)", (x, strict))
        return x

    return work


def numbers(engine: sa.Engine) -> list[int]:
    with engine.begin() as connection:
        return list(connection.exec_driver_sql("SELECT x FROM t ORDER BY rowid").scalars())


def nobody() -> None:
    """Wakes nobody: the test calls `carry_out` itself."""


def give_up(connection: sa.Connection) -> int:
    """What a full disk can do: the database takes the whole transaction back, and its savepoints with it."""
    connection.exec_driver_sql("INSERT INTO t VALUES (99, NULL)")
    connection.exec_driver_sql("ROLLBACK")
    raise OSError("disk full")


def test_when_the_whole_transaction_is_taken_back_each_is_written_on_its_own(engine: sa.Engine) -> None:
    queue = GroupCommit(engine, nobody)
    done = [queue.add(work, nobody) for work in (put(1), give_up, put(3), put(4))]
    queue.carry_out()
    assert [future.exception() and str(future.exception()) for future in done] == [None, "disk full", None, None]
    assert [done[0].result(), done[2].result(), done[3].result()] == [1, 3, 4]
    assert numbers(engine) == [1, 3, 4]


def test_when_the_commit_fails_each_is_written_on_its_own(engine: sa.Engine) -> None:
    queue = GroupCommit(engine, nobody)
    done = [queue.add(work, nobody) for work in (put(1), put(2, "nobody"), put(3))]
    queue.carry_out()
    assert isinstance(done[1].exception(), sa.exc.IntegrityError)
    assert (done[0].result(), done[2].result()) == (1, 3)
    assert numbers(engine) == [1, 3]


def test_nobody_is_told_before_the_commit(engine: sa.Engine) -> None:
    queue = GroupCommit(engine, nobody)
    told: list[bool] = []
    done = [queue.add(put(number), nobody) for number in range(3)]
    sa.event.listen(engine, "commit", lambda _: told.extend(future.done() for future in done))
    queue.carry_out()
    assert told == [False] * 3
    assert all(future.done() for future in done)


def test_while_each_is_written_on_its_own_one_refusal_is_enough(engine: sa.Engine) -> None:
    """A database that is locked is waited for seconds: not once for each of a hundred writes."""
    calls = 0

    def guard() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise LedgerError("gone")

    queue = GroupCommit(engine, guard)
    done = [queue.add(work, nobody) for work in (put(1), give_up, put(3), put(4), put(5))]
    queue.carry_out()
    assert calls == 3
    assert [str(future.exception()) for future in done] == ["None", "gone", "gone", "gone", "gone"]
    assert numbers(engine) == [1]


def test_nobody_waits_for_ever(engine: sa.Engine) -> None:
    class Killed(BaseException):
        pass

    def kill(_: sa.Connection) -> None:
        raise Killed

    queue = GroupCommit(engine, nobody)
    done = [queue.add(work, nobody) for work in (put(1), kill, put(3))]
    queue.carry_out()
    assert all(isinstance(future.exception(timeout=0), Killed) for future in done)
    assert numbers(engine) == []
    after = queue.add(put(4), nobody)
    queue.carry_out()
    assert after.result(timeout=0) == 4


def test_one_that_nobody_can_be_woken_for_leaves_nothing_behind(engine: sa.Engine) -> None:
    def asleep() -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    queue = GroupCommit(engine, nobody)
    first = queue.add(put(1), nobody)
    with pytest.raises(RuntimeError, match="shutdown"):
        queue.add(put(2), asleep)
    queue.carry_out()
    assert first.result(timeout=0) == 1
    assert numbers(engine) == [1]


def test_what_has_been_asked_for_cannot_be_cancelled(engine: sa.Engine) -> None:
    queue = GroupCommit(engine, nobody)
    done = queue.add(put(1), nobody)
    assert not done.cancel()
    queue.carry_out()
    assert done.result(timeout=0) == 1


def test_many_threads_that_ask_while_one_writes(engine: sa.Engine) -> None:
    queue = GroupCommit(engine, nobody)
    work = threading.Semaphore(0)
    ended = threading.Event()

    def writer() -> None:
        while not ended.is_set():
            work.acquire()
            queue.carry_out()

    def asker(start: int) -> None:
        for number in range(start, start + 50):
            assert queue.add(put(number), work.release).result(timeout=30) == number

    writing = threading.Thread(target=writer)
    asking = [threading.Thread(target=asker, args=(start,)) for start in range(0, 400, 50)]
    for thread in (writing, *asking):
        thread.start()
    for thread in asking:
        thread.join()
    ended.set()
    work.release()
    writing.join()
    assert sorted(numbers(engine)) == list(range(400))
