"""Reading figures and times that platforms write in more than one way. Unreadable is None, never zero."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

#: A request for an abort that could not be sent within so many seconds is not sent: the look before it is too old.
ABORT_PATIENCE_S = 60.0


def figure(value: object) -> float | None:
    """A finite number >= 0; None for anything else (text, booleans, NaN, negatives)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON has integers of any length
        return None
    return number if math.isfinite(number) and number >= 0 else None


def count(value: object) -> int | None:
    """A whole number >= 0; None for anything else."""
    number = figure(value)
    return int(number) if number is not None and number == int(number) else None


def text(value: object) -> str | None:
    """A non-empty string; None for anything else."""
    return value if isinstance(value, str) and value else None


def moment(value: object) -> datetime | None:
    """An ISO 8601 time as UTC; without an offset it is UTC already (lobstr writes both)."""
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):  # an offset may lead out of the years that there are
        return None


_TIMEDELTA = re.compile(
    r"(?:(?P<d>\d{1,9})(?: days?,)? )?(?P<h>\d{1,9}):(?P<m>[0-5]?\d):(?P<s>[0-5]?\d(?:\.\d{1,99})?)", re.ASCII
)


def seconds(value: object) -> float | None:
    """A duration: a number of seconds, or the text of Python's timedelta (`0:00:50.183300`, `1 day, 2:03:04`) or of
    Django REST framework (`1 02:03:04`)."""
    if isinstance(value, str):
        match = _TIMEDELTA.fullmatch(value.strip())
        if match is None:
            return None
        days, hours, minutes = (int(match[key] or 0) for key in "dhm")
        return days * 86400 + hours * 3600 + minutes * 60 + float(match["s"])
    return figure(value)


def percent(value: object) -> float | None:
    """A share from 0 to 1, written as `"42%"` or 42."""
    if isinstance(value, str):
        try:
            value = float(value.strip().removesuffix("%"))
        except ValueError:
            return None
    number = figure(value)
    return number / 100 if number is not None and number <= 100 else None


def part(value: object) -> Mapping[str, object]:
    """An object within an answer; an empty one for anything else, so that each of its figures is unknown."""
    return value if isinstance(value, dict) else {}
