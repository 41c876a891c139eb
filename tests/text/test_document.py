"""YAML with positions: what is read, what is refused and where."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from watchdog.errors import ConfigurationError
from watchdog.text.document import Document, Listing, Scalar, Table, plain
from watchdog.text.files import MAX_BYTES
from watchdog.text.parsing import parse_document, read_document

#: What `parse` reads with.
LOADER: dict[str, Any] = {}


@pytest.fixture(params=["libyaml", "python"], autouse=True)
def loader(request: pytest.FixtureRequest) -> None:
    """Everything holds with libyaml and without it."""
    python = request.param == "python"
    if not python and not yaml.__with_libyaml__:
        pytest.skip("PyYAML is built without libyaml")
    LOADER["loader"] = yaml.SafeLoader if python else yaml.CSafeLoader


def parse(text: str | bytes) -> Document:
    return parse_document(text if isinstance(text, bytes) else text.encode(), "f", **LOADER)


def mistake(text: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    return str(problem)


def faults(text: str) -> list[str]:
    return [str(problem) for problem in parse(text).fault_problems(lambda loc: f"{'.'.join(map(str, loc))}: ")]


def test_positions_count_from_one() -> None:
    root = parse("a: 1\n\nbé:\n  - x\n  - {c: 2}\n").root
    assert isinstance(root, Table)
    entry = root.get("bé")
    assert entry is not None
    assert (entry.line, entry.column) == (3, 1)
    listing = entry.value
    assert isinstance(listing, Listing)
    assert [(item.line, item.column) for item in listing.items] == [(4, 5), (5, 5)]


def test_locate_goes_as_deep_as_it_can() -> None:
    found = parse("a:\n  - b: 1\n")
    value, key = found.locate(("a", 0, "b")), found.locate(("a", 0, "b"), key=True)
    assert value == Scalar("1", 1, 2, 8)
    assert key is not None
    assert (key.line, key.column) == (2, 5)
    missing = found.locate(("a", 0, "zz", "y"))
    assert missing is not None
    assert (missing.line, missing.column) == (2, 5)
    assert parse("").locate(("a",)) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0123", 123), ("010", 10), ("0x1f", 31), ("0o17", 15), ("1e3", 1000.0), ("-.5", -0.5), ("1_000", "1_000"),
        ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("on", True), ("No", False), ("TRUE", True), ("~", None),
        ("null", None), ("'1'", "1"), ('"on"', "on"), ("!!str 5", "5"), ("! 5", "5"), ("!!int '5'", 5),
        ("!!float 5", 5), ("!!null ''", None), ("!!bool 'yes'", True), ("=", "="),
        ("123456789012345678901", 1.2345678901234568e20),
        ("-.inf", -math.inf), ("+.INF", math.inf), ("1e999", math.inf), ("٣", "٣"),
    ],
)  # fmt: skip
def test_scalars_are_resolved_as_people_read_them(text: str, value: object) -> None:
    root = parse(f"a: {text}\n").root
    assert isinstance(root, Table)
    scalar = root.entries[0].value
    assert isinstance(scalar, Scalar)
    assert scalar.value == value
    assert type(scalar.value) is type(value)


def test_the_raw_text_stays_beside_the_value() -> None:
    root = parse("[0123, 300e1234, on, 'x']").root
    assert isinstance(root, Listing)
    assert [item.raw for item in root.items if isinstance(item, Scalar)] == ["0123", "300e1234", "on", "x"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "---\n...\n", "null\n", "\ufeff", "\ufeff# x\n"])
def test_empty_documents(text: str) -> None:
    assert parse(text).root is None


def test_a_byte_order_mark_is_not_content() -> None:
    assert plain(parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").root) == {"a": 1, "b": 2}


def test_aliases_and_merges() -> None:
    text = "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, p: 3}\nd: {<<: [*x, {r: 4, p: 9}]}\n"
    assert plain(parse(text).root) == {
        "a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 2}, "c": {"p": 3, "q": 2}, "d": {"p": 1, "q": 2, "r": 4},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", "f:2:1: : duplicate key 'a', first written in line 1"),
        ("a:\n  - b: 1\n    'b': 2\n", "f:3:5: a.0: duplicate key 'b', first written in line 2"),
        ("a: !x y\n", "f:1:4: a: the tag '!x' is not supported; quote a text that starts with '!'"),
        ("a: !!binary aa\n", "f:1:4: a: the tag '!!binary' is not supported; quote a text that starts with '!'"),
        ("a: !!set {b}\n", "f:1:4: a: the tag '!!set' is not supported; quote a text that starts with '!'"),
        ("a: !!omap [b]\n", "f:1:4: a: the tag '!!omap' is not supported; quote a text that starts with '!'"),
        ("a: !!int x\n", "f:1:4: a: 'x' is not what its tag says"),
        ("? [a]\n: 1\n", "f:1:3: : a key must be a plain word"),
        ("~: 1\n", "f:1:1: : a key must be a plain word"),
        ("a: {<<: 1}\n", "f:1:5: a: '<<' takes in the keys of another table, as in '<<: *defaults'"),
    ],
)  # fmt: skip
def test_faults_that_yaml_allows(text: str, message: str) -> None:
    assert faults(text) == [message]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b: c", "f:1:5: not valid YAML: a ':' does not belong here; check the indentation, or quote the text"),
        ("\t- b", "f:1:1: not valid YAML: no value starts like this; indent with spaces (no tabs), and quote the text"),
        ("a: @b", "f:1:4: not valid YAML: no value starts like this; indent with spaces (no tabs), and quote the text"),
        ("a: *", "f:1:5: not valid YAML: a text that starts with '*' or '&' must be quoted, as in \"*\""),
        ("a: *b", "f:1:4: '*b' stands for an earlier anchor, and there is none; quote a text with '*'"),
        ("&a [*a]", "f:1:5: '*a' stands for an earlier anchor, and there is none; quote a text with '*'"),
        ("a: 'b", "f:1:6: not valid YAML: the quote is never closed"),
        ("a: [1\nb: 2", "f:2:2: not valid YAML: a list in [ ] is not closed, or a ',' is missing"),
        ("a: [::1]:1", "f:1:5: not valid YAML: a value is missing here, or a text with brackets needs quotes"),
        ("a\n---\nb", "f:2:1: holds a second document ('---'); only one is read, so split the file"),
        ("a: \x07", "f:1:4: a control character (U+0007) cannot stand in a YAML file"),
        ("a: 1\r\nb\x00", "f:2:2: a control character (U+0000) cannot stand in a YAML file"),
        (b"a: 1\nb: \xe9\n", "f:2:4: is not UTF-8 text; save the file as UTF-8"),
        (b"\xff\xfea\x00", "f:1:1: is not UTF-8 text; save the file as UTF-8"),
        ("[" * 100_000, "f:1:65: is nested deeper than 64 levels"),
        ("- " * 100_000, "f:1:129: is nested deeper than 64 levels"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text: str | bytes, message: str) -> None:
    assert mistake(text) == message


def test_an_alias_bomb_does_not_go_off() -> None:
    letters = "abcdefghij"
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{new}: &{new} [{','.join(['*' + old] * 9)}]" for old, new in pairwise(letters)]
    assert mistake("\n".join(lines)).endswith("holds more than 200000 values")


def test_aliases_cannot_nest_without_end() -> None:
    lines = ["- &a0 x"] + [f"- &a{n} [*a{n - 1}]" for n in range(1, 200)]
    assert mistake("\n".join(lines)).endswith("is nested deeper than 64 levels")


# --- files ---


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "file").touch()
    expected = {
        "gone": "no such file or folder",
        ".": "is a folder, not a file",
        "large": "is larger than 4194304 bytes",
        "file/below": "a part of the path is not a folder",
        "n" * 300: "the name is too long",
        "a\0b": "is not a possible file name",
    }
    for name, sentence in expected.items():
        with pytest.raises(ConfigurationError) as caught:
            read_document(tmp_path / name)
        assert [problem.message for problem in caught.value.problems] == [sentence]


def test_an_endless_file_is_not_read_to_its_end() -> None:
    with pytest.raises(ConfigurationError, match="is larger than"):
        read_document(Path("/dev/zero"))
