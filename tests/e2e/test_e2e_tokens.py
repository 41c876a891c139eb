"""Tokens that are replaced while the daemon runs, and refusals that are not the platform's."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from bw_support import wait_for

NEW = "apify_api_TheNewS3CRETofTheEndToEndTests"
PAGE = b"<!doctype html><title>Company network</title><p>Access denied by policy"
PROXY_JSON = b'{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "blocked by policy"}}'


def put(folder: Path, name: str, token: str) -> Path:
    """Whole or not at all, as whoever rotates tokens should write them."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(token + "\n")
    draft.chmod(0o600)
    draft.rename(path)
    return path


def configure(site: Any, source: str = "token_file: apify.token", more: str = "") -> None:
    account = f'name: main, platform: apify, base_url: "{site.sim.url}", poll_interval: 1s'
    account += f", {source}" if source else ""
    site.write(
        "budget-watchdog.yaml",
        f"accounts: [{{{account}}}]\nlisten: 127.0.0.1:{site.port}\nledger: 'sqlite:///{site.folder}/ledger.db'\n{more}",
    )


def renewals(daemon: Any) -> list[dict[str, Any]]:
    return daemon.logged("token replaced, the new one is used")


def test_a_token_that_was_replaced_is_read_again_when_the_platform_refuses_the_old_one(site: Any) -> None:
    configure(site)
    put(site.folder, "apify.token", site.apify.token)
    with site.daemon("--log-level", "debug") as daemon:
        daemon.wait_until_ready()
        put(site.folder, "apify.token", NEW)
        site.apify.token = NEW
        (line,) = wait_for(lambda: renewals(daemon), "the new token")
        assert (line["account"], line["file"], line["level"]) == ("main", "apify.token", "info")
        run = site.apify.start_run(usd_per_hour=36_000)
        wait_for(lambda: run.truth().aborted_by_api, "the abort with the new token")
        assert not daemon.logged("sweep failed"), "the very request that was refused is made once more"
        assert NEW not in daemon.output()


def test_a_credential_of_systemd_likewise(site: Any) -> None:
    configure(site, source="")
    put(site.folder / "credentials", "main", site.apify.token)
    with site.daemon(CREDENTIALS_DIRECTORY=str(site.folder / "credentials")) as daemon:
        daemon.wait_until_ready()
        put(site.folder / "credentials", "main", NEW)
        site.apify.token = NEW
        wait_for(lambda: renewals(daemon), "the new token")
        run = site.apify.start_run(usd_per_hour=36_000)
        wait_for(lambda: run.truth().aborted_by_api, "the abort with the new token")


def test_a_reload_reads_tokens_again_before_anybody_refuses_them(site: Any) -> None:
    configure(site)
    old = site.apify.token
    put(site.folder, "apify.token", old)
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: daemon.logged("rules reloaded"), "the first reload")
        assert not renewals(daemon), "it is the same"
        put(site.folder, "apify.token", NEW)
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: renewals(daemon), "the new token")
        site.apify.token = NEW
        wait_for(lambda: daemon.ready().get("ready"), "readiness")
        put(site.folder, "apify.token", "")
        daemon.process.send_signal(signal.SIGHUP)
        (line,) = wait_for(lambda: daemon.logged("trouble"), "what is wrong with the file")
        assert "account 'main': the token is not renewed and the old one stays: the token file" in line["error"]
        assert "is empty" in line["error"]
        assert old not in daemon.output()
        assert NEW not in daemon.output()


def test_the_admin_token_is_renewed_by_a_reload(site: Any) -> None:
    configure(site, source="token_env: A", more="web: {token_file: admin}\n")
    old, new = "old-S3CRET-of-the-admin", "new-S3CRET-of-the-admin"
    put(site.folder, "admin", old)

    def reload_with(token: str) -> int:
        request = urllib.request.Request(
            f"http://127.0.0.1:{site.port}/-/reload", method="POST", headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    with site.daemon() as daemon:
        daemon.wait_until_ready()
        put(site.folder, "admin", new)
        assert reload_with(new) == 401
        assert reload_with(old) == 200
        assert (reload_with(old), reload_with(new)) == (401, 200)
        assert "account" not in renewals(daemon)[0]
        assert new not in daemon.output()


def test_another_accounts_token_is_not_taken(site: Any) -> None:
    other = site.sim.apify("apify_api_OfTheOtherAccount")
    accounts = [
        {
            "name": name,
            "platform": "apify",
            "base_url": site.sim.url,
            "token_file": f"{name}.token",
            "poll_interval": "1s",
        }
        for name in ("one", "two")
    ]
    put(site.folder, "one.token", site.apify.token)
    put(site.folder, "two.token", other.token)
    site.write("budget-watchdog.yaml", json.dumps({"accounts": accounts, "listen": f"127.0.0.1:{site.port}"}))
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        put(site.folder, "one.token", other.token)
        daemon.process.send_signal(signal.SIGHUP)
        (line,) = wait_for(lambda: daemon.logged("trouble"), "the refusal")
        assert "holds the token of account 'two'; every run would count twice" in line["error"]


# --- who refuses ---------------------------------------------------------------------------------------------------


def told_that_nothing_is_watched(daemon: Any) -> str:
    """What is told once every account has been tried in vain; the daemon is alive, and not ready."""
    (line,) = wait_for(
        lambda: [each for each in daemon.logged("trouble") if "no account could be swept yet" in each["error"]],
        "the error",
    )
    assert line["level"] == "error"
    assert daemon.checks() == {"rules": True, "account main": False, "account growth": False}
    assert daemon.get("/readyz")[0] == 503
    assert daemon.get("/healthz")[0] == 200
    return str(line["error"])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, PAGE),
        (403, PAGE),
        (403, PROXY_JSON),
        (401, b""),
        (407, PAGE),
        (511, PAGE),
        (403, b'{"message": "Forbidden"}'),
    ],
)
def test_what_stands_in_between_does_not_end_the_service(site: Any, status: int, body: bytes) -> None:
    """It is told and tried again: whoever configured the tokens did nothing wrong."""
    over = site.apify.start_run(usd_per_hour=36_000)
    fault = site.fault("status", "*", status=status, body=body)
    assert site.call("check", "--online").returncode == 1
    assert site.call("once").returncode == 1
    with site.daemon() as daemon:
        sentences = told_that_nothing_is_watched(daemon).split("; account 'growth'")
        assert len(sentences) == 2
        assert all(f"HTTP {status}" in each for each in sentences)
        assert all("a proxy, a firewall or a log-in page in between" in each for each in sentences)
        assert not over.abort_requests
        fault.remove()
        wait_for(lambda: over.truth().aborted_by_api, "the abort, once nothing stands in between")
        assert daemon.process.poll() is None


def test_one_refused_token_beside_a_platform_that_is_down_does_not_either(site: Any) -> None:
    down = site.fault("status", "*", account=site.lobstr, status=500)
    squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
    with site.daemon(A="wrong") as daemon:
        assert "check the token of this account" in told_that_nothing_is_watched(daemon)
        assert site.call("check", "--online", A="wrong").returncode == 2, "one token is refused, which is what it asks"
        down.remove()
        wait_for(lambda: squid.truth().aborted_by_api, "the work on the account whose token is good")
        assert daemon.checks()["account main"] is False


def test_a_single_endpoint_that_is_refused_does_not_either(site: Any) -> None:
    """Squids may be listed, their runs may not: the token works, a permission is missing."""
    squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
    lacking = site.fault("status", "list", account=site.lobstr, status=403)
    site.fault("status", "*", account=site.apify, status=401)
    with site.daemon() as daemon:
        assert "which lacks a permission: its other requests are answered" in told_that_nothing_is_watched(daemon)
        lacking.remove()
        wait_for(lambda: squid.truth().aborted_by_api, "the abort, once it is permitted")


def test_every_token_refused_by_its_platform_does(site: Any) -> None:
    assert site.call("run", A="wrong", L="wrong").returncode == 2
