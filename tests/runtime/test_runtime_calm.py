"""A run far from its limits is not judged at every sweep, and nothing is missed by that: the poller over a platform in
memory, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import AccountInfo, Notice, SweepDone, Trouble
from watchdog.domain.override import Override, OverrideKind
from watchdog.domain.ports import PlatformTraits, Seen, Sweep
from watchdog.domain.rule import Action, Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine.evaluate import WARNING_RATIO, Evaluator, LimitsOfSource, thresholds_of
from watchdog.errors import PlatformError
from watchdog.ledger.memory import MemoryLedger
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.poller import Poller
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.watched import CALM_S, calm_until

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREDITS, COST, DURATION = Meter.CREDITS, Meter.COST_USD, Meter.DURATION
INTERVAL_S = 5.0
APIFY = PlatformTraits("apify", frozenset(Mode), 30.0, 10.0, INTERVAL_S)
LOBSTR = PlatformTraits("lobstr", frozenset({Mode.IMMEDIATE}), 0.0, 10.0, None, sweep_shows_usage=False)
MAPS = Source("maps", "acme/maps", {"actor": ("acme/maps", "maps")}, id="maps")


class HandClock:
    """Stands still until it is moved; whoever sleeps moves it."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.at_s)

    def monotonic(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += max(0.0, seconds)
        await asyncio.sleep(0)

    def wall(self, seconds: float) -> float:
        return seconds


class CountingEvaluator(Evaluator):
    """Counts how often it was asked for the limits on each run: whoever judges a run asks for them."""

    def __init__(self, rules: RuleSet) -> None:
        super().__init__(rules)
        self.asked: Counter[str] = Counter()

    def limits(self, snapshot: Snapshot) -> LimitsOfSource:
        self.asked[snapshot.run_id] += 1
        return super().limits(snapshot)


class Site:
    """An account in memory, its platform and observer in one, and the poller over it."""

    def __init__(self, rules: RuleSet, traits: PlatformTraits = APIFY, per_minute: float = 6000) -> None:
        self.traits = traits
        self.clock = HandClock()
        self.ledger = MemoryLedger()
        self.runs: dict[str, Snapshot] = {}
        self.live: Callable[[], Usage] | None = None
        self.looks: list[str] = []
        self.aborted_s = 0.0
        self.fails = False
        self.starved = False
        self.notices: list[Notice] = []
        self.rulebook = Rulebook(rules)
        self.evaluator = self.rulebook.evaluator = CountingEvaluator(rules)
        self.enforcer = Enforcer({"main": self}, self.ledger, self, self.clock)
        info = AccountInfo(traits.name, "main", traits.modes)
        self.poller = Poller(
            info,
            self,
            self.rulebook,
            self.enforcer,
            self.ledger,
            self,
            self.clock,
            interval_s=traits.default_poll_interval_s,
            requests_per_minute=per_minute,
        )

    # What happens on the platform

    def run(self, run_id: str = "r", **details: Any) -> Snapshot:
        """Start a run, or change it."""
        known = self.runs.get(run_id) or Snapshot(
            "main", self.traits.name, run_id, MAPS, RunState.RUNNING, "RUNNING", Usage(), NOON, False, origin="API"
        )
        self.runs[run_id] = replace(known, **details)
        return self.runs[run_id]

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        if self.fails:
            raise PlatformError("the list cannot be had", account="main")
        now = self.clock.now()
        shown = {run_id: self._shown(run_id) for run_id, each in self.runs.items() if each.state.is_active}
        unread = [run_id for run_id in shown if run_id in watched]
        return Sweep(
            [replace(each, seen_at=now) for each in shown.values() if each.run_id not in watched], unread=unread
        )

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        self.looks.append(run_id)
        if self.starved and not urgent:
            await asyncio.Event().wait()
        return replace(self._shown(run_id), seen_at=self.clock.now(), inspected=True, resurrect_count=0)

    def _shown(self, run_id: str) -> Snapshot:
        run = self.runs[run_id]
        return run if self.live is None else replace(run, usage=self.live())

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        self.aborted_s = self.clock.at_s
        self.run(run_id, state=RunState.ABORTED, finished_at=self.clock.now())
        return replace(self.runs[run_id], inspected=True)

    async def explain(self, run_id: str, text: str) -> None:
        pass

    async def check(self) -> str:
        return "in memory"

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)
        assert not isinstance(notice, Trouble), notice

    # What the daemon does

    async def swept(self, times: int = 1) -> None:
        """Sweeps, one each interval, each with the looks that it calls for."""
        for _ in range(times):
            self.clock.at_s += INTERVAL_S
            await self.poller.sweep()
            await self.poller.drain()

    async def let_pass(self, seconds: float) -> None:
        """Time, and what is due in it, without a sweep."""
        end_s = self.clock.at_s + seconds
        while self.clock.at_s < end_s:
            self.clock.at_s += 0.5
            self.poller.agenda.fire()
            for _ in range(5):
                await asyncio.sleep(0)

    async def calmed(self, run_id: str = "r") -> None:
        """The run has become so calm that sweeps do not judge it."""
        for _ in range(10):
            before = self.evaluator.asked[run_id]
            await self.swept()
            if self.evaluator.asked[run_id] == before:
                self.looks.clear()
                return
        raise AssertionError(f"{run_id} is judged at every sweep")

    def judged(self, run_id: str = "r") -> int:
        return self.evaluator.asked[run_id]

    def last_sweep(self) -> SweepDone:
        return [each for each in self.notices if isinstance(each, SweepDone)][-1]

    async def close(self) -> None:
        self.poller.cancel()
        await self.enforcer.drain()


def cap(name: str = "cap", actor: str = "*", *, limits: dict[Meter, float] | None = None, **details: Any) -> Rule:
    return Rule(name, Selector({"actor": (actor,)}), limits or {COST: 10.0, DURATION: 36_000.0}, **details)


FAR = Usage(cost_usd=1.0, duration_s=600.0)
RULES = RuleSet((cap(),))


async def test_a_run_far_from_its_limits_is_judged_now_and_then() -> None:
    site = Site(RULES)
    site.run(usage=FAR)
    await site.swept()
    for number in range(24):
        site.run(usage=Usage(cost_usd=1.0 + 0.001 * number, duration_s=600.0 + 5 * number))
        await site.swept()
    assert 3 <= site.judged() <= 8, "of 25 sweeps, but at least every 30 seconds"
    assert not site.looks
    assert site.poller.watched["r"].swept.usage.cost_usd == pytest.approx(1.023), "its newest figures are known"
    assert site.poller.watched["r"].swept_at == site.clock.at_s


@pytest.mark.parametrize(
    "usage",
    [Usage(cost_usd=8.0, duration_s=600.0), Usage(cost_usd=1.0, duration_s=28_900.0)],
    ids=["near a limit", "long"],
)
async def test_a_run_close_to_a_limit_is_judged_at_every_sweep(usage: Usage) -> None:
    site = Site(RULES)
    site.run(usage=usage)
    await site.swept()
    before = site.judged()
    await site.swept(6)
    assert site.judged() >= before + 6


async def test_a_limit_never_to_be_exceeded_leaves_no_run_calm() -> None:
    site = Site(RuleSet((cap(never_exceed=True),)))
    site.run(usage=FAR)
    await site.swept(6)
    assert site.judged() >= 6


@pytest.mark.parametrize(
    ("usage", "looks"),
    [
        (Usage(cost_usd=12.0, duration_s=605.0), 1),
        (Usage(cost_usd=10.0, duration_s=605.0), 1),
        (Usage(cost_usd=1.0, duration_s=40_000.0), 1),
        (Usage(cost_usd=5.0, duration_s=605.0), 0),
        (Usage(cost_usd=1.0, duration_s=20_000.0), 0),
        (Usage(cost_usd=None, duration_s=605.0), 1),
        (Usage(cost_usd=1.0, duration_s=None), 1),
    ],
    ids=["over", "at", "too long", "a jump", "a long jump", "no cost", "no duration"],
)
async def test_a_figure_that_jumps_or_is_missing_ends_the_calm_at_the_next_sweep(usage: Usage, looks: int) -> None:
    site = Site(RULES)
    site.run(usage=FAR)
    await site.calmed()
    before = site.judged()
    site.run(usage=usage)
    await site.swept()
    assert site.judged() > before
    assert len(site.looks) >= looks
    assert bool(site.looks) is bool(looks)
    await site.close()


async def test_credits_that_a_list_shows_end_the_calm_too() -> None:
    site = Site(RuleSet((cap(limits={CREDITS: 10.0}),)))
    site.run(usage=Usage(credits=1.0))
    await site.calmed()
    site.run(usage=Usage(credits=11.0))
    await site.swept()
    assert "r" in site.looks
    await site.close()


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.ABORTING, RunState.TIMING_OUT, RunState.UNKNOWN])
async def test_another_state_ends_the_calm_at_the_next_sweep(state: RunState) -> None:
    site = Site(RULES)
    site.run(usage=FAR)
    await site.calmed()
    before = site.judged()
    site.run(state=state)
    site.notice = site.notices.append  # type: ignore[method-assign,assignment]  # an unknown status is told
    await site.swept()
    assert site.judged() > before


async def test_a_run_that_no_rule_means_is_never_judged_again_until_its_name_says_otherwise() -> None:
    site = Site(RuleSet((cap(actor="acme/*", limits={COST: 0.5}),)))
    nameless = Source("id1", "id1", {"actor": ("id1",)}, id="id1")
    site.run(usage=FAR, source=nameless)
    await site.calmed()
    before = site.judged()
    await site.swept(30)
    assert site.judged() == before
    site.run(source=Source("id1|maps", "acme/maps", {"actor": ("acme/maps", "id1")}, id="id1"))
    await site.swept()
    assert "r" in site.looks
    await site.close()


@pytest.mark.parametrize("rules", [RULES, RuleSet((cap(actor="other"),))], ids=["limited", "free"])
async def test_other_rules_end_the_calm_at_the_next_sweep(rules: RuleSet) -> None:
    site = Site(rules)
    site.run(usage=FAR)
    await site.calmed()
    site.rulebook.replace(RuleSet((cap(limits={COST: 0.5}),)))
    await site.swept()
    assert "r" in site.looks
    await site.close()


@pytest.mark.parametrize("rules", [RULES, RuleSet((cap(actor="other"),))], ids=["limited", "free"])
async def test_other_rules_end_the_calm_also_while_no_list_is_to_be_had(rules: RuleSet) -> None:
    """The detail call may work all the same, and the run is over its new limit."""
    site = Site(rules)
    site.run(usage=FAR)
    await site.calmed()
    site.fails = True
    site.rulebook.replace(RuleSet((cap(limits={COST: 0.5}),)))
    await site.swept()
    assert "r" in site.looks
    await site.close()


async def test_what_people_decide_ends_the_calm_at_the_next_sweep() -> None:
    site = Site(RULES)
    site.run(usage=FAR)
    await site.calmed()
    for change in ("hold", "release"):
        before = site.judged()
        if change == "hold":
            await site.ledger.add_override(Override("h", OverrideKind.HOLD, site.clock.now(), run_id="r"))
        else:
            await site.ledger.end_overrides([OverrideKind.HOLD], "r", site.clock.now())
        await site.swept()
        assert site.judged() > before, change
        await site.calmed()


async def test_a_run_that_was_looked_at_is_judged_again() -> None:
    """An inspection proves more than the list showed."""
    site = Site(RULES)
    site.run(usage=FAR)
    await site.calmed()
    watched = site.poller.watched["r"]
    site.run(usage=Usage(cost_usd=9.0, duration_s=600.0))
    site.poller._look_now(watched, site.clock.at_s)
    await site.poller.drain()
    site.run(usage=FAR)
    before = site.judged()
    await site.swept(3)
    assert site.judged() >= before + 3, "it is close to its limit, whatever the list says"


async def test_a_run_that_comes_back_after_it_was_missing_is_known_at_once() -> None:
    site = Site(RULES)
    run = site.run(usage=FAR)
    await site.calmed()
    del site.runs["r"]
    await site.swept()
    assert site.poller.watched["r"].missing == 1
    site.runs["r"] = run
    await site.swept()
    assert site.poller.watched["r"].missing == 0


async def test_a_deadline_is_kept_by_a_calm_run() -> None:
    site = Site(RuleSet((cap(limits={DURATION: 1000.0}),)))
    site.run()
    began_s = site.clock.at_s
    site.live = lambda: Usage(duration_s=site.clock.at_s - began_s)
    while not site.aborted_s and site.clock.at_s < began_s + 1200:
        await site.swept()
        await site.let_pass(0.5)
    assert began_s + 1000 <= site.aborted_s <= began_s + 1000 + INTERVAL_S + 1
    await site.close()


# Metrics


async def test_a_sweep_counts_its_calm_runs() -> None:
    rules = RuleSet((cap(), cap("small", "acme/small", limits={COST: 4.0}), cap("tell", action=Action.NOTIFY)))
    site = Site(rules)
    small = Source("small", "acme/small", {"actor": ("acme/small",)}, id="small")
    site.run("one", usage=Usage(cost_usd=1.0, duration_s=3600.0))
    site.run("two", usage=Usage(cost_usd=2.0, duration_s=1800.0))
    site.run("small", usage=Usage(cost_usd=1.0, duration_s=1000.0), source=small)
    site.run("near", usage=Usage(cost_usd=9.0, duration_s=10.0))
    site.run("waits", usage=Usage(cost_usd=0.0, duration_s=0.0), state=RunState.PENDING)
    await site.calmed("one")
    site.run("two", usage=Usage(cost_usd=2.5, duration_s=1805.0))
    site.run("small", usage=Usage(cost_usd=1.2, duration_s=1005.0))
    before = dict(site.evaluator.asked)
    await site.swept()
    calm = {run_id for run_id in site.runs if site.judged(run_id) == before[run_id]}
    assert {"one", "two", "small"} <= calm
    assert "near" not in calm
    told = site.last_sweep()
    assert told.active == {RunState.RUNNING: 4, RunState.PENDING: 1}
    assert told.unknown == {}
    assert told.ratios == {
        ("cap", COST): pytest.approx(0.9),
        ("cap", DURATION): pytest.approx(0.1, abs=0.01),
        ("tell", COST): pytest.approx(0.9),
        ("tell", DURATION): pytest.approx(0.1, abs=0.01),
        ("small", COST): pytest.approx(0.3),
    }
    del site.runs["near"]
    await site.swept()
    assert site.last_sweep().ratios["cap", COST] == pytest.approx(0.25), "calm runs set it by their newest figures"
    assert site.last_sweep().active == {RunState.RUNNING: 3, RunState.PENDING: 1}
    await site.close()


async def test_a_calm_run_that_was_inspected_counts_with_what_only_that_showed() -> None:
    """The list has no compute units."""
    site = Site(RuleSet((cap(limits={COST: 10.0, CREDITS: 10.0}),)))
    site.run(usage=Usage(cost_usd=1.0, credits=3.0, duration_s=60.0), burn_cap_per_s={CREDITS: 0.001})
    await site.swept()
    real_sweep = site.sweep

    async def without_units(seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        found = await real_sweep(seen, watched)
        lists = [replace(each, usage=replace(each.usage, credits=None)) for each in found.snapshots]
        return replace(found, snapshots=lists)

    site.sweep = without_units  # type: ignore[method-assign]
    await site.poller._inspect(site.poller.watched["r"])
    await site.calmed()
    site.run(usage=Usage(cost_usd=1.5, credits=3.0, duration_s=65.0))
    before = site.judged()
    await site.swept()
    assert site.judged() == before
    assert site.last_sweep().ratios == {
        ("cap", COST): pytest.approx(0.15),
        ("cap", CREDITS): pytest.approx(0.3, abs=0.05),
    }
    assert site.last_sweep().unknown == {}


# Where the rate budget is short


@pytest.mark.parametrize("limit_s", [100.0, 400.0])
async def test_a_deadline_does_not_wait_for_the_rate_budget(limit_s: float) -> None:
    """Looks that are not urgent wait as long as it takes; the one at a deadline is urgent."""
    site = Site(RuleSet((cap(limits={DURATION: limit_s, COST: 1000.0}),)), LOBSTR, per_minute=60)
    site.run()
    began_s = site.clock.at_s
    site.live = lambda: Usage(cost_usd=1.0, duration_s=site.clock.at_s - began_s)
    await site.poller.sweep()
    site.starved = True
    while not site.aborted_s and site.clock.at_s < began_s + limit_s + 60:
        await site.let_pass(0.5)
    await site.close()
    assert site.aborted_s, "it was never looked at again"
    assert began_s + limit_s <= site.aborted_s < began_s + limit_s + 3


# What calm rests on

_FIGURE = st.floats(0, 100)
_USAGE = st.builds(Usage, *[st.none() | _FIGURE] * 3)


@given(
    limits=st.dictionaries(st.sampled_from(Meter), st.floats(0, 100), min_size=1),
    first=_USAGE,
    later=_USAGE,
    wait=st.floats(0, 1e4),
    passed=st.floats(0, 100),
)
def test_while_a_run_is_calm_no_limit_is_near(
    limits: dict[Meter, float], first: Usage, later: Usage, wait: float, passed: float
) -> None:
    of_source = LimitsOfSource.of(thresholds_of(cap(limits=limits)))
    calm = calm_until(of_source, limits, first, wait, 1000.0, 7)
    if calm is None:
        return
    assert all(first.of(kind) is not None for kind in limits)
    before = Snapshot("main", "apify", "r", MAPS, RunState.RUNNING, "RUNNING", first, NOON, False)
    now = replace(before, usage=later)
    if not calm.holds(before, now, 1000.0 + passed, 7):
        return
    assert passed <= min(CALM_S, wait / 2) + 1e-9
    for kind, limit in limits.items():
        figure, was = later.of(kind), first.of(kind)
        assert was is not None
        assert figure is not None or kind is not COST
        assert figure is None or figure < WARNING_RATIO * limit
        assert figure is None or figure - was <= 0.25 * (limit - was) + 1e-9
    for other in (
        replace(now, state=RunState.PAUSED),
        replace(now, source=Source("maps", "acme/maps", {"actor": ("acme/maps", "maps")}, id="maps")),
    ):
        assert not calm.holds(before, other, 1000.0 + passed, 7)
    assert not calm.holds(before, now, 1000.0 + passed, 8)
