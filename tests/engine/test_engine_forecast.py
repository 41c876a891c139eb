"""Bounds between two looks (the lower one is proven, the upper one never below the truth), rates learned look by look,
and what follows from them."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from statistics import mean, median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import PlatformCap, Progress, RunState, Snapshot, Source, replace
from watchdog.engine.forecast import (
    BACK_S,
    FIRST_DEVIATION,
    NO_HISTORY,
    WINDOW_S,
    Burn,
    Latency,
    Outlook,
    SourceHistory,
    exact_outlook,
    outlook,
    upper_bound,
)
from watchdog.engine.projection import projected_final

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def run(**details: Any) -> Snapshot:
    base = Snapshot(
        "main",
        "apify",
        "run-1",
        Source("k", "maps"),
        RunState.RUNNING,
        "RUNNING",
        Usage(),
        NOON,
        True,
        resurrect_count=0,
    )
    return replace(base, **details)


def ran(seconds: float | None, **details: Any) -> Snapshot:
    return run(usage=Usage(duration_s=seconds), **details)


@given(
    running=st.floats(10, 500),
    pause=st.floats(0.1, 9),
    rate=st.floats(0, 1),
    sweep_at=st.floats(0, 1),
    look_at=st.floats(0, 1),
)
def test_the_most_is_never_below_the_truth_for_fresh_figures(
    running: float, pause: float, rate: float, sweep_at: float, look_at: float
) -> None:
    """A run on and on, swept and inspected once each, in any order; asked for at `running`."""
    swept_s, looked_s = sweep_at * running, look_at * running
    swept = run(usage=Usage(duration_s=swept_s + pause), inspected=False)
    inspected = run(usage=Usage(duration_s=looked_s, credits=rate * looked_s), burn_cap_per_s={Meter.CREDITS: rate})
    most = upper_bound(swept, inspected, running - looked_s, running - swept_s)
    assert most.duration_s is not None
    assert most.credits is not None
    assert most.duration_s >= running - 1e-6
    assert most.credits >= rate * running - 1e-6
    alone = upper_bound(swept, None, 0.0, running - swept_s)
    assert alone.duration_s is not None
    assert alone.duration_s >= running - 1e-6


@pytest.mark.parametrize(
    ("swept", "inspected", "age_s", "most"),
    [
        # the sweep's time since the start is too much for a resurrected run; the inspection knows better
        (Usage(duration_s=9000.0), ran(600.0), 5.0, Usage(duration_s=605.0)),
        (Usage(duration_s=604.0), ran(600.0), 5.0, Usage(duration_s=604.0)),
        (Usage(), ran(600.0), 5.0, Usage(duration_s=605.0)),
        (Usage(), ran(None), 5.0, Usage()),
        # paused when inspected: only the sweep's own figure says whether it runs again
        (Usage(duration_s=610.0), ran(600.0, state=RunState.PAUSED), 900.0, Usage(duration_s=610.0)),
        (Usage(), ran(600.0, state=RunState.PAUSED), 900.0, Usage()),
        # dollars have no fastest growth: the sweep's count, but nothing below what an inspection proved
        (Usage(cost_usd=4.0), run(usage=Usage(cost_usd=4.5)), 5.0, Usage(cost_usd=4.5)),
        (Usage(cost_usd=5.0), run(usage=Usage(cost_usd=4.5)), 5.0, Usage(cost_usd=5.0)),
        # and where only inspections show them, what the last one showed: the forecast says when to look again
        (Usage(), run(usage=Usage(cost_usd=4.5)), 5.0, Usage(cost_usd=4.5)),
        (Usage(credits=3.0), run(usage=Usage()), 5.0, Usage(credits=3.0)),
    ],
)
def test_the_most_by_sweep_and_inspection(swept: Usage, inspected: Snapshot, age_s: float, most: Usage) -> None:
    assert upper_bound(run(usage=swept, inspected=False), inspected, age_s) == most


def test_before_any_inspection_the_sweep_counts_and_grows_unless_the_run_is_paused() -> None:
    swept = ran(100.0, inspected=False)
    assert upper_bound(swept, None, 0.0) == Usage(duration_s=100.0)
    assert upper_bound(swept, None, 0.0, 7.0) == Usage(duration_s=107.0)
    assert upper_bound(replace(swept, state=RunState.PAUSED), None, 0.0, 7.0) == Usage(duration_s=100.0)


# Rates

CREDITS, COST, DURATION = Meter.CREDITS, Meter.COST_USD, Meter.DURATION
Curve = Callable[[float], float]


def watched(curve: Curve, looks_s: Iterable[float]) -> Burn:
    """What is learned from looks at these times at a figure that follows this curve."""
    first, *rest = looks_s
    burn = Burn.at(curve(first), first)
    for at_s in rest:
        burn.look(curve(at_s), at_s)
    return burn


def after(gaps: Iterable[float], start_s: float = 0.0) -> list[float]:
    """Times with these gaps between them."""
    return list(accumulate(gaps, initial=start_s))


def smooth(rate: float) -> Curve:
    return lambda at_s: rate * at_s


def refreshed(curve: Curve, every_s: float, phase_s: float = 0.0) -> Curve:
    """The same as a platform shows it that renews the figure so often."""
    return lambda at_s: curve(max(0.0, math.floor((at_s - phase_s) / every_s) * every_s + phase_s))


def stepping(rng: random.Random, mean_gap_s: float, step: float, until_s: float) -> Curve:
    """Steps at random times, as many on average as a smooth figure of rate step / mean_gap_s has."""
    times = [0.0]
    while times[-1] < until_s:
        times.append(times[-1] + rng.expovariate(1 / mean_gap_s))
    return lambda at_s: step * (bisect_right(times, at_s) - 1)


def is_sane(burn: Burn) -> bool:
    figures = (burn.mean, burn.variance, burn.highest, burn.evidence_s, burn.fast, burn.age_s(burn.seen_s))
    return all(math.isfinite(figure) and figure >= 0 for figure in figures)


def _gaps(shortest: float, longest: float, count: int) -> st.SearchStrategy[list[float]]:
    """Random gaps between looks, short ones as likely as long ones; from a seed, since long lists shrink slowly."""
    low, high = math.log(shortest), math.log(longest)
    return st.integers(0, 100_000).map(
        lambda seed: [math.exp(rng.uniform(low, high)) for rng in [random.Random(seed)] for _ in range(count)]
    )


_GAPS = _gaps(0.5, 400, 40)
_RATE = st.floats(1e-6, 1e3)


def test_nothing_is_known_before_a_change_was_measured_from_another() -> None:
    assert watched(smooth(1.0), [0.0]).evidence_s == 0
    assert watched(smooth(1.0), [0.0, 100.0]).evidence_s == 0, "when the first change came, nobody can tell"
    assert watched(lambda at_s: 5.0, [0.0, 100.0, 200.0]).fast == 0
    known = watched(smooth(1.0), [0.0, 100.0, 200.0])
    assert (known.evidence_s, known.mean, known.highest) == (100.0, 1.0, 1.0)
    assert known.fast == pytest.approx(1 + 2 * FIRST_DEVIATION), "one sample says nothing of how much rates vary"
    again = watched(smooth(1.0), [0.0, 100.0, 200.0, 200.0, 150.0])
    assert again == known, "a look that is not later than the last says nothing"


@given(rate=_RATE, gaps=_GAPS)
def test_the_rate_of_a_smooth_figure_is_learned_whenever_it_is_looked_at(rate: float, gaps: list[float]) -> None:
    burn = watched(smooth(rate), after(gaps))
    assert is_sane(burn)
    if sum(gaps) > 3 * (WINDOW_S + max(gaps)):
        assert burn.mean == pytest.approx(rate, rel=1e-4)
        assert burn.highest == pytest.approx(rate, rel=1e-4)
        assert rate * 0.999 <= burn.fast <= rate * (1 + 2 * FIRST_DEVIATION) * 1.001


def test_with_time_a_steady_rate_is_trusted_and_a_new_one_taken_up() -> None:
    burn = watched(smooth(1.0), range(0, 3600, 20))
    assert burn.fast < 1.05
    for at_s in range(3600, 5400, 20):
        burn.look(3600 + 3.0 * (at_s - 3600), at_s)
    assert burn.mean == pytest.approx(3.0, rel=0.02)
    assert burn.highest == pytest.approx(3.0)
    for at_s in range(5400, 7200, 20):
        burn.look(9000 + 0.5 * (at_s - 5400), at_s)
    assert burn.mean == pytest.approx(0.5, rel=0.05)
    assert burn.fast >= 3.0, "what it has done once it may do again"


def test_a_burst_is_seen_and_remembered() -> None:
    burn = watched(lambda at_s: at_s + 9 * min(max(at_s - 600, 0), 60), range(0, 1200, 5))
    assert burn.highest == pytest.approx(10.0)
    assert burn.fast >= 10.0
    assert burn.mean < 3.0


@pytest.mark.parametrize("look_every_s", [1, 7, 60])
def test_the_rate_of_a_stepping_figure_is_that_of_many_steps(look_every_s: int) -> None:
    means = []
    for seed in range(40):
        burn = watched(stepping(random.Random(seed), 15.0, 3.0, 3700), range(0, 3600, look_every_s))
        assert is_sane(burn)
        assert burn.highest <= 3.0 * 8 / WINDOW_S, "a single step is no rate, however dense the looks"
        means.append(burn.mean)
    assert mean(means) == pytest.approx(3.0 / 15.0, rel=0.25)


# A figure that the platform renews every k seconds

_PERIODS = st.floats(2, 600)
_PHASES = st.floats(0, 1)


@given(rate=_RATE, period=_PERIODS, phase=_PHASES, gap=st.floats(0.05, 3))
def test_a_stale_figure_looked_at_regularly_is_no_burst(rate: float, period: float, phase: float, gap: float) -> None:
    """Densely or sparsely, even once in three periods."""
    looks = after([gap * period] * 80, phase * period)
    burn = watched(refreshed(smooth(rate), period), looks)
    assert is_sane(burn)
    assert burn.highest <= rate * 2.001
    if burn.evidence_s > 10 * period:
        assert rate * 0.499 <= burn.mean <= rate * 2.001


@given(rate=_RATE, period=_PERIODS, phase=_PHASES, gaps=_gaps(0.03, 0.25, 100))
def test_a_stale_figure_looked_at_densely_is_no_burst(
    rate: float, period: float, phase: float, gaps: list[float]
) -> None:
    burn = watched(refreshed(smooth(rate), period), after((gap * period for gap in gaps), phase * period))
    assert is_sane(burn)
    assert burn.highest <= rate * 1.34


@settings(max_examples=200)
@given(rate=_RATE, period=_PERIODS, phase=_PHASES, gaps=_GAPS)
def test_a_stale_figure_is_no_burst_however_it_is_looked_at(
    rate: float, period: float, phase: float, gaps: list[float]
) -> None:
    """Seen late after a long wait, and then again soon after the next renewal: the two looks are close together, the
    two figures a whole period apart."""
    burn = watched(refreshed(smooth(rate), period), after(gaps, phase * period))
    assert is_sane(burn)
    assert burn.highest <= 3 * rate


@given(rate=_RATE, period=_PERIODS, phase=_PHASES, gaps=_GAPS)
def test_what_a_stale_figure_can_be_read_as_is_bounded(
    rate: float, period: float, phase: float, gaps: list[float]
) -> None:
    burn = watched(refreshed(smooth(rate), period), after(gaps, phase * period))
    assert burn.highest <= rate * (1 + period / WINDOW_S) * 1.001


@given(period=st.floats(5, 300), phase=_PHASES, gaps=_gaps(0.05, 0.14, 150), asked=st.floats(0, 1))
def test_a_refresh_pattern_is_found_when_looked_at_densely(
    period: float, phase: float, gaps: list[float], asked: float
) -> None:
    looks = after((gap * period for gap in gaps), phase * period)
    burn = watched(refreshed(smooth(1.0), period), looks)
    assert burn.refresh is not None
    assert burn.refresh.is_periodic
    assert burn.refresh.low_s * 0.999 <= period <= burn.refresh.high_s * 1.001
    assert burn.refresh.period_s == pytest.approx(period, rel=0.15)
    now_s = looks[-1] + asked * period
    next_s = burn.refresh.next_s(now_s)
    assert next_s is not None
    assert now_s - 1e-6 <= next_s <= now_s + 1.3 * period
    assert abs(next_s - round(next_s / period) * period) <= 0.35 * period, "it is near a true renewal"
    # The figure is never taken to be younger than it is.
    shown_s = math.floor(looks[-1] / period) * period
    assert burn.age_s(looks[-1]) >= looks[-1] - shown_s - 1e-6
    assert burn.age_s(looks[-1]) <= 1.3 * period


def test_a_pattern_that_ends_is_given_up() -> None:
    burn = watched(refreshed(smooth(1.0), 30.0), range(0, 600, 2))
    assert burn.refresh is not None
    assert burn.refresh.next_s(601.0) == pytest.approx(632, abs=4)
    assert burn.refresh.next_s(1000.0) is None, "overdue for long"
    for at_s in range(600, 700, 2):
        burn.look(float(at_s), at_s)
    assert not burn.refresh.is_periodic, "it changes at every look now"
    assert burn.age_s(700.0) == 0.0


@pytest.mark.parametrize(("look_every_s", "bound"), [(1, 0.02), (3, 0.05), (10, 0.12)])
def test_random_steps_are_seldom_taken_for_a_pattern(look_every_s: int, bound: float) -> None:
    """Of the moments at which the forecast would be asked, over many seeds."""
    asked = periodic = 0
    for seed in range(150):
        rng = random.Random(seed)
        curve = stepping(rng, 20.0, 1.0, 2000)
        burn = Burn.at(0.0, 0.0)
        for at_s in range(0, 1800, look_every_s):
            burn.look(curve(at_s), at_s)
            asked += 1
            periodic += burn.refresh is not None and burn.refresh.is_periodic
    assert periodic / asked <= bound


# Counters that go back, pauses, oddities


@given(rate=_RATE, lag=st.floats(0, 60), gaps=_GAPS, seed=st.integers(0, 1000))
def test_a_list_that_lags_behind_the_detail_makes_no_burst(
    rate: float, lag: float, gaps: list[float], seed: int
) -> None:
    """Some looks show the figure of a while ago, so that it seems to go back and forth."""
    looks, rng = after(gaps, lag), random.Random(seed)
    shown = {at_s: rate * (at_s - lag * rng.randrange(2)) for at_s in looks}
    burn = watched(shown.__getitem__, looks)
    assert is_sane(burn)
    assert burn.highest <= rate * (1 + lag / WINDOW_S) * 1.001


@pytest.mark.parametrize("every_s", [5, 30, 100])
def test_a_counter_that_is_set_back_goes_on_with_the_rates_it_had(every_s: int) -> None:
    looks = range(0, 3600, every_s)
    burn = watched(lambda at_s: at_s if at_s < 1800 else (at_s - 1800) * 0.5, looks)
    assert is_sane(burn)
    assert burn.highest == pytest.approx(1.0)
    assert burn.used == pytest.approx((looks[-1] - 1800) * 0.5), "it is followed from where it stands"
    assert burn.mean == pytest.approx(0.5, rel=0.15)


def test_a_figure_that_is_lower_for_a_moment_is_an_older_view_of_it() -> None:
    burn = watched(smooth(1.0), range(0, 600, 10))
    before = replace(burn)
    burn.look(500.0, 595.0)
    burn.look(500.0, 590.0 + BACK_S - 1)
    assert burn == before


@given(
    rate=_RATE,
    every=st.floats(1, 60),
    before=st.integers(15, 40),
    pause=st.floats(1, 100),
    behind=st.integers(15, 40),
)
def test_an_interruption_leaves_the_rates_as_they_were(
    rate: float, every: float, before: int, pause: float, behind: int
) -> None:
    """Nobody knows how long it was; the run may have gone on long before the look that shows it."""
    burn = Burn.at(0.0, 0.0)
    for number in range(1, before):
        burn.look(rate * every * number, number * every)
    burn.interrupt()
    for number in range(before, before + behind):
        burn.look(rate * every * number, (number + pause) * every)
    assert is_sane(burn)
    assert burn.mean == pytest.approx(rate, rel=1e-3)
    assert burn.highest == pytest.approx(rate, rel=1e-3)


@given(looks=st.lists(st.tuples(st.floats(0, 1e12), st.floats(-10, 200), st.floats(0, 100)), max_size=25))
def test_whatever_is_shown_rates_are_never_negative_nor_endless(looks: list[tuple[float, float, float]]) -> None:
    burn, at_s = Burn.at(0.0, 0.0), 0.0
    for used, gap, pause in looks:
        at_s += gap
        if pause > 50:
            burn.interrupt()
        burn.look(used, at_s)
        assert is_sane(burn)
        due_s = burn.refresh.next_s(at_s) if burn.refresh else None
        assert due_s is None or math.isfinite(due_s)
        check(outlook(COST, 1e12, Usage(cost_usd=used, duration_s=100.0), burn, NO_HISTORY, at_s))


def test_an_absurd_figure_is_no_error() -> None:
    """It would keep the run from being judged."""
    burn = watched({0: 0.0, 20: 1.0, 40: 1e200, 60: 1.7e308, 80: 1.79e308}.__getitem__, range(0, 100, 20))
    assert burn.highest > 0
    assert not math.isnan(burn.fast)


# How long something takes


@given(times=st.lists(st.floats(0, 1e3), min_size=1, max_size=50), first=st.floats(0, 100))
def test_a_latency_lies_among_the_times_taken(times: list[float], first: float) -> None:
    latency = Latency(first)
    assert latency.high == first
    for seconds in times:
        latency.took(seconds)
    assert min(times) - 1e-6 <= latency.mean <= max(times) + 1e-6
    assert latency.mean <= latency.high < math.inf


@pytest.mark.parametrize(("already", "bound"), [(1, 0.3), (2, 0.3), (5, 0.25), (30, 0.15)])
def test_the_high_latency_is_seldom_passed(already: int, bound: float) -> None:
    """By the next time, after so many."""
    passed = 0
    for seed in range(400):
        rng, latency = random.Random(seed), Latency(0.5)
        for _ in range(already):
            latency.took(rng.lognormvariate(-2, 0.4))
        passed += rng.lognormvariate(-2, 0.4) > latency.high
    assert passed / 400 <= bound


def test_a_latency_follows_what_changes() -> None:
    latency = Latency(0.5)
    for _ in range(50):
        latency.took(0.1)
    assert latency.high == pytest.approx(0.1)
    for _ in range(50):
        latency.took(2.0)
    assert latency.mean == pytest.approx(2.0, rel=0.05)


# History


def burned(rate: float | None, final: float | None, duration_s: float | None = 1000.0, **details: Any) -> BurnRecord:
    """A run of a source that is over, by its dollars."""
    record = BurnRecord(
        account="main",
        run_id="r",
        source_id="s",
        ended_at=NOON + timedelta(hours=1),
        rates={} if rate is None else {Meter.COST_USD: rate},
        final=Usage(cost_usd=final, duration_s=duration_s),
        ended_by_itself=True,
    )
    return replace(record, **details)


def test_a_history_has_rates_of_all_runs_and_ends_of_those_that_ended_by_themselves() -> None:
    history = SourceHistory.of(
        [burned(0.03, 20.0), burned(0.01, 5.0), burned(0.02, 99.0, ended_by_itself=False), burned(None, 7.0)]
    )
    assert history.runs == 4
    assert history.rates == {COST: (0.01, 0.02, 0.03)}
    assert history.finals == {COST: (5.0, 7.0, 20.0), DURATION: (1000.0, 1000.0, 1000.0)}
    assert history.final(COST, 0.0) == 7.0
    assert history.final(COST, 5.0) == median([7.0, 20.0])
    assert history.final(COST, 20.0) is None, "none came further"
    assert history.final(CREDITS, 0.0) is None
    assert history.fast(COST) == 0.03
    assert history.fast(CREDITS) is None
    assert NO_HISTORY.fast(COST) is None
    assert SourceHistory.of([]).runs == 0


_SOME = st.none() | st.just(0.0) | st.floats(1e-3, 1e6)
_RECORDS = st.lists(
    st.builds(burned, rate=_SOME, final=_SOME, duration_s=_SOME, ended_by_itself=st.booleans()), max_size=8
)


@given(records=_RECORDS, used=st.floats(0, 1e6))
def test_a_history_says_nothing_that_it_does_not_know(records: list[BurnRecord], used: float) -> None:
    history = SourceHistory.of(records)
    rates = [record.rates[Meter.COST_USD] for record in records if record.rates]
    fast = history.fast(COST)
    assert (fast is None) is (not rates)
    assert fast is None or (math.isfinite(fast) and fast >= 0)
    final = history.final(COST, used)
    ends = [record.final.cost_usd for record in records if record.ended_by_itself]
    further = [end for end in ends if end is not None and end > used]
    assert final == (median(further) if further else None)


# The outlook


def check(look: Outlook) -> None:
    """What holds of every outlook."""
    figures = (look.fast, look.mean)
    assert all(rate is None or (math.isfinite(rate) and rate >= 0) for rate in figures)
    assert not math.isnan(look.plausible_s)
    assert 0 <= look.plausible_s <= look.expected_s
    assert look.left > 0 or look.plausible_s == look.expected_s == 0
    assert 0 <= look.age_s < math.inf
    assert 0 <= look.still_s < math.inf
    if look.renewed_in_s is not None:
        assert look.renewed_in_s >= -1e-6
        assert look.period_s > 0


_CURVES: st.SearchStrategy[tuple[Curve, Sequence[float]]] = st.builds(
    lambda rate, period, gaps: (refreshed(smooth(rate), period), after(gaps)),
    st.floats(1e-4, 10),
    st.floats(0.5, 60),
    _gaps(0.5, 30, 60),
)


@given(
    shown=_CURVES,
    limit=st.floats(0.01, 1e4),
    records=_RECORDS,
    later=st.floats(0, 1e4),
    wait=st.floats(0, 1e4),
    duration=_SOME,
)
def test_the_earliest_plausible_breach_is_not_after_the_expected_one(
    shown: tuple[Curve, Sequence[float]],
    limit: float,
    records: list[BurnRecord],
    later: float,
    wait: float,
    duration: float | None,
) -> None:
    curve, looks = shown
    burn, now_s = watched(curve, looks), looks[-1] + later
    used = Usage(cost_usd=curve(looks[-1]), duration_s=duration)
    look = outlook(COST, limit, used, burn, SourceHistory.of(records), now_s)
    check(look)
    assert not look.exact
    assert look.left == limit - curve(looks[-1])
    renewal_s = look.renewal_s(wait)
    assert (renewal_s is None) is (look.renewed_in_s is None)
    if renewal_s is not None and look.renewed_in_s is not None:
        assert renewal_s >= wait - 1e-6
        assert renewal_s <= max(wait + look.period_s, look.renewed_in_s) + 1e-6
        periods = (renewal_s - look.renewed_in_s) / look.period_s
        assert periods == pytest.approx(round(periods), abs=1e-6)


def test_an_exact_outlook_is_exact() -> None:
    hours = exact_outlook(7200.0, 3600.0, 1.0)
    assert (hours.exact, hours.plausible_s, hours.expected_s) == (True, 3600.0, 3600.0)
    units = exact_outlook(2.0, 0.5, 0.001)
    assert units.plausible_s == units.expected_s == pytest.approx(1500.0)
    assert exact_outlook(1.0, 2.0, 1.0).plausible_s == 0.0
    assert exact_outlook(1.0, 0.5, 0.0).plausible_s == math.inf
    assert units.renewal_s(5.0) is None


def test_before_its_own_rates_are_known_a_run_goes_on_at_its_average_or_twice_that() -> None:
    used = Usage(cost_usd=2.0, duration_s=100.0)
    for burn in (None, Burn.at(2.0, 0.0)):
        look = outlook(COST, 5.0, used, burn, NO_HISTORY, 0.0)
        assert (look.mean, look.fast) == (0.02, pytest.approx(0.02 * (1 + 2 * FIRST_DEVIATION)))
    for nothing in (Usage(cost_usd=0.0, duration_s=100.0), Usage(cost_usd=2.0), Usage(cost_usd=2.0, duration_s=0.0)):
        blind = outlook(COST, 5.0, nothing, None, NO_HISTORY, 0.0)
        assert (blind.mean, blind.fast, blind.plausible_s) == (None, None, math.inf)


def test_its_source_may_be_faster_than_the_run_so_far() -> None:
    burn = watched(smooth(0.01), range(0, 600, 10))
    used = Usage(cost_usd=6.0, duration_s=600.0)
    history = SourceHistory.of([burned(0.5, 300.0, 1000.0)] * 3)
    look = outlook(COST, 10.0, used, burn, history, 590.0)
    assert look.mean == pytest.approx(0.01)
    assert look.fast == 0.5
    assert look.plausible_s == pytest.approx(8.0)
    assert look.expected_s == pytest.approx(400.0, rel=0.03)
    slow = SourceHistory.of([burned(0.001, 1.0, 1000.0)] * 3)
    assert outlook(COST, 10.0, used, burn, slow, 590.0).fast == burn.fast


def test_the_age_of_a_stale_figure_brings_the_breach_closer() -> None:
    burn = watched(refreshed(smooth(1.0), 60.0), range(0, 1200, 5))
    used = Usage(cost_usd=burn.used, duration_s=1195.0)
    early, late = (outlook(COST, 2000.0, used, burn, NO_HISTORY, now_s) for now_s in (1150.0, 1190.0))
    assert early.period_s == pytest.approx(60.0, rel=0.1)
    assert late.age_s - early.age_s == pytest.approx(40.0)
    assert early.expected_s - late.expected_s == pytest.approx(40.0)
    assert early.renewed_in_s == pytest.approx(50.0, abs=8)


# How it will end


def test_what_a_run_will_have_used_by_the_first_basis_that_says_anything() -> None:
    history = SourceHistory.of([burned(None, final) for final in (3.0, 8.0, 10.0)])
    seen = run(usage=Usage(cost_usd=4.0, duration_s=100.0), progress=Progress(share=0.5))
    assert projected_final(COST, seen, None, history) == 8.0, "its own progress"
    seen = replace(seen, progress=Progress())
    assert projected_final(COST, seen, None, history) == 9.0, "what earlier runs ended at that came further"
    capped = replace(seen, cap=PlatformCap(timeout_s=600.0))
    assert projected_final(COST, capped, None, NO_HISTORY) == pytest.approx(4.0 + 0.04 * 500), "its average"
    burn = watched(smooth(0.1), range(0, 200, 20))
    assert projected_final(COST, capped, burn, NO_HISTORY) == pytest.approx(4.0 + 0.1 * 500), "its rate"
    assert projected_final(COST, capped, Burn.at(4.0, 0.0), NO_HISTORY) == pytest.approx(4.0 + 0.04 * 500)
    late = replace(capped, usage=Usage(cost_usd=4.0, duration_s=700.0))
    assert projected_final(COST, late, None, NO_HISTORY) == 4.0
    barely = replace(seen, progress=Progress(share=0.04))
    assert projected_final(COST, barely, None, history) == 9.0, "of so little done, progress says nothing"
    for silent in (
        seen,
        replace(capped, cap=PlatformCap(timeout_s=0.0)),
        replace(capped, resurrect_count=1),
        replace(capped, resurrect_count=None),
        replace(capped, usage=Usage(cost_usd=4.0)),
        replace(capped, usage=Usage(cost_usd=0.0, duration_s=100.0)),
        replace(capped, usage=Usage(duration_s=100.0), progress=Progress(share=0.5)),
    ):
        assert projected_final(COST, silent, None, NO_HISTORY) is None


@given(
    used=st.none() | st.floats(0, 1e6),
    share=st.none() | st.just(0.0) | st.floats(1e-3, 1),
    duration=_SOME,
    timeout=_SOME,
    records=_RECORDS,
)
def test_a_run_ends_at_no_less_than_it_has_used(
    used: float | None,
    share: float | None,
    duration: float | None,
    timeout: float | None,
    records: list[BurnRecord],
) -> None:
    seen = run(
        usage=Usage(cost_usd=used, duration_s=duration),
        progress=Progress(share=share),
        cap=PlatformCap(timeout_s=timeout),
    )
    final = projected_final(COST, seen, None, SourceHistory.of(records))
    if used is None:
        assert final is None
    if final is not None and used is not None:
        assert final >= used
        assert math.isfinite(final)
