"""Limits on duration: how late the abort request is, and what happens when very many runs are due at one instant."""

from __future__ import annotations

import asyncio
import logging
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.child import hosted
from bench.contenders import Gate, Task, log_to, settings_for
from bench.fleet import FleetSpec, PlainRule, make_runs
from bench.frame import Figure, Stopwatch, at_most, percentile
from bench.loop import LoopMonitor
from bench.memory_platform import MemoryPlatform, rule_set, watch_over
from bench.server import Server
from watchdog.app import opened
from watchdog.domain.notice import LimitBreached, Notice, SweepDone
from watchdog.runtime import collector
from watchdog.runtime.clock import SystemClock
from watchdog.runtime.watch.agenda import Agenda
from watchdog.telemetry.logs import LogObserver

LIMIT_S = 3600.0
#: Sweeps that a watcher without deadlines would have: the daemon's own default on Apify.
SWEEP_S = 5.0
#: APScheduler's own default, in seconds.
MISFIRE_GRACE_S = 1.0
_PATIENCE_S = 120.0
#: What must be over before something is due gets twice the time each time.
TRIES = 4
TOO_SLOW = "the first sweep was not over before they were due, however much time it got: the machine is too busy"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: runs with deadlines so many seconds apart; how many are due at one instant."""

    runs: int = 200
    step_s: float = 0.03
    lead_s: float = 5.0
    at_once: int = 100_000
    polled_at_once: int = 100_000
    jobs: int = 50_000


FULL = Size()
QUICK = Size(runs=60, step_s=0.04, lead_s=4.0, polled_at_once=20_000, jobs=5_000)


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of many that were due at one instant: seconds late, how many never came, the longest hold-up of the
    event loop, and the time from the first to the last."""

    late_s: Sequence[float]
    lost: int
    held_up_s: float
    span_s: float


def run(quick: bool = False, size: Size | None = None) -> list[Figure]:
    """The figures of this group."""
    size = size or (QUICK if quick else FULL)
    figures = _lateness(size)
    with hosted(Bursts) as child:
        agenda: Burst = child.call("agenda", size.at_once)
        jobs: Burst = child.call("apscheduler", size.jobs)
        polled: Burst | None = child.call("watch", size.polled_at_once)
    return [*figures, *_of_agenda(agenda, jobs, size), *_of_watch(polled, size)]


# --- one after the other, over HTTP ----------------------------------------------------------------------------------


def _lateness(size: Size) -> list[Figure]:
    lead_s = size.lead_s
    for _ in range(TRIES):
        found = _lateness_in(lead_s, size)
        if found is not None:
            return found
        lead_s *= 2
    return [Figure("abort request after the deadline: not measured", math.nan, "ms", note=TOO_SLOW)]


def _lateness_in(lead_s: float, size: Size) -> list[Figure] | None:
    """None if the first deadline came before the first sweep was over."""
    with hosted(Watcher) as watcher:
        watcher.call("ready")
        first = time.time() + lead_s
        due = [round(first + number * size.step_s, 3) for number in range(size.runs)]
        spec = FleetSpec(runs=size.runs, actors=20, crossing=0, starts_s=[at - LIMIT_S for at in due])
        deadlines = {run.id: at for run, at in zip(make_runs(spec), due, strict=True)}
        with Server(spec) as server:
            task = Task(server.url, server.token, (PlainRule("long", "*", max_duration_s=LIMIT_S),), size.runs)
            swept_at: float = watcher.call("watch", task, due[-1] + 10.0)
            _, aborts = server.seen()
    if swept_at >= first:
        return None
    late_ms = [(at - deadlines[run_id]) * 1e3 for run_id, at in aborts.items()]
    # Sweeps every 5 s find each at the next sweep: computed, not measured.
    swept_ms = [(SWEEP_S - (at - due[0]) % SWEEP_S) * 1e3 for at in due]
    return [
        _late_figure(share, name, late_ms, swept_ms, size) for share, name in ((0.5, "p50"), (0.99, "p99"), (1, "max"))
    ]


def _late_figure(share: float, name: str, late_ms: Sequence[float], swept_ms: Sequence[float], size: Size) -> Figure:
    ours, swept = percentile(late_ms, share), percentile(swept_ms, share)
    early = sum(late < 0 for late in late_ms)
    note = f"{size.runs} runs with deadlines {size.step_s * 1e3:.0f} ms apart; {size.runs - len(late_ms)} not aborted"
    return Figure(
        f"abort request after the deadline, {name}",
        ours,
        "ms",
        f"sweeps every {SWEEP_S:.0f} s (computed)",
        swept,
        swept / ours if ours else math.inf,
        ratio_is="compared / value",
        # What was aborted early, or not at all, must not pass as punctual.
        target=at_most(100 if not early and len(late_ms) == size.runs else -math.inf) if name == "p99" else None,
        note=f"{note}; {early} early",
    )


class Watcher:
    """The daemon as it runs in production, for a while."""

    def ready(self) -> None:
        """Everything is imported."""

    def watch(self, task: Task, until_s: float) -> float:
        """Until every run is aborted, or until this epoch second; when the first sweep was over (infinity: never)."""
        return asyncio.run(self._watch(task, until_s))

    async def _watch(self, task: Task, until_s: float) -> float:
        async with AsyncExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="bench-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            stack.callback(log_to(folder))
            gate, first = Gate(), _FirstSweep()
            settings = settings_for(task.url, [task.token], folder, task.rules)
            app = await stack.enter_async_context(opened(settings, observers=[LogObserver(), gate, first]))
            reached = gate.arm(task.crossing, Stopwatch())
            daemon = app.daemon(listen=False)
            app.announce()
            running = asyncio.create_task(daemon.run(close_s=0.1))
            ends: set[asyncio.Future[Any]] = {running, reached}
            await asyncio.wait(ends, timeout=until_s - time.time(), return_when=asyncio.FIRST_COMPLETED)
            daemon.stop()
            await running
            return first.at_s


class _FirstSweep:
    """Knows the epoch second when the first sweep was over."""

    def __init__(self) -> None:
        self.at_s = math.inf

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, SweepDone):
            self.at_s = min(self.at_s, time.time())


# --- all at one instant ----------------------------------------------------------------------------------------------


class Bursts:
    """Many due at one instant, in memory."""

    def agenda(self, count: int) -> Burst:
        """Our agenda: one heap, one task."""
        return asyncio.run(_agenda_burst(count))

    def apscheduler(self, count: int) -> Burst:
        """APScheduler with a job for each and its defaults."""
        return asyncio.run(_apscheduler_burst(count))

    def watch(self, count: int) -> Burst | None:
        """The real watch: sweep, deadline, inspection, breach. None if the machine is too slow for it."""
        return asyncio.run(_watch_burst(count))


async def _agenda_burst(count: int) -> Burst:
    fired: list[float] = []
    agenda = Agenda(SystemClock())

    async def serve() -> None:
        while True:
            fired.extend(time.monotonic() for _ in await agenda.due())

    due = time.monotonic() + 0.5 + count * 5e-6
    for number in range(count):
        agenda.set(f"run-{number}", due)
    serving = asyncio.create_task(serve())
    with LoopMonitor() as monitor:
        await _until(lambda: len(fired) >= count, due)
    serving.cancel()
    await _others_end()
    return _burst(fired, due, count, monitor)


async def _apscheduler_burst(count: int) -> Burst:
    from apscheduler.schedulers.asyncio import AsyncIOScheduler
    from apscheduler.triggers.date import DateTrigger

    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    fired: list[float] = []

    async def fire() -> None:
        fired.append(time.monotonic())

    scheduler = AsyncIOScheduler(timezone=UTC)
    scheduler.start(paused=True)
    lead_s = 0.5 + count * 150e-6
    at, due = datetime.now(UTC) + timedelta(seconds=lead_s), time.monotonic() + lead_s
    for number in range(count):
        scheduler.add_job(fire, DateTrigger(at), id=f"run-{number}")
    scheduler.resume()
    with LoopMonitor() as monitor:
        # A job that is lost is gone from the store without having been called.
        await _until(lambda: time.monotonic() > due + 0.1 and not scheduler.get_jobs(), due)
        await asyncio.sleep(0.2)
    scheduler.shutdown(wait=False)
    return _burst(fired, due, count, monitor)


class _Breaches:
    """Counts the breaches that were told."""

    def __init__(self) -> None:
        self.runs: set[str] = set()

    def notice(self, notice: Notice) -> None:
        if isinstance(notice, LimitBreached):
            self.runs.add(notice.snapshot.run_id)


async def _watch_burst(count: int) -> Burst | None:
    """The rule only notifies: what is measured is everything up to the decision, not the aborts. The first sweep must
    be over before the runs are due; on a slow machine they are due later, and in the end it is None."""
    lead_s = 1.0 + count * 60e-6
    for _ in range(TRIES):
        if (burst := await _watch_burst_in(lead_s, count)) is not None:
            return burst
        lead_s *= 2
    return None


async def _watch_burst_in(lead_s: float, count: int) -> Burst | None:
    at, due = time.time() + lead_s, time.monotonic() + lead_s
    platform = MemoryPlatform(make_runs(FleetSpec(runs=count, crossing=0, starts_s=[at - LIMIT_S] * count)))
    rule = PlainRule("long", "*", max_duration_s=LIMIT_S, action="notify")
    breaches = _Breaches()
    watch, _ = watch_over(platform, rule_set([rule]), breaches)
    platform.refresh()
    await watch.sweep()
    if time.monotonic() > due:
        watch.cancel()
        await _others_end()
        return None
    collector.settle()
    serving = asyncio.create_task(watch.run())
    with LoopMonitor() as monitor:
        await _until(lambda: len(breaches.runs) >= count, due)
    serving.cancel()
    watch.cancel()
    await _others_end()
    looked = [platform.looked_at[run_id] for run_id in breaches.runs]
    return _burst(looked, due, count, monitor)


async def _others_end() -> None:
    """What has been cancelled is let come to its end, so that nobody finds it pending later."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others, return_exceptions=True)


async def _until(condition: Callable[[], bool], due: float) -> None:
    while not condition() and time.monotonic() < due + _PATIENCE_S:
        await asyncio.sleep(0.02)


def _burst(fired: Sequence[float], due: float, count: int, monitor: LoopMonitor) -> Burst:
    late = [at - due for at in fired]
    span = max(late, default=0.0) - min(late, default=0.0)
    return Burst(late, count - len(fired), monitor.longest_s, span)


def _of_agenda(agenda: Burst, jobs: Burst, size: Size) -> list[Figure]:
    what, theirs = f"{size.at_once:,} due at once", f"APScheduler, {size.jobs:,} jobs"
    per_fire, per_job = agenda.span_s / size.at_once, _seconds_per_job(jobs, size)
    # It hands out all jobs that are due before the first of them runs; whichever runs later than the grace is dropped.
    scaled_s = per_job * size.at_once
    fate = "all would be lost" if scaled_s > MISFIRE_GRACE_S else "none would be lost"
    extrapolated = f"at {size.at_once:,} it would hold up the loop for {scaled_s:.1f} s: {fate} to its misfire grace"
    return [
        Figure(f"{what}: lost", agenda.lost, "runs", theirs, jobs.lost, target=at_most(0), note=extrapolated),
        Figure(f"{what}: p99 lateness", percentile(agenda.late_s, 0.99) * 1e3, "ms"),
        Figure(
            f"{what}: longest hold-up of the event loop",
            agenda.held_up_s * 1e3,
            "ms",
            theirs,
            jobs.held_up_s * 1e3,
            jobs.held_up_s / agenda.held_up_s,
            ratio_is="compared / value",
            target=at_most(50),
        ),
        Figure(
            f"{what}: time per fire",
            per_fire * 1e6,
            "us",
            theirs,
            per_job * 1e6,
            per_job / per_fire,
            ratio_is="compared / value",
        ),
    ]


def _seconds_per_job(jobs: Burst, size: Size) -> float:
    """From due to the last one's turn; if all are lost, the time it took to find that out."""
    return max(jobs.held_up_s, max(jobs.late_s, default=0.0)) / size.jobs


def _of_watch(polled: Burst | None, size: Size) -> list[Figure]:
    what = f"{size.polled_at_once:,} runs of one account due at once"
    if polled is None:
        return [Figure(f"{what}: not measured", math.nan, "", note=TOO_SLOW)]
    return [
        Figure(f"{what}: lost", polled.lost, "runs", target=at_most(0), note="deadline, inspection in memory, breach"),
        Figure(f"{what}: median lateness of the look", statistics.median(polled.late_s or [math.nan]) * 1e3, "ms"),
        Figure(f"{what}: last look", max(polled.late_s, default=math.nan) * 1e3, "ms"),
        Figure(f"{what}: longest hold-up of the event loop", polled.held_up_s * 1e3, "ms", target=at_most(50)),
    ]
