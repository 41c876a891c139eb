"""The daemon as a process that can be killed at any instant, against the simulated platforms in a thread.

Unless a test says otherwise the platforms' clock is the real one, and runs are steep: a dollar or a credit a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bw_support import free_port, page, skip, wait_for
from prometheus_client.parser import text_string_to_metric_families

from watchdog.simulated import Fault, RequestRecord, SimulatedPlatforms

SCRIPT = Path(sys.executable).with_name("budget-watchdog")
APIFY_TOKEN = "apify_api_S3CRETofTheCrashTests"
SECOND_TOKEN = "apify_api_S3CRETofTheOtherAccount"
LOBSTR_TOKEN = "lobstrS3CRETofTheCrashTests"
#: A bound on waiting, not a promise: twenty processes may share two cores here. In seconds of the wall clock.
PATIENCE_S = 90.0
ENVIRON = {"PATH": os.environ["PATH"], "COLUMNS": "160", "A": APIFY_TOKEN, "B": SECOND_TOKEN, "L": LOBSTR_TOKEN}
OUTCOME = pytest.StashKey["Future[None]"]()

RULES = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 5}}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 5}}
"""


class Site:
    """A folder with a configuration, the platforms it points to, and the ways to run the script there."""

    def __init__(self, folder: Path, platforms: SimulatedPlatforms) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.sim = platforms
        self.apify = platforms.apify(APIFY_TOKEN)
        self.second = platforms.apify(SECOND_TOKEN, "johndoe")
        self.lobstr = platforms.lobstr(LOBSTR_TOKEN)
        for account in (self.apify, self.second):
            account.abort_takes_s = 0.2
            account.settle_seconds = 1.0
        self.lobstr.abort_uploading_s = 0.2
        self.port = free_port()
        self.environ = ENVIRON | {"HOME": str(folder)}
        self.ledger = folder / "ledger.db"
        self.log = folder / "log"
        self._daemons: list[Daemon] = []
        self.rules(RULES)
        self.configure()

    # Files

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def rules(self, text: str) -> None:
        self.write("rules/rules.yaml", text)

    def configure(self, more: str = "", *, of_apify: str = "", ledger: Path | None = None) -> Path:
        self.ledger = ledger or self.ledger
        return self.write(
            "budget-watchdog.yaml",
            f"""
accounts:
  - {{name: main, platform: apify, token_env: A, base_url: "{self.sim.url}", poll_interval: 1s{of_apify}}}
  - {{name: second, platform: apify, token_env: B, base_url: "{self.sim.url}", poll_interval: 1s}}
  - {{name: growth, platform: lobstr, token_env: L, base_url: "{self.sim.url}", poll_interval: 1s,
     usd_per_credit: 0.5, requests_per_minute: 6000}}
listen: 127.0.0.1:{self.port}
ledger: "sqlite:///{self.ledger}"
log_format: json
{more}
""",
        )

    # Processes

    def call(self, *arguments: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run the script to its end. Nothing that it prints may hold a token or a traceback."""
        done = subprocess.run(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        check_output(done.stdout + done.stderr)
        return done

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the script and go on."""
        return subprocess.Popen(
            [SCRIPT, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def say(self, *arguments: str) -> str:
        """Run the script, which must succeed."""
        done = self.call(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def daemon(self, *arguments: str, swept: bool = True) -> Daemon:
        """`run` in the background; ended with the site. `swept`: wait until it has seen every account."""
        daemon = Daemon(self, arguments)
        self._daemons.append(daemon)
        if swept:
            daemon.wait_until_ready()
        return daemon

    def kill_daemons(self) -> None:
        for daemon in self._daemons:
            daemon.kill()

    def close(self) -> None:
        self.kill_daemons()
        if self.log.exists():
            check_output(self.log.read_text(encoding="utf-8"))

    # What is in the books

    def rows(self) -> list[dict[str, Any]]:
        """The records in the file as they are this moment, oldest first; none if there is no ledger yet."""
        if not self.ledger.exists():
            return []
        try:
            with contextlib.closing(sqlite3.connect(f"{self.ledger.as_uri()}?mode=ro", uri=True, timeout=5)) as found:
                records = found.execute("SELECT record, complete FROM aborts ORDER BY opened_at, id").fetchall()
        except sqlite3.OperationalError:
            return []
        return [{**json.loads(record), "complete": bool(complete)} for record, complete in records]

    def rows_of(self, run: Any) -> list[dict[str, Any]]:
        return [row for row in self.rows() if row["run_id"] == run.id]

    def row_of(self, run: Any) -> dict[str, Any]:
        """The one record of a run; an empty one if there is none yet."""
        rows = self.rows_of(run)
        assert len(rows) <= 1, f"{len(rows)} records of run {run.id}: {rows}"
        return rows[0] if rows else defaultdict(str)

    def wait_for_state(self, run: Any, state: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            row = self.row_of(run)
            return row if row["state"] == state else None

        return wait_for(reached, lambda: f"{state} of {run.id}; there is {self.rows_of(run)}", patience_s)

    def history(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.say("history", "--json", *arguments))
        return found

    def assert_books_agree(self, daemon: Daemon) -> list[dict[str, Any]]:
        """The file, `history` and the metrics say the same; the records as `history` gives them. They are read one
        after the other, so that a daemon at work gets a few tries."""
        for _ in range(4):
            with contextlib.suppress(AssertionError):
                return self._assert_books_agree(daemon)
        return self._assert_books_agree(daemon)

    def _assert_books_agree(self, daemon: Daemon) -> list[dict[str, Any]]:
        history, metrics, rows = self.history(), daemon.metrics(), {row["id"]: row for row in self.rows()}
        assert_equal_sums(history, metrics)
        found: list[dict[str, Any]] = history["aborts"]
        assert rows.keys() == {each["id"] for each in found}
        for each in found:
            row = rows[each["id"]]
            assert (row["state"], row["requests"], row["run_id"]) == (each["outcome"], each["requests"], each["run"])
        return found

    wait_for = staticmethod(wait_for)
    skip = staticmethod(skip)

    def another(self, name: str) -> contextlib.AbstractContextManager[Site]:
        """A site beside this one."""
        return serving(self.folder / name)

    # What the platforms saw

    def posts(self, run: Any) -> list[RequestRecord]:
        """The abort requests for a run that were answered, or would have been."""
        return [each for each in self.sim.requests if each.endpoint == "abort" and f"/{run.id}/" in each.path]

    def fault(self, kind: Any, match: str = "*", **details: Any) -> Any:
        return self.sim.faults.add(Fault(kind=kind, match=match, **details))

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Lines of every daemon so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        return [line for line in map(_json_line, lines) if line.get("event") == event]


def _json_line(line: str) -> dict[str, Any]:
    # A process that is killed may leave half a line; its own sentences at the end are no JSON.
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def check_output(text: str) -> None:
    assert "Traceback" not in text, text
    assert "internal error" not in text, text
    for token in (APIFY_TOKEN, SECOND_TOKEN, LOBSTR_TOKEN):
        assert token not in text, "a token came out"


class Daemon:
    """A running `budget-watchdog run`."""

    def __init__(self, site: Site, arguments: tuple[str, ...]) -> None:
        self._site = site
        with site.log.open("a") as log:
            self.process = subprocess.Popen(
                [SCRIPT, "run", *arguments], cwd=site.folder, env=site.environ, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self._site.log.read_text()
            return self.get("/readyz")[0] == 200

        wait_for(is_ready, "readiness")

    def get(self, path: str) -> tuple[int, str]:
        return get(self._site.port, path)

    def metrics(self) -> Metrics:
        return Metrics(self._site.port)

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics().sum(name, **labels)

    def kill(self) -> None:
        """SIGKILL: no last word."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(15)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body of a page; status 0 if nobody answers."""
    return page(f"http://127.0.0.1:{port}{path}")


class Metrics:
    """One scrape."""

    def __init__(self, port: int) -> None:
        _, body = get(port, "/metrics")
        self.samples = [each for family in text_string_to_metric_families(body) for each in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """Over the series with these labels; 0 if there is none."""
        return sum(
            each.value
            for each in self.samples
            if each.name == f"budget_watchdog_{name}" and labels.items() <= each.labels.items()
        )

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The series that are not 0, by these labels."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for each in self.samples:
            if each.name == f"budget_watchdog_{name}" and each.value:
                sums[tuple(each.labels[label] for label in labels)] += each.value
        return dict(sums)


@contextlib.contextmanager
def serving(folder: Path, seed: int = 0) -> Iterator[Site]:
    """All accounts on the real clock."""
    with SimulatedPlatforms(seed=seed).serve_in_thread() as platforms:
        made = Site(folder, platforms)
        try:
            yield made
        finally:
            made.close()


# Most of the time here is waiting, for platforms and processes: the tests of this folder run side by side, each with a
# site of its own, and pytest collects what came of each.

AT_A_TIME = 6


@pytest.fixture
def site() -> Iterator[None]:
    """A `Site`; made where the test runs."""
    return


@pytest.fixture(scope="session", autouse=True)
def _side_by_side(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    here = Path(__file__).parent
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path.parent == here]
    pool = ThreadPoolExecutor(AT_A_TIME)
    try:
        for item in sorted(items, key=lambda item: "storm" not in item.path.name):  # the longest first
            item.stash[OUTCOME] = pool.submit(_run, item, tmp_path_factory.mktemp("site"))
        yield
    finally:
        pool.shutdown(cancel_futures=True)


def _run(item: pytest.Function, folder: Path) -> None:
    if not SCRIPT.exists():
        skip(f"the console script is not installed ({SCRIPT})")
    details = item.callspec.params if hasattr(item, "callspec") else {}
    with serving(folder, **details) as site:
        item.obj(site=site, **details)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    pyfuncitem.stash[OUTCOME].result()
    return True


def assert_equal_sums(history: dict[str, Any], metrics: Metrics) -> None:
    """The counters are sums over the records, and so are the totals of `history`."""
    assert metrics.samples, "no metrics"
    aborts: dict[tuple[str, ...], float] = defaultdict(float)
    saved: dict[str, dict[tuple[str, ...], float]] = {"credits": defaultdict(float), "usd": defaultdict(float)}
    for each in history["aborts"]:
        if each["outcome"] not in ("intended", "requested", "withdrawn"):
            aborts[each["account"], each["rule"], each["limit"], each["mode"], each["outcome"]] += 1
        for figure, sums in saved.items():
            if amount := each[f"saved_{figure}"]:
                sums[each["account"], each["rule"], each["basis"]] += amount
    assert metrics.by("aborts_total", "account", "rule", "limit", "mode", "outcome") == dict(aborts)
    for figure, sums in saved.items():
        assert metrics.by(f"saved_{figure}_total", "account", "rule", "basis") == pytest.approx(dict(sums))
        by_rule: dict[tuple[str, ...], float] = defaultdict(float)
        for (_, rule, basis), amount in sums.items():
            by_rule[rule, basis] += amount
        booked = {(row["rule"], row["basis"]): row[figure] for row in history["saved"] if row[figure]}
        assert booked == pytest.approx(dict(by_rule))
    still_open = [each for each in history["aborts"] if each["outcome"] in ("intended", "requested")]
    assert metrics.sum("aborts_unconfirmed") == len(still_open)
    assert metrics.sum("observer_errors_total") == 0
