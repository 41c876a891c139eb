"""A document as a small tree of `Table`, `Listing` and `Scalar`, each with the line and column where it begins.

Both count from 1. Scalars keep the text as written beside its resolved value, since `0123` may be an id or a number and
only the reader of a key knows which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from watchdog.errors import Problem
from watchdog.text.escapes import shown
from watchdog.text.scalars import ScalarValue

Loc: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value: `raw` is the text as written (quotes and escapes taken off), `value` what YAML makes of it."""

    raw: str
    value: ScalarValue
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of values."""

    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a table with its value; `line` and `column` are the key's."""

    key: str
    value: Node
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; its keys are text and unique (a duplicate is a fault of the document and left out)."""

    entries: tuple[Entry, ...]
    line: int
    column: int

    def get(self, key: str) -> Entry | None:
        """The entry of this key, if it is there."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node: TypeAlias = Scalar | Listing | Table
#: Anything that stands somewhere in a document.
Placed: TypeAlias = Scalar | Listing | Table | Entry


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake that YAML allows and we do not (duplicate key, foreign tag); `loc` is the way to it from the root."""

    loc: Loc
    line: int
    column: int
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """A read document; `root` is None if the file is empty or holds only comments. `file` is its name in messages."""

    file: str
    root: Node | None
    faults: tuple[Fault, ...] = ()

    def problem(self, place: Placed, message: str) -> Problem:
        """A problem at this place of the document."""
        return Problem(self.file, place.line, place.column, message)

    def fault_problems(self, prefix: Callable[[Loc], str]) -> Iterator[Problem]:
        """The faults as problems; `prefix` says for a way from the root whose mistake it is ("rule 'x': ")."""
        for fault in self.faults:
            yield Problem(self.file, fault.line, fault.column, prefix(fault.loc) + fault.message)

    def locate(self, loc: Loc, *, key: bool = False) -> Placed | None:
        """The deepest place on this way from the root: the value, or with `key` the key it stands under."""
        place: Placed | None = self.root
        for step in loc:
            below = _below(place, step)
            if below is None:
                break
            place = below
        return place.value if isinstance(place, Entry) and not key else place


def _below(place: Placed | None, step: str | int) -> Placed | None:
    node = place.value if isinstance(place, Entry) else place
    if isinstance(node, Table) and isinstance(step, str):
        return node.get(step)
    if isinstance(node, Listing) and isinstance(step, int) and step < len(node.items):
        return node.items[step]
    return None


def plain(node: Node | None) -> Any:
    """The value as plain dicts, lists and scalars."""
    if isinstance(node, Table):
        return {entry.key: plain(entry.value) for entry in node.entries}
    if isinstance(node, Listing):
        return [plain(item) for item in node.items]
    return None if node is None else node.value


def kind_of(node: Node) -> str:
    """What kind of value it is, without the value."""
    if isinstance(node, Table):
        return "a table of keys"
    return "a list" if isinstance(node, Listing) else "a single value"


def describe(node: Node) -> str:
    """The value in a few words, for "must be ..., not ...". Not for what may be secret."""
    if not isinstance(node, Scalar):
        return kind_of(node)
    if isinstance(node.value, str):
        return f"the text {shown(node.raw)}"
    return "nothing" if node.value is None else shown(node.raw, quote="")
