"""The console script as its users meet it: a process of its own against the simulated platforms in a thread."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bw_support import PATIENCE_S, free_port, page, wait_for
from prometheus_client.parser import text_string_to_metric_families

from watchdog.simulated import Fault, SimClock, SimulatedPlatforms

SCRIPT = str(Path(sys.executable).with_name("budget-watchdog"))
APIFY_TOKEN = "apify_api_S3CRETofTheEndToEndTests"
LOBSTR_TOKEN = "lobstrS3CRETofTheEndToEndTests"

RULES = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00}}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 50}}
  - {name: tell, match: {platform: apify}, limits: {max_cost_usd: 0.10}, action: notify}
"""


class Site:
    """A folder with a configuration, the platforms it points to, and the ways to run the script there."""

    def __init__(self, folder: Path, platforms: SimulatedPlatforms) -> None:
        self.folder = folder
        self.sim = platforms
        self.apify = platforms.apify(APIFY_TOKEN)
        self.lobstr = platforms.lobstr(LOBSTR_TOKEN)
        self.port = free_port()
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "160", "A": APIFY_TOKEN}
        self.environ |= {"L": LOBSTR_TOKEN}
        self._stack = contextlib.ExitStack()
        self.write("rules/rules.yaml", RULES)
        self.configure()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def configure(self, more: str = "", *, apify_url: str = "", lobstr_url: str = "", intervals: str = "1s") -> Path:
        return self.write(
            "budget-watchdog.yaml",
            f"""
accounts:
  - {{name: main, platform: apify, token_env: A, base_url: "{apify_url or self.sim.url}", poll_interval: {intervals}}}
  - {{name: growth, platform: lobstr, token_env: L, base_url: "{lobstr_url or self.sim.url}",
     poll_interval: {intervals}, usd_per_credit: 0.002}}
listen: 127.0.0.1:{self.port}
ledger: "sqlite:///{self.folder}/ledger.db"
{more}
""",
        )

    def fault(self, kind: Any, match: str = "*", **details: Any) -> Any:
        return self.sim.faults.add(Fault(kind=kind, match=match, **details))

    def call(
        self, *arguments: str, timeout_s: float = PATIENCE_S, **environ: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run the script to its end. Nothing that it prints may hold a token or a traceback."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env=self._environ(environ),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        self.check_output(done.stdout + done.stderr)
        return done

    def _environ(self, more: dict[str, str | None]) -> dict[str, str]:
        return {name: value for name, value in {**self.environ, **more}.items() if value is not None}

    @staticmethod
    def check_output(text: str) -> None:
        assert "Traceback" not in text, text
        assert "internal error" not in text, text
        for token in (APIFY_TOKEN, LOBSTR_TOKEN):
            assert token not in text, "a token came out"

    @contextlib.contextmanager
    def daemon(self, *arguments: str, **environ: str | None) -> Iterator[Daemon]:
        """`run` in the background, ready; ended at the end."""
        daemon = Daemon(self, arguments, self._environ(environ))
        try:
            yield daemon
        finally:
            daemon.kill()
            self.check_output(daemon.output())


class Daemon:
    """A running `budget-watchdog run`."""

    def __init__(self, site: Site, arguments: tuple[str, ...], environ: dict[str, str]) -> None:
        self._site = site
        self._log = site.folder / "log"
        with self._log.open("w") as log:
            command = [SCRIPT, "run", *arguments]
            self.process = subprocess.Popen(command, cwd=site.folder, env=environ, stdout=log, stderr=log)

    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """The log, every line of which must be JSON."""
        return [json.loads(line) for line in self.output().splitlines()]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == event]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page; status 0 if nobody answers."""
        return page(f"http://127.0.0.1:{self._site.port}{path}")

    def ready(self) -> dict[str, Any]:
        status, body = self.get("/readyz")
        found: dict[str, Any] = json.loads(body) if body else {}
        if found:
            assert (status == 200) == found["ready"]
        return found

    def checks(self) -> dict[str, bool]:
        return {check["name"]: check["ok"] for check in self.ready().get("checks", ())}

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.output()
            return bool(self.ready().get("ready"))

        wait_for(is_ready, "readiness")

    def counted(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric with these labels; 0 if there is none."""
        _, body = self.get("/metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
            if sample.name == f"budget_watchdog_{name}" and labels.items() <= sample.labels.items()
        )

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, float]:
        """Ask for the end; exit code and seconds that it took."""
        started = time.monotonic()
        self.process.send_signal(signum)
        return self.process.wait(15), time.monotonic() - started

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(15)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Both platforms on a clock ten times as fast as life; times inside the daemon are real."""
    with SimulatedPlatforms(SimClock(10)).serve_in_thread() as platforms:
        yield Site(tmp_path, platforms)


@pytest.fixture(scope="session", name="wait_for")
def fixture_wait_for() -> Callable[..., Any]:
    """`wait_for` for tests in other files."""
    return wait_for


@pytest.fixture(scope="session")
def faketime() -> str:
    """The library that lets a process see another wall clock."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if found:
        return str(found[0])
    if os.environ.get("BW_TEST_REQUIRE_ALL"):
        pytest.fail("required by BW_TEST_REQUIRE_ALL: libfaketime is not installed")
    pytest.skip("libfaketime is not installed")


@pytest.fixture(scope="session")
def dead_url() -> str:
    """Where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"
