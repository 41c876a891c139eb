"""`once`, `check`, `demo`, and what every verb says of itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

BAD_RULES = """rules:
  - name: cap
    limits: {max_cost: 5}
  - name: cap
    limits: {max_duration: soon}
  - name: idle
"""


# ---- once


def test_once_stops_what_is_over_and_shows_a_table(site: Any) -> None:
    over = site.apify.start_run(curve=lambda ran_s: 3.0, run_id="overTheLimit00001")
    within = site.apify.start_run(curve=lambda ran_s: 0.05, run_id="withinTheLimit001")
    site.lobstr.start_run(site.lobstr.add_squid("Restaurants Paris"), credits_per_hour=1)
    done = site.call("once", "--wait", "1.5")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "$3.00 of $1.00" in rows[over.id]
    assert "breach" in rows[over.id]
    assert "aborted (immediate)" in rows[over.id]
    assert "within" in rows[within.id]
    assert "Restaurants Paris" in done.stdout
    assert "█" in done.stdout
    assert over.truth().aborted_by_api
    assert not within.abort_requests


def test_once_as_json(site: Any) -> None:
    over = site.apify.start_run(curve=lambda ran_s: 3.0)
    site.lobstr.start_run(site.lobstr.add_squid("s"), credits_per_hour=1)
    done = site.call("once", "--json", "--wait", "1.5")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["run"]: row for row in found["runs"]}
    assert rows[over.id]["verdict"] == "breach"
    assert rows[over.id]["abort"]["outcome"] == "confirmed"
    assert rows[over.id]["abort"]["rule"] == "cap"
    assert {row["platform"] for row in rows.values()} == {"apify", "lobstr"}
    assert [account["error"] for account in found["accounts"]] == [None, None]


def test_once_dry_run_aborts_nothing(site: Any) -> None:
    run = site.apify.start_run(curve=lambda ran_s: 3.0)
    done = site.call("once", "--dry-run")
    assert done.returncode == 0
    assert "dry run" in done.stdout
    assert not run.abort_requests
    as_json = json.loads(site.call("once", "--dry-run", "--json").stdout)
    assert as_json["dry_run"] is True
    assert as_json["runs"][0]["abort"] is None


def test_once_with_nothing_to_see(site: Any) -> None:
    done = site.call("once")
    assert (done.returncode, done.stdout.strip()) == (0, "no active runs")


def test_once_says_when_it_could_not_see_everything(site: Any) -> None:
    run = site.apify.start_run(curve=lambda ran_s: 3.0)
    wrong = site.call("once", "--wait", "1.5", L="wrong")
    assert wrong.returncode == 2
    assert "HTTP 401" in wrong.stderr
    assert run.truth().aborted_by_api, "the other account is seen to"


def test_once_says_when_a_stop_is_not_proven(site: Any) -> None:
    site.apify.start_run(curve=lambda ran_s: 3.0)
    site.fault("abort_ignored", "abort")
    done = site.call("once", "--wait", "1")
    assert done.returncode == 1
    assert "aborting" in done.stdout


# ---- check


def test_check_says_what_is_in_force(site: Any) -> None:
    done = site.call("check")
    assert done.returncode == 0
    assert "account main on apify" in done.stdout
    assert "3 rules from 1 file in rules" in done.stdout
    assert done.stdout.rstrip().endswith("all in order")
    assert not site.sim.requests
    found = json.loads(site.call("check", "--json").stdout)
    assert [rule["name"] for rule in found["rules"]] == ["cap", "squid-cap", "tell"]


def test_check_shows_every_mistake_with_its_position(site: Any) -> None:
    site.write("rules/rules.yaml", BAD_RULES)
    done = site.call("check")
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [
        "rules/rules.yaml:3:14",
        "rules/rules.yaml:4:11",
        "rules/rules.yaml:5:28",
        "rules/rules.yaml:6:5",
    ]
    assert "did you mean 'max_cost_usd'" in lines[0]
    assert "duplicate name" in lines[1]
    assert "no limit" in lines[3]


def test_check_shows_mistakes_of_settings_and_rules_in_one_go(site: Any) -> None:
    site.write("rules/rules.yaml", BAD_RULES)
    site.configure("lisen: 1")
    done = site.call("check")
    assert done.returncode == 2
    assert "did you mean 'listen'" in done.stderr
    assert "rules/rules.yaml:6:5" in done.stderr, "the rules that the settings name are read all the same"


def test_check_online(site: Any, dead_url: str) -> None:
    good = site.call("check", "--online")
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("ok, can list") == 2
    bad = site.call("check", "--online", L="wrong")
    assert bad.returncode == 2
    assert "growth on lobstr: account 'growth': GET" in bad.stdout
    assert "all in order" not in bad.stdout
    site.configure(lobstr_url=dead_url)
    unreachable = site.call("check", "--online", "--json")
    assert unreachable.returncode == 1
    outcomes = {each["name"]: each["ok"] for each in json.loads(unreachable.stdout)["accounts"]}
    assert outcomes == {"main": True, "growth": False}


def test_two_tokens_of_one_user_are_refused_like_one_token_twice(site: Any) -> None:
    run = site.apify.start_run(curve=lambda ran_s: 3.0)
    site.apify.other_tokens.add("another-token-of-the-user")
    twin = f"  - {{name: twin, platform: apify, token_env: A2, base_url: '{site.sim.url}'}}"
    path = site.configure()
    site.write(path.name, path.read_text().replace("\nlisten:", f"\n{twin}\nlisten:"))
    for verb in (["check", "--online"], ["check", "--online", "--json"], ["once"], ["run"]):
        done = site.call(*verb, A2="another-token-of-the-user")
        assert done.returncode == 2
        assert "accounts 'main' and 'twin' have tokens of the same apify user" in done.stderr
    assert site.call("check", A2="another-token-of-the-user").returncode == 0, "which only the platform can tell"
    assert run.truth().abort_requests == 0


# ---- demo and help


def test_demo(site: Any) -> None:
    done = site.call("demo", "--for", "6s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DISAGREES" not in done.stdout
    assert "\x1b" not in done.stdout, "plain lines"
    assert "confirmed mapsRunaway000001" in done.stdout
    assert "protected mapsQuarterly0001" in done.stdout
    assert "runs stopped" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("verb", ["", "run", "once", "check", "demo"])
def test_help(site: Any, verb: str) -> None:
    done = site.call(*([verb] if verb else []), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: budget-watchdog")
    assert len(done.stdout) > 300
    if not verb:
        assert all(f"\n  {each}" in done.stdout for each in ("run", "once", "check", "demo"))


def test_version(site: Any) -> None:
    done = site.call("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("budget-watchdog, version ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["demo", "--for", "soon"]])
def test_bad_usage(site: Any, arguments: list[str]) -> None:
    done = site.call(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
