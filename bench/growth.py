"""How time and memory grow with the number of watched runs, and what the daemon uses while nothing happens."""

from __future__ import annotations

import asyncio
import gc
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from bench.child import hosted
from bench.contenders import Task, log_to, settings_for
from bench.fleet import FleetSpec, make_actors, make_rules
from bench.frame import (
    Figure,
    Sample,
    Stopwatch,
    at_most,
    cpus,
    interleaved,
    median_ratio,
    memory_bytes,
    peak_memory_bytes,
    walls,
)
from bench.plots import Series, growth
from bench.server import Server
from watchdog.app import App, opened
from watchdog.telemetry.logs import LogObserver

MB = 2**20


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. `rounds` sweeps of each number of runs; `small_sweeps` of the smallest count as one round,
    so that what is measured is not too short."""

    runs: tuple[int, ...] = (1_000, 10_000, 100_000)
    rounds: int = 5
    small_sweeps: int = 10
    rules: int = 20
    idle_s: float = 20.0
    idle_runs: tuple[int, ...] = (0, 1_000)


FULL = Size()
QUICK = Size(rounds=2, small_sweeps=5, idle_s=6.0)


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes: before the first sweep, with every run watched, and at most."""

    before: int
    watching: int
    peak: int


def run(quick: bool = False, size: Size | None = None) -> list[Figure]:
    """The figures of this group."""
    size = size or (QUICK if quick else FULL)
    samples, memory = measure(size)
    return [*_time_figures(samples, size), *_memory_figures(memory), *_idle(size)]


def measure(size: Size) -> tuple[dict[int, list[Sample]], dict[int, Memory]]:
    """Warm sweeps and memory by number of runs, each in a process of its own; the sweeps take turns."""
    with ExitStack() as stack:
        servers = {runs: stack.enter_context(Server(FleetSpec(runs=runs, crossing=0))) for runs in size.runs}
        tasks = {runs: _task(server, size) for runs, server in servers.items()}
        children = {runs: stack.enter_context(hosted(Account, task)) for runs, task in tasks.items()}

        def sweeps(runs: int) -> Sample:
            count = size.small_sweeps if runs == size.runs[0] else 1
            return _mean([children[runs].call("sweep") for _ in range(count)])

        turns = {str(runs): (lambda runs=runs: sweeps(runs)) for runs in children}
        samples = interleaved(turns, size.rounds)
        memory = {runs: child.call("memory") for runs, child in children.items()}
    return {int(runs): found for runs, found in samples.items()}, memory


def _task(server: Server, size: Size) -> Task:
    return Task(server.url, server.token, tuple(make_rules(size.rules, make_actors(200))), 0)


def _mean(samples: list[Sample]) -> Sample:
    return Sample(statistics.fmean(walls(samples)), statistics.fmean(cpus(samples)))


class Account:
    """The daemon's parts over one account, warm: the first sweep and what follows from it are over."""

    def __init__(self, task: Task) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._before = 0
        self._app: App
        self._runner.run(self._open(task))

    def sweep(self) -> Sample:
        """One more sweep."""
        return self._runner.run(self._sweep())

    def memory(self) -> Memory:
        """What is resident."""
        gc.collect()
        return Memory(self._before, memory_bytes(), peak_memory_bytes())

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _open(self, task: Task) -> None:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.callback(log_to(folder))
        settings = settings_for(task.url, [task.token], folder, task.rules)
        self._app = await self._stack.enter_async_context(opened(settings, observers=[LogObserver()]))
        self._app.announce()
        gc.collect()
        self._before = memory_bytes()
        await self._sweep()
        await self._app.watches[0].drain()
        await self._sweep()

    async def _sweep(self) -> Sample:
        stopwatch = Stopwatch()
        (watch,) = self._app.watches
        await watch.sweep()
        if watch.last_error is not None:
            raise watch.last_error
        return stopwatch.stop()


def _time_figures(samples: dict[int, list[Sample]], size: Size) -> list[Figure]:
    """The most runs are compared with the fewest, and, without a target, with the number that is cheapest per run: with
    few runs the fixed cost of a sweep makes growth look better than it is."""
    per_run = {runs: [wall / runs for wall in walls(found)] for runs, found in samples.items()}
    fewest, most = size.runs[0], size.runs[-1]
    cheapest = min(size.runs[:-1] or size.runs, key=lambda runs: statistics.median(per_run[runs]))
    figures = [_time_figure(runs, samples[runs], per_run, fewest, is_last=runs == most) for runs in size.runs]
    if cheapest != fewest:
        against = _time_figure(most, samples[most], per_run, cheapest, is_last=False)
        figures.append(replace(against, name=f"{against.name}, against the cheapest"))
    return figures


def _time_figure(
    runs: int, samples: Sequence[Sample], per_run: Mapping[int, Sequence[float]], base: int, *, is_last: bool
) -> Figure:
    is_base = runs == base
    return Figure(
        f"warm sweep of {runs:,} runs, per run",
        statistics.median(per_run[runs]) * 1e6,
        "us",
        "" if is_base else f"the same with {base:,} runs",
        None if is_base else statistics.median(per_run[base]) * 1e6,
        None if is_base else median_ratio(per_run[runs], per_run[base]),
        target=at_most(1.2, "ratio") if is_last and not is_base else None,
        note=f"{statistics.median(walls(samples)) * 1e3:.1f} ms a sweep, "
        f"{statistics.median(cpus(samples)) * 1e3:.1f} ms of processor time",
    )


def _memory_figures(memory: dict[int, Memory]) -> list[Figure]:
    figures = []
    for runs, found in memory.items():
        is_last = runs == max(memory)
        figures.append(
            Figure(
                f"resident memory with {runs:,} runs",
                found.watching / MB,
                "MB",
                "before the first sweep",
                found.before / MB,
                found.watching / found.before,
                target=at_most(400) if is_last else None,
                note=f"at most {found.peak / MB:.0f} MB at any time",
            )
        )
    runs = max(memory)
    grown = memory[runs].watching - memory[runs].before
    figures.append(
        Figure("memory per watched run", grown / runs, "bytes", note=f"at {runs:,} runs, everything included")
    )
    return figures


_SWEEP = re.compile(r"warm sweep of ([\d,]+) runs, per run")
_RESIDENT = re.compile(r"resident memory with ([\d,]+) runs")


def plots(figures: Sequence[Figure]) -> dict[str, str]:
    """Time of a sweep and memory against the number of runs."""
    sweeps = [(runs, figure.value * runs / 1e3) for runs, figure in _points(_SWEEP, figures)]
    memory = [(runs, figure.value) for runs, figure in _points(_RESIDENT, figures)]
    first, first_ms = sweeps[0]
    exact = [(runs, first_ms * runs / first) for runs, _ in sweeps]
    time_plot = growth(
        "Time of a warm sweep against watched runs",
        "watched runs",
        "milliseconds",
        [Series("measured", sweeps), Series("proportional to the smallest", exact)],
    )
    memory_plot = growth(
        "Resident memory against watched runs", "watched runs", "MB", [Series("measured", memory)], log=False
    )
    return {"growth-time": time_plot, "growth-memory": memory_plot}


def _points(pattern: re.Pattern[str], figures: Sequence[Figure]) -> list[tuple[int, Figure]]:
    found = ((pattern.fullmatch(figure.name), figure) for figure in figures)
    return [(int(match[1].replace(",", "")), figure) for match, figure in found if match]


# --- while nothing happens -------------------------------------------------------------------------------------------


class Daemon:
    """The whole daemon with its web server, for a while."""

    def idle(self, task: Task, seconds: float) -> Sample:
        """What it uses in these seconds, after its first sweep."""
        return asyncio.run(self._idle(task, seconds))

    async def _idle(self, task: Task, seconds: float) -> Sample:
        async with AsyncExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="bench-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.callback(log_to(folder))
            settings = settings_for(task.url, [task.token], folder, task.rules, listen="127.0.0.1:0")
            app = await stack.enter_async_context(opened(settings, observers=[LogObserver()]))
            daemon = app.daemon()
            running = asyncio.create_task(daemon.run(close_s=0.1))
            end = time.monotonic() + 30
            while app.watches[0].last_success_s is None and time.monotonic() < end:
                await asyncio.sleep(0.05)
            await app.watches[0].drain()
            watch = Stopwatch()
            await asyncio.sleep(seconds)
            sample = watch.stop()
            daemon.stop()
            await running
            return sample


def _idle(size: Size) -> list[Figure]:
    """At the same time: they are idle, after all."""
    shares: dict[int, float] = {}
    with ExitStack() as stack:
        servers = {runs: stack.enter_context(Server(FleetSpec(runs=runs, crossing=0))) for runs in size.idle_runs}
        children = {runs: stack.enter_context(hosted(Daemon)) for runs in size.idle_runs}
        for runs, child in children.items():
            child.begin("idle", _task(servers[runs], size), size.idle_s)
        for runs, child in children.items():
            sample: Sample = child.finish("idle")
            shares[runs] = sample.cpu_s / sample.wall_s
    first = size.idle_runs[0]
    return [
        Figure(
            f"idle, {runs:,} runs: share of a core",
            share * 100,
            "%",
            f"{first:,} runs" if runs != first else "",
            shares[first] * 100 if runs != first else None,
            share / shares[first] if runs != first else None,
            note=f"over {size.idle_s:.0f} s with a sweep every 5 s, web server and ledger on disk",
        )
        for runs, share in shares.items()
    ]
