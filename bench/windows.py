"""Finding the window that an instant is in, by kind: around a change of the clock, and all over a year."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bench.frame import Figure, Sample, at_most, interleaved, timed
from watchdog.domain.window import Days, Every, Hours, Months, Weeks, Windows, Years
from watchdog.engine.windows import window_at

ZONE = ZoneInfo("Europe/Berlin")
KINDS: dict[str, Windows] = {
    "hours": Hours(ZONE),
    "days": Days(ZONE),
    "weeks from Sunday, 06:00": Weeks(ZONE, 6, time(6)),
    "months from day 31": Months(ZONE, 31),
    "years from 6 April": Years(ZONE, 4, 6),
    "every 6 h": Every(ZONE, timedelta(hours=6), datetime(2026, 1, 1)),
}
#: Two days before the clock is changed.
_START = datetime(2026, 3, 27, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Size:
    """So many look-ups in each round; so many rounds."""

    lookups: int = 10_000
    rounds: int = 9


FULL = Size()
QUICK = Size(lookups=2_000, rounds=5)


def run(quick: bool = False, size: Size | None = None) -> list[Figure]:
    """The figures of this group."""
    size = size or (QUICK if quick else FULL)
    works: dict[str, Callable[[], Sample]] = {}
    for name, windows in KINDS.items():
        works[f"{name}, four days around a change of the clock"] = _lookups(windows, size, timedelta(days=4))
        works[f"{name}, all over a year"] = _lookups(windows, size, timedelta(days=365))
    return [_figure(name, samples, size) for name, samples in interleaved(works, size.rounds).items()]


def _lookups(windows: Windows, size: Size, span: timedelta) -> Callable[[], Sample]:
    moments = [_START + span * number / size.lookups for number in range(size.lookups)]

    def work() -> None:
        for at in moments:
            window_at(windows, at)

    return lambda: timed(work)


def _figure(name: str, samples: list[Sample], size: Size) -> Figure:
    each_us = [sample.cpu_s / size.lookups * 1e6 for sample in samples]
    return Figure(
        f"windows: {name}, a look-up",
        statistics.median(each_us),
        "us",
        target=at_most(20),
        note=f"processor time; {len(samples)} rounds of {size.lookups:,}, between {min(each_us):.1f} and "
        f"{max(each_us):.1f} us",
    )
