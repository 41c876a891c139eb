"""What is allowed: selectors, limits, rules, and the exceptions to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum

from watchdog.domain.glob import Handles, Matcher, fold
from watchdog.domain.limit import Do, Limit, Step
from watchdog.domain.meter import Meter
from watchdog.domain.run import Snapshot, Source

#: Match keys that look at the run or its account; every other key is a facet of the source.
RUN_KEYS = ("platform", "account", "run_id", "origin")


class Matched(Enum):
    """The answer of a selector; `UNSURE` where the names or the origin that it needs are not known (yet)."""

    YES = "yes"
    NO = "no"
    UNSURE = "unsure"


class Action(StrEnum):
    """What a breached rule asks for."""

    ABORT = "abort"
    NOTIFY = "notify"


@dataclass(frozen=True, slots=True)
class Selector:
    """Which runs are meant: every key must match one of its globs. An empty selector is every run.

    `place`: where it was written (`rules/maps.yaml:12`), for messages and metrics.
    """

    globs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    place: str = field(default="", compare=False, repr=False)
    _matchers: Mapping[str, Matcher] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_matchers", {key: Matcher(globs) for key, globs in self.globs.items()})

    def __hash__(self) -> int:
        """By what it says: a table of thousands that all had one hash would be searched from end to end."""
        return hash(frozenset(self.globs.items()))

    def __str__(self) -> str:
        """In the words of the rule files: `actor=compass/* | maps, platform=apify`."""
        return ", ".join(f"{key}={' | '.join(globs)}" for key, globs in sorted(self.globs.items())) or "every run"

    @property
    def names_run(self) -> bool:
        """Whether it looks at run ids, so that its answer differs between runs of one source."""
        return "run_id" in self.globs

    @property
    def names_source(self) -> bool:
        """Whether it looks at what a run is an execution of."""
        return any(key not in RUN_KEYS for key in self.globs)

    @property
    def exact_run_ids(self) -> frozenset[str] | None:
        """The ids (folded) of all runs that it can mean; None if it says nothing of ids, or by wildcards."""
        return self._matchers["run_id"].exact if self.names_run else None

    @property
    def handles(self) -> tuple[str, Handles] | None:
        """The key by which its runs are found best among many, and what the value of that key must have; None if only
        asking for each run will do."""
        found = [(key, handles) for key, globs in self._matchers.items() if (handles := globs.handles) is not None]
        return min(found, key=_vagueness, default=None)

    def matches_account(self, platform: str, account: str) -> bool:
        """Whether runs of this account can match at all."""
        own = {"platform": platform, "account": account}
        return all(self._matchers[key].matches(name) for key, name in own.items() if key in self._matchers)

    def matches(self, snapshot: Snapshot) -> Matched:
        """Whether the run is meant; `UNSURE` only if nothing else already rules it out."""
        unsure = False
        for key, globs in self._matchers.items():
            answer = _matches_key(key, globs, snapshot)
            if answer is Matched.NO:
                return Matched.NO
            unsure = unsure or answer is Matched.UNSURE
        return Matched.UNSURE if unsure else Matched.YES


def _vagueness(handle: tuple[str, Handles]) -> tuple[int, bool]:
    """How much is left to be asked of what is found by it: ids and names are of few runs, an account is of many."""
    key, handles = handle
    rank = {"run_id": 0, "account": 2, "origin": 3, "platform": 4}.get(key, 1)
    return rank, bool(handles.starts or handles.ends)


def _matches_key(key: str, globs: Matcher, snapshot: Snapshot) -> Matched:
    if key in RUN_KEYS:
        value = getattr(snapshot, key)
        if value is None:
            # Unknown is not "no": the run may be protected by it, or limited.
            return Matched.UNSURE
        return Matched.YES if globs.matches(value) else Matched.NO
    return _matches_facet(key, globs, snapshot.source)


def _matches_facet(key: str, globs: Matcher, source: Source) -> Matched:
    if globs.matches_any(source.facets.get(key, ())):
        return Matched.YES
    return Matched.UNSURE if key in source.unresolved else Matched.NO


@dataclass(frozen=True, slots=True)
class Rule:
    """Limits for the runs a selector means. `limits`: the figure of each meter, in its unit; `used >= limit` breaks it.

    `action`: what that asks for; `steps` (rising), where there are any, say it share by share, and `action` is whether
    any of them aborts. `after`: its limits are judged from the moment on at which a run has used so much of each of
    these. `resurrect`: its runs are to be resumed later, so aborts are graceful where the platform can. `never_exceed`:
    abort so early that the run stays within the limits until it has really stopped, by the forecast.
    `file`, `line`: where it was written, for messages.
    """

    name: str
    selector: Selector
    limits: Mapping[Meter, float] = field(hash=False)
    action: Action = Action.ABORT
    resurrect: bool = False
    never_exceed: bool = False
    file: str = ""
    line: int = 0
    steps: tuple[Step, ...] = ()
    after: Mapping[Meter, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.steps:
            stops = any(step.do.stops for step in self.steps)
            object.__setattr__(self, "action", Action.ABORT if stops else Action.NOTIFY)

    def says_the_same_as(self, other: Rule | None) -> bool:
        """Whether both mean the same runs and ask the same of them, wherever they are written."""
        return other is not None and replace(self, file="", line=0) == replace(other, file="", line=0)

    @property
    def all_limits(self) -> tuple[Limit, ...]:
        """Its limits as values."""
        steps = self.steps or (Step(1.0, Do(self.action.value)),)
        return tuple(Limit(self, meter, figure, steps) for meter, figure in self.limits.items())


@dataclass(frozen=True, slots=True)
class Protection:
    """Runs that are never aborted, with the reason somebody gave."""

    selector: Selector
    reason: str = ""


class _Shelf:
    """Numbers of selectors by what one key of theirs must have."""

    __slots__ = ("_by_end", "_by_start", "_whole", "all")

    def __init__(self) -> None:
        self.all: list[int] = []
        self._whole: dict[str, list[int]] = defaultdict(list)
        # By length, so that one look-up for each length that there is finds them, however many they are.
        self._by_start: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._by_end: dict[int, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))

    def file(self, number: int, handles: Handles) -> None:
        self.all.append(number)
        for text in handles.whole:
            self._whole[text].append(number)
        for start in handles.starts:
            self._by_start[len(start)][start].append(number)
        for end in handles.ends:
            self._by_end[len(end)][end].append(number)

    def find(self, text: str) -> Iterator[int]:
        yield from self._whole.get(text, ())
        for length, by_start in self._by_start.items():
            yield from by_start.get(text[:length], ())
        for length, by_end in self._by_end.items():
            yield from by_end.get(text[-length:], ())


class SelectorIndex:
    """Finds those of many selectors that may mean a run, without asking each of them: by exact texts, and by how their
    globs begin or end. Only selectors that ask for nothing of the kind (`*maps*`, or everything) are found for every
    run."""

    __slots__ = ("_shelves", "_unfiled")

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self._unfiled: list[int] = []
        self._shelves: dict[str, _Shelf] = defaultdict(_Shelf)
        for number, selector in enumerate(selectors):
            handles = selector.handles
            if handles is None:
                self._unfiled.append(number)
            else:
                self._shelves[handles[0]].file(number, handles[1])

    def __bool__(self) -> bool:
        return bool(self._unfiled or self._shelves)

    def candidates(self, snapshot: Snapshot) -> list[int]:
        """The numbers, ascending, of all selectors whose answer for this run may be anything but `NO`."""
        found: set[int] = set()
        for key, shelf in self._shelves.items():
            values = _values(key, snapshot)
            if values is None:
                found.update(shelf.all)
            else:
                for value in values:
                    found.update(shelf.find(fold(value)))
        return sorted(found.union(self._unfiled)) if found else self._unfiled


def _values(key: str, snapshot: Snapshot) -> tuple[str, ...] | None:
    """What a selector with this key is compared with; None if more may be known later."""
    if key in RUN_KEYS:
        value = getattr(snapshot, key)
        return None if value is None else (value,)
    return None if key in snapshot.source.unresolved else snapshot.source.facets.get(key, ())


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything the rule files say. `resurrect` marks runs to be resumed later, whatever rule they break."""

    rules: tuple[Rule, ...] = ()
    protect: tuple[Protection, ...] = ()
    resurrect: tuple[Selector, ...] = ()
    _protect: SelectorIndex = field(init=False, compare=False, repr=False)
    _resurrect: SelectorIndex = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_protect", SelectorIndex(each.selector for each in self.protect))
        object.__setattr__(self, "_resurrect", SelectorIndex(self.resurrect))

    def protections_of(self, run: Snapshot) -> list[Protection]:
        """Those that may mean this run, in the order of the files; each is still to be asked."""
        return [self.protect[number] for number in self._protect.candidates(run)]

    def flags_of(self, run: Snapshot) -> list[Selector]:
        """The entries of `resurrect` that may mean this run; each is still to be asked."""
        return [self.resurrect[number] for number in self._resurrect.candidates(run)]
