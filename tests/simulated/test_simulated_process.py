"""`python -m watchdog.simulated` as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

COMMAND = [sys.executable, "-m", "watchdog.simulated"]


@pytest.fixture
def serving() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*COMMAND, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert found is not None
    return found[0]


def test_it_serves_both_platforms_until_ctrl_c(serving: subprocess.Popen[str]) -> None:
    url = url_of(serving)
    with httpx.Client(base_url=url, headers={"Authorization": "Bearer apify_api_demo"}) as apify:
        runs = apify.get("/v2/actor-runs").json()["data"]["items"]
        assert {"READY", "RUNNING", "SUCCEEDED", "FAILED"} <= {run["status"] for run in runs}
        assert any(run["actorTaskId"] and run["meta"].get("scheduleId") for run in runs)
        ended = next(run["id"] for run in runs if run["status"] == "SUCCEEDED")
        assert apify.post(f"/v2/actor-runs/{ended}/resurrect").json()["data"]["status"] == "READY"
        names = [apify.get(f"/v2/acts/{run['actId']}").json()["data"]["username"] for run in runs]
        me = apify.get("/v2/users/me").json()["data"]["username"]
        assert {name == me for name in names} == {True, False}
    with httpx.Client(base_url=url, headers={"Authorization": "Token lobstr_demo"}) as lobstr:
        squids = lobstr.get("/v1/squids").json()["data"]
        assert len(squids) == 4
        runs = [lobstr.get("/v1/runs", params={"squid": squid["id"]}).json()["data"] for squid in squids]
        assert {run[0]["status"] for run in runs if run} == {"running", "pending", "done"}
    serving.send_signal(signal.SIGINT)
    assert serving.wait(20) == 0
    assert serving.stdout is not None
    assert serving.stderr is not None
    printed, errors = serving.stdout.read(), serving.stderr.read()
    assert errors == ""
    assert ended in printed
    for word in ("apify_api_demo", "lobstr_demo", f"curl -H 'Authorization: Token lobstr_demo' '{url}/v1/runs?squid="):
        assert word in printed


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use(serving: subprocess.Popen[str]) -> None:
    port = url_of(serving).rpartition(":")[2]
    second = call("--port", port)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; choose another port with --port\n"
    )


@pytest.mark.parametrize(
    "arguments", [["--port", "x"], ["--port", "70000"], ["--speed", "0"], ["--speed", "nan"], ["x"]]
)
def test_bad_usage(arguments: list[str]) -> None:
    refused = call(*arguments)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_help() -> None:
    shown = call("--help")
    assert shown.returncode == 0
    assert "127.0.0.1" in shown.stdout
    assert "--port" in shown.stdout
