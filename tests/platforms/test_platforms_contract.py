"""What every adapter must do, on recorded answers and against the simulated platforms.

A new platform joins by a folder `recorded/<platform>/`: one file for each answer, and `expected.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter
from watchdog.domain.ports import Platform, look
from watchdog.domain.run import RunState, Snapshot
from watchdog.errors import (
    BadAnswer,
    CredentialsRefused,
    Gone,
    PlatformError,
    RateLimited,
    Refused,
    ServerFault,
    Unreachable,
)
from watchdog.platforms.registry import known_platforms
from watchdog.runtime.clock import FastClock
from watchdog.simulated import Fault, SimClock, SimRun, SimulatedPlatforms

pytestmark = pytest.mark.anyio

PLATFORMS = sorted(folder.name for folder in (Path(__file__).parent / "recorded").iterdir())


def test_every_platform_of_ours_has_recorded_answers() -> None:
    assert {"apify", "lobstr"} <= set(PLATFORMS) <= set(known_platforms())


# --- recorded answers, from a server that is not ours --------------------------------------------------------------


def facts(snapshot: Snapshot) -> dict[str, Any]:
    """Everything in a snapshot that `expected.json` may speak of."""
    return {
        "state": str(snapshot.state),
        "status": snapshot.status,
        "credits": snapshot.usage.credits,
        "cost_usd": snapshot.usage.cost_usd,
        "duration_s": snapshot.usage.duration_s,
        "results": snapshot.usage.results,
        "most_duration_s": snapshot.most.duration_s,
        "cost_basis": snapshot.cost_basis,
        "origin": snapshot.origin,
        "started_at": snapshot.started_at.isoformat() if snapshot.started_at else None,
        "end_reason": snapshot.end_reason,
        "facets": {key: list(names) for key, names in snapshot.source.facets.items()},
        "unresolved": sorted(snapshot.source.unresolved),
        "resurrect_count": snapshot.resurrect_count,
        "timeout_s": snapshot.cap.timeout_s,
        "max_total_charge_usd": snapshot.cap.max_total_charge_usd,
        "burn_credits_per_s": snapshot.burn_cap_per_s.get(Meter.CREDITS),
        "share": snapshot.progress.share,
        "results_done": snapshot.progress.results_done,
        "results_total": snapshot.progress.results_total,
    }


def assert_like(snapshot: Snapshot, expected: dict[str, Any]) -> None:
    found = facts(snapshot)
    assert {key: found[key] for key in expected} == {
        key: pytest.approx(value) if isinstance(value, float) else value for key, value in expected.items()
    }, snapshot.run_id


@dataclass
class Bench:
    platform: Platform
    name: str
    expected: dict[str, Any]
    shelf: Any


@pytest.fixture(params=PLATFORMS)
def bench(request: pytest.FixtureRequest, shelf: Any, connect: Any, recorded: Callable[[str], Any]) -> Bench:
    answers = recorded(request.param)
    shelf.handler = answers
    platform = connect(request.param, shelf.url, usd_per_credit=answers.expected["usd_per_credit"])
    return Bench(platform, request.param, answers.expected, shelf)


def assert_swept(bench: Bench, snapshots: list[Snapshot], clock: Any) -> None:
    found = {snapshot.run_id: snapshot for snapshot in snapshots}
    assert len(found) == len(snapshots), "a run that is listed twice is one run"
    assert found.keys() == bench.expected["sweep"].keys()
    assert not found.keys() & set(bench.expected["not_active"])
    for run_id, expected in bench.expected["sweep"].items():
        assert_like(found[run_id], expected)
        snapshot = found[run_id]
        assert (snapshot.account, snapshot.platform, snapshot.inspected) == ("acme", bench.name, False)
        assert snapshot.seen_at == clock.now()
        assert snapshot.state.is_active


async def test_sweep(bench: Bench, clock: Any) -> None:
    sweep = await bench.platform.sweep()
    assert_swept(bench, list(sweep.snapshots), clock)
    assert len(sweep.bad_items) == bench.expected["bad_items"]
    assert all("\n" not in text and text for text in sweep.bad_items)
    assert sweep.sure


@pytest.mark.parametrize("way", ["chunked", "gzip", "extra"])
@pytest.mark.parametrize(("prefix", "slash"), [("", "/"), ("/behind/a%20proxy", "")])
async def test_ways_of_serving(bench: Bench, connect: Any, clock: Any, way: str, prefix: str, slash: str) -> None:
    bench.shelf.way, bench.shelf.prefix = way, prefix.replace("%20", " ")
    url = bench.shelf.url.replace(" ", "%20") + slash
    bench.platform = connect(bench.name, url, usd_per_credit=bench.expected["usd_per_credit"])
    assert_swept(bench, list((await bench.platform.sweep()).snapshots), clock)
    run_id, expected = next(iter(bench.expected["inspect"].items()))
    assert_like(await look(bench.platform, run_id, Meter, progress=True), expected)


async def test_what_is_no_strict_json_costs_only_itself(bench: Bench, clock: Any, flaw: str) -> None:
    """In every object of every answer, errors too."""
    bench.shelf.way = flaw
    sweep = await bench.platform.sweep()
    assert_swept(bench, list(sweep.snapshots), clock)
    assert sweep.sure
    for run_id, expected in bench.expected["inspect"].items():
        assert_like(await look(bench.platform, run_id, Meter, progress=True), expected)
    assert await bench.platform.check()
    for case in bench.expected["abort"]:
        if case.get("error") == "Gone":
            with pytest.raises(Gone):
                await bench.platform.abort(case["run_id"], Mode(case["mode"]))


@pytest.mark.parametrize("after_a_sweep", [True, False])
@pytest.mark.parametrize("urgent", [True, False])
async def test_inspect(bench: Bench, urgent: bool, after_a_sweep: bool) -> None:
    if after_a_sweep:
        await bench.platform.sweep()
    for run_id, expected in bench.expected["inspect"].items():
        snapshot = await look(bench.platform, run_id, Meter, urgent=urgent, progress=True)
        if not after_a_sweep and "squid" in snapshot.source.facets:
            expected = {key: value for key, value in expected.items() if key != "facets"}
        assert_like(snapshot, expected)
        assert snapshot.inspected
        assert snapshot.run_id == run_id
        assert all(when is None or when.utcoffset() is not None for when in (snapshot.started_at, snapshot.finished_at))


async def test_a_figure_that_costs_a_call_is_only_read_where_it_is_asked_for(bench: Bench) -> None:
    """And never alters what else a look shows."""
    await bench.platform.sweep()  # which looks names up
    extra = bench.platform.traits.extra_meters
    for run_id in bench.expected["inspect"]:
        before = len(bench.shelf.asked)
        bare = await look(bench.platform, run_id, ())
        calls = len(bench.shelf.asked) - before
        full = await look(bench.platform, run_id, Meter)
        assert len(bench.shelf.asked) - before <= 2 * calls + len(extra)
        for meter in Meter:
            shown = None if meter in extra else full.usage.of(meter)
            assert bare.usage.of(meter) == shown, (run_id, meter)


async def test_every_platform_of_ours_says_which_meters_it_shows(bench: Bench) -> None:
    traits = bench.platform.traits
    assert traits.meters is not None
    assert {*traits.extra_meters} <= {*traits.meters} <= {meter.value for meter in Meter}
    seen = [await look(bench.platform, run_id, Meter) for run_id in bench.expected["inspect"]]
    shown = {meter.value for meter in Meter if any(each.usage.of(meter) is not None for each in seen)}
    assert shown == {*traits.meters}


async def test_equal_source_keys_have_equal_facets(bench: Bench) -> None:
    sources = [snapshot.source for snapshot in (await bench.platform.sweep()).snapshots]
    by_key = {source.key: (dict(source.facets), source.unresolved) for source in sources}
    assert all(by_key[source.key] == (dict(source.facets), source.unresolved) for source in sources)
    assert len({str(value) for value in by_key.values()}) == len(by_key)


async def test_another_run_than_asked_for_is_no_answer(bench: Bench) -> None:
    with pytest.raises(BadAnswer, match=r"asked for run .*, got another one"):
        await bench.platform.inspect(bench.expected["another_run"])


async def test_abort(bench: Bench) -> None:
    for case in bench.expected["abort"]:
        run_id, mode = case["run_id"], Mode(case["mode"])
        before = len(bench.shelf.paths())
        if case.get("error") == "Gone":
            with pytest.raises(Gone):
                await bench.platform.abort(run_id, mode)
        else:
            snapshot = await bench.platform.abort(run_id, mode)
            assert_like(snapshot, {key: value for key, value in case.items() if key not in ("run_id", "mode")})
            assert snapshot.inspected
        posts = [asked for asked in bench.shelf.asked[before:] if asked.method == "POST"]
        assert len(posts) == 1


async def test_gone(bench: Bench) -> None:
    for answer in (
        bench.platform.inspect(bench.expected["gone"]),
        bench.platform.abort(bench.expected["gone"], Mode.IMMEDIATE),
    ):
        with pytest.raises(Gone, match=r"account 'acme': .*does not know this"):
            await answer


async def test_check(bench: Bench) -> None:
    assert await bench.platform.check() == bench.expected["check"]


async def test_check_without_a_total(bench: Bench, reply: Any) -> None:
    bench.shelf.handler = lambda asked: reply({"data": {"items": []} if bench.name == "apify" else []})
    assert (await bench.platform.check()).endswith(("runs", "squids")), "unknown is not zero"


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"7",
        b'{"data": null}',
        b'{"data": {"items": {}}}',
        b'{"data": {"items": null}}',
        b'{"data": 7}',
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
async def test_answers_of_another_shape(bench: Bench, reply: Any, body: bytes) -> None:
    bench.shelf.handler = lambda asked: reply(body)
    calls = [bench.platform.sweep(), bench.platform.inspect("a"), bench.platform.check()]
    if bench.name == "apify" or body:
        # lobstr may answer an abort with nothing at all.
        calls.append(bench.platform.abort("a", Mode.IMMEDIATE))
    for call in calls:
        with pytest.raises(BadAnswer):
            await call


# --- the simulated platforms, over real HTTP ----------------------------------------------------------------------


@dataclass
class Live:
    """One account of a simulated platform with one run, and the adapter for it."""

    name: str
    simulated: SimulatedPlatforms
    sim_clock: SimClock
    run: SimRun
    platform: Platform


SIM_START = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


@pytest.fixture(params=["apify", "lobstr"])
async def live(request: pytest.FixtureRequest, connect: Any) -> Any:
    sim_clock = SimClock(speed=0, start=SIM_START)
    simulated = SimulatedPlatforms(sim_clock)
    if request.param == "apify":
        apify = simulated.apify("sim-token-0123456789")
        run: SimRun = apify.start_run(apify.add_actor(), usd_per_hour=2.0)
    else:
        lobstr = simulated.lobstr("sim-token-0123456789")
        run = lobstr.start_run(lobstr.add_squid("Leads"), credits_per_hour=60, duration_share=1.0)
    async with simulated:
        clock = FastClock(500, SIM_START)
        platform = connect(request.param, simulated.url, token="sim-token-0123456789", clock=clock)
        yield Live(request.param, simulated, sim_clock, run, platform)


async def test_the_life_of_a_run(live: Live) -> None:
    live.sim_clock.advance(1800)
    [swept] = (await live.platform.sweep()).snapshots
    assert (swept.run_id, swept.state) == (live.run.id, RunState.RUNNING)
    seen = await live.platform.inspect(live.run.id, progress=True)
    truth = live.run.usage()
    assert seen.usage.duration_s is not None
    assert seen.usage.duration_s <= 1801
    assert (seen.most.duration_s or seen.usage.duration_s) == pytest.approx(1800, abs=1)
    assert seen.usage.credits == pytest.approx(truth.credits, rel=0.01)
    if live.name == "apify":
        assert seen.usage.cost_usd == pytest.approx(1.0, rel=0.01)
    counted = (await look(live.platform, live.run.id, Meter)).usage.results
    assert counted == pytest.approx({"apify": 300, "lobstr": 500}[live.name], abs=1)
    await live.platform.abort(live.run.id, Mode.IMMEDIATE)
    live.sim_clock.advance(60)
    assert (await live.platform.inspect(live.run.id)).state is RunState.ABORTED
    assert not (await live.platform.sweep()).snapshots
    assert live.run.truth().aborted_by_api


FAULTS: list[tuple[Fault, type[PlatformError]]] = [
    (Fault("status", status=400), Refused),
    (Fault("status", status=401), CredentialsRefused),
    (Fault("status", status=403), CredentialsRefused),
    (Fault("status", status=404), Gone),
    (Fault("status", status=500), ServerFault),
    (Fault("status", status=502), ServerFault),
    (Fault("rate_limited", retry_after_s=30), RateLimited),
    (Fault("redirect"), BadAnswer),
    (Fault("html"), BadAnswer),
    (Fault("truncated_json"), BadAnswer),
    (Fault("half"), Unreachable),
    (Fault("reset"), Unreachable),
    (Fault("lost_answer"), Unreachable),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS, ids=[f"{fault.kind}-{fault.status}" for fault, _ in FAULTS])
@pytest.mark.parametrize("what", ["sweep", "inspect", "abort", "check"])
async def test_faults_by_class(live: Live, fault: Fault, kind: type[PlatformError], what: str) -> None:
    live.simulated.faults.add(fault)
    calls: dict[str, Callable[[], Any]] = {
        "sweep": live.platform.sweep,
        "inspect": lambda: live.platform.inspect(live.run.id),
        "abort": lambda: live.platform.abort(live.run.id, Mode.IMMEDIATE),
        "check": live.platform.check,
    }
    with pytest.raises(PlatformError) as caught:
        await calls[what]()
    assert type(caught.value) is kind
    assert str(caught.value).startswith("account 'acme': ")
    assert "sim-token" not in str(caught.value)
    posts = [request for request in live.simulated.requests if request.method == "POST"]
    assert len(posts) == (what == "abort"), "a POST is never repeated"
    if isinstance(caught.value, Unreachable):
        assert caught.value.maybe_done


@pytest.mark.parametrize("kind", ["status", "truncated_json", "half", "reset", "html", "lost_answer"])
async def test_reads_outlive_two_faults(live: Live, kind: Any) -> None:
    live.simulated.faults.add(Fault(kind, times=2))
    assert len((await live.platform.sweep()).snapshots) == 1
    live.simulated.faults.add(Fault(kind, times=2))
    assert (await live.platform.inspect(live.run.id)).run_id == live.run.id


async def test_a_lost_answer_may_have_worked(live: Live) -> None:
    live.simulated.faults.add(Fault("lost_answer", match="abort"))
    with pytest.raises(Unreachable) as caught:
        await live.platform.abort(live.run.id, Mode.IMMEDIATE)
    assert caught.value.maybe_done
    assert live.run.truth().aborted_by_api


@pytest.mark.parametrize("kind", ["null_usage", "missing_usage", "wrong_types"])
async def test_figures_that_lack_are_unknown(live: Live, kind: Any) -> None:
    live.sim_clock.advance(600)
    live.simulated.faults.add(Fault(kind, match="run"))
    seen = await live.platform.inspect(live.run.id)
    assert seen.usage.of(Meter.COST_USD if live.name == "apify" else Meter.CREDITS) is None
    assert seen.state is RunState.RUNNING


async def test_an_unknown_status_is_watched(live: Live) -> None:
    live.simulated.faults.add(Fault("unknown_status"))
    [swept] = (await live.platform.sweep()).snapshots
    assert (swept.state, (await live.platform.inspect(live.run.id)).status) == (RunState.UNKNOWN, "MIGRATING")


async def test_a_bad_item_hurts_only_itself(live: Live) -> None:
    for account in live.simulated.accounts:
        if live.name == "apify":
            account.start_run(account.add_actor(), run_id="other")  # type: ignore[union-attr,call-arg]
        else:
            account.start_run(account.add_squid("Other"), run_id="other")  # type: ignore[union-attr]
    fields = {"id": 7} if live.name == "lobstr" else None
    live.simulated.faults.add(Fault("bad_item", match="list|squids", fields=fields, times=1))
    sweep = await live.platform.sweep()
    assert len(sweep.snapshots) == 1
    assert len(sweep.bad_items) == 1
    assert len((await live.platform.sweep()).snapshots) == 2


async def test_items_that_come_twice(live: Live) -> None:
    live.simulated.faults.add(Fault("duplicate_items"))
    assert len((await live.platform.sweep()).snapshots) == 1


async def test_a_huge_answer_is_read_if_it_is_not_too_huge(live: Live) -> None:
    live.simulated.faults.add(Fault("huge", size_bytes=2_000_000))
    assert len((await live.platform.sweep()).snapshots) == 1
