"""`budget-watchdog ledger check`, and `history` of more records than one likes to see at once."""

from __future__ import annotations

import csv
import io
import sqlite3
from typing import Any

from watchdog.cli.history import TABLE_MAX


def test_a_ledger_in_order(desk: Any, make: Any) -> None:
    desk.save(make("a1", saved_usd=3.0), make("a2"))
    result = desk("ledger", "check")
    assert result.code == 0
    assert "whole" in result.out
    assert desk("ledger", "check", "--json").json == {"ok": True, "differs": [], "repaired": False}


def test_sums_that_differ_are_said_and_repaired(desk: Any, make: Any) -> None:
    desk.save(make("a1", saved_usd=3.0))
    with sqlite3.connect(desk.path) as connection:
        connection.execute("UPDATE abort_sums SET aborts = 5")
    connection.close()
    result = desk("ledger", "check")
    assert result.code == 1
    assert "rule=cap" in result.out
    assert "aborts is 5, and by the records 1" in result.out
    assert desk("ledger", "check", "--repair").code == 0
    assert desk("ledger", "check").code == 0


def test_a_table_has_its_bounds_and_files_have_all(desk: Any, make: Any) -> None:
    count = TABLE_MAX + 203
    desk.save(*(make(f"a{number:05}", number, saved_usd=1.0) for number in range(count)))
    table = desk("history").out
    assert f"the newest {TABLE_MAX:,}" in table
    assert f"run-a{count - 1:05}" in table
    assert "run-a00000" not in table
    assert "run-a00000" in desk("history", "--limit", str(count)).out
    rows = list(csv.DictReader(io.StringIO(desk("history", "--csv").out)))
    assert [row["id"] for row in rows] == [f"a{number:05}" for number in reversed(range(count))]
    found = desk("history", "--json").json
    assert [each["id"] for each in found["aborts"]] == [row["id"] for row in rows]
    assert found["saved"][0]["aborts"] == count
    assert len(desk("history", "--json", "--limit", "7").json["aborts"]) == 7
