"""What became lighter and faster since an earlier build: both in turn in one run, beside the floors and the loop over
the official client where those are what counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from bench import metrics_page, weight
from bench.builds import OLD, Build, Hosted, builds
from bench.child import hosted
from bench.contenders import Task
from bench.cycle import BARE, FLOOR, NAIVE, OURS, Contenders, Race, fleet, once
from bench.cycle import Size as CycleSize
from bench.fleet import FleetSpec, make_actors, make_rules
from bench.frame import Figure, Sample, Target, at_least, at_most, interleaved, median_ratio, percentile, walls
from bench.limits import TREES
from bench.server import Server

TODAY = "today"
#: What a daemon cannot be without, with all that these import by themselves.
LIBRARIES = (
    "asyncio",
    "sqlite3",
    "ssl",
    "aiohttp",
    "apscheduler.schedulers.asyncio",
    "click",
    "httpx",
    "msgspec",
    "prometheus_client",
    "pydantic_settings",
    "sqlalchemy.dialects.sqlite",
    "starlette.applications",
    "structlog",
    "uvicorn",
    "watchfiles",
    "yaml",
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. `rounds` of warm cycles, `slow_rounds` of those that take many looks (cold, compute units);
    `starts` of a daemon, each left to rest for `rest_s`; `memories` processes that watch `watched` runs; `takings` of a
    warm sweep, each the median of `taking_rounds`; `scrapings` of the page for so many seconds with sweeps, and as many
    without."""

    warm: CycleSize = field(default_factory=CycleSize)
    units: CycleSize = field(default_factory=lambda: CycleSize(runs=3_000, crossing=30))
    rounds: int = 7
    slow_rounds: int = 5
    starts: int = 9
    rest_s: float = 3.0
    watched: int = 100_000
    memories: int = 3
    takings: int = 5
    taking_rounds: int = 9
    page: metrics_page.Size = field(default_factory=lambda: metrics_page.Size(seconds=4.0))
    scrapings: int = 5


FULL = Size()
QUICK = Size(
    units=CycleSize(runs=1_000, crossing=10),
    rounds=3,
    slow_rounds=2,
    starts=3,
    rest_s=2.0,
    watched=30_000,
    memories=1,
    takings=2,
    taking_rounds=3,
    page=metrics_page.Size(seconds=2.0),
    scrapings=2,
)


def run(quick: bool = False, size: Size | None = None, measured: Sequence[Build] = ()) -> list[Figure]:
    """The figures of this group; `measured`: today's build first, then the earlier one if it is there."""
    size = size or (QUICK if quick else FULL)
    measured = measured or builds(TREES)
    return [
        *_cycles(measured, size),
        *_daemons(measured, size),
        *_memory(measured, size),
        *_taking(measured, size),
        *_pages(measured, size),
    ]


# --- cycles ----------------------------------------------------------------------------------------------------------


def _cycles(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    old = measured[1] if len(measured) > 1 else None
    # The official client is only there for the benchmarks.
    without = () if find_spec("apify_client") else (NAIVE,)
    with (
        Server(fleet(size.warm)) as server,
        Contenders(server, size.warm, units=False, old=old, without=without) as contenders,
    ):
        warm = _race(server, contenders, size.warm, size.rounds)
        cold = _race(server, contenders, size.warm, size.slow_rounds, cold=True)
    with (
        Server(fleet(size.units)) as server,
        Contenders(server, size.units, units=True, old=old, without=(NAIVE,)) as contenders,
    ):
        units = _race(server, contenders, size.units, size.slow_rounds)
    yield from _warm(warm, f"cycle of {size.warm.runs:,} runs, warm")
    yield from _warm(units, f"cycle of {size.units.runs:,} runs, warm, compute units limited")
    what = f"cycle of {size.warm.runs:,} runs, cold"
    if NAIVE in cold:
        yield _ratio(cold, what, NAIVE, at_least(1, "ratio"), turned=True)
    if OLD in cold:
        yield _ratio(cold, what, OLD, at_most(0.45, "ratio"))
    yield _ratio(cold, what, FLOOR, None)


def _race(
    server: Server, contenders: Contenders, size: CycleSize, rounds: int, *, cold: bool = False
) -> dict[str, list[Sample]]:
    """The official client, which is slow, only takes part in the cold, where it is what counts."""
    race = Race()

    def runner(name: str) -> Callable[[], Sample]:
        return lambda: once(server, contenders.children[name], name, race, size, cold=cold)

    return interleaved({name: runner(name) for name in contenders.children if cold or name != NAIVE}, rounds)


def _warm(race: Mapping[str, list[Sample]], what: str) -> Iterator[Figure]:
    """Ours against the floor, and how the earlier build stood against it."""
    yield _ratio(race, what, FLOOR, at_most(2, "ratio"))
    if OLD in race:
        yield _ratio(race, f"{what}: {OLD}", FLOOR, None, who=OLD)
        yield _ratio(race, what, OLD, None)
    yield _ratio(race, what, BARE, None)


def _ratio(
    race: Mapping[str, list[Sample]],
    what: str,
    base: str,
    target: Target | None,
    *,
    who: str = OURS,
    turned: bool = False,
) -> Figure:
    """Medians, and the median of the ratios of each round; `turned`: how many times as fast."""
    upper, lower = walls(race[who]), walls(race[base])
    return Figure(
        f"{what}, against {base}",
        statistics.median(upper) * 1e3,
        "ms",
        base,
        statistics.median(lower) * 1e3,
        median_ratio(lower, upper) if turned else median_ratio(upper, lower),
        ratio_is="compared / value" if turned else "value / compared",
        target=target,
        note=f"{len(upper)} rounds, between {min(upper) * 1e3:.0f} and {max(upper) * 1e3:.0f} ms",
    )


# --- the whole daemon ------------------------------------------------------------------------------------------------


def _daemons(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    with ExitStack() as stack:
        url = stack.enter_context(hosted(weight.Platforms, 10)).call("url")
        homes = {build.name: stack.enter_context(weight.Home(build, url)) for build in measured}
        for home in homes.values():
            # Makes the ledger, and the compiled files.
            home.live(0)
        turns = {name: (lambda home=home: home.live(size.rest_s)) for name, home in homes.items()}
        lives = interleaved(turns, size.starts)
    what = "of a daemon over two accounts with 10 runs each"
    libraries_mb = weight.imported_mb(LIBRARIES)
    yield _weighed(
        f"resident memory {what}, idle",
        "MB",
        {name: [each.resident_mb for each in found] for name, found in lives.items()},
        at_most(0.6, "ratio"),
        f"{statistics.median(each.anonymous_mb for each in lives[TODAY]):.1f} MB of it are backed by no file; "
        f"a process that only imports the libraries takes {libraries_mb:.1f} MB",
    )
    yield _weighed(
        f"from the start {what} to the end of the first sweep of both",
        "ms",
        {name: [each.start_s * 1e3 for each in found] for name, found in lives.items()},
        at_most(0.5, "ratio"),
        "by the line in the log; the ledger is there already",
    )
    yield _weighed(
        f"from the start {what} to the end of the first sweep of both: processor time",
        "ms",
        {name: [each.start_cpu_s * 1e3 for each in found] for name, found in lives.items()},
        None,
        "",
    )


def _weighed(name: str, unit: str, found: Mapping[str, Sequence[float]], target: Target | None, note: str) -> Figure:
    """Today's median beside that of the earlier build; without one there is nothing to reach."""
    ours, theirs = found[TODAY], found.get(OLD)
    if theirs is None:
        return Figure(name, statistics.median(ours), unit, note=note)
    ratio = median_ratio(ours, theirs)
    return Figure(name, statistics.median(ours), unit, OLD, statistics.median(theirs), ratio, target=target, note=note)


# --- per run ---------------------------------------------------------------------------------------------------------


def _memory(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    rules = tuple(make_rules(20, make_actors(200)))

    def per_run(build: Build) -> float:
        with build.hosted("account", Task(server.url, server.token, rules, 0)) as account:
            found = account.call("memory")
        grown: float = found["watching"] - found["before"]
        return grown / size.watched

    with Server(FleetSpec(runs=size.watched, crossing=0)) as server:
        turns = {build.name: (lambda build=build: per_run(build)) for build in measured}
        found = interleaved(turns, size.memories)
    note = "resident memory of the whole process, less that before the first sweep"
    figure = _weighed(f"memory per watched run, {size.watched:,} runs", "bytes", found, None, note)
    yield replace(figure, target=at_most(1_200))


def _taking(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    with ExitStack() as stack:
        hosts = {
            build.name: stack.enter_context(build.hosted("taking", size.warm.runs, size.warm.actors, 100))
            for build in measured
        }
        turns = {name: (lambda host=host: host.call("take", size.taking_rounds)) for name, host in hosts.items()}
        found = interleaved(turns, size.takings)
    for name, each in found.items():
        takes, decodes = [one["take_s"] for one in each], [one["decode_s"] for one in each]
        yield Figure(
            f"take in a warm sweep of {size.warm.runs:,} runs, per run" + (f": {OLD}" if name == OLD else ""),
            statistics.median(takes) * 1e6,
            "us",
            "decoding the same runs",
            statistics.median(decodes) * 1e6,
            median_ratio(takes, decodes),
            target=at_most(3, "ratio") if name == TODAY else None,
            note="all that the poller does with a run of a sweep: remember, judge, plan, count",
        )


# --- /metrics --------------------------------------------------------------------------------------------------------


def _pages(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    specs, rules = metrics_page.fleets(size.page), metrics_page.rules(size.page)
    with ExitStack() as stack:
        server = stack.enter_context(Server(specs))
        scraper = stack.enter_context(hosted(metrics_page.Scraper))
        pages = {
            build.name: stack.enter_context(build.hosted("page", server.url, list(specs), rules)) for build in measured
        }
        ports = {name: page.call("port") for name, page in pages.items()}

        def scraped(page: Hosted, port: int, sweeping: bool) -> list[float]:
            found, _ = metrics_page.phase(page, scraper, port, size.page, sweeping=sweeping)
            return found.latencies_s

        def both(name: str) -> tuple[list[float], list[float]]:
            return scraped(pages[name], ports[name], False), scraped(pages[name], ports[name], True)

        found = interleaved({name: (lambda name=name: both(name)) for name in pages}, size.scrapings)
    for name, rounds in found.items():
        quiet = [percentile(still, 0.99) for still, _ in rounds]
        busy = [percentile(swept, 0.99) for _, swept in rounds]
        yield Figure(
            "/metrics during sweeps, p99" + (f": {OLD}" if name == OLD else ""),
            statistics.median(busy) * 1e3,
            "ms",
            "without sweeps",
            statistics.median(quiet) * 1e3,
            median_ratio(busy, quiet),
            target=at_most(1.5, "ratio") if name == TODAY else None,
            note=f"{len(rounds)} rounds of {size.page.seconds:.0f} s each; {size.page.rules} rules, "
            f"{size.page.accounts} accounts, sweeps without a pause",
        )
