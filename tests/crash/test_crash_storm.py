"""SIGKILL at random moments, again and again, with faults on the wire; in the end truth, ledger and metrics agree."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

SEEDS = tuple(int(seed) for seed in os.environ.get("BW_CRASH_SEEDS", "1 2").split())
KILLS = 15
LIMIT = 5.0
RULES = """
rules:
  - {name: cap, match: {platform: apify, actor: compass/*}, limits: {max_cost_usd: 5}}
  - {name: resumable, match: {platform: apify, actor: acme/*}, limits: {max_cost_usd: 5}, resurrect: true}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 5}}
protect:
  - {match: {run_id: untouchable}, reason: signed off}
"""

#: `budget-watchdog run` without the second that the imports take: a kill every second would mostly hit those. The
#: process that is killed is the real one from `main` on.
_NURSERY = """
import json, os, signal, sys
import alembic.command, sqlalchemy.dialects.sqlite, uvicorn
import watchdog.cli.run, watchdog.ledger.sqlite, watchdog.ledger.upgrade
from watchdog.cli import main
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    folder, log = json.loads(line)
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(folder)
    os.environ["HOME"] = folder
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for fd, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (out, 2)):
        os.dup2(fd, target)
    sys.argv = ["budget-watchdog", "run"]
    main()
"""


class Nursery:
    """Where short-lived daemons come from."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, site: Any) -> int:
        """The pid of a new daemon."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([str(site.folder), str(site.log)]) + "\n")
        stdin.flush()
        return int(stdout.readline())

    @staticmethod
    def kill(pid: int) -> None:
        """SIGKILL, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            end = time.monotonic() + 10
            while time.monotonic() < end:
                os.kill(pid, 0)
                time.sleep(0.002)
            raise AssertionError(f"process {pid} does not end")

    def close(self) -> None:
        with self._process:
            self._process.kill()


class Storm:
    """Some thirty runs on three accounts, some of which break a limit during the storm."""

    def __init__(self, site: Any, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.over: list[Any] = []
        self.within: list[Any] = []
        self.ignored: list[Any] = []
        site.rules(RULES)
        # A daemon that begins anew every second has forgotten what the one before it has sent in this minute.
        site.lobstr.requests_per_minute = None
        self._start_runs()

    def _start_runs(self) -> None:
        site, pick = self.site, self.random.uniform
        for account in (site.apify, site.second):
            for _ in range(4):
                self.over.append(self._apify(account, "compass", breach_s=pick(0.5, 11)))
            self.over.append(self._apify(account, "acme", breach_s=pick(1, 8), graceful_takes=pick(0.5, 4)))
            # The platform ignores the first request.
            self.ignored.append(self._apify(account, "compass", breach_s=0.2))
            # Ends by itself about when it would be stopped.
            self.over.append(self._apify(account, "compass", breach_s=6, ends_after=pick(6.2, 8.5)))
            self.within.append(self._apify(account, "compass", breach_s=4, most=LIMIT * 0.999))
            self.within.append(self._apify(account, "compass", breach_s=4, most=LIMIT * 0.98, ends_after=6.0))
            self.within.append(self._apify(account, "nobody", breach_s=0.1))
        self.within.append(self._apify(site.apify, "compass", breach_s=1, run_id="untouchable"))
        self.ignored.append(self._lobstr("ignored", breach_s=0.2))
        self.over += self.ignored
        for number in range(5):
            self.over.append(self._lobstr(f"over-{number}", breach_s=pick(0.5, 11)))
        self.over.append(self._lobstr("ending", breach_s=6, ends_after=pick(6.2, 8.5)))
        self.within.append(self._lobstr("within", breach_s=4, most=LIMIT * 0.999))

    @staticmethod
    def _apify(account: Any, owner: str, *, breach_s: float, most: float = 1e9, **details: Any) -> Any:
        def curve(ran_s: float) -> float:
            return min(most, LIMIT * ran_s / breach_s)

        return account.start_run(account.add_actor(owner, "scraper"), curve=curve, timeout_secs=900, **details)

    def _lobstr(self, squid: str, *, breach_s: float, most: float = 1e9, ends_after: float = 120.0) -> Any:
        def curve(ran_s: float) -> float:
            return min(most, LIMIT * ran_s / breach_s)

        account = self.site.lobstr
        return account.start_run(account.add_squid(squid), curve=curve, results_total=2000, ends_after=ends_after)

    def add_faults(self) -> None:
        fault = self.site.fault
        fault("lost_answer", "abort", probability=0.25)
        fault("reset", "abort", probability=0.1)
        fault("status", "abort", status=503, probability=0.1)
        fault("delay", "abort", probability=0.3, delay_s=0.15)
        for number, run in enumerate(self.ignored):
            fault("abort_ignored", "abort", run_id=run.id, times=1, claims_stopped=number == 0)
        fault("rate_limited", "abort|run|list", probability=0.03, retry_after_s=1)
        fault("status", "run|list|squids|stats", status=503, probability=0.06)
        fault("reset", "run|list|squids|stats|update", probability=0.06)
        fault("lost_answer", "update", probability=0.2)
        fault("truncated_json", "run|list|abort", probability=0.03)
        fault("null_usage", "run|list", probability=0.08)
        fault("delay", probability=0.1, delay_s=0.1)

    def rage(self, nursery: Nursery) -> int:
        """Kill after kill; how many found the daemon alive."""
        pid, alive = 0, 0
        try:
            for _ in range(KILLS):
                pid = nursery.start(self.site)
                # Most kills soon after the start, where the open aborts are taken up; some later.
                time.sleep(self.random.choice((0.35, 0.8, 1.6)) * self.random.uniform(0.5, 1.2))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 0)
                    alive += 1
                nursery.kill(pid)
        finally:
            nursery.kill(pid)
        return alive

    def is_quiet(self) -> bool:
        rows = self.site.rows()
        return not any(run.is_active() for run in self.over) and all(row["complete"] for row in rows)

    def still_going(self) -> str:
        rows = [row for row in self.site.rows() if not row["complete"]]
        return f"the end of {[run.id for run in self.over if run.is_active()]} and of {rows}"


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_lose_nothing_and_double_nothing(site: Any, seed: int) -> None:
    storm = Storm(site, seed)
    storm.add_faults()
    with contextlib.closing(Nursery(site.environ)) as nursery:
        alive = storm.rage(nursery)
    assert alive >= KILLS * 0.8, f"only {alive} of {KILLS} kills found the daemon alive: {site.log.read_text()[-3000:]}"
    site.sim.faults.clear()

    daemon = site.daemon(swept=False)
    site.wait_for(storm.is_quiet, storm.still_going, 60)
    assert_truth(storm)
    before = site.assert_books_agree(daemon)
    assert any(each["saved_usd"] for each in before)
    posts = sum(each.endpoint == "abort" for each in site.sim.requests)
    assert daemon.end() == 0

    again = site.daemon()
    assert site.assert_books_agree(again) == before
    assert sum(each.endpoint == "abort" for each in site.sim.requests) == posts


def assert_truth(storm: Storm) -> None:
    """What the books say, against what happened."""
    site = storm.site
    truths = {truth.id: truth for truth in site.sim.truth()}
    records: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in truths}
    for each in site.history()["aborts"]:
        records[each["run"]].append(each)
    for run in storm.within:
        assert not truths[run.id].aborted_by_api, f"{run.id} was within its limits: {records[run.id]}"
        assert not run.abort_requests
        assert not records[run.id]
    for run in storm.over:
        truth, found = truths[run.id], records[run.id]
        assert truth.ended is not None, f"{run.id} still spends: {found}"
        if not truth.aborted_by_api:
            # It ended by itself: no kill.
            assert [each["outcome"] for each in found] in ([], ["already_finished"]), found
            continue
        assert [each["outcome"] for each in found] == ["confirmed"], found
        assert_one_stop(site, run, truth, found[0])


def assert_one_stop(site: Any, run: Any, truth: Any, record: dict[str, Any]) -> None:
    figure = "credits" if truth.platform == "lobstr" else "cost_usd"
    at_abort = run.usage(truth.effective_abort_at)
    assert getattr(at_abort, figure) >= LIMIT, "aborted within its limits"
    effects = [phase.status for phase in run.life.phases].count("uploading" if figure == "credits" else "ABORTING")
    assert effects == 1
    # Every request up to the one that took effect was called for; none came after it.
    late = [each for each in site.posts(run) if each.at > truth.effective_abort_at]
    assert len(late) == 1, f"{run.id}: {len(late) - 1} requests after the one that worked: {late}"
    # A request whose process was killed before it left is counted all the same: nobody can know.
    assert record["requests"] >= len(site.posts(run))
    assert record["final"][figure] == pytest.approx(getattr(truth.usage, figure), abs=0.02)
    assert record["used"] >= LIMIT
    assert record["saved_usd"] is None or record["saved_usd"] >= 0
