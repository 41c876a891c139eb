"""`hold`, `protect`, `resurrect`, `release`, `holds`, `pause`, `resume`."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

NOW = datetime.now(UTC)


def in_force(desk: Any) -> list[tuple[Any, ...]]:
    found = desk("holds", "--json").json
    return [(each["kind"], each["run"], each["account"], each["reason"]) for each in found]


def test_a_hold_and_its_end(desk: Any) -> None:
    result = desk("hold", "RUN1", "--for", "2h", "--reason", "month end")
    assert result.code == 0
    assert "run RUN1 is held until" in result.out
    assert "no daemon is running" in result.out
    [hold] = desk("holds", "--json").json
    until = datetime.fromisoformat(hold["until"])
    assert timedelta(hours=1, minutes=59) < until - NOW < timedelta(hours=2, minutes=5)
    assert datetime.fromisoformat(hold["created_at"]) + timedelta(hours=2) == until
    assert in_force(desk) == [("hold", "RUN1", None, "month end")]
    assert desk("release", "RUN1").code == 0
    assert in_force(desk) == []
    again = desk("release", "RUN1")
    assert (again.code, again.out) == (1, "nothing holds run RUN1\n")


def test_release_ends_everything_about_one_run_only(desk: Any) -> None:
    for words in (["hold", "r", "--for", "1h"], ["protect", "r"], ["resurrect", "r"], ["protect", "R"]):
        assert desk(*words).code == 0
    assert desk("pause", "--for", "1h").code == 0
    assert desk("release", "r").out.startswith("ended 3")
    assert in_force(desk) == [("protect", "R", None, ""), ("pause", None, None, "")]


def test_pause_and_resume(desk: Any) -> None:
    assert desk("pause", "--for", "1h30m", "--reason", "drill").code == 0
    assert "account main" in desk("pause", "--for", "10m", "--account", "main").out
    assert in_force(desk) == [("pause", None, None, "drill"), ("pause", None, "main", "")]
    table = desk("holds").out
    assert "all" in table
    assert "drill" in table
    assert desk("resume").out.startswith("ended 2")
    result = desk("resume")
    assert (result.code, result.out) == (1, "nothing is paused\n")
    assert desk("holds").out == "none\n"


def test_a_protection_lasts_until_it_is_released(desk: Any) -> None:
    desk("protect", "r", "--account", "main")
    [found] = desk("holds", "--json").json
    assert (found["until"], found["account"]) == (None, "main")
    assert "released" in desk("holds").out


def test_an_override_ends_by_itself(desk: Any) -> None:
    desk("hold", "r", "--for", "1h")
    with closing(sqlite3.connect(desk.path)) as connection:
        connection.execute("UPDATE overrides SET until = '2026-01-01T00:00:00.000000+00:00'")
        connection.commit()
    assert in_force(desk) == []
    assert desk("release", "r").code == 1


@pytest.mark.parametrize(
    "words",
    [
        ["hold", "r"],
        ["hold", "--for", "1h"],
        ["hold", "r", "--for", "0s"],
        ["hold", "r", "--for", "-1h"],
        ["hold", "r", "--for", "2"],
        ["hold", "r", "--for", "soon"],
        ["hold", "r", "--for", "200000d"],
        ["hold", "", "--for", "1h"],
        ["hold", " r", "--for", "1h"],
        ["hold", "r\n", "--for", "1h"],
        ["hold", "\udcff", "--for", "1h"],
        ["hold", "r", "--for", "1h", "--account", ""],
        ["hold", "r", "s", "--for", "1h"],
        ["pause"],
        ["pause", "--for", "0s"],
        ["pause", "r", "--for", "1h"],
        ["protect"],
        ["protect", "r", "--for", "1h"],
        ["release"],
        ["release", ""],
        ["resume", "now"],
        ["holds", "r"],
    ],
)
def test_odd_input_is_a_usage_error_and_writes_nothing(desk: Any, words: list[str]) -> None:
    result = desk(*words)
    assert result.code == 2
    assert result.err
    assert not list(desk.folder.iterdir())


def test_an_empty_address_does_not_mean_the_default_one(desk: Any) -> None:
    """`--ledger "$UNSET"` must not hold a run in some other ledger."""
    assert desk("hold", "r", "--for", "1h", "--ledger", "", ledger=False).code == 2


def test_a_reason_is_one_line_of_text(desk: Any) -> None:
    desk("protect", "r", "--reason", " two\nlines \x1b[31m and \udcff bytes ")
    [(_, _, _, reason)] = in_force(desk)
    assert reason == "two lines \x1b[31m and ? bytes"
    assert "\x1b" not in desk("holds").out


@pytest.mark.parametrize("words", [["release", "r"], ["resume"]])
def test_ending_what_is_not_there_makes_no_ledger(desk: Any, words: list[str]) -> None:
    assert desk(*words).code == 1
    assert not list(desk.folder.iterdir())


def test_holds_without_a_ledger(desk: Any) -> None:
    assert desk("holds").code == 1
    assert not list(desk.folder.iterdir())


def test_a_hold_makes_the_ledger_for_the_daemon_to_come(desk: Any) -> None:
    desk.address = "sqlite:///./new/folder/x.db"
    assert desk("hold", "r", "--for", "1h").code == 0
    assert (desk.folder / "new" / "folder" / "x.db").stat().st_mode & 0o777 == 0o600
    assert (desk.folder / "new" / "folder").stat().st_mode & 0o777 == 0o700
    assert in_force(desk) == [("hold", "r", None, "")]


def test_in_memory_nothing_can_be_held(desk: Any) -> None:
    desk.address = "memory"
    result = desk("hold", "r", "--for", "1h")
    assert result.code == 1
    assert "in memory" in result.err


def test_a_locked_ledger_is_said(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.save()
    monkeypatch.setattr("watchdog.ledger.sqlite.BUSY_S", 0.1)
    with closing(sqlite3.connect(desk.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        result = desk("hold", "r", "--for", "1h")
    assert result.code == 1
    assert "locked" in result.err
    assert in_force(desk) == []


def test_the_console_script_shows_no_traceback(desk: Any) -> None:
    """Bytes that are no text, as a terminal can send them."""
    words: list[str | bytes] = ["hold", b"\xff", "--for", "1h", "--ledger", "sqlite:///./x.db"]
    done = subprocess.run([sys.executable, "-m", "watchdog", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
