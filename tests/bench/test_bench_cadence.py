"""The simulation that the cadence is judged by: its time, its curves, what ours is compared with, and a tiny run of
ours."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cadence_bench import (
    SETTINGS,
    Plan,
    figures,
    kind_lines,
    study,
    table,
    target_lines,
    trace_lines,
    worst_lines,
)
from bench.cadence_sim import DRAIN_S, Latency, Sample, Summary, Trial, fixed, most_in_window, oracle, ours, quantile
from bench.curves import BURST_FACTOR, ENDS_AT, FAMILIES, REFRESH_S, STEP, RunSpec, make_sources, make_workload
from bench.virtual_time import EPOCH, Standstill, VirtualClock, run_virtually
from watchdog.ledger.memory import MemoryLedger

HORIZON_S = 3600.0
RUNS = make_workload(3, slots=60, horizon_s=HORIZON_S)
END_S = HORIZON_S + DRAIN_S


def of_family(family: str) -> list[RunSpec]:
    return [run for run in RUNS if run.source.family == family]


def summary_of(trial: Trial, runs: list[RunSpec] = RUNS) -> Summary:
    sample = Sample(trial.policy)
    sample.add(trial, runs, HORIZON_S)
    return sample.summary()


# Virtual time


def test_an_hour_passes_in_no_time() -> None:
    async def wait() -> tuple[float, float]:
        clock = VirtualClock()
        assert clock.now() == EPOCH
        for _ in range(3600):
            await clock.sleep(1.0)
        return clock.monotonic(), (clock.now() - EPOCH).total_seconds()

    began = time.perf_counter()
    assert run_virtually(wait()) == (3600.0, 3600.0)
    assert time.perf_counter() - began < 2.0


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20))
def test_timers_fire_in_order_and_at_their_time(delays: list[float]) -> None:
    fired: list[tuple[float, float]] = []

    async def wait(delay: float) -> None:
        await asyncio.sleep(delay)
        fired.append((asyncio.get_running_loop().time(), delay))

    async def all_of_them() -> None:
        await asyncio.gather(*map(wait, delays))

    run_virtually(all_of_them())
    assert [delay for _, delay in fired] == sorted(delays)
    assert all(at == pytest.approx(delay, abs=1e-6) for at, delay in fired)


def test_timeouts_are_virtual_too() -> None:
    async def wait() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(900.0):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtually(wait()) == 900.0


def test_waiting_for_nothing_is_an_error_and_no_hang() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Standstill):
        run_virtually(wait())


# Curves


@pytest.mark.parametrize("family", FAMILIES)
def test_usage_never_goes_back(family: str) -> None:
    for run in of_family(family)[:20]:
        moments = [run.start_s + second * 1.7 for second in range(2000)]
        for usage in (run.curve.true, run.curve.shown, lambda t, run=run: run.shown(t + run.start_s)):
            figures_ = [usage(at - run.start_s) for at in moments]
            assert figures_[0] == 0.0
            assert all(before <= after for before, after in pairwise(figures_))


def test_curves_come_from_their_seed_alone() -> None:
    assert make_workload(3, slots=60, horizon_s=HORIZON_S) == RUNS
    assert make_workload(4, slots=60, horizon_s=HORIZON_S) != RUNS
    fewer, shorter = make_workload(3, slots=20, horizon_s=HORIZON_S), make_workload(3, slots=60, horizon_s=1800.0)
    assert [run for run in RUNS if run.slot < 20] == fewer
    assert [run for run in RUNS if run.start_s < 1800.0] == shorter
    assert {run.source for run in make_workload(4, slots=60, horizon_s=HORIZON_S)} == {run.source for run in RUNS}


def rates(run: RunSpec) -> list[float]:
    points = list(zip(run.curve.times_s, run.curve.values, strict=True))
    return [(v1 - v0) / (t1 - t0) for (t0, v0), (t1, v1) in pairwise(points)]


def test_smooth_rates_stand_or_drift() -> None:
    for run in of_family("smooth"):
        moving = [rate for rate in rates(run) if rate > 0]
        steps = [abs(math.log(after / before)) for before, after in pairwise(moving)]
        assert max(steps, default=0.0) < (0.4 if run.source.drift else 1e-6)


def test_bursts_are_5_to_15_times_the_base_rate() -> None:
    for run in of_family("bursty"):
        moving = [rate for rate in rates(run) if rate > 0]
        base = min(moving)
        for rate in moving:
            factor = rate / base
            assert factor == pytest.approx(1.0) or BURST_FACTOR[0] - 0.01 <= factor <= BURST_FACTOR[1] + 0.01


def test_steps_are_a_small_share_of_the_limit() -> None:
    for run in of_family("stepping"):
        steps = [after - before for before, after in pairwise(run.curve.values)]
        assert STEP[0] - 1e-9 <= min(steps) <= max(steps) <= STEP[1] + 1e-9
        at = run.curve.times_s[3]
        assert run.curve.true(at - 1e-6) == run.curve.values[2]
        assert run.curve.true(at) == run.curve.values[3]


def test_stale_figures_move_only_at_a_refresh() -> None:
    for run in of_family("stale"):
        refresh_s, phase_s = run.curve.refresh_s, run.curve.phase_s
        assert refresh_s is not None
        assert REFRESH_S[0] <= refresh_s <= REFRESH_S[1]
        assert run.curve.shown(phase_s - 0.001) == 0.0
        for number in range(5):
            at = phase_s + number * refresh_s + 1e-6
            assert run.curve.shown(at) == run.curve.shown(at + refresh_s * 0.999)
            assert run.curve.shown(at) == pytest.approx(run.curve.true(at), abs=1e-6)
            assert run.curve.shown(at + refresh_s / 2) <= run.curve.true(at + refresh_s / 2)


def test_the_breach_is_the_first_moment_that_the_limit_shows() -> None:
    breaking = [run for run in RUNS if math.isfinite(run.breach_s)]
    assert breaking
    for run in breaking:
        assert run.shown(run.breach_s) >= run.source.limit
        assert run.shown(run.breach_s - 1e-3) < run.source.limit


def test_the_workload_is_as_described() -> None:
    runs = make_workload(0)
    active = [sum(run.start_s <= at < min(run.breach_s, run.ends_s) for run in runs) for at in range(1800, 10800, 600)]
    assert 180 <= min(active) <= max(active) <= 200
    ending = [run for run in runs if math.isfinite(run.ends_s)]
    assert 0.25 < len(ending) / len(runs) < 0.35
    for run in ending:
        assert math.isinf(run.breach_s)
        assert run.shown(run.ends_s) < (ENDS_AT[1] + STEP[1]) * run.source.limit
        assert run.shown(run.ends_s) == run.shown(run.ends_s + 1e4)
    sources = make_sources(0, 40)
    assert [sum(source.family == family for source in sources) for family in FAMILIES] == [10] * 4
    assert any(run.curve.times_s[-1] > 0 and 0.0 in rates(run) for run in runs if not run.curve.stepped), "no pauses"


# What ours is compared with


@pytest.mark.parametrize("per_minute", [None, 20])
def test_the_oracle_is_never_worse_than_anybody(per_minute: int | None) -> None:
    best = oracle(RUNS, HORIZON_S)
    trials = [fixed(RUNS, period_s, HORIZON_S, per_minute=per_minute) for period_s in (1.0, 30.0)]
    trials.append(ours(RUNS, MemoryLedger(), per_minute=per_minute or 10_000, horizon_s=HORIZON_S))
    for trial in trials:
        for run in RUNS:
            if run.breach_s < HORIZON_S:
                assert best.aborted_s[run.run_id] <= trial.aborted_s.get(run.run_id, math.inf)
    figures_ = summary_of(best)
    assert (figures_.excess_p95, figures_.excess_most, figures_.misses, figures_.false_kills) == (0.0, 0.0, 0, 0)


@pytest.mark.parametrize("period_s", [1.0, 10.0, 300.0])
def test_unlimited_fixed_polling_is_at_most_a_period_late(period_s: float) -> None:
    trial = fixed(RUNS, period_s, HORIZON_S, latency=Latency(least_s=0.0, most_s=0.0))
    late = [trial.aborted_s[run.run_id] - run.breach_s for run in RUNS if run.breach_s < HORIZON_S]
    assert 0.0 <= min(late) <= max(late) <= period_s
    assert max(late) > 0.7 * period_s
    polls = len(trial.calls_s) - len(trial.aborted_s)
    hours = polls / summary_of(trial).calls_per_run_hour * len(trial.calls_s) / polls
    # The last poll of a run comes up to a period after it is over.
    assert 0 <= polls - hours * 3600.0 / period_s <= len(RUNS)


def test_polls_that_wait_for_the_budget_stay_within_it() -> None:
    trial = fixed(RUNS, 10.0, HORIZON_S, per_minute=30)
    unlimited = fixed(RUNS, 10.0, HORIZON_S)
    assert most_in_window(trial.calls_s) == 30
    assert summary_of(trial).misses == 0
    assert summary_of(trial).p95 > summary_of(unlimited).p95


def test_the_queue_without_need_to_wait_is_plain_polling() -> None:
    always = Latency(least_s=0.1, most_s=0.1)
    alone = fixed(RUNS, 10.0, HORIZON_S, latency=always)
    queued = fixed(RUNS, 10.0, HORIZON_S, per_minute=1_000_000, latency=always)
    for run_id, at_s in queued.aborted_s.items():
        assert at_s == pytest.approx(alone.aborted_s[run_id], abs=1e-3)
    assert len(queued.calls_s) == pytest.approx(len(alone.calls_s), abs=60)


@given(st.lists(st.integers(0, 300), max_size=60))
def test_the_most_in_a_window_is_counted_right(moments: list[int]) -> None:
    expected = max((sum(at <= other < at + 60 for other in moments) for at in moments), default=0)
    assert most_in_window([float(at) for at in moments]) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_has_its_share_below(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


# Ours


def check_promises(trial: Trial, runs: list[RunSpec], per_minute: int) -> Summary:
    figures_ = summary_of(trial, runs)
    assert (figures_.misses, figures_.false_kills, trial.troubles) == (0, 0, [])
    assert figures_.breaches > 5
    assert 0 < figures_.peak <= per_minute
    for run in runs:
        assert run.breach_s <= trial.aborted_s.get(run.run_id, math.inf)
    return figures_


def test_a_tiny_run_of_ours_keeps_the_promises() -> None:
    runs = make_workload(1, slots=16, horizon_s=HORIZON_S)
    ledger = MemoryLedger()
    first = ours(runs, ledger, per_minute=60, horizon_s=HORIZON_S)
    check_promises(first, runs, 60)
    again = make_workload(2, slots=16, horizon_s=HORIZON_S)
    check_promises(ours(again, ledger, per_minute=60, horizon_s=HORIZON_S, later=True), again, 60)


def test_a_short_budget_is_never_exceeded() -> None:
    trial = ours(RUNS, MemoryLedger(), per_minute=20, horizon_s=HORIZON_S)
    assert trial.false_kills == 0
    assert 10 < most_in_window(trial.calls_s) <= 20


def test_the_same_seed_gives_the_same_figures() -> None:
    runs = make_workload(1, slots=8, horizon_s=HORIZON_S)

    def play() -> Trial:
        # Aborts get random ids, which nothing here may depend on.
        random.seed(time.perf_counter())
        return ours(runs, MemoryLedger(), per_minute=60, horizon_s=HORIZON_S)

    one, other = play(), play()
    assert one.aborted_s == other.aborted_s
    assert one.calls_s == other.calls_s


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_whole_study_prints(setting: object) -> None:
    found = study(setting, Plan(1800.0, slots=8, trace=True))  # type: ignore[arg-type]  # one of SETTINGS
    writers: list[Callable[[], object]] = [
        lambda: table(found),
        lambda: table(found, "stale"),
        lambda: kind_lines(found),
        lambda: worst_lines(found, "ours, no history", 3),
        lambda: trace_lines(found, "ours, with history", "worst"),
        lambda: target_lines(figures(found)),
    ]
    for write in writers:
        assert len(list(write())) >= 2  # type: ignore[call-overload]  # lines of text
    assert {row.met for row in figures(found) if "false kills" in row.name} == {True}
