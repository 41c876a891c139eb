"""Which entries of the rule files match any run, and which none.

A rule or protection with a misspelt name can be read without fault and does nothing. Only the runs there are can tell:
an entry that has matched nothing for a day is worth a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from watchdog.domain.rule import Matched, RuleSet, Selector, SelectorIndex
from watchdog.domain.run import Snapshot

#: More sources than this remembered, and the memory of them is dropped and built anew.
_SOURCES_MAX = 100_000


class Section(StrEnum):
    """Where in a rule file an entry stands."""

    RULES = "rules"
    PROTECT = "protect"
    RESURRECT = "resurrect"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the rule files that selects runs. `name` is the rule's; other entries have none."""

    section: Section
    selector: Selector
    name: str = ""

    def __str__(self) -> str:
        """`rule 'maps-cap'`, or `protect (run_id=x, rules/maps.yaml:12)`."""
        if self.section is Section.RULES:
            return f"rule '{self.name}'"
        return f"{self.section} ({self.selector}{', ' if self.selector.place else ''}{self.selector.place})"


def entries_of(rules: RuleSet) -> tuple[Entry, ...]:
    """Every entry that selects runs, in the order of the files."""
    return (
        *(Entry(Section.RULES, rule.selector, rule.name) for rule in rules.rules),
        *(Entry(Section.PROTECT, protection.selector) for protection in rules.protect),
        *(Entry(Section.RESURRECT, selector) for selector in rules.resurrect),
    )


class _Some(NamedTuple):
    """Some of the entries, by their numbers, so that those which may mean a run are found quickly."""

    numbers: Sequence[int]
    selectors: SelectorIndex

    def candidates(self, snapshot: Snapshot) -> list[int]:
        """The numbers of those that may."""
        return [self.numbers[place] for place in self.selectors.candidates(snapshot)]


class Coverage:
    """Remembers when each entry was last seen to match a run. One that is not sure to match (names not looked up yet)
    counts as matching: nobody is to be told that it matches nothing."""

    def __init__(self, rules: RuleSet, now: datetime) -> None:
        self.rules = rules
        self.entries = entries_of(rules)
        self._last: list[datetime] = [now] * len(self.entries)
        self._found: set[int] = set()
        self._by_source = self._some(names_run=False)
        self._by_run = self._some(names_run=True)
        self._memo: dict[tuple[str, str, str | None], tuple[int, ...]] = {}

    def _some(self, *, names_run: bool) -> _Some:
        numbers = [n for n, entry in enumerate(self.entries) if entry.selector.names_run is names_run]
        return _Some(numbers, SelectorIndex(self.entries[number].selector for number in numbers))

    @property
    def last(self) -> Mapping[Entry, datetime]:
        """When each entry last matched a run; from when it has been in force, if it has matched none since."""
        return dict(zip(self.entries, self._last, strict=True))

    @property
    def times(self) -> Sequence[datetime]:
        """The same, in the order of `entries`."""
        return tuple(self._last)

    @property
    def unmatched(self) -> list[Entry]:
        """Those that have matched nothing at all so far."""
        return [entry for number, entry in enumerate(self.entries) if number not in self._found]

    def see(self, snapshots: Iterable[Snapshot], now: datetime) -> None:
        """Take into account that there are these runs."""
        found: set[int] = set()
        groups: set[tuple[str, str, str | None]] = set()
        for snapshot in snapshots:
            key = (snapshot.account, snapshot.source.key, snapshot.origin)
            if key not in groups:
                groups.add(key)
                found.update(self._of_source(key, snapshot))
            if self._by_run.numbers:
                numbers = self._by_run.candidates(snapshot)
                found.update(self._matching((number for number in numbers if number not in found), snapshot))
        self._found |= found
        for number in found:
            self._last[number] = now

    def replaced(self, rules: RuleSet, now: datetime) -> Coverage:
        """The coverage of other rules; entries that stay keep what is known of them."""
        after = Coverage(rules, now)
        known = {_identity(entry): number for number, entry in enumerate(self.entries)}
        for number, entry in enumerate(after.entries):
            before = known.get(_identity(entry))
            if before is not None:
                after._last[number] = self._last[before]
                after._found |= {number} if before in self._found else set()
        return after

    def _of_source(self, key: tuple[str, str, str | None], snapshot: Snapshot) -> tuple[int, ...]:
        known = self._memo.get(key)
        if known is None:
            if len(self._memo) >= _SOURCES_MAX:
                self._memo.clear()
            known = self._memo[key] = tuple(self._matching(self._by_source.candidates(snapshot), snapshot))
        return known

    def _matching(self, numbers: Iterable[int], snapshot: Snapshot) -> Sequence[int]:
        return [n for n in numbers if self.entries[n].selector.matches(snapshot) is not Matched.NO]


def _identity(entry: Entry) -> tuple[str, str, str]:
    return entry.section, entry.name, str(entry.selector)
