# ruff: noqa: ASYNC221, ASYNC240  # files and processes are what is tested here
"""The SQLite file: how it is made, migrated and refused, and what happens when it is taken away in use."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from watchdog.domain.meter import Usage
from watchdog.domain.override import Override, OverrideKind
from watchdog.errors import LedgerError
from watchdog.ledger import sqlite as ledger_sqlite
from watchdog.ledger.lock import DAEMON, LedgerLock
from watchdog.ledger.opening import daemon_is_running, open_beside, open_exclusively
from watchdog.ledger.schema import HEAD, REVISIONS, metadata
from watchdog.ledger.sqlite import examine, known_revisions, open_sqlite
from watchdog.ledger.store import SqlLedger
from watchdog.ledger.tables import migrate
from watchdog.ledger.upgrade import revisions, upgrade

pytestmark = pytest.mark.anyio


def need(condition: object, what: str) -> None:
    """Skip where something is missing, unless everything must be there."""
    if condition:
        return
    if os.environ.get("BW_TEST_REQUIRE_ALL"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def write(path: Path, *aborts: Any) -> None:
    store = open_sqlite(path)
    for abort in aborts:
        await store.save(abort)
    await store.close()


async def ids_in(path: Path) -> list[str]:
    store = open_sqlite(path, read_only=True)
    try:
        return [abort.id for abort in await store.aborts()]
    finally:
        await store.close()


@contextmanager
def child(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that runs this code, with its arguments in `argv`."""
    script = "import asyncio, os, sys\nfrom pathlib import Path\nargv = sys.argv[1:]\n" + textwrap.dedent(code)
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# --- made ------------------------------------------------------------------------------------------------------------


async def test_made_on_first_use_for_this_user_only(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "far" / "away" / "ledger.db"
    old = os.umask(0)
    try:
        opened = open_exclusively(path)
    finally:
        os.umask(old)
    await opened.store.save(make.abort())
    assert mode_of(path.parent) == 0o700
    assert {entry.name: mode_of(entry) for entry in path.parent.iterdir()} == dict.fromkeys(
        ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"], 0o600
    )
    await opened.close()
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["ledger.db", "ledger.db.lock"]


async def test_wal_and_a_sync_for_every_commit(ledger: Path) -> None:
    store = open_sqlite(ledger)
    with store._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    await store.close()


@pytest.mark.parametrize(
    "name", ["a?mode=memory.db", "100%.db", "a#b.db", "sp ace.db", "ümläut.db", "a&b=c;d.db", "'.db"]
)
async def test_no_character_of_a_path_means_anything(tmp_path: Path, make: Any, name: str) -> None:
    await write(tmp_path / name, make.abort())
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert await ids_in(tmp_path / name) == ["a1"]


async def test_through_a_symbolic_link(tmp_path: Path, make: Any) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "x.db", tmp_path / "link.db"
    link.symlink_to(real)
    first = open_exclusively(link, DAEMON)
    await first.store.save(make.abort())
    assert daemon_is_running(real)
    with pytest.raises(LedgerError, match=f"pid {os.getpid()}"):
        open_exclusively(real)
    assert await ids_in(link) == ["a1"]
    await first.close()


async def test_closing_twice_and_using_it_afterwards(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    await store.close()
    await store.close()
    with pytest.raises(LedgerError, match="shutdown"):
        await store.save(make.abort())


# --- migrations ------------------------------------------------------------------------------------------------------


def differences(path: Path) -> list[Any]:
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            return list(compare_metadata(context, metadata))
    finally:
        engine.dispose()


def test_the_list_of_revisions_is_that_of_the_scripts() -> None:
    assert revisions() == REVISIONS
    assert known_revisions() == set(REVISIONS)


@pytest.mark.parametrize("start", [None, *REVISIONS])
async def test_from_every_revision_to_the_schema(tmp_path: Path, start: str | None) -> None:
    path = tmp_path / "ledger.db"
    if start is not None:
        engine = sa.create_engine(f"sqlite:///{path}")
        with engine.begin() as connection:
            upgrade(connection, start)
        engine.dispose()
    store = open_sqlite(path)
    await store.close()
    assert differences(path) == []


def shape_of(path: Path) -> dict[str, Any]:
    """Columns and indexes of every table, whatever order they were made in."""
    with closing(sqlite3.connect(path)) as connection:

        def rows(query: str) -> list[Any]:
            return connection.execute(query).fetchall()

        def columns_of(index: str) -> list[str]:
            return [name for _, _, name in rows(f"PRAGMA index_info('{index}')")]

        def indexes_of(table: str) -> set[tuple[Any, ...]]:
            found = rows(f"PRAGMA index_list('{table}')")
            # What makes a key unique has a name of SQLite's own.
            return {
                (name if origin == "c" else origin, unique, *columns_of(name)) for _, name, unique, origin, _ in found
            }

        return {
            table: ({column[1:] for column in rows(f"PRAGMA table_info('{table}')")}, indexes_of(table))
            for (table,) in rows("SELECT name FROM sqlite_master WHERE type = 'table'")
        }


async def test_one_made_at_once_is_as_one_made_by_all_migrations(tmp_path: Path) -> None:
    made, migrated = tmp_path / "made.db", tmp_path / "migrated.db"
    engine = sa.create_engine(f"sqlite:///{migrated}")
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    await open_sqlite(made).close()
    assert shape_of(made) == shape_of(migrated)
    assert examine(made) == examine(migrated) == HEAD


@pytest.mark.parametrize("is_there", [False, True])
def test_what_only_migrations_need_is_not_loaded_without_one(ledger: Path, is_there: bool) -> None:
    """It stays in memory for as long as a daemon runs."""
    if not is_there:
        ledger.unlink()
    code = """
        from watchdog.ledger.opening import open_exclusively
        opened = open_exclusively(Path(argv[0]))
        print(sorted(name for name in sys.modules if name.partition(".")[0] in ("alembic", "mako")), flush=True)
        asyncio.run(opened.close())
    """
    with child(code, ledger) as process:
        assert line_of(process) == "[]"
        assert process.wait(30) == 0


#: What 0001 could hold, a row for each of its tables.
OLD_ROWS = {
    "aborts": "'a', '2026', 'main', 'apify', 'r', 's', 'cap', 'max_cost_usd', 1.0, 1.5, NULL, 'graceful', 'intended',"
    " 0, 'why', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, '{}'",
    "runs": "'main', 'r', 'apify', 's', 'acme/s', 'running', 1.0, NULL, 2.0, NULL, '2026'",
    "finished_runs": "'main', 'r', 's', 'succeeded', 1.0, NULL, 2.0, '2026-11-01T00:00:00+00:00'",
    "overrides": "'o', 'hold', 'r', NULL, '2026', NULL, NULL, ''",
    "orders": "'o', 'r', NULL, 'graceful', '2026', '', NULL",
}


def rows_of(path: Path, tables: Iterable[str]) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}


async def test_a_ledger_of_the_first_version_keeps_everything(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "ledger.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, "0001")
        for table, values in OLD_ROWS.items():
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({values})")
    engine.dispose()
    kept = OLD_ROWS.keys() - {"finished_runs"}
    before = rows_of(path, kept)
    assert all(len(rows) == 1 for rows in before.values())
    with pytest.raises(LedgerError, match="brings it up to date"):
        open_sqlite(path, read_only=True)
    store = open_sqlite(path)
    assert await store.finished_usages("s") == [Usage(1.0, None, 2.0)]
    await store.add_burn(make.burn())
    assert await store.burns(["actor:a"]) == {"actor:a": [make.burn()]}
    await store.close()
    after = rows_of(path, kept)
    # Columns that came later are at the end, and empty.
    assert {table: [row[: len(before[table][0])] for row in rows] for table, rows in after.items()} == before


async def test_a_crash_at_any_step_of_making_it_leaves_nothing_half_done(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    path, step, steps = tmp_path / "ledger.db", 0, 0
    while True:
        step += 1
        count = 0

        def crash(*_: Any) -> None:
            nonlocal count
            count += 1
            if count == step:  # noqa: B023  # it is called in this round only
                raise Killed

        ledger_sqlite._create(path)
        guard = ledger_sqlite._SameFile(path, "x")
        engine = ledger_sqlite._engine(path, guard.connect)
        sa.event.listen(engine, "before_cursor_execute", crash)
        try:
            migrate(engine)
        except Killed:
            steps += 1
        else:
            break
        finally:
            engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    assert steps > 10
    assert differences(path) == []


def test_two_processes_that_make_it_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    code = """
        from watchdog.ledger.sqlite import open_sqlite
        import watchdog.ledger.upgrade
        print("ready", flush=True)
        sys.stdin.readline()
        open_sqlite(Path(argv[0]))._database.engine.dispose()
        print("made", flush=True)
    """
    with child(code, path) as one, child(code, path) as other:
        assert line_of(one) == line_of(other) == "ready"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        assert line_of(one) == line_of(other) == "made"
    assert differences(path) == []


# --- refused ---------------------------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> None:
    """Every way of opening it says why, and leaves every byte as it was."""
    before = path.read_bytes()
    for open_it in (open_sqlite, open_exclusively, open_beside, lambda it: open_beside(it, read_only=True)):
        with pytest.raises(LedgerError, match=match):
            open_it(path)
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, path.name + ".lock"}
    assert not daemon_is_running(path)


async def test_a_newer_version(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    refused(ledger, "newer version of budget-watchdog .schema 9999.; upgrade")


@pytest.mark.parametrize("wal", [False, True])
async def test_a_database_of_another_program(tmp_path: Path, wal: bool) -> None:
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()
    refused(path, "another program")


async def test_garbage(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"aborts:\n  - none\n" * 500)
    refused(path, "not a database")


async def test_a_version_that_is_missing(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()
    refused(ledger, "does not say its version")


async def damaged(ledger: Path, make: Any) -> bytes:
    await write(ledger, *(make.abort(f"a{number}", reason="x" * 3000) for number in range(20)))
    return ledger.read_bytes()


async def test_a_truncated_file(ledger: Path, make: Any) -> None:
    whole = await damaged(ledger, make)
    ledger.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(LedgerError, match="damaged"):
        open_exclusively(ledger)
    ledger.write_bytes(whole[:700])
    refused(ledger, "damaged|not a database")


async def test_flipped_bytes_in_any_page(ledger: Path, make: Any) -> None:
    """A page whose header is not one any more is found at the start; a flip that SQLite cannot see must at least not
    pass for an empty ledger."""
    whole = await damaged(ledger, make)
    size = int.from_bytes(whole[16:18], "big")
    for page in range(1, len(whole) // size):
        start = page * size
        ledger.write_bytes(
            whole[:start] + bytes(byte ^ 0xFF for byte in whole[start : start + 64]) + whole[start + 64 :]
        )
        try:
            store = open_sqlite(ledger)
        except LedgerError:
            continue
        try:
            found = await store.aborts()
            assert len(found) == 20
        except LedgerError:
            pass
        finally:
            await store.close()


async def test_a_record_that_is_no_record_any_more(ledger: Path, make: Any) -> None:
    await write(ledger, make.abort("a"), make.abort("b"))
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("UPDATE aborts SET record = substr(record, 5) WHERE id = 'a'")
        connection.commit()
    store = open_sqlite(ledger)
    with pytest.raises(LedgerError, match=r"a record of an abort cannot be read"):
        await store.open_aborts()
    await store.close()


@pytest.mark.parametrize(("column", "value"), [("kind", "hug"), ("until", "tomorrow"), ("created_at", "")])
async def test_a_hold_that_cannot_be_read_is_not_none(ledger: Path, make: Any, column: str, value: str) -> None:
    store = open_sqlite(ledger)
    await store.add_override(Override("1", OverrideKind.HOLD, make.t0, "r", until=make.at(9)))
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute(f"UPDATE overrides SET {column} = ?", (value,))
        connection.commit()
    with pytest.raises(LedgerError, match="an override cannot be read"):
        await store.overrides(make.t0)
    await store.close()


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null")):
        with pytest.raises(LedgerError, match="no file"):
            open_sqlite(path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LedgerError):
        open_exclusively(tmp_path / "file" / "ledger.db")


@pytest.mark.parametrize("gone", [False, True])
async def test_a_log_without_its_file_is_not_thrown_away(ledger: Path, make: Any, gone: bool) -> None:
    """Whoever empties or removes the file alone still has the last records in the log; SQLite would delete them."""
    log = ledger.with_name("ledger.db-wal")
    store = open_sqlite(ledger)
    await store.save(make.abort())
    kept = log.read_bytes()
    await store.close()
    log.write_bytes(kept)
    if gone:
        ledger.unlink()
    else:
        ledger.write_bytes(b"")
    with pytest.raises(LedgerError, match="write-ahead log"):
        open_exclusively(ledger)
    assert log.read_bytes() == kept


# --- permissions and space -------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, unmounted at the end."""
    need(os.geteuid() == 0 and shutil.which("mount"), "root and mount")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
    need(done.returncode == 0, "the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


async def test_a_read_only_disk(tmp_path: Path, make: Any) -> None:
    with small_disk(tmp_path / "disk", "size=2m") as disk:
        path = disk / "ledger.db"
        await write(path, make.abort())
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(LedgerError, match="make its folder writable"):
            open_exclusively(path)
        with pytest.raises(LedgerError):
            open_beside(path)
        assert await ids_in(path) == ["a1"], "reading needs no right to write"


async def test_a_read_only_file_or_folder_of_somebody_else(ledger: Path) -> None:
    need(os.geteuid() == 0 and shutil.which("setpriv"), "root and setpriv")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c"]
    if subprocess.run([*nobody, "import watchdog"], capture_output=True, check=False).returncode:
        pytest.skip("another user cannot run this interpreter")
    code = "import sys; from pathlib import Path; from watchdog.ledger.opening import open_exclusively\n"
    code += "try: open_exclusively(Path(sys.argv[1]))\nexcept Exception as e: print(type(e).__name__, e)"
    folder = ledger.parent
    shared = Path("/tmp") / f"bw-ledger-{os.getpid()}"
    shutil.copytree(folder, shared)
    try:
        shared.chmod(0o755)
        done = subprocess.run([*nobody, code, shared / "ledger.db"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("LedgerError ledger"), done
        assert "Permission denied" in done.stdout
        shared.chmod(0o777)
        done = subprocess.run([*nobody, code, shared / "ledger.db"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("LedgerError ledger"), done
    finally:
        shutil.rmtree(shared)


def fill(filler: Path) -> None:
    """Use the disk up to the last page."""
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"x" * 4096):
            pass


async def test_a_full_disk(tmp_path: Path, make: Any) -> None:
    with small_disk(tmp_path / "disk", "size=512k") as disk:
        path, filler = disk / "ledger.db", disk / "filler"
        store = open_sqlite(path)
        await store.save(make.abort("before"))
        fill(filler)
        with pytest.raises(LedgerError, match=r"full; free some space|disk I/O error"):
            await _save_until_it_fails(store, make)
        written = [abort.id for abort in await store.aborts()]
        assert written[0] == "before"
        filler.unlink()
        await store.save(make.abort("zafter"))
        assert [abort.id for abort in await store.aborts()] == [*written, "zafter"]
        await store.close()
        assert await ids_in(path) == [*written, "zafter"]


async def _save_until_it_fails(store: SqlLedger, make: Any) -> None:
    for number in range(100):
        await store.save(make.abort(f"during{number}", reason="y" * 5000))


async def test_a_full_disk_at_the_start(tmp_path: Path, make: Any) -> None:
    """An existing ledger opens, so that the watch goes on; a new one is refused, and the lock is not left behind."""
    with small_disk(tmp_path / "disk", "size=512k") as disk:
        path, filler = disk / "ledger.db", disk / "filler"
        await write(path, make.abort())
        fill(filler)
        with pytest.raises(LedgerError):
            open_exclusively(disk / "new.db")
        assert not daemon_is_running(disk / "new.db")


# --- others ----------------------------------------------------------------------------------------------------------


async def test_locked_by_another_connection_waits_then_says_so(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = asyncio.get_running_loop().time()
        with pytest.raises(LedgerError, match="database is locked; another program holds it"):
            await store.save(make.abort())
        assert asyncio.get_running_loop().time() - began >= 0.9 * ledger_sqlite.BUSY_S
        assert await store.aborts() == [], "reading goes on meanwhile"
    await store.save(make.abort())
    await store.close()


async def test_a_writer_that_is_done_in_time_is_waited_for(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        saving = asyncio.create_task(store.save(make.abort()))
        await asyncio.sleep(0.05)
        assert not saving.done()
        other.execute("COMMIT")
        await saving
    await store.close()


async def test_deleted_in_use(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    await store.save(make.abort("a"))
    ledger.unlink()
    with pytest.raises(LedgerError, match="deleted while in use"):
        await store.save(make.abort("b"))
    assert not ledger.exists(), "nothing is made in its place behind anybody's back"
    await store.close()
    assert not ledger.exists()


async def test_deleted_in_use_with_no_connection_open(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    store._database.engine.dispose()
    ledger.unlink()
    with pytest.raises(LedgerError, match="unable to open"):
        await store.save(make.abort())
    assert not ledger.exists()
    await store.close()


async def test_replaced_in_use(ledger: Path, make: Any, tmp_path: Path) -> None:
    backup = tmp_path / "backup.db"
    shutil.copy(ledger, backup)
    before = backup.read_bytes()
    store = open_sqlite(ledger)
    await store.save(make.abort("a"))
    backup.rename(ledger)
    with pytest.raises(LedgerError, match="replaced while in use"):
        await store.save(make.abort("b"))
    assert ledger.read_bytes() == before
    await store.close()


async def test_the_log_deleted_in_use(ledger: Path, make: Any) -> None:
    """What is written to a deleted log dies with the process. A restart in good order still saves what is in it."""
    store = open_sqlite(ledger)
    await store.save(make.abort("a"))
    ledger.with_name("ledger.db-wal").unlink()
    with pytest.raises(LedgerError, match="write-ahead log"):
        await store.save(make.abort("b"))
    await store.close()
    assert await ids_in(ledger) == ["a"]


async def test_another_connection_that_closes_does_not_take_the_log_away(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    for number in range(3):
        await store.save(make.abort(f"a{number}"))
        await write(ledger, make.abort(f"b{number}", 10))
        assert len(await ids_in(ledger)) == 2 * number + 2
    await store.close()
    assert await ids_in(ledger) == ["a0", "a1", "a2", "b0", "b1", "b2"]


HOLDER = """
    from watchdog.ledger.opening import open_exclusively
    opened = open_exclusively(Path(argv[0]), "daemon")
    print("open", flush=True)
    sys.stdin.read()
"""


async def test_a_second_process_is_told_the_pid_of_the_first(ledger: Path, make: Any) -> None:
    with child(HOLDER, ledger) as first:
        assert line_of(first) == "open"
        assert daemon_is_running(ledger)
        with pytest.raises(LedgerError, match=rf"a daemon \(pid {first.pid}\) is on duty; use `once --dry-run`, or"):
            open_exclusively(ledger)
        with pytest.raises(LedgerError, match=rf"in use by another budget-watchdog \(pid {first.pid}\)"):
            open_exclusively(ledger, DAEMON)
        beside = open_beside(ledger)
        await beside.store.save(make.abort())
        await beside.close()
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert not daemon_is_running(ledger)
        opened = open_exclusively(ledger)
        assert [abort.id for abort in await opened.store.aborts()] == ["a1"]
        await opened.close()
    assert not daemon_is_running(ledger)


async def test_what_is_saved_survives_sigkill(ledger: Path, make: Any) -> None:
    """The child writes a record, says so, and is killed at that word, again and again."""
    code = """
        import msgspec
        from watchdog.domain.decision import Abort
        from watchdog.domain.run import replace
        from watchdog.ledger.sqlite import open_sqlite
        async def main():
            store = open_sqlite(Path(argv[0]))
            record = msgspec.json.decode(argv[2], type=Abort)
            number = int(argv[1])
            while True:
                await store.save(replace(record, id=f"{number:06}"))
                print(number, flush=True)
                number += 1
        asyncio.run(main())
    """
    from watchdog.ledger.rows import record_text

    last = 0
    for _ in range(3):
        with child(code, ledger, last + 1, record_text(make.abort())) as process:
            for _ in range(5):
                last = int(line_of(process))
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            last = max(last, *map(int, process.stdout.read().split()), 0)
        saved = [int(abort_id) for abort_id in await ids_in(ledger)]
        assert set(range(1, last + 1)) <= set(saved)
        last = max(saved)
        assert saved == list(range(1, last + 1))


async def test_what_was_saved_together_survives_sigkill(ledger: Path, make: Any) -> None:
    """The child saves two hundred at once and is killed at the word of the first that is done."""
    code = """
        import msgspec
        from watchdog.domain.decision import Abort
        from watchdog.domain.run import replace
        from watchdog.ledger.sqlite import open_sqlite
        async def main():
            store = open_sqlite(Path(argv[0]))
            record = msgspec.json.decode(argv[1], type=Abort)
            async def save(number):
                await store.save(replace(record, id=f"{number:06}"))
                os.write(1, b"%06d\\n" % number)
            await asyncio.gather(*(save(number) for number in range(200)))
            await asyncio.sleep(3600)
        asyncio.run(main())
    """
    from watchdog.ledger.rows import record_text

    with child(code, ledger, record_text(make.abort())) as process:
        said = [line_of(process)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        said += [line for line in process.stdout.read().split("\n") if len(line) == 6]
    assert said[0].isdecimal()
    assert set(said) <= set(await ids_in(ledger))


def test_a_lock_on_a_removed_file_is_no_lock(ledger: Path) -> None:
    first, second = LedgerLock(ledger), LedgerLock(ledger)
    first.acquire()
    ledger.with_name("ledger.db.lock").unlink()
    second.acquire()
    with pytest.raises(LedgerError):
        LedgerLock(ledger).acquire()
    second.release()
    first.release()


def test_a_lock_file_removed_while_it_is_being_locked(ledger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between our opening and locking it: then another process locks a new file of that name, and both would run."""
    lock, real = ledger.with_name("ledger.db.lock"), fcntl.flock
    removals = iter([lock.unlink])

    def remove_first(fd: int, operation: int) -> None:
        for remove in removals:
            remove()
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    first = LedgerLock(ledger)
    first.acquire()
    with pytest.raises(LedgerError):
        LedgerLock(ledger).acquire()
    first.release()


async def test_a_command_does_not_migrate_under_a_running_daemon(tmp_path: Path) -> None:
    ledger, older = tmp_path / "old.db", REVISIONS[-2]
    engine = sa.create_engine(f"sqlite:///{ledger}")
    with engine.begin() as connection:
        upgrade(connection, older)
    engine.dispose()
    before = ledger.read_bytes()
    daemon = LedgerLock(ledger, DAEMON)
    daemon.acquire()
    with pytest.raises(LedgerError, match=f"older version of budget-watchdog is running.*schema {older}.*restart"):
        open_beside(ledger)
    daemon.release()
    with pytest.raises(LedgerError, match="brings it up to date"):
        open_beside(ledger, read_only=True)
    assert ledger.read_bytes() == before


# --- reading only ----------------------------------------------------------------------------------------------------


async def test_reading_makes_no_file_and_changes_none(ledger: Path, make: Any, tmp_path: Path) -> None:
    await write(ledger, make.abort())
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}
    opened = open_beside(ledger, read_only=True)
    assert len(await opened.store.aborts()) == 1
    assert {entry.name for entry in tmp_path.iterdir()} == {"ledger.db"}
    with pytest.raises(LedgerError, match=r"reading only|readonly"):
        await opened.store.save(make.abort("b"))
    await opened.close()
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    with pytest.raises(LedgerError, match="none yet"):
        open_beside(tmp_path / "new" / "x.db", read_only=True)
    (tmp_path / "empty.db").touch()
    with pytest.raises(LedgerError, match="none yet"):
        open_beside(tmp_path / "empty.db", read_only=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"ledger.db", "empty.db"}


async def test_reading_what_a_killed_daemon_left(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    await store.save(make.abort())
    copy = ledger.with_name("copy.db")
    shutil.copy(ledger, copy)
    shutil.copy(ledger.with_name("ledger.db-wal"), ledger.with_name("copy.db-wal"))
    await store.close()
    assert await ids_in(copy) == ["a1"], "the record that is only in the log"


# --- the event loop --------------------------------------------------------------------------------------------------


async def test_a_slow_disk_does_not_hold_the_event_loop_up(ledger: Path, make: Any) -> None:
    slow = threading.Event()
    plain = open_sqlite(ledger)
    store = SqlLedger(
        plain._database.engine, "ledger", lambda: None if slow.wait(10) else pytest.fail("the loop stood still")
    )
    saves = [asyncio.create_task(store.save(make.abort(f"a{number}", number))) for number in range(3)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert not any(save.done() for save in saves)
    slow.set()
    await asyncio.gather(*saves)
    assert len(await store.aborts()) == 3
    await store.close()
    await plain.close()


async def test_a_cancelled_save_leaves_the_store_usable(ledger: Path, make: Any) -> None:
    gate = threading.Event()
    plain = open_sqlite(ledger)
    store = SqlLedger(plain._database.engine, "ledger", lambda: None if gate.wait(10) else pytest.fail("never opened"))
    saving = asyncio.create_task(store.save(make.abort("a")))
    await asyncio.sleep(0.01)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    gate.set()
    await store.save(make.abort("b"))
    assert [abort.id for abort in await store.aborts()] == ["a", "b"], "what had begun was finished, in order"
    await store.close()
    await plain.close()


async def test_close_finishes_what_is_being_written(ledger: Path, make: Any) -> None:
    store = open_sqlite(ledger)
    saving = asyncio.create_task(store.save(make.abort()))
    await asyncio.sleep(0)
    await store.close()
    await saving
    assert await ids_in(ledger) == ["a1"]


def test_a_new_file_that_another_has_open_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself gives up at once when it cannot switch a file to its write-ahead log."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE passing (x)")
        other.execute("DROP TABLE passing")
        other.execute("BEGIN EXCLUSIVE")
        ended = threading.Timer(0.1, other.execute, ["ROLLBACK"])
        ended.start()
        guard = ledger_sqlite._SameFile(path, "ledger")
        guard.connect().close()
        ended.join()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
