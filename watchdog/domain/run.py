"""What is watched: a run, its source, its usage, and how it looked at one moment.

Values that are made for every run of every sweep are msgspec Structs: frozen like the dataclasses beside them, but
made ten times faster, smaller, and not followed by the garbage collector (nothing in them refers back), which is what
lets one process watch 100,000 runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage

V = TypeVar("V")


def replace(value: V, **changes: Any) -> V:
    """A frozen value of the domain with some fields changed, whichever of the two kinds it is."""
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **changes)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]  # not every V is a dataclass; ours are


class RunState(StrEnum):
    """Where a run is in its life, in words that hold for every platform.

    `unknown` is a status this version has never heard of: it counts as active, since a run that may still spend
    must stay watched. `stopped` is a run that collects and costs nothing any more although the platform has not yet
    named its end (lobstr's `uploading`).
    """

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    TIMING_OUT = "timing_out"
    ABORTING = "aborting"
    UNKNOWN = "unknown"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ABORTED = "aborted"

    # Equality is that of the text; so may its hash be, which is C and not Python: these are keys in every sweep.
    __hash__ = str.__hash__

    @property
    def is_active(self) -> bool:
        """Whether the run can still spend."""
        return self in _ACTIVE


_ACTIVE = frozenset(
    {RunState.PENDING, RunState.RUNNING, RunState.PAUSED, RunState.TIMING_OUT, RunState.ABORTING, RunState.UNKNOWN}
)
ACTIVE_STATES = tuple(state for state in RunState if state in _ACTIVE)


class CostBasis(StrEnum):
    """Where a cost in US dollars comes from: the platform's own figure; its prices times charged events, or times items
    of the dataset; credits times the price that the account's settings give."""

    PLATFORM = "platform"
    EVENTS = "events"
    ITEMS = "items"
    CREDITS = "credits"


@dataclass(frozen=True, slots=True)
class Source:
    """What a run is an execution of (actor/task, squid/crawler).

    `facets` maps a match key of the rules (`actor`, `task`, `squid`, `crawler`) to every name it goes by: for an
    Actor `owner/name`, `name` and the id. `unresolved` lists facets whose names are not known: a selector on one of
    those can neither be said to match nor not to match. `denied` are those of them that this account's token may not
    read, so that waiting does not help. A facet whose object is gone has no names but its id, and is in neither.
    `key` is unique for everything a selector can see of the source; equal keys have equal facets. `id` stays the same
    for ever, whatever names are known: the ledger's history of a source goes by it.
    """

    key: str
    label: str
    facets: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    unresolved: frozenset[str] = frozenset()
    id: str = ""
    denied: frozenset[str] = frozenset()


def joined(first: Source, *others: Source) -> Source:
    """The source of a run that is one of several (an Apify run that has metamorphed into another Actor): a selector
    that means any of them means it. It is labelled by the first."""
    if not others:
        return first
    every = (first, *others)
    facets: dict[str, tuple[str, ...]] = {}
    for source in every:
        for facet, names in source.facets.items():
            facets[facet] = tuple(dict.fromkeys((*facets.get(facet, ()), *names)))
    return Source(
        key=" > ".join(source.key for source in every),
        label=first.label,
        facets=facets,
        unresolved=frozenset().union(*(source.unresolved for source in every)),
        id=" > ".join(source.id for source in every),
        denied=frozenset().union(*(source.denied for source in every)),
    )


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far a run says it has come, for projections: share done from 0 to 1, results done and expected."""

    share: float | None = None
    results_done: int | None = None
    results_total: int | None = None


NO_PROGRESS = Progress()


class PlatformCap(msgspec.Struct, frozen=True, gc=False):
    """The stops that the platform itself would make: seconds of running time and US dollars; `None`: no such stop."""

    timeout_s: float | None = None
    max_total_charge_usd: float | None = None


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """A run as seen at one moment.

    `inspected` tells the detail call from the list call of a sweep. A figure that is `None` in a swept snapshot may
    only need an inspection; in an inspected one it is unknown. Every figure of `usage` is true or, where `most` has one
    too, a lower bound: the run has used at least this, and at most that (inf: nobody knows). Only `usage` is ever a
    reason to abort; `most` is one to look. `status` is the platform's own word for `state`. `seen_at` is UTC by our
    clock. `burn_cap_per_s` holds, per kind, a rate that usage provably cannot exceed (Apify compute units: memory).
    `cost_basis` says where the cost comes from (None: the platform's own figure, or no cost known). `seen_running_s`
    are the seconds of running time that passed before our eyes. `settling`: the run is over, and the platform itself
    says that its figures may still change.
    """

    account: str
    platform: str
    run_id: str
    source: Source
    state: RunState
    status: str
    usage: Usage
    seen_at: datetime
    inspected: bool
    origin: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    most: Usage = NOTHING_KNOWN
    resurrect_count: int | None = None
    progress: Progress = NO_PROGRESS
    cap: PlatformCap = PlatformCap()
    burn_cap_per_s: Mapping[Meter, float] = {}  # a Struct copies it
    end_reason: str | None = None
    cost_basis: CostBasis | None = None
    seen_running_s: float = 0.0
    settling: bool = False

    @property
    def key(self) -> RunKey:
        """Identity of the run across platforms and accounts."""
        return (self.account, self.run_id)


RunKey = tuple[str, str]
