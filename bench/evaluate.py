"""Decoding a page and judging its runs, per run, without a network."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import msgspec

from bench.fleet import FleetSpec, PlainRule, make_actors, make_rules, make_runs
from bench.frame import Figure, Sample, Stopwatch, at_most, interleaved, median_ratio, timed, walls
from bench.memory_platform import MemoryPlatform, rule_set, snapshots_of, watch_over
from bench.server import PAGE_MAX, Fleet
from watchdog.domain.notice import Notice
from watchdog.domain.run import Snapshot
from watchdog.engine.evaluate import Evaluator
from watchdog.platforms.apify_wire import PageAnswer


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    runs: int = 10_000
    rules: int = 100
    actors: int = 200
    rounds: int = 9


FULL = Size()
QUICK = Size(rounds=4)


class _Nobody:
    """An observer that does not listen."""

    def notice(self, notice: Notice) -> None:
        """Nothing."""


def run(quick: bool = False, size: Size | None = None) -> list[Figure]:
    """The figures of this group."""
    size = size or (QUICK if quick else FULL)
    spec = FleetSpec(runs=size.runs, actors=size.actors, crossing=0)
    bodies = _pages(spec)
    snapshots = snapshots_of(make_runs(spec))
    rules = make_rules(size.rules, make_actors(size.actors))
    works = {
        "decode": lambda: _decode(bodies),
        "generic": lambda: _decode_generic(bodies),
        "cold": lambda: _screen(Evaluator(rule_set(rules)), snapshots),
        "warm": _warm(rules, snapshots),
        "verdicts": _verdicts(rules, snapshots),
        "fnmatch": lambda: _naive(rules, snapshots),
    }
    slow = {"fnmatch"}
    samples = interleaved({name: _timing(work) for name, work in works.items() if name not in slow}, size.rounds)
    samples |= interleaved({name: _timing(works[name]) for name in slow}, 2)
    samples["poller"] = _poller(spec, rules, size.rounds)
    return _figures(samples, size)


def _timing(work: Callable[[], object]) -> Callable[[], Sample]:
    def once() -> Sample:
        gc.collect()
        return timed(work)

    return once


def _pages(spec: FleetSpec) -> list[bytes]:
    fleet = Fleet(spec)
    return [fleet.page(offset, PAGE_MAX) for offset in range(0, spec.runs, PAGE_MAX)]


def _decode(bodies: Sequence[bytes]) -> None:
    """As the adapter does it: a page into its structs."""
    decoder = msgspec.json.Decoder(PageAnswer)
    for body in bodies:
        decoder.decode(body)


def _decode_generic(bodies: Sequence[bytes]) -> None:
    """Into dictionaries, with the same library."""
    for body in bodies:
        msgspec.json.decode(body)


def _screen(evaluator: Evaluator, snapshots: Sequence[Snapshot]) -> int:
    """What a sweep asks of each run: is any figure at the lowest limit of its kind?"""
    suspects = 0
    for snapshot in snapshots:
        used = snapshot.usage
        for kind, limit in evaluator.limits(snapshot).lowest:
            figure = used.of(kind)
            if figure is not None and figure >= limit:
                suspects += 1
                break
    return suspects


def _warm(rules: Sequence[PlainRule], snapshots: Sequence[Snapshot]) -> Callable[[], int]:
    evaluator = Evaluator(rule_set(rules))
    _screen(evaluator, snapshots)
    return lambda: _screen(evaluator, snapshots)


def _verdicts(rules: Sequence[PlainRule], snapshots: Sequence[Snapshot]) -> Callable[[], None]:
    """Every limit of every run with its verdict, which only inspections need."""
    evaluator = Evaluator(rule_set(rules))

    def work() -> None:
        for snapshot in snapshots:
            evaluator.verdicts(snapshot)

    return work


def _naive(rules: Sequence[PlainRule], snapshots: Sequence[Snapshot]) -> int:
    """Every rule on every run, by name."""
    suspects = 0
    for snapshot in snapshots:
        name, used = snapshot.source.label, snapshot.usage
        for rule in rules:
            if fnmatch(name, rule.actor) and _is_over(rule, used.cost_usd or 0.0, used.duration_s or 0.0):
                suspects += 1
    return suspects


def _is_over(rule: PlainRule, usd: float, seconds: float) -> bool:
    if rule.max_cost_usd is not None and usd >= rule.max_cost_usd:
        return True
    return rule.max_duration_s is not None and seconds >= rule.max_duration_s


def _poller(spec: FleetSpec, rules: Sequence[PlainRule], rounds: int) -> list[Sample]:
    """All that the poller does with the runs of a sweep, warm: remember, judge, plan, count. (The rule on compute units
    is left out: it would have runs inspected.)"""

    async def work() -> list[Sample]:
        platform = MemoryPlatform(make_runs(spec))
        plain = [rule for rule in rules if rule.max_credits is None]
        watch, _ = watch_over(platform, rule_set(plain), _Nobody())
        samples = []
        for _ in range(rounds + 1):
            platform.refresh()
            gc.collect()
            samples.append(await _sweep(watch.sweep))
        watch.cancel()
        return samples[1:]

    return asyncio.run(work())


async def _sweep(sweep: Callable[[], Awaitable[None]]) -> Sample:
    watch = Stopwatch()
    await sweep()
    return watch.stop()


def _figures(samples: dict[str, list[Sample]], size: Size) -> list[Figure]:
    def per_run_us(name: str) -> float:
        return statistics.median(walls(samples[name])) / size.runs * 1e6

    def against_decode(name: str) -> float:
        return median_ratio(walls(samples[name]), walls(samples["decode"]))

    decode, naive = per_run_us("decode"), per_run_us("fnmatch")
    what = f"{size.rules} rules x {size.runs:,} runs"
    return [
        Figure(
            "decode a page, per run",
            decode,
            "us",
            "into dictionaries",
            per_run_us("generic"),
            median_ratio(walls(samples["generic"]), walls(samples["decode"])),
            ratio_is="compared / value",
        ),
        Figure(
            f"evaluate {what}, warm, per run",
            per_run_us("warm"),
            "us",
            "decoding the same runs",
            decode,
            against_decode("warm"),
            target=at_most(3, "ratio"),
            note="what a sweep asks of each run: is a figure at the lowest limit of its kind?",
        ),
        Figure(
            f"evaluate {what}, cold, per run",
            per_run_us("cold"),
            "us",
            "decoding the same runs",
            decode,
            against_decode("cold"),
            note="no source seen before",
        ),
        Figure(
            f"evaluate {what}, warm, against fnmatch",
            per_run_us("warm"),
            "us",
            "fnmatch per rule and run",
            naive,
            naive / per_run_us("warm"),
            ratio_is="compared / value",
        ),
        Figure(
            f"every verdict, {what}, per run",
            per_run_us("verdicts"),
            "us",
            "decoding the same runs",
            decode,
            against_decode("verdicts"),
            note="only inspections need them",
        ),
        Figure(
            f"take in a warm sweep, {what}, per run",
            per_run_us("poller"),
            "us",
            "decoding the same runs",
            decode,
            per_run_us("poller") / decode,
            note="all that the poller does with a run: remember, judge, plan, count",
        ),
    ]
