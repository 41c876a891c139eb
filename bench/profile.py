"""Where a profile's time goes, by the rooms of the house and the libraries behind them."""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from dataclasses import dataclass
from typing import Any

#: The first part found in the path of a function's file says where its time belongs.
_PLACES = (
    ("watchdog/platforms", "adapter"),
    ("watchdog/net", "requests"),
    ("watchdog/runtime/enforcer", "aborts"),
    ("watchdog/engine/escalation", "aborts"),
    ("watchdog/engine/opening", "aborts"),
    ("watchdog/engine/pursuit", "aborts"),
    ("watchdog/engine/patience", "aborts"),
    ("watchdog/engine/settling", "aborts"),
    ("watchdog/engine/ends", "aborts"),
    ("watchdog/engine/savings", "aborts"),
    ("watchdog/runtime", "judge"),
    ("watchdog/engine", "judge"),
    ("watchdog/domain", "judge"),
    ("watchdog/ledger", "ledger"),
    ("watchdog/telemetry", "telemetry"),
    ("watchdog/app", "telemetry"),
    ("sqlalchemy", "ledger"),
    ("prometheus_client", "telemetry"),
    ("structlog", "telemetry"),
    ("/logging/", "telemetry"),
    ("/json/", "telemetry"),
    ("httpx", "requests"),
    ("httpcore", "requests"),
    ("aiohttp", "requests"),
    ("h11", "requests"),
    ("anyio", "requests"),
    ("yarl", "requests"),
    ("multidict", "requests"),
    ("urllib/", "requests"),
    ("/http/", "requests"),
    ("/email/", "requests"),
    ("/ssl", "requests"),
    ("/socket", "requests"),
    ("selectors", "event loop"),
    ("asyncio", "event loop"),
    ("contextlib", "event loop"),
    ("concurrent/", "event loop"),
)
_OTHER = "other"
_IDLE = "waiting"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Seconds by place, and the functions that took most by themselves: (where, seconds, calls)."""

    places: dict[str, float]
    top: list[tuple[str, float, int]]


def broken_down(profile: cProfile.Profile, top: int = 25) -> Breakdown:
    """Own time of every function, added up by place. That of built-ins goes to those who called them."""
    stats: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]  # there, but left out of the stubs
    places: Counter[str] = Counter()
    for function, (_, _, own_s, _, callers) in stats.items():
        if (place := _place(function)) is not None:
            places[place] += own_s
        else:
            for caller, (_, _, part_s, _) in callers.items():
                places[_place(caller) or _OTHER] += part_s
    heaviest = sorted(stats.items(), key=lambda item: item[1][2], reverse=True)[:top]
    return Breakdown(dict(places), [(_shown(function), entry[2], entry[1]) for function, entry in heaviest])


def _place(function: tuple[str, int, str]) -> str | None:
    """None: a built-in that belongs to whoever calls it."""
    file, _, name = function
    if file == "~":
        if "msgspec" in name:
            return "decode"
        return _IDLE if "poll" in name and "select" in name else None
    path = file.replace("\\", "/")
    return next((place for part, place in _PLACES if part in path), _OTHER)


def _shown(function: tuple[str, int, str]) -> str:
    """File and function, without the folders above."""
    file, line, name = function
    return name if file == "~" else f"{'/'.join(file.split('/')[-2:])}:{line} {name}"
