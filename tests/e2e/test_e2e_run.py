"""`budget-watchdog run`."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from typing import Any

import pytest
from bw_support import GRACE_S, wait_for

pytestmark: Any = []


def test_the_whole_loop(site: Any) -> None:
    """Over is stopped, within goes on, the metrics and the log say what the platforms know."""
    over = site.apify.start_run(usd_per_hour=3600)
    squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
    within = site.apify.start_run(usd_per_hour=0.01)
    told = site.apify.start_run(curve=lambda ran_s: 0.5)
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        assert daemon.get("/healthz") == (200, "ok: armed")
        wait_for(lambda: daemon.counted("aborts_total", outcome="confirmed") == 2, "two stops")
        assert daemon.counted("breaches_total", response="abort") == 2
        assert daemon.counted("breaches_total", response="notify", rule="tell") == 2  # `over` broke it too
        assert daemon.counted("aborts_unconfirmed") == 0
        wait_for(lambda: daemon.counted("runs_active", account="main") == 2, "the runs that go on")
        assert daemon.counted("last_success_timestamp_seconds", account="growth") == pytest.approx(time.time(), abs=30)
        lines = daemon.lines()
        assert {line["run_id"] for line in lines if line.get("outcome") == "confirmed"} == {over.id, squid.id}
        (decision,) = [line for line in daemon.logged("abort confirmed") if line["run_id"] == over.id]
        assert decision["rule"] == "cap"
        assert decision["limit"] == "max_cost_usd"
        assert decision["mode"] == "immediate"
        assert decision["used"] >= 1.0
        assert not [line for line in lines if line["level"] == "error"]
    assert over.truth().aborted_by_api
    assert squid.truth().aborted_by_api
    assert not within.abort_requests
    assert not told.abort_requests


def test_a_stop_with_an_abort_in_flight_is_quick_and_recorded(site: Any) -> None:
    run = site.apify.start_run(usd_per_hour=36_000)
    site.fault("abort_ignored", "abort")
    with site.daemon() as daemon:
        wait_for(lambda: run.abort_requests, "the abort request")
        wait_for(lambda: daemon.counted("aborts_unconfirmed", account="main") == 1, "the alarm")
        code, seconds = daemon.end(signal.SIGTERM)
        assert (code, seconds < GRACE_S) == (0, True), (code, seconds)
        (line,) = [line for line in daemon.logged("trouble") if "not proven" in line["error"]]
        assert line["run_id"] == run.id


def test_a_stop_while_the_platforms_hang_is_quick(site: Any) -> None:
    site.fault("hang")
    with site.daemon() as daemon:
        wait_for(lambda: daemon.get("/healthz")[0] == 200, "the web server")
        status, body = daemon.get("/readyz")
        assert status == 503
        assert "not swept yet" in body
        wait_for(lambda: len(site.sim.requests) >= 2, "the first requests")
        code, seconds = daemon.end()
        assert (code, seconds < GRACE_S) == (0, True), (code, seconds)


def test_a_revoked_token_hurts_only_its_account(site: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        revoked = site.fault("status", "*", account=site.apify, status=401)
        wait_for(lambda: daemon.checks() == {"rules": True, "account main": False, "account growth": True}, "503")
        body = daemon.ready()
        (check,) = [check for check in body["checks"] if not check["ok"]]
        assert "HTTP 401" in check["detail"]
        assert "check the token" in check["detail"]
        assert daemon.counted("polls_total", account="main", outcome="credentials_refused") >= 1
        squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
        wait_for(lambda: squid.truth().aborted_by_api, "the work on the other account")
        revoked.remove()
        wait_for(lambda: daemon.ready().get("ready"), "the recovery")
        (failed, *_) = daemon.logged("sweep failed")
        assert (failed["account"], failed["level"]) == ("main", "error")
        assert daemon.logged("sweep works again")


def test_a_platform_that_goes_down_and_comes_back(site: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        before = daemon.counted("last_success_timestamp_seconds", account="growth")
        down = site.fault("reset", "*", account=site.lobstr)
        wait_for(
            lambda: daemon.counted("polls_total", account="growth", kind="sweep", outcome="unreachable") >= 1, "failure"
        )
        over = site.apify.start_run(usd_per_hour=36_000)
        wait_for(lambda: over.truth().aborted_by_api, "the work on the other account")
        down.remove()
        squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
        wait_for(lambda: squid.truth().aborted_by_api, "the recovery")
        assert daemon.counted("last_success_timestamp_seconds", account="growth") > before
        assert daemon.process.poll() is None


def test_environment_only(site: Any) -> None:
    """No file: the variables of the platforms' own tools and a folder of rules are enough."""
    (site.folder / "budget-watchdog.yaml").unlink()
    run = site.apify.start_run(usd_per_hour=36_000)
    environ = {
        "APIFY_TOKEN": site.apify.token,
        "APIFY_API_BASE_URL": site.sim.url,
        "BUDGET_WATCHDOG_RULES": str(site.folder / "rules"),
        "BUDGET_WATCHDOG_LISTEN": f"127.0.0.1:{site.port}",
        "BUDGET_WATCHDOG_LEDGER": f"sqlite:///{site.folder}/ledger.db",
        "BUDGET_WATCHDOG_LOG_FORMAT": "text",
    }
    with site.daemon(**environ) as daemon:
        daemon.wait_until_ready()
        assert set(daemon.checks()) == {"rules", "account apify"}
        wait_for(lambda: run.truth().aborted_by_api, "the abort")
        wait_for(lambda: daemon.counted("aborts_total", outcome="confirmed") == 1, "its proof")
        assert "first sweep done" in daemon.output()
        with pytest.raises(json.JSONDecodeError):
            daemon.lines()


def test_dry_run_aborts_nothing(site: Any) -> None:
    run = site.apify.start_run(usd_per_hour=36_000)
    with site.daemon("--dry-run") as daemon:
        wait_for(lambda: daemon.counted("breaches_total", response="dry_run") == 1, "the breach")
        (line,) = [line for line in daemon.logged("limit breached") if line["response"] == "dry_run"]
        assert line["run_id"] == run.id
    assert not run.abort_requests


# ---- bad input at the start


def refusal(site: Any, code: int, **environ: str | None) -> str:
    """What `run` says for people when it refuses to start; before it there may be the log of the first tries."""
    done = site.call("run", **environ)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    said = "".join(line for line in done.stderr.splitlines(keepends=True) if not line.startswith("{"))
    assert said.strip()
    return said


def test_a_missing_token(site: Any) -> None:
    text = refusal(site, 2, A=None)
    assert text.startswith("budget-watchdog.yaml:3:")
    assert "environment variable A is not set" in text
    assert text.count("\n") == 1


def test_an_unreadable_token_file(site: Any) -> None:
    config = site.folder / "budget-watchdog.yaml"
    config.write_text(config.read_text().replace("token_env: A", "token_file: none/such"))
    text = refusal(site, 2)
    assert "cannot read the token file" in text
    assert text.count("\n") == 1


def test_a_wrong_token(site: Any) -> None:
    text = refusal(site, 2, A="wrong", L="wrong")
    assert "account 'main': GET" in text
    assert "account 'growth': GET" in text
    assert text.count("HTTP 401") == text.count("check the token of this account") == 2
    assert "wrong" not in text


def test_an_unknown_platform(site: Any) -> None:
    config = site.folder / "budget-watchdog.yaml"
    config.write_text(config.read_text().replace("platform: apify", "platform: apfy"))
    text = refusal(site, 2)
    assert "budget-watchdog.yaml:3:" in text
    assert "did you mean 'apify'" in text


def the_error_that_nothing_is_watched(daemon: Any) -> str:
    """Told once the platforms have been tried; the daemon goes on trying."""
    wait_for(
        lambda: any("no account could be swept" in line["error"] for line in daemon.logged("trouble")), "the error"
    )
    [line] = [line for line in daemon.logged("trouble") if "no account could be swept" in line["error"]]
    assert line["level"] == "error"
    assert daemon.checks() == {"rules": True, "account main": False, "account growth": False}
    assert daemon.get("/healthz")[0] == 200
    assert daemon.process.poll() is None
    return str(line["error"])


def test_an_unreachable_host_and_a_host_that_does_not_exist(site: Any, dead_url: str) -> None:
    site.configure(apify_url=dead_url, lobstr_url="https://api.lobstr.invalid")
    with site.daemon() as daemon:
        text = the_error_that_nothing_is_watched(daemon)
        assert text.count("cannot connect") == 2
        assert text.count("check base_url and the network") == 2
        assert daemon.end()[0] == 0


@pytest.mark.parametrize(
    ("apify", "lobstr"),
    [
        (("html", "a web page instead of JSON"), ("truncated_json", "broken JSON")),
        (("wrong_types", "not as documented"), ("wrong_types", "not as documented")),
    ],
)
def test_answers_that_are_not_those_of_the_platforms(site: Any, apify: Any, lobstr: Any) -> None:
    """They are tried again, and what breaks a limit is stopped as soon as the platforms answer as they should."""
    over = site.apify.start_run(usd_per_hour=3600)
    faults = [site.fault(apify[0], "list", account=site.apify), site.fault(lobstr[0], "squids", account=site.lobstr)]
    with site.daemon() as daemon:
        main, growth = the_error_that_nothing_is_watched(daemon).split("; account 'growth'")
        assert "account 'main': GET " in main
        assert apify[1] in main
        assert lobstr[1] in growth
        for fault in faults:
            fault.remove()
        wait_for(lambda: over.truth().aborted_by_api, "the abort")


def test_an_empty_rules_folder(site: Any) -> None:
    (site.folder / "rules" / "rules.yaml").unlink()
    text = refusal(site, 2)
    assert "no rules found in rules" in text


def test_a_port_in_use(site: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", site.port))
        taken.listen()
        text = refusal(site, 1)
    assert f"cannot listen on 127.0.0.1:{site.port}: the port is in use" in text
    assert not site.sim.requests


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("accounts: [", "budget-watchdog.yaml:"),
        ("\x00", "budget-watchdog.yaml:"),
        ("- a list", "must be a table of keys"),
        ("acounts: []", "did you mean 'accounts'"),
    ],
)
def test_an_unreadable_configuration(site: Any, text: str, words: str) -> None:
    site.write("budget-watchdog.yaml", text)
    assert words in refusal(site, 2)


def test_a_configuration_that_is_not_there(site: Any) -> None:
    done = site.call("run", "--config", "nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("nowhere.yaml: ")


def test_unknown_statuses_are_no_reason_to_stop_and_ctrl_c_is_one(site: Any) -> None:
    site.apify.start_run(usd_per_hour=0.1)
    site.fault("unknown_status", "list")
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        assert daemon.counted("runs_active", account="main", state="unknown") == 1
        code, seconds = daemon.end(signal.SIGINT)
        assert (code, seconds < GRACE_S) == (0, True), (code, seconds)


def test_sighup_reads_the_rules_again(site: Any) -> None:
    run = site.apify.start_run(curve=lambda ran_s: 0.9)
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        site.write("rules/rules.yaml", "rules: [{name: cap, limits: {max_cost: 1}}]")
        os.kill(daemon.process.pid, signal.SIGHUP)
        wait_for(lambda: daemon.counted("reload_success") == 0, "the refusal")
        (rejected,) = daemon.logged("rules rejected, the last good ones stay")
        assert "max_cost_usd" in rejected["problems"][0]
        assert not run.abort_requests
        site.write("rules/rules.yaml", "rules: [{name: cap, limits: {max_cost_usd: 0.8}}]")
        os.kill(daemon.process.pid, signal.SIGHUP)
        wait_for(lambda: run.truth().aborted_by_api, "the abort by the new rule")
        assert daemon.counted("reload_success") == 1
