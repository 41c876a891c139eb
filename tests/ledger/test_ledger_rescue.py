"""Records that could not be written before the end are not lost."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Abort, Basis, Saving
from watchdog.domain.notice import Trouble
from watchdog.domain.run import replace
from watchdog.errors import LedgerError
from watchdog.ledger.lock import COMMAND, DAEMON, LedgerLock
from watchdog.ledger.memory import MemoryLedger
from watchdog.ledger.opening import daemon_is_running, open_exclusively
from watchdog.ledger.rescue import RESERVE_BYTES, _name_elsewhere, reserve_room, take_in_rescues, write_rescue
from watchdog.ledger.resilient import ResilientLedger
from watchdog.runtime.clock import SystemClock

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)


def found(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class Full(MemoryLedger):
    """A store on a disk that is full."""

    async def save(self, abort: Abort) -> None:
        raise LedgerError("the disk is full")


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A place of this test's own for what need not last."""
    return {"XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("runtime"))}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", folder], capture_output=True, text=True, check=False
    )
    if made.returncode:
        lacking = f"a small file system cannot be mounted: {made.stderr.strip()}"
        if os.environ.get("BW_TEST_REQUIRE_ALL"):
            pytest.fail(f"required by BW_TEST_REQUIRE_ALL: {lacking}")
        pytest.skip(lacking)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> None:
    """Take all the room that there is."""
    fd = os.open(folder / "filling", os.O_WRONLY | os.O_CREAT)
    try:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    os.write(fd, bytes(size))
    finally:
        os.close(fd)


def records_of(make: Any, count: int) -> list[Abort]:
    return [make.version(make.abort(f"a{number:03}"), 2) for number in range(count)]


async def test_what_cannot_be_written_waits_beside_the_ledger(
    tmp_path: Path, make: Any, notices: Any, clock: SystemClock, environ: Any
) -> None:
    path = tmp_path / "ledger.db"
    ledger = ResilientLedger(Full(), notices, clock)
    records = [make.version(make.abort(name), steps) for name, steps in (("a", 0), ("b", 2))]
    for record in records:
        await ledger.save(record)
    reserve_room(path)
    await ledger.close(lambda aborts: write_rescue(path, aborts, clock.now(), environ))
    [file] = found(tmp_path)
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert b"\0" not in file.read_bytes()
    told = [notice.message for notice in notices.told if isinstance(notice, Trouble)]
    assert len(told) == 2
    assert all(str(file) in message for message in told)

    store = MemoryLedger()
    [said] = await take_in_rescues(path, store, environ=environ)
    assert "2 rescued records are in the ledger now" in said
    assert await store.aborts() == records
    assert await take_in_rescues(path, store, environ=environ) == [], "a file is taken in once"
    assert [each.suffix for each in found(tmp_path)] == [".imported"], "and kept"


async def test_a_rescued_record_never_replaces_a_later_version(
    tmp_path: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path = tmp_path / "ledger.db"
    early, late = make.version(make.abort("a"), 1), make.version(make.abort("a"), 3)
    write_rescue(path, [early], clock.now(), environ)
    store = MemoryLedger()
    await store.save(late)
    await take_in_rescues(path, store, environ=environ)
    assert await store.aborts() == [late]


async def test_a_record_that_was_only_settled_is_a_later_version(
    tmp_path: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path = tmp_path / "ledger.db"
    known = make.version(make.abort("a"), 1)
    settled = replace(known, settled=True, saving=Saving(Basis.PROGRESS, usd=1.0))
    write_rescue(path, [settled], clock.now(), environ)
    store = MemoryLedger()
    await store.save(known)
    await take_in_rescues(path, store, environ=environ)
    assert await store.aborts() == [settled]


# ---- a full disk


async def test_on_a_full_disk_the_reserve_takes_the_records(
    small_disk: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path = small_disk / "ledger.db"
    reserve_room(path)
    fill(small_disk)
    records = records_of(make, 20)
    where = write_rescue(path, records, clock.now(), environ)
    assert where.keys() == {record.id for record in records}
    assert {place.parent for place in where.values()} == {small_disk}
    store = MemoryLedger()
    await take_in_rescues(path, store, environ=environ)
    assert await store.aborts() == records


async def test_what_the_reserve_has_no_room_for_goes_elsewhere_and_comes_back(
    small_disk: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path = small_disk / "ledger.db"
    reserve_room(path)
    fill(small_disk)
    records = records_of(make, 300)
    where = write_rescue(path, records, clock.now(), environ)
    elsewhere = Path(environ["XDG_RUNTIME_DIR"])
    assert where.keys() == {record.id for record in records}
    assert {place.parent for place in where.values()} == {small_disk, elsewhere}
    assert {os.stat(place).st_mode & 0o777 for place in where.values()} == {0o600}
    other = MemoryLedger()
    assert await take_in_rescues(small_disk / "other.db", other, environ=environ) == [], "another ledger's are left"
    store = MemoryLedger()
    said = await take_in_rescues(path, store, environ=environ)
    assert await store.aborts() == records
    assert len(said) == 2


async def test_without_a_reserve_a_full_disk_sends_them_elsewhere(
    small_disk: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        reserve_room(small_disk / "ledger.db")
    where = write_rescue(small_disk / "ledger.db", records_of(make, 3), clock.now(), environ)
    assert {place.parent for place in where.values()} == {Path(environ["XDG_RUNTIME_DIR"])}
    assert [each.name for each in found(small_disk)] == ["filling"], "nothing half is left behind"


async def test_a_daemon_ended_on_a_full_disk_has_its_records_at_the_next_start(
    small_disk: Path, make: Any, notices: Any, clock: SystemClock, environ: Any
) -> None:
    """With the real store: its write fails, the reserve takes the record, and it stays there while the disk is full."""
    path = small_disk / "ledger.db"
    first = open_exclusively(path)
    reserve_room(path)
    ledger = ResilientLedger(first.store, notices, clock)
    await ledger.save(make.abort("before"))
    fill(small_disk)
    records = records_of(make, 20)
    for record in records:
        await ledger.save(record)
    assert ledger.pending, "the disk is full"
    await ledger.close(lambda aborts: write_rescue(path, aborts, clock.now(), environ))
    await first.close()
    (small_disk / "filling").unlink()
    again = open_exclusively(path)
    try:
        said = await take_in_rescues(path, again.store, environ=environ)
        assert all("are in the ledger now" in sentence for sentence in said), said
        kept = {abort.id for abort in await again.store.aborts()}
        assert kept == {"before", *(record.id for record in records)}
    finally:
        await again.close()


async def test_a_disk_that_is_still_full_keeps_the_file_and_hands_the_records_on(
    tmp_path: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path, records = tmp_path / "ledger.db", records_of(make, 2)
    write_rescue(path, records, clock.now(), environ)
    memory = MemoryLedger()
    said = await take_in_rescues(path, Full(), memory.save, environ)
    assert len(said) == 2
    assert all("cannot be written into the ledger yet (the disk is full)" in sentence for sentence in said)
    assert await memory.aborts() == records
    assert [each.suffix for each in found(tmp_path)] == [".jsonl"]


def test_the_reserve_has_its_room_and_only_one_share_of_what_is_free(small_disk: Path, tmp_path: Path) -> None:
    for folder, least, most in ((small_disk, 64 * 1024, 160 * 1024), (tmp_path, RESERVE_BYTES, RESERVE_BYTES)):
        path = folder / "ledger.db"
        for _ in range(2):
            reserve_room(path)
            reserve = os.stat(folder / "ledger.db.reserve")
            assert least <= reserve.st_size <= most
            assert reserve.st_blocks * 512 >= reserve.st_size, "allocated, not only promised"
            assert reserve.st_mode & 0o777 == 0o600


# ---- what a file may look like


async def test_a_cut_or_damaged_line_hurts_only_itself(
    tmp_path: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path, records = tmp_path / "ledger.db", records_of(make, 4)
    write_rescue(path, records, clock.now(), environ)
    [file] = found(tmp_path)
    lines = file.read_bytes().splitlines()
    lines[1] = lines[1][:100]
    lines[2:2] = [b"{not json}", b"\xff\xfe", b"", b'{"id": "x"}']
    file.write_bytes(b"\n".join(lines) + b"\0" * 5000)
    store = MemoryLedger()
    said = await take_in_rescues(path, store, environ=environ)
    assert [abort.id for abort in await store.aborts()] == ["a000", "a002", "a003"]
    assert [sentence.split(": ")[0] for sentence in said[:-1]] == [f"{file}:{number}" for number in (2, 3, 4, 6)]
    assert "3 rescued records are in the ledger now" in said[-1]
    assert [each.suffix for each in found(tmp_path)] == [".damaged"], "it is kept for whoever can mend it"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 4000), where=st.integers(0, 10_000), junk=st.binary(max_size=20))
async def test_every_whole_line_comes_back_whatever_became_of_the_rest(
    make: Any, tmp_path_factory: pytest.TempPathFactory, environ: Any, cut: int, where: int, junk: bytes
) -> None:
    path, records = tmp_path_factory.mktemp("any") / "ledger.db", records_of(make, 6)
    write_rescue(path, records, NOW, environ)
    [file] = found(path.parent)
    whole = file.read_bytes()
    changed = whole[:where] + junk + whole[where + cut :]
    file.write_bytes(changed)
    store = MemoryLedger()
    await take_in_rescues(path, store, environ=environ)
    kept = {abort.id for abort in await store.aborts()}
    left = changed.split(b"\n")
    assert kept >= {
        record.id for record, line in zip(records, whole.split(b"\n"), strict=False) if line in left and line
    }


async def test_records_left_in_the_reserve_itself_are_taken_in(
    tmp_path: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    """The process was killed after the writing, before the file had its name."""
    path, records = tmp_path / "ledger.db", records_of(make, 2)
    write_rescue(path, records, clock.now(), environ)
    [file] = found(tmp_path)
    (tmp_path / "ledger.db.reserve").write_bytes(file.read_bytes() + bytes(5000))
    file.unlink()
    store = MemoryLedger()
    await take_in_rescues(path, store, environ=environ)
    assert await store.aborts() == records


async def test_no_link_is_followed_and_nobody_elses_file_is_taken_in(
    tmp_path: Path, make: Any, clock: SystemClock, environ: Any
) -> None:
    path, private = tmp_path / "ledger.db", tmp_path / "private"
    private.write_bytes(b"precious")
    (tmp_path / "ledger.db.reserve").symlink_to(private)
    with pytest.raises(OSError, match="symbolic links"):
        reserve_room(path)
    where = write_rescue(path, records_of(make, 1), clock.now(), environ)
    assert private.read_bytes() == b"precious"
    [place] = where.values()
    stranger = Path(environ["XDG_RUNTIME_DIR"]) / "x"
    stranger.write_bytes(place.read_bytes())
    target = Path(environ["XDG_RUNTIME_DIR"]) / f"{_name_elsewhere(path)}.rescued-1.jsonl"
    place.unlink()
    for make_it in (target.symlink_to, target.hardlink_to):
        make_it(stranger)
        store = MemoryLedger()
        [said] = await take_in_rescues(path, store, environ=environ)
        assert "cannot be read" in said
        assert await store.aborts() == []
        target.unlink()
    os.mkfifo(target)
    assert len(await take_in_rescues(path, MemoryLedger(), environ=environ)) == 1, "nor does a pipe hold anything up"
    target.unlink()
    stranger.rename(target)
    target.chmod(0o666)
    [said] = await take_in_rescues(path, MemoryLedger(), environ=environ)
    assert "somebody else may have written it" in said
    target.chmod(0o600)
    store = MemoryLedger()
    await take_in_rescues(path, store, environ=environ)
    assert len(await store.aborts()) == 1


async def test_without_any_place_left_the_loss_is_told(notices: Any, make: Any, clock: SystemClock) -> None:
    ledger = ResilientLedger(Full(), notices, clock)
    await ledger.save(make.abort("a"))

    def nowhere(aborts: Any) -> dict[str, object]:
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
