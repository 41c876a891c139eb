"""Reloading and admin calls, as operators meet them: the script, its files, its sockets."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from bw_support import wait_for

ADMIN = "adm1n-S3CRET-of-the-end-to-end-tests"
NEW = "rules: [{name: cap, limits: {max_cost_usd: 0.8}}]"
BAD = "rules: [{name: cap, limits: {max_cost: 1}}]"


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(str(self._path))


def post(connection: http.client.HTTPConnection, **headers: str) -> tuple[int, str]:
    with contextlib.closing(connection):
        connection.request("POST", "/-/reload", headers=headers)
        with connection.getresponse() as answer:
            return answer.status, answer.read().decode()


def tcp(site: Any) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", site.port, timeout=5)


def rules_check(daemon: Any) -> dict[str, Any]:
    (found,) = [check for check in daemon.ready()["checks"] if check["name"] == "rules"]
    return dict(found)


def test_changed_files_are_taken_and_bad_ones_are_told(site: Any) -> None:
    run = site.apify.start_run(curve=lambda ran_s: 0.9)
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        assert rules_check(daemon)["detail"].startswith("3 rules, loaded 20")
        site.write("rules/rules.yaml", BAD)
        wait_for(lambda: daemon.counted("reload_success") == 0, "the refusal")
        (rejected,) = daemon.logged("rules rejected, the last good ones stay")
        assert rejected["trigger"] == "file"
        check = rules_check(daemon)
        assert check["ok"], "the daemon guards by the last good rules"
        assert "rejected since 20" in check["detail"]
        assert "rules/rules.yaml:1:" in check["detail"]
        assert "max_cost_usd" in check["detail"]
        assert not run.abort_requests
        site.write("rules/rules.yaml", NEW)
        wait_for(lambda: run.truth().aborted_by_api, "the abort by the new rule")
        (line,) = daemon.logged("rules reloaded")
        assert (line["trigger"], line["rules"], line["added"]) == ("file", 1, [])
        assert line["changed"] == ["rule 'cap': max_cost_usd 1 -> 0.8; match.platform apify -> unset"]
        assert [each.split(":")[0] for each in line["removed"]] == ["rule 'squid-cap'", "rule 'tell'"]
        assert daemon.counted("reload_success") == 1
        assert daemon.counted("reloads_total", trigger="file", outcome="rejected") == 1
        assert daemon.counted("reloads_total", trigger="file", outcome="changed") == 1
        assert rules_check(daemon)["detail"].startswith("1 rule, loaded 20")


def test_the_watch_can_be_switched_off(site: Any) -> None:
    site.configure("watch_rules: false")
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        site.write("rules/rules.yaml", NEW)
        time.sleep(3)  # what must not happen would take about 2 s
        assert daemon.counted("reloads_total") == 0
        os.kill(daemon.process.pid, signal.SIGHUP)
        wait_for(lambda: daemon.counted("reloads_total", trigger="signal", outcome="changed"), "the reload")


def test_a_reload_over_http_with_the_token(site: Any) -> None:
    site.configure("watch_rules: false\nweb: {token_env: ADMIN}")
    run = site.apify.start_run(curve=lambda ran_s: 0.9)
    with site.daemon(ADMIN=ADMIN) as daemon:
        daemon.wait_until_ready()
        site.write("rules/rules.yaml", BAD)
        status, body = post(tcp(site), Authorization=f"Bearer {ADMIN}")
        assert (status, json.loads(body)["reloaded"], json.loads(body)["rules"]) == (422, False, 3)
        assert "did you mean 'max_cost_usd'" in json.loads(body)["problems"][0]
        site.write("rules/rules.yaml", NEW)
        assert post(tcp(site), Authorization=f"Bearer {ADMIN}x")[0] == 401
        assert post(tcp(site))[0] == 401
        assert daemon.counted("reloads_total") == 1
        status, body = post(tcp(site), Authorization=f"Bearer {ADMIN}")
        answer = json.loads(body)
        assert (status, answer["reloaded"], answer["rules"], answer["warnings"]) == (200, True, 1, [])
        assert answer["changed"] == ["rule 'cap': max_cost_usd 1 -> 0.8; match.platform apify -> unset"]
        wait_for(lambda: run.truth().aborted_by_api, "the abort by the new rule")
        assert daemon.counted("admin_calls_total", outcome="unauthorized") == 2
        assert daemon.counted("admin_calls_total", outcome="accepted") == 2
        (line,) = daemon.logged("admin call refused")
        assert (line["client"], line["level"]) == ("127.0.0.1", "warning")
        assert ADMIN not in daemon.output()


def test_a_reload_over_the_unix_socket_and_none_over_tcp(site: Any) -> None:
    site.configure("web: {socket: admin.sock}")
    path = site.folder / "admin.sock"
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        status, body = post(tcp(site))
        assert (status, "admin calls need a token" in body) == (403, True)
        status, body = post(Unix(path))
        assert (status, json.loads(body)["changed"]) == (200, [])
        assert path.stat().st_mode & 0o777 == 0o600
        assert daemon.end()[0] == 0
        assert not path.exists()
    with site.daemon() as daemon:
        wait_for(lambda: daemon.get("/healthz")[0] == 200, "the web server")
        daemon.kill()
        assert path.exists(), "a crash leaves it behind"
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        assert post(Unix(path))[0] == 200


def test_changed_settings_are_said_once(site: Any) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()

        def reload(count: int) -> list[str]:
            os.kill(daemon.process.pid, signal.SIGHUP)
            wait_for(lambda: daemon.counted("reloads_total", trigger="signal") == count, "the reload")
            time.sleep(0.1)
            return [line["error"] for line in daemon.logged("trouble") if "has changed" in line["error"]]

        assert reload(1) == []
        site.configure("retention: 30d")
        said = "budget-watchdog.yaml has changed, and the settings are only read at the start: restart to use it"
        assert reload(2) == [said]
        assert reload(3) == [said]
        site.configure("retention: 31d")
        assert reload(4) == [said, said]


@pytest.mark.parametrize("json_output", [False, True])
def test_check_and_run_warn_of_an_open_address(site: Any, json_output: bool) -> None:
    (site.folder / "budget-watchdog.yaml").write_text(
        (site.folder / "budget-watchdog.yaml").read_text().replace("listen: 127.0.0.1", "listen: 0.0.0.0")
    )
    done = site.call("check", *(["--json"] if json_output else []))
    assert done.returncode == 0
    assert "can be reached from other machines" in done.stdout
    if json_output:
        return
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        (line,) = [each for each in daemon.logged("trouble") if "other machines" in each["error"]]
        assert line["level"] == "warning"
        assert post(tcp(site))[0] == 403
        assert daemon.get("/metrics")[0] == 200


def test_a_socket_that_cannot_be_made(site: Any) -> None:
    site.configure("web: {socket: nowhere/admin.sock}")
    done = site.call("run")
    assert done.returncode == 1
    assert "cannot listen on the socket" in done.stderr
    assert "change `web.socket`" in done.stderr


def certificate(folder: Path, name: str) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)


def shown_certificate(site: Any) -> str:
    return ssl.get_server_certificate(("127.0.0.1", site.port), timeout=5)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_tls_and_a_renewed_certificate(site: Any) -> None:
    certificate(site.folder, "first")
    site.configure("web: {tls_cert: tls.crt, tls_key: tls.key, token_env: ADMIN}")
    with site.daemon(ADMIN=ADMIN) as daemon:
        wait_for(lambda: daemon.logged("first sweep done"), "the start")
        trust = ssl.create_default_context(cafile=str(site.folder / "tls.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", site.port, timeout=5, context=trust)
        assert post(connection, Authorization=f"Bearer {ADMIN}")[0] == 200
        assert daemon.get("/healthz")[0] == 0, "not in the clear"
        assert site.call("healthcheck").returncode == 0
        first = shown_certificate(site)
        (site.folder / "tls.key").write_text("rubbish")
        os.kill(daemon.process.pid, signal.SIGHUP)
        (line,) = wait_for(lambda: daemon.logged("trouble"), "the complaint")
        assert line["error"].startswith("the certificate is not renewed and the old one stays: web: tls_key: holds no")
        assert shown_certificate(site) == first
        certificate(site.folder, "second")
        os.kill(daemon.process.pid, signal.SIGHUP)
        wait_for(lambda: shown_certificate(site) != first, "the new certificate")
        assert shown_certificate(site) == (site.folder / "tls.crt").read_text()
