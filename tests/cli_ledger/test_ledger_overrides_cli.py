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
    assert desk("release", "r").out.count("ended: ") == 3
    assert in_force(desk) == [("protect", "R", None, ""), ("pause", None, None, "")]


def test_pause_and_resume(desk: Any) -> None:
    assert "account main" in desk("pause", "--for", "10m", "--account", "main").out
    assert desk("pause", "--for", "1h30m", "--reason", "drill").code == 0
    assert in_force(desk) == [("pause", None, "main", ""), ("pause", None, None, "drill")]
    table = desk("holds").out
    assert "all" in table
    assert "drill" in table
    ended = desk("resume").out
    assert "ended: pause on all accounts until" in ended
    assert "ended: pause on account main until" in ended
    result = desk("resume")
    assert (result.code, result.out) == (1, "nothing is paused\n")
    assert desk("holds").out == "none\n"


def test_a_protection_lasts_until_it_is_released(desk: Any) -> None:
    desk("protect", "r", "--account", "main")
    [found] = desk("holds", "--json").json
    assert (found["until"], found["account"]) == (None, "main")
    assert "for good" in desk("holds").out


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


def test_a_locked_ledger_is_said(desk: Any) -> None:
    desk.save()
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


# --- what was meant --------------------------------------------------------------------------------------------------

CONFIG = "accounts: [{name: apify-main, platform: apify, token_env: NOT_SET}, {name: growth, platform: lobstr}]\n"


@pytest.mark.parametrize(
    "words",
    [["hold", "r", "--for", "1h"], ["protect", "r"], ["resurrect", "r"], ["pause", "--for", "1h"], ["abort", "r"]],
)
def test_an_account_that_is_not_configured_is_refused_with_the_ones_there_are(desk: Any, words: list[str]) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text(CONFIG)
    result = desk(*words, "--account", "apify-mian")
    assert result.code == 2
    assert "did you mean 'apify-main'?" in result.err
    assert "budget-watchdog.yaml has: apify-main, growth" in result.err
    assert not desk.path.exists()


@pytest.mark.parametrize("words", [["hold", "r", "--for", "1h"], ["pause", "--for", "1h"]])
def test_an_account_that_is_configured_is_taken_without_its_token(desk: Any, words: list[str]) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text(CONFIG)
    assert desk(*words, "--account", "growth").code == 0


def test_accounts_of_the_environment(desk: Any) -> None:
    desk.environ = {"APIFY_TOKEN": "x"}
    assert desk("pause", "--for", "1h", "--account", "apify").code == 0
    result = desk("pause", "--for", "1h", "--account", "main")
    assert (result.code, "the environment has: apify" in result.err) == (2, True)
    desk.environ = {"BUDGET_WATCHDOG_ACCOUNTS": '[{"name": "one", "platform": "apify"}]'}
    assert desk("pause", "--for", "1h", "--account", "one").code == 0
    assert desk("pause", "--for", "1h", "--account", "two").code == 2


def test_without_a_configuration_an_account_is_taken_with_a_warning(desk: Any, make: Any) -> None:
    assert "whether there is an account 'mian'" in desk("pause", "--for", "1h", "--account", "mian").err
    desk.save(make("a"))
    warned = desk("pause", "--for", "1h", "--account", "mian")
    assert (warned.code, "did you mean 'main'?" in warned.err) == (0, True)
    assert not desk("pause", "--for", "1h", "--account", "main").err


def test_a_configuration_that_cannot_be_read_does_not_keep_a_named_ledger_from_being_used(desk: Any) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text("accounts: [1\n")
    assert desk("hold", "r", "--for", "1h").code == 0
    assert desk("hold", "r", "--for", "1h", "-c", "budget-watchdog.yaml").code == 2


def test_a_run_that_the_ledger_does_not_know_is_held_with_a_warning(desk: Any, make: Any) -> None:
    desk.save(make("a", run_id="HG7ML7M8z78YcAPEB"))
    unknown = desk("hold", "HG7ML7M8z78YcAPEd", "--for", "1h")
    assert unknown.code == 0
    assert "does not know run HG7ML7M8z78YcAPEd" in unknown.err
    assert "Did you mean HG7ML7M8z78YcAPEB? It is held all the same." in unknown.err
    assert in_force(desk)[0][1] == "HG7ML7M8z78YcAPEd"
    assert not desk("protect", "HG7ML7M8z78YcAPEB").err
    assert not desk("protect", "HG7ML7M8z78YcAPEB", "--account", "main").err


def test_a_run_on_another_account_is_told(desk: Any, make: Any) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text(CONFIG)
    desk.save(make("a", run_id="r", account="apify-main"))
    result = desk("hold", "r", "--for", "1h", "--account", "growth")
    assert (result.code, "on account apify-main, not on growth" in result.err) == (0, True)


@pytest.mark.parametrize(
    "address",
    [
        "https://console.apify.com/actors/runs/HG7ML7M8z78YcAPEB",
        "https://console.apify.com/actors/2Mdma1N6Fd0y3QEjR/runs/HG7ML7M8z78YcAPEB#output",
        "https://console.apify.com/actors/tasks/bb/runs/HG7ML7M8z78YcAPEB/?tab=log",
        "https://console.apify.com/organization/Gx9/actors/runs/HG7ML7M8z78YcAPEB?a=b#log",
        "https://console.apify.com/organization/Gx9/actors/2Md/runs/HG7ML7M8z78YcAPEB",
        "https://console.apify.com/view/runs/HG7ML7M8z78YcAPEB",
        "HTTPS://Console.Apify.com/actors/runs/HG7ML7M8z78YcAPEB",
        "console.apify.com/actors/runs/HG7ML7M8z78YcAPEB",
        "https://my.apify.com/actors/2Md#/runs/HG7ML7M8z78YcAPEB",
        "https://api.apify.com/v2/actor-runs/HG7ML7M8z78YcAPEB?token=secret",
        "https://app.lobstr.io/dashboard/squid/e445/runs/HG7ML7M8z78YcAPEB",
        "https://api.lobstr.io/v1/runs/HG7ML7M8z78YcAPEB/stats",
    ],
)
def test_the_address_of_a_run_names_the_run(desk: Any, address: str) -> None:
    assert desk("protect", address).code == 0
    assert [run for _, run, _, _ in in_force(desk)] == ["HG7ML7M8z78YcAPEB"]
    assert desk("release", address).code == 0


@pytest.mark.parametrize(
    "text",
    [
        "https://console.apify.com/actors/2Mdma1N6Fd0y3QEjR",
        "https://console.apify.com/actors/2Mdma1N6Fd0y3QEjR/runs/",
        "https://api.apify.com/v2/acts/a/runs/last?token=secret",
        "https://console.apify.com.example.com/actors/runs/HG7ML7M8z78YcAPEB",
        "https://notapify.com/actors/runs/HG7ML7M8z78YcAPEB",
        "https://console.apify.com@example.com/actors/runs/HG7ML7M8z78YcAPEB",
        "https://example.com/runs/HG7ML7M8z78YcAPEB?token=secret",
        "example.com/runs/HG7ML7M8z78YcAPEB",
        "https://[console.apify.com/actors/runs/x",
        "https://console.apify.com/actors/runs/a%20b",
        "a b",
        "a\u00a0b",
        "a\u200b",
        "\ufeffa",
        "a\u202eb",
        "\u2019a\u2019",
        "'a'",
        '"a"',
        "\u201ea\u201c",
        "a,b",
        "a;b",
        "HG7*",
        "{a,b}",
        "<a>",
        "\u0430bc",
        "a" * 129,
    ],
)
@pytest.mark.parametrize("words", [["protect"], ["release"], ["abort"]])
def test_what_cannot_be_a_run_is_refused_in_a_sentence(desk: Any, words: list[str], text: str) -> None:
    result = desk(*words, text)
    assert result.code == 2
    assert "secret" not in result.err
    assert "run id" in result.err or "address" in result.err or "run's id" in result.err
    assert result.err.isprintable()
    assert not list(desk.folder.iterdir())


def test_resume_of_one_account_leaves_the_other_pauses(desk: Any) -> None:
    for words in (["--account", "a"], ["--account", "b"], []):  # the wider one last: it does not cover the others
        desk("pause", "--for", "1h", *words)
    result = desk("resume", "--account", "a")
    assert result.code == 0
    assert result.out.startswith("ended: pause on account a until")
    assert "Account a is still paused: the pause on all accounts lasts until" in result.err
    assert "; end it with `resume`." in result.err
    assert [account for _, _, account, _ in in_force(desk)] == ["b", None]
    again = desk("resume", "--account", "a")
    assert (again.code, again.out) == (1, "nothing is paused on account a alone\n")


def test_release_on_one_account(desk: Any) -> None:
    desk("protect", "r", "--account", "a")
    desk("protect", "r", "--account", "b")
    assert desk("release", "r", "--account", "a").code == 0
    assert [account for _, _, account, _ in in_force(desk)] == ["b"]


def test_resuming_an_account_that_is_not_configured_is_refused(desk: Any) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text(CONFIG)
    desk("pause", "--for", "1h")
    assert desk("resume", "--account", "nobody").code == 2


BOTH_PLATFORMS = """accounts:
  - {name: apify-main, platform: apify, token_env: A}
  - {name: growth, platform: lobstr, token_env: L}
rules: rules
"""
HEX = "300e1234300e1234300e1234300e12ab"
DASHED = "300E1234-300e-1234-300e-1234300e12ab"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["janedoe/maps"], "a run's id has only letters, digits, '-' and '_'"),
        (["janedoe~maps"], "a run's id has only letters, digits, '-' and '_'"),
        ([HEX.upper()], f"ids of lobstr are in lower case; write {HEX}"),
        ([DASHED], f"ids of lobstr have no '-'; write {HEX}"),
        (["HG7#ML7"], "'HG7#ML7' holds '#'"),
    ],
)
@pytest.mark.parametrize("verb", [["hold", "--for", "1h"], ["protect"], ["resurrect"], ["abort"]])
def test_an_id_that_rule_files_refuse_is_refused_here_too(
    desk: Any, verb: list[str], words: list[str], says: str
) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text(BOTH_PLATFORMS)
    result = desk(*verb, *words)
    assert (result.code, says in result.err) == (2, True), result.err
    assert not desk.path.exists()


def test_an_id_of_another_platform_is_doubted_unless_the_ledger_knows_it(desk: Any, make: Any) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text(BOTH_PLATFORMS)
    result = desk("protect", HEX, "--account", "apify-main")
    assert result.code == 0
    assert "does not look like the id of a run (17 letters and digits on Apify)" in result.err
    assert "does not look like" not in desk("protect", HEX).err
    desk.save(make("a", run_id=HEX, account="apify-main"))
    assert not desk("protect", HEX, "--account", "apify-main").err


def test_a_plug_in_may_have_any_id(desk: Any) -> None:
    (desk.folder / "budget-watchdog.yaml").write_text("accounts: [{name: x, platform: crawlhub, token_env: A}]")
    assert desk("protect", "janedoe/maps").code == 0


def test_blanks_around_an_id_are_not_part_of_it(desk: Any) -> None:
    assert desk("protect", " HG7ML7M8z78YcAPEB\u00a0\n").code == 0
    assert [run for _, run, _, _ in in_force(desk)] == ["HG7ML7M8z78YcAPEB"]


def test_a_shorter_hold_says_what_really_is_in_force(desk: Any) -> None:
    desk("hold", "r", "--for", "4h")
    [hold] = desk("holds", "--json").json
    shorter = desk("hold", "r", "--for", "10m")
    assert shorter.code == 0
    until = f"{datetime.fromisoformat(hold['until']):%Y-%m-%d %H:%M:%S} UTC"
    assert shorter.out.startswith(f"run r is already held until {until}; that stays")
    assert desk("hold", "r", "--for", "5m", "--account", "main").out.startswith("run r is already held until")
    assert desk("holds", "--json").json == [hold]
    assert "is held until" in desk("hold", "r", "--for", "8h").out


def test_a_hold_on_a_protected_run_is_told(desk: Any) -> None:
    desk("protect", "r")
    assert desk("hold", "r", "--for", "1h").out.startswith("run r is already protected; that stays")
    assert in_force(desk) == [("protect", "r", None, "")]


def test_the_same_twice_is_one_row(desk: Any) -> None:
    for verb in ("protect", "resurrect"):
        desk(verb, "r")
        assert desk(verb, "r").out.startswith("run r is already ")
    desk("pause", "--for", "4h")
    assert desk("pause", "--for", "1h").out.startswith("already paused on all accounts until")
    assert [kind for kind, *_ in in_force(desk)] == ["protect", "resurrect", "pause"]


def test_a_wider_hold_tells_of_a_longer_one_on_one_account(desk: Any) -> None:
    desk("hold", "r", "--for", "4h", "--account", "main")
    lines = desk("hold", "r", "--for", "1h").out.splitlines()
    assert lines[0].startswith("run r is held until")
    assert lines[1].startswith("run r is already held on account main until")
    assert len(in_force(desk)) == 2


def test_releasing_one_account_tells_of_what_is_on_all(desk: Any) -> None:
    desk("protect", "r", "--account", "a")
    desk("protect", "r")
    err = desk("release", "r", "--account", "a").err
    assert "Run r is still protected on account a: the protection on all accounts has no end" in err
    assert err.endswith("; end it with `release r`.\n")
