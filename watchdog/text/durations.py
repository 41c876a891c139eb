"""Reading durations as people write them: `90s`, `1h30m`, `2d`. They are written by `domain.duration`."""

from __future__ import annotations

import math
import re

from watchdog.domain.duration import UNITS
from watchdog.text.escapes import shown
from watchdog.text.scalars import resolve

MAX_DURATION_S = 36_500 * 86_400.0

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>{_NUMBER}){unit}{'(?!s)' if unit == 'm' else ''})?" for unit in UNITS))
_EXAMPLES = "a number with a unit, such as 90s, 30m, 1h30m or 2d"


def parse_duration(text: str) -> float:
    """Seconds of a duration like `90s`, `30m`, `1h30m`, `1.5h`, `2d` or `500ms`.

    Units are d, h, m, s, ms, each at most once and in this order. Raises ValueError with a sentence for the user.
    """
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError(_duration_hint(text))
    seconds = math.fsum(float(number) * UNITS[unit] for unit, number in found.groupdict().items() if number)
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
