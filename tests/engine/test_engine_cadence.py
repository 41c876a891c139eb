"""When to look next: no deadline missed, not more often than allowed, not later than the ceiling, and by whose turn."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from watchdog.engine.cadence import (
    CEILING_KNOWN_S,
    CEILING_UNKNOWN_S,
    FLOOR_S,
    LISTS_SHARE,
    LOOKS_SHARE,
    PATIENCE_S,
    PRECISION,
    PRECISION_MAX_S,
    RENEWED_S,
    STILL_MAX_S,
    Haste,
    Look,
    ceiling_s,
    discovery_interval_s,
    haste,
    next_look,
    sweep_is_cheaper,
)
from watchdog.engine.forecast import Outlook, exact_outlook

NEVER = math.inf
#: With a small rate budget: without history, and with.
UNKNOWN, KNOWN = haste(120, known=False), haste(120, known=True)


def learned(limit: float, share: float, fast: float | None, **details: float) -> Outlook:
    """Of a figure that is learned, this share of whose limit is used."""
    return Outlook(limit, limit * (1 - share), fast, fast, **details)


def look(*outlooks: Outlook, pace: Haste | None = None, ceiling: float = NEVER) -> Look:
    return next_look(outlooks, pace or UNKNOWN, ceiling)


_LIMITS = st.floats(0.1, 1e4)
_SHARES = st.floats(0, 0.999)
_RATES = st.floats(1e-4, 1e3)
_STILL = st.floats(0, 1e5)
_BUDGETS = st.floats(1, 10_000)
_PACES = st.builds(lambda budget, known: haste(budget, known=known), _BUDGETS, st.booleans())
_PLAIN = st.builds(learned, _LIMITS, _SHARES, _RATES)
_RENEWED = st.builds(
    lambda limit, share, fast, period, phase, age, still: learned(
        limit, share, fast, period_s=period, renewed_in_s=phase * period, age_s=age * period, still_s=still
    ),
    _LIMITS,
    _SHARES,
    _RATES,
    st.floats(2, 600),
    st.floats(0, 1),
    st.floats(0, 1),
    _STILL,
)
_LEARNED = _PLAIN | st.builds(learned, _LIMITS, _SHARES, st.none() | _RATES, still_s=_STILL) | _RENEWED
_EXACT = st.builds(lambda limit, share, rate: exact_outlook(limit, share * limit, rate), _LIMITS, _SHARES, _RATES)


def test_examples() -> None:
    dollars = Outlook(5.0, 1.0, 0.01, 0.005)  # a dollar left, 100 s at the fastest
    assert look(dollars) == Look(50.0, 100.0, 100.0 + 0.02 * 500)
    assert look(dollars, pace=KNOWN).wait_s == 90.0
    assert look(dollars, ceiling=30.0).wait_s == 30.0
    hours = exact_outlook(7200.0, 7190.0, 1.0)
    assert look(hours).wait_s == look(hours).breach_s == look(hours).deadline_s == 10.0
    both = look(dollars, hours)
    assert (both.wait_s, both.breach_s, both.deadline_s) == (10.0, 10.0, 10.0)
    assert look(ceiling=300.0) == Look(300.0, NEVER, 300.0 + PATIENCE_S)
    assert look(learned(5.0, 0.5, None), ceiling=300.0) == Look(300.0, NEVER, 300.0 + PATIENCE_S)
    assert look(exact_outlook(5.0, 5.0, 1.0)).wait_s == 0.0
    assert look(learned(5.0, 1.0, 1.0)).wait_s == FLOOR_S


@given(outlooks=st.lists(_EXACT | _LEARNED, max_size=4), pace=_PACES, ceiling=st.floats(1, 1e4))
def test_no_look_comes_after_a_deadline_nor_after_the_ceiling(
    outlooks: list[Outlook], pace: Haste, ceiling: float
) -> None:
    planned = look(*outlooks, pace=pace, ceiling=ceiling)
    assert 0 <= planned.wait_s <= ceiling
    deadlines = [each.plausible_s for each in outlooks if each.exact]
    assert planned.deadline_s == min(deadlines, default=NEVER)
    assert planned.wait_s <= planned.deadline_s
    assert planned.breach_s == min((each.plausible_s for each in outlooks), default=NEVER)
    assert planned.breach_s <= planned.deadline_s
    assert planned.turn_s <= planned.wait_s + PATIENCE_S, "no look waits for others for ever"
    assert not any(math.isnan(figure) for figure in (planned.wait_s, planned.breach_s, planned.turn_s))


@given(outlooks=st.lists(_LEARNED, max_size=4), pace=_PACES)
def test_a_learned_figure_is_not_looked_at_more_often_than_the_floor(outlooks: list[Outlook], pace: Haste) -> None:
    assert look(*outlooks, pace=pace).wait_s >= pace.floor_s


@given(each=_PLAIN, pace=_PACES)
def test_the_look_comes_before_the_earliest_plausible_breach_unless_it_is_too_near(each: Outlook, pace: Haste) -> None:
    assert each.fast
    least_s = max(pace.floor_s, min(PRECISION_MAX_S, PRECISION * each.limit / each.fast))
    wait_s = look(each, pace=pace).wait_s
    assert wait_s <= max(least_s, each.plausible_s) * (1 + 1e-9)
    assert wait_s >= least_s * (1 - 1e-9)
    if each.plausible_s > 100 * least_s:
        assert wait_s == pytest.approx(pace.share * each.plausible_s)


@given(limit=_LIMITS, share=_SHARES, rate=_RATES, pace=_PACES, nearer=st.floats(0, 1))
def test_looks_come_closer_as_the_limit_does(
    limit: float, share: float, rate: float, pace: Haste, nearer: float
) -> None:
    """After the time that was waited has passed at the fastest rate, the next wait is no longer than this one."""
    left = 1 - share
    far = look(learned(limit, share, rate), pace=pace).wait_s
    near = look(learned(limit, 1 - left * nearer * pace.share, rate), pace=pace).wait_s
    assert near <= far * (1 + 1e-6)


@given(each=_PLAIN, still=_STILL, pace=_PACES)
def test_a_figure_that_stands_still_is_looked_at_less_but_not_much_less(
    each: Outlook, still: float, pace: Haste
) -> None:
    moving = look(each, pace=pace).wait_s
    standing = look(Outlook(each.limit, each.left, each.fast, each.mean, still_s=still), pace=pace).wait_s
    assert moving <= standing <= max(moving, STILL_MAX_S)


@given(each=_RENEWED, pace=_PACES)
def test_a_figure_that_is_renewed_periodically_is_looked_at_just_after_a_renewal(each: Outlook, pace: Haste) -> None:
    assert each.renewed_in_s is not None
    wait_s = look(each, pace=pace).wait_s
    periods = (wait_s - RENEWED_S - each.renewed_in_s) / each.period_s
    assert periods == pytest.approx(round(periods), abs=1e-6)
    assert round(periods) >= 0
    # It is no later than the first renewal after which a plain figure would be looked at.
    plain = Outlook(each.limit, each.left, each.fast, each.mean, age_s=each.age_s)
    assert wait_s <= max(look(plain, pace=pace).wait_s, each.renewed_in_s) + each.period_s + RENEWED_S + 1e-6


@given(limit=_LIMITS, plausible=st.floats(0.01, 1e4), slow=_RATES, times=st.floats(1, 1e3))
def test_of_two_runs_equally_close_the_faster_has_its_turn_first(
    limit: float, plausible: float, slow: float, times: float
) -> None:
    """Seconds to the breach are the same, but the fast one goes further past its limit in those that follow."""
    slow_one = Outlook(limit, plausible * slow, slow, slow)
    fast_one = Outlook(limit, plausible * slow * times, slow * times, slow * times)
    assume(fast_one.left <= limit)
    assert look(fast_one).turn_s <= look(slow_one).turn_s * (1 + 1e-9)
    lean = look(Outlook(limit, 10 * slow, slow, slow)), look(Outlook(limit, 20 * slow, 2 * slow, 2 * slow))
    if 0.02 * limit / slow < PATIENCE_S:
        assert lean[1].turn_s < lean[0].turn_s


@given(outlooks=st.lists(_EXACT | _LEARNED, min_size=1, max_size=4), more=_EXACT | _LEARNED, pace=_PACES)
def test_one_more_limit_never_puts_a_look_off(outlooks: list[Outlook], more: Outlook, pace: Haste) -> None:
    fewer, all_of_them = look(*outlooks, pace=pace), look(*outlooks, more, pace=pace)
    assert all_of_them.wait_s <= fewer.wait_s
    assert all_of_them.breach_s <= fewer.breach_s
    assert all_of_them.turn_s <= fewer.turn_s


# Intervals and the rate budget


@given(runs=st.integers(0, 100_000), budget=_BUDGETS, watched=st.floats(0, 1e6))
@example(runs=200, budget=120.0, watched=0.0)
def test_looks_at_the_ceiling_stay_inside_their_share_of_the_rate_budget(
    runs: int, budget: float, watched: float
) -> None:
    ceiling = ceiling_s(runs, budget, known=False, watched_s=watched)
    assert runs * 60 / ceiling <= LOOKS_SHARE * budget * (1 + 1e-9)
    assert ceiling >= CEILING_UNKNOWN_S


@given(runs=st.integers(0, 100_000), budget=_BUDGETS)
def test_so_do_looks_at_runs_with_a_history(runs: int, budget: float) -> None:
    """Else the queue holds more than can ever be served, and those whose limit is near wait behind overdue others."""
    ceiling = ceiling_s(runs, budget, known=True)
    assert runs * 60 / ceiling <= LOOKS_SHARE * budget * (1 + 1e-9)
    assert ceiling >= CEILING_KNOWN_S


@pytest.mark.parametrize(
    ("runs", "budget", "known", "watched", "seconds"),
    [
        (0, 120, False, 0, 30),
        (36, 120, False, 0, 30),
        (72, 120, False, 0, 60),
        (10, 6, False, 0, 1000 / 6),
        (10, 120, False, 1000, 100),
        (10, 120, False, 1e6, 300),
        (200, 120, True, 0, 300),
    ],
)
def test_ceilings(runs: int, budget: float, known: bool, watched: float, seconds: float) -> None:
    assert ceiling_s(runs, budget, known=known, watched_s=watched) == pytest.approx(seconds)


@given(runs=st.integers(0, 1000), budget=_BUDGETS, watched=st.floats(0, 1e5), longer=st.floats(0, 1e5))
def test_a_run_watched_for_longer_may_be_left_alone_for_longer(
    runs: int, budget: float, watched: float, longer: float
) -> None:
    before = ceiling_s(runs, budget, known=False, watched_s=watched)
    assert ceiling_s(runs, budget, known=False, watched_s=watched + longer) >= before


@given(pages=st.integers(1, 10_000), budget=_BUDGETS)
def test_lists_stay_inside_their_share_of_the_rate_budget(pages: int, budget: float) -> None:
    interval = discovery_interval_s(pages, budget)
    assert pages * 60 / interval <= LISTS_SHARE * budget * (1 + 1e-9)
    assert interval >= CEILING_UNKNOWN_S
    assert discovery_interval_s(pages + 1, budget) >= interval


@given(looks=st.integers(0, 10_000), pages=st.integers(1, 100))
def test_a_sweep_gets_cheaper_with_more_looks_and_dearer_with_more_pages(looks: int, pages: int) -> None:
    assert not sweep_is_cheaper(4 * pages, pages), "a page weighs more than a look"
    if sweep_is_cheaper(looks, pages):
        assert sweep_is_cheaper(looks + 1, pages)
    else:
        assert not sweep_is_cheaper(looks, pages + 1)
    assert sweep_is_cheaper(1000 * pages, pages)


@given(one=_BUDGETS, other=_BUDGETS, known=st.booleans())
def test_an_ample_rate_budget_allows_closer_looks(one: float, other: float, known: bool) -> None:
    poor, rich = (haste(budget, known=known) for budget in sorted((one, other)))
    assert 0 < rich.floor_s <= poor.floor_s <= FLOOR_S
    assert 0 < rich.share <= poor.share < 1


@given(budget=_BUDGETS)
def test_history_lets_more_of_the_time_be_waited(budget: float) -> None:
    known, unknown = haste(budget, known=True), haste(budget, known=False)
    assert known.share > unknown.share
    assert known.floor_s == unknown.floor_s
    assert haste(120, known=False) == Haste(1.0, 0.5)
    assert haste(120, known=True) == Haste(1.0, 0.9)
