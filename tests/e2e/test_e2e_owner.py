"""One daemon a ledger, whatever becomes of the lock file."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any


def owner_of(folder: Path) -> tuple[str, int, int]:
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as connection:
        found = connection.execute("SELECT owner, number, renewals FROM leases").fetchone()
    return (str(found[0]), int(found[1]), int(found[2])) if found else ("", 0, 0)


def test_a_second_daemon_is_refused_though_the_lock_file_was_removed(site: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        (site.folder / "ledger.db.lock").unlink()
        done = site.call("run", BUDGET_WATCHDOG_LISTEN="127.0.0.1:0", timeout_s=60)
        assert done.returncode == 1, done.stderr
        assert f"in use by another budget-watchdog (pid {daemon.process.pid} on " in done.stderr
        assert owner_of(site.folder)[1] == 1
        assert daemon.ready()["ready"]
        assert daemon.end()[0] == 0
    assert owner_of(site.folder)[0] == "", "given back"


def test_a_daemon_whose_ledger_was_taken_over_stands_down(site: Any, wait_for: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        with contextlib.closing(sqlite3.connect(site.folder / "ledger.db")) as connection, connection:
            connection.execute("UPDATE leases SET owner = 'other', number = number + 1, pid = 4711, host = 'elsewhere'")
        wait_for(lambda: daemon.process.poll() is not None, "the end", patience_s=40)
        assert daemon.process.returncode == 1
        sentence = "another budget-watchdog (pid 4711 on elsewhere) has taken it over"
        assert sum(sentence in line.get("error", "") for line in log_of(daemon)) == 1
        assert daemon.output().splitlines()[-1].startswith("budget-watchdog: ledger ")
    assert owner_of(site.folder)[0] == "other"


def log_of(daemon: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in daemon.output().splitlines() if line.startswith("{")]


def test_after_a_crash_the_next_one_starts_at_once(site: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        daemon.kill()
    assert owner_of(site.folder)[0] != ""
    began = time.monotonic()
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        assert owner_of(site.folder)[1] == 2
    assert time.monotonic() - began < 30, "it did not wait for the lease to run out"


def test_a_lock_file_that_is_a_link_is_left_alone(site: Any) -> None:
    precious = site.write("precious", "do not lose this")
    (site.folder / "ledger.db.lock").symlink_to(precious)
    done = site.call("run")
    assert done.returncode == 1
    assert "lock file" in done.stderr
    assert precious.read_text() == "do not lose this"
