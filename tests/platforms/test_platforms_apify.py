"""Apify: pages as odd servers serve them, what a sweep costs, names, running time, and requests as documented."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter
from watchdog.domain.notice import Trouble
from watchdog.domain.run import RunState
from watchdog.errors import BadAnswer, CredentialsRefused, Gone, PlatformError, ServerFault
from watchdog.platforms.apify import Apify
from watchdog.platforms.apify_wire import PAGE_MAX
from watchdog.platforms.names import IN_FLIGHT_MAX
from watchdog.simulated import Fault, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio


def run(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"run{number:06}",
        "actId": "anActor",
        "status": "RUNNING",
        "startedAt": "2026-03-01T11:00:00Z",
        "meta": {"origin": "API"},
        "usageTotalUsd": 0.5,
        **more,
    }


def ids(sweep: Any) -> list[str]:
    return [snapshot.run_id for snapshot in sweep.snapshots]


class Account:
    """An Apify account of `runs`, served a page at a time, with habits of its own."""

    def __init__(self, reply: Any, runs: int) -> None:
        self.reply = reply
        self.runs = [run(number) for number in range(runs)]
        self.limit = 1000
        self.total: Callable[[int], Any] = lambda offset: len(self.runs)
        self.shown: Callable[[int], list[dict[str, Any]]] = lambda offset: self.runs[offset : offset + self.limit]
        self.instead: dict[int, Any] = {}
        self.pages = 0

    def __call__(self, asked: Any) -> Any:
        if asked.path != "/v2/actor-runs":
            return self.reply({"data": {"id": "anActor", "name": "actor", "username": "me"}})
        self.pages += 1
        offset = int(asked.query["offset"])
        if offset in self.instead:
            return self.instead[offset]
        page = {"items": self.shown(offset), "total": self.total(offset)}
        return self.reply({"data": {key: value for key, value in page.items() if value is not None}})


@pytest.fixture
def account(shelf: Any, reply: Any) -> Callable[[int], Account]:
    def make(runs: int) -> Account:
        shelf.handler = Account(reply, runs)
        return shelf.handler

    return make


async def test_a_lower_limit_than_asked_for(account: Any, shelf: Any, connect: Any) -> None:
    a = account(250)
    a.limit = 100
    assert len(ids(await connect("apify", shelf.url).sweep())) == 250
    assert a.pages == 3


async def test_what_is_the_same_for_many_runs_is_kept_once(account: Any, shelf: Any, connect: Any) -> None:
    """100,000 runs need not have 100,000 copies of a handful of words."""
    account(250).limit = 100
    snapshots = (await connect("apify", shelf.url).sweep()).snapshots
    assert {(each.status, each.origin) for each in snapshots} == {("RUNNING", "API")}
    assert len({id(each.status) for each in snapshots}) == len({id(each.origin) for each in snapshots}) == 1


@pytest.mark.parametrize("limit", [100, 1000])
@pytest.mark.parametrize("total", [None, "many", -1])
async def test_no_total(account: Any, shelf: Any, connect: Any, limit: int, total: Any) -> None:
    """Then only an empty page is the end: a short one may be all that the server gives at a time."""
    a = account(250)
    a.limit, a.total = limit, lambda offset: total
    assert len(ids(await connect("apify", shelf.url).sweep())) == 250


async def test_a_total_that_changes(account: Any, shelf: Any, connect: Any) -> None:
    a = account(250)
    a.limit, a.total = 100, lambda offset: 150 if offset == 0 else 250
    assert len(ids(await connect("apify", shelf.url).sweep())) == 250


async def test_a_total_too_high_and_an_empty_last_page(account: Any, shelf: Any, connect: Any) -> None:
    a = account(150)
    a.limit, a.total = 100, lambda offset: 400
    sweep = await connect("apify", shelf.url).sweep()
    assert len(ids(sweep)) == 150
    assert a.pages == 3
    assert not sweep.sure


async def test_items_that_move_between_pages(account: Any, shelf: Any, connect: Any) -> None:
    """Ten runs start while the first page is read: the next begins with ten that were seen."""
    a = account(250)
    a.limit = 100
    a.shown = lambda offset: a.runs[max(0, offset - (10 if offset else 0)) :][:100]
    a.total = lambda offset: 260 if offset else 250
    assert sorted(ids(await connect("apify", shelf.url).sweep())) == [each["id"] for each in a.runs]


class Shrinking:
    """A list that becomes shorter while it is read: at each page that is asked for, so many of the newest runs end."""

    def __init__(self, account: Account, ending: int) -> None:
        self.account, self.ending, self.ended = account, ending, set[str]()
        account.shown, account.total = self.shown, lambda offset: len(account.runs)

    def shown(self, offset: int) -> list[dict[str, Any]]:
        runs = self.account.runs
        if offset:
            self.ended |= {each["id"] for each in runs[: self.ending]}
            del runs[: self.ending]
        return runs[offset : offset + self.account.limit]


@pytest.mark.parametrize("ending", [1, 7, 90])
@pytest.mark.parametrize("limit", [100, 1000])
async def test_no_run_slips_between_two_pages(account: Any, shelf: Any, connect: Any, ending: int, limit: int) -> None:
    """Runs that end move those behind them up, onto pages that have been read already."""
    a = account(limit * 4 + limit // 2)
    a.limit = limit
    shrinking = Shrinking(a, ending)
    found = ids(await connect("apify", shelf.url).sweep())
    assert {each["id"] for each in a.runs} <= set(found)
    assert len(found) == len(set(found)), "each once"
    assert shrinking.ended


async def test_pages_are_handed_over_as_they_are_read(account: Any, shelf: Any, connect: Any) -> None:
    a = account(3500)
    batches: list[int] = []
    sweep = await connect("apify", shelf.url).sweep(lambda runs: batches.append(len(runs)), watched=["run000001"])
    assert batches == [1000, 1000, 1000, 500]
    assert (ids(sweep), list(sweep.unread), sweep.pages, a.pages) == ([], [], 4, 4)


async def test_the_same_names_are_the_same_source(account: Any, shelf: Any, connect: Any) -> None:
    """Who remembers a run can tell by identity that nothing about its source has changed."""
    account(3)
    adapter = connect("apify", shelf.url)
    first, again = (await adapter.sweep()).snapshots, (await adapter.sweep()).snapshots
    assert first[0].source is first[1].source is again[2].source


async def test_a_figure_that_is_not_as_documented_costs_only_that_figure(
    account: Any, shelf: Any, connect: Any
) -> None:
    a = account(4)
    a.runs[1] |= {"startedAt": "yesterday", "usageTotalUsd": "much", "meta": "none"}
    a.runs[2] |= {"usageTotalUsd": -1, "startedAt": "2026-03-01T11:00:00"}
    found = {each.run_id: each for each in (await connect("apify", shelf.url).sweep()).snapshots}
    odd, negative, good = found["run000001"], found["run000002"], found["run000003"]
    assert (odd.started_at, odd.usage.cost_usd, odd.usage.duration_s, odd.origin) == (None, None, None, None)
    assert negative.usage.cost_usd is None
    assert negative.started_at == good.started_at, "without an offset it is UTC"
    assert (good.usage.cost_usd, good.origin) == (0.5, "API")


async def test_a_server_that_ignores_the_offset(account: Any, shelf: Any, connect: Any) -> None:
    a = account(30)
    a.shown, a.total = lambda offset: a.runs, lambda offset: None
    assert len(ids(await connect("apify", shelf.url).sweep())) == 30
    assert a.pages == 2


async def test_a_server_that_ignores_the_status(account: Any, shelf: Any, connect: Any) -> None:
    a = account(4)
    for each, status in zip(a.runs, ["SUCCEEDED", "TIMED-OUT", "timed_out", "RUNNING"], strict=True):
        each["status"] = status
    assert ids(await connect("apify", shelf.url).sweep()) == ["run000003"]


async def test_an_empty_account(account: Any, shelf: Any, connect: Any) -> None:
    account(0)
    sweep = await connect("apify", shelf.url).sweep()
    assert (list(sweep.snapshots), sweep.sure) == ([], True)


@pytest.mark.parametrize("broken", ["status", "html"])
async def test_a_page_that_cannot_be_read_hurts_only_itself(
    account: Any, shelf: Any, connect: Any, reply: Any, broken: str
) -> None:
    a = account(3500)
    a.instead = {1000: reply({}, 500) if broken == "status" else reply(b"<html>")}
    sweep = await connect("apify", shelf.url).sweep()
    assert len(ids(sweep)) == 2500
    assert not sweep.sure
    assert [text.startswith("the list of runs from item 1000 on: account 'acme'") for text in sweep.bad_items] == [True]


async def test_pages_that_fail_are_not_tried_for_ever(account: Any, shelf: Any, connect: Any, reply: Any) -> None:
    a = account(100_000)
    a.instead = {offset: reply({}, 500) for offset in range(1000, 100_000, 1000)}
    assert len(ids(await connect("apify", shelf.url).sweep())) == 1000
    assert a.pages == 1 + 3 * 3


@pytest.mark.parametrize(("offset", "status", "kind"), [(0, 500, ServerFault), (1000, 401, CredentialsRefused)])
async def test_a_list_that_cannot_be_read_is_a_failed_sweep(
    account: Any, shelf: Any, connect: Any, reply: Any, offset: int, status: int, kind: type[PlatformError]
) -> None:
    a = account(3000)
    a.instead = {offset: reply({"error": {"type": "user-or-token-not-found", "message": "No."}}, status)}
    with pytest.raises(kind):
        await connect("apify", shelf.url).sweep()


@pytest.mark.parametrize(
    "item", [None, 7, "x", [], {}, {"id": "a"}, {"id": 7, "status": "RUNNING"}, {"id": "", "status": "RUNNING"}]
)
async def test_items_that_cannot_be_read(account: Any, shelf: Any, connect: Any, item: Any) -> None:
    a = account(3)
    a.runs[1] = item
    sweep = await connect("apify", shelf.url).sweep()
    assert ids(sweep) == ["run000000", "run000002"]
    assert len(sweep.bad_items) == 1
    named = " (a)" if item == {"id": "a"} else ""
    assert sweep.bad_items[0].startswith(f"item 1 of the list of runs{named} cannot be read: ")


ODD: list[Any] = [None, "x", 7, -1, 1e300, [], {}, True, "2026-03-01"]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("key", ["actId", "actorTaskId", "startedAt", "finishedAt", "meta", "usageTotalUsd"])
async def test_an_odd_field_does_not_hide_a_run(account: Any, shelf: Any, connect: Any, key: str, odd: Any) -> None:
    a = account(2)
    a.runs[0][key] = odd
    assert len(ids(await connect("apify", shelf.url).sweep())) == 2


@pytest.mark.parametrize(
    ("field", "bad", "cost"),
    [
        ("statusMessage", b'"half a face \\ud83d"', 0.5),
        ("statusMessage", b'"\x1b[2J"', 0.5),
        ("options", b"[" * 2000 + b"]" * 2000, 0.5),
        ("usageTotalUsd", b"NaN", None),
        ("usageTotalUsd", b"1e999", None),
    ],
)
async def test_an_item_that_is_no_strict_json_is_told_of_and_used(
    account: Any, shelf: Any, connect: Any, reply: Any, heard: list[Any], field: str, bad: bytes, cost: float | None
) -> None:
    a = account(3)
    a.runs[1][field] = "the flaw"
    page = json.dumps({"data": {"items": a.runs, "total": 3}}).encode().replace(b'"the flaw"', bad)
    a.instead = {0: reply(page)}
    platform = connect("apify", shelf.url)
    for _ in range(3):
        sweep = await platform.sweep()
        assert [run.usage.cost_usd for run in sweep.snapshots] == [0.5, cost, 0.5]
    told = [notice.message for notice in heard if isinstance(notice, Trouble)] or list(sweep.bad_items)
    assert len(told) == 1, "told once, not at every sweep"
    assert "run000001" in told[0]
    assert "run000000" not in told[0]


async def test_an_id_that_is_no_strict_json_is_no_id(account: Any, shelf: Any, connect: Any, reply: Any) -> None:
    a = account(3)
    page = json.dumps({"data": {"items": a.runs, "total": 3}}).encode().replace(b"run000001", b"run\\ud83d")
    a.instead = {0: reply(page)}
    sweep = await connect("apify", shelf.url).sweep()
    assert ids(sweep) == ["run000000", "run000002"]
    assert "its id holds characters" in sweep.bad_items[0]


# --- what it costs -------------------------------------------------------------------------------------------------


async def test_ten_thousand_runs(connect: Any) -> None:
    clock = SimClock(speed=0)
    simulated = SimulatedPlatforms(clock)
    apify = simulated.apify("a-token")
    actors = [apify.add_actor("owner", f"actor-{number}") for number in range(7)]
    tasks = [apify.add_task(actors[0], f"task-{number}") for number in range(5)]
    for number in range(10_000):
        apify.start_run(task=tasks[number % 5]) if number % 2 else apify.start_run(actors[number % 7])
    async with simulated:
        adapter = connect("apify", simulated.url, token="a-token", per_minute=6000)
        first = await adapter.sweep()
        assert len(first.snapshots) == 10_000
        assert all(not snapshot.source.unresolved for snapshot in first.snapshots)
        assert Counter(request.endpoint for request in simulated.requests) == {"list": 10, "actors": 1, "tasks": 1}
        simulated.requests.clear()
        assert len((await adapter.sweep()).snapshots) == 10_000
        assert Counter(request.endpoint for request in simulated.requests) == {"list": 10}


# --- names ---------------------------------------------------------------------------------------------------------


async def test_names_that_cannot_be_looked_up_come_later(connect: Any, clock: Any) -> None:
    simulated = SimulatedPlatforms(SimClock(speed=0))
    apify = simulated.apify("a-token")
    apify.start_run(task=apify.add_task(apify.add_actor("compass", "places"), "berlin"))
    async with simulated:
        adapter = connect("apify", simulated.url, token="a-token")
        fault = simulated.faults.add(Fault("status", match="actor|task", status=503))
        [unnamed] = (await adapter.sweep()).snapshots
        assert unnamed.source.unresolved == {"actor", "task"}
        assert len(unnamed.source.facets["actor"]) == 1, "the id is known all the same"
        asked = len(simulated.requests)
        fault.remove()
        assert (await adapter.sweep()).snapshots[0].source.unresolved, "not asked for again at once"
        assert len(simulated.requests) == asked + 1
        clock.advance(61)
        [named] = (await adapter.sweep()).snapshots
        assert not named.source.unresolved
        assert named.source.facets["actor"][:2] == ("compass/places", "places")
        assert "berlin" in named.source.facets["task"]
        assert named.source.key != unnamed.source.key
        assert named.source.label == "compass/places (berlin)"

        simulated.faults.add(Fault("status", match="actor|task", status=503))
        clock.advance(3601)
        assert not (await adapter.sweep()).snapshots[0].source.unresolved, "a name once known is kept"


async def test_look_ups_that_hang_hold_nothing_up(account: Any, shelf: Any, connect: Any) -> None:
    a = account(50)
    for number, each in enumerate(a.runs):
        each["actId"] = f"actor{number}"
    serve = shelf.handler
    shelf.handler = lambda asked: None if "/actors/" in asked.path else serve(asked)
    adapter = connect("apify", shelf.url, build=lambda session: Apify(session, names_patience_s=0.05))
    async with asyncio.timeout(5):
        for _ in range(3):
            assert len(ids(await adapter.sweep())) == 50
    assert len(shelf.paths("/v2/actors/")) == IN_FLIGHT_MAX


async def test_an_abort_does_not_wait_for_names(shelf: Any, connect: Any, reply: Any) -> None:
    answer = reply({"data": run(1, status="ABORTING")})
    shelf.handler = lambda asked: answer if "/actor-runs/" in asked.path else None
    adapter = connect("apify", shelf.url)
    async with asyncio.timeout(2):
        aborted = await adapter.abort("run000001", Mode.IMMEDIATE)
        assert aborted.source.unresolved == {"actor"}
        await adapter.inspect("run000001", urgent=True)


async def test_one_look_up_for_many_who_ask_at_once(account: Any, shelf: Any, connect: Any, reply: Any) -> None:
    serve = account(20)
    shelf.handler = lambda asked: (
        reply({"data": run(int(asked.path[-6:]))}) if "/actor-runs/" in asked.path else serve(asked)
    )
    adapter = connect("apify", shelf.url)
    await asyncio.gather(*(adapter.inspect(f"run{number:06}") for number in range(20)))
    assert len(shelf.paths("/v2/actors/")) == 1


# --- running time ------------------------------------------------------------------------------------------------


NONE_YET: dict[str, Any] = {}
GIGABYTE = {"options": {"memoryMbytes": 1024}}


@pytest.mark.parametrize(
    ("status", "stats", "finished_at", "least_s", "most_s"),
    [
        ("RUNNING", {"runTimeSecs": 600, "resurrectCount": 0}, None, 600, None),
        ("RUNNING", {"runTimeSecs": 600, "resurrectCount": 3}, None, 600, None),
        ("RUNNING", {"durationMillis": 600_500, "resurrectCount": 3}, None, 600.5, None),
        # not filled in: the time since its creation is the most that it can have run, and no figure
        ("RUNNING", {"runTimeSecs": 0, "durationMillis": 0, "resurrectCount": 0}, None, None, 3600),
        ("RUNNING", {"runTimeSecs": "600", "resurrectCount": 0}, None, None, 3600),
        ("RUNNING", {"runTimeSecs": 0, "resurrectCount": 1}, None, None, 3600),
        ("RUNNING", NONE_YET, None, None, 3600),
        ("RUNNING", None, None, None, 3600),
        ("READY", None, None, 0, None),
        ("READY", {"runTimeSecs": 600, "resurrectCount": 1}, None, 600, None),
        ("READY", {"resurrectCount": 1}, None, None, 3600),
        ("ABORTING", {"resurrectCount": 0}, None, None, 3600),
        ("SUCCEEDED", {"resurrectCount": 0}, "2026-03-01T11:10:00Z", None, 600),
        ("SUCCEEDED", None, "2026-03-01T11:10:00Z", None, 600),
        ("SUCCEEDED", {"runTimeSecs": 55, "resurrectCount": 1}, "2026-03-01T11:10:00Z", 55, None),
        ("ABORTED", {"runTimeSecs": 0, "resurrectCount": 0}, "2026-03-01T11:10:00Z", 0, None),
        ("SUCCEEDED", {"resurrectCount": 0}, "2026-03-01T10:10:00Z", None, 0),
    ],
)
async def test_running_time(
    shelf: Any,
    connect: Any,
    reply: Any,
    status: str,
    stats: Any,
    finished_at: str | None,
    least_s: float | None,
    most_s: float | None,
) -> None:
    body = {"data": run(1, status=status, stats=stats, finishedAt=finished_at)}
    shelf.handler = lambda asked: reply(body)
    seen = await connect("apify", shelf.url).inspect("run000001")
    assert (seen.usage.duration_s, seen.most.duration_s) == (least_s, most_s)


@pytest.mark.parametrize(
    ("stats", "credits_used", "duration_s"),
    [
        ({"computeUnits": 0.5, "runTimeSecs": 600, "resurrectCount": 0}, 0.5, 600),
        ({"runTimeSecs": 1800, "resurrectCount": 0}, 0.5, 1800),
        ({"runTimeSecs": 1800}, 0.5, 1800),
        ({"computeUnits": 0.5, "resurrectCount": 0}, 0.5, 1800),
        ({"computeUnits": 0, "runTimeSecs": 1800, "resurrectCount": 0}, 0.5, 1800),
        # the memory before the resurrection may have been another
        ({"runTimeSecs": 1800, "resurrectCount": 1}, None, 1800),
        ({"computeUnits": 0.5, "resurrectCount": 2}, 0.5, None),
        (None, None, None),
    ],
)
async def test_compute_units_are_memory_times_running_time(
    shelf: Any, connect: Any, reply: Any, stats: Any, credits_used: float | None, duration_s: float | None
) -> None:
    shelf.handler = lambda asked: reply({"data": run(1, stats=stats, **GIGABYTE)})
    seen = await connect("apify", shelf.url).inspect("run000001")
    assert seen.usage.credits == (None if credits_used is None else pytest.approx(credits_used))
    assert seen.usage.duration_s == (None if duration_s is None else pytest.approx(duration_s))


async def test_time_spent_on_names_is_not_running_time(shelf: Any, connect: Any, reply: Any, clock: Any) -> None:
    def serve(asked: Any) -> Any:
        if asked.path == "/v2/actor-runs":
            return reply({"data": {"items": [run(1)], "total": 1}})
        if "/actor-runs/" in asked.path:
            return reply({"data": run(1, stats={"resurrectCount": 0})})
        clock.time += timedelta(seconds=600)  # the look-up took that long
        return reply({"data": {"id": "anActor", "name": "actor", "username": "me"}})

    shelf.handler = serve
    [swept] = (await connect("apify", shelf.url).sweep()).snapshots
    assert swept.most.duration_s == 3600
    clock.time -= timedelta(seconds=600)
    assert (await connect("apify", shelf.url).inspect("run000001")).most.duration_s == 3600


@pytest.mark.parametrize(
    ("date", "swept_s", "inspected_s"), [("11:30", 3600, 3600), ("12:30", 5400, 5400), ("07:00", 3600, 3600)]
)
async def test_whichever_clock_says_more_bounds_a_running_time(
    shelf: Any, connect: Any, reply: Any, date: str, swept_s: float, inspected_s: float
) -> None:
    headers = {"Date": f"Sun, 01 Mar 2026 {date}:00 GMT"}

    def serve(asked: Any) -> Any:
        if asked.path == "/v2/actor-runs":
            return reply({"data": {"items": [run(1)], "total": 1}}, headers=headers)
        return reply({"data": run(1, stats={"resurrectCount": 0})}, headers=headers)

    shelf.handler = serve
    platform = connect("apify", shelf.url)
    [swept] = (await platform.sweep()).snapshots
    assert swept.most.duration_s == pytest.approx(swept_s, abs=1)
    assert (await platform.inspect("run000001")).most.duration_s == pytest.approx(inspected_s, abs=1)


async def test_without_the_platforms_clock_the_time_since_the_start_is_not_known(
    shelf: Any, connect: Any, reply: Any
) -> None:
    """Where something on the way strips the Date header our own clock may be hours off, either way."""
    shelf.tells_time = False

    def serve(asked: Any) -> Any:
        if asked.path == "/v2/actor-runs":
            return reply({"data": {"items": [run(1)], "total": 1}})
        return reply({"data": run(1, stats=None)})

    shelf.handler = serve
    platform = connect("apify", shelf.url)
    [swept] = (await platform.sweep()).snapshots
    assert swept.usage.duration_s is None
    assert swept.most.duration_s is None
    assert (await platform.inspect("run000001")).usage.duration_s is None


# --- cost ----------------------------------------------------------------------------------------------------------

EVENTS = {
    "pricingModel": "PAY_PER_EVENT",
    "pricingPerEvent": {
        "actorChargeEvents": {
            "apify-actor-start": {"eventTitle": "Start", "eventPriceUsd": 0.02},
            "result": {"eventTitle": "Result", "eventPriceUsd": 0.005},
            "profile": {
                "eventTieredPricingUsd": {
                    "FREE": {"tieredEventPriceUsd": 0.02},
                    "GOLD": {"tieredEventPriceUsd": 0.01},
                }
            },
        }
    },
}
ITEMS = {"pricingModel": "PRICE_PER_DATASET_ITEM", "unitName": "result", "pricePerUnitUsd": 0.004}
TIERS = {"FREE": {"tieredPricePerUnitUsd": 0.004}, "GOLD": {"tieredPricePerUnitUsd": 0.002}}


@pytest.mark.parametrize(
    ("details", "usd", "most_usd", "basis"),
    [
        ({"usageTotalUsd": 1.5}, 1.5, None, "platform"),
        ({"usageTotalUsd": 0}, 0.0, None, "platform"),
        ({"usageTotalUsd": None}, None, None, None),
        # events are known at once, while the total lags
        ({"chargedEventCounts": {"apify-actor-start": 1, "result": 100}}, 0.52, None, "events"),
        ({"usageTotalUsd": 0, "chargedEventCounts": {"apify-actor-start": 2, "result": 100}}, 0.54, None, "events"),
        ({"usageTotalUsd": 0.4, "chargedEventCounts": {"result": 100}}, 0.4, None, "platform"),
        ({"chargedEventCounts": {}}, None, None, None),
        ({"chargedEventCounts": None}, None, None, None),
        ({"chargedEventCounts": {"result": 0}}, 0.0, None, "events"),
        # the plan of the user is not shown: between the lowest and the highest price
        ({"chargedEventCounts": {"result": 100, "profile": 10}}, 0.6, 0.7, "events"),
        # an event without a price, or without a readable count, costs nobody knows what
        ({"chargedEventCounts": {"result": 100, "surprise": 3}}, 0.5, math.inf, "events"),
        ({"chargedEventCounts": {"result": 100, "profile": "many"}}, 0.5, math.inf, "events"),
        (
            {"chargedEventCounts": {"result": 100}, "pricingInfo": EVENTS | {"isPPEPlatformUsagePaidByUser": True}},
            0.5,
            math.inf,
            "events",
        ),
        ({"pricingInfo": ITEMS, "defaultDatasetId": "data1"}, 1.0, None, "items"),
        (
            {
                "pricingInfo": {"pricingModel": ITEMS["pricingModel"], "tieredPricing": TIERS},
                "defaultDatasetId": "data1",
            },
            0.5,
            1.0,
            "items",
        ),
        ({"pricingInfo": ITEMS, "defaultDatasetId": "data1", "usageTotalUsd": 0.9}, 0.9, None, "platform"),
        ({"pricingInfo": ITEMS, "defaultDatasetId": "gone"}, None, None, None),
        ({"pricingInfo": ITEMS, "defaultDatasetId": None}, None, None, None),
        ({"pricingInfo": {"pricingModel": ITEMS["pricingModel"]}, "defaultDatasetId": "data1"}, None, None, None),
        ({"pricingInfo": {"pricingModel": "FREE"}, "chargedEventCounts": {"result": 100}}, None, None, None),
        ({"pricingInfo": "odd", "chargedEventCounts": ["odd"]}, None, None, None),
    ],
)
async def test_cost(
    shelf: Any,
    connect: Any,
    reply: Any,
    details: dict[str, Any],
    usd: float | None,
    most_usd: float | None,
    basis: str | None,
) -> None:
    """Of somebody else's Actor, by what Apify shows of it."""

    def serve(asked: Any) -> Any:
        if asked.path == "/v2/datasets/data1":
            return reply({"data": {"id": "data1", "itemCount": 250, "cleanItemCount": 240}})
        if "/actor-runs/" in asked.path:
            return reply({"data": run(1, **{"usageTotalUsd": None, "pricingInfo": EVENTS} | details)})
        return reply({"error": {"type": "record-not-found", "message": "not found"}}, 404)

    shelf.handler = serve
    seen = await connect("apify", shelf.url).inspect("run000001")
    assert seen.usage.cost_usd == (None if usd is None else pytest.approx(usd))
    assert seen.most.cost_usd == (None if most_usd is None else pytest.approx(most_usd))
    assert seen.cost_basis == basis


async def test_the_answer_to_an_abort_does_not_wait_for_a_count_of_results(
    shelf: Any, connect: Any, reply: Any
) -> None:
    body = {"data": run(1, status="ABORTING", usageTotalUsd=None, pricingInfo=ITEMS, defaultDatasetId="data1")}
    shelf.handler = lambda asked: reply(body)
    assert (await connect("apify", shelf.url).abort("run000001", Mode.IMMEDIATE)).usage.cost_usd is None
    assert not shelf.paths("/v2/datasets")


# --- results -------------------------------------------------------------------------------------------------------


def charging(**events: dict[str, Any]) -> dict[str, Any]:
    named = {event.replace("_", "-"): {"eventPriceUsd": 0.01} | details for event, details in events.items()}
    return {"pricingModel": "PAY_PER_EVENT", "pricingPerEvent": {"actorChargeEvents": named}}


@pytest.mark.parametrize(
    ("pricing", "charged", "results"),
    [
        # what Apify itself charges for every item of the dataset
        (charging(apify_default_dataset_item={}, page={"isPrimaryEvent": True}), {"apify-default-dataset-item": 7}, 7),
        (charging(apify_default_dataset_item={}), {"apify-actor-start": 1}, 250),
        # the only event that can come more than once
        (charging(apify_actor_start={}, result={}), {"apify-actor-start": 2, "result": 7}, 7),
        (charging(actor_start={}, init={}, login={"isOneTimeEvent": True}, result={}), {"init": 1, "result": 0}, 0),
        # of several the primary one, where it says so
        (charging(place={"isPrimaryEvent": True}, review={}), {"place": 7, "review": 70}, 7),
        (charging(place={}, review={}), {"place": 7, "review": 70}, 250),
        (charging(place={"isPrimaryEvent": True}, review={"isPrimaryEvent": True}), {"place": 7}, 250),
        # not paid by results, or nothing to be read
        (charging(apify_actor_start={}), {"apify-actor-start": 1}, 250),
        (charging(result={}), {"result": "many"}, 250),
        (charging(result={}), None, 250),
        ({"pricingModel": "PAY_PER_EVENT"}, {"result": 7}, 250),
        ({"pricingModel": "FREE"}, {"result": 7}, 250),
        (None, None, 250),
    ],
)
async def test_results(shelf: Any, connect: Any, reply: Any, pricing: Any, charged: Any, results: int) -> None:
    """Charged events where the Actor is paid by them, else the items of the default dataset (250): one call more."""
    details = {"pricingInfo": pricing, "chargedEventCounts": charged, "defaultDatasetId": "data1"}

    def serve(asked: Any) -> Any:
        if "/datasets/" in asked.path:
            return reply({"data": {"id": "data1", "itemCount": 250, "cleanItemCount": 240}})
        return reply({"data": run(1, **details)})

    shelf.handler = serve
    platform = connect("apify", shelf.url)
    assert (await platform.inspect("run000001", meters=(Meter.RESULTS,))).usage.results == results
    assert len(shelf.paths("/v2/datasets")) == (results == 250)
    bare = await platform.inspect("run000001")
    assert bare.usage.results == (None if results == 250 else results)


@pytest.mark.parametrize("usd", [None, 0, 0.9])
@pytest.mark.parametrize("meters", [(), (Meter.RESULTS,)])
async def test_results_are_counted_once_a_look(shelf: Any, connect: Any, reply: Any, usd: Any, meters: Any) -> None:
    """Whatever asks for them: the price of each, a limit on them, or both."""
    details = {"usageTotalUsd": usd, "pricingInfo": ITEMS, "defaultDatasetId": "data1"}

    def serve(asked: Any) -> Any:
        body = {"id": "data1", "itemCount": 250} if "/datasets/" in asked.path else run(1, **details)
        return reply({"data": body})

    shelf.handler = serve
    seen = await connect("apify", shelf.url).inspect("run000001", meters=meters)
    assert seen.usage.cost_usd == pytest.approx(usd or 1.0)
    counted = not usd or bool(meters)
    assert seen.usage.results == (250 if counted else None)
    assert len(shelf.paths("/v2/datasets")) == counted


@pytest.mark.parametrize("dataset", ["gone", "odd", "hangs", None])
async def test_results_that_cannot_be_read_cost_no_look(shelf: Any, connect: Any, reply: Any, dataset: Any) -> None:
    """They are unknown, never 0, and other limits do not wait for them."""
    answers = {"gone": reply({"error": {"type": "record-not-found", "message": "not found"}}, 404)}
    answers |= {"odd": reply({"data": {"itemCount": "many"}}), "hangs": None}

    def serve(asked: Any) -> Any:
        if "/datasets/" in asked.path:
            return answers[asked.path.rpartition("/")[2]]
        return reply({"data": run(1, usageTotalUsd=1.5, defaultDatasetId=dataset)})

    shelf.handler = serve
    platform = connect("apify", shelf.url, build=lambda session: Apify(session, count_patience_s=0.2))
    seen = await platform.inspect("run000001", urgent=True, meters=(Meter.RESULTS,))
    assert (seen.usage.results, seen.usage.cost_usd) == (None, 1.5)


# --- requests as documented --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def description(apify_description: Path) -> OpenAPI:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return OpenAPI.from_dict(yaml.load(apify_description.read_text("utf-8"), Loader=loader))


def validate(description: OpenAPI, asked: Any) -> None:
    request = MockRequest(
        "https://api.apify.com",
        asked.method.lower(),
        asked.raw_path,
        args=asked.query,
        headers={"Authorization": asked.headers["authorization"]},
        data=asked.body,
        content_type=asked.headers.get("content-type", "application/json"),
    )
    description.validate_request(request)


async def test_every_request_is_as_documented(
    shelf: Any, connect: Any, recorded: Callable[[str], Any], description: OpenAPI
) -> None:
    shelf.handler = answers = recorded("apify")
    adapter = connect("apify", shelf.url)
    await adapter.sweep()
    await adapter.check()
    for run_id in answers.expected["inspect"]:
        await adapter.inspect(run_id, urgent=True, progress=True)
    for case in answers.expected["abort"]:
        await adapter.abort(case["run_id"], Mode(case["mode"]))
    with pytest.raises(Gone):
        await adapter.inspect("nobody")
    with pytest.raises(Gone):
        await adapter.explain("nobody", "Aborted by budget-watchdog: over its limit")
    assert {asked.path.split("/")[2] for asked in shelf.asked} == {"actor-runs", "actors", "actor-tasks"}
    for asked in shelf.asked:
        validate(description, asked)
    statuses = set(shelf.asked[0].query["status"].split(","))
    assert statuses == {"READY", "RUNNING", "TIMING-OUT", "ABORTING"}


async def test_lists_of_names_are_asked_for_as_documented(
    account: Any, shelf: Any, connect: Any, description: OpenAPI
) -> None:
    for number, each in enumerate(account(10).runs):
        each |= {"actId": f"actor{number}", "actorTaskId": f"task{number}"}
    await connect("apify", shelf.url).sweep()
    asked = [asked for asked in shelf.asked if asked.path in ("/v2/actors", "/v2/actor-tasks")]
    assert len(asked) == 2
    for each in asked:
        validate(description, each)


async def test_the_judge_does_judge(shelf: Any, connect: Any, description: OpenAPI) -> None:
    adapter = connect("apify", shelf.url)
    with pytest.raises(PlatformError):
        await adapter.sweep()
    asked = shelf.asked[0]
    validate(description, asked)
    asked.query["limit"] = "many"
    with pytest.raises(Exception, match="limit"):
        validate(description, asked)


async def test_the_reason_is_written_once_and_only_if_wanted(shelf: Any, connect: Any, reply: Any) -> None:
    shelf.handler = lambda asked: reply({}, 500)
    with pytest.raises(ServerFault):
        await connect("apify", shelf.url).explain("run000001", 'over "its" limit')
    [asked] = shelf.asked
    assert (asked.method, asked.path) == ("PUT", "/v2/actor-runs/run000001")
    written = {"runId": "run000001", "statusMessage": 'over "its" limit', "isStatusMessageTerminal": True}
    assert json.loads(asked.body) == written
    await connect("apify", shelf.url, write_reason=False).explain("run000001", "over its limit")
    assert len(shelf.asked) == 1


async def test_modes_on_the_wire(shelf: Any, connect: Any, reply: Any) -> None:
    shelf.handler = lambda asked: reply({"data": run(1, status="ABORTING")})
    adapter = connect("apify", shelf.url)
    assert (await adapter.abort("run000001", Mode.GRACEFUL)).state is RunState.ABORTING
    await adapter.abort("run000001", Mode.IMMEDIATE)
    posts = [asked for asked in shelf.asked if asked.method == "POST"]
    assert [asked.query for asked in posts] == [{"gracefully": "true"}, {}]
    assert {asked.path for asked in posts} == {"/v2/actor-runs/run000001/abort"}


async def test_ids_cannot_lead_elsewhere(shelf: Any, connect: Any) -> None:
    for run_id in ("..", "a/../../../me", "a?b=c"):
        with pytest.raises((Gone, BadAnswer)):
            await connect("apify", shelf.url).abort(run_id, Mode.IMMEDIATE)
    assert [asked.path for asked in shelf.asked] == [
        f"/v2/actor-runs/{run_id}/abort" for run_id in ("..", "a/../../../me", "a?b=c")
    ]
    assert all(httpx.URL(f"http://x{asked.raw_path}").raw_path.decode() == asked.raw_path for asked in shelf.asked)
    assert PAGE_MAX == 1000
