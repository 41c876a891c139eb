"""What is stopped and what is left alone: every kind of limit, on both platforms, through the whole daemon."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Mode, Response
from watchdog.domain.meter import Meter
from watchdog.domain.notice import LimitBreached, PollFailed, SweepDone, UsageUnknown
from watchdog.simulated import PayPerEvent

pytestmark = pytest.mark.anyio

CAPS = """
rules:
  - name: usd-cap
    match: {platform: apify, actor: "acme/usd-*"}
    limits: {max_cost_usd: 1.00}
  - name: unit-cap
    match: {platform: apify, actor: "acme/units-*"}
    limits: {max_credits: 0.05}
  - name: time-cap
    match: {platform: apify, actor: "acme/time-*"}
    limits: {max_duration: 2m}
  - name: squid-usd
    match: {platform: lobstr, squid: "usd *"}
    limits: {max_cost_usd: 0.02}
  - name: squid-credits
    match: {platform: lobstr, squid: "credits *"}
    limits: {max_credits: 10}
  - name: squid-time
    match: {platform: lobstr, squid: "time *"}
    limits: {max_duration: 2m}
"""


async def test_every_kind_of_limit_stops_what_is_over_it_and_nothing_else(world: Any) -> None:
    async with world(CAPS) as w:
        over, within = [], []
        for name, fast, slow in (
            ("usd", {"usd_per_hour": 36}, {"usd_per_hour": 0.5}),
            ("units", {"memory_mbytes": 4096, "usd_per_hour": 1}, {"memory_mbytes": 128, "usd_per_hour": 1}),
            ("time", {"usd_per_hour": 1}, {"usd_per_hour": 1, "ends_after": 100}),
            ("free", {"usd_per_hour": 900, "memory_mbytes": 32768}, {"usd_per_hour": 900}),
        ):
            hot = w.apify.start_run(w.apify.add_actor("acme", f"{name}-hot"), **fast)
            (within if name == "free" else over).append(hot)
            within.append(w.apify.start_run(w.apify.add_actor("acme", f"{name}-cold"), **slow))
        for name, fast, slow in (
            ("usd", {"credits_per_hour": 360}, {"credits_per_hour": 6}),
            ("credits", {"credits_per_hour": 360}, {"credits_per_hour": 6}),
            ("time", {"ends_after": None}, {"ends_after": 100}),
            ("free", {"credits_per_hour": 9000}, {"credits_per_hour": 9000}),
        ):
            hot = w.lobstr.start_run(w.lobstr.add_squid(f"{name} hot"), **fast)
            (within if name == "free" else over).append(hot)
            within.append(w.lobstr.start_run(w.lobstr.add_squid(f"{name} cold"), **slow))
        await w.start()
        booked = await w.until_booked(*over)
        assert [abort.rule for abort in booked] == [
            "usd-cap",
            "unit-cap",
            "time-cap",
            "squid-usd",
            "squid-credits",
            "squid-time",
        ]
        for run, abort in zip(over, booked, strict=True):
            truth = run.truth()
            assert truth.aborted_by_api
            assert truth.status.lower() in ("aborted", "uploading")
            assert truth.graceful in (False, None)
            assert (abort.state, abort.mode, abort.requests) == (AbortState.CONFIRMED, Mode.IMMEDIATE, 1)
            assert abort.final is not None
            assert abort.final.usage.credits == pytest.approx(truth.usage.credits, abs=1e-4)
            assert abort.final.usage.duration_s is not None
            if run.platform == "apify":
                assert abort.final.usage.duration_s == pytest.approx(truth.usage.duration_s, abs=0.01)
            else:
                # What lobstr calls the duration is not the time elapsed: what was seen running is what is sure.
                assert 0 < abort.final.usage.duration_s <= truth.usage.duration_s + 0.01
            assert abort.saving is not None
        assert {abort.run_id for abort in await w.aborts()} == {run.id for run in over}
        assert not [run.id for run in within if run.truth().abort_requests]
        assert w.counted("breaches", response="abort") == len(over)
        assert w.counted("aborts", outcome="confirmed") == len(over)


@pytest.mark.parametrize("platform", ["apify", "lobstr"])
async def test_a_limit_is_inclusive(world: Any, platform: str) -> None:
    """A figure that stands at the limit exactly is a breach; one just below it is not."""
    rules = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 250}}]"
    async with world(rules) as w:
        if platform == "apify":
            at, below = (w.apify.start_run(curve=lambda ran_s, most=most: most) for most in (0.5, 0.4999))
        else:
            at, below = (
                w.lobstr.start_run(w.lobstr.add_squid(f"to {most}"), curve=lambda ran_s, most=most: most)
                for most in (250, 249.99)
            )
        await w.start()
        await w.until_booked(at)
        await w.sweeps(3, platform)
        assert not below.truth().abort_requests


async def test_duration_limits_fire_at_the_deadline_between_sweeps(world: Any) -> None:
    """Sweeps are ten minutes apart, the deadline lies in between: no sweep can have seen it."""
    rules = "rules: [{name: cap, limits: {max_duration: 100s}}]"
    rare = {"poll_interval": "10m"}
    async with world(rules, speed=100, apify=rare, lobstr=rare) as w:
        runs = [w.apify.start_run(usd_per_hour=1), w.lobstr.start_run(w.lobstr.add_squid("s"), ends_after=None)]
        late = w.apify.start_run(started_ago=40)
        await w.start()
        for run, abort in zip((*runs, late), await w.until_booked(*runs, late), strict=True):
            at = run.truth().effective_abort_at
            assert at is not None
            lateness = run.usage(at).duration_s - 100
            assert -0.002 <= lateness < 30, f"{run.platform}: {lateness:.1f} s late"
            assert abort.requests == 1
        assert w.counted("polls", kind="sweep", outcome="ok") == 2


async def test_compute_unit_limits_fire_at_the_deadline_between_sweeps(world: Any) -> None:
    rules = "rules: [{name: cap, match: {platform: apify}, limits: {max_credits: 0.1}}]"
    async with world(rules, speed=100, apify={"poll_interval": "10m"}) as w:
        run = w.apify.start_run(memory_mbytes=4096)
        await w.start()
        (abort,) = await w.until_booked(run)
        assert run.usage(run.truth().effective_abort_at).duration_s == pytest.approx(90, abs=30)
        assert abort.limit == "max_credits"
        assert w.requests("run", run) < 12


async def test_a_resurrected_run_is_measured_by_its_running_time(world: Any) -> None:
    rules = "rules: [{name: cap, limits: {max_duration: 8m}}]"
    async with world(rules) as w:
        young = w.apify.start_run(started_ago=18_060, stopped_for=18_000, ends_after=400)
        old = w.apify.start_run(started_ago=18_460, stopped_for=18_000)
        await w.start()
        await w.until_booked(old)
        used = old.usage(old.truth().effective_abort_at).duration_s
        assert used >= 480 - 0.002
        assert used < 520
        await w.until(lambda: not young.is_active(), "the end of the run within its limit")
        assert young.truth().status == "SUCCEEDED"
        assert not young.truth().abort_requests


async def test_graceful_by_rule_and_by_flag(world: Any) -> None:
    rules = """
rules:
  - {name: soft, match: {actor: "acme/soft"}, limits: {max_cost_usd: 0.2}, resurrect: true}
  - {name: hard, match: {actor: "acme/hard"}, limits: {max_cost_usd: 0.2}}
  - {name: squid, match: {platform: lobstr}, limits: {max_credits: 1}, resurrect: true}
resurrect:
  - match: {run_id: "keep*"}
"""
    async with world(rules) as w:
        hard = w.apify.add_actor("acme", "hard")
        by_rule = w.apify.start_run(w.apify.add_actor("acme", "soft"), usd_per_hour=36)
        by_flag = w.apify.start_run(hard, usd_per_hour=36, run_id="keepThisOne000001", graceful_takes=5)
        neither = w.apify.start_run(hard, usd_per_hour=36)
        squid = w.lobstr.start_run(w.lobstr.add_squid("one mode"), credits_per_hour=360)
        await w.start()
        runs = (by_rule, by_flag, neither, squid)
        booked = await w.until_booked(*runs)
        assert [run.truth().graceful for run in runs] == [True, True, False, None]
        assert [str(abort.mode) for abort in booked] == ["graceful", "graceful", "immediate", "immediate"]
        assert [abort.requests for abort in booked] == [1, 1, 1, 1]
        window = by_rule.truth().ended - by_rule.truth().effective_abort_at
        assert window.total_seconds() == pytest.approx(30, abs=0.01)
        assert w.counted("aborts", mode="graceful", outcome="confirmed") == 2


async def test_protected_and_notified_runs_and_dry_run_go_on(world: Any) -> None:
    rules = """
rules:
  - {name: cap, match: {actor: "acme/*"}, limits: {max_cost_usd: 0.1}}
  - {name: tell, match: {actor: "other/*"}, limits: {max_cost_usd: 0.1}, action: notify}
protect:
  - {match: {run_id: "signed*"}, reason: signed off}
  - {match: {task: quarterly}, reason: quarterly}
"""
    async with world(rules) as w:
        actor = w.apify.add_actor("acme", "any")
        one = w.apify.start_run(actor, usd_per_hour=36, run_id="signedOff00000001")
        two = w.apify.start_run(task=w.apify.add_task(actor, "quarterly"), usd_per_hour=36)
        three = w.apify.start_run(w.apify.add_actor("other", "any"), usd_per_hour=36)
        await w.start()
        await w.until(lambda: len(w.told(LimitBreached)) == 3, "three breaches")
        looks = w.requests("run")
        await w.sweeps(5)
        assert len(w.told(LimitBreached)) == 3, "told once"
        assert w.requests("run") == looks, "an answered breach needs no more looks"
        said = {each.snapshot.run_id: (each.breach.response, each.breach.note) for each in w.told(LimitBreached)}
        assert said[one.id] == (Response.PROTECTED, "signed off")
        assert said[two.id] == (Response.PROTECTED, "quarterly")
        assert said[three.id] == (Response.NOTIFY, "")
        assert not w.requests("abort")
        assert w.counted("breaches", response="protected") == 2
        assert w.counted("breaches", response="notify", rule="tell") == 1
        assert not await w.aborts()


async def test_a_notice_does_not_blind_the_daemon_to_the_limits_that_abort(world: Any) -> None:
    """After the answered breach of one rule, the deadline of another is still met, sweeps or not."""
    rules = """
rules:
  - {name: tell, limits: {max_duration: 30s}, action: notify}
  - {name: stop, limits: {max_duration: 100s}}
"""
    rare = {"poll_interval": "10m"}
    async with world(rules, speed=100, apify=rare, lobstr=rare) as w:
        run = w.apify.start_run()
        await w.start()
        (abort,) = await w.until_booked(run)
        assert abort.rule == "stop"
        assert run.usage(run.truth().effective_abort_at).duration_s < 130
        assert w.counted("polls", account="apify", kind="sweep", outcome="ok") == 1


async def test_dry_run_tells_and_aborts_nothing(world: Any) -> None:
    rules = "rules: [{name: cap, limits: {max_cost_usd: 0.01}}]"
    async with world(rules, dry_run=True) as w:
        runs = [
            w.apify.start_run(usd_per_hour=36),
            w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600),
        ]
        await w.start()
        await w.until(lambda: len(w.told(LimitBreached)) == 2, "two breaches")
        await w.sweeps(3)
        assert not w.requests("abort")
        assert {notice.breach.response for notice in w.told(LimitBreached)} == {Response.DRY_RUN}
        assert w.counted("breaches", response="dry_run") == 2
        assert all(run.is_active() for run in runs)


@pytest.mark.parametrize("kind", ["hidden", "null_usage", "missing_usage", "wrong_types"])
async def test_unknown_usage_is_told_once_and_never_aborts(world: Any, kind: str) -> None:
    """No figure is no zero: the limit is not judged, and somebody is told."""
    rules = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.01}}]"
    async with world(rules) as w:
        run = w.apify.start_run(usd_per_hour=None if kind == "hidden" else 36)
        seen = w.apify.start_run(usd_per_hour=36)
        if kind != "hidden":
            details = {"fields": {"usageTotalUsd": "much"}} if kind == "wrong_types" else {}
            w.fault(kind, "list|run", run_id=run.id, **details)
        await w.start()
        await w.until_booked(seen)
        await w.until(lambda: bool(w.told(UsageUnknown, run)), "the notice")
        await w.pass_time(100)
        assert len(w.told(UsageUnknown, run)) == 1
        assert not run.truth().abort_requests
        assert w.counted("usage_unknown_runs", account="apify", limit="max_cost_usd") == 1
        # Looked at again now and then, not at every sweep.
        assert 2 <= w.requests("run", run) <= 8


async def test_cost_that_comes_late_is_judged(world: Any) -> None:
    rules = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.5}}]"
    async with world(rules) as w:
        run = w.apify.start_run(usd_per_hour=36)
        fault = w.fault("null_usage", "list|run", run_id=run.id)
        await w.start()
        await w.pass_time(80)
        assert not run.truth().abort_requests
        fault.remove()
        await w.until_booked(run)


async def test_look_again_before_you_shoot(world: Any) -> None:
    """A sweep that lies high raises suspicion; the inspection says within, so nothing happens."""
    rules = "rules: [{name: cap, limits: {max_cost_usd: 1, max_credits: 5}}]"
    async with world(rules) as w:
        run = w.apify.start_run(usd_per_hour=0.1)
        squid = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=1)
        w.fault("wrong_types", "list", account=w.apify, run_id=run.id, fields={"usageTotalUsd": 99.0})
        w.fault("wrong_types", "list", account=w.lobstr, run_id=squid.id, fields={"credit_used": 99.0})
        await w.start()
        await w.sweeps(4)
        await w.sweeps(2, "lobstr")
        assert w.requests("run", run)
        assert w.requests("run", squid)
        assert not w.requests("abort")
        assert not w.told(LimitBreached)
        assert not await w.aborts()
        assert all(value < 1 for _, value in w.samples("rule_usage_ratio"))


async def test_unknown_status_stays_watched_and_is_stopped_when_over(world: Any) -> None:
    rules = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 10}}]"
    async with world(rules) as w:
        run = w.apify.start_run(usd_per_hour=36)
        squid = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=720)
        w.fault("unknown_status", "list", run_id=run.id, times=20)
        w.fault("unknown_status", "squids", account=w.lobstr, times=20)
        await w.start()
        assert w.counted("runs_active", state="unknown") == 1
        await w.until_booked(run, squid)


async def test_bad_items_and_a_failing_squid_hurt_only_themselves(world: Any) -> None:
    rules = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 10}}]"
    async with world(rules) as w:
        bad = w.apify.start_run(usd_per_hour=1)
        over = w.apify.start_run(usd_per_hour=36)
        lame = w.lobstr.start_run(w.lobstr.add_squid("lame"), credits_per_hour=1)
        fast = w.lobstr.start_run(w.lobstr.add_squid("fast"), credits_per_hour=720)
        w.fault("bad_item", "list", account=w.apify, run_id=bad.id)
        lame_list = w.fault("wrong_types", "list", account=w.lobstr, run_id=lame.id, fields={"status": 7})
        await w.start()
        await w.until_booked(over, fast)
        assert lame_list.hits
        sweeps = [notice for notice in w.told(SweepDone) if notice.bad_items]
        assert {notice.account.name for notice in sweeps} == {"apify", "lobstr"}
        assert not w.told(PollFailed)
        assert w.counted("unreadable_items", account="apify") == 1
        assert not bad.truth().abort_requests
        assert not lame.truth().abort_requests


async def test_an_older_run_behind_a_pending_one_is_seen(world: Any) -> None:
    """At the start a squid has two: one that runs, over its limit, and a newer one that waits. Of another the newest is
    over, and an older one goes on."""
    async with world("rules: [{name: cap, match: {platform: lobstr}, limits: {max_credits: 20}}]") as w:
        two, left = w.lobstr.add_squid("two"), w.lobstr.add_squid("left")
        over = w.lobstr.start_run(two, credits_per_hour=3600, started_ago=30, ends_after=None)
        w.lobstr.start_run(two, pending_for=10_000, beside=True)
        slow = w.lobstr.start_run(left, credits_per_hour=720, started_ago=30, ends_after=None)
        brief = w.lobstr.start_run(left, credits_per_hour=1, ends_after=5, uploading_for=1, beside=True)
        await w.start()
        first, second = await w.until_booked(over, slow)
        assert {first.state, second.state} == {AbortState.CONFIRMED}
        assert not brief.is_active()
        assert second.used_at_request < 40
        assert len(await w.aborts()) == 2


RESULTS = """
rules:
  - {name: enough, match: {platform: apify, actor: "acme/counted-*"}, limits: {max_results: 50}}
  - {name: paid, match: {platform: apify, actor: "acme/paid-*"}, limits: {max_results: 50}}
  - {name: rows, match: {platform: lobstr}, limits: {max_results: 50}}
  - {name: other, match: {platform: apify, actor: "acme/other"}, limits: {max_cost_usd: 100}}
"""


async def test_a_run_that_brings_more_results_than_wanted_is_stopped_on_each_platform(world: Any) -> None:
    async with world(RESULTS) as w:
        events = PayPerEvent(events={"apify-actor-start": 0.001, "result": 0.0001})
        over, within = [], []
        for many, runs in ((3600, over), (20, within)):
            runs += [
                w.apify.start_run(w.apify.add_actor("acme", f"counted-{many}"), results_per_hour=many),
                w.apify.start_run(w.apify.add_actor("acme", f"paid-{many}"), results_per_hour=many, pricing=events),
                w.lobstr.start_run(w.lobstr.add_squid(f"rows {many}"), results_total=many, ends_after=3600),
            ]
        other = w.apify.start_run(w.apify.add_actor("acme", "other"), results_per_hour=9000)
        await w.start()
        booked = await w.until_booked(*over)
        assert [(abort.rule, abort.limit) for abort in booked] == [
            ("enough", Meter.RESULTS),
            ("paid", Meter.RESULTS),
            ("rows", Meter.RESULTS),
        ]
        for run, abort in zip(over, booked, strict=True):
            assert run.truth().aborted_by_api
            assert abort.state is AbortState.CONFIRMED
            assert abort.used_at_request is not None
            assert abort.used_at_request >= 50
            assert abort.final is not None
            assert abort.final.usage.results is not None
            assert abort.final.usage.results >= abort.used_at_request
            assert "results" in abort.reason
            assert abort.saving is not None
            assert "results" not in abort.saving.note, "they are not booked"
        assert not any(run.truth().abort_requests for run in (*within, other))
        counted = {request.path for request in w.sim.requests if request.endpoint == "dataset"}
        datasets = {run.short.default_dataset_id for run in (over[0], within[0])}
        assert counted == {f"/v2/datasets/{each}" for each in datasets}, "only where nothing else tells"
        assert {notice.breach.verdict.kind for notice in w.told(LimitBreached)} == {Meter.RESULTS}


async def test_results_that_cannot_be_counted_are_unknown_and_stop_nothing(world: Any) -> None:
    """Nor do they keep another limit from stopping the run."""
    text = "rules: [{name: enough, limits: {max_results: 50}}, {name: dear, limits: {max_cost_usd: 1}}]"
    async with world(text) as w:
        w.fault("status", "dataset", status=404)
        uncounted = w.apify.start_run(w.apify.add_actor(), usd_per_hour=0.1, results_per_hour=36_000)
        dear = w.apify.start_run(w.apify.add_actor(), usd_per_hour=60, results_per_hour=1)
        await w.start()
        [abort] = await w.until_booked(dear)
        assert (abort.rule, abort.state) == ("dear", AbortState.CONFIRMED)
        await w.until(lambda: w.counted("usage_unknown_runs", account="apify", limit="max_results") >= 1, "the metric")
        assert w.told(UsageUnknown, uncounted)
        assert not uncounted.abort_requests


async def test_a_limit_that_counts_only_from_some_results_on(world: Any) -> None:
    text = "rules: [{name: dear, limits: {max_cost_usd: 0.1}, after: {results: 100}}]"
    async with world(text) as w:
        young = w.apify.start_run(w.apify.add_actor(), usd_per_hour=36, results_per_hour=1)
        old = w.apify.start_run(w.apify.add_actor(), usd_per_hour=36, results_per_hour=7200)
        await w.start()
        [abort] = await w.until_booked(old)
        assert abort.before.usage.results is not None
        assert abort.before.usage.results >= 100
        assert young.usage().cost_usd > 0.1
        assert not young.abort_requests
