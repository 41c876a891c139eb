"""compose.yaml by the real docker compose: what it resolves to, and that it works, driven against a real engine."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OURS = "budget-watchdog"
Compose = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def compose(lacking: Any, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """docker compose, version 2; which needs no engine to read files."""
    # The script that the package puts beside Python does not pass the exit code on.
    package = importlib.util.find_spec("compose")
    beside = Path(str(package.origin)).with_name("docker-compose") if package else None
    program = beside if beside is not None and beside.exists() else shutil.which("docker-compose")
    if program is None:
        # Not among what CI has: no engine of docker's is needed for anything else.
        pytest.skip("docker-compose (version 2) is not installed")
    home = tmp_path_factory.mktemp("home")

    def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": "/usr/bin:/bin", "HOME": str(home), **environ}
        return subprocess.run(
            [str(program), "--project-directory", str(ROOT), "--file", str(ROOT / "compose.yaml"), *arguments],
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def resolved(compose: Compose) -> dict[str, Any]:
    """What it comes to with the environment file as it is shipped."""
    done = compose("--env-file", str(ROOT / ".env.example"), "--profile", "monitoring", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "level=warning" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_way_in_is_said_when_it_was_missed(compose: Compose, tmp_path: Path) -> None:
    empty = tmp_path / "empty.env"
    empty.touch()
    done = compose("--env-file", str(empty), "config")
    assert done.returncode != 0
    assert "copy .env.example to .env" in done.stderr


def test_the_services_share_nothing_but_the_network(resolved: dict[str, Any]) -> None:
    services = resolved["services"]
    assert set(services) == {"app", OURS, "prometheus", "alertmanager", "grafana"}
    assert all(set(service["networks"]) == {"default"} for service in services.values())
    assert not [name for name, service in services.items() if {"network_mode", "pid", "ipc"} & set(service)]
    sources = [mount["source"] for service in services.values() for mount in service.get("volumes", ())]
    assert len(sources) == len(set(sources))
    assert {name for name, service in services.items() if service.get("profiles")} == {
        "prometheus",
        "alertmanager",
        "grafana",
    }


def test_everything_but_the_application_is_locked_down(resolved: dict[str, Any]) -> None:
    for name, service in resolved["services"].items():
        if name == "app":
            continue
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["restart"] == "unless-stopped"
        assert int(service["mem_limit"]) > 0
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ()))
    assert int(resolved["services"][OURS]["mem_limit"]) == 128 * 1024 * 1024


def test_tokens_are_files(resolved: dict[str, Any]) -> None:
    """Of a file: for a container that is read only, compose can do no others."""
    service = resolved["services"][OURS]
    assert {each["source"] for each in service["secrets"]} == {"apify_token", "lobstr_token"}
    assert all(set(each) <= {"name", "file"} for each in resolved["secrets"].values())
    named = {account["token_file"] for account in json.loads(service["environment"]["BUDGET_WATCHDOG_ACCOUNTS"])}
    assert named <= {each["target"] for each in service["secrets"]}
    assert service["environment"]["BUDGET_WATCHDOG_DRY_RUN"] == "true"


def test_every_way_of_the_example_is_in_order() -> None:
    """Also the accounts that stand there as comments."""
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    ways = re.findall(r"^#?BUDGET_WATCHDOG_ACCOUNTS='(.*)'$", text, re.MULTILINE)
    assert [[account["name"] for account in json.loads(way)] for way in ways] == [
        ["apify"],
        ["lobstr"],
        ["apify", "lobstr"],
    ]


def test_everything_that_is_mounted_is_shipped(resolved: dict[str, Any]) -> None:
    mounts = [mount for service in resolved["services"].values() for mount in service.get("volumes", ())]
    bound = [Path(mount["source"]) for mount in mounts if mount["type"] == "bind"]
    assert all(mount["read_only"] for mount in mounts if mount["type"] == "bind")
    assert not [str(path.relative_to(ROOT)) for path in bound if not path.exists()]
    written = {mount["source"] for mount in mounts if mount["type"] == "volume"}
    assert written == set(resolved["volumes"])


def test_it_is_checked_as_the_image_would_be(resolved: dict[str, Any]) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    shipped = re.search(
        r"^HEALTHCHECK --interval=(\w+) --timeout=(\w+) --start-period=(\w+) --retries=(\d) CMD (.*)$", text, re.M
    )
    assert shipped is not None
    ours = resolved["services"][OURS]["healthcheck"]
    figures = (ours["interval"], ours["timeout"], ours["start_period"], str(ours["retries"]))
    assert figures == shipped.group(1, 2, 3, 4)
    assert ours["test"] == ["CMD", *json.loads(shipped[5])]


def test_up_and_down(site: Any, compose: Compose, image: str, engine_socket: str, port: int) -> None:
    """As shipped, but for the network: this machine's, so that the simulated platforms can be reached."""
    run = site.apify.start_run(usd_per_hour=3600)
    token = "apify_api_S3CRETofTheContainerTests"
    account = {"name": "apify", "platform": "apify", "token_file": "/run/secrets/apify_token", "base_url": site.sim.url}
    environment = site.write(
        "env",
        f"BUDGET_WATCHDOG_ACCOUNTS='{json.dumps([account])}'\nAPIFY_TOKEN_FILE={site.write('token', token, 0o444)}\n"
        f"RULES_DIR={site.folder / 'rules'}\nBUDGET_WATCHDOG_IMAGE={image}\n",
    )
    network = site.write(
        "network.yaml",
        f"services: {{{OURS}: {{build: !reset null, networks: !reset null, network_mode: host, ports: !reset [],"
        f" environment: {{BUDGET_WATCHDOG_LISTEN: '127.0.0.1:{port}'}}}}}}\n",
    )
    given = ["--env-file", str(environment), "--file", str(network), "--project-name", f"bw{port}"]
    container = site.known(f"bw{port}-{OURS}-1", port)
    try:
        up = compose(*given, "up", "--detach", "--no-build", OURS, DOCKER_HOST=engine_socket)
        assert up.returncode == 0, up.stderr
        container.wait_until_ready()
        end = time.monotonic() + 30
        while not run.truth().aborted_by_api:
            assert time.monotonic() < end, container.logs()
            time.sleep(0.05)
        assert container.is_healthy()
        found = container.inspect()
        assert token not in json.dumps(found)
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert found["HostConfig"]["Memory"] == 128 * 1024 * 1024
        assert found["EffectiveCaps"] in (None, [])
        stopped = compose(*given, "stop", OURS, DOCKER_HOST=engine_socket)
        assert stopped.returncode == 0, stopped.stderr
        assert container.inspect()["State"]["ExitCode"] == 0, container.logs()
    finally:
        compose(*given, "down", "--volumes", "--timeout", "1", DOCKER_HOST=engine_socket)
