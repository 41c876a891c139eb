"""When to look at which run next.

Durations, and usage with a known fastest growth, have an exact deadline: nothing can break before it. For anything else
the rate seen so far says how soon it could; half of that time is waited, and never less than `FLOOR_S`.
"""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.domain.run import LimitKind, Usage

#: Never look at one run more often than this, in seconds.
FLOOR_S = 1.0
#: Share of the time to the expected breach that is waited, while nothing is known of the source's history.
CAUTION = 0.5


def seconds_to_next_look(
    used: Usage,
    lowest: Mapping[LimitKind, float],
    *,
    exact_rates_per_s: Mapping[LimitKind, float],
    seen_rates_per_s: Mapping[LimitKind, float],
    ceiling_s: float,
) -> float:
    """Seconds until the next look at a run, at most `ceiling_s`.

    `lowest` is the lowest limit of each kind on it. `exact_rates_per_s` are rates that usage cannot exceed (1 s per
    second of duration), `seen_rates_per_s` the highest seen on this run.
    """
    soonest = ceiling_s
    for kind, limit in lowest.items():
        figure = used.of(kind)
        if figure is None or figure >= limit:
            continue
        if (exact := exact_rates_per_s.get(kind)) is not None:
            wait = (limit - figure) / exact if exact > 0 else ceiling_s
        elif (seen := seen_rates_per_s.get(kind, 0.0)) > 0:
            wait = max(FLOOR_S, CAUTION * (limit - figure) / seen)
        else:
            wait = ceiling_s
        soonest = min(soonest, wait)
    return soonest


def auto_interval_s(runs: int, requests_per_minute: float) -> float:
    """The longest time between two looks at a run where each look is a request: 30 s, or longer if 60 % of the rate
    budget does not allow that."""
    return max(30.0, runs / (0.6 * requests_per_minute / 60.0))
