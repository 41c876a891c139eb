"""Reading single values of rule files: each reader reports its mistake and returns None."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from watchdog.domain.glob import fold
from watchdog.errors import Problem
from watchdog.text import shown
from watchdog.text.document import Document, Entry, Listing, Node, Placed, Scalar, Table, describe
from watchdog.text.durations import parse_duration
from watchdog.text.hints import suggestion, unknown_key
from watchdog.text.scalars import resolve

MAX_NAME = 128
_WITH_COMMA = re.compile(r"([0-9]+),([0-9]+)")
MAX_GLOB = 512


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found wrong (`errors`) and doubtful (`warnings`) in all files so far."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the mistakes of one entry of one file are taken down, under its `label` ("rule 'x': ")."""

    document: Document
    findings: Findings
    label: str = ""

    def error(self, place: Placed, message: str) -> None:
        self.findings.errors.append(self.document.problem(place, self.label + message))

    def warn(self, place: Placed, message: str) -> None:
        self.findings.warnings.append(self.document.problem(place, self.label + message))


def read_table(
    node: Node,
    what: str,
    keys: Collection[str],
    desk: Desk,
    elsewhere: Mapping[str, str] | None = None,
    note: Callable[[str], str] = lambda key: "",
) -> Table | None:
    """The node as a table that has no other keys than these. `elsewhere`: where keys of another level belong; `note`:
    what else is to be said of an unknown key."""
    if not isinstance(node, Table):
        desk.error(node, f"{what} must be a table of keys ({', '.join(keys)}), not {describe(node)}")
        return None
    cut = cut_by_comma(node)
    for entry in node.entries:
        if entry.key in cut:
            desk.error(entry, cut[entry.key].cure)
        elif entry.key not in keys:
            place = (elsewhere or {}).get(entry.key)
            desk.error(
                entry, f"key {shown(entry.key)} {place}" if place else unknown_key(entry.key, keys) + note(entry.key)
            )
    return node


@dataclass(frozen=True, slots=True)
class Cut:
    """A number that a comma has cut in two, in `{max_cost_usd: 5,00}`: the key that has its beginning, and what to
    write."""

    head: str
    cure: str


_TAIL = re.compile(r"([0-9]+)((?:ms|[smhd])?)")


def cut_by_comma(table: Table) -> dict[str, Cut]:
    """The keys of a table that are no keys but the ends of numbers."""
    found = {}
    for before, entry in pairwise(table.entries):
        head, tail = before.value, _TAIL.fullmatch(entry.key)
        is_bare = isinstance(entry.value, Scalar) and entry.value.value is None
        if tail is None or not is_bare or not isinstance(head, Scalar) or not head.raw.isdecimal():
            continue
        said = f"write {head.raw}.{tail[0]}"
        if len(tail[1]) == 3 and not tail[2]:
            said = f"write {head.raw}{tail[1]}, or {head.raw}.{tail[1]} if a fraction is meant"
        found[entry.key] = Cut(before.key, f"{before.key}: {said}; a comma separates keys here")
    return found


def name_fault(text: str) -> str | None:
    """What is wrong with a name, as the end of a sentence that begins with its key."""
    if not text:
        return "must not be empty"
    if len(text) > MAX_NAME:
        return f"must not be longer than {MAX_NAME} characters, but has {len(text)}"
    if _has_controls(text):
        return "must not hold control characters or line breaks"
    return "must not begin or end with white space" if text != text.strip() else None


def _has_controls(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text)


def read_text(entry: Entry, desk: Desk) -> str | None:
    """Text as written, so that `name: 2024` is "2024"."""
    node = entry.value
    if isinstance(node, Scalar) and node.value is not None:
        return node.raw
    desk.error(node, f"{entry.key} must be text, not {describe(node)}")
    return None


def read_bool(entry: Entry, desk: Desk) -> bool | None:
    """true or false, without quotes."""
    node = entry.value
    if isinstance(node, Scalar) and isinstance(node.value, bool):
        return node.value
    desk.error(node, f"{entry.key} must be true or false, not {describe(node)}")
    return None


def read_choice(entry: Entry, choices: Collection[str], desk: Desk) -> str | None:
    """One of a few words."""
    node = entry.value
    if isinstance(node, Scalar) and node.raw in choices:
        return node.raw
    hint = suggestion(node.raw, choices) if isinstance(node, Scalar) else ""
    desk.error(node, f"{entry.key} must be {' or '.join(choices)}, not {describe(node)}{hint}")
    return None


def read_number(entry: Entry, desk: Desk) -> float | None:
    """A finite number that is not negative."""
    fault = _number_fault(entry.value)
    if fault is not None:
        desk.error(entry.value, f"{entry.key} {fault}")
        return None
    assert isinstance(entry.value, Scalar)
    assert isinstance(entry.value.value, int | float)
    return float(entry.value.value)


def _number_fault(node: Node) -> str | None:
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str) and isinstance(resolve(value), int | float) and not isinstance(resolve(value), bool):
        return f"must be a number without quotes, not {describe(node)}"
    if isinstance(value, str) and (found := _WITH_COMMA.fullmatch(value)):
        whole, fraction = found.groups()
        either = f"{whole}{fraction}, or {whole}.{fraction} if a fraction is meant" if len(fraction) == 3 else ""
        return f"must be a number with a point: write {either or f'{whole}.{fraction}'}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"must be a number such as 5 or 0.25, not {describe(node)}"
    if not math.isfinite(value):
        return f"must be a finite number, not {describe(node)}"
    return f"must not be negative, but is {describe(node)}" if value < 0 else None


def read_duration(entry: Entry, desk: Desk) -> float | None:
    """Seconds of a duration with its unit."""
    node = entry.value
    if not isinstance(node, Scalar) or node.value is None:
        desk.error(node, f"{entry.key} must be a duration such as 90s, 30m or 1h30m, not {describe(node)}")
        return None
    try:
        return parse_duration(node.raw)
    except ValueError as error:
        joint = " " if str(error).startswith("must") else ": "
        desk.error(node, f"{entry.key}{joint}{error}")
    return None


def read_globs(entry: Entry, desk: Desk) -> tuple[str, ...] | None:
    """A glob or a list of globs, each as written: under `match`, `0123` and `on` are text."""
    node = entry.value
    items = node.items if isinstance(node, Listing) else (node,)
    if not items:
        desk.error(node, f"match.{entry.key} is an empty list, which matches nothing; leave the key out to match all")
    before = len(desk.findings.errors)
    for item in items:
        fault = _glob_fault(item)
        if fault is not None:
            desk.error(item, f"match.{entry.key} {fault}")
    if len(desk.findings.errors) > before or not items:
        return None
    return tuple(item.raw for item in items if isinstance(item, Scalar))


def _glob_fault(node: Node) -> str | None:
    if not isinstance(node, Scalar):
        return f"must be a glob or a list of globs, not {describe(node)}"
    if node.value is None:
        return 'must be a glob, not nothing; write "*" or leave the key out to match all'
    if not fold(node.raw):
        return 'must not be empty text; write "*" or leave the key out to match all'
    if len(node.raw) > MAX_GLOB:
        return f"must not be longer than {MAX_GLOB} characters"
    if _has_controls(fold(node.raw)):
        return f"can never match: {shown(node.raw)} holds a control character"
    return None
