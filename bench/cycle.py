"""One cycle over 10,000 Apify runs of 200 Actors with 20 rules, 100 of them in breach: from the start of the sweep to
the answer of the last abort. Ours against the loop over the official client, and against the floor."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from bench.builds import OLD, Build, Hosted
from bench.child import Child, hosted
from bench.contenders import Bare, Floor, Naive, Ours, Task
from bench.fleet import FleetSpec, make_actors, make_rules
from bench.frame import Figure, Sample, at_least, at_most, cpus, interleaved, median_ratio, walls
from bench.profile import Breakdown
from bench.server import Server

NAIVE, FLOOR, OURS = "official client", "floor", "ours"
#: No target: it shows what httpx takes for its comfort.
BARE = "bare aiohttp"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. The official client gets `slow_rounds`, all others `rounds`; in the cold all get
    `cold_rounds`."""

    runs: int = 10_000
    actors: int = 200
    rules: int = 20
    crossing: int = 100
    rounds: int = 5
    slow_rounds: int = 3
    cold_rounds: int = 3
    profiles: int = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of the races where one Actor's runs have a limit on compute units, and where all have."""

    few: Size
    many: Size | None


FULL = Plan(
    Size(rounds=3, slow_rounds=2, profiles=1), Size(runs=3_000, crossing=30, rounds=1, slow_rounds=1, profiles=0)
)
QUICK = Plan(
    Size(rounds=3, slow_rounds=2, cold_rounds=1, profiles=1),
    Size(runs=2_000, crossing=20, rounds=1, slow_rounds=1, profiles=0),
)


@dataclass(slots=True)
class Race:
    """The results under one condition by contender."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    requests: dict[str, dict[str, int]] = field(default_factory=dict)


def run(quick: bool = False, plan: Plan | None = None) -> list[Figure]:
    """The figures of this group.

    Three conditions: warm (the cycle of a daemon that has been running), cold (its first: names are not known), and
    warm with a limit on the compute units of every run. Those are not in the list of runs: who keeps nothing between
    cycles must look at each run; who knows its memory can tell the most that it can have used.
    """
    plan = plan or (QUICK if quick else FULL)
    return [*_few_units(plan.few), *(_many_units(plan.many) if plan.many else [])]


def _few_units(size: Size) -> list[Figure]:
    with Server(fleet(size)) as server, Contenders(server, size, units=False) as contenders:
        warm = _race(server, contenders.children, size, cold=False)
        rare = replace(size, rounds=size.cold_rounds, slow_rounds=size.cold_rounds)
        cold = _race(server, contenders.children, rare, cold=True)
        ours = contenders.children[OURS]
        profiles = [_profile(server, ours) for _ in range(size.profiles)]
        threads = _threads(server, ours)
    return [
        *_compared(warm, f"cycle of {size.runs:,} runs, warm", targets=True),
        *_compared(cold, f"cycle of {size.runs:,} runs, cold", targets=False),
        *_shares(profiles, threads),
    ]


def _many_units(size: Size) -> list[Figure]:
    with Server(fleet(size)) as server, Contenders(server, size, units=True) as contenders:
        race = _race(server, contenders.children, size, cold=False)
    return _compared(race, f"cycle of {size.runs:,} runs, warm, compute units limited", targets=True)


def fleet(size: Size) -> FleetSpec:
    """The account that they all watch."""
    return FleetSpec(runs=size.runs, actors=size.actors, crossing=size.crossing)


class Contenders:
    """Each in a process of its own; with `old` also the earlier build of ours, driven by its own benchmark."""

    def __init__(
        self, server: Server, size: Size, *, units: bool, old: Build | None = None, without: Collection[str] = ()
    ) -> None:
        actors = make_actors(size.actors)
        rules = tuple(make_rules(size.rules, actors, units=units))
        task = Task(server.url, server.token, rules, size.crossing, tuple(actor.id for actor in actors))
        kinds = {NAIVE: Naive, FLOOR: Floor, BARE: Bare, OURS: Ours}
        self.children: dict[str, Child | Hosted] = {
            name: hosted(kind, task) for name, kind in kinds.items() if name not in without
        }
        if old is not None:
            self.children[OLD] = old.hosted("ours", task)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self.children.values():
            child.close()


def _race(server: Server, children: Mapping[str, Child | Hosted], size: Size, *, cold: bool) -> Race:
    """All but the official client are quick, so they may get more rounds."""
    race = Race()

    def runner(name: str) -> Callable[[], Sample]:
        return lambda: once(server, children[name], name, race, size, cold=cold)

    with_slow = interleaved({name: runner(name) for name in children}, size.slow_rounds)
    quick = interleaved({name: runner(name) for name in children if name != NAIVE}, size.rounds - size.slow_rounds)
    race.samples = {name: with_slow[name] + quick.get(name, []) for name in children}
    return race


def once(server: Server, child: Child | Hosted, name: str, race: Race, size: Size, *, cold: bool) -> Sample:
    """One cycle of this one, after everything on the platform runs again."""
    server.reset()
    child.call("begin", cold)
    server.reset(crossed=True)
    sample = Sample(*child.call("cycle"))
    race.requests[name], aborts = server.seen()
    child.call("end")
    if len(aborts) != size.crossing:
        raise AssertionError(f"{name}: {len(aborts)} runs were aborted instead of {size.crossing}")
    return sample


def _profile(server: Server, ours: Child | Hosted) -> Breakdown:
    server.reset()
    ours.call("begin", False)
    server.reset(crossed=True)
    breakdown: Breakdown = ours.call("profiled")
    ours.call("end")
    return breakdown


def _threads(server: Server, ours: Child | Hosted) -> float:
    """The share of processor time that a cycle of ours uses in the ledger's thread."""
    server.reset()
    ours.call("begin", False)
    server.reset(crossed=True)
    sample: Sample = ours.call("cycle")
    share: float = ours.call("threads_cpu") / sample.cpu_s
    ours.call("end")
    return share


def _compared(race: Race, what: str, *, targets: bool) -> list[Figure]:
    """Targets hold for the warm cycle, which is what a daemon does all day."""
    ours, floor, naive = (race.samples[name] for name in (OURS, FLOOR, NAIVE))
    shared = len(naive)
    bare = Figure(
        f"{what}: wall time against bare aiohttp",
        _ms(walls(ours)),
        "ms",
        BARE,
        _ms(walls(race.samples[BARE])),
        median_ratio(walls(ours), walls(race.samples[BARE])),
    )
    return [
        Figure(
            f"{what}: wall time",
            _ms(walls(ours)),
            "ms",
            NAIVE,
            _ms(walls(naive)),
            median_ratio(walls(naive), walls(ours[:shared])),
            ratio_is="compared / value",
            target=at_least(40, "ratio") if targets else None,
            note=_requests(race),
        ),
        Figure(
            f"{what}: wall time against the floor",
            _ms(walls(ours)),
            "ms",
            FLOOR,
            _ms(walls(floor)),
            median_ratio(walls(ours), walls(floor)),
            target=at_most(2, "ratio") if targets else None,
        ),
        Figure(
            f"{what}: processor time",
            _ms(cpus(ours)),
            "ms",
            NAIVE,
            _ms(cpus(naive)),
            median_ratio(cpus(naive), cpus(ours[:shared])),
            ratio_is="compared / value",
        ),
        Figure(
            f"{what}: processor time against the floor",
            _ms(cpus(ours)),
            "ms",
            FLOOR,
            _ms(cpus(floor)),
            median_ratio(cpus(ours), cpus(floor)),
        ),
        bare,
    ]


def _ms(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1e3


def _requests(race: Race) -> str:
    """How many requests each needed up to the time when it was asked."""
    return "requests: " + "; ".join(f"{name} {sum(counts.values())}" for name, counts in race.requests.items())


def _shares(profiles: Sequence[Breakdown], threads: float) -> list[Figure]:
    """Where ours spends its time: shares of the busy time of the event loop's thread, by cProfile."""
    if not profiles:
        return []
    places = sorted({place for profile in profiles for place in profile.places} - {"waiting"})
    shares = {place: statistics.median(_share(profile, place) for profile in profiles) for place in places}
    figures = [
        Figure(f"cycle, warm: share of {place}", share * 100, "%", note="own time by cProfile, waiting left out")
        for place, share in sorted(shares.items(), key=lambda item: -item[1])
    ]
    heaviest = "; ".join(f"{name} {seconds * 1e3:.1f} ms/{calls}" for name, seconds, calls in profiles[-1].top[:12])
    note = f"of all processor time, beside the above; heaviest functions of the loop: {heaviest}"
    return [*figures, Figure("cycle, warm: share of the ledger's thread", threads * 100, "%", note=note)]


def _share(profile: Breakdown, place: str) -> float:
    busy = sum(seconds for name, seconds in profile.places.items() if name != "waiting")
    return profile.places.get(place, 0.0) / busy
