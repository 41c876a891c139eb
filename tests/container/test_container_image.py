"""The image as it is shipped, run by a real engine as strictly as it can be."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from bw_support import GRACE_S, wait_for

from watchdog import __version__

UID = 65532
STATE = "/var/lib/budget-watchdog"
MEMORY_BYTES = 128 * 1024 * 1024


def status_of(pid: int, key: str) -> str:
    """A line of what the kernel says of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith(f"{key}:")]
    return line.partition(":")[2].strip()


def memory_limit(pid: int) -> int:
    """Of the control group that a process is in, by the kernel (v1 or v2)."""
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return int(Path(f"/sys/fs/cgroup/memory{path}/memory.limit_in_bytes").read_text(encoding="utf-8"))
        unified = Path(f"/sys/fs/cgroup{path}/memory.max")
        if not controllers and unified.exists():
            return int(unified.read_text(encoding="utf-8"))
    raise AssertionError("the process is in no control group for memory")


def backup_command() -> str:
    """The Python of docs/container.md that copies the ledger."""
    text = (Path(__file__).parents[2] / "docs" / "container.md").read_text(encoding="utf-8")
    found = re.search(r'python -c "(.*VACUUM.*)"$', text, re.MULTILINE)
    assert found is not None
    return found[1].replace('\\"', '"')


def test_a_sidecar_needs_tokens_and_rules_only(site: Any) -> None:
    """The whole life: it stops what is over, is healthy, unprivileged, writes to its volume only, ends at once, and
    the next one goes on where it ended."""
    over, within = site.apify.start_run(usd_per_hour=3600), site.apify.start_run(usd_per_hour=0.01)
    squid = site.lobstr.start_run(site.lobstr.add_squid("hot"), credits_per_hour=36_000)
    ledger = site.volume()

    first = site.create(ledger=ledger).prepare()
    before = first.changed()
    first.start()
    first.wait_until_ready()
    wait_for(lambda: first.counted("aborts_total", outcome="confirmed") == 2, first.logs)
    assert over.truth().aborted_by_api
    assert squid.truth().aborted_by_api
    assert not within.abort_requests
    assert first.is_healthy()
    assert status_of(first.pid, "Uid").split() == [str(UID)] * 4
    assert status_of(first.pid, "Gid").split() == [str(UID)] * 4
    assert {int(status_of(first.pid, f"Cap{kind}"), 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status_of(first.pid, "NoNewPrivs") == "1"
    assert memory_limit(first.pid) == MEMORY_BYTES
    assert int(status_of(first.pid, "VmHWM").split()[0]) * 1024 < 0.9 * MEMORY_BYTES
    history = first.execute("budget-watchdog", "history", "--json")
    assert history.returncode == 0, history.stderr
    assert over.id in history.stdout
    copied = first.execute("python", "-c", backup_command())
    assert copied.returncode == 0, copied.stderr
    code, seconds = first.end()
    assert (code, seconds < GRACE_S) == (0, True), (code, seconds, first.logs())
    assert first.changed() == before
    assert "Traceback" not in first.logs()

    second = site.create(ledger=ledger).start()
    second.wait_until_ready()
    assert second.counted("aborts_total", outcome="confirmed") == 2
    assert second.end()[0] == 0


def test_a_token_in_a_file_is_seen_by_nobody_else(site: Any) -> None:
    """Neither who may inspect the container nor who may read its log gets it."""
    token = "apify_api_S3CRETofTheContainerTests"
    run = site.apify.start_run(usd_per_hour=3600)
    secret = site.write("secrets/apify", f"{token}\n", 0o444)
    accounts = [{"name": "main", "platform": "apify", "token_file": "/run/secrets/apify", "base_url": site.sim.url}]
    container = site.create(
        "run",
        "--log-level=debug",
        environ={"BUDGET_WATCHDOG_ACCOUNTS": json.dumps(accounts)},
        mounts=[f"{secret}:/run/secrets/apify:ro"],
    ).start()
    container.wait_until_ready()
    wait_for(lambda: container.counted("aborts_total", outcome="confirmed") == 1, container.logs)
    assert run.truth().aborted_by_api
    assert token in Path(f"/proc/{container.pid}/root/run/secrets/apify").read_text(encoding="utf-8")
    shown = [
        json.dumps(container.inspect()),
        container.logs(),
        container.get("/metrics")[1],
        container.get("/readyz")[1],
    ]
    shown += [Path(f"/proc/{container.pid}/{name}").read_text(encoding="utf-8") for name in ("environ", "cmdline")]
    assert all(shown)
    assert not [text for text in shown if token in text]
    assert container.end()[0] == 0


def test_a_dead_platform_is_not_ready_but_healthy(site: Any) -> None:
    """What kills an unhealthy container must not kill the watchdog when a platform is down."""
    site.lobstr_gone()
    container = site.create().start()
    wait_for(lambda: container.counted("last_success_timestamp_seconds", account="apify"), container.logs)
    asked = container.execute("budget-watchdog", "healthcheck", "--ready")
    assert asked.returncode == 1
    assert "account lobstr: not swept yet" in asked.stderr
    assert len(asked.stderr.strip().splitlines()) == 1
    assert container.is_healthy()


def test_a_hang_is_unhealthy(idle: Any) -> None:
    assert idle.is_healthy()
    os.kill(idle.pid, signal.SIGSTOP)
    try:
        assert not idle.is_healthy()
    finally:
        os.kill(idle.pid, signal.SIGCONT)
    assert idle.is_healthy()


def test_a_stop_while_it_starts_is_heard(site: Any) -> None:
    """The kernel keeps signals that it has no handler for from the first process of a container."""
    container = site.create().start()
    time.sleep(0.15)
    code, seconds = container.end()
    assert seconds < GRACE_S, (code, seconds, container.logs())
    assert code in (0, 128 + signal.SIGTERM)


def test_rules_of_a_config_map(site: Any) -> None:
    """Kubernetes mounts a folder of links, through one link that is swapped when the ConfigMap changes."""
    version = site.folder / "mounted" / "..2026_11_22"
    site.write("mounted/..2026_11_22/net.yaml", "rules: [{name: net, limits: {max_cost_usd: 1}}]")
    (version.parent / "..data").symlink_to(version.name)
    (version.parent / "net.yaml").symlink_to("..data/net.yaml")
    over = site.apify.start_run(usd_per_hour=3600)
    container = site.create(rules=version.parent).start()
    container.wait_until_ready()
    assert container.counted("rules") == 1
    wait_for(lambda: over.truth().aborted_by_api, container.logs)


def test_a_configuration_file_is_found_and_may_say_where_the_ledger_is(site: Any) -> None:
    accounts = f"[{{name: main, platform: apify, token_env: APIFY_TOKEN, base_url: '{site.sim.url}'}}]"
    config = site.write("config.yaml", f"accounts: {accounts}\nledger: sqlite:///var/lib/budget-watchdog/other.db\n")
    ledger = site.volume()
    container = site.create(mounts=[f"{config}:/etc/budget-watchdog/config.yaml:ro"], ledger=ledger).start()
    container.wait_until_ready()
    folder = Path(f"/proc/{container.pid}/root{STATE}")
    assert (folder / "other.db").stat().st_mode & 0o777 == 0o600
    assert not (folder / "ledger.db").exists()


def test_no_mistake_of_the_operator_gives_a_traceback(site: Any) -> None:
    container = site.create(environ={}).start()
    code = int(site.engine.call("wait", container.name).stdout)
    assert code == 2
    assert "no accounts" in container.logs()
    assert "Traceback" not in container.logs()


def test_how_the_image_is_to_be_run(engine: Any, image: str) -> None:
    config = engine.inspect(image, "image")["Config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["Entrypoint"] == ["python", "/opt/budget-watchdog/entrypoint.py"]
    assert config["Cmd"] == ["run"]
    assert set(config["Volumes"]) == {STATE}
    assert set(config["ExposedPorts"]) == {"9877/tcp"}
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert "BUDGET_WATCHDOG_LISTEN=0.0.0.0:9877" in config["Env"]


def test_what_is_in_the_image(idle: Any) -> None:
    """The daemon with what it needs to run, and nothing of what built it."""
    root = Path(f"/proc/{idle.pid}/root")
    found = root.glob("opt/budget-watchdog/lib/*/site-packages/*.dist-info")
    packages = {path.name.partition("-")[0] for path in found}
    assert "budget_watchdog" in packages
    assert not packages & {"pip", "setuptools", "hatchling", "pytest", "watchdog"}
    assert not (root / "build").exists()
    assert [path.name for path in (root / "opt").iterdir()] == ["budget-watchdog"]
    assert (root / STATE.lstrip("/")).stat().st_mode & 0o777 == 0o700


def test_nothing_is_compiled_at_the_start(idle: Any) -> None:
    """Every module that the daemon and the health check load came with its bytecode, since there is nowhere to write
    it; that of the environment is good whatever becomes of the times of files."""
    code = (
        "import importlib.util, os, sys, watchdog.app, watchdog.cli.run, watchdog.cli.healthcheck\n"
        "modules = [getattr(module, '__file__', None) or '' for module in list(sys.modules.values())]\n"
        "files = [importlib.util.cache_from_source(file) for file in modules if file.endswith('.py')]\n"
        "def is_good(file): return os.path.exists(file) and is_unchecked(file)\n"
        "def is_unchecked(file): return 'site-packages' not in file or open(file, 'rb').read(8)[4] == 1\n"
        "print(len(files), [file for file in files if not is_good(file)])"
    )
    done = idle.execute("/opt/budget-watchdog/bin/python", "-c", code)
    assert re.fullmatch(r"\d{3,} \[\]\n", done.stdout), done
