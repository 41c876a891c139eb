"""List and detail of a run, where they do not agree.

Usage never goes back. So a figure that was over a limit and is below it later, in the other of both or in the same one,
is wrong now or was wrong before. It may only lag behind for some seconds; if not, somebody must know, since limits go
by these two: the detail decides, and the list tells when to look. For the same reason a list that shows a run within
its limits is not taken at its word for ever.
"""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.domain.decision import describe
from watchdog.domain.meter import LEARNED, Meter
from watchdog.domain.run import Snapshot
from watchdog.engine.evaluate import WARNING_RATIO
from watchdog.engine.remembered import Remembered

#: What contradicts itself for so many seconds does not just lag behind; so long without, and it starts anew.
LAG_S = 10.0
PASSED_S = 120.0
#: A detail over a limit where the list shows less than this share of it, of a run that is so many seconds old: the list
#: does not just lag behind.
APART = 0.5
GROWN_S = 60.0
#: The list is taken at its word for so many seconds: near a limit, half way to it, before the first look, and else.
TRUST_NEAR_S = 60.0
TRUST_HALF_S = 300.0
TRUST_FIRST_S = 300.0
TRUST_S = 1800.0
HALF_WAY = 0.5
#: The share of the rate budget that such looks may use, and the most of them, per second; the part of it that is kept
#: for runs that are half way to a limit.
SHARE = 0.02
PER_S_MAX = 0.5
KEPT = 0.25


def went_back(
    earlier: Snapshot | None, later: Snapshot, limits: Mapping[Meter, float]
) -> tuple[Meter, float, float] | None:
    """The kind, and both figures, of a limit that was broken earlier and is not later."""
    if earlier is None:
        return None
    for kind in LEARNED:
        limit, before, after = limits.get(kind), earlier.usage.of(kind), later.usage.of(kind)
        if limit is not None and before is not None and after is not None and after < limit <= before:
            return kind, before, after
    return None


def doubt(watched: Remembered, seen: Snapshot, limits: Mapping[Meter, float], now_s: float) -> str | None:
    """What to tell of a run, once, after `seen` (of a list or a detail, and the newest) showed that what is known of it
    does not agree, and does not just lag behind; None: nothing."""
    others = (watched.swept, watched.inspected) if seen.inspected else (watched.inspected,)
    for other in others:
        if (found := went_back(other, seen, limits)) is not None:
            kind, before, after = found
            words = f"{_showed(other, kind, before)} and later {_showed(seen, kind, after)}"
            return _text(words) if _lasts(watched, now_s) and watched.first_time(("", kind, "doubt", 0.0)) else None
    listed = watched.swept
    age_s = max(now_s - watched.since, seen.usage.duration_s or 0.0)
    if not seen.inspected or age_s < GROWN_S or now_s - watched.swept_at > GROWN_S:
        return None
    for kind in LEARNED:
        limit, shown, proven = limits.get(kind), listed.usage.of(kind), seen.usage.of(kind)
        if limit is None or shown is None or proven is None or not shown < APART * limit <= APART * proven:
            continue
        if watched.first_time(("", kind, "doubt", 0.0)):
            return _text(f"{_showed(listed, kind, shown)} and right after it {_showed(seen, kind, proven)}")
    return None


def _lasts(watched: Remembered, now_s: float) -> bool:
    """Whether it is more than a lag, now that it has shown (again)."""
    if watched.doubted_since is None or now_s - watched.doubted_at > PASSED_S:
        watched.doubted_since = now_s
    watched.doubted_at = now_s
    return now_s - watched.doubted_since >= LAG_S


def _showed(seen: Snapshot | None, kind: Meter, figure: float) -> str:
    where = "its detail" if seen is not None and seen.inspected else "the list"
    return f"{where} showed {describe(kind, figure)}"


def _text(words: str) -> str:
    return (
        f"the figures of this run contradict each other: {words}; it is only stopped while a fresh look at its detail "
        "shows it over its limit; tell the platform"
    )


class Audits:
    """Which runs, that the list shows to be within their limits, are looked at all the same, a few at each sweep."""

    def __init__(self, requests_per_minute: float) -> None:
        self._per_s = min(PER_S_MAX, SHARE * requests_per_minute / 60.0)
        self._most = max(2.0, self._per_s * 60.0)
        self._left = 0.0

    def begin(self, seconds: float) -> None:
        """A sweep begins, so many seconds after the last one."""
        self._left = min(self._most, self._left + self._per_s * seconds)

    def wants(self, watched: Remembered, limits: Mapping[Meter, float], now_s: float) -> bool:
        """Whether this run is to be looked at now."""
        trusted_s = now_s - max(watched.inspected_at, watched.since)
        if self._left < 1.0 or trusted_s < TRUST_NEAR_S:
            return False
        usage = watched.swept.usage
        ratios = [
            figure / limit for kind in LEARNED if (limit := limits.get(kind)) and (figure := usage.of(kind)) is not None
        ]
        if not ratios or trusted_s < _trust_s(watched, max(ratios)):
            return False
        if max(ratios) < HALF_WAY and self._left < 1.0 + KEPT * self._most:
            return False
        self._left -= 1.0
        return True


def _trust_s(watched: Remembered, ratio: float) -> float:
    if ratio >= WARNING_RATIO:
        return TRUST_NEAR_S
    if ratio >= HALF_WAY:
        return TRUST_HALF_S
    return TRUST_FIRST_S if watched.inspected is None else TRUST_S
