"""The real daemon while its wall clock is set (libfaketime), and while the whole process is stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HOUR, DAY = 3600, 86400
#: The most that the process may ever have in memory, in MB; it needs some 100.
MOST_MB = 350


class WallClock:
    """The wall clock that a process sees; the steady clocks stay as they are."""

    def __init__(self, library: str, file: Path) -> None:
        self._file = file
        self.set(0)
        self.environ = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """By so much the wall clock is ahead of the real one from now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)


@pytest.fixture
def wall_clock(tmp_path: Path, faketime: str) -> WallClock:
    return WallClock(faketime, tmp_path / "wall-clock")


def memory_mb(daemon: Any) -> float:
    """The most memory that the process ever had."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def surprises(daemon: Any, words: str) -> list[str]:
    return [line["error"] for line in daemon.logged("trouble") if words in line["error"]]


@contextmanager
def watching(site: Any, wall_clock: WallClock, wait_for: Callable[..., Any]) -> Iterator[Any]:
    with site.daemon(**wall_clock.environ) as daemon:
        daemon.wait_until_ready()
        yield daemon
        # It still sweeps each account.
        for account in ("main", "growth"):
            swept = daemon.counted("polls_total", account=account, kind="sweep", outcome="ok")
            enough = swept + 3
            wait_for(
                lambda account=account, enough=enough: (
                    daemon.counted("polls_total", account=account, kind="sweep", outcome="ok") >= enough
                ),
                f"more sweeps of {account}",
            )
        assert memory_mb(daemon) < MOST_MB
        assert daemon.get("/healthz")[0] == 200


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (HOUR, "set forward by 1h"),
        (31 * DAY, "set forward by 31d"),
        (366 * DAY, "set forward by 366d"),
        (-10, "set back by 10s"),
        (-HOUR, "set back by 1h"),
        (-DAY, "set back by 1d"),
    ],
)
def test_runs_are_stopped_whatever_becomes_of_the_wall_clock(
    site: Any, wall_clock: WallClock, wait_for: Callable[..., Any], step: int, words: str
) -> None:
    with watching(site, wall_clock, wait_for) as daemon:
        wall_clock.set(step)
        over = site.apify.start_run(usd_per_hour=36_000)
        squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
        within = site.apify.start_run(usd_per_hour=0.01)
        wait_for(lambda: over.truth().aborted_by_api and squid.truth().aborted_by_api, "the stops")
        wait_for(lambda: daemon.counted("aborts_total", outcome="confirmed") == 2, "their proof")
        wait_for(lambda: surprises(daemon, "the wall clock was set"), "the line about it")
        (told,) = surprises(daemon, "the wall clock was set")
        assert words in told
        assert not within.abort_requests


def test_the_clock_is_set_and_set_right_again(site: Any, wall_clock: WallClock, wait_for: Callable[..., Any]) -> None:
    with watching(site, wall_clock, wait_for) as daemon:
        wall_clock.set(366 * DAY)
        wait_for(lambda: surprises(daemon, "set forward"), "the first line")
        wall_clock.set(0)
        wait_for(lambda: surprises(daemon, "set back"), "the second line")
        over = site.apify.start_run(usd_per_hour=36_000)
        wait_for(lambda: over.truth().aborted_by_api, "the stop")
        by_hand = site.apify.start_run(usd_per_hour=0.01)
        done = site.call("abort", by_hand.id, "--wait", "20", **wall_clock.environ)
        assert done.returncode == 0, done.stdout + done.stderr
        assert len(surprises(daemon, "the wall clock was set")) == 2


def test_a_hold_lasts_as_long_as_it_was_to_last(site: Any, wall_clock: WallClock, wait_for: Callable[..., Any]) -> None:
    """A step past its end does not end it; set back, it is not prolonged."""
    used = 0.0
    held, lapses = (site.apify.start_run(curve=lambda ran_s: used) for _ in range(2))
    with watching(site, wall_clock, wait_for) as daemon:
        # Only now, since it takes a slow machine as long to start as the shorter hold lasts.
        site.call("hold", held.id, "--for", "10m", **wall_clock.environ)
        site.call("hold", lapses.id, "--for", "30s", **wall_clock.environ)
        used = 9.0
        wait_for(lambda: daemon.counted("breaches_total", response="held") >= 2, "the breaches")
        wall_clock.set(DAY)
        wait_for(lambda: surprises(daemon, "set forward"), "the line about it")
        wall_clock.set(-DAY)
        wait_for(lambda: surprises(daemon, "set back"), "the line about it")
        # Both still hold: whoever asks is told so, by the new time.
        shown = site.call("holds", **wall_clock.environ).stdout
        assert held.id in shown
        wait_for(lambda: lapses.truth().aborted_by_api, "the end of the hold", 60)
        assert not held.abort_requests
        assert site.call("release", held.id, **wall_clock.environ).returncode == 0
        wait_for(lambda: held.truth().aborted_by_api, "the stop after the release", 60)


def test_a_process_that_was_stopped_goes_on_at_once(
    site: Any, wall_clock: WallClock, wait_for: Callable[..., Any]
) -> None:
    with watching(site, wall_clock, wait_for) as daemon:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        over = site.apify.start_run(usd_per_hour=36_000)
        time.sleep(13)  # nothing but time makes it stand still
        assert not over.abort_requests
        os.kill(daemon.process.pid, signal.SIGCONT)
        wait_for(lambda: over.truth().aborted_by_api, "the stop")
        assert len(surprises(daemon, "stood still")) == 1
        assert not surprises(daemon, "the wall clock was set")
        assert "no sign of life" not in daemon.output()
