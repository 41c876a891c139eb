"""A log that nobody reads: a supervisor that hangs, a terminal that is held, a pipe that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bw_support import page, wait_for

SCRIPT = str(Path(sys.executable).with_name("budget-watchdog"))
#: What a program says that wrote to the pipe before us.
FILLING = b"nobody reads this\n"


class Pipe:
    """A pipe full to the brim; `read` is the reader that comes after all."""

    def __init__(self) -> None:
        self._end, self.entry = os.pipe()
        os.set_blocking(self.entry, False)
        try:
            while True:
                os.write(self.entry, FILLING)
        except BlockingIOError:
            pass
        os.set_blocking(self.entry, True)
        os.set_blocking(self._end, False)
        self.text = b""

    def read(self) -> bytes:
        """All that has come so far, but for what filled it."""
        try:
            while piece := os.read(self._end, 65536):
                self.text += piece
        except BlockingIOError:
            pass
        return self.text.replace(FILLING, b"")

    def close(self) -> None:
        os.close(self._end)


@contextmanager
def started(site: Any, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], Pipe]]:
    """The script with both its streams going into a full pipe."""
    pipe = Pipe()
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        cwd=site.folder,
        env=site.environ,
        stdin=subprocess.DEVNULL,
        stdout=pipe.entry,
        stderr=pipe.entry,
    )
    os.close(pipe.entry)
    try:
        yield process, pipe
    finally:
        process.kill()
        process.wait(15)
        site.check_output(pipe.read().decode())
        pipe.close()


def test_it_watches_answers_and_ends(site: Any) -> None:
    base = f"http://127.0.0.1:{site.port}"
    with started(site, "run") as (process, _):
        wait_for(lambda: page(f"{base}/healthz")[0] == 200, "the web server")
        runs = [site.apify.start_run(usd_per_hour=36_000) for _ in range(20)]
        wait_for(lambda: all(run.truth().aborted_by_api for run in runs), "all aborts")
        assert page(f"{base}/healthz")[0] == 200
        assert "\nbudget_watchdog_log_lines_lost_total 0.0\n" in page(f"{base}/metrics")[1]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert time.monotonic() - began < 5


def test_what_was_said_comes_in_order_once_somebody_reads(site: Any) -> None:
    with started(site, "run") as (process, pipe):
        run = site.apify.start_run(usd_per_hour=36_000)
        wait_for(lambda: run.truth().aborted_by_api, "the abort")
        wait_for(lambda: b"abort confirmed" in pipe.read(), "the log")
        text = pipe.read().decode()
        assert text.index("first sweep done") < text.index("limit breached") < text.index("abort confirmed")
        process.terminate()
        assert process.wait(15) == 0


@pytest.mark.parametrize("verb", ["run", "once"])
def test_a_refusal_to_start_ends_too(site: Any, verb: str) -> None:
    site.fault("status", status=401)
    with started(site, verb) as (process, _):
        assert process.wait(20) == 2


def test_mistakes_in_the_configuration_end_it_too(site: Any) -> None:
    site.write("rules/rules.yaml", "rules: 3\n")
    with started(site, "run") as (process, _):
        assert process.wait(20) == 2
