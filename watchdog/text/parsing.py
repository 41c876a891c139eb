"""YAML into a `Document`: within bounds, every mistake with its position.

The tree is built from PyYAML's events and not from its nodes: libyaml's composer recurses in C, so that a deeply
nested file would end the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from watchdog.errors import ConfigurationError, Problem
from watchdog.text.document import Document, Entry, Fault, Listing, Loc, Node, Scalar, Table
from watchdog.text.escapes import shown
from watchdog.text.files import read_bytes
from watchdog.text.scalars import ScalarValue, resolve

MAX_NODES = 200_000
MAX_DEPTH = 64

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_document(path: Path) -> Document:
    """Read one YAML file.

    Raises ConfigurationError, with the position where there is one, if it cannot be read or is not YAML.
    """
    return parse_document(read_bytes(path), str(path))


def parse_document(data: bytes, file: str, loader: Any = Loader) -> Document:
    """Parse one YAML document in UTF-8; `file` is its name in messages. Raises ConfigurationError."""
    text = _decode(data, file)
    try:
        return _Builder(text, file, loader).document()
    except yaml.YAMLError as error:
        problem = _syntax_problem(error, file)
    raise ConfigurationError([problem])


def _decode(data: bytes, file: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The codec counts from behind a byte order mark.
        good = error.object[: error.start].decode("utf-8", "replace")
        raise ConfigurationError([_at_end_of(good, file, "is not UTF-8 text; save the file as UTF-8")]) from None
    bad = Reader.NON_PRINTABLE.search(text)
    if bad is not None:
        message = f"a control character (U+{ord(bad.group()):04X}) cannot stand in a YAML file"
        raise ConfigurationError([_at_end_of(text[: bad.start()], file, message)])
    return text


def _at_end_of(text: str, file: str, message: str) -> Problem:
    lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
    return Problem(file, len(lines), len(lines[-1]) + 1, message)


_SYNTAX_SENTENCES = (
    ("mapping values are not allowed", "a ':' does not belong here; check the indentation, or quote the text"),
    ("alphabetic or numeric character", "a text that starts with '*' or '&' must be quoted, as in \"*\""),
    ("cannot start any token", "no value starts like this; indent with spaces (no tabs), and quote the text"),
    ("could not find expected ':'", "a ':' is missing after a key"),
    ("unexpected end of stream", "the quote is never closed"),
    ("',' or ']'", "a list in [ ] is not closed, or a ',' is missing"),
    ("',' or '}'", "a table in { } is not closed, or a ',' is missing"),
    ("'-' indicator", "this line does not go on with the list above it; check the indentation"),
    ("expected key", "this line does not go on with the keys above it; check the indentation"),
    ("<block end>", "this line does not go on with what is above it; check the indentation"),
    ("node content", "a value is missing here, or a text with brackets needs quotes"),
    ("unknown escape character", "this escape is unknown; write \\\\ for a backslash, or use single quotes"),
    ("undefined tag handle", "tags are not supported; quote a text that starts with '!'"),
)  # fmt: skip


def _syntax_problem(error: yaml.YAMLError, file: str) -> Problem:
    words = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read")
    sentence = next((ours for theirs, ours in _SYNTAX_SENTENCES if theirs in words), words)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    message = f"not valid YAML: {sentence}"
    return Problem(file, mark.line + 1, mark.column + 1, message) if mark else Problem(file, 0, 0, message)


_TAG = "tag:yaml.org,2002:"
_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    _TAG + "null": (type(None),), _TAG + "bool": (bool,), _TAG + "int": (int,), _TAG + "float": (float, int),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Built:
    """A finished node with what it weighs: nodes in it and levels below it, aliases counted as if written out."""

    node: Node
    size: int
    height: int


class _Builder:
    """Builds the tree from the events of one document, within bounds of size and depth."""

    def __init__(self, text: str, file: str, loader: Any) -> None:
        self._file = file
        self._events = yaml.parse(text, Loader=loader)
        self._anchors: dict[str, _Built] = {}
        self._faults: list[Fault] = []
        self._size = 0

    def document(self) -> Document:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fatal(event, "holds a second document ('---'); only one is read, so split the file")
                root = self._node(next(self._events), (), 1).node
        if isinstance(root, Scalar) and root.value is None:
            root = None
        return Document(self._file, root, tuple(self._faults))

    def _fatal(self, event: Any, message: str) -> ConfigurationError:
        return ConfigurationError([Problem(self._file, *_place(event), message)])

    def _fault(self, event: Any, loc: Loc, message: str) -> None:
        self._faults.append(Fault(loc, *_place(event), message))

    def _node(self, event: Any, loc: Loc, depth: int) -> _Built:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        self._grow(event, 1, depth)
        before = self._size
        node, height = self._content(event, loc, depth)
        built = _Built(node, self._size - before + 1, height)
        if event.anchor is not None:
            self._anchors[event.anchor] = built
        return built

    def _grow(self, event: Any, by: int, depth: int) -> None:
        self._size += by
        if self._size > MAX_NODES:
            raise self._fatal(event, f"holds more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise self._fatal(event, f"is nested deeper than {MAX_DEPTH} levels")

    def _alias(self, event: Any, depth: int) -> _Built:
        built = self._anchors.get(event.anchor)
        if built is None:
            name = shown(f"*{event.anchor}", limit=40)
            raise self._fatal(event, f"{name} stands for an earlier anchor, and there is none; quote a text with '*'")
        self._grow(event, built.size, depth + built.height)
        return built

    def _content(self, event: Any, loc: Loc, depth: int) -> tuple[Node, int]:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, loc), 0
        if isinstance(event, yaml.SequenceStartEvent):
            return self._listing(event, loc, depth)
        return self._table(event, loc, depth)

    def _scalar(self, event: Any, loc: Loc) -> Scalar:
        is_plain = event.style in (None, "")
        value: ScalarValue = event.value
        if event.tag in (None, "!"):
            value = resolve(event.value) if is_plain and event.tag is None else value
        elif event.tag in _SCALAR_TYPES:
            value = resolve(event.value)
            if not isinstance(value, _SCALAR_TYPES[event.tag]):
                self._fault(event, loc, f"{shown(event.value)} is not what its tag says")
        elif event.tag != _TAG + "str":
            self._foreign_tag(event, loc)
        return Scalar(event.value, value, *_place(event))

    def _foreign_tag(self, event: Any, loc: Loc) -> None:
        name = shown(event.tag.replace(_TAG, "!!"))
        self._fault(event, loc, f"the tag {name} is not supported; quote a text that starts with '!'")

    def _check_tag(self, event: Any, loc: Loc, own: str) -> None:
        if event.tag not in (None, "!", _TAG + own):
            self._foreign_tag(event, loc)

    def _listing(self, start: Any, loc: Loc, depth: int) -> tuple[Listing, int]:
        self._check_tag(start, loc, "seq")
        items: list[Node] = []
        height = 0
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            built = self._node(event, (*loc, len(items)), depth + 1)
            items.append(built.node)
            height = max(height, built.height + 1)
        return Listing(tuple(items), *_place(start)), height

    def _table(self, start: Any, loc: Loc, depth: int) -> tuple[Table, int]:
        self._check_tag(start, loc, "map")
        entries: dict[str, Entry] = {}
        merged: list[Entry] = []
        height = 0
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, loc, depth + 1)
            name = key.node.raw if isinstance(key.node, Scalar) else ""
            built = self._node(next(self._events), (*loc, name), depth + 1)
            height = max(height, built.height + 1, key.height + 1)
            if name == "<<":
                merged += self._merged(event, built.node, loc)
            else:
                self._add(entries, key.node, built.node, event, loc)
        for entry in merged:  # what is written in the table itself wins
            entries.setdefault(entry.key, entry)
        return Table(tuple(entries.values()), *_place(start)), height

    def _add(self, entries: dict[str, Entry], key: Node, value: Node, event: Any, loc: Loc) -> None:
        if not isinstance(key, Scalar) or key.value is None:
            self._fault(event, loc, "a key must be a plain word")
        elif key.raw in entries:
            first = entries[key.raw]
            self._fault(event, loc, f"duplicate key {shown(key.raw)}, first written in line {first.line}")
        else:
            entries[key.raw] = Entry(key.raw, value, *_place(event))

    def _merged(self, event: Any, node: Node, loc: Loc) -> Iterator[Entry]:
        for part in node.items if isinstance(node, Listing) else (node,):
            if isinstance(part, Table):
                yield from part.entries
            else:
                self._fault(event, loc, "'<<' takes in the keys of another table, as in '<<: *defaults'")


def _place(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1
