"""Who owns a ledger, whatever became of its lock file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchdog.errors import LedgerError
from watchdog.ledger.lease import Lease
from watchdog.ledger.lock import DAEMON, LedgerLock
from watchdog.ledger.opening import open_exclusively
from watchdog.ledger.sqlite import Signature, open_sqlite

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Nights:
    """What happens while somebody waits for the store."""

    def __init__(self, *happenings: Any) -> None:
        self.left = list(happenings)
        self.count = 0

    def __call__(self, seconds: float) -> None:
        self.count += 1
        if self.left:
            self.left.pop(0)()


def stop_waiting() -> None:
    raise TimeoutError


@contextlib.contextmanager
def another(path: Path, owner: str, nights: Nights, expire_s: float = 1e9) -> Iterator[Lease]:
    """A second process on the same file."""
    store = open_sqlite(path)
    try:
        yield Lease(store._database.engine, "ledger x", owner, expire_s=expire_s, sleep=nights)
    finally:
        store._database.engine.dispose()


async def test_who_gives_signs_of_life_keeps_it(path: Path, make: Any) -> None:
    first = open_sqlite(path, signature=Signature("one"))
    await first.renew()

    def renew() -> None:
        with first._database.engine.begin() as connection:
            assert first.lease is not None
            first.lease.renew(connection)

    nights = Nights(int, int, renew)
    with another(path, "two", nights, expire_s=1e9) as second, pytest.raises(LedgerError) as caught:
        second.take()
    assert nights.count == 3
    assert f"in use by another budget-watchdog (pid {os.getpid()} on " in str(caught.value)
    await first.save(make.abort())
    await first.close()


async def test_who_gives_none_loses_it_and_writes_no_more(path: Path, make: Any) -> None:
    first = open_sqlite(path, signature=Signature("one"))
    await first.save(make.abort("before"))
    with another(path, "two", Nights(), expire_s=0.01) as second:
        second.take()
    for write in (first.save(make.abort("after")), first.renew()):
        with pytest.raises(LedgerError, match="has taken it over") as caught:
            await write
        assert "this one stands down" in str(caught.value)
    assert first.lease is not None
    assert first.lease.lost == str(caught.value)
    assert [abort.id for abort in await first.open_aborts()] == ["before"]
    await first.close()
    with another(path, "three", Nights(stop_waiting)) as third, pytest.raises(TimeoutError):
        third.take()  # the end of the loser has not given away what is another's


async def test_what_was_given_back_is_to_be_had_at_once(path: Path) -> None:
    numbers = []
    for owner in ("one", "two", "three"):
        store = open_sqlite(path, signature=Signature(owner))
        assert store.lease is not None
        numbers.append(store.lease._number)
        await store.close()
    assert numbers == [1, 2, 3]


async def test_of_a_crash_the_lock_file_is_proof(path: Path) -> None:
    """Then nobody waits: a service that is started again watches at once."""
    opened = open_exclusively(path, DAEMON)
    assert opened.lock is not None
    opened.lock._let_go()  # as the kernel does at the end of a process
    again = open_exclusively(path, DAEMON)
    assert again.lock is not None
    assert again.lock.predecessors == (opened.lock.owner,)
    with pytest.raises(LedgerError, match="has taken it over"):
        await opened.store.renew()
    await again.close()
    await opened.store.close()


async def test_those_killed_before_they_had_the_row_hide_no_proof(path: Path) -> None:
    """A service that is killed at its start, whatever the moment, must not make the next one wait unguarded."""
    opened = open_exclusively(path, DAEMON)
    assert opened.lock is not None
    opened.lock._let_go()
    for _ in range(5):
        killed_early = LedgerLock(path, DAEMON)
        killed_early.acquire()
        killed_early._let_go()
    gave_up = LedgerLock(path, DAEMON)
    gave_up.acquire()
    gave_up.release()
    lock = LedgerLock(path, DAEMON)
    lock.acquire()
    with another(path, lock.owner, Nights(stop_waiting)) as second:
        second.take(gone=lock.predecessors)
    lock.release()
    await opened.store.close()


def test_the_lock_file_does_not_grow_for_ever(path: Path) -> None:
    owners = []
    for _ in range(200):
        lock = LedgerLock(path, DAEMON)
        lock.acquire()
        assert lock.predecessors == tuple(owners[::-1])[:64]
        owners.append(lock.owner)
        lock._let_go()
    assert path.with_name("ledger.db.lock").stat().st_size < 4096


async def test_without_the_lock_file_the_store_itself_is_in_the_way(path: Path) -> None:
    opened = open_exclusively(path, DAEMON)
    assert opened.lock is not None
    path.with_name("ledger.db.lock").unlink()
    lock = LedgerLock(path, DAEMON)
    lock.acquire()
    assert opened.lock.owner not in lock.predecessors
    with another(path, lock.owner, Nights(stop_waiting)) as second, pytest.raises(TimeoutError):
        second.take(gone=lock.predecessors)
    lock.release()
    await opened.close()


async def test_another_name_of_the_file_is_refused(path: Path) -> None:
    opened = open_exclusively(path, DAEMON)
    path.with_name("other.db").hardlink_to(path)
    path.with_name("link.db").symlink_to(path)
    with pytest.raises(LedgerError, match="has another name as well"):
        open_exclusively(path.with_name("other.db"), DAEMON)
    with pytest.raises(LedgerError, match="in use by another"):
        open_exclusively(path.with_name("link.db"), DAEMON)
    await opened.close()


@pytest.mark.parametrize("kind", ["symbolic", "dangling", "hard", "folder", "pipe"])
async def test_a_lock_file_that_is_none_is_left_alone(path: Path, kind: str) -> None:
    lock, precious = path.with_name("ledger.db.lock"), path.with_name("precious")
    precious.write_text("do not lose this")
    if kind == "symbolic":
        lock.symlink_to(precious)
    elif kind == "dangling":
        lock.symlink_to(path.with_name("made"))
    elif kind == "hard":
        lock.hardlink_to(precious)
    elif kind == "folder":
        lock.mkdir()
    else:
        os.mkfifo(lock)
    with pytest.raises(LedgerError, match=r"lock file .* is a link, or no file at all, and is left alone; remove it"):
        open_exclusively(path, DAEMON)
    assert precious.read_text() == "do not lose this"
    assert not path.with_name("made").exists()
    assert not LedgerLock(path).is_held_by_other()
