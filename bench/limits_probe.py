"""What is measured of a build, in a process of its own: `limits_probe.py PROBE JSON` prints what it found as JSON.

Run by path with the build's tree first on the path, so that all that is imported is that build's; it may only use what
both builds have.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

MB = 2**20


def memory_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


class Turns:
    """The longest time between two turns of the event loop while it is open, in milliseconds."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def __aenter__(self) -> Turns:
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0.01)
        self.longest_ms = 0.0
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(0)
        self._task.cancel()

    async def _watch(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            self.longest_ms, last = max(self.longest_ms, (now - last) * 1e3), now


# --- what older builds keep elsewhere, or call otherwise -----------------------------------------------------------


def _meters() -> dict[str, Any]:
    """What limits are on, by their keys in rule files."""
    try:
        from watchdog.domain import meter

        return {str(each): each for each in meter.Meter}
    except ImportError:
        from watchdog.domain import run

        return {str(each): each for each in run.LimitKind}  # type: ignore[attr-defined]  # of an older build


def _usage() -> Any:
    try:
        from watchdog.domain import meter

        return meter.Usage
    except ImportError:
        from watchdog.domain import run

        return run.Usage  # type: ignore[attr-defined]  # of an older build


def _settings() -> Any:
    """The module of `Settings` and `AccountSettings`."""
    return import_module("watchdog.config.models" if find_spec("watchdog.config") else "watchdog.settings")


# --- rules x runs ----------------------------------------------------------------------------------------------------


async def rules(kind: str, count: int, runs: int, sweeps: int) -> dict[str, float]:
    """Sweeps of so many runs under so many rules, without a network: the first, and warm ones."""
    from bench import memory_platform
    from bench.fleet import FleetSpec, make_actors, make_runs
    from watchdog.domain.rule import Rule, RuleSet, Selector
    from watchdog.telemetry.metrics import Metrics

    fleet, actors = make_runs(FleetSpec(runs, 200, 0)), make_actors(200)

    def match(number: int) -> dict[str, tuple[str, ...]]:
        if kind == "run_id":
            return {"run_id": (fleet[number].id if number % 2 and number < runs else f"x{number:016d}",)}
        return {"actor": (actors[number].label if number < len(actors) else f"acme/thing-{number}",)}

    limits = {_meters()["max_cost_usd"]: 40.0}
    book = RuleSet(
        (Rule("all", Selector({}), limits), *(Rule(f"r{n}", Selector(match(n)), limits) for n in range(count)))
    )
    platform = memory_platform.MemoryPlatform(fleet)
    over = getattr(memory_platform, "watch_over", None) or memory_platform.poller_over  # type: ignore[attr-defined]  # older
    watch, _ = over(platform, book, Metrics())
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    await watch.sweep()
    first_s = time.perf_counter() - began
    warm = []
    for _ in range(sweeps):
        platform.refresh()
        began = time.perf_counter()
        await watch.sweep()
        warm.append(time.perf_counter() - began)
    if watch.last_error is not None:
        raise watch.last_error
    return {"first_s": first_s, "warm_s": min(warm)}


# --- accounts x rules ------------------------------------------------------------------------------------------------


async def metrics(accounts: int, count: int) -> dict[str, float]:
    """Rules on every account: loading them, what they take, and a scrape after sweeps that changed every figure."""
    from watchdog.domain.decision import Mode
    from watchdog.domain.notice import AccountInfo, RulesLoaded, SweepDone
    from watchdog.domain.rule import Rule, RuleSet, Selector
    from watchdog.telemetry.metrics import Metrics

    kind, now = _meters()["max_cost_usd"], datetime.now(UTC)
    book = tuple(Rule(f"rule-{n}", Selector({"actor": (f"owner-{n}/*",)}), {kind: 5.0}) for n in range(count))
    infos = tuple(AccountInfo("apify", f"account-{n}", frozenset(Mode)) for n in range(accounts))
    page = Metrics()
    gc.collect()
    before = memory_mb()
    began = time.perf_counter()
    page.notice(RulesLoaded(RuleSet(book), infos, now))
    load_s = time.perf_counter() - began
    for number, info in enumerate(infos):
        ratios = {(rule.name, kind): (number + n) % 97 / 97 for n, rule in enumerate(book[:200])}
        page.notice(SweepDone(info, now, 0.1, {}, {}, ratios, (), 0))
    async with Turns() as turns:
        began = time.perf_counter()
        body, _ = await page.rendered() if hasattr(page, "rendered") else page.render()
        scrape_s = time.perf_counter() - began
    return {
        "load_s": load_s,
        "scrape_s": scrape_s,
        "held_up_ms": turns.longest_ms,
        "page_mb": len(body) / MB,
        "memory_mb": memory_mb() - before,
    }


# --- aborts in the ledger --------------------------------------------------------------------------------------------


def _abort(now: datetime) -> Any:
    """A record as an abort on Apify leaves it."""
    from watchdog.domain.decision import Abort, AbortState, Basis, Mode, Saving, Transition
    from watchdog.domain.run import PlatformCap, RunState, Snapshot, Source

    meters, usage = _meters(), _usage()
    names = ("compass/crawler-google-places", "crawler-google-places", "nwua9Gu5YrADL7ZDj")
    seen = Snapshot(
        account="apify-main",
        platform="apify",
        run_id="RUNIDRUNIDRUNIDRU",
        source=Source("|".join(names), names[0], {"actor": names, "task": ()}, id=f"{names[2]}/"),
        state=RunState.RUNNING,
        status="RUNNING",
        usage=usage(1.25, 5.01, 4500.0),
        seen_at=now,
        inspected=True,
        origin="SCHEDULER",
        started_at=now - timedelta(hours=2),
        resurrect_count=0,
        cap=PlatformCap(86400.0, 20.0),
        burn_cap_per_s={meters["max_credits"]: 1 / 3600},
    )
    final = {"state": RunState.ABORTED, "status": "ABORTED", "usage": usage(1.26, 5.02, 4505.0), "finished_at": now}
    states = (AbortState.INTENDED, AbortState.REQUESTED, AbortState.CONFIRMED)
    return Abort(
        id="ABORTIDABORTIDABORTIDABORTIDABOR",
        account="apify-main",
        platform="apify",
        run_id=seen.run_id,
        source=names[0],
        rule="maps-cap",
        limit=meters["max_cost_usd"],
        limit_value=5.0,
        used_at_detection=5.01,
        detected_at=now,
        asked_mode=Mode.IMMEDIATE,
        mode=Mode.IMMEDIATE,
        state=AbortState.CONFIRMED,
        history=tuple(Transition(state, now, "run is ABORTED") for state in states),
        before=seen,
        requests=1,
        effective_requests=1,
        requested_at=now,
        stopped_at=now,
        final=_changed(seen, **final),
        settled=True,
        saving=Saving(Basis.CAP, usage(24.0, 96.0), 22.75, 14.98, "burn rate 0.001 USD/s until the charge cap of $20"),
        used_at_request=5.01,
        reason="rule 'maps-cap': $5.01 of $5.00 allowed",
    )


def _changed(value: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(value, **changes) if isinstance(value, msgspec.Struct) else replace(value, **changes)


def fill(path: str, count: int) -> dict[str, float]:
    """A ledger with so many aborts in it, straight into the file: one after the other would take minutes."""
    import sqlite3

    from watchdog.ledger.sqlite import open_sqlite

    try:
        from watchdog.ledger.rows import abort_row
    except ImportError:  # an older build
        from watchdog.ledger.store import abort_row

    now = datetime.now(UTC) - timedelta(days=400)

    async def through(work: Any = None) -> None:
        store = open_sqlite(Path(path))
        if work is not None:
            await work(store)
        await store.close()

    asyncio.run(through())
    row = abort_row(_abort(now))
    names = list(row)
    record = str(row["record"])

    def rows() -> Any:
        for number in range(count):
            abort_id, run_id = f"{number:032x}", f"r{number:016d}"
            text = record.replace("ABORTIDABORTIDABORTIDABORTIDABOR", abort_id).replace("RUNIDRUNIDRUNIDRU", run_id)
            opened = (now + timedelta(seconds=120 * number)).isoformat(timespec="microseconds")
            made = {**row, "id": abort_id, "run_id": run_id, "opened_at": opened, "record": text}
            yield [made[name] for name in names]

    with sqlite3.connect(path) as connection:
        marks = ", ".join("?" for _ in names)
        connection.executemany(f"INSERT INTO aborts ({', '.join(names)}) VALUES ({marks})", rows())
    connection.close()
    if count and hasattr(__import__("watchdog.ledger.store", fromlist=["SqlLedger"]).SqlLedger, "check"):
        asyncio.run(through(lambda store: store.check(repair=True)))
    return {"bytes": Path(path).stat().st_size}


async def start(path: str) -> dict[str, float]:
    """Open everything on this ledger, as `run` does before its first sweep, and scrape once."""
    from pydantic import SecretStr

    from watchdog.app import opened

    models = _settings()

    with tempfile.TemporaryDirectory() as folder:
        rule_file = Path(folder) / "rules.yaml"
        rule_file.write_text("rules: [{name: maps-cap, limits: {max_cost_usd: 5}}]\n", encoding="utf-8")
        account = models.AccountSettings(
            name="apify-main", platform="apify", token=SecretStr("t"), base_url="http://127.0.0.1:9"
        )
        settings = models.Settings(accounts=(account,), rules=rule_file, ledger=f"sqlite:///{path}")
        before, began = memory_mb(), time.perf_counter()
        async with opened(settings) as app:
            app.announce()
            await app.enforcer.resume()
            start_s = time.perf_counter() - began
            gc.collect()
            began = time.perf_counter()
            app.metrics.render()
            return {
                "start_s": start_s,
                "memory_mb": memory_mb(),
                "grown_mb": memory_mb() - before,
                "scrape_s": time.perf_counter() - began,
            }


def history(path: str) -> dict[str, float]:
    """`history --limit 20`: what it takes."""
    import resource
    import subprocess

    began = time.perf_counter()
    code = "from watchdog.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "history", "--limit", "20", "--ledger", f"sqlite:///{path}"],
        capture_output=True,
        check=True,
        env=os.environ,
    )
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - began, "peak_mb": peak_mb, "lines": done.stdout.count(b"\n")}


# --- many breaches at once -------------------------------------------------------------------------------------------


async def breaches(url: str, token: str, count: int, patience_s: float, requests_per_minute: int) -> dict[str, float]:
    """All runs of an account are over their limit at the first sweep: when is each proven to have stopped?"""
    from pydantic import SecretStr

    from watchdog.app import opened

    models = _settings()
    from watchdog.domain.decision import AbortState
    from watchdog.domain.notice import AbortChanged

    proven: list[float] = []

    class Watch:
        def notice(self, notice: object) -> None:
            if isinstance(notice, AbortChanged) and notice.abort.state is AbortState.CONFIRMED:
                proven.append(time.monotonic() - began)

    with tempfile.TemporaryDirectory() as folder:
        rule_file = Path(folder) / "rules.yaml"
        rule_file.write_text("rules: [{name: cap, limits: {max_cost_usd: 5}}]\n", encoding="utf-8")
        account = models.AccountSettings(
            name="apify-main",
            platform="apify",
            token=SecretStr(token),
            base_url=url,
            requests_per_minute=requests_per_minute,
            write_reason=False,
        )
        ledger = f"sqlite:///{Path(folder) / 'ledger.db'}"
        settings = models.Settings(accounts=(account,), rules=rule_file, ledger=ledger)
        began = time.monotonic()
        async with opened(settings, observers=[Watch()]) as app:
            app.announce()
            daemon = app.daemon(listen=False)
            known = signature(daemon.run).parameters
            options = {name: value for name, value in (("handle_signals", False), ("close_s", 0.1)) if name in known}
            running = asyncio.create_task(daemon.run(**options))
            end = began + patience_s
            while time.monotonic() < end and not running.done():
                await asyncio.sleep(0.5)
                if len(proven) >= count and not await app.ledger.open_aborts():
                    break
            settled_s = time.monotonic() - began
            daemon.stop()
            with suppress(Exception):
                await running
    return {
        "proven": len(proven),
        "median_s": statistics.median(proven) if proven else 0.0,
        "last_s": max(proven, default=0.0),
        "settled_s": settled_s,
    }


def main() -> None:
    """Run the probe that the arguments name."""
    tree = Path(os.environ["BENCH_TREE"])
    import watchdog

    if tree not in Path(watchdog.__file__).parents:
        raise SystemExit(f"another build was loaded than that in {tree}")
    probes = {each.__name__: each for each in (rules, metrics, fill, start, history, breaches)}
    found = probes[sys.argv[1]](**json.loads(sys.argv[2]))
    sys.stdout.write(json.dumps(asyncio.run(found) if asyncio.iscoroutine(found) else found))


if __name__ == "__main__":
    main()
