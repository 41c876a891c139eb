"""What an unquoted word in YAML is: as YAML 1.2 has it, with yes/no/on/off as well.

Under PyYAML's YAML 1.1 rules `010` would be 8, `1:30` be 90 and `1e3` be text.
"""

from __future__ import annotations

import re
from typing import TypeAlias

ScalarValue: TypeAlias = str | int | float | bool | None

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
