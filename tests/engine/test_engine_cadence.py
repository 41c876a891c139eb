"""When to look next: not after a breach can have come, not more often than allowed, not later than the ceiling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.run import LimitKind, Usage
from watchdog.engine.cadence import CAUTION, FLOOR_S, auto_interval_s, seconds_to_next_look

CREDITS, COST, DURATION = LimitKind.MAX_CREDITS, LimitKind.MAX_COST_USD, LimitKind.MAX_DURATION


@pytest.mark.parametrize(
    ("used", "lowest", "exact", "seen", "wait"),
    [
        (Usage(), {}, {}, {}, 300),
        (Usage(duration_s=7190), {DURATION: 7200}, {DURATION: 1}, {}, 10),
        (Usage(duration_s=0), {DURATION: 7200}, {DURATION: 1}, {}, 300),
        (Usage(), {DURATION: 7200}, {DURATION: 1}, {}, 300),
        (Usage(credits=39), {CREDITS: 40}, {CREDITS: 0.1}, {CREDITS: 5}, 10),
        (Usage(credits=39), {CREDITS: 40}, {CREDITS: 0}, {}, 300),
        (Usage(cost_usd=4), {COST: 5}, {}, {COST: 0.01}, 50),
        (Usage(cost_usd=4.999), {COST: 5}, {}, {COST: 0.01}, FLOOR_S),
        (Usage(cost_usd=4), {COST: 5}, {}, {}, 300),
        (Usage(duration_s=7200), {DURATION: 7200}, {DURATION: 1}, {}, 300),
        (Usage(cost_usd=4, duration_s=7180), {COST: 5, DURATION: 7200}, {DURATION: 1}, {COST: 0.01}, 20),
        (Usage(cost_usd=6, duration_s=7180), {COST: 5, DURATION: 7200}, {DURATION: 1}, {COST: 0.01}, 20),
    ],
)
def test_next_look(
    used: Usage,
    lowest: dict[LimitKind, float],
    exact: dict[LimitKind, float],
    seen: dict[LimitKind, float],
    wait: float,
) -> None:
    got = seconds_to_next_look(used, lowest, exact_rates_per_s=exact, seen_rates_per_s=seen, ceiling_s=300)
    assert got == pytest.approx(wait)


_FIGURE = st.floats(0, 1e6)
_RATES = st.dictionaries(st.sampled_from(LimitKind), st.floats(0, 1e3))


@given(
    used=st.builds(Usage, *[st.none() | _FIGURE] * 3),
    lowest=st.dictionaries(st.sampled_from(LimitKind), _FIGURE),
    exact=_RATES,
    seen=_RATES,
    ceiling=st.floats(0.1, 1e4),
)
def test_no_breach_can_come_before_the_look_where_the_fastest_growth_is_known(
    used: Usage,
    lowest: dict[LimitKind, float],
    exact: dict[LimitKind, float],
    seen: dict[LimitKind, float],
    ceiling: float,
) -> None:
    wait = seconds_to_next_look(used, lowest, exact_rates_per_s=exact, seen_rates_per_s=seen, ceiling_s=ceiling)
    assert 0 <= wait <= ceiling
    for kind, limit in lowest.items():
        figure = used.of(kind)
        if figure is None or figure >= limit:
            continue
        if kind in exact:
            assert figure + exact[kind] * wait <= limit * (1 + 1e-9) + 1e-9
        elif wait > FLOOR_S:
            assert figure + seen.get(kind, 0.0) * wait <= figure + CAUTION * (limit - figure) + 1e-6


@given(limit=st.floats(1, 1e6), share=st.floats(0, 0.99), rate=st.floats(1e-3, 1e3))
def test_looks_come_closer_as_the_limit_does(limit: float, share: float, rate: float) -> None:
    def wait(used: float) -> float:
        rates = {COST: rate}
        return seconds_to_next_look(
            Usage(cost_usd=used), {COST: limit}, exact_rates_per_s={}, seen_rates_per_s=rates, ceiling_s=1e9
        )

    assert FLOOR_S <= wait(limit * (share + 1) / 2) <= wait(limit * share)


@pytest.mark.parametrize(("runs", "budget", "seconds"), [(0, 120, 30), (36, 120, 30), (72, 120, 60), (10, 6, 1000 / 6)])
def test_the_interval_stays_inside_the_rate_budget(runs: int, budget: float, seconds: float) -> None:
    interval = auto_interval_s(runs, budget)
    assert interval == pytest.approx(seconds)
    assert runs * 60 / interval <= 0.6 * budget + 1e-9
