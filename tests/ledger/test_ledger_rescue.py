"""Records that could not be written before the end are not lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.decision import Abort
from watchdog.domain.notice import Trouble
from watchdog.errors import LedgerError
from watchdog.ledger.lock import COMMAND, DAEMON, LedgerLock
from watchdog.ledger.memory import MemoryLedger
from watchdog.ledger.opening import daemon_is_running
from watchdog.ledger.rescue import take_in_rescues, write_rescue
from watchdog.ledger.resilient import ResilientLedger
from watchdog.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio


def found(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class Full(MemoryLedger):
    """A store on a disk that is full."""

    async def save(self, abort: Abort) -> None:
        raise LedgerError("the disk is full")


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


async def test_what_cannot_be_written_waits_beside_the_ledger(
    tmp_path: Path, make: Any, notices: Any, clock: SystemClock
) -> None:
    path = tmp_path / "ledger.db"
    ledger = ResilientLedger(Full(), notices, clock)
    records = [make.version(make.abort(name), steps) for name, steps in (("a", 0), ("b", 2))]
    for record in records:
        await ledger.save(record)
    await ledger.close(lambda aborts: write_rescue(path, aborts, clock.now()))
    [file] = found(tmp_path)
    assert os.stat(file).st_mode & 0o777 == 0o600
    told = [notice.message for notice in notices.told if isinstance(notice, Trouble)]
    assert len(told) == 2
    assert all(str(file) in message for message in told)

    store = MemoryLedger()
    [said] = await take_in_rescues(path, store)
    assert "2 rescued records" in said
    assert await store.aborts() == records
    assert await take_in_rescues(path, store) == [], "a file is taken in once"
    assert [each.suffix for each in found(tmp_path)] == [".imported"], "and kept"


async def test_a_rescued_record_never_replaces_a_later_version(tmp_path: Path, make: Any, clock: SystemClock) -> None:
    path = tmp_path / "ledger.db"
    early, late = make.version(make.abort("a"), 1), make.version(make.abort("a"), 3)
    write_rescue(path, [early], clock.now())
    store = MemoryLedger()
    await store.save(late)
    await take_in_rescues(path, store)
    assert await store.aborts() == [late]


async def test_a_rescue_that_cannot_be_read_stays_and_is_told_of(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db.rescued-x.jsonl"
    file.write_text("{not json}\n")
    [said] = await take_in_rescues(tmp_path / "ledger.db", MemoryLedger())
    assert "cannot be read" in said
    assert file.exists()


async def test_without_any_place_left_the_loss_is_told(notices: Any, make: Any, clock: SystemClock) -> None:
    ledger = ResilientLedger(Full(), notices, clock)
    await ledger.save(make.abort("a"))

    def nowhere(aborts: Any) -> object:
        raise OSError("no space left")

    await ledger.close(nowhere)
    [trouble] = [notice for notice in notices.told if isinstance(notice, Trouble)]
    assert "lost" in trouble.message
    assert "no space left" in trouble.message


@pytest.mark.parametrize(("role", "takes_orders"), [(DAEMON, True), (COMMAND, False)])
def test_only_a_daemon_takes_orders(tmp_path: Path, role: str, takes_orders: bool) -> None:
    path = tmp_path / "ledger.db"
    lines = (
        "import sys; from pathlib import Path; from watchdog.ledger.lock import LedgerLock",
        f"LedgerLock(Path({str(path)!r}), {role!r}).acquire(); print('held', flush=True); sys.stdin.read()",
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", "\n".join(lines)], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert daemon_is_running(path) is takes_orders
        assert LedgerLock(path).is_held_by_other()
        with pytest.raises(LedgerError, match=rf"\(pid {holder.pid}\)"):
            LedgerLock(path).acquire()
        assert holder.stdin is not None
        holder.stdin.close()
    assert not daemon_is_running(path)
