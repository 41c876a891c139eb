"""YAML documents with positions, and what rule files and settings share: durations, unknown keys.

A document is read once into a small tree of `Table`, `Listing` and `Scalar`, each with the line and column (from 1)
where it begins. Scalars keep the text as written beside its resolved value, since `0123` may be an id or a number
and only the reader of a key knows which.

The tree is built from PyYAML's events and not from its nodes: libyaml's composer recurses in C, so that a deeply
nested file would end the process. Plain scalars are resolved as YAML 1.2 does (with yes/no/on/off as well): under
PyYAML's YAML 1.1 rules `010` would be 8, `1:30` be 90 and `1e3` be text.
"""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from yaml.reader import Reader

from watchdog.errors import ConfigurationError, Problem
from watchdog.escapes import escaped
from watchdog.hints import after_unknown

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
MAX_DEPTH = 64
MAX_DURATION_S = 36_500 * 86_400.0

Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

ScalarValue: TypeAlias = str | int | float | bool | None
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


def shown(text: str, *, quote: str = "'", limit: int = 80) -> str:
    """A text from a file as it may stand in a message: on one line, control characters escaped, cut if long."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return quote + escaped(cut) + quote


# --- reading ---------------------------------------------------------------------------------------------------------


def read_document(path: Path) -> Document:
    """Read one YAML file.

    Raises ConfigurationError, with the position where there is one, if it cannot be read or is not YAML.
    """
    return parse_document(read_bytes(path), str(path))


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a small file; ConfigurationError says in a sentence why it cannot be had."""
    try:
        if path.is_fifo() or path.is_socket():
            # Reading it would wait for ever.
            raise ConfigurationError([Problem(str(path), 0, 0, "is not a regular file")])
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        is_dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
        sentence = "is a link to nothing" if is_dangling else os_sentence(error)
        raise ConfigurationError([Problem(str(path), 0, 0, sentence)]) from None
    if len(data) > limit:
        raise ConfigurationError([Problem(str(path), 0, 0, f"is larger than {limit} bytes")])
    return data


_OS_SENTENCES = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, not a file",
    errno.EACCES: "may not be read by this user (permission denied)",
    errno.EPERM: "may not be read by this user (permission denied)",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.ELOOP: "its symbolic links run in a circle",
    errno.ENAMETOOLONG: "the name is too long",
}


def os_sentence(error: OSError | ValueError) -> str:
    """Why the operating system would not give us a file, in plain words."""
    if isinstance(error, OSError):
        return _OS_SENTENCES.get(error.errno or 0, f"cannot be read: {error.strerror or type(error).__name__}")
    return "is not a possible file name"


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


_SPELLINGS: tuple[tuple[ScalarValue, tuple[str, ...]], ...] = (
    (None, ("null",)),
    (True, ("true", "yes", "on")),
    (False, ("false", "no", "off")),
)
_WORDS: dict[str, ScalarValue] = {
    variant: value
    for value, words in _SPELLINGS
    for word in words
    for variant in (word, word.capitalize(), word.upper())
}
_WORDS |= {"": None, "~": None}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def resolve(text: str) -> ScalarValue:
    """The value of an unquoted scalar: null, true/false (also yes/no, on/off), a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= 18 else float(text)  # float: int() of very long digits is refused by Python
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _DECIMAL.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _ENDLESS.fullmatch(text) else text


# --- unknown keys ----------------------------------------------------------------------------------------------------


def unknown_key(key: str, known: Collection[str]) -> str:
    """The sentence for a key nobody knows: the likely one, or what it would mean, and all there are."""
    return f"unknown key {shown(key)}" + after_unknown(key, known, "key")


# --- durations -------------------------------------------------------------------------------------------------------

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit}{'(?!s)' if unit == 'm' else ''})?" for unit in _UNITS))
_EXAMPLES = "a number with a unit, such as 90s, 30m, 1h30m or 2d"


def parse_duration(text: str) -> float:
    """Seconds of a duration like `90s`, `30m`, `1h30m`, `1.5h`, `2d` or `500ms`.

    Units are d, h, m, s, ms, each at most once and in this order. Raises ValueError with a sentence for the user.
    """
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(_duration_hint(text))
    seconds = math.fsum(float(number) * _UNITS[unit] for unit, number in found.groupdict().items() if number)
    if seconds > MAX_DURATION_S:
        raise ValueError(f"{shown(text)} is longer than 100 years")
    return seconds


def _duration_hint(text: str) -> str:
    if text.startswith("-"):
        return f"must not be negative, but is {shown(text)}"
    if isinstance(resolve(text), int | float) and not isinstance(resolve(text), bool) and text[0].isdigit():
        return f"write a unit: {shown(text, quote='')}s"
    if re.search("[0-9],[0-9]", text) and _DURATION.fullmatch(with_point := text.replace(",", ".")):
        return f"write {with_point}"
    return f"must be {_EXAMPLES}, not {shown(text)}"


def format_duration(seconds: float) -> str:
    """The duration in the words of rule files, to the millisecond: `1h30m`, `500ms`, `0s`."""
    rest = round(seconds * 1000)
    parts = []
    for unit, length_s in _UNITS.items():
        count, rest = divmod(rest, round(length_s * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
