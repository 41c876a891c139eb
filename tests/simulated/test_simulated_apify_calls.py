"""Calls of the simulated Apify that official clients make, where their own tests do not look closely."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest
import yaml

from watchdog.simulated import ApifyAccount, Fault, SimClock, SimulatedPlatforms
from watchdog.simulated.apify_api import ROUTES
from watchdog.simulated.http import resolve

pytestmark = pytest.mark.anyio


async def data(api: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["type"]


def test_every_path_of_the_description_is_known(apify_description: Any) -> None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    paths = yaml.load(apify_description.read_text("utf-8"), Loader=loader)["paths"]
    methods = [(method.upper(), path) for path, calls in paths.items() for method in calls if method != "parameters"]
    lost = [(method, path) for method, path in methods if resolve(ROUTES, method, path).endpoint is None]
    assert len(methods) > 20
    assert lost == []


async def test_wait_for_finish_holds_the_answer(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ends_after=60)
    waiting = asyncio.create_task(data(apify_api, f"/v2/actor-runs/{run.id}", waitForFinish=60))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    clock.advance(60)
    assert (await waiting)["status"] == "SUCCEEDED"


async def test_wait_for_finish_ends_without_the_end(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run()
    waiting = asyncio.create_task(data(apify_api, f"/v2/actor-runs/{run.id}", waitForFinish=500))
    await asyncio.wait([waiting], timeout=0.1)
    clock.advance(60)
    assert (await waiting)["status"] == "RUNNING"


async def test_a_fault_strikes_an_answer_that_was_held(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run()
    platforms.faults.add(Fault("unknown_status", match="run", times=1))
    waiting = asyncio.create_task(data(apify_api, f"/v2/actor-runs/{run.id}", waitForFinish=5))
    await asyncio.wait([waiting], timeout=0.1)
    clock.advance(5)
    assert (await waiting)["status"] == "MIGRATING"


async def test_a_run_restarts_after_errors(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run(ends_after=60, ends_as="FAILED", restart_on_error=True)
    clock.advance(130)
    seen = await data(apify_api, f"/v2/actor-runs/{run.id}")
    assert (seen["status"], seen["stats"]["restartCount"]) == ("RUNNING", 2)
    clock.advance(110)
    assert (await data(apify_api, f"/v2/actor-runs/{run.id}"))["status"] == "FAILED"


async def test_runs_of_an_actor_by_time_and_status(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    actor = apify.add_actor()
    old = apify.start_run(actor, started_ago=3600, ends_after=60)
    new = apify.start_run(actor)
    apify.start_run(apify.add_actor("another", "one"))
    for alias in ("acts", "actors"):
        path = f"/v2/{alias}/compass~crawler-google-places/runs"
        assert [run["id"] for run in (await data(apify_api, path, desc="1"))["items"]] == [new.id, old.id]
        late = await data(apify_api, path, startedAfter="2026-03-01T11:30:00.000Z")
        assert [run["id"] for run in late["items"]] == [new.id]
        ended = await data(apify_api, path, status="SUCCEEDED,FAILED")
        assert [run["id"] for run in ended["items"]] == [old.id]
        assert (await data(apify_api, f"{path}/last", status="SUCCEEDED"))["id"] == old.id
        assert (await apify_api.get(f"{path}/last", params={"status": "FAILED"})).status_code == 404
    assert (await apify_api.get("/v2/acts/unknown/runs")).status_code == 404


async def test_lists_of_actors_and_tasks(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    """Those that the user made or ran, by their making or their last run; not those that the token may not read."""
    ids = {}
    for owner, name in (("somebody", "ran"), ("somebody", "not-ran"), ("janedoe", "made"), ("somebody", "secret")):
        ids[name] = apify.add_actor(owner, name)
        clock.advance(1)
    assert apify.username == "janedoe"
    apify.start_run(ids["secret"])
    clock.advance(1)
    apify.start_run(ids["ran"])

    async def names(path: str = "/v2/actors", **query: Any) -> list[str]:
        return [actor["name"] for actor in (await data(apify_api, path, **query))["items"]]

    assert await names() == ["ran", "made", "secret"]
    assert await names(my="1") == ["made"]
    last = {"sortBy": "stats.lastRunStartedAt"}
    assert await names(**last, desc="1") == ["ran", "secret", "made"]
    clock.advance(1)
    apify.start_run(ids["made"])
    assert await names(**last, desc="1", limit=2) == ["made", "ran"]
    answer = await apify_api.get("/v2/actors", params={"sortBy": "name"})
    assert await refused(answer) == (400, "invalid-input")

    tasks = [apify.add_task(ids["ran"], name) for name in ("berlin", "bremen")]
    assert await names("/v2/actor-tasks", desc="1") == ["bremen", "berlin"]
    apify.refuse(tasks[0])
    apify.refuse(ids["secret"])
    assert await names("/v2/actor-tasks") == ["bremen"]
    assert await names() == ["ran", "made"]


async def test_starting(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    actor = apify.add_actor()
    apify.starts_as = {"ready_for": 30.0, "usd_per_hour": 9.0}
    task = apify.add_task(actor, "berlin")
    await apify_api.put(f"/v2/actor-tasks/{task}", json={"options": {"memoryMbytes": 256, "timeoutSecs": 60}})
    answer = await apify_api.post(f"/v2/actor-tasks/{task}/runs", params={"timeout": 90}, json={"city": "Berlin"})
    assert answer.status_code == 201
    started = answer.json()["data"]
    assert started["status"] == "READY"
    assert (started["options"]["memoryMbytes"], started["options"]["timeoutSecs"]) == (256, 90)
    assert started["stats"]["inputBodyLen"] == len('{"city":"Berlin"}')
    stored = await apify_api.get(f"/v2/key-value-stores/{started['defaultKeyValueStoreId']}/records/INPUT")
    assert stored.json() == {"city": "Berlin"}
    for query, kind in (
        ({"maxItems": 0}, "max-items-must-be-greater-than-zero"),
        ({"maxTotalChargeUsd": 0}, "max-total-charge-usd-must-be-greater-than-zero"),
        ({"memory": 1000}, "invalid-input"),
    ):
        assert await refused(await apify_api.post(f"/v2/acts/{actor}/runs", params=query)) == (400, kind)
    apify.can_pay = False
    assert (await apify_api.post(f"/v2/acts/{actor}/runs")).status_code == 402


async def test_the_month_is_made_of_days(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    apify.start_run(usd_per_hour=1, started_ago=36 * 3600)
    apify.other_usage_usd = 5.0
    month = await data(apify_api, "/v2/users/me/usage/monthly")
    assert [round(day["totalUsageCreditsUsd"], 6) for day in month["dailyServiceUsages"]] == [12]
    assert month["totalUsageCreditsUsdAfterVolumeDiscount"] == pytest.approx(17)
    before = await data(apify_api, "/v2/users/me/usage/monthly", date="2026-02-28")
    assert before["usageCycle"]["startAt"] == "2026-02-01T00:00:00.000Z"
    assert before["totalUsageCreditsUsdAfterVolumeDiscount"] == pytest.approx(24)
    limits = await data(apify_api, "/v2/users/me/limits")
    assert limits["current"]["monthlyUsageUsd"] == pytest.approx(17)


async def test_webhooks_are_of_something_and_made_once(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    hook = {"eventTypes": ["ACTOR.RUN.ABORTED"], "requestUrl": "https://example.com/"}
    assert await refused(await apify_api.post("/v2/webhooks", json=hook)) == (400, "invalid-input")
    hook |= {"condition": {"actorId": apify.add_actor()}, "idempotencyKey": "once"}
    made = [(await apify_api.post("/v2/webhooks", json=hook)).json()["data"]["id"] for _ in range(2)]
    assert made[0] == made[1]
    assert (await data(apify_api, "/v2/webhooks"))["total"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v2/schedules/{schedule}", {"actions": ["all"]}),
        ("PUT", "/v2/schedules/{schedule}", {"isEnabled": 1}),
        ("PUT", "/v2/users/me/limits", {"maxMonthlyUsageUsd": "much"}),
        ("PUT", "/v2/actor-tasks/{task}", {"options": {"memoryMbytes": "much"}}),
        ("POST", "/v2/webhooks", {"condition": 5}),
        ("POST", "/v2/actors", {"name": 5}),
        ("POST", "/v2/actors", []),
        ("PUT", "/v2/actor-runs/{run}", {"statusMessage": 5}),
    ],
)
async def test_bodies_that_make_no_sense(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    task = apify.add_task(apify.add_actor(), "berlin")
    there = path.format(schedule=apify.add_schedule("nightly"), task=task, run=apify.start_run().id)
    assert await refused(await apify_api.request(method, there, json=body)) == (400, "invalid-input")


async def test_compressed_bodies(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    path = f"/v2/actor-runs/{apify.start_run().id}"
    body = gzip.compress(json.dumps({"statusMessage": "small"}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert (await apify_api.put(path, content=body, headers=headers)).json()["data"]["statusMessage"] == "small"
    headers["Content-Encoding"] = "br"
    answer = await apify_api.put(path, content=body, headers=headers)
    assert await refused(answer) == (415, "unsupported-content-encoding")


async def test_a_path_that_does_not_exist(apify_api: httpx.AsyncClient) -> None:
    assert await refused(await apify_api.get("/v2/nonsense")) == (404, "page-not-found")
    assert await refused(await apify_api.get("/v2/actor-runs/x/nonsense")) == (404, "page-not-found")


async def test_an_idle_account_has_pages_too(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    for path in ("actor-runs", "actors", "actor-tasks", "schedules", "webhooks", "datasets", "actor-builds", "store"):
        page = await data(apify_api, f"/v2/{path}")
        assert (page["total"], page["items"]) == (0, [])
