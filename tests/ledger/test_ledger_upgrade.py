# files are what is tested here
"""A ledger that a daemon of yesterday wrote, under the code of today: nothing is lost, and nothing half done."""

from __future__ import annotations

import json
import runpy
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bw_ledger import everything_in

from watchdog.errors import LedgerError
from watchdog.ledger import sqlite as ledger_sqlite
from watchdog.ledger.lock import DAEMON, LedgerLock
from watchdog.ledger.opening import open_beside, open_exclusively
from watchdog.ledger.schema import HEAD
from watchdog.ledger.sqlite import examine, open_sqlite
from watchdog.ledger.tables import migrate

pytestmark = pytest.mark.anyio

#: The commit whose code wrote the ledger of the tests; `written_by_462e9d6.py` is how.
WRITTEN = Path(__file__).with_name("written_by_462e9d6.sql")
T0 = datetime(2026, 11, 22, 3, tzinfo=UTC)
ACCOUNTS = ("apify-main", "lobstr-main")
SOURCES = ("actor:a", "squid:s")
KEPT = ("aborts", "abort_sums", "runs", "overrides", "orders", "leases")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The ledger of yesterday."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(WRITTEN.read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode=WAL")
    path.chmod(0o600)
    return path


@pytest.fixture
def expected() -> dict[str, Any]:
    """What the code of yesterday read from it."""
    found: dict[str, Any] = json.loads(WRITTEN.with_suffix(".json").read_text(encoding="utf-8"))
    for record in (record for records in found["burns"].values() for record in records):
        rates = {"max_credits": record.pop("credits_per_s"), "max_cost_usd": record.pop("usd_per_s")}
        record["rates"] = {meter: rate for meter, rate in rates.items() if rate is not None}
    return found


def rows_in(path: Path, *tables: str) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}


def as_known(found: Any, expected: Any) -> Any:
    """What was found without what yesterday did not know of yet."""
    if isinstance(found, dict) and isinstance(expected, dict):
        return {key: as_known(value, expected[key]) for key, value in found.items() if key in expected}
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return [as_known(*pair) for pair in zip(found, expected, strict=True)]
    return found


def as_usages_known(found: list[Any]) -> list[Any]:
    """Usages without meters that yesterday did not know of yet."""
    return [{name: usage[name] for name in ("credits", "cost_usd", "duration_s")} for usage in found]


async def test_everything_is_read_as_yesterday_read_it(old: Path, expected: dict[str, Any]) -> None:
    histories = {name: {source: expected[name][source] for source in SOURCES} for name in ("finished", "burns")}
    known = expected.pop("known runs")
    before = rows_in(old, *KEPT[:-1])
    before["runs"] = [(*row, None) for row in before["runs"]]  # no figures but those that have a column
    for _ in range(2):  # at the first start, and at the next
        opened = open_exclusively(old, DAEMON)
        found = await everything_in(opened.store, SOURCES, ACCOUNTS, T0)
        await opened.close()
        runs = found.pop("known runs")
        assert found.keys() == (expected | histories).keys()
        assert as_known(found, expected | histories) == expected | histories
        assert [run for run in runs if run in known] == known, "and those of which only a rate was known"
        assert rows_in(old, *KEPT[:-1]) == before


def test_it_has_every_table_and_state() -> None:
    """What was written there is worth reading: the script says so, and so does the file."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(WRITTEN.read_text(encoding="utf-8"))
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        states = {state for (state,) in connection.execute("SELECT DISTINCT state FROM aborts")}
    assert tables == {*KEPT, "finished_runs", "burn_rates", "alembic_version"}
    assert min(counts.values()) > 0
    assert states == {"intended", "requested", "confirmed", "already_finished", "failed", "withdrawn"}


async def test_where_two_rows_do_not_agree_the_later_end_counts(old: Path, expected: dict[str, Any]) -> None:
    alone, killed, aborted, natural = (each for each in expected["finished"] if each not in SOURCES)
    store = open_sqlite(old)
    found = await everything_in(store, (alone, killed, aborted, natural), ACCOUNTS, T0)
    await store.close()
    found["finished"] = {source: as_usages_known(usages) for source, usages in found["finished"].items()}
    for record in (record for records in found["burns"].values() for record in records):
        (record["final"],) = as_usages_known([record["final"]])
    assert found["finished"][alone] == expected["finished"][alone], "no rate was ever written"
    assert [record["rates"] for record in found["burns"][alone]] == [{}]
    assert found["burns"][killed] == expected["burns"][killed]
    assert found["finished"][killed] == [expected["burns"][killed][0]["final"]], "what its other row should have said"
    assert found["finished"][aborted] == [], "it went on after its end, and was aborted"
    assert found["burns"][aborted] == expected["burns"][aborted]
    assert found["finished"][natural] == expected["finished"][natural], "aborted, and ended by itself after that"
    (record,) = found["burns"][natural]
    assert record["final"] == expected["finished"][natural][0]
    assert record["ended_by_itself"]
    assert record["rates"] == expected["burns"][natural][0]["rates"]


async def test_a_figure_below_zero_is_none(old: Path) -> None:
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("DELETE FROM burn_rates")
        connection.execute("UPDATE finished_runs SET credits = -1, cost_usd = -0.5")
        connection.commit()
    store = open_sqlite(old)
    usages = await store.finished_usages("actor:a")
    await store.close()
    assert usages
    assert {(usage.credits, usage.cost_usd) for usage in usages} == {(None, None)}


async def test_figures_of_a_meter_that_this_version_does_not_know_are_passed_over(old: Path) -> None:
    """A later version has no migration for a further meter."""
    store = open_sqlite(old)
    before = await store.burns(SOURCES), await store.finished_usages("actor:a")
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE ended_runs SET others = ?", ('{"pages": 7.5, "pages_per_s": 0.25}',))
        connection.commit()
    assert (await store.burns(SOURCES), await store.finished_usages("actor:a")) == before
    with closing(sqlite3.connect(old)) as connection:
        connection.execute("UPDATE ended_runs SET others = 'pages'")
        connection.commit()
    for read in (store.burns(SOURCES), store.finished_usages("actor:a")):
        with pytest.raises(LedgerError, match="cannot be read"):
            await read
    await store.close()


def test_killed_at_any_step_it_is_still_that_of_yesterday(old: Path) -> None:
    class Killed(BaseException):
        pass

    tables = (*KEPT, "finished_runs", "burn_rates", "alembic_version")
    before, step, killed = rows_in(old, *tables), 0, 0
    while True:
        step += 1
        count = 0

        def crash(*_: Any) -> None:
            nonlocal count
            count += 1
            if count == step:  # noqa: B023  # it is called in this round only
                raise Killed

        engine = ledger_sqlite._engine(old, ledger_sqlite._SameFile(old, "x").connect)
        sa.event.listen(engine, "before_cursor_execute", crash)
        try:
            migrate(engine)
        except Killed:
            killed += 1
        else:
            break
        finally:
            engine.dispose()
        assert rows_in(old, *tables) == before
    assert killed > 8
    assert examine(old) == HEAD


@contextmanager
def a_daemon_on(path: Path) -> Iterator[None]:
    """Another process that has the ledger, as a daemon of yesterday has."""
    code = "import sys; from pathlib import Path; from watchdog.ledger.lock import DAEMON, LedgerLock\n"
    code += "lock = LedgerLock(Path(sys.argv[1]), DAEMON); lock.acquire(); print('ready', flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_under_a_daemon_of_yesterday_nothing_is_changed(old: Path) -> None:
    before = old.read_bytes()
    with a_daemon_on(old):
        assert LedgerLock(old).is_held_by_other()
        with pytest.raises(LedgerError, match=r"an older version of budget-watchdog is running on it \(schema 0005\)"):
            open_beside(old)
        with pytest.raises(LedgerError, match="brings it up to date"):
            open_beside(old, read_only=True)
        with pytest.raises(LedgerError, match="pid"):
            open_exclusively(old, DAEMON)
    assert old.read_bytes() == before
    assert examine(old) == "0005"


def test_the_way_back_keeps_the_rows(old: Path) -> None:
    """Nobody goes it but a person who must: then the history is there in the shape of yesterday."""
    from alembic import command

    from watchdog.ledger.upgrade import _config

    before = rows_in(old, "burn_rates", "finished_runs")
    open_sqlite(old)._database.engine.dispose()
    engine = sa.create_engine(f"sqlite:///{old}")
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    engine.dispose()
    after = rows_in(old, "burn_rates", "finished_runs")
    by_itself = [row[:3] for row in after["burn_rates"] if row[-1]]
    assert len(after["burn_rates"]) == len(before["burn_rates"]) + 1, "with the one of which no rate was written"
    assert [row[:3] for row in after["finished_runs"]] == by_itself


def test_the_script_that_wrote_it_can_be_read() -> None:
    """It runs with the code of that commit only; but what it says it wrote is no riddle."""
    names = runpy.run_path(str(WRITTEN.with_suffix(".py")), run_name="script")
    assert names["EVERY_SOURCE"][: len(SOURCES)] == SOURCES
