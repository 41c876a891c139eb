"""JSON as it comes: read strictly, and leniently where that fails, so that one bad value costs only itself.

Platforms pass on what their users and their Actors write, and not every program that makes JSON of it is strict: half
a surrogate pair in a status message, a bare NaN, a control character, brackets a thousand deep. The strict decoder
refuses the whole text for that, read or not. `decode` mends such a text first: what is no number becomes null, what is
no character U+FFFD, and it says in which objects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import msgspec

T = TypeVar("T")

#: What decoding may raise: broken JSON, JSON of another shape, broken UTF-8, brackets without end.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: Mending takes some 40 ms of the event loop for each MiB of a documented answer, which has less than one, and 0.4 us
#: for each token: what is larger, or has more of them, is refused. Of what is cut out since it is too deep, a row of
#: brackets that all open or all close costs as much as a few tokens.
MENDED_MAX_BYTES = 4 * 1024 * 1024
TOKENS_MAX = 400_000
_CUT_TOKENS = 4
#: Deeper values become null. No documented answer comes near it.
DEPTH_MAX = 64
#: Stands for what is no character. An id that has it is not the id.
REPLACEMENT = "\ufffd"
#: So many objects are named.
_NAMED_MAX = 5
_ID_MAX = 64

#: By the id of the object ("" where there is none): what was mended in it.
Flaws = Mapping[str, frozenset[str]]
NO_FLAWS: Flaws = {}

_CHARACTERS = "characters that no JSON has"
_NUMBERS = "numbers that are none (NaN, Infinity, out of range)"
_DEPTH = f"values nested more than {DEPTH_MAX} deep"

_HEX = rb"[0-9a-fA-F]"
_HALF = rb"[dD][89a-fA-F]" + _HEX * 2
_PAIR = rb"u[dD][89abAB]" + _HEX * 2 + rb"\\u[dD][c-fC-F]" + _HEX * 2
_ESCAPED = rb'(?:["\\/bfnrt]|' + _PAIR + rb"|u(?!" + _HALF + rb")" + _HEX * 4 + rb")"
_PLAIN = rb'[^"\\\x00-\x1f]*'
_TOKEN = re.compile(
    rb'(?P<key>"id"[ \t\r\n]*:)'
    rb'|(?P<string>"' + _PLAIN + rb"(?:\\" + _ESCAPED + _PLAIN + rb')*")'
    rb'|(?P<flawed>"[^"\\]*(?:\\[\s\S][^"\\]*)*")'
    rb"|(?P<open>[\[{])|(?P<close>[\]}])"
    rb'|(?P<word>[^\s"\[\]{},:]+)'
)
_STRING = rb'"[^"\\]*+(?:\\[\s\S][^"\\]*+)*+"'
_STRINGS = re.compile(_STRING)
#: As far as nothing closes, and as far as nothing opens.
_OPENING = re.compile(rb'(?:[^"\]}]++|' + _STRING + rb")*+")
_CLOSING = re.compile(rb'(?:[^"\[{]++|' + _STRING + rb")*+")
_EACH_CLOSE = re.compile(rb'[^"\]}]*+(?:' + _STRING + rb'[^"\]}]*+)*+[\]}]')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,299})(?:\.[0-9]{1,300})?")
_LONG_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_NO_NUMBER = re.compile(rb"[+-]?(?:nan|inf|infinity|[0-9.][0-9.eE+-]*)", re.IGNORECASE)
_ODD = re.compile(rb"\\(?P<fine>" + _ESCAPED + rb")|\\(?:u" + _HEX + rb"{4}|[\s\S])|[\x00-\x1f]")


def decode(text: bytes | msgspec.Raw, shape: type[T]) -> tuple[T, Flaws]:
    """What the JSON says, as `shape`, and what had to be mended for that. Raises one of UNREADABLE."""
    try:
        return msgspec.json.decode(text, type=shape), NO_FLAWS
    except UNREADABLE as error:
        text = bytes(text)
        if len(text) > MENDED_MAX_BYTES:
            raise _too_large(error, text) from error
        mended = mend(text)
        if mended.given_up_in is not None:
            raise _too_large(error, text, mended.given_up_in) from error
        try:
            return msgspec.json.decode(mended.text, type=shape), mended.flaws
        except msgspec.ValidationError:
            # It is JSON by now: what is wrong with it says more than where it broke before.
            raise
        except UNREADABLE:
            raise error from None


def _too_large(error: Exception, text: bytes, where: str = "") -> msgspec.DecodeError:
    size = f"{len(text) / 1024 / 1024:.1f} MiB"
    return msgspec.DecodeError(f"{error}; the answer is too large to be mended ({size}{where})")


def describe(flaws: Flaws) -> str:
    """What was mended, in words, with the ids of the objects that it is in."""
    ids = sorted(filter(None, flaws))
    named = ", ".join(ids[:_NAMED_MAX]) + (f" and {len(ids) - _NAMED_MAX} more" if len(ids) > _NAMED_MAX else "")
    what = " and ".join(sorted(frozenset().union(*flaws.values())))
    return f"{what}{f' in {named}' if named else ''}"


@dataclass(frozen=True, slots=True)
class Mended:
    """JSON that a strict decoder takes, if nothing else is wrong with it. `given_up_in`: in which item of the list
    (counted from 0, in words) it became too much work; None if it did not."""

    text: bytes
    flaws: Flaws
    given_up_in: str | None = None


@dataclass(slots=True)
class _Level:
    """An object or a list that is open: its id as far as it is known, how many of these have been opened in it, and
    what was mended in it."""

    is_list: bool = False
    opened: int = 0
    id: str = ""
    flaws: set[str] = field(default_factory=set)


class _Mender:
    """One pass over the tokens, without recursion."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._is_utf8 = _is_utf8(text)
        self._pieces: list[bytes] = []
        self._taken = 0
        self._levels = [_Level()]
        self._tokens_left = TOKENS_MAX
        self._given_up_in: str | None = None
        self._awaits_id = False
        self._flaws: dict[str, frozenset[str]] = {}

    def mend(self) -> Mended:
        at: int | None = 0
        while at is not None:
            at = self._mend_from(at)
        self._pieces.append(self._text[self._taken :])
        while self._levels:
            self._close_level()
        return Mended(b"".join(self._pieces), self._flaws, self._given_up_in)

    def _mend_from(self, at: int) -> int | None:
        """Mend up to the end, or to that of what was cut out: where to go on."""
        for match in _TOKEN.finditer(self._text, at):
            if not self._has_tokens_left():
                return None
            kind = match.lastgroup
            if kind == "key":
                self._awaits_id = True
            elif kind == "open":
                if len(self._levels) > DEPTH_MAX:
                    return self._cut(match.start())
                self._open(is_list=match[0] == b"[")
            elif kind == "close":
                self._close()
            elif kind == "word":
                self._take_word(match)
            else:
                self._take_string(match, is_flawed=kind == "flawed")
        return None

    def _has_tokens_left(self, cost: int = 1) -> bool:
        if self._tokens_left < cost:
            opened = next((level.opened for level in self._levels if level.is_list), 0)
            self._given_up_in = f", given up in item {opened - 1}" if opened else ""
            return False
        self._tokens_left -= cost
        return True

    def _put(self, start: int, end: int, instead: bytes, flaw: str) -> None:
        self._pieces += self._text[self._taken : start], instead
        self._taken = end
        self._levels[-1].flaws.add(flaw)

    def _open(self, *, is_list: bool) -> None:
        self._awaits_id = False
        self._levels[-1].opened += 1
        self._levels.append(_Level(is_list))

    def _cut(self, start: int) -> int | None:
        """Put null for what begins with the bracket at `start`: where it ends; None if it is too much work."""
        self._awaits_id = False
        at, depth = start, 0
        while True:
            if not self._has_tokens_left(_CUT_TOKENS):
                return None
            opening = _OPENING.match(self._text, at)
            closing = _CLOSING.match(self._text, opening.end()) if opening else None
            if opening is None or closing is None or closing.end() == at:
                at = len(self._text)  # a string that does not end, or nothing more
                break
            depth += _count(b"[{", opening[0])
            if (closed := _count(b"]}", closing[0])) >= depth:
                at = self._end_of(closing.start(), depth)
                break
            depth, at = depth - closed, closing.end()
        self._put(start, at, b"null", _DEPTH)
        return at

    def _end_of(self, at: int, depth: int) -> int:
        """The end of so many closing brackets from there on."""
        return next(islice(_EACH_CLOSE.finditer(self._text, at), depth - 1, None)).end()

    def _close(self) -> None:
        self._awaits_id = False
        if len(self._levels) > 1:
            self._close_level()

    def _close_level(self) -> None:
        """What was mended in something without an id was mended in what it belongs to."""
        level = self._levels.pop()
        if not level.flaws:
            return
        if level.id or not self._levels:
            self._flaws[level.id] = self._flaws.get(level.id, frozenset()) | level.flaws
        else:
            self._levels[-1].flaws |= level.flaws

    def _take_word(self, match: re.Match[bytes]) -> None:
        self._awaits_id = False
        word = match[0]
        if word in (b"true", b"false", b"null") or _NUMBER.fullmatch(word):
            return
        if _LONG_NUMBER.fullmatch(word) and math.isfinite(float(word)):
            return
        if _NO_NUMBER.fullmatch(word):
            self._put(match.start(), match.end(), b"null", _NUMBERS)

    def _take_string(self, match: re.Match[bytes], *, is_flawed: bool) -> None:
        string = match[0]
        if is_flawed or not (self._is_utf8 or _is_utf8(string)):
            string = _ODD.sub(_mend_odd, string.decode("utf-8", "replace").encode())
            self._put(match.start(), match.end(), string, _CHARACTERS)
        if self._awaits_id:
            self._levels[-1].id = string[1:-1].decode("utf-8", "replace")[:_ID_MAX]
        self._awaits_id = False


def mend(text: bytes) -> Mended:
    """The same JSON with null for what is no number or too deep, and U+FFFD for what is no character. Control
    characters are kept, as escapes. Other mistakes stay as they are."""
    return _Mender(text.removeprefix(b"\xef\xbb\xbf")).mend()


def _count(brackets: bytes, text: bytes) -> int:
    """How many of these brackets stand outside of strings."""
    bare = _STRINGS.sub(b"", text)
    return sum(map(bare.count, (brackets[:1], brackets[1:])))


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _mend_odd(match: re.Match[bytes]) -> bytes:
    odd = match[0]
    if match["fine"]:
        return odd
    return rb"\ufffd" if odd.startswith(b"\\") else b"\\u%04x" % odd[0]
