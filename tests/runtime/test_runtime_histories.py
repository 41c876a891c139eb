"""What runs that are over leave for the forecasts of later ones, and what is learned of a run on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.decision import AbortState
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import InspectionDone, Trouble
from watchdog.domain.rule import Rule, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine.assess import HISTORY_MIN
from watchdog.engine.evaluate import LimitsOfSource, thresholds_of
from watchdog.engine.forecast import NO_HISTORY, Burn
from watchdog.engine.running import RunningTime
from watchdog.errors import LedgerError
from watchdog.ledger.memory import MemoryLedger
from watchdog.runtime.memory import Watched
from watchdog.runtime.watch.histories import Histories

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREDITS, COST = Meter.CREDITS, Meter.COST_USD
MAPS = Source("maps", "acme/maps", id="maps")


class SpyLedger(MemoryLedger):
    """Counts what is asked of it about rates, and fails if it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.added: Counter[str] = Counter()
        self.asked: list[set[str]] = []
        self.broken = False

    async def add_burn(self, record: BurnRecord) -> None:
        if self.broken:
            raise LedgerError("the disk is full")
        self.added[record.run_id] += 1
        await super().add_burn(record)

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        if self.broken:
            raise LedgerError("the disk is full")
        self.asked.append(set(source_ids))
        return await super().burns(source_ids)

    @property
    def records(self) -> list[BurnRecord]:
        return [record for source in list(self._ended._of_source) for record in self._ended.of(source)]


def over(run_id: str, used: float = 5.0, source: Source = MAPS) -> Snapshot:
    usage = Usage(credits=2.0, cost_usd=used, duration_s=1000.0)
    return Snapshot("main", "apify", run_id, source, RunState.SUCCEEDED, "SUCCEEDED", usage, NOON, True)


def burning(rate: float) -> dict[Meter, Burn]:
    burn = Burn.at(0.0, 0.0)
    for at_s in (0.0, 20.0, 40.0):
        burn.look(rate * at_s, at_s)
    return {COST: burn}


# One by one


async def test_a_source_is_read_once_when_it_has_been_asked_for() -> None:
    ledger = SpyLedger()
    histories = Histories(ledger)
    assert await histories.load() == set()
    assert not ledger.asked, "nobody asked for any"
    await Histories(ledger).add(over("a"), by_itself=True, burns=burning(0.1))
    assert histories.of("maps") is NO_HISTORY
    assert histories.of("new") is NO_HISTORY
    assert histories.of("") is NO_HISTORY
    assert await histories.load() == {"maps"}, "those with something to tell"
    assert ledger.asked == [{"maps", "new"}]
    assert histories.of("maps").runs == 1
    assert histories.of("maps").rates == {COST: (pytest.approx(0.1),)}
    assert histories.of("new").runs == 0
    assert await histories.load() == set()
    assert len(ledger.asked) == 1, "that there is nothing is known as well"


async def test_runs_that_end_count_at_once_and_are_remembered() -> None:
    ledger = SpyLedger()
    histories = Histories(ledger)
    histories.of("maps")
    await histories.load()
    await histories.add(over("a", 4.0), by_itself=True, burns=burning(0.1))
    await histories.add(over("b", 9.0), by_itself=False, burns=burning(0.3))
    await histories.add(over("c", 6.0), by_itself=True, burns={})
    history = histories.of("maps")
    assert history.runs == 3
    assert history.rates == {COST: (pytest.approx(0.1), pytest.approx(0.3))}
    assert history.finals[COST] == (4.0, 6.0), "an abort says nothing about how much such a run takes to its end"
    again = Histories(ledger)
    again.of("maps")
    await again.load()
    assert again.of("maps") == history


async def test_a_run_that_is_over_twice_counts_once() -> None:
    """It was resurrected in between. The ledger keeps the latest record of each run, and so must memory."""
    ledger = SpyLedger()
    histories = Histories(ledger)
    histories.of("maps")
    await histories.load()
    for used in (4.0, 7.0):
        await histories.add(over("a", used), by_itself=True, burns=burning(0.1))
    again = Histories(ledger)
    again.of("maps")
    await again.load()
    assert again.of("maps").runs == 1
    assert histories.of("maps") == again.of("maps")


async def test_memory_keeps_no_more_runs_of_a_source_than_the_ledger() -> None:
    ledger = SpyLedger()
    histories = Histories(ledger)
    histories.of("maps")
    await histories.load()
    for number in range(130):
        run = replace(over(f"r{number:03d}", float(number)), seen_at=NOON + timedelta(seconds=number))
        await histories.add(run, by_itself=True, burns={})
    assert histories.of("maps").runs == 100
    assert histories.of("maps").finals[COST][0] == 30.0, "the oldest go first"
    again = Histories(ledger)
    again.of("maps")
    await again.load()
    assert again.of("maps") == histories.of("maps")


async def test_what_could_not_be_read_is_asked_for_again() -> None:
    ledger = SpyLedger()
    await Histories(ledger).add(over("a"), by_itself=True, burns=burning(0.1))
    histories = Histories(ledger)
    ledger.broken = True
    histories.of("maps")
    with pytest.raises(LedgerError):
        await histories.load()
    ledger.broken = False
    assert histories.of("maps") is NO_HISTORY
    assert await histories.load() == {"maps"}
    assert histories.of("maps").runs == 1


# Through the whole daemon

RULES = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.5}}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 1000}}
"""


async def test_ended_runs_reach_the_ledger_once_and_a_restart_knows_them(world: Any) -> None:
    """Runs of a squid without history are looked at often; after three that ended, and a restart, seldom."""
    async with world(RULES, speed=400) as w:
        w.ledger = ledger = SpyLedger()
        squid, other = w.lobstr.add_squid("known"), w.lobstr.add_squid("new")
        await w.start()
        ended = []
        for _ in range(HISTORY_MIN):
            run = w.lobstr.start_run(squid, credits_per_hour=360, ends_after=80, uploading_for=0, results_total=None)
            ended.append(run)
            await w.until(lambda run=run: bool(ledger.added[run.id]), "the record of its rates")
        await w.pass_time(100)
        assert {run.id: ledger.added[run.id] for run in ended} == dict.fromkeys((run.id for run in ended), 1)
        records = ledger.records
        assert len({record.source_id for record in records}) == 1
        for record in records:
            assert record.ended_by_itself
            assert record.final.credits == pytest.approx(8.0, abs=0.1)
            assert record.credits_per_s is None or record.credits_per_s == pytest.approx(0.1, rel=0.7)
        await w.stop()
        await w.forget()
        slow = {"credits_per_hour": 36, "ends_after": None, "results_total": None}
        known, new = w.lobstr.start_run(squid, **slow), w.lobstr.start_run(other, **slow)
        await w.start()
        await w.pass_time(270)
        looks = {run.id: len(w.told(InspectionDone, run)) for run in (known, new)}
        assert looks[known.id] <= 2 < looks[new.id], "knowledge is what lets it wait"


async def test_a_run_that_is_over_but_still_listed_is_remembered_once(world: Any) -> None:
    async with world(RULES) as w:
        w.ledger = ledger = SpyLedger()
        run = w.apify.start_run(curve=lambda ran_s: 1.0)
        w.build()
        watch = w.watch("apify")
        stale = await w.app.platforms["apify"].sweep()
        w.apify.finish(run, "SUCCEEDED")
        for _ in range(3):
            watch.sweeping.take_in(stale.snapshots)
            await watch.drain()
            await w.pass_time(31)
        assert w.requests("run", run) == 3
        assert ledger.added == {run.id: 1}


async def test_the_rates_of_an_aborted_run_are_remembered_but_not_its_end(world: Any) -> None:
    async with world(RULES) as w:
        w.ledger = ledger = SpyLedger()
        run = w.apify.start_run(usd_per_hour=36)
        natural = w.apify.start_run(usd_per_hour=18, ends_after=60)
        await w.start()
        await w.until_booked(run)
        await w.until(lambda: len(ledger.records) == 2, "the records of both")
        await w.sweeps(6)
        assert ledger.added == {run.id: 1, natural.id: 1}
        by_id = {record.run_id: record for record in ledger.records}
        assert by_id[run.id].ended_by_itself is False
        assert by_id[run.id].usd_per_s == pytest.approx(0.01, rel=0.6)
        assert by_id[run.id].final.cost_usd == pytest.approx(run.truth().usage.cost_usd, abs=1e-6), "settled"
        assert by_id[natural.id].ended_by_itself is True
        assert by_id[natural.id].usd_per_s == pytest.approx(0.005, rel=0.6)
        (usage,) = await ledger.finished_usages(by_id[natural.id].source_id)
        assert usage.cost_usd == pytest.approx(0.3, abs=0.02)


async def test_what_is_proven_at_the_very_end_is_remembered_too(world: Any) -> None:
    """The daemon is told to stop while the figures of a stop still settle."""
    async with world(RULES) as w:
        w.ledger = ledger = SpyLedger()
        run = w.apify.start_run(usd_per_hour=36)
        await w.start()
        await w.until(lambda: run.truth().aborted_by_api, "the stop")
        await w.stop()
        records = [record for record in ledger.records if record.run_id == run.id]
        settled = [abort for abort in await w.aborts() if abort.settled]
        assert len(records) == len(settled), "as soon as its figures have settled"


async def test_a_ledger_that_fails_costs_nothing_but_the_forecast(world: Any) -> None:
    async with world(RULES) as w:
        w.ledger = ledger = SpyLedger()
        ledger.broken = True
        run = w.apify.start_run(usd_per_hour=72)
        ends = w.apify.start_run(usd_per_hour=1, ends_after=30)
        squid = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=360_000)
        await w.start()
        for abort in await w.until_booked(run, squid):
            assert abort.state is AbortState.CONFIRMED
        await w.until(
            lambda: ends.id not in w.watch("apify").memory.runs, "the end of the watch over the run that ended"
        )
        told = [each.message for each in w.told(Trouble)]
        assert any("forecasts do without history" in text for text in told), told
        assert not [text for text in told if "internal error" in text]
        ledger.broken = False
        await w.app.ledger.flush()
        assert {record.run_id for record in ledger.records} >= {run.id, ends.id, squid.id}, "nothing was lost"


# What is learned of a run on the way

LIMITS = LimitsOfSource.of(thresholds_of(Rule("cap", Selector(), {CREDITS: 1e6})))


def seen(used: float, state: RunState = RunState.RUNNING) -> Snapshot:
    return Snapshot("main", "lobstr", "r", MAPS, state, state.value, Usage(credits=used), NOON, True)


@given(
    pauses=st.lists(st.tuples(st.floats(20, 300), st.floats(1, 300)), min_size=1, max_size=3),
    gap=st.floats(1, 120),
    near=st.floats(5, 20),
)
def test_a_pause_is_read_neither_as_a_burst_nor_as_slowness(
    pauses: list[tuple[float, float]], gap: float, near: float
) -> None:
    """A run that uses a credit a second while it runs; looked at every so often, and more often at the end. That it is
    paused, and that it is no longer, is only seen at looks."""

    def at(now_s: float) -> tuple[float, RunState]:
        ran_s = 0.0
        for running_s, paused_s in pauses:
            if now_s < running_s:
                return ran_s + now_s, RunState.RUNNING
            ran_s, now_s = ran_s + running_s, now_s - running_s
            if now_s < paused_s:
                return ran_s, RunState.PAUSED
            now_s -= paused_s
        return ran_s + now_s, RunState.RUNNING

    watched = Watched(seen(0.0), 0.0, RunningTime(0.0, True))
    now_s = 0.0
    end_s = sum(map(sum, pauses)) + 30 * near
    while now_s < end_s:
        used, state = at(now_s)
        shown = seen(used, state)
        watched.swept = shown
        watched.learn(shown, LIMITS, now_s)
        # The closer its limit, the closer the looks.
        now_s += gap if now_s < end_s - 30 * near else near
    burn = watched.rates[CREDITS]
    assert burn.evidence_s > 0
    assert burn.highest <= 2.5, "a credit a second is all it ever used"
    assert burn.mean >= 0.1, "though a pause that begins right after a look lowers the rate of that stretch"


def test_a_long_pause_seen_from_beginning_to_end_leaves_the_rate_as_it_was() -> None:
    watched = Watched(seen(0.0), 0.0, RunningTime(0.0, True))
    for now_s in range(0, 1240, 5):
        state = RunState.PAUSED if 200 <= now_s < 1200 else RunState.RUNNING
        shown = seen(min(now_s, 200) + max(0, now_s - 1200), state)
        watched.learn(shown, LIMITS, now_s)
    assert watched.rates[CREDITS].mean == pytest.approx(1.0, rel=0.1)
    assert watched.rates[CREDITS].highest == pytest.approx(1.0, rel=0.55)


def test_kinds_without_a_limit_and_exact_kinds_are_not_learned() -> None:
    watched = Watched(seen(0.0), 0.0, RunningTime(0.0, True))
    both = Usage(credits=1.0, cost_usd=1.0, duration_s=1.0)
    watched.learn(replace(seen(0.0), usage=both), LIMITS, 0.0)
    assert set(watched.rates) == {CREDITS}
    exact = Watched(
        seen(0.0), 0.0, RunningTime(0.0, True), inspected=replace(seen(0.0), burn_cap_per_s={CREDITS: 0.001})
    )
    exact.learn(seen(1.0), LIMITS, 0.0)
    assert not exact.rates
