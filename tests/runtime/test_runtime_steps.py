"""Steps of a rule on live runs: each is told once, and a later one raises a graceful abort."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Mode, Response
from watchdog.domain.meter import Meter
from watchdog.domain.notice import AbortTrouble, LimitBreached, UsageUnknown
from watchdog.domain.rule import RuleSet
from watchdog.domain.run import replace

pytestmark = pytest.mark.anyio


async def test_each_step_is_taken_once_and_in_its_turn(world: Any) -> None:
    rules = """
    rules:
      - name: cap
        limits: {max_cost_usd: 1.0}
        steps: [{at: 20%, do: notify}, {at: 50%, do: notify}, {at: 100%, do: abort}]
    """
    async with world(rules, speed=50.0) as w:
        run = w.apify.start_run(usd_per_hour=36)
        await w.start()
        (abort,) = await w.until_booked(run)
        told = [(each.breach.verdict.step.at, each.breach.response) for each in w.told(LimitBreached, run)]
        assert told == [(0.2, Response.NOTIFY), (0.5, Response.NOTIFY), (1.0, Response.ABORT)]
        assert w.counted("breaches", response="notify") == 2
        assert abort.state is AbortState.CONFIRMED


async def test_a_graceful_abort_becomes_an_immediate_one_at_a_later_step(world: Any) -> None:
    """The run burns so fast that it passes the second step within the seconds that a graceful abort grants it."""
    rules = """
    rules:
      - name: cap
        resurrect: true
        limits: {max_cost_usd: 1.0}
        steps: [{at: 100%, do: abort}, {at: 110%, do: abort_now}]
    """
    async with world(rules, speed=50.0) as w:
        run = w.apify.start_run(usd_per_hour=120, graceful_takes=30.0)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert (abort.asked_mode, abort.mode) == (Mode.GRACEFUL, Mode.IMMEDIATE)
        (raised,) = [step for step in abort.history if step.note.startswith("raised to immediate")]
        assert (raised.at - abort.detected_at).total_seconds() < 25, "not only when the platform's window ends"
        assert w.requests("abort", run) == abort.requests == 2


async def test_limits_count_from_when_their_rule_says(world: Any) -> None:
    rules = "rules: [{name: late, limits: {max_cost_usd: 0.1}, after: {duration: 60s}}]"
    async with world(rules) as w:
        run = w.apify.start_run(usd_per_hour=72)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.before.usage.duration_s >= 60
        assert abort.before.usage.duration_s < 75
        assert not w.told(UsageUnknown, run)


async def test_a_raise_is_no_trouble_and_notices_are_not_told_again_after_a_reload(world: Any) -> None:
    rules = """
    rules:
      - name: cap
        resurrect: true
        limits: {max_cost_usd: 1.0}
        steps: [{at: 20%, do: notify}, {at: 100%, do: abort}, {at: 110%, do: abort_now}]
    """
    async with world(rules, speed=50.0) as w:
        run = w.apify.start_run(usd_per_hour=120, graceful_takes=30.0)
        steady = w.apify.start_run(curve=lambda ran_s: 0.3)
        await w.start()
        await w.until(lambda: len(w.told(LimitBreached, steady)) == 1, "the notice")
        book = w.app.rulebook
        other = replace(book.rules.rules[0], name="other", limits={Meter.COST_USD: 50.0}, steps=())
        book.replace(RuleSet((*book.rules.rules, other)))
        await w.until_booked(run)
        await w.sweeps(3)
        assert len(w.told(LimitBreached, steady)) == 1, "the rule is as it was"
        assert w.counted("breaches", rule="cap", response="notify") == 2
        assert not [each for each in w.told(AbortTrouble) if "not stopped" in each.message]
        raised = replace(book.rules.rules[0], limits={Meter.COST_USD: 1.2})
        book.replace(RuleSet((raised, other)))
        await w.until(lambda: len(w.told(LimitBreached, steady)) == 2, "the notice of another limit")


async def test_what_a_limit_waits_for_and_nobody_knows_is_counted(world: Any) -> None:
    rules = "rules: [{name: late, limits: {max_cost_usd: 0.1}, after: {credits: 1}}]"
    async with world(rules) as w:
        run = w.apify.start_run(usd_per_hour=72, stats_none=True)
        await w.start()
        await w.until(lambda: bool(w.told(UsageUnknown, run)), "that it cannot be judged")
        await w.sweeps(2)
        assert w.counted("usage_unknown_runs", account="apify", limit="max_cost_usd") == 1
        assert len(w.told(UsageUnknown, run)) == 1
        assert not w.requests("abort")
