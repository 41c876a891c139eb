"""`history`: what it shows, how it is asked, and that it only reads."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Basis, Saving
from watchdog.domain.run import replace


def test_newest_first_as_a_table(desk: Any, make: Any) -> None:
    desk.save(make("a", 0, 2.5), make("b", 3600, rule="other"))
    result = desk("history")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[0].split()[:3] == ["when", "(UTC)", "account"]
    assert [line.split()[3] for line in lines[1:3]] == ["run-b", "run-a"]
    assert "2026-11-22 03:00:00" in lines[2]
    assert "$1.50 of $1.00" in lines[2]
    assert "$2.50 (history)" in lines[2]
    assert lines[-3].split() == ["cap", "history", "1", "0.00", "2.50"]
    assert [line.strip() for line in lines[-2:]] == ["$2.50 saved by estimate", "and 1 more not yet booked"]


def test_a_bound_is_told_as_at_most_and_is_in_no_sum(desk: Any, make: Any) -> None:
    bound = make("b", 3600, 786.98)
    desk.save(make("a", 0, 2.5), replace(bound, saving=replace(bound.saving, basis=Basis.CAP)))
    lines = [" ".join(line.split()) for line in desk("history").out.splitlines()]
    assert "at most $786.98 (cap)" in lines[1]
    assert "$2.50 (history)" in lines[2]
    assert "cap cap 1 at most 0.00 at most 786.98" in lines
    assert lines[-1] == (
        "$2.50 saved by estimate, and at most $786.98 that the platform's own limit "
        "would have stopped later (no estimate)"
    )
    assert not [line for line in lines if "789.48" in line]
    plain = desk("history", "--json").json
    assert [(each["basis"], each["usd"]) for each in plain["saved"]] == [("cap", 786.98), ("history", 2.5)]
    assert [each["basis"] for each in plain["aborts"]] == ["cap", "history"]


def test_credits_of_two_platforms_are_not_added_up(desk: Any, make: Any) -> None:
    saving = Saving(Basis.PROGRESS, credits=3.0, usd=1.0)
    records = [
        replace(make(name, at, 1.0), platform=name, saving=saving) for at, name in enumerate(("apify", "lobstr"))
    ]
    desk.save(*records)
    last = desk("history").out.splitlines()[-1].strip()
    assert last == "$2.00, 3 compute units, 3 credits saved by estimate"


def test_an_empty_ledger(desk: Any) -> None:
    desk.save()
    assert desk("history").out == "no aborts\n"
    assert desk("history", "--json").json == {"aborts": [], "saved": [], "not_yet_booked": 0}
    assert len(desk("history", "--csv").out.splitlines()) == 1


def test_json_holds_every_step(desk: Any, make: Any) -> None:
    desk.save(make("a", 0, 2.5))
    [abort] = desk("history", "--json").json["aborts"]
    assert abort["outcome"] == "confirmed"
    assert [step["state"] for step in abort["history"]] == ["intended", "confirmed"]
    assert abort["detected_at"] == "2026-11-22T03:00:00+00:00"
    assert (abort["saved_usd"], abort["saved_credits"], abort["basis"]) == (2.5, None, "history")


def test_totals_by_rule_and_basis(desk: Any, make: Any) -> None:
    nothing_known = make("d", 4, 9.0, saving=None)
    desk.save(
        make("a", 1, 1.0),
        make("b", 2, 2.0),
        make("c", 3, 4.0, rule="other"),
        make("d", 4).advance(AbortState.CONFIRMED, nothing_known.detected_at, settled=True, saving=Saving()),
        make("e", 5).advance(
            AbortState.CONFIRMED, nothing_known.detected_at, settled=True, saving=Saving(Basis.CAP, credits=7.0)
        ),
        make("f", 6),
    )
    assert desk("history", "--json").json["saved"] == [
        {"rule": "cap", "basis": "cap", "aborts": 1, "credits": 7.0, "usd": 0.0},
        {"rule": "cap", "basis": "history", "aborts": 2, "credits": 0.0, "usd": 3.0},
        {"rule": "cap", "basis": "none", "aborts": 1, "credits": 0.0, "usd": 0.0},
        {"rule": "other", "basis": "history", "aborts": 1, "credits": 0.0, "usd": 4.0},
    ]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ([], "dcba"),
        (["--limit", "2"], "dc"),
        (["--limit", "99"], "dcba"),
        (["--account", "other"], "d"),
        (["--account", "nobody"], ""),
        (["--rule", "manual"], "b"),
        (["--outcome", "confirmed"], "c"),
        (["--outcome", "intended", "--account", "main"], "ba"),
        (["--since", "2026-11-22T03:00:10"], "dcb"),
        (["--since", "2026-11-22T03:00:10.000001"], "dc"),
        (["--until", "2026-11-22 03:00:10"], "a"),
        (["--since", "2026-11-22", "--until", "2026-11-23"], "dcba"),
        (["--since", "2026-11-22T05:00:20+02:00"], "dc"),
        (["--since", "2026-11-22T03:00:20Z"], "dc"),
    ],
)
def test_filters(desk: Any, make: Any, words: list[str], ids: str) -> None:
    desk.save(make("a", 0), make("b", 10, rule="manual"), make("c", 20, 1.0), make("d", 30, account="other"))
    assert "".join(abort["id"] for abort in desk("history", "--json", *words).json["aborts"]) == ids


@pytest.mark.parametrize("range_", [("2026-11-23", "2026-11-22"), ("2026-11-22", "2026-11-22"), ("7d", "8d")])
def test_an_empty_range_is_told(desk: Any, make: Any, range_: tuple[str, str]) -> None:
    desk.save(make("a"))
    result = desk("history", "--since", range_[0], "--until", range_[1])
    assert (result.code, "the range is empty" in result.err) == (2, True)


def test_an_account_and_a_rule_that_are_not_there_are_told(desk: Any, make: Any) -> None:
    desk.save(make("a"), make("b", rule="squid-cap", account="old"))
    rule = desk("history", "--rule", "squid_cap")
    assert (rule.code, rule.out) == (0, "no aborts that fit\n")
    assert "no abort by a rule 'squid_cap' is in the ledger, did you mean 'squid-cap'? it has some of: cap" in rule.err
    assert "no abort on account 'nope' is in the ledger" in desk("history", "--account", "nope").err
    (desk.folder / "budget-watchdog.yaml").write_text("accounts: [{name: main, platform: apify, token_env: A}]")
    refused = desk("history", "--account", "nope")
    assert (refused.code, "there is no account 'nope'" in refused.err) == (2, True)
    assert [each["id"] for each in desk("history", "--json", "--account", "old").json["aborts"]] == ["b"]
    assert not desk("history", "--account", "main", "--rule", "squid-cap").err


def test_what_is_in_no_total_yet_is_told(desk: Any, make: Any) -> None:
    desk.save(make("a", 0, 2.5), make("b", 1), make("c", 2).advance(AbortState.FAILED, make("c", 2).detected_at))
    assert desk("history").out.splitlines()[-1].strip() == (
        "and 1 more not yet booked, and 1 more with nothing saved (no stop of ours)"
    )
    assert desk("history", "--json").json["not_yet_booked"] == 1
    assert desk("history", "--outcome", "intended").out.splitlines()[-1].strip() == "1 not yet booked"


def test_an_abort_by_hand_has_no_figures_of_a_limit(desk: Any, make: Any) -> None:
    desk.save(make("a", rule="manual", limit=None, limit_value=0.0, used_at_detection=0.0))
    [abort] = desk("history", "--json").json["aborts"]
    assert (abort["limit"], abort["allowed"], abort["used"]) == ("none", None, None)
    [row] = csv.DictReader(io.StringIO(desk("history", "--csv").out))
    assert (row["allowed"], row["used"]) == ("", "")


def test_how_long_ago(desk: Any, make: Any) -> None:
    hour_ago = (datetime.now(UTC) - timedelta(hours=1) - datetime(2026, 11, 22, 3, tzinfo=UTC)).total_seconds()
    desk.save(make("a", hour_ago))
    assert len(desk("history", "--json", "--since", "2h").json["aborts"]) == 1
    assert len(desk("history", "--json", "--since", "30m").json["aborts"]) == 0
    assert len(desk("history", "--json", "--until", "30m", "--since", "1d12h").json["aborts"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "yesterday"],
        ["--since", ""],
        ["--since", "24"],
        ["--since", "-1h"],
        ["--since", "2026-13-01"],
        ["--since", "2026-11-22T25:00"],
        ["--since", "0001-01-01T00:00+14:00"],
        ["--since", "9999-12-31T23:00-14:00"],
        ["--since", "99999999d"],
        ["--since", "\x1b[31m"],
        ["--limit", "0"],
        ["--limit", "-1"],
        ["--limit", "many"],
        ["--outcome", "dead"],
        ["--json", "--csv"],
        ["stray"],
        ["--ledger", "postgresql://u:p@h/b"],
        ["--ledger", ""],
    ],
)
def test_odd_input_is_a_usage_error(desk: Any, words: list[str]) -> None:
    result = desk("history", *words, ledger="--ledger" not in words)
    assert result.code == 2
    assert result.err.isprintable() or "\n" in result.err
    assert "\x1b" not in result.err
    assert not list(desk.folder.iterdir())


# --- CSV -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\n=1", "＝1", "=cmd|' /C calc'!A0", '=HYPERLINK("x")'],
)
def test_no_name_becomes_a_formula(desk: Any, make: Any, name: str) -> None:
    desk.save(make("a", source=name, run_id=name, reason=name))
    [row] = csv.DictReader(io.StringIO(desk("history", "--csv").out))
    for column in ("source", "run", "reason"):
        assert row[column][0] == "'"


def test_csv_keeps_its_columns_whatever_is_in_them(desk: Any, make: Any) -> None:
    odd = 'quote " comma , line\nbreak \r return \u2028 \U0001f577 ; tab\t'
    desk.save(make("a", source=odd, rule="plain"), make("b", 1, 2.5))
    rows = list(csv.DictReader(io.StringIO(desk("history", "--csv").out, newline="")))
    assert [row["id"] for row in rows] == ["b", "a"]
    assert rows[1]["source"] == odd.replace("\r", "\n")
    assert (rows[0]["saved_usd"], rows[0]["saved_credits"], rows[0]["used"]) == ("2.5", "", "1.5")
    assert rows[1]["stopped_at"] == ""
    assert all(None not in row and None not in row.values() for row in rows)


# --- the terminal ----------------------------------------------------------------------------------------------------


def test_names_cannot_drive_the_terminal(desk: Any, make: Any) -> None:
    desk.save(make("a", 0, 1.0, source="\x1b[2Jgone [red]x[/red]", rule="\x1b]0;t\x07", run_id="r\r\nx"))
    out = desk("history").out
    assert not any(char in out for char in "\x1b\x07\r")
    assert "[red]x[/red]" in out


# --- the file --------------------------------------------------------------------------------------------------------


def test_without_a_ledger_it_says_so_and_makes_none(desk: Any) -> None:
    result = desk("history")
    assert result.code == 1
    assert "there is none yet; it is made by `run`, `once`, `hold` or `abort`" in result.err
    assert not list(desk.folder.iterdir())


def test_it_leaves_no_trace(desk: Any, make: Any) -> None:
    desk.save(make("a"))
    before = {path.name: path.read_bytes() for path in desk.folder.iterdir()}
    assert desk("history").code == 0
    assert desk("holds").code == 0
    assert {path.name: path.read_bytes() for path in desk.folder.iterdir()} == before


def test_in_memory_there_is_nothing_to_show(desk: Any) -> None:
    desk.address = "memory"
    result = desk("history")
    assert result.code == 1
    assert "in memory" in result.err


def test_a_file_that_is_no_ledger(desk: Any) -> None:
    desk.path.write_text("hello\n" * 100)
    result = desk("history")
    assert result.code == 1
    assert "not a ledger" in result.err
    assert desk.path.read_text() == "hello\n" * 100


@pytest.mark.parametrize("address", ["sqlite:///x.db", "sqlite:///./x.db", "absolute"])
def test_addresses_on_the_command_line(desk: Any, make: Any, address: str) -> None:
    desk.save(make("a"))
    desk.address = f"sqlite:///{desk.path}" if address == "absolute" else address
    assert len(desk("history", "--json").json["aborts"]) == 1


def test_the_ledger_of_the_configuration(desk: Any, make: Any) -> None:
    """It needs none of the tokens in it, and no rules."""
    (desk.folder / "sub").mkdir()
    config = desk.folder / "sub" / "bw.yaml"
    config.write_text("ledger: sqlite:///../x.db\naccounts: [{name: a, platform: apify, token_env: NOT_SET}]\n")
    desk.save(make("a"))
    assert len(desk("history", "--json", "-c", str(config), ledger=False).json["aborts"]) == 1
    desk.environ = {"BUDGET_WATCHDOG_LEDGER": "sqlite:///" + str(desk.path)}
    assert len(desk("history", "--json", ledger=False).json["aborts"]) == 1
    config.write_text("ledger: [1\n")
    desk.environ = {}
    assert desk("history", "-c", str(config), ledger=False).code == 2


def test_while_another_process_writes(desk: Any, make: Any) -> None:
    """Every answer is whole, and none misses what an earlier one showed."""
    from watchdog.ledger.rows import record_text

    desk.save()
    code = """
        import asyncio, sys, msgspec
        from pathlib import Path
        from watchdog.domain.run import replace
        from watchdog.domain.decision import Abort
        from watchdog.ledger.opening import open_exclusively
        async def main():
            store = open_exclusively(Path(sys.argv[1]), "daemon").store
            record = msgspec.json.decode(sys.argv[2], type=Abort)
            for number in range(100_000):
                await store.save(replace(record, id=f"{number:06}", reason="x" * 2000))
                print(number, flush=True)
        asyncio.run(main())
    """
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), desk.path, record_text(make("a"))],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "0\n"
        seen = 0
        for _ in range(5):
            found = len(desk("history", "--json").json["aborts"])
            assert found >= max(seen, 1)
            seen = found
        assert "no daemon" not in desk("hold", "r", "--for", "1h").out
    finally:
        writer.kill()
        rest = writer.stdout.read().split() if writer.stdout else []
        writer.wait()
        assert writer.stdout is not None
        writer.stdout.close()
    assert len(desk("history", "--json").json["aborts"]) >= int(rest[-1]) + 1
    assert [hold["run"] for hold in desk("holds", "--json").json] == ["r"]


def test_it_loads_neither_the_daemon_nor_the_migrations(tmp_path: Path, desk: Any) -> None:
    """They take more time than the whole command needs."""
    desk.save()
    code = (
        "import sys; from watchdog.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "print(sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "history", "--ledger", "sqlite:///./x.db"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    loaded = set(eval(done.stdout.splitlines()[-1]))
    assert loaded.isdisjoint(
        {"alembic", "httpx", "starlette", "uvicorn", "apscheduler", "pydantic", "prometheus_client"}
    )
