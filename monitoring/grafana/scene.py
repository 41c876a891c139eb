"""Something to look at: a real daemon on simulated platforms where things happen, a real Prometheus that scrapes it.

For the pictures of draw_rows.py. Needs `prometheus` on the PATH. Everything is on loopback and ends with it.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from watchdog.simulated import Fault, SimClock, SimulatedPlatforms

SCRAPE_S = 5
#: Platform seconds a second.
SPEED = 20
RULES = """
rules:
  - {name: maps-cap, match: {platform: apify, actor: "*/maps"}, limits: {max_cost_usd: 2.00, max_duration: 2h}}
  - {name: crawl-cap, match: {platform: apify, actor: "*/crawl"}, limits: {max_cost_usd: 1.00}, resurrect: true}
  - {name: everything, match: {platform: apify}, limits: {max_cost_usd: 10.00}, action: notify}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 60}}
protect:
  - {match: {actor: "*/quarterly"}, reason: signed off}
"""
MORE_RULES = "  - {name: long-runs, match: {platform: lobstr}, limits: {max_duration: 6h}, action: notify}\nprotect:"


class Scene:
    """The platforms with their runs, and a folder for the daemon's files."""

    def __init__(self, platforms: SimulatedPlatforms, folder: Path) -> None:
        self.sim, self.folder = platforms, folder
        self.apify, self.lobstr = platforms.apify("apify_api_TheScene"), platforms.lobstr("lobstrTheScene")
        self.address = f"127.0.0.1:{_free_port()}"
        self.random = random.Random(4)
        self.actors = {name: self.apify.add_actor("acme", name) for name in ("maps", "crawl", "quarterly")}
        self.write("rules.yaml", RULES)
        where = {"base_url": platforms.url, "poll_interval": "2s"}
        accounts = [
            {"name": "apify-main", "platform": "apify", "token_env": "A", **where},
            {"name": "lobstr-growth", "platform": "lobstr", "token_env": "L", "usd_per_credit": 0.002, **where},
        ]
        settings = {"accounts": accounts, "rules": "rules.yaml", "listen": self.address}
        self.write("budget-watchdog.yaml", yaml.safe_dump({**settings, "ledger": f"sqlite:///{folder}/ledger.db"}))
        static = [{"targets": [self.address]}]
        scrape = {"global": {"scrape_interval": f"{SCRAPE_S}s"}}
        jobs = [{"job_name": "budget-watchdog", "static_configs": static}]
        self.write("prometheus.yml", yaml.safe_dump({**scrape, "scrape_configs": jobs}))

    def write(self, name: str, text: str) -> None:
        """A file in the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """`budget-watchdog run`."""
        environ = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        tokens = {"A": "apify_api_TheScene", "L": "lobstrTheScene"}
        script = str(Path(sys.executable).with_name("budget-watchdog"))
        with _running([script, "run"], self.folder, "daemon", {**environ, **tokens}):
            yield

    @contextmanager
    def prometheus(self) -> Iterator[str]:
        """Its address."""
        program = shutil.which("prometheus")
        if program is None:
            raise SystemExit("prometheus is not installed")
        listen = f"127.0.0.1:{_free_port()}"
        command = [program, "--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"]
        with _running([*command, f"--web.listen-address={listen}"], self.folder, "prometheus", dict(os.environ)):
            yield f"http://{listen}"

    # ---- what happens

    def ordinary_run(self) -> None:
        """Ends by itself, well within its limits."""
        ends_after = self.random.uniform(1200, 2400)
        rate = self.random.uniform(0.5, 2.0)
        self.apify.start_run(
            self.actors[self.random.choice(["maps", "crawl"])], usd_per_hour=rate, ends_after=ends_after
        )

    def runaway(self) -> None:
        """Breaks its limit within a minute. Of some it is known when the platform itself would have stopped them."""
        timeout_secs = self.random.choice([0, 7200])
        actor = self.actors[self.random.choice(["maps", "maps", "crawl"])]
        self.apify.start_run(
            actor, usd_per_hour=18, timeout_secs=timeout_secs, graceful_takes=self.random.uniform(20, 200)
        )

    def hungry_squid(self) -> None:
        """Breaks its limit within a minute, and knows how far it has come."""
        squid = self.lobstr.add_squid(f"squid {self.random.randrange(10**6)}")
        self.lobstr.start_run(squid, credits_per_hour=900, ends_after=self.random.uniform(600, 1500))

    def slow_squid(self) -> None:
        """Ends by itself."""
        squid = self.lobstr.add_squid(f"squid {self.random.randrange(10**6)}")
        self.lobstr.start_run(squid, credits_per_hour=60, ends_after=self.random.uniform(900, 2400))

    def lasting_runs(self) -> None:
        """A protected run far over its limit, and one whose cost cannot be seen."""
        self.apify.start_run(self.actors["quarterly"], usd_per_hour=9)
        self.apify.start_run(self.apify.add_actor("acme", "hidden"), usd_per_hour=None)

    def outage(self) -> None:
        """The list of runs cannot be had for a while."""
        self.sim.faults.add(Fault(kind="status", status=503, match="list", account=self.apify, times=12))

    def more_rules(self) -> None:
        """The rules change."""
        self.write("rules.yaml", RULES.replace("protect:", MORE_RULES))

    def play(self, duration_s: float) -> None:
        """Let it all happen, the daemon being restarted after half the time."""
        self.lasting_runs()
        with self.daemon():
            self._play(duration_s / 2)
        with self.daemon():
            self._play(duration_s / 2, {30: self.more_rules, 90: self.outage})

    def _play(self, duration_s: float, once: dict[int, Callable[[], None]] | None = None) -> None:
        every = {17: self.ordinary_run, 41: self.runaway, 53: self.slow_squid, 67: self.hungry_squid}
        began = time.monotonic()
        for second in range(1, int(duration_s) + 1):
            time.sleep(max(0.0, began + second - time.monotonic()))
            for interval_s, happen in every.items():
                if second % interval_s == 5:
                    happen()
            if once and second in once:
                once[second]()


@contextmanager
def staged(folder: Path) -> Iterator[Scene]:
    """The platforms, up."""
    with SimulatedPlatforms(SimClock(SPEED)).serve_in_thread() as platforms:
        yield Scene(platforms, folder)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def _running(command: list[str], folder: Path, name: str, environ: dict[str, str]) -> Iterator[Any]:
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=log)  # noqa: S603  # ours
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        process.wait(15)
