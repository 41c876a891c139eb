"""A real daemon with something to tell, and a real Prometheus that scrapes it with our rules loaded.

Both live for the whole session and end with it. Everything is on loopback, on free ports. What the daemon watches are
the simulated platforms, in a thread of the test process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from bw_support import free_port, need, skip, wait_for
from prometheus_client.parser import text_string_to_metric_families

from watchdog.simulated import SimClock, SimulatedPlatforms

HOME = Path(__file__).parents[2]
SHIPPED = HOME / "monitoring" / "prometheus"
SCRIPT = str(Path(sys.executable).with_name("budget-watchdog"))
TOKENS = {"A": "apify_api_S3CRETofTheMonitoring", "L": "lobstrS3CRETofTheMonitoring"}

#: One rule of each kind, so that every metric has something to show.
RULES = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00, max_duration: 6h}}
  - {name: resumed, match: {platform: apify, actor: "*/resumed"}, limits: {max_cost_usd: 0.50}, resurrect: true}
  - {name: stuck-cap, match: {actor: "*/stuck"}, limits: {max_cost_usd: 0.25}}
  - {name: tell, match: {platform: apify}, limits: {max_cost_usd: 0.10}, action: notify}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 50, max_cost_usd: 5}}
protect:
  - {match: {actor: "*/signed-off"}, reason: signed off}
"""


def get(url: str) -> str:
    """The body of a page; empty if nobody answers or the answer is an error."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, ended at the end by its own id."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class LiveDaemon:
    """`budget-watchdog run` on two accounts, `main` (Apify) and `growth` (lobstr)."""

    def __init__(self, platforms: SimulatedPlatforms, folder: Path) -> None:
        self.sim = platforms
        self.folder = folder
        self.apify = platforms.apify(TOKENS["A"])
        self.lobstr = platforms.lobstr(TOKENS["L"])
        self.address = f"127.0.0.1:{free_port()}"
        self.log = folder / "daemon.log"
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        (folder / "budget-watchdog.yaml").write_text(self._settings(), encoding="utf-8")

    def _settings(self) -> str:
        url = self.sim.url
        accounts: list[dict[str, object]] = [
            {"name": "main", "platform": "apify", "token_env": "A", "base_url": url, "poll_interval": "1s"},
            {"name": "growth", "platform": "lobstr", "token_env": "L", "base_url": url, "poll_interval": "1s"},
        ]
        accounts[1]["usd_per_credit"] = 0.002
        ledger = f"sqlite:///{self.folder}/ledger.db"
        return yaml.safe_dump({"accounts": accounts, "rules": "rules.yaml", "listen": self.address, "ledger": ledger})

    @contextmanager
    def run(self) -> Iterator[LiveDaemon]:
        """The process, ready."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **TOKENS}
        with running([SCRIPT, "run"], self.log, cwd=self.folder, env=environ) as process:
            wait_for(lambda: process.poll() is not None or get(f"http://{self.address}/readyz"), "the daemon")
            assert process.poll() is None, self.log.read_text()
            yield self

    def start_lasting_runs(self) -> None:
        """Runs that stay: far from a limit, near one, over one that only reports, protected, and of unknown usage."""
        self.apify.start_run(usd_per_hour=0.01)
        self.apify.start_run(curve=lambda ran_s: 0.7)
        self.apify.start_run(self.apify.add_actor("acme", "signed-off"), curve=lambda ran_s: 3.0)
        self.apify.start_run(self.apify.add_actor("acme", "hidden"), usd_per_hour=None)
        self.lobstr.start_run(self.lobstr.add_squid("slow"), credits_per_hour=10)

    def start_runaways(self) -> None:
        """Runs that are over their limit within moments, one of them to be stopped gracefully. Each gives something to
        estimate its saving by: a time-out, or its progress (at least 5 % when its limit is reached)."""
        for _ in range(3):
            self.apify.start_run(usd_per_hour=3600, timeout_secs=3600)
        resumed = self.apify.add_actor("acme", "resumed")
        self.apify.start_run(resumed, usd_per_hour=3600, timeout_secs=3600, graceful_takes=2)
        self.lobstr.start_run(self.lobstr.add_squid("hotter"), credits_per_hour=18_000, ends_after=160)
        # Within its limit for 6 s of ours: what is over it at the very first look tells no progress.
        self.lobstr.start_run(self.lobstr.add_squid("hot"), credits_per_hour=3000, ends_after=900)

    def metrics(self, accept: str = "") -> str:
        """The page, as asked for."""
        request = urllib.request.Request(f"http://{self.address}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def counted(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric with these labels; 0 if there is none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == f"budget_watchdog_{name}" and labels.items() <= sample.labels.items()
        )


def hurried(rules: str) -> str:
    """The shipped rules with every `for` at one second. Nothing else is changed: the tests of promtool have the true
    durations (monitoring/prometheus/tests)."""
    return re.sub(r"(?m)^(\s+for:) \w+$", r"\1 1s", rules)


class LivePrometheus:
    """Prometheus with the shipped configuration and rules, but everything once a second."""

    def __init__(self, folder: Path, scraped: str) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self.alertmanager = f"127.0.0.1:{free_port()}"
        """Where alerts are sent, if anybody listens there."""
        self.log = folder / "prometheus.log"
        (folder / "rules").mkdir()
        for shipped in sorted((SHIPPED / "rules").glob("*.yaml")):
            (folder / "rules" / shipped.name).write_text(hurried(shipped.read_text()), encoding="utf-8")
        self._configure(scraped)

    def _configure(self, scraped: str) -> None:
        config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        (job,) = config["scrape_configs"]
        job["static_configs"][0]["targets"] = [scraped]
        config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [self.alertmanager]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    @contextmanager
    def run(self, prometheus: str) -> Iterator[LivePrometheus]:
        """The process, ready."""
        listen = self.url.removeprefix("http://")
        command = [prometheus, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
        # Else an Alertmanager that comes later hears of what fires already only after a minute.
        command += ["--rules.alert.resend-delay=1s", f"--web.listen-address={listen}"]
        with running(command, self.log, cwd=self.folder) as process:
            wait_for(lambda: process.poll() is not None or get(f"{self.url}/-/ready"), "Prometheus")
            assert process.poll() is None, self.log.read_text()
            yield self

    def api(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of the HTTP API; an AssertionError with Prometheus's own words for a mistake."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The series of an instant query, now: labels and value."""
        found = self.api("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def rules(self) -> list[dict[str, Any]]:
        """Every loaded rule, as Prometheus sees it."""
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]


@pytest.fixture(scope="session")
def monitoring() -> SimpleNamespace:
    """The helpers of this file, for tests that start processes of their own."""
    return SimpleNamespace(skip=skip, need=need, wait_for=wait_for, get=get, running=running, free_port=free_port)


@pytest.fixture(scope="session")
def live_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """The platforms' clock is ten times as fast as life; times inside the daemon are real."""
    with ExitStack() as stack:
        platforms = stack.enter_context(SimulatedPlatforms(SimClock(10)).serve_in_thread())
        daemon = LiveDaemon(platforms, tmp_path_factory.mktemp("daemon"))
        daemon.start_lasting_runs()
        yield stack.enter_context(daemon.run())


@pytest.fixture(scope="session")
def fresh_prometheus(live_daemon: LiveDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePrometheus]:
    """Has seen counters at zero; after that some runs break their limits, whose savings are not yet booked."""
    program = need("prometheus")
    prometheus = LivePrometheus(tmp_path_factory.mktemp("prometheus"), live_daemon.address)
    with prometheus.run(program):
        wait_for(lambda: prometheus.query("budget_watchdog_saved_usd_total"), "the first scrape")
        live_daemon.start_runaways()
        yield prometheus


@pytest.fixture(scope="session")
def live_prometheus(fresh_prometheus: LivePrometheus) -> LivePrometheus:
    """Has seen aborts, their proof and their savings on both platforms. Savings are booked when final figures are
    settled, some 10 s after the stop."""
    for metric in ("saved_usd_total", "saved_credits_total", "overshoot_ratio_count"):
        expression = f"count(sum by (account) (increase(budget_watchdog_{metric}[1h])) > 0) == 2"
        wait_for(partial(fresh_prometheus.query, expression), expression)
    return fresh_prometheus
