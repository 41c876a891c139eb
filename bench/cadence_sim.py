"""How much usage slips past a limit, and with how many calls, on virtual time.

Ours is the real thing: poller, agenda, enforcer and rate budget over an in-memory platform that is like a lobstr
account. What it is compared with, polling at fixed intervals and an oracle, is simulated directly; both are treated
kindly: they know of every run from its start on, without a call.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, TypeVar

from bench.curves import RunSpec
from bench.virtual_time import EPOCH, VirtualClock, run_virtually
from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import AccountInfo, Notice, PollFailed, Trouble
from watchdog.domain.ports import PlatformTraits, Sweep
from watchdog.domain.rule import Rule, RuleSet, Selector
from watchdog.domain.run import Progress, RunState, Snapshot, Source
from watchdog.errors import Gone
from watchdog.ledger.memory import MemoryLedger
from watchdog.net import IN_FLIGHT_MAX, Priority, RateBudget
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.memory import Memory
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.watch import Account, Watch

T = TypeVar("T")

ACCOUNT = "bench"
#: Runs on a page of the list that discovery reads.
PAGE = 100
#: The simulation goes on for so long after the horizon, so that what broke its limit before can still be aborted.
DRAIN_S = 600.0
UNLIMITED_PER_MINUTE = 1_000_000
#: A second simulation of the same ledger happens so much later.
_LATER = timedelta(days=1)
_NO_PROGRESS = Progress()
_SWEEP_FIELDS = {each.name for each in fields(Sweep)}
#: Whether sweeps hand runs over in batches and may leave watched ones unread (the port before and after that change).
_BATCHES = "unread" in _SWEEP_FIELDS


@dataclass(frozen=True, slots=True)
class Latency:
    """Of calls: lognormal with this median and spread (log scale), within bounds, in seconds."""

    median_s: float = 0.15
    sigma: float = 0.4
    least_s: float = 0.03
    most_s: float = 2.0

    def draw(self, rng: random.Random) -> float:
        """Seconds from sending a request to having its answer; the platform acts half-way."""
        return min(self.most_s, max(self.least_s, self.median_s * math.exp(rng.gauss(0.0, self.sigma))))


LATENCY = Latency()


@dataclass(slots=True)
class Trial:
    """What one policy did on one workload: when each abort request arrived (virtual seconds), when calls were made, how
    many of them for which family of curves (discovery: ``) and of which kind (of ours only), and aborts that arrived at
    runs within their limits."""

    policy: str
    aborted_s: dict[str, float] = field(default_factory=dict)
    calls_s: list[float] = field(default_factory=list)
    calls_of: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    false_kills: int = 0
    troubles: list[str] = field(default_factory=list)
    trace: list[TraceLine] = field(default_factory=list)

    def ended_s(self, run: RunSpec) -> float:
        """When the run was over: stopped, or by itself; inf if never."""
        return min(run.ends_s, self.aborted_s.get(run.run_id, math.inf))


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One thing that happened to a run: what (`sweep`, `look`, `urgent`, `abort`, `plan`), when, and the share of its
    limit that was shown, or for a plan the seconds to the next look."""

    run_id: str
    at_s: float
    what: str
    figure: float


# Ours


class MemoryPlatform:
    """A lobstr-like account in memory; a `Platform`. Each call goes through the rate budget and takes its time."""

    def __init__(
        self, runs: Sequence[RunSpec], clock: VirtualClock, budget: RateBudget, trial: Trial, *, trace: bool, seed: int
    ) -> None:
        self.traits = _traits()
        self._runs = {run.run_id: run for run in runs}
        self._by_start = sorted(runs, key=lambda run: run.start_s)
        self._starts = [run.start_s for run in self._by_start]
        self._pages = max(1, math.ceil(len({run.slot for run in runs}) / PAGE))
        self._sources = {run.source.name: _source(run.source.name) for run in runs}
        self._clock = clock
        self._budget = budget
        self._trial = trial
        self._trace = trace
        self._rng = random.Random(f"latency {seed}")
        self._in_flight = {priority: asyncio.Semaphore(IN_FLIGHT_MAX) for priority in Priority}

    async def sweep(self, seen: Callable[[Any], None] | None = None, watched: Collection[str] = ()) -> Sweep:
        """Discovery: a call for each page of the list, and one for each active run that is not watched already."""
        for _ in range(self._pages):
            active = await self._call("list", Priority.SWEEP, None, self._active)
        unread = [run.run_id for run in active if _BATCHES and run.run_id in watched]
        known = set(unread)
        read = await asyncio.gather(*(self._read(run, seen) for run in active if run.run_id not in known))
        snapshots = [] if _BATCHES and seen is not None else [each for each in read if each.state.is_active]
        answer: dict[str, Any] = {"snapshots": snapshots, "unread": unread, "pages": self._pages}
        return Sweep(**{name: value for name, value in answer.items() if name in _SWEEP_FIELDS})

    async def _read(self, run: RunSpec, seen: Callable[[Any], None] | None) -> Snapshot:
        draft = await self._call("sweep", Priority.SWEEP, run, lambda: self._shot(run, "sweep", inspected=False))
        snapshot = self._received(draft)
        if seen is not None and snapshot.state.is_active:
            seen([snapshot] if _BATCHES else snapshot)
        return snapshot

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        """One call, and with `progress` another at the same time, as on lobstr."""
        run = self._run(run_id)
        priority = Priority.URGENT if urgent else Priority.LOOK
        what = "urgent" if urgent else "look"
        look = self._call(what, priority, run, lambda: self._shot(run, what, inspected=True))
        if not progress:
            return self._received(await look)
        draft, share = await asyncio.gather(look, self._call("progress", priority, run, lambda: self._share(run)))
        return self._received(draft, share)

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        """One call; the run stops at the moment the request arrives."""
        run = self._run(run_id)
        return self._received(await self._call("abort", Priority.ABORT, run, lambda: self._stop(run)))

    async def explain(self, run_id: str, text: str) -> None:
        """There is no place for it."""

    async def check(self) -> str:
        """Always fine."""
        return "in memory"

    async def _call(self, kind: str, priority: Priority, run: RunSpec | None, act: Callable[[], T]) -> T:
        family = "squids" if run is None else "runs"
        async with self._budget.slot(family, priority), self._in_flight[priority]:
            half_s = LATENCY.draw(self._rng) / 2
            await self._clock.sleep(half_s)
            self._count(kind, run)
            answer = act()
            await self._clock.sleep(half_s)
            return answer

    def _count(self, kind: str, run: RunSpec | None) -> None:
        now_s = self._clock.monotonic()
        is_over = run is not None and now_s >= self._trial.ended_s(run)
        self._trial.calls_s.append(now_s)
        self._trial.calls_of[run.source.family if run else ""] += 1
        self._trial.kinds[f"{kind} after the end" if is_over else kind] += 1

    def _active(self) -> list[RunSpec]:
        now_s = self._clock.monotonic()
        started = self._by_start[: bisect_right(self._starts, now_s)]
        return [run for run in started if now_s < self._trial.ended_s(run)]

    def _run(self, run_id: str) -> RunSpec:
        run = self._runs.get(run_id)
        if run is None:
            raise Gone(f"no run {run_id}", account=ACCOUNT)
        return run

    def _stop(self, run: RunSpec) -> _Draft:
        now_s = self._clock.monotonic()
        if now_s >= self._trial.ended_s(run):
            raise Gone("Run not found or already completed", account=ACCOUNT)
        if run.shown(now_s) < run.source.limit:
            self._trial.false_kills += 1
        self._trial.aborted_s[run.run_id] = now_s
        return self._shot(run, "abort", inspected=True)

    def _share(self, run: RunSpec) -> Progress:
        return Progress(share=min(1.0, run.shown(self._clock.monotonic()) / (1.5 * run.source.limit)))

    def _shot(self, run: RunSpec, what: str, *, inspected: bool) -> _Draft:
        """What the platform shows now; frozen where the run has been stopped."""
        now_s = self._clock.monotonic()
        stopped_s = self._trial.aborted_s.get(run.run_id, math.inf)
        used = run.shown(min(now_s, stopped_s))
        if self._trace:
            self._trial.trace.append(TraceLine(run.run_id, now_s, what, used / run.source.limit))
        state = RunState.RUNNING
        if now_s >= stopped_s:
            state = RunState.ABORTED if now_s > stopped_s else RunState.STOPPED
        elif now_s >= run.ends_s:
            state = RunState.SUCCEEDED
        return _Draft(run, state, used, min(now_s, run.ends_s, stopped_s) - run.start_s, inspected)

    def _received(self, draft: _Draft, progress: Progress = _NO_PROGRESS) -> Snapshot:
        """The snapshot of an answer, as an adapter makes it when the answer is there."""
        run, now = draft.run, self._clock.now()
        begun = now - timedelta(seconds=self._clock.monotonic() - run.start_s)
        return Snapshot(
            account=ACCOUNT,
            platform=self.traits.name,
            run_id=run.run_id,
            source=self._sources[run.source.name],
            state=draft.state,
            status=draft.state.value,
            usage=Usage(credits=draft.used, duration_s=draft.duration_s),
            progress=progress,
            seen_at=now,
            inspected=draft.inspected,
            started_at=begun,
            finished_at=None if draft.state.is_active else begun + timedelta(seconds=draft.duration_s),
        )


@dataclass(frozen=True, slots=True)
class _Draft:
    """What the platform showed half-way through a call."""

    run: RunSpec
    state: RunState
    used: float
    duration_s: float
    inspected: bool


def _traits() -> PlatformTraits:
    known: dict[str, Any] = {
        "name": "lobstr",
        "modes": frozenset({Mode.IMMEDIATE}),
        "graceful_window_s": 0.0,
        "settle_s": 10.0,
        "default_poll_interval_s": None,
        "sweep_shows_usage": False,
    }
    names = {each.name for each in fields(PlatformTraits)}
    return PlatformTraits(**{name: value for name, value in known.items() if name in names})


def _source(name: str) -> Source:
    return Source(key=name, label=name, facets={"squid": (name,)}, id=name)


def _rules(runs: Sequence[RunSpec]) -> RuleSet:
    limits = {run.source.name: run.source.limit for run in runs}
    return RuleSet(
        tuple(
            Rule(name, Selector({"squid": (name,)}), {Meter.CREDITS: limit}) for name, limit in sorted(limits.items())
        )
    )


class _Observer:
    """Keeps what should not happen."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def notice(self, notice: Notice) -> None:
        """Remember faults; nothing on this platform ever fails."""
        if isinstance(notice, Trouble):
            self._trial.troubles.append(notice.message)
        elif isinstance(notice, PollFailed):
            self._trial.troubles.append(f"{notice.kind} failed: {notice.error}")


def ours(
    runs: Sequence[RunSpec],
    ledger: MemoryLedger,
    *,
    per_minute: int,
    horizon_s: float,
    policy: str = "ours",
    trace: bool = False,
    seed: int = 0,
    later: bool = False,
) -> Trial:
    """The real watch, agenda, enforcer and rate budget on this workload. What the ledger learns stays in it; `later`:
    it has been used before, a day ago."""
    trial = Trial(policy)
    epoch = EPOCH + _LATER if later else EPOCH
    run_virtually(_watch(runs, ledger, trial, per_minute, horizon_s, trace, seed, epoch))
    return trial


async def _watch(
    runs: Sequence[RunSpec],
    ledger: MemoryLedger,
    trial: Trial,
    per_minute: int,
    horizon_s: float,
    trace: bool,
    seed: int,
    epoch: datetime,
) -> None:
    clock, observer = VirtualClock(epoch), _Observer(trial)
    platform = MemoryPlatform(runs, clock, RateBudget(clock, per_minute), trial, trace=trace, seed=seed)
    memory, rulebook = Memory(clock), Rulebook(_rules(runs))
    enforcer = Enforcer({ACCOUNT: platform}, {ACCOUNT: memory}, rulebook, ledger, observer, clock)
    account = Account(
        AccountInfo("lobstr", ACCOUNT, platform.traits.modes),
        platform,
        rulebook,
        enforcer,
        ledger,
        observer,
        clock,
        memory,
        poll_interval_s=None,
        requests_per_minute=per_minute,
    )
    watch = Watch(account)
    if trace:
        _trace_plans(watch, trial, clock)
    tasks = [asyncio.create_task(watch.run()), asyncio.create_task(_keep_sweeping(watch, clock))]
    await clock.sleep(horizon_s + DRAIN_S)
    troubles = list(trial.troubles)
    watch.cancel()
    await _cancel(tasks)
    await enforcer.close(0.0)
    trial.troubles = troubles  # that aborts are cut short at the end is none


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


async def _keep_sweeping(watch: Watch, clock: VirtualClock) -> None:
    """What the daemon's scheduler does: a sweep each interval, a second at most while one is still under way."""
    under_way: set[asyncio.Task[None]] = set()
    try:
        await watch.sweep()
        while True:
            await clock.sleep(watch.interval_s)
            if len(under_way) < 2:
                task = asyncio.create_task(watch.sweep())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
    finally:
        for task in under_way:
            task.cancel()


def _trace_plans(watch: Watch, trial: Trial, clock: VirtualClock) -> None:
    """Write down each time that is set on the agenda."""
    plan = watch.agenda.set

    def noted(key: str, due_s: float) -> None:
        trial.trace.append(TraceLine(key, clock.monotonic(), "plan", due_s - clock.monotonic()))
        plan(key, due_s)

    watch.agenda.set = noted  # type: ignore[method-assign]  # only to look over its shoulder


# What ours is compared with


def oracle(runs: Sequence[RunSpec], horizon_s: float) -> Trial:
    """Looks at each run once, at the very moment its limit shows as reached, on a network without latency: no policy
    that only acts on what the platform shows can do better."""
    trial = Trial("oracle")
    for run in runs:
        if run.breach_s < horizon_s + DRAIN_S:
            trial.aborted_s[run.run_id] = run.breach_s
            trial.calls_s += [run.breach_s, run.breach_s]
            trial.calls_of[run.source.family] += 2
    return trial


@dataclass(frozen=True, slots=True)
class _Network:
    """What calls of one trial go over."""

    latency: Latency
    rng: random.Random

    def latency_s(self) -> float:
        """Of the next call."""
        return self.latency.draw(self.rng)


def fixed(
    runs: Sequence[RunSpec],
    period_s: float,
    horizon_s: float,
    *,
    per_minute: int | None = None,
    seed: int = 0,
    latency: Latency = LATENCY,
) -> Trial:
    """Polls every active run each `period_s` seconds at a random phase, one call a poll, and aborts on the first that
    shows the limit as reached. `per_minute` calls are allowed in any 60 s (None: any number); those that must wait
    do so first come, first served, a run at most once, but aborts go first."""
    trial = Trial(f"fixed {period_s:g} s")
    rng = random.Random(f"fixed {seed} {period_s}")
    phases, network = {run.run_id: rng.uniform(0.0, period_s) for run in runs}, _Network(latency, rng)
    if per_minute is None:
        for run in runs:
            _poll_alone(run, run.start_s + phases[run.run_id], period_s, horizon_s + DRAIN_S, trial, network)
    else:
        _Queue(runs, phases, period_s, per_minute, trial, network).serve(horizon_s + DRAIN_S)
    return trial


def _poll_alone(run: RunSpec, first_s: float, period_s: float, end_s: float, trial: Trial, network: _Network) -> None:
    """A run that waits for nobody: only the polls around its breach or end need to be played."""
    over_s = min(run.breach_s, run.ends_s, end_s)
    count = max(0, math.floor((over_s - network.latency.most_s - first_s) / period_s))
    while (at_s := first_s + count * period_s) < end_s:
        count += 1
        latency_s = network.latency_s()
        read_s = at_s + latency_s / 2
        if read_s >= over_s:
            if run.breach_s <= read_s < run.ends_s:
                _send_abort(trial, run, at_s + latency_s, network)
            break
    trial.calls_s += [first_s + number * period_s for number in range(count)]
    trial.calls_of[run.source.family] += count


def _send_abort(trial: Trial, run: RunSpec, at_s: float, network: _Network) -> None:
    """An abort request leaves; it has its effect when it arrives."""
    trial.calls_s.append(at_s)
    trial.calls_of[run.source.family] += 1
    arrives_s = at_s + network.latency_s() / 2
    if arrives_s < run.ends_s:
        trial.aborted_s[run.run_id] = arrives_s


class _Queue:
    """Polls of all runs behind one budget."""

    def __init__(
        self,
        runs: Sequence[RunSpec],
        phases: Mapping[str, float],
        period_s: float,
        per_minute: int,
        trial: Trial,
        network: _Network,
    ) -> None:
        self._period_s = period_s
        self._phases = phases
        self._per_minute = per_minute
        self._trial = trial
        self._network = network
        self._number = itertools.count()
        self._events = [(run.start_s + phases[run.run_id], next(self._number), False, run) for run in runs]
        heapq.heapify(self._events)
        self._polls: deque[RunSpec] = deque()
        self._aborts: deque[RunSpec] = deque()

    def serve(self, end_s: float) -> None:
        """Until the end of the simulation: whichever is first, something that comes due or a call that may leave."""
        now_s = 0.0
        while True:
            due_s = self._events[0][0] if self._events else math.inf
            leaves_s = max(now_s, self._free_s()) if self._aborts or self._polls else math.inf
            now_s = min(due_s, leaves_s)
            if now_s >= end_s:
                return
            if due_s <= leaves_s:
                _, _, is_abort, run = heapq.heappop(self._events)
                (self._aborts if is_abort else self._polls).append(run)
            elif self._aborts:
                _send_abort(self._trial, self._aborts.popleft(), now_s, self._network)
            else:
                self._poll(self._polls.popleft(), now_s)

    def _free_s(self) -> float:
        sent = self._trial.calls_s
        return 0.0 if len(sent) < self._per_minute else sent[-self._per_minute] + 60.0

    def _poll(self, run: RunSpec, at_s: float) -> None:
        self._trial.calls_s.append(at_s)
        self._trial.calls_of[run.source.family] += 1
        latency_s = self._network.latency_s()
        read_s = at_s + latency_s / 2
        if read_s >= run.ends_s:
            return
        if read_s >= run.breach_s:
            self._push(at_s + latency_s, run, is_abort=True)
            return
        first_s = run.start_s + self._phases[run.run_id]
        ticks = math.floor((at_s - first_s) / self._period_s + 1e-9) + 1
        self._push(max(first_s + ticks * self._period_s, at_s + 1e-6), run, is_abort=False)

    def _push(self, at_s: float, run: RunSpec, *, is_abort: bool) -> None:
        heapq.heappush(self._events, (at_s, next(self._number), is_abort, run))


# Figures


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a policy. Overshoots are shares of the limit, over the runs that broke theirs before the horizon;
    `excess` is what of it the oracle would have avoided. `peak`: the most requests in any 60 s."""

    policy: str
    breaches: int
    median: float
    p95: float
    most: float
    excess_median: float
    excess_p95: float
    excess_most: float
    calls_per_run_hour: float
    peak: int
    misses: int
    false_kills: int


@dataclass(slots=True)
class Sample:
    """Trials of one policy, over several seeds and possibly one family only, as they add up."""

    policy: str
    overshoots: list[float] = field(default_factory=list)
    excesses: list[float] = field(default_factory=list)
    calls: float = 0.0
    run_hours: float = 0.0
    peak: int = 0
    misses: int = 0
    false_kills: int = 0

    def add(self, trial: Trial, runs: Sequence[RunSpec], horizon_s: float, family: str | None = None) -> None:
        """Take one trial in. Of a single family, discovery calls are left out: they are everybody's."""
        end_s = horizon_s + DRAIN_S
        for run in runs:
            if family not in (None, run.source.family):
                continue
            self.run_hours += max(0.0, min(trial.ended_s(run), end_s) - run.start_s) / 3600.0
            if run.breach_s >= horizon_s:
                continue
            aborted_s = trial.aborted_s.get(run.run_id, math.inf)
            self.misses += aborted_s > end_s and run.ends_s > end_s
            at = run.overshoot(min(aborted_s, run.ends_s, end_s))
            self.overshoots.append(at)
            self.excesses.append(max(0.0, at - run.overshoot(run.breach_s)))
        self.calls += trial.calls_of.total() if family is None else trial.calls_of[family]
        self.peak = max(self.peak, most_in_window(trial.calls_s))
        self.false_kills += trial.false_kills

    def summary(self) -> Summary:
        """The figures."""
        median, p95, most = (quantile(self.overshoots, share) for share in (0.5, 0.95, 1.0))
        excess_median, excess_p95, excess_most = (quantile(self.excesses, share) for share in (0.5, 0.95, 1.0))
        return Summary(
            policy=self.policy,
            breaches=len(self.overshoots),
            median=median,
            p95=p95,
            most=most,
            excess_median=excess_median,
            excess_p95=excess_p95,
            excess_most=excess_most,
            calls_per_run_hour=self.calls / self.run_hours if self.run_hours else 0.0,
            peak=self.peak,
            misses=self.misses,
            false_kills=self.false_kills,
        )


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so many are not above; 0 of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def most_in_window(times_s: Sequence[float], window_s: float = 60.0) -> int:
    """The most moments within any half-open window."""
    ordered = sorted(times_s)
    first = most = 0
    for number, at_s in enumerate(ordered):
        while ordered[first] <= at_s - window_s + 1e-6:
            first += 1
        most = max(most, number - first + 1)
    return most


__all__ = [
    "DRAIN_S",
    "UNLIMITED_PER_MINUTE",
    "MemoryPlatform",
    "Sample",
    "Summary",
    "TraceLine",
    "Trial",
    "fixed",
    "most_in_window",
    "oracle",
    "ours",
    "quantile",
]
