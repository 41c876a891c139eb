"""Durations as people write and read them, in rule files and in every message: `500ms`, `90s`, `1h30m`, `2d`."""

from __future__ import annotations

import math

#: The units, largest first, in seconds.
UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_WHOLE = ("d", "h", "m", "s")


def format_duration(seconds: float, *, exact: bool = False) -> str:
    """Seconds in the notation of the rule files: `90` is `1m30s`, `5400` is `1h30m`.

    Rounded for reading, to the three largest units; below 10 s to a tenth. `exact` is for what is compared rather than
    read: there a change of a limit must never look like none.
    """
    if not math.isfinite(seconds):
        return f"{seconds}s"
    if exact:
        return _joined(seconds) or "0s"
    if 0 < seconds < 0.05 and (milliseconds := round(seconds * 1000, 3)):
        return f"{milliseconds:g}ms"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    return _joined(round(seconds), 3)


def _joined(seconds: float, most: int = len(_WHOLE)) -> str:
    """The units that are not zero, the largest first, no more than so many; a fraction stays with the seconds."""
    left, parts = seconds, []
    for unit in _WHOLE[:-1]:
        count, left = divmod(left, UNITS[unit])
        if count:
            parts.append(f"{count:.0f}{unit}")
    if left:
        parts.append(f"{round(left, 6)!r}".removesuffix(".0") + "s")
    return "".join(parts[:most])
