"""The first second of the daemon, and what it is started with: signals that come early, streams that are closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCRIPT = str(Path(sys.executable).with_name("budget-watchdog"))


@contextmanager
def started(site: Any, command: str = 'exec "$0" run', **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon by a command of the shell, `$0` being the script; whatever becomes of it."""
    with (site.folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["sh", "-c", command, SCRIPT],
            cwd=site.folder,
            env={**site.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(15)
            site.check_output((site.folder / "log").read_text())


def catches(process: subprocess.Popen[bytes], number: int) -> bool:
    """Whether the process has a handler of its own for this signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(caught >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_asked_for_while_it_loads(site: Any, wait_for: Callable[..., Any], number: int) -> None:
    with started(site) as process:
        wait_for(lambda: catches(process, signal.SIGHUP), "the handlers")
        process.send_signal(number)
        assert process.wait(15) == 0
    assert (site.folder / "log").read_text() == ""


def test_a_reload_asked_for_while_it_loads_comes_once_it_can(site: Any, wait_for: Callable[..., Any]) -> None:
    """It neither ends the process nor gets lost."""
    with started(site) as process:
        wait_for(lambda: catches(process, signal.SIGHUP), "the handlers")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: '"rules reloaded"' in (site.folder / "log").read_text(), "the reload")
        assert process.poll() is None
        process.terminate()
        assert process.wait(15) == 0


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "2>&- >&-", "<&- 2>&- >&-", "2>/dev/full", ">/dev/full 2>&1"])
def test_it_watches_whatever_becomes_of_its_log(site: Any, wait_for: Callable[..., Any], closed: str) -> None:
    run = site.apify.start_run(usd_per_hour=36_000)
    with started(site, f'exec "$0" run {closed}') as process:
        wait_for(lambda: run.truth().aborted_by_api, "the abort")
        assert process.poll() is None
        process.terminate()
        assert process.wait(15) == 0


def test_it_watches_on_when_the_reader_of_its_log_has_gone(site: Any, wait_for: Callable[..., Any]) -> None:
    with started(site, '"$0" run 2>&1 & echo $! >pid; wait $!') as shell:
        shell.poll()
        pid = wait_for(lambda: (site.folder / "pid").exists() and (site.folder / "pid").read_text().strip(), "the id")
        try:
            run = site.apify.start_run(usd_per_hour=36_000)
            wait_for(lambda: run.truth().aborted_by_api, "the abort")
        finally:
            os.kill(int(pid), signal.SIGTERM)
        assert shell.wait(15) == 0


def test_the_ledger_does_not_get_the_number_of_a_closed_stream(site: Any, wait_for: Callable[..., Any]) -> None:
    """What is printed into a database that happens to be file 2 destroys it."""
    with started(site, 'exec "$0" run <&- >&- 2>&-') as process:
        wait_for(lambda: (site.folder / "ledger.db").exists(), "the ledger")
        for number in range(3):
            assert os.readlink(f"/proc/{process.pid}/fd/{number}") == os.devnull
