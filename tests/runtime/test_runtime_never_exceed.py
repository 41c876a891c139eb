"""Limits that are never to be exceeded: the run is within them when it has really stopped, and only then is it stopped
early. Through the whole daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from watchdog.domain.decision import Abort, AbortState, Mode, Response
from watchdog.domain.notice import LimitBreached
from watchdog.domain.override import Override, OverrideKind
from watchdog.ledger.memory import MemoryLedger

pytestmark = pytest.mark.anyio

#: Slow enough that what a request takes on a busy machine is little on the platforms' clock.
SPEED = 10.0


def check(run: Any, abort: Abort, *, rule: str, within: bool) -> None:
    """What the books say of a run that was stopped, and what it really has used."""
    assert abort.rule == rule
    assert abort.state is AbortState.CONFIRMED
    assert abort.settled
    assert abort.limit is not None
    assert abort.final is not None
    used = abort.final.usage.of(abort.limit)
    assert used is not None
    assert abort.used_at_request is not None
    if not within:
        assert used > abort.limit_value
        assert abort.projected is None
        assert abort.reason.startswith("rule ")
        return
    assert used <= abort.limit_value, "the run stayed within its limit to its very end"
    assert used >= 0.5 * abort.limit_value
    assert abort.used_at_request < abort.limit_value
    assert abort.projected is not None
    assert abort.projected >= abort.limit_value
    assert abort.reason.startswith(f"projected, rule '{rule}': ")


async def check_counts(w: Any, aborts: Sequence[Abort]) -> None:
    """The World's own audit takes every stop below a limit for a false kill; the rest of it holds."""
    w.audited = False
    w._check_metrics(await w.aborts())
    for abort in aborts:
        labels = {"account": abort.account, "rule": abort.rule, "limit": str(abort.limit)}
        assert w.counted("breaches", response="abort", **labels) == 1
        assert w.counted("aborts", mode=str(abort.mode), outcome="confirmed", **labels) == 1


def pair(limits: str, match: str) -> str:
    """A rule that is never to be exceeded, and the same as any other is."""
    return f"""
rules:
  - {{name: never, match: {{{match}: never}}, limits: {limits}, never_exceed: true}}
  - {{name: plain, match: {{{match}: plain}}, limits: {limits}}}
"""


@pytest.mark.parametrize(
    ("limits", "details"),
    [
        ("{max_cost_usd: 1.00}", {"usd_per_hour": 36, "started_ago": 82}),
        ("{max_credits: 0.1}", {"memory_mbytes": 4096, "started_ago": 74}),
        ("{max_duration: 100s}", {"started_ago": 84}),
    ],
    ids=["usd", "units", "time"],
)
async def test_a_run_on_apify_stays_within_a_limit_never_to_be_exceeded(world: Any, limits: str, details: Any) -> None:
    """A cent a second, and a unit in 900 s; beside it a run that is let go over its limit."""
    async with world(pair(limits, "actor"), speed=SPEED) as w:
        never = w.apify.start_run(w.apify.add_actor("acme", "never"), **details)
        details["started_ago"] -= 10
        plain = w.apify.start_run(w.apify.add_actor("acme", "plain"), **details)
        await w.start()
        booked = await w.until_booked(never, plain)
        check(never, booked[0], rule="never", within=True)
        check(plain, booked[1], rule="plain", within=False)
        assert [abort.mode for abort in booked] == [Mode.IMMEDIATE] * 2
        await check_counts(w, booked)


@pytest.mark.parametrize("limits", ["{max_credits: 100}", "{max_duration: 100s}"])
async def test_a_run_on_lobstr_stays_within_a_limit_never_to_be_exceeded(world: Any, limits: str) -> None:
    async with world(pair(limits, "squid"), speed=SPEED) as w:
        never, plain = (
            w.lobstr.start_run(w.lobstr.add_squid(name), credits_per_hour=3600, started_ago=ago, ends_after=None)
            for name, ago in (("never", 82), ("plain", 72))
        )
        await w.start()
        booked = await w.until_booked(never, plain)
        check(never, booked[0], rule="never", within=True)
        check(plain, booked[1], rule="plain", within=False)
        await check_counts(w, booked)


@pytest.mark.parametrize("kind", ["cost", "time"])
async def test_the_window_of_a_graceful_abort_is_counted_in(world: Any, kind: str) -> None:
    """The run uses up all of its 30 seconds, and goes on spending in them."""
    limits = "{max_cost_usd: 5.00}" if kind == "cost" else "{max_duration: 500s}"
    rules = f"""
rules:
  - {{name: early, match: {{actor: acme/early}}, limits: {limits}, resurrect: true, never_exceed: true}}
  - {{name: late, match: {{actor: acme/late}}, limits: {limits}, resurrect: true}}
"""
    async with world(rules, speed=2 * SPEED) as w:
        early, late = (
            w.apify.start_run(w.apify.add_actor("acme", name), usd_per_hour=36, started_ago=ago)
            for name, ago in (("early", 415), ("late", 460))
        )
        await w.start()
        booked = await w.until_booked(early, late)
        check(early, booked[0], rule="early", within=True)
        check(late, booked[1], rule="late", within=False)
        for run, abort in zip((early, late), booked, strict=True):
            assert abort.mode is Mode.GRACEFUL
            assert run.truth().graceful
        early_used, late_used = (each.final.usage for each in booked)
        assert late_used.duration_s > 525, "without it the window comes on top"
        assert early_used.duration_s > 430, "not earlier than need be"
        await check_counts(w, booked)


async def test_a_figure_that_is_renewed_late_is_taken_for_old(world: Any) -> None:
    """The platform renews the dollars every 20 s, so by what it shows the limit is passed only when it is too late."""
    rules = """
rules:
  - {name: early, match: {actor: acme/early}, limits: {max_cost_usd: 3.00}, never_exceed: true}
  - {name: late, match: {actor: acme/late}, limits: {max_cost_usd: 3.00}}
"""
    async with world(rules, speed=SPEED, apify={"poll_interval": "2s"}) as w:
        early, late = (
            w.apify.start_run(w.apify.add_actor("acme", name), usd_per_hour=36, started_ago=93, refresh_every=20)
            for name in ("early", "late")
        )
        await w.start()
        booked = await w.until_booked(early, late)
        check(early, booked[0], rule="early", within=True)
        check(late, booked[1], rule="late", within=False)
        assert booked[0].final.usage.cost_usd > 2.0
        await check_counts(w, booked)


# No false kill


async def test_a_limit_takes_effect_at_half_its_height_at_the_earliest(world: Any) -> None:
    """A run that could pass its limit within the graceful window, but stands still below half of it; one that is slow;
    and one that ends by itself before its limit."""
    rules = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00}, resurrect: true, never_exceed: true}
  - {name: squids, match: {platform: lobstr}, limits: {max_credits: 100}, never_exceed: true}
"""
    async with world(rules, speed=4 * SPEED) as w:
        quick = w.apify.start_run(curve=lambda ran_s: min(0.49, 0.03 * ran_s))
        slow = w.apify.start_run(usd_per_hour=0.36, started_ago=4800)
        ends = w.apify.start_run(usd_per_hour=3.6, started_ago=500, ends_after=560)
        squid = w.lobstr.start_run(
            w.lobstr.add_squid("quick"), curve=lambda ran_s: min(49.0, 10 * ran_s), ends_after=None
        )
        over = w.apify.start_run(curve=lambda ran_s: min(0.55, 0.03 * ran_s))
        await w.start()
        await w.until_booked(over)
        await w.until(lambda: not ends.is_active(), "the end of the run within its limit")
        await w.pass_time(30)
        assert set(w.watch("apify").memory.runs) >= {quick.id, slow.id}
        assert not [run for run in (quick, slow, ends, squid) if run.truth().abort_requests]
        assert ends.truth().status == "SUCCEEDED"
        assert len(await w.aborts()) == 1
        w.audited = False


FLAT = 0.95


def nearly(ran_s: float) -> float:
    """Steep, and then flat just below the limit of a dollar."""
    return min(FLAT, 0.02 * ran_s)


@pytest.mark.parametrize("why", ["protected", "held", "dry_run"])
async def test_what_keeps_a_run_from_being_aborted_keeps_it_from_being_aborted_early(world: Any, why: str) -> None:
    rules = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00}, never_exceed: true}
"""
    if why == "protected":
        rules += "protect: [{match: {run_id: 'signed*'}, reason: signed off}]\n"
    async with world(rules, speed=4 * SPEED, dry_run=why == "dry_run") as w:
        w.ledger = MemoryLedger()
        run = w.apify.start_run(curve=nearly, run_id="signedOff00000001")
        if why == "held":
            hold = Override("h", OverrideKind.HOLD, w.clock.now(), run_id=run.id, reason="month end")
            await w.ledger.add_override(hold)
        await w.start()
        await w.until(lambda: bool(w.told(LimitBreached, run)), "the breach that is projected")
        await w.pass_time(40)
        (told,) = w.told(LimitBreached, run)
        assert told.breach.response is Response(why)
        assert told.breach.verdict.projected is not None
        assert told.breach.verdict.used < 1.0
        assert not run.truth().abort_requests
        assert not await w.aborts()


async def test_a_rule_that_only_notifies_does_so_when_its_limit_is_reached(world: Any) -> None:
    """As `docs/rules.md` says: with `action: notify` it has no effect."""
    rules = """
rules:
  - {name: tell, match: {actor: acme/flat}, limits: {max_cost_usd: 1.00}, never_exceed: true, action: notify}
  - {name: same, match: {actor: acme/over}, limits: {max_cost_usd: 1.00}, never_exceed: true, action: notify}
"""
    async with world(rules, speed=4 * SPEED) as w:
        flat = w.apify.start_run(w.apify.add_actor("acme", "flat"), curve=nearly)
        over = w.apify.start_run(w.apify.add_actor("acme", "over"), usd_per_hour=72)
        await w.start()
        await w.until(lambda: bool(w.told(LimitBreached, over)), "the breach of the run that is over")
        await w.pass_time(20)
        assert not w.told(LimitBreached, flat)
        (told,) = w.told(LimitBreached, over)
        assert told.breach.verdict.used >= 1.0
        assert told.breach.verdict.projected is None


# Over a restart

CAREFUL = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00}, never_exceed: true}]"


async def test_a_projected_abort_is_taken_up_again_after_a_crash(world: Any) -> None:
    """Its run has come no further meanwhile, so that by itself it would not be a breach."""
    async with world(CAREFUL, speed=4 * SPEED) as w:
        w.ledger = MemoryLedger()
        run = w.apify.start_run(curve=nearly)
        refused = w.fault("rate_limited", "abort", retry_after_s=600)
        await w.start()
        await w.until(lambda: bool(refused.hits), "a request that is refused for now")
        await w.stop()
        refused.remove()
        (left,) = await w.ledger.open_aborts()
        assert left.projected is not None
        await w.forget()
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.id == left.id
        assert abort.projected == left.projected
        check(run, abort, rule="cap", within=True)
        assert AbortState.WITHDRAWN not in [step.state for step in abort.history]
        assert len(await w.aborts()) == 1
        w.audited = False


@pytest.mark.parametrize(
    "changed",
    [
        # That another rule on the run is such a one makes no difference.
        CAREFUL.replace(", never_exceed: true}]", "}, {name: far, limits: {max_cost_usd: 99}, never_exceed: true}]"),
        CAREFUL.replace("1.00", "2.00"),
    ],
    ids=["may be exceeded", "raised"],
)
async def test_a_projected_abort_is_withdrawn_if_the_rules_no_longer_ask_for_it(world: Any, changed: str) -> None:
    async with world(CAREFUL, speed=4 * SPEED) as w:
        w.ledger = MemoryLedger()
        run = w.apify.start_run(curve=nearly)
        refused = w.fault("rate_limited", "abort", retry_after_s=600)
        await w.start()
        await w.until(lambda: bool(refused.hits), "a request that is refused for now")
        await w.stop()
        refused.remove()
        asked = run.abort_requests
        await w.forget()
        w._rules.write_text(changed, encoding="utf-8")
        await w.start()

        async def is_closed() -> bool:
            return [each.state for each in await w.aborts()] == [AbortState.WITHDRAWN]

        await w.until(is_closed, "the record to be closed")
        await w.pass_time(20)
        assert await is_closed()
        assert run.is_active()
        assert run.abort_requests == asked
        assert w.counted("aborts") == 0
        w.audited = False  # the record is not counted, and the run goes on
