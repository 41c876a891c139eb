"""The daemon as users start it: a process of its own over two accounts on simulated platforms, timed from outside."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.builds import Build
from watchdog.simulated import SimulatedPlatforms

APIFY, LOBSTR = "apify_api_bench", "lobstr_bench"
#: What the log says of each account, in every build.
_SWEPT = "first sweep done"
_PATIENCE_S = 60.0
_CONFIGURATION = """\
accounts:
  - {{name: apify, platform: apify, token_env: BENCH_APIFY, base_url: "{url}"}}
  - {{name: lobstr, platform: lobstr, token_env: BENCH_LOBSTR, base_url: "{url}"}}
rules: {folder}/rules.yaml
ledger: sqlite:///{folder}/ledger.db
listen: 127.0.0.1:{port}
log_format: json
"""
_RULES = """\
rules:
  - {name: far away, match: {platform: apify}, limits: {max_cost_usd: 10000, max_duration: 90d}}
  - {name: just as far, match: {platform: lobstr}, limits: {max_credits: 1000000, max_duration: 90d}}
"""


class DaemonFailed(Exception):
    """A daemon ended, or did not sweep; the text says what it logged last."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Of one daemon: seconds from the start of its process to the end of the first sweep of every account, of the wall
    clock and of processors; and megabytes that are resident once it is idle, those of them that no file backs too."""

    start_s: float
    start_cpu_s: float
    resident_mb: float
    anonymous_mb: float


class Platforms:
    """Both simulated platforms with so many active runs each, none of which comes near a limit."""

    def __init__(self, runs: int) -> None:
        self._stack = ExitStack()
        platforms = SimulatedPlatforms()
        apify, lobstr = platforms.apify(APIFY), platforms.lobstr(LOBSTR)
        actors = [apify.add_actor("compass", f"scraper-{number}") for number in range(3)]
        squids = [lobstr.add_squid(f"Squid {number}") for number in range(3)]
        for number in range(runs):
            apify.start_run(actors[number % len(actors)], usd_per_hour=0.5)
            lobstr.start_run(squids[number % len(squids)], ends_after=None, beside=True)
        self._platforms = self._stack.enter_context(platforms.serve_in_thread())

    def url(self) -> str:
        """Where both are."""
        return self._platforms.url

    def close(self) -> None:
        self._stack.close()


class Home:
    """Where the daemons of one build live, one after the other: configuration, rules and a ledger that is kept."""

    def __init__(self, build: Build, url: str) -> None:
        self._build = build
        # As an installation does; else a daemon that may write no compiled files would compile everything each time.
        subprocess.run([sys.executable, "-m", "compileall", "-q", str(build.tree / "watchdog")], check=True)
        self._folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._port = _free_port()
        text = _CONFIGURATION.format(url=url, folder=self._folder, port=self._port)
        (self._folder / "config.yaml").write_text(text, encoding="utf-8")
        (self._folder / "rules.yaml").write_text(_RULES, encoding="utf-8")

    def live(self, rest_s: float) -> Weight:
        """Start one, let it rest for so long, scrape it once as Prometheus does, weigh it, end it."""
        began = time.perf_counter()
        process = self._start()
        # Whatever becomes of it, nobody waits for a line for ever.
        timer = threading.Timer(_PATIENCE_S, process.kill)
        timer.start()
        try:
            _until_swept(process)
            start_s, start_cpu_s = time.perf_counter() - began, _cpu_s(process.pid)
            time.sleep(rest_s)
            self._scrape()
            resident_mb, anonymous_mb = _memory_mb(process.pid)
        finally:
            timer.cancel()
            _end(process)
        return Weight(start_s, start_cpu_s, resident_mb, anonymous_mb)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "watchdog", "run", "--config", str(self._folder / "config.yaml")]
        environ = self._build.environ | {"BENCH_APIFY": APIFY, "BENCH_LOBSTR": LOBSTR}
        return subprocess.Popen(command, env=environ, cwd=self._folder, stderr=subprocess.PIPE, text=True)

    def _scrape(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        if answer.status != 200:
            raise DaemonFailed(f"/metrics answered {answer.status}")


def imported_mb(modules: Sequence[str]) -> float:
    """Resident megabytes of a process that does nothing but import these, without the tables of rich."""
    imports = "".join(f"import {module}\n" for module in modules)
    code = f"import sys\nsys.modules.update(rich=None, pygments=None)\n{imports}print(open('/proc/self/status').read())"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True)
    return _megabytes(done.stdout, "VmRSS")


def _until_swept(process: subprocess.Popen[str], accounts: int = 2) -> None:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        accounts -= _SWEPT in line
        if not accounts:
            return
    raise DaemonFailed("".join(said)[-2000:] or "the daemon said nothing")


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> tuple[float, float]:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return _megabytes(status, "VmRSS"), _megabytes(status, "RssAnon")


def _megabytes(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
