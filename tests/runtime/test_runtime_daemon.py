"""The daemon as a whole when accounts, lists or parts of ourselves fail; how it starts, reports and ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from pydantic import SecretStr

from watchdog.config.models import AccountSettings
from watchdog.domain.decision import AbortState
from watchdog.domain.notice import AbortChanged, PollFailed, SweepDone, Trouble, UsageUnknown
from watchdog.errors import ConfigurationError, CredentialsRefused
from watchdog.net import Bounds, Client
from watchdog.runtime.clock import SystemClock
from watchdog.telemetry.fanout import Fanout

pytestmark = pytest.mark.anyio

CAP = "rules: [{name: cap, limits: {max_cost_usd: 0.5, max_credits: 20}}]"


def second_apify(w: Any, token: str, url: str | None = None) -> AccountSettings:
    return AccountSettings(name="second", platform="apify", token=SecretStr(token), base_url=url or w.sim.url)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ({"kind": "status", "status": 500}, "server_fault"),
        ({"kind": "status", "status": 401}, "credentials_refused"),
        ({"kind": "status", "status": 404}, "gone"),
        ({"kind": "status", "status": 418}, "refused"),
        ({"kind": "rate_limited", "retry_after_s": 30}, "rate_limited"),
        ({"kind": "html"}, "bad_answer"),
        ({"kind": "truncated_json"}, "bad_answer"),
        ({"kind": "wrong_types"}, "bad_answer"),
        ({"kind": "redirect"}, "bad_answer"),
        ({"kind": "reset"}, "unreachable"),
        ({"kind": "half"}, "unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
async def test_a_failing_account_does_not_disturb_the_others_and_recovers(world: Any, fault: Any, outcome: str) -> None:
    async with world(CAP) as w:
        lobstr = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600)
        apify = w.apify.start_run(usd_per_hour=36)
        failing = w.fault(match="list|run", account=w.apify, **fault)
        w.build()
        starting = asyncio.create_task(w.start())
        await w.until(lambda: w.counted("polls", account="apify", kind="sweep", outcome=outcome) >= 2, "failures")
        await w.until_booked(lobstr)
        apify_ready, lobstr_ready = w.daemon.readiness()
        assert not apify_ready.ok
        assert "not swept yet: account 'apify': GET" in apify_ready.detail
        assert lobstr_ready.ok, lobstr_ready
        failing.remove()
        await starting
        await w.until_booked(apify)
        assert all(each.ok for each in w.daemon.readiness())
        if outcome == "credentials_refused":
            assert {type(each.error) for each in w.told(PollFailed)} == {CredentialsRefused}


async def test_an_account_that_hangs_at_the_start_holds_nobody_up(world: Any) -> None:
    """The deadline of a run on the other account comes while the first sweep of this one waits for its answer."""
    async with world("rules: [{name: cap, limits: {max_duration: 30s}}]", apify={"poll_interval": "10m"}) as w:
        run = w.apify.start_run()
        w.fault("delay", "squids", account=w.lobstr, delay_s=2.0)
        started = time.monotonic()
        starting = asyncio.create_task(w.start())
        await asyncio.sleep(0)
        await w.until_booked(run)
        assert time.monotonic() - started < 1.8
        assert w.watch("lobstr").last_success_s is None
        await starting


async def test_a_platform_that_goes_down_shows_in_readiness_and_comes_back(world: Any) -> None:
    async with world(CAP) as w:
        run = w.apify.start_run(usd_per_hour=9)  # over in 200 s
        await w.start()
        await w.sweeps(2)
        outage = w.fault("status", "*", account=w.apify, status=503)
        await w.until(lambda: not w.daemon.readiness()[0].ok, "the account being called failing")
        not_ready = w.daemon.readiness()[0]
        assert not_ready.name == "account apify"
        assert "last swept" in not_ready.detail
        assert "HTTP 503" in not_ready.detail
        assert w.daemon.readiness()[1].ok
        failures = [each.failures_in_a_row for each in w.told(PollFailed) if each.kind == "sweep"]
        assert failures == list(range(1, len(failures) + 1))
        outage.remove()
        await w.until(lambda: w.daemon.readiness()[0].ok, "the recovery")
        await w.until_booked(run)


@pytest.mark.parametrize("limit", ["max_duration: 60s", "max_cost_usd: 0.6", "max_credits: 0.02"])
async def test_known_runs_are_watched_while_the_list_fails(world: Any, limit: str) -> None:
    """The list is down but the detail call works: what was seen before is still stopped in time."""
    async with world(f"rules: [{{name: cap, match: {{platform: apify}}, limits: {{{limit}}}}}]", speed=100) as w:
        run = w.apify.start_run(usd_per_hour=36)  # $0.01 and 1/3600 unit a second
        within = w.apify.start_run(usd_per_hour=1, memory_mbytes=128, started_ago=0, ends_after=40)
        await w.start()
        await w.sweeps(3)
        w.fault("status", "list", account=w.apify, status=500)
        (abort,) = await w.until_booked(run)
        assert abort.state is AbortState.CONFIRMED
        ran_s = run.usage(run.truth().effective_abort_at).duration_s
        assert ran_s < (72 if "credits" in limit else 60) + 30
        assert not within.truth().abort_requests


async def test_a_sweep_that_hangs_does_not_blind_the_daemon(world: Any) -> None:
    async with world("rules: [{name: cap, match: {platform: apify}, limits: {max_duration: 60s}}]", speed=100) as w:
        run = w.apify.start_run()
        await w.start()
        w.fault("hang", "list", account=w.apify)
        await w.until_booked(run)
        assert run.usage(run.truth().effective_abort_at).duration_s < 90


async def test_missing_from_a_list_is_not_ended(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_cost_usd: 0.6}}]") as w:
        run = w.apify.start_run(usd_per_hour=36)
        await w.start()
        w.fault("slip_items", "list", account=w.apify, run_id=run.id)
        await w.until_booked(run)
        assert run.truth().aborted_by_api


async def test_an_ended_run_is_looked_at_and_forgotten(world: Any) -> None:
    async with world(CAP) as w:
        runs = [w.apify.start_run(usd_per_hour=1, ends_after=20) for _ in range(15)]
        kept = w.apify.start_run(usd_per_hour=0.1)
        await w.start()
        await w.until(lambda: set(w.watch("apify").memory.runs) == {kept.id}, "forgetting those that ended")
        assert not w.requests("abort")
        assert max(w.requests("run", run) for run in runs) <= 4
        assert len(w.watch("apify").agenda) <= 1


async def test_the_run_of_a_failing_squid_is_still_looked_at(world: Any) -> None:
    """Its list call fails for ever; the run was known before, so it is looked at by its id."""
    async with world("rules: [{name: cap, limits: {max_credits: 30}}]", speed=200, lobstr={"poll_interval": "5s"}) as w:
        lame = w.lobstr.start_run(w.lobstr.add_squid("lame"), credits_per_hour=3600)
        w.lobstr.requests_per_minute = None
        await w.start()
        w.fault("status", "list", account=w.lobstr, status=500)
        await w.until_booked(lame)


async def test_names_that_cannot_be_looked_up_are_told_and_never_abort(world: Any) -> None:
    rules = 'rules: [{name: cap, match: {actor: "acme/*"}, limits: {max_cost_usd: 0.1}}]'
    async with world(rules) as w:
        run = w.apify.start_run(w.apify.add_actor("acme", "any"), usd_per_hour=36)
        other = w.apify.start_run(w.apify.add_actor("other", "any"), usd_per_hour=36)
        names = w.fault("status", "actor", status=500)
        await w.start()
        await w.until(lambda: len(w.told(UsageUnknown)) == 2, "the notices")
        await w.sweeps(4)
        assert len(w.told(UsageUnknown)) == 2
        assert {each.verdict.why_unknown for each in w.told(UsageUnknown)} == {"source"}
        assert w.counted("usage_unknown_runs") == 2
        assert not w.requests("abort")
        names.remove()
        await w.until_booked(run)
        assert not other.truth().abort_requests


async def test_a_protection_that_cannot_be_checked_defers_the_abort(world: Any) -> None:
    rules = """
rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 0.1}}]
protect: [{match: {actor: "acme/precious"}}]
"""
    async with world(rules) as w:
        precious = w.apify.start_run(w.apify.add_actor("acme", "precious"), usd_per_hour=36)
        cheap = w.apify.start_run(w.apify.add_actor("acme", "cheap"), usd_per_hour=36)
        names = w.fault("status", "actor", status=500)
        await w.start()
        await w.until(lambda: w.counted("breaches", response="deferred") == 2, "both being deferred")
        assert not w.requests("abort")
        names.remove()
        await w.until_booked(cheap)
        await w.until(lambda: w.counted("breaches", response="protected") == 1, "the protected one")
        assert not precious.truth().abort_requests


async def test_an_observer_that_raises_stops_nothing(world: Any) -> None:
    class Broken:
        def notice(self, notice: Any) -> None:
            raise ZeroDivisionError

    seen: list[Any] = []

    class Sound:
        def notice(self, notice: Any) -> None:
            seen.append(notice)

    Fanout([Broken(), Sound()]).notice(Trouble("x"))
    assert seen == [Trouble("x")]


async def test_no_token_comes_out_even_if_the_platform_echoes_it(world: Any, caplog: Any) -> None:
    async with world(CAP) as w:
        w.apify.start_run(usd_per_hour=72)
        w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600)
        await w.start()
        for account in (w.apify, w.lobstr):
            echo = f'{{"error": {{"type": "t", "message": "{account.token}"}}, "detail": "{account.token}"}}'
            for status in (400, 401, 404, 500):
                w.fault("status", "*", account=account, status=status, body=echo.encode(), times=3, after=status % 7)
            w.fault("redirect", "list|squids", account=account, location=f"http://x.invalid/{account.token}", times=2)
        await w.until(lambda: len(w.told(AbortChanged)) >= 2, "two aborts under way")
        for account in (w.apify, w.lobstr):
            assert account.token not in caplog.text
            assert not [each for each in w.app.watches if account.token in repr(each.last_error)]
        # The rest is the audit at the end of every test: notices, metrics, tables, JSON.


async def test_all_tokens_wrong_at_the_start_is_a_mistake_of_the_configuration(world: Any) -> None:
    async with world(CAP) as w:
        w.fault("status", "*", status=401)
        with pytest.raises(ConfigurationError, match=r"account 'apify': .*HTTP 401.*check the token"):
            await w.start()
        w._running = None


@pytest.mark.parametrize(
    ("apify", "lobstr"),
    [
        ({"status": 403, "body": b"<html>Access denied"}, {"status": 403, "body": b"<html>Access denied"}),
        ({"status": 401}, {"status": 500}),
        ({"status": 401}, {"status": 403, "body": b'{"message": "Forbidden"}'}),
        ({"status": 407, "body": b""}, {"status": 511, "body": b"<html>Log in"}),
        ({"status": 403, "body": b'{"detail": "No."}'}, {"status": 401, "body": b'{"error": "No."}'}),
    ],
)
async def test_only_every_platforms_own_refusal_is_a_mistake_of_the_configuration(
    world: Any, apify: dict[str, Any], lobstr: dict[str, Any]
) -> None:
    """Anything else may pass, and is tried again."""
    async with world(CAP) as w:
        run = w.apify.start_run(usd_per_hour=72)
        faults = [w.fault("status", "*", account=w.apify, **apify), w.fault("status", "*", account=w.lobstr, **lobstr)]
        w.build()
        starting = asyncio.create_task(w.start())
        await w.until(lambda: bool(blind(w)), "being told")
        await w.until(lambda: all(fault.hits > 8 for fault in faults), "more tries")
        assert len(blind(w)) == 1
        assert "account 'apify': GET" in blind(w)[0].message
        assert not any(each.ok for each in w.daemon.readiness())
        for fault in faults:
            fault.remove()
        await starting
        await w.until_booked(run)


async def test_tokens_that_turn_out_to_be_refused_once_the_platforms_answer(world: Any) -> None:
    """As if they had been refused at once: nothing was ever watched."""
    async with world(CAP) as w:
        down = w.fault("status", "*", status=503)
        w.build()
        starting = asyncio.create_task(w.start())
        await w.until(lambda: bool(blind(w)), "being told")
        w.fault("status", "*", status=401)
        down.remove()
        with pytest.raises(ConfigurationError, match=r"(?s)account 'apify': .*HTTP 401.*account 'lobstr': .*HTTP 401"):
            await starting
        w._running = None


def blind(w: Any) -> list[Trouble]:
    return [each for each in w.told(Trouble) if each.level == "error" and "no account could be swept" in each.message]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_platform_that_wants_to_be_left_alone_is(world: Any, status: int) -> None:
    async with world(CAP) as w:
        await w.start()
        fault = w.fault("status", "list", account=w.apify, status=status, headers={"Retry-After": "60"}, times=1)
        await w.until(lambda: fault.hits == 1, "the fault")
        began, before = w.clock.monotonic(), len(w.sim.requests)
        await w.until(lambda: w.clock.monotonic() - began > 40, "the time that it wants")
        lists = [each for each in w.sim.requests[before:] if each.path == "/v2/actor-runs"]
        assert not lists, lists
        await w.until(lambda: all(each.ok for each in w.daemon.readiness()), "the recovery")


@pytest.mark.parametrize("kind", ["html", "truncated_json", "reset"])
async def test_a_platform_that_is_broken_at_the_start_is_tried_until_it_answers(world: Any, kind: str) -> None:
    async with world(CAP) as w:
        run = w.apify.start_run(usd_per_hour=72)
        broken = w.fault(kind, "*")
        w.build()
        starting = asyncio.create_task(w.start())
        await w.until(lambda: bool(blind(w)), "being told")
        broken.remove()
        await starting
        await w.until_booked(run)


async def test_nobody_reachable_at_the_start_is_told(world: Any) -> None:
    async with world(CAP) as w:
        w.base_urls = dict.fromkeys(("apify", "lobstr"), "http://127.0.0.1:1")
        w.build()
        starting = asyncio.create_task(w.start())
        await w.until(lambda: bool(blind(w)), "being told")
        assert "account 'lobstr': GET http://127.0.0.1:1" in blind(w)[0].message
        assert "cannot connect" in blind(w)[0].message
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def test_one_good_account_is_enough_to_start(world: Any) -> None:
    async with world(CAP) as w:
        w.more_accounts = [second_apify(w, "wrong")]
        run = w.apify.start_run(usd_per_hour=72)
        starting = asyncio.create_task(w.start())
        await asyncio.sleep(0)
        await w.until_booked(run)
        refused = next(each for each in w.daemon.readiness() if each.name == "account second")
        assert not refused.ok
        assert "HTTP 401" in refused.detail
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


async def test_a_stop_cuts_a_hanging_start_short(world: Any) -> None:
    async with world(CAP) as w:
        w.fault("hang", "*")
        w.build()
        daemon = w.app.daemon(listen=False)
        running = asyncio.create_task(daemon.run())
        await w.until(lambda: bool(w.sim.requests), "the first request")
        started = time.monotonic()
        daemon.stop()
        async with asyncio.timeout(5):
            await running
        assert time.monotonic() - started < 1


async def test_a_stop_gives_aborts_a_moment_and_records_the_rest(world: Any) -> None:
    async with world(CAP) as w:
        run = w.apify.start_run(usd_per_hour=72)
        w.fault("abort_ignored", "abort")
        await w.start()
        await w.until(lambda: bool(run.abort_requests), "the abort request")
        started = time.monotonic()
        await w.stop()
        assert time.monotonic() - started < 2
        (notice,) = [each for each in w.told(Trouble) if "not proven" in each.message]
        assert (notice.run_id, notice.level) == (run.id, "error")
        assert (await w.abort_of(run)).state is AbortState.REQUESTED
        assert len(await w.app.ledger.open_aborts()) == 1
        before = len(w.sim.requests)
        await w.pass_time(20)
        assert len(w.sim.requests) == before, "a stopped daemon asks nothing"


async def test_lobstr_stays_inside_its_rate_limit_and_aborts_go_first(world: Any) -> None:
    """A hundred active squids and a budget that cannot serve them all at once."""
    async with world("rules: [{name: cap, limits: {max_credits: 25}}]", speed=120) as w:
        hot = w.lobstr.start_run(w.lobstr.add_squid("hot"), credits_per_hour=900, ends_after=None)
        for number in range(99):
            w.lobstr.start_run(w.lobstr.add_squid(f"cold {number}"), credits_per_hour=1)
        await w.start()
        await w.until_booked(hot)
        assert w.lobstr.too_many_requests_count == 0
        assert w.counted("platform_requests", account="lobstr", status="429") == 0
        in_minute = [
            sum(0 <= w.seconds_between(first.at, each.at) < 60 for each in w.sim.requests if each.platform == "lobstr")
            for first in w.sim.requests
            if first.platform == "lobstr"
        ]
        assert max(in_minute) <= 120 + 8, "counted when they arrive, a moment after they were counted here"


async def test_a_sweep_with_ten_thousand_runs_takes_ten_requests(world: Any) -> None:
    async with world('rules: [{name: cap, match: {actor: "acme/*"}, limits: {max_cost_usd: 5}}]', speed=1) as w:
        w.apify.add_actor("acme", "any")
        for _ in range(10_000):
            w.apify.start_run(w.apify.add_actor("acme", "any"), usd_per_hour=0.01)
        watch = w.build() and w.watch("apify")
        await watch.sweep()
        await watch.sweep()
        await watch.drain()
        assert (w.requests("list"), w.requests("actor"), w.requests("run")) == (20, 1, 0)
        assert w.counted("runs_active", account="apify") == 10_000
        assert [sum(each.active.values()) for each in w.told(SweepDone)] == [10_000] * 2


async def test_a_lobstr_sweep_takes_one_call_and_one_more_per_active_squid(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_credits: 5}}]", speed=1) as w:
        for number in range(30):
            squid = w.lobstr.add_squid(f"squid {number}")
            if number < 7:
                w.lobstr.start_run(squid)
        watch = w.build() and w.watch("lobstr")
        await watch.sweep()
        await watch.drain()
        assert (w.requests("squids"), w.requests("list"), w.requests("run")) == (1, 7, 0)


async def test_the_system_clock_is_real_time() -> None:
    clock = SystemClock()
    before = (clock.now(), clock.monotonic())
    await clock.sleep(0.01)
    assert clock.now() > before[0]
    assert clock.monotonic() - before[1] >= 0.009
    assert clock.wall(3) == 3
    assert clock.now().tzinfo is not None


async def test_a_hanging_inspection_is_given_up_and_made_again(world: Any) -> None:
    async with world(CAP) as w:
        run = w.apify.start_run(usd_per_hour=72)
        w.fault("hang", "run", run_id=run.id, times=4)
        net = w.build().net
        net.client = Client(net.redactor, Bounds(read_s=0.2))
        await w.start()
        await w.until_booked(run)
        assert w.counted("polls", kind="inspection", outcome="unreachable") >= 1


async def test_what_is_ended_on_purpose_is_not_stuck(world: Any) -> None:
    """While open aborts get their last seconds the looks have ended; systemd must not take that for a hang."""
    async with world(CAP) as w:
        run = w.apify.start_run(usd_per_hour=3600)
        w.fault("abort_stuck", "abort")
        await w.start()
        await w.until(lambda: bool(w.requests("abort", run)), "the abort")
        w.daemon.stop()
        seen: list[str | None] = []

        def has_ended() -> bool:
            seen.append(w.daemon.stuck())
            return bool(w.told(Trouble, run))

        await w.until(has_ended, "the end of the open abort")
        assert set(seen) == {None}
