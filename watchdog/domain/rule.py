"""What is allowed: selectors, limits, rules, and the exceptions to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from watchdog.domain.glob import Matcher
from watchdog.domain.run import LimitKind, Snapshot, Source

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
    """Limits for the runs a selector means. Limits: credits, seconds or US dollars by kind; `used >= limit` breaks it.

    `resurrect`: its runs are to be resumed later, so aborts are graceful where the platform can. `never_exceed`: abort
    so early that the run stays within the limits until it has really stopped, by the forecast.
    `file`, `line`: where it was written, for messages.
    """

    name: str
    selector: Selector
    limits: Mapping[LimitKind, float] = field(hash=False)
    action: Action = Action.ABORT
    resurrect: bool = False
    never_exceed: bool = False
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Protection:
    """Runs that are never aborted, with the reason somebody gave."""

    selector: Selector
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything the rule files say. `resurrect` marks runs to be resumed later, whatever rule they break."""

    rules: tuple[Rule, ...] = ()
    protect: tuple[Protection, ...] = ()
    resurrect: tuple[Selector, ...] = ()
