"""What becomes of lines that nobody reads, on a real pipe."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator

import pytest
from bw_support import wait_for

from watchdog.telemetry.logs import configure_logging
from watchdog.telemetry.outlet import Outlet

#: More than a pipe and the queue of the tests take together.
MANY = 3000
LINE = b"x" * 99 + b"\n"


class Pipe:
    """A pipe whose reader takes its time."""

    def __init__(self) -> None:
        self.exit, self.entry = os.pipe()
        os.set_blocking(self.exit, False)
        self.text = b""
        self._outlets: list[Outlet] = []

    def outlet(self, **bounds: int) -> Outlet:
        self._outlets.append(Outlet(self.entry, **bounds))
        return self._outlets[-1]

    def read(self) -> bytes:
        try:
            while piece := os.read(self.exit, 65536):
                self.text += piece
        except BlockingIOError:
            pass
        return self.text

    def lines(self) -> list[str]:
        """Those that have come whole."""
        return self.read().decode().split("\n")[:-1]

    def close(self) -> None:
        os.close(self.exit)
        for outlet in self._outlets:
            outlet.drain(within_s=20)
        os.close(self.entry)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def accounted_for(lines: list[str], event: Callable[[str], str], lost: Callable[[str], int]) -> int:
    """How many numbered lines have come or are said to be lost, each in its place."""
    number = 0
    for line in lines:
        if missing := lost(line):
            number += missing
        else:
            assert int(event(line).split()[0]) == number
            number += 1
    return number


def test_lines_that_find_no_room_are_counted_and_told_of_in_their_place(pipe: Pipe) -> None:
    def lost(line: str) -> int:
        return int(line.split()[1]) if line.startswith("budget-watchdog:") else 0

    outlet = pipe.outlet(waiting_max_bytes=50_000)
    for number in range(MANY):
        outlet.put(b"%d %s" % (number, LINE))
    assert outlet.lost > 0
    wait_for(lambda: accounted_for(pipe.lines(), str, lost) == MANY, "the end of the jam")
    outlet.put(b"%d after\n" % MANY)
    wait_for(lambda: accounted_for(pipe.lines(), str, lost) == MANY + 1, "what was said after it")
    assert outlet.lost == sum(map(lost, pipe.lines()))


def test_nobody_waits_at_the_end_for_a_reader_that_does_not_come(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    outlet.put(LINE * MANY)
    outlet.drain(within_s=0.05)
    assert not pipe.read().endswith(b"y\n")


def test_what_waits_is_written_at_the_end(pipe: Pipe) -> None:
    outlet = pipe.outlet()
    for _ in range(100):
        outlet.put(LINE)
    outlet.drain(within_s=20)
    assert pipe.read() == LINE * 100


def test_a_line_larger_than_the_room_passes_where_nothing_else_waits(pipe: Pipe) -> None:
    outlet = pipe.outlet(waiting_max_bytes=10)
    outlet.put(LINE)
    wait_for(lambda: pipe.read() == LINE, "the line")
    assert outlet.lost == 0


def test_lines_that_cannot_be_written_are_told_of_once_others_can() -> None:
    full, fine = os.open("/dev/full", os.O_WRONLY), os.pipe()
    try:
        outlet = Outlet(full)
        outlet.put(LINE)
        outlet.put(LINE)
        wait_for(lambda: outlet.lost == 2, "the failure")
        os.dup2(fine[1], full)
        outlet.put(b"after\n")
        outlet.drain(within_s=20)
        missing, after = os.read(fine[0], 65536).decode().splitlines()
        assert "2 lines are missing" in missing
        assert after == "after"
    finally:
        for fd in (full, *fine):
            os.close(fd)


@pytest.mark.usefixtures("own_logging")
def test_the_log_has_a_line_of_its_own_kind_for_what_is_lost(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def event(line: str) -> str:
        return str(json.loads(line)["event"])

    def lost(line: str) -> int:
        return int(json.loads(line).get("lines", 0))

    with open(os.dup(pipe.entry), "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        configure_logging("json")
        sys.stderr.write("printed\n")
        # As much as one line may be beyond what a pipe takes, and then more than the queue does.
        for number in range(40):
            logging.getLogger("x").warning("%d %s", number, "x" * 100_000)
        wait_for(lambda: accounted_for(pipe.lines()[1:], event, lost) == 40, "the end of the jam")
    assert pipe.lines()[0] == "printed"
    told = next(line for line in map(json.loads, pipe.lines()[1:]) if "lines" in line)
    assert (told["level"], told["logger"]) == ("warning", "budget_watchdog")
