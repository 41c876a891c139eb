"""Values under `match` that can match nothing, though they look as if they did.

What a key can hold is known: account names are ours, and of ids and names the facts of a platform may say what they
are made of (`Spelling`). Where they say nothing, it may be any text. So a value that no run can have is refused, with
the right spelling; one that is only unlikely is warned about.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate

from watchdog.domain.glob import fold, glob_matches, is_invisible
from watchdog.domain.links import is_link, is_platform_link, named_by
from watchdog.domain.platform import Alphabet, Platforms, PlatformTraits, Spelling
from watchdog.text import shown
from watchdog.text.hints import suggestion

_QUOTES = "\"'`´\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a"
#: Parts of emoji and of Persian or Indian writing: in free text they are no accident, and compared without anyway.
_JOINERS = "\u200c\u200d\ufe0e\ufe0f"
_CHOICE = re.compile(r"\[(?:!|(?!!))(?:\][^\]]*|[^\]]+)\]")
_WILD = re.compile(r"[*?]")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_SEPARATOR = re.compile(r"\s*[,;|]\s*")
_HEX_ID = re.compile(r"[0-9A-Fa-f]{32}")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")


_LOOSE = "letters, digits, '-' and '_'"
_NAMES = "letters, digits, '.', '_' and '-'"
_ALPHABETS = {
    "platform": Alphabet(r"[A-Za-z0-9._-]", f"a platform's name has only {_NAMES}"),
    "account": Alphabet(r"[A-Za-z0-9._-]", f"an account's name has only {_NAMES}"),
    "run_id": Alphabet(r"[A-Za-z0-9_-]", f"a run's id has only {_LOOSE}"),
    "origin": Alphabet(r"[A-Za-z0-9_-]", f"an origin has only {_LOOSE}"),
}
_ASCII = tuple(map(chr, range(33, 127)))
#: What makes a text a regular expression, whatever key it stands under: anchors, classes, groups and counts. A name may
#: hold a '^', a '$' or a '+', so that one of these alone is none.
_REGEX = re.compile(
    r"^\^(?=.)|[a-z*+)\]]\$$|\.[*+]|\\[AbBdDsSwWZ.*+?()\[\]/-]|\][+]|\)[+]$|[\])]\{[0-9]"
    r"|\([^()]*\|[^()]*\)|^\(\?|^(?:re|regex|regexp)[:=]"
)
#: `/leads/i`: so do JavaScript, Perl and sed write one.
_SLASHED = re.compile(r"/(?P<within>[^/]+)/(?P<flags>[dgimsuvxy]*)")
#: `%leads%`: SQL. `50%` is a name.
_LIKE = re.compile(r"%[^\W\d_].*|.*[^\W\d_]%", re.DOTALL)
_VARIABLE = re.compile(r"\$\{[^{}]*\}|\$[A-Za-z_]\w*|\{\{.*\}\}|\$\([^()]*\)")
#: In free text only what is hardly anything else: a name may end in `$$$` or hold `$money`.
_SURE_VARIABLE = re.compile(r"\$\{\w+\}|\$[A-Z]+_[A-Z_]+\b|\{\{.*\}\}")
#: In front of what is left out, in search engines and shells.
_EXCLUDING = re.compile(r"!(?=\w)|-(?=[^\W\d_])|(?:not|NOT)\s+(?=\S)")
#: What addresses have in front of the name of an Actor.
_BEFORE_ACTOR = frozenset({"actors", "acts", "store", "v2"})


@dataclass(frozen=True, slots=True)
class Value:
    """A value under `match`: its key, the text as written, the platforms whose runs are meant, whether it stands
    alone rather than in a list, and all platforms there are."""

    key: str
    text: str
    platforms: frozenset[str]
    alone: bool = True
    known: Platforms = field(default_factory=dict)

    @property
    def alphabet(self) -> Alphabet | None:
        """What it is made of; None if that may be any text."""
        if self.key not in ("account", "platform") and not self.is_spelt:
            return None
        own = self.owner.spelling if self.owner is not None else None
        return _ALPHABETS.get(self.key) or (own.alphabets[self.key] if own is not None else None)

    @property
    def spellings(self) -> dict[str, Spelling]:
        """How ids and origins look on each platform, of those that say so."""
        return {name: traits.spelling for name, traits in self.known.items() if traits.spelling is not None}

    @property
    def is_spelt(self) -> bool:
        """Whether every platform that is meant says what its values look like."""
        return self.platforms <= set(self.spellings)

    @property
    def owner(self) -> PlatformTraits | None:
        """The platform that says what the values of this key are made of."""
        return next(
            (traits for traits in self.known.values() if traits.spelling and self.key in traits.spelling.alphabets),
            None,
        )

    @property
    def hex_platform(self) -> PlatformTraits | None:
        """The platform on which this key holds ids of 32 hexadecimal digits."""
        hexed = (self.known[name] for name, spelling in self.spellings.items() if spelling.hex_ids)
        return next((traits for traits in hexed if self.key in ("run_id", *traits.match_keys)), None)

    @property
    def literal(self) -> str:
        """The characters that stand for themselves."""
        return _WILD.sub("", _CHOICE.sub("", self.text))

    @property
    def is_exact(self) -> bool:
        """Whether it has no wildcard."""
        return self.literal == self.text


@dataclass(frozen=True, slots=True)
class Misspelling:
    """Why a value cannot match (`sure`) or is unlikely to, and what to write instead, if that can be told."""

    why: str
    sure: bool
    right: tuple[str, ...] = ()
    verb: str = ""

    @property
    def message(self) -> str:
        """As the end of a sentence that begins with the key."""
        verb = self.verb or ("can never match" if self.sure else "may match nothing")
        right = ", ".join(map(_as_yaml, self.right))
        cure = f"; write {right}" if len(self.right) == 1 else f"; write a list: [{right}]" if self.right else ""
        return f"{verb}: {self.why}{cure}"


def misspelling(value: Value) -> Misspelling | None:
    """What is wrong with the value, if anything; what it offers instead is free of all mistakes that are known here."""
    found = _first(value)
    if found is None:
        return None
    right = tuple(_mended(value, text) for text in found.right)
    return replace(found, right=right if all(right) else ())


def _first(value: Value) -> Misspelling | None:
    return next((found for trap in _TRAPS if (found := trap(value)) is not None), None)


def _mended(value: Value, text: str, tries: int = 5) -> str:
    """The text with all its mistakes mended; "" if there is no telling how."""
    found = _first(replace(value, text=text, alone=False))
    if found is None or (not found.sure and not found.right):
        return text
    return _mended(value, found.right[0], tries - 1) if len(found.right) == 1 and tries else ""


def _title(traits: PlatformTraits) -> str:
    return traits.title or traits.name


def _as_yaml(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- the traps, in the order in which they are looked for ------------------------------------------------------------


def _invisible(value: Value) -> Misspelling | None:
    free = value.alphabet is None
    hidden = [char for char in value.text if is_invisible(char) and not (free and char in _JOINERS)]
    if not hidden:
        return None
    names = ", ".join(dict.fromkeys(f"U+{ord(char):04X}" for char in hidden))
    clean = fold("".join(char for char in value.text if char not in hidden))
    # It would match, since nobody can see the difference; but the next tool that the text is pasted into would not.
    return Misspelling(shown(value.text), True, (clean,), f"must not hold an invisible character ({names})")


def _link(value: Value) -> Misspelling | None:
    there = value.known.values()
    if not (is_platform_link(value.text, there) or (value.alphabet is not None and is_link(value.text, there))):
        return None
    named = named_by(value.text, there)
    if value.key in named:
        return Misspelling(f"{shown(value.text)} is a link", True, (named[value.key],))
    ids = set(re.findall(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", value.text))
    if not named and len(ids) == 1 and value.hex_platform is not None:
        return Misspelling(f"{shown(value.text)} is a link", True, tuple(ids))
    others = ", ".join(f"{key}: {text}" for key, text in named.items())
    why = f", and what it names would be {others}" if others else f"; write the id or name, as {value.key} has it"
    return Misspelling(f"{shown(value.text)} is a link{why}", True)


def _quotes(value: Value) -> Misspelling | None:
    text = value.text
    if len(text) < 3 or text[0] not in _QUOTES or text[-1] not in _QUOTES:
        return None
    return Misspelling(f"the quotes in {text} are part of it", value.alphabet is not None, (text[1:-1],))


def _negation(value: Value) -> Misspelling | None:
    found = _EXCLUDING.match(value.text)
    free = value.alphabet is None
    if found is None and (free or not value.text.startswith("!")):
        return None
    mark = (found[0] if found else "!").strip()
    if mark == "-" and value.key in ("account", "platform"):
        return None  # those names are the user's own
    rest = shown(value.text[len(mark) :].strip())
    why = f"'{mark}' in front of {rest} excludes nothing; runs that are exempt go under protect"
    return Misspelling(why, not free and mark != "-")


def _variable(value: Value) -> Misspelling | None:
    found = (_SURE_VARIABLE if value.alphabet is None else _VARIABLE).search(value.text)
    if found is None:
        return None
    why = f"{shown(value.text)} holds {shown(found[0])}, and variables are not replaced in rule files"
    return Misspelling(why, value.alphabet is not None)


def _braces(value: Value) -> Misspelling | None:
    found = _BRACES.search(value.text)
    if found is None:
        return None
    head, tail = value.text[: found.start()], value.text[found.end() :]
    right = tuple(head + part.strip() + tail for part in found[1].split(","))
    return Misspelling(f"{shown(value.text)}: globs have no {{a,b}}", value.alphabet is not None, right)


def _several(value: Value) -> Misspelling | None:
    parts = [part.strip(" \"'") for part in _SEPARATOR.split(_CHOICE.sub("", value.text))]
    is_free = value.alphabet is None
    if len(parts) < 2 or (is_free and (not value.alone or "" in parts)):
        return None
    whole = tuple(part for part in _SEPARATOR.split(value.text) if part) if "[" not in value.text else ()
    if is_free:
        cure = f"; if one name is meant, write it as a list of one: [{_as_yaml(value.text)}]"
        return Misspelling(f"{shown(value.text)} is one text and not several{cure}", False)
    return Misspelling(f"{shown(value.text)} is one text and not several", True, whole)


def _api_spelling(value: Value) -> Misspelling | None:
    text, owner = value.text, value.owner
    if value.key not in ("actor", "task") or value.alphabet is None or owner is None:
        return None
    if value.key == "actor" and "~" in text:
        return Misspelling(f"{shown(text)} is how {_title(owner)}'s API writes it", True, (text.replace("~", "/"),))
    if value.key == "task" and re.search("[~/]", value.literal):
        return Misspelling(f"{shown(text)}: a task is known by its name alone", True, (re.split("[~/]", text)[-1],))
    return None


def _regular_expression(value: Value) -> Misspelling | None:
    free, text = value.alphabet is None, value.text
    slashed = _SLASHED.fullmatch(text) if free else None
    # A key of a plug-in may be a path.
    if slashed and (slashed["flags"] or value.hex_platform is not None):
        return Misspelling(f"{shown(text)} is no regular expression here", False, (f"*{slashed['within']}*",))
    if free and len(text.strip("%")) > 1 and _LIKE.fullmatch(text):
        return Misspelling(f"{shown(text)}: the sign for any text is '*'", False, (text.replace("%", "*"),))
    if _REGEX.search(_without_dots_of_names(value)) is None:
        return None
    right = re.sub(r"^\^|\$$", "", re.sub(r"\.[*+]", "*", text))
    is_better = right != text and _REGEX.search(right) is None and not re.search(r"[\\^$()+|]", right)
    why = f"{shown(text)} is read as a glob, not as a regular expression"
    return Misspelling(why, not free, (right,) if is_better else ())


def _without_dots_of_names(value: Value) -> str:
    """`john.*` are users, and accounts, that begin with `john.`; no name of an Actor or a task has a dot."""
    if value.key == "actor":
        return re.sub(r"^([\w.-]+)\.\*", r"\1*", value.text)
    return value.text.replace(".*", "*") if value.key in ("account", "platform") else value.text


def _empty_choice(value: Value) -> Misspelling | None:
    """`[z-a]` and `[#]` stand for no character that there can be."""
    alphabet = value.alphabet
    if alphabet is None:
        return None
    for choice in _CHOICE.findall(value.text):
        reading = re.compile(translate(choice))
        if not any(reading.match(char) for char in _ASCII if re.fullmatch(alphabet.one, char)):
            why = f"no character fits {shown(choice)} in {shown(value.text)}; {alphabet.words}"
            return Misspelling(why, True)
    return None


def _foreign_character(value: Value) -> Misspelling | None:
    alphabet = value.alphabet
    if alphabet is None:
        return None
    text = fold(value.literal)
    strange = next((char for char in text if not re.fullmatch(alphabet.one, char)), None)
    if strange is None:
        return None
    if strange in "[]":
        return Misspelling(f"a '[' in {shown(value.text)} is never closed, or a ']' never opened", True)
    code = "" if strange.isascii() else f" (U+{ord(strange):04X})"  # it may look just like one that is allowed
    what = _blank_in(value.literal) if strange == " " else f"{shown(strange)}{code}"
    why = f"{shown(value.text)} holds {what}; {alphabet.words}"
    right = _in_plain_letters(value.text)
    if value.key == "actor":
        right = right.replace("\\", "/")
    return Misspelling(why, True, (right,) if right != value.text else ())


def _blank_in(text: str) -> str:
    return "a tab" if "\t" in text.strip() else "a line break" if "\n" in text.strip() else "a blank"


def _in_plain_letters(text: str) -> str:
    """With the characters that word processors and databases put in place of plain ones taken back."""
    plain = unicodedata.normalize("NFKC", text)
    plain = "".join("-" if unicodedata.category(char) == "Pd" or char == "\u2212" else char for char in plain)
    return re.sub(r"\s*/\s*", "/", plain).replace("%", "*").removeprefix("@")


def _parts_of_actor(value: Value) -> Misspelling | None:
    if value.key != "actor" or value.alphabet is None:
        return None
    text, parts = value.text, [part for part in value.text.split("/") if part]
    if value.literal.count("/") > 1:
        while len(parts) > 2 and parts[0] in _BEFORE_ACTOR:
            del parts[0]
        right = ("/".join(parts[:2]),) if len(parts) >= 2 else ()
        return Misspelling(f"{shown(text)} has more parts than owner/name", True, right)
    if text.endswith("/") or text.startswith("/"):
        right = (f"{text}*" if text.endswith("/") else f"*{text}",)
        return Misspelling(f"{shown(text)} lacks the {'name' if text.endswith('/') else 'owner'}", True, right)
    return None


def _case_of_id(value: Value) -> Misspelling | None:
    """Ids of 32 hexadecimal digits are in lower case, and nothing else is 32 hexadecimal digits."""
    text, owner = value.text, value.hex_platform
    if owner is None or owner.name not in value.platforms:
        return None
    if _UUID.fullmatch(text):
        why = f"{shown(text)}: ids of {_title(owner)} have no '-'"
        return Misspelling(why, value.is_spelt, (text.replace("-", "").lower(),))
    if _HEX_ID.fullmatch(text) and text != text.lower():
        return Misspelling(f"{shown(text)}: ids of {_title(owner)} are in lower case", value.is_spelt, (text.lower(),))
    return None


def _origin(value: Value) -> Misspelling | None:
    if value.key != "origin":
        return None
    spellings = value.spellings
    here = {name: spellings[name].origins for name in sorted(value.platforms) if name in spellings}
    known = tuple(origin for origins in here.values() for origin in origins)
    if glob_matches((value.text,), known):
        return None
    folded = [origin for origin in known if glob_matches((value.text.upper(),), (origin.upper(),))]
    if folded:
        right = (folded[0],) if value.is_exact else (value.text.upper(),)
        # Where a platform may have words that nobody has seen yet there is a doubt.
        sure = value.is_spelt and bool(here) and all(spellings[name].all_origins for name in here)
        return Misspelling(f"{shown(value.text)}: upper and lower case count", sure, right)
    hint = suggestion(value.text, known)
    if not hint and (len(here) < len(value.platforms) or not here):
        return None  # a plug-in's words are its own
    what = f"{shown(value.text)} is not an origin on {' or '.join(here)}"
    return Misspelling(f"{what}{hint or '; known: ' + _origins_of(here)}", False)


def _origins_of(platforms: Mapping[str, Sequence[str]]) -> str:
    if len(platforms) == 1:
        return ", ".join(*platforms.values())
    return "; ".join(f"on {name} {', '.join(origins)}" for name, origins in platforms.items())


def _unlikely_id(value: Value) -> Misspelling | None:
    if value.key != "run_id" or not value.is_exact or not value.is_spelt or not value.platforms:
        return None
    looks = {name: value.spellings[name] for name in sorted(value.platforms)}
    if any(re.fullmatch(look.id, fold(value.text)) for look in looks.values()):
        return None
    words = ", ".join(f"{look.id_words} on {_title(value.known[name])}" for name, look in looks.items())
    return Misspelling(f"{shown(value.text)} does not look like the id of a run ({words})", False)


def _capitals(value: Value) -> Misspelling | None:
    text, owner = value.text, value.owner
    if value.key not in ("actor", "task") or value.alphabet is None or owner is None or text == text.lower():
        return None
    if not value.is_exact and "/" not in text and not re.search("[a-z]-|-[a-z]", text):
        return None  # the beginning of an id, perhaps
    if owner.spelling is not None and re.fullmatch(owner.spelling.id, text):
        return None
    why = f"{shown(text)} has capitals, which names on {_title(owner)} hardly ever have, and case counts"
    return Misspelling(why, False, (text.lower(),))


_TRAPS: tuple[Callable[[Value], Misspelling | None], ...] = (
    _invisible, _link, _quotes, _negation, _variable, _braces, _several, _api_spelling, _regular_expression,
    _empty_choice, _foreign_character, _parts_of_actor, _case_of_id, _origin, _unlikely_id, _capitals,
)  # fmt: skip


def misspellings(
    key: str, texts: Collection[str], platforms: Collection[str], known: Platforms, *, alone: bool
) -> Iterator[tuple[int, Misspelling]]:
    """Those among the values of one key, each with its index; `platforms` are meant, of those that are `known`."""
    for index, text in enumerate(texts):
        if (found := misspelling(Value(key, text, frozenset(platforms), alone, known))) is not None:
            yield index, found
