"""The runs and rules that are measured: made from a seed, the same in every process that needs them."""

from __future__ import annotations

import random
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_ALPHABET = string.ascii_letters + string.digits
_OWNERS = (
    "compass",
    "apify",
    "clockworks",
    "acme",
    "dtrungtin",
    "lukaskrivka",
    "epctex",
    "voyager",
    "jupri",
    "misceres",
)
_TOPICS = ("maps", "reviews", "tiktok", "jobs", "prices", "hotels", "search", "profiles", "listings", "news")
#: A limit on cost that no calm run comes near, and what a run costs that has crossed every limit.
_COST_MIN_USD, _COST_MAX_USD, BREACH_USD = 5.0, 50.0, 60.0
_CALM_MAX_USD = 3.0
#: Compute units: 4 GB for 100 hours.
_UNITS_MAX = 400.0
_DURATIONS_S = (4 * 3600, 6 * 3600, 8 * 3600, 12 * 3600)
MEMORY_MBYTES = (1024, 2048, 4096)


@dataclass(frozen=True, slots=True)
class Actor:
    """An Actor: what the list knows of it (the id), and what rules go by."""

    id: str
    owner: str
    name: str

    @property
    def label(self) -> str:
        """As rules write it."""
        return f"{self.owner}/{self.name}"


@dataclass(frozen=True, slots=True)
class PlainRule:
    """A rule in the simplest form: one glob on `owner/name`, at most one limit of each kind (USD, seconds, CU)."""

    name: str
    actor: str
    max_cost_usd: float | None = None
    max_duration_s: float | None = None
    max_credits: float | None = None
    action: str = "abort"


@dataclass(frozen=True, slots=True)
class FleetRun:
    """A run. `crosses`: whether it is one of those that the server can let cross their limits."""

    id: str
    actor: Actor
    started_at: datetime
    memory_mbytes: int
    cost_usd: float
    origin: str
    crosses: bool


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """What to make. `starts_s`: epoch seconds of the start of each run, instead of some time in the last hour."""

    runs: int = 10_000
    actors: int = 200
    crossing: int = 100
    seed: int = 7
    starts_s: Sequence[float] | None = None
    made_at_s: float = 0.0

    def now(self) -> FleetSpec:
        """The same with its start times counted from now."""
        return FleetSpec(self.runs, self.actors, self.crossing, self.seed, self.starts_s, time.time())


def make_id(rng: random.Random) -> str:
    """17 characters, as Apify's are."""
    return "".join(rng.choices(_ALPHABET, k=17))


def make_actors(count: int, seed: int = 7) -> list[Actor]:
    """So many Actors of ten owners."""
    rng = random.Random(f"actors {seed}")
    return [
        Actor(make_id(rng), _OWNERS[n % len(_OWNERS)], f"{_TOPICS[n // len(_OWNERS) % len(_TOPICS)]}-scraper-{n}")
        for n in range(count)
    ]


def make_runs(spec: FleetSpec) -> list[FleetRun]:
    """Running runs, spread over the Actors at random; those that can cross are spread over the list evenly."""
    rng = random.Random(spec.seed)
    actors = make_actors(spec.actors, spec.seed)
    every = max(1, spec.runs // spec.crossing) if spec.crossing else 0
    crossing = {number * every for number in range(spec.crossing)}
    made_at = spec.made_at_s or time.time()
    runs = []
    for number in range(spec.runs):
        start_s = spec.starts_s[number] if spec.starts_s else made_at - rng.uniform(60, 3600)
        runs.append(
            FleetRun(
                id=make_id(rng),
                actor=rng.choice(actors),
                started_at=datetime.fromtimestamp(round(start_s, 3), UTC),
                memory_mbytes=rng.choice(MEMORY_MBYTES),
                cost_usd=round(rng.uniform(0, _CALM_MAX_USD), 6),
                origin=rng.choice(("API", "SCHEDULER", "WEB")),
                crosses=number in crossing,
            )
        )
    return runs


def make_rules(count: int, actors: Sequence[Actor], seed: int = 7, *, units: bool = False) -> list[PlainRule]:
    """Rules as people write them: one for everything, one on compute units of one Actor, and globs over owners and
    kinds of Actors with limits on cost and on duration. With `units` the one for everything limits compute units too,
    which the list of runs does not tell. Every run has some limit; calm runs are far from all."""
    rng = random.Random(f"rules {seed}")
    rules = [
        PlainRule("everything", "*", _COST_MAX_USD, 24 * 3600, _UNITS_MAX if units else None),
        PlainRule("units-of-one", actors[0].label, max_credits=_UNITS_MAX),
    ]
    while len(rules) < count:
        number = len(rules)
        cost = round(rng.uniform(_COST_MIN_USD, _COST_MAX_USD), 2)
        duration = float(rng.choice(_DURATIONS_S))
        owner, topic = rng.choice(_OWNERS), rng.choice(_TOPICS)
        glob = (f"{owner}/*", f"*/{topic}-*", f"{owner}/{topic}-*")[number // 3 % 3]
        match number % 3:
            case 0:
                rules.append(PlainRule(f"rule-{number}", glob, max_cost_usd=cost))
            case 1:
                rules.append(PlainRule(f"rule-{number}", glob, max_duration_s=duration))
            case _:
                rules.append(PlainRule(f"rule-{number}", glob, max_cost_usd=cost, max_duration_s=duration))
    return rules[:count]


def write_rules(rules: Sequence[PlainRule], path: Path) -> Path:
    """The same rules as a rule file of ours."""
    path.write_text("rules:\n" + "".join(map(_as_yaml, rules)), encoding="utf-8")
    return path


def _as_yaml(rule: PlainRule) -> str:
    limits = {
        "max_cost_usd": rule.max_cost_usd,
        "max_duration": f"{rule.max_duration_s:g}s" if rule.max_duration_s is not None else None,
        "max_credits": rule.max_credits,
    }
    inner = ", ".join(f"{key}: {value}" for key, value in limits.items() if value is not None)
    return (
        f"  - name: {rule.name}\n"
        f'    match: {{platform: apify, actor: "{rule.actor}"}}\n'
        f"    limits: {{{inner}}}\n"
        f"    action: {rule.action}\n"
    )
