"""Globs, and when two texts count as the same.

People copy names from web pages and mail, so texts that look the same are the same: both sides are compared in
Unicode's composed form (NFC), with every kind of blank as one plain space, none at the ends, and without characters
that nobody can see.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache
from typing import NamedTuple

_WILD = re.compile(r"[*?\[]")
_SPECIAL = re.compile(r"[*?\[\]]")


def is_invisible(char: str) -> bool:
    """Whether nobody can see it: zero width, byte order mark, soft hyphen, marks of direction, variants of emoji."""
    return not char.isascii() and (unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f")


def fold(text: str) -> str:
    """The text in the form in which texts are compared."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(char for char in text if not is_invisible(char)))
    elif " " not in text and text.isprintable():
        return text  # nearly every id and name, in a tenth of the time
    return " ".join(text.split())


class Handles(NamedTuple):
    """Texts (folded) of which a name must have one for some globs to match it: be one of `whole`, begin with one of
    `starts` or end with one of `ends`. Having one does not make it match."""

    whole: frozenset[str]
    starts: frozenset[str]
    ends: frozenset[str]


class Matcher:
    """Some globs made ready: `*` is any text (also across `/`), `?` one character, `[abc]` one of these.

    A pattern is also an exact text: `[EU] leads` matches the name `[EU] leads`, and `[EU] *` every name that begins
    so. Case counts. However many exact texts there are, a name is found among them in one look-up.
    """

    __slots__ = ("_exact", "_globs", "_wild")

    def __init__(self, patterns: Iterable[str]) -> None:
        folded = tuple(map(fold, patterns))
        self._exact = frozenset(folded)
        self._wild = tuple(pattern for pattern in folded if _WILD.search(pattern))
        self._globs = tuple(map(_compiled, self._wild))

    @property
    def exact(self) -> frozenset[str] | None:
        """The texts (folded) that are matched, if there are no wildcards; None if there are."""
        return None if self._globs else self._exact

    @property
    def handles(self) -> Handles | None:
        """What a name must have for any glob to match it; None if a glob asks for nothing that could be looked up."""
        starts, ends = set(), set()
        for pattern in self._wild:
            if start := _SPECIAL.split(pattern, 1)[0]:
                starts.add(start)
            elif end := _SPECIAL.split(pattern)[-1]:
                ends.add(end)
            else:
                return None
        return Handles(self._exact, frozenset(starts), frozenset(ends))

    def matches(self, name: str) -> bool:
        """Whether any glob matches."""
        return self.matches_any((name,))

    def matches_any(self, names: Iterable[str]) -> bool:
        """Whether any glob matches any of the names."""
        for name in names:  # plain loops: this is asked for every rule and source
            text = fold(name)
            if text in self._exact:
                return True
            for glob in self._globs:
                if glob.match(text) is not None:
                    return True
        return False


def _compiled(pattern: str) -> re.Pattern[str]:
    readings = {translate(pattern): None, translate(pattern.replace("[", "[[]")): None}
    return re.compile("|".join(readings))


@lru_cache(maxsize=1024)
def matcher(patterns: tuple[str, ...]) -> Matcher:
    """The matcher of these globs; for use while reading configurations, not for every run."""
    return Matcher(patterns)


def glob_matches(patterns: tuple[str, ...], names: Iterable[str]) -> bool:
    """Whether any glob matches any of the names."""
    return matcher(patterns).matches_any(names)
