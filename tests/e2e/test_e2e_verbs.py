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


def test_a_wait_of_nothing_still_sends_the_request_and_records_it(site: Any) -> None:
    """What is announced is asked for, and nothing of it is lost."""
    run = site.apify.start_run(curve=lambda ran_s: 0.05)
    site.fault("delay", "abort", delay_s=0.5)
    done = site.call("abort", run.id, "--wait", "0")
    assert done.returncode == 1
    assert "is under way" in done.stdout
    assert "requested, and not yet proven to have stopped" in done.stderr
    assert "budget-watchdog history" in done.stderr
    assert run.abort_requests == 1
    (record,) = json.loads(site.call("history", "--json").stdout)["aborts"]
    assert (record["run"], record["outcome"], record["requests"]) == (run.id, "requested", 1)


def test_an_abort_of_what_is_no_run_says_so(site: Any) -> None:
    done = site.call("abort", "HG7ML7M8z78YcAPE")
    assert (done.returncode, done.stdout) == (1, "not aborted: no account has a run HG7ML7M8z78YcAPE\n")
    assert "does not look like the id of a run" in done.stderr


def test_once_that_does_not_wait_still_sends_its_requests(site: Any) -> None:
    run = site.apify.start_run(curve=lambda ran_s: 3.0)
    site.fault("delay", "abort", delay_s=0.5)
    assert site.call("once", "--wait", "0").returncode == 1
    assert run.abort_requests == 1
    (record,) = json.loads(site.call("history", "--json").stdout)["aborts"]
    assert (record["outcome"], record["rule"]) == ("requested", "cap")


def test_once_counts_only_the_runs_that_it_aborted_itself(site: Any) -> None:
    """What another command has begun is finished and shown, and is not this one's doing."""
    run = site.apify.start_run(curve=lambda ran_s: 0.05)
    site.call("abort", run.id, "--wait", "0")
    done = site.call("once", "--json", "--exit-code", "--wait", "20")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["stopped"] == 0
    (row,) = found["runs"]
    assert (row["abort"]["outcome"], row["abort_is_earlier"]) == ("confirmed", True)
    assert row["response"].startswith("aborted earlier")
    over = site.apify.start_run(curve=lambda ran_s: 3.0)
    done = site.call("once", "--json", "--exit-code", "--wait", "20")
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["stopped"] == 1
    assert over.truth().aborted_by_api


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


WHOLE = """rules:
  - name: cap
    match: {platform: apify, actor: [nobody/maps, "nobody/else*"]}
    limits: {max_cost_usd: 1.00, max_duration: 2h}
    never_exceed: true
    resurrect: true
  - {name: rest, limits: {max_credits: 50}}
protect:
  - {match: {run_id: HG7ML7M8z78YcAPEB}, reason: quarterly crawl that somebody with a long name has signed off}
resurrect:
  - match: {task: "*-resumable"}
"""


@pytest.mark.parametrize("columns", [None, "60", "80", "200"])
def test_check_shows_all_that_is_in_force(site: Any, columns: str | None) -> None:
    site.write("rules/rules.yaml", WHOLE)
    done = site.call("check", COLUMNS=columns)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert columns is None or max(map(len, lines)) <= int(columns)
    text = "".join(done.stdout.split())
    for part in (
        f"account main on apify {site.sim.url}, looked at every 1s",
        "cap: max_cost_usd $1.00, max_duration 2h, abort, resurrect, never_exceed",
        "match: actor=nobody/maps | nobody/else*, platform=apify",
        "rest: max_credits 50 credits, abort match: every run",
        "protected, never aborted: run_id=HG7ML7M8z78YcAPEB: quarterly crawl that somebody",
        "resurrected later, aborted gracefully: task=*-resumable",
        f"ledger: {site.folder}/ledger.db, will be made",
        f"listening on 127.0.0.1:{site.port}: http, no admin calls",
        "armed: what breaks a rule is aborted",
    ):
        assert "".join(part.split()) in text
    assert not (site.folder / "ledger.db").exists()


def test_check_shows_all_that_is_in_force_as_json(site: Any) -> None:
    site.write("rules/rules.yaml", WHOLE)
    found = json.loads(site.call("check", "--json", BUDGET_WATCHDOG_DRY_RUN="true").stdout)
    assert found["accounts"][0] == {
        "name": "main",
        "platform": "apify",
        "base_url": site.sim.url,
        "poll_interval_s": 1.0,
    }
    assert found["rules"][0]["match"] == {"platform": ["apify"], "actor": ["nobody/maps", "nobody/else*"]}
    assert found["rules"][0]["never_exceed"] is True
    assert found["protect"][0]["match"] == {"run_id": ["HG7ML7M8z78YcAPEB"]}
    assert found["protect"][0]["place"] == "rules/rules.yaml:9"
    assert found["resurrect"] == [{"match": {"task": ["*-resumable"]}, "place": "rules/rules.yaml:11"}]
    assert found["ledger"] == {"place": f"{site.folder}/ledger.db", "state": "will be made"}
    assert found["listen"] == f"127.0.0.1:{site.port}"
    assert found["dry_run"] is True
    assert found["unmatched"] is None


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("mysql://me:s3cret@x/y", "'mysql://***@x/y' is not supported; write sqlite:///path/to/ledger.db, or memory"),
        ("sqlite:///{folder}/rules", "this is no file; name another"),
        ("sqlite:///{folder}/budget-watchdog.yaml", "the file is not a ledger"),
        ("sqlite:///{folder}/budget-watchdog.yaml/ledger.db", "make it writable, or name another place"),
    ],
)
@pytest.mark.parametrize("where", ["file", "variable"])
def test_check_refuses_a_ledger_that_cannot_be(site: Any, address: str, says: str, where: str) -> None:
    address = address.format(folder=site.folder)
    file = site.folder / "budget-watchdog.yaml"
    if where == "file":
        file.write_text(file.read_text().replace(f"sqlite:///{site.folder}/ledger.db", address))
    done = site.call("check", **({} if where == "file" else {"BUDGET_WATCHDOG_LEDGER": address}))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    [line] = done.stderr.splitlines()
    row = 1 + file.read_text().splitlines().index(f'ledger: "{address}"') if where == "file" else 0
    assert line.startswith(f"budget-watchdog.yaml:{row}:9: ledger" if row else "BUDGET_WATCHDOG_LEDGER: ")
    assert "s3cret" not in done.stderr


def test_check_doubts_a_ledger_in_a_folder_that_is_not_there(site: Any) -> None:
    done = site.call("check", BUDGET_WATCHDOG_LEDGER=f"sqlite:///{site.folder}/vra/lib/ledger.db")
    assert done.returncode == 0
    assert "its folder does not exist and would be made; is the path right?" in " ".join(done.stdout.split())
    assert done.stdout.endswith("all in order, with 1 warning\n")


def test_check_warns_of_accounts_without_a_rule_and_of_a_limit_of_zero(site: Any) -> None:
    site.write("rules/rules.yaml", "rules: [{name: x, match: {platform: apify}, limits: {max_credits: 0}}]")
    done = site.call("check")
    assert "warning: rules/rules.yaml:1:" in done.stdout
    assert "max_credits 0 allows nothing: every run of apify is aborted at the first look" in done.stdout
    assert "warning: rules: no rule covers the account 'growth'" in done.stdout
    assert done.stdout.endswith("all in order, with 2 warnings\n")


def test_online_check_and_once_tell_what_matches_nothing(site: Any) -> None:
    site.write("rules/rules.yaml", WHOLE)
    site.apify.start_run(curve=lambda ran_s: 0.05)
    checked = site.call("check", "--online")
    assert checked.returncode == 0, checked.stderr
    assert "1 active run now\n  rule 'cap' matches none of them\n" in checked.stdout
    assert "  protect (run_id=HG7ML7M8z78YcAPEB, rules/rules.yaml:9) matches none of them" in checked.stdout
    assert "rule 'rest'" not in checked.stdout
    found = json.loads(site.call("check", "--online", "--json").stdout)
    assert (found["active_runs"], [entry["name"] for entry in found["unmatched"]]) == (1, ["cap", None, None])
    once = site.call("once", "--dry-run")
    assert "rule 'cap' matches none of the active runs" in once.stdout
    assert [entry["section"] for entry in json.loads(site.call("once", "--dry-run", "--json").stdout)["unmatched"]] == [
        "rules",
        "protect",
        "resurrect",
    ]
    assert not [request for request in site.sim.requests if request.method == "POST"]


def test_of_accounts_that_could_not_be_read_nothing_is_claimed(site: Any) -> None:
    """That an entry matches none of the runs can only be said if the runs that it can mean were seen."""
    site.write("rules/rules.yaml", WHOLE)
    site.apify.start_run(curve=lambda ran_s: 0.05)
    for unread, named in (({"L": "wrong"}, ["rules", "resurrect"]), ({"A": "wrong"}, [])):
        checked = json.loads(site.call("check", "--online", "--json", **unread).stdout)
        assert [entry["section"] for entry in checked["unmatched"]] == named
        assert "each entry matches some" not in site.call("check", "--online", **unread).stdout
        once = json.loads(site.call("once", "--dry-run", "--json", **unread).stdout)
        assert [entry["section"] for entry in once["unmatched"]] == named


def test_check_calls_the_credits_of_apify_compute_units(site: Any) -> None:
    site.write(
        "rules/rules.yaml",
        """rules:
  - {name: a, match: {platform: apify}, limits: {max_credits: 400}}
  - {name: b, match: {actor: x/y}, limits: {max_credits: 1, max_duration: 1ms}}
  - {name: c, match: {squid: x}, limits: {max_credits: 400}}
  - {name: d, limits: {max_credits: 1.0e+30, max_cost_usd: 1.0e+30}}
""",
    )
    shown = site.call("check").stdout
    for line in (
        "a: max_credits 400 compute units",
        "b: max_credits 1 compute unit, max_duration 1ms",
        "c: max_credits 400 credits",
        "d: max_credits 1e+30 credits, max_cost_usd $1e+30",
    ):
        assert f"  {line}, abort\n" in shown


def test_a_slip_in_a_verb_gets_a_hint(site: Any) -> None:
    for typed, told in (("chek", "did you mean 'check'?"), ("unprotect", "use 'release'"), ("frob", "there are: run,")):
        done = site.call(typed)
        assert done.returncode == 2
        assert told in done.stderr


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


def test_the_demo_needs_no_certificates(site: Any) -> None:
    done = site.call("demo", "--for", "1s", SSL_CERT_FILE="/nope", SSL_CERT_DIR="/nope")
    assert "SSL_CERT" not in done.stdout + done.stderr
    assert "CancelledError" not in done.stdout + done.stderr


def test_once_beside_a_daemon_says_what_can_be_done(site: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        done = site.call("once")
    assert done.returncode == 1
    assert f"a daemon (pid {daemon.process.pid}) is on duty; use `once --dry-run`, or stop it" in done.stderr


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
