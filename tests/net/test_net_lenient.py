"""JSON that is not strict: what becomes of it, and what it costs."""

from __future__ import annotations

import contextlib
import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.net import lenient

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4) | st.just("id"), inner, max_size=4),
    max_leaves=20,
)


def likened(value: Any) -> Any:
    """As a strict decoder can have it: no number that is none, no half of a surrogate pair."""
    if isinstance(value, dict):
        return {likened(key): likened(each) for key, each in value.items()}
    if isinstance(value, list):
        return [likened(each) for each in value]
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return None if isinstance(value, float) and not math.isfinite(value) else value


@given(VALUES)
def test_whatever_python_writes_can_be_read(value: Any) -> None:
    assert likened(json.loads(lenient.mend(json.dumps(value).encode()).text)) == likened(value)
    found, _ = lenient.decode(json.dumps(value).encode(), object)
    assert found == likened(value)


@given(VALUES.map(likened))
def test_what_is_strict_stays_as_it_is(value: Any) -> None:
    for text in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False, indent=1).encode()):
        assert lenient.mend(text) == lenient.Mended(text, {})


@given(st.binary(max_size=40) | st.text('"\\u{}[]:,d8NaIn\n\x01 ', max_size=30).map(str.encode))
def test_any_bytes(text: bytes) -> None:
    """It is read or refused; and mending is done once and for all."""
    once = lenient.mend(text).text
    assert lenient.mend(once).text == once
    with contextlib.suppress(*lenient.UNREADABLE):
        lenient.decode(text, object)


@pytest.mark.parametrize(
    ("bad", "read"),
    [
        (rb'"a\ud83d"', "a\ufffd"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83d\ude00"', "\U0001f600"),
        (rb'"\\ud83d"', r"\ud83d"),
        (b'"a\tb\nc\x01"', "a\tb\nc\x01"),
        (b'"caf\xe9"', "caf\ufffd"),
        (rb'"\q\u12"', "\ufffd\ufffd12"),
        (b"NaN", None),
        (b"-Infinity", None),
        (b"1e999", None),
        (b"1e5", 1e5),
        (b'"NaN, -Infinity, 1e999 ["', "NaN, -Infinity, 1e999 ["),
    ],
)
def test_values(bad: bytes, read: object) -> None:
    text = b'{"items": [{"n": 1, "id": "one", "x": [{"y": %s}]}, {"id": "two", "n": 2, "z": {"id": 7}}]}' % bad
    found, flaws = lenient.decode(text, dict[str, Any])
    assert found["items"][0]["x"][0]["y"] == read
    assert [item["n"] for item in found["items"]] == [1, 2]
    assert set(flaws) <= {"one"}


def test_flaws_without_an_id_are_those_of_the_whole() -> None:
    _, flaws = lenient.decode(b'[NaN, {"id": 7, "x": "\x01"}]', object)
    assert lenient.describe(flaws) == (
        "characters that no JSON has and numbers that are none (NaN, Infinity, out of range)"
    )


def test_of_many_flaws_a_few_are_named() -> None:
    items = b",".join(b'{"id": "i%d", "x": NaN}' % number for number in range(9))
    _, flaws = lenient.decode(b"[%s]" % items, object)
    assert lenient.describe(flaws).endswith("in i0, i1, i2, i3, i4 and 4 more")


@pytest.mark.parametrize("brackets", [b"[]", b"{}"])
@pytest.mark.parametrize("depth", [100, 5000, 250_000])
def test_depth(brackets: bytes, depth: int) -> None:
    opening = b"[" if brackets == b"[]" else b'{"a":'
    deep = opening * depth + b"7" + brackets[1:] * depth
    text = b'{"id": "x", "deep": %s, "used": 5}' % deep
    assert len(text) < lenient.MENDED_MAX_BYTES
    found = msgspec.json.decode(lenient.mend(text).text)
    assert (found["id"], found["used"]) == ("x", 5)
    levels, inner = 0, found["deep"]
    while inner is not None:
        levels, inner = levels + 1, inner[0] if isinstance(inner, list) else inner["a"]
    assert 0 < levels <= lenient.DEPTH_MAX


@pytest.mark.parametrize("unit", [b"[", b'"', b'{"id":', b"NaN,", rb'"\ud83d"', b"\\", b"\x01"])
def test_what_is_too_large_is_refused_as_before(unit: bytes) -> None:
    text = unit * (lenient.MENDED_MAX_BYTES // len(unit) + 1)
    with pytest.raises(lenient.UNREADABLE):
        lenient.decode(text, dict[str, Any])


def test_the_work_is_bounded_by_tokens() -> None:
    most = lenient.TOKENS_MAX - 2  # besides the brackets
    assert lenient.decode(b"[%s]" % b",".join([b"NaN"] * most), list[Any])[0] == [None] * most
    with pytest.raises(msgspec.DecodeError):
        lenient.decode(b"[%s]" % b",".join([b"NaN"] * (most + 2)), list[Any])


@given(VALUES)
def test_what_is_too_deep_is_cut_out_and_nothing_else(value: Any) -> None:
    depth = lenient.DEPTH_MAX
    found = json.loads(lenient.mend(b"[" * depth + b"%s, 7" % json.dumps(value).encode() + b"]" * depth).text)
    for _ in range(depth - 1):
        [found] = found
    assert likened(found) == [None if isinstance(value, list | dict) else likened(value), 7]


@pytest.mark.parametrize("inside", [b"[]", b'["]", "\\"["]', b'{"id": "]"}', b'{"a": [1]}, "["'])
def test_what_is_too_deep_ends_where_it_ends(inside: bytes) -> None:
    deep = b"[" * 3000 + inside + b", 1]" * 3000
    text = b'{"items": [{"id": "a", "x": %s, "n": 1}, {"id": "b", "n": 2}]}' % deep
    found, flaws = lenient.decode(text, dict[str, Any])
    assert [item["n"] for item in found["items"]] == [1, 2]
    assert set(flaws) == {"a"}


@pytest.mark.parametrize("inside", [b"NaN," * 500_000 + b"1", b"[" * 3000 + b"[]," * 500_000 + b"1" + b"]" * 3000])
def test_what_is_too_much_work_is_told_with_its_size_and_place(inside: bytes) -> None:
    text = b'{"data": {"items": [{"id": "a", "x": [1]}, {"id": "b"}, {"id": "c", "x": [%s]}, {}]}}' % inside
    with pytest.raises(msgspec.DecodeError, match=r"too large to be mended \(1\.\d MiB, given up in item 2\)"):
        lenient.decode(text, dict[str, Any])


def test_what_is_too_large_is_told_with_its_size() -> None:
    with pytest.raises(msgspec.DecodeError, match=r"byte 1.*too large to be mended \(5\.0 MiB\)"):
        lenient.decode(b"[NaN" + b" " * (5 * 1024 * 1024) + b"]", object)


def test_another_shape_is_said_to_be_that() -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `object`"):
        lenient.decode(b"[NaN]", dict[str, Any])
