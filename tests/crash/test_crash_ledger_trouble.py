"""A ledger that fails while the daemon runs stops no abort; one that cannot be trusted at the start is left alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Repair = Callable[[], None]


@contextlib.contextmanager
def small_disk(site: Any) -> Iterator[Path]:
    """A file system of its own that is soon full: permissions do not stop root."""
    folder = site.folder / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if not done or done.returncode != 0:
        site.skip("a tmpfs cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Repair:
    """Until not a byte more fits."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
    return filler.unlink


def hold_lock(ledger: Path) -> Repair:
    connection = sqlite3.connect(ledger, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def take_away(ledger: Path) -> Repair:
    elsewhere = ledger.with_name("elsewhere.db")
    ledger.rename(elsewhere)

    def bring_back() -> None:
        elsewhere.rename(ledger)

    return bring_back


def over(account: Any) -> Any:
    actor = account.add_actor("compass", "scraper")
    return account.start_run(actor, curve=lambda ran_s: 6 + ran_s, timeout_secs=600)


def test_aborts_go_on_while_the_ledger_fails(site: Any) -> None:
    """A full disk, a lock that somebody holds, a file that is gone; each on a daemon of its own."""
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(small_disk(site))
        sites = {name: stack.enter_context(site.another(name)) for name in ("full", "locked", "gone")}
        sites["full"].configure(ledger=disk / "ledger.db")
        daemons = {name: site.daemon(swept=False) for name, site in sites.items()}
        for daemon in daemons.values():
            daemon.wait_until_ready()
        repairs = {
            "full": fill(disk),
            "locked": hold_lock(sites["locked"].ledger),
            "gone": take_away(sites["gone"].ledger),
        }
        runs = {name: over(site.apify) for name, site in sites.items()}
        for name, site in sites.items():
            site.wait_for(lambda name=name: not runs[name].is_active(), f"the end of the run: {name}", 10)
            assert runs[name].abort_requests == 1
        for name, site in sites.items():
            daemon = daemons[name]
            site.wait_for(lambda daemon=daemon: daemon.counted("ledger_writable") == 0, f"the metric: {name}")
            site.wait_for(
                lambda daemon=daemon: daemon.counted("aborts_total", outcome="confirmed") == 1, f"the proof: {name}"
            )
            assert daemon.counted("ledger_pending_records") == 1, name
            said = site.logged("ledger fails, records wait in memory")
            assert [line["level"] for line in said] == ["error"], name
            if name != "gone":
                assert not site.rows(), name

        for repair in repairs.values():
            repair()
        for name, site in sites.items():
            daemon = daemons[name]
            site.wait_for_state(runs[name], "confirmed")
            site.wait_for(lambda daemon=daemon: daemon.counted("ledger_writable") == 1, f"the metric: {name}")
            assert daemon.counted("ledger_pending_records") == 0, name
            assert runs[name].abort_requests == 1
            site.assert_books_agree(daemon)
            assert len(site.logged("ledger works again")) == 1, name


# At the start


def _garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 64)


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE songs (title TEXT)")
        made.commit()


def _newer(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.executescript(
            "CREATE TABLE alembic_version (version_num TEXT); CREATE TABLE aborts (id TEXT, soul TEXT);"
            "INSERT INTO alembic_version VALUES ('9001');"
        )


def _damaged(path: Path) -> None:
    """A real ledger with a hole in it."""
    shutil.copy(path.with_name("good.db"), path)
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096 + 8)
            file.write(os.urandom(2048))


UNFIT = {
    "garbage": (_garbage, "not a database"),
    "foreign": (_foreign, "another program"),
    "newer": (_newer, "newer version"),
    "damaged": (_damaged, "damaged"),
    "folder": (Path.mkdir, "no file"),
}


def test_a_ledger_that_cannot_be_trusted_is_refused_and_left_alone(site: Any) -> None:
    site.call("hold", "some-run", "--for", "1h", "--ledger", f"sqlite:///{site.folder}/good.db")
    run = over(site.apify)
    started = {}
    for name, (make, _) in UNFIT.items():
        path = site.folder / f"{name}.db"
        make(path)
        site.configure(ledger=path).rename(site.folder / f"{name}.yaml")
        before = path.read_bytes() if path.is_file() else b""
        started[name] = (path, before, site.begin("run", "--config", f"{name}.yaml"))
    for name, (path, before, process) in started.items():
        text = process.communicate(timeout=90)[0]
        assert process.returncode == 1, f"{name}: {text}"
        assert text.count("\n") == 1, text
        assert UNFIT[name][1] in text
        assert str(path) in text
        assert "Traceback" not in text
        assert (path.read_bytes() if path.is_file() else b"") == before, f"{name}: altered"
        beside = {each.name for each in site.folder.glob(f"{name}.db?*")} - {f"{name}.db.lock"}
        assert not beside, f"{name}: left {beside} behind"
    assert run.is_active()
    assert not run.abort_requests
