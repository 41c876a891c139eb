"""Life, money and aborts of Apify runs, seen through the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from watchdog.simulated import ApifyAccount, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio


async def get(api: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    answer = await api.get(f"/v2/actor-runs/{run_id}")
    assert answer.status_code == 200
    data: dict[str, Any] = answer.json()["data"]
    return data


async def abort(api: httpx.AsyncClient, run_id: str, *, gracefully: bool = False) -> dict[str, Any]:
    params = {"gracefully": "true"} if gracefully else {}
    answer = await api.post(f"/v2/actor-runs/{run_id}/abort", params=params)
    assert answer.status_code == 200
    data: dict[str, Any] = answer.json()["data"]
    return data


async def test_a_run_is_ready_then_running_then_succeeded(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ready_for=5, ends_after=3600, usd_per_hour=2, memory_mbytes=4096)
    assert (await get(apify_api, run.id))["status"] == "READY"
    clock.advance(5 + 1800)
    seen = await get(apify_api, run.id)
    assert seen["status"] == "RUNNING"
    assert seen["startedAt"] == "2026-03-01T12:00:00.000Z"
    assert seen["finishedAt"] is None
    assert seen["usageTotalUsd"] == pytest.approx(1)
    assert seen["stats"]["computeUnits"] == pytest.approx(2)
    assert seen["stats"]["runTimeSecs"] == 1800
    assert seen["stats"]["durationMillis"] == 1_800_000
    clock.advance(1800 + 60)
    seen = await get(apify_api, run.id)
    assert (seen["status"], seen["finishedAt"]) == ("SUCCEEDED", "2026-03-01T13:00:05.000Z")
    assert seen["usageTotalUsd"] == pytest.approx(2)
    assert run.truth().natural_end_usage == run.usage()
    assert not run.truth().aborted_by_api


async def test_a_run_can_fail(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run(ends_after=60, ends_as="FAILED")
    clock.advance(60)
    assert (await get(apify_api, run.id))["status"] == "FAILED"


async def test_a_timeout_is_timing_out_for_a_while(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(timeout_secs=300, ends_after=3600)
    clock.advance(301)
    assert (await get(apify_api, run.id))["status"] == "TIMING-OUT"
    clock.advance(2)
    assert (await get(apify_api, run.id))["status"] == "TIMED-OUT"
    natural = run.truth().natural_end_usage
    assert natural is not None
    assert natural.duration_s == 303


async def test_a_run_without_end_has_no_natural_end(apify: ApifyAccount) -> None:
    assert apify.start_run().truth().natural_end_usage is None


async def test_totals_settle_after_the_end(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run(ends_after=3600, usd_per_hour=3.6)
    clock.advance(3601)
    early = await get(apify_api, run.id)
    assert early["usageTotalUsd"] == pytest.approx(3.598)
    assert early["stats"]["runTimeSecs"] == 3598
    clock.advance(9)
    final = await get(apify_api, run.id)
    assert final["usageTotalUsd"] == pytest.approx(3.6)
    clock.advance(3600)
    assert (await get(apify_api, run.id))["usageTotalUsd"] == final["usageTotalUsd"]


async def test_a_curve_gives_the_cost(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run(curve=lambda ran_s: 5.0 if ran_s >= 60 else 0.0)
    clock.advance(59)
    assert (await get(apify_api, run.id))["usageTotalUsd"] == 0
    clock.advance(1)
    assert (await get(apify_api, run.id))["usageTotalUsd"] == 5


async def test_hidden_cost_is_absent(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    run = apify.start_run(usd_per_hour=None)
    assert "usageTotalUsd" not in await get(apify_api, run.id)
    page = (await apify_api.get("/v2/actor-runs")).json()["data"]
    assert "usageTotalUsd" not in page["items"][0]
    assert run.usage().cost_usd is None


@pytest.mark.parametrize(("refresh_stats", "shown_s"), [(True, 60), (False, 100)])
async def test_figures_can_be_stale(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock, refresh_stats: bool, shown_s: float
) -> None:
    run = apify.start_run(usd_per_hour=36, refresh_every=60, refresh_stats=refresh_stats)
    clock.advance(100)
    seen = await get(apify_api, run.id)
    assert seen["usageTotalUsd"] == pytest.approx(0.6)
    assert seen["stats"]["runTimeSecs"] == shown_s
    assert run.usage().cost_usd == pytest.approx(1.0)


async def test_an_immediate_abort_takes_a_moment(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ends_after=7200, usd_per_hour=1)
    clock.advance(3600)
    assert (await abort(apify_api, run.id))["status"] == "ABORTING"
    clock.advance(1)
    seen = await get(apify_api, run.id)
    assert (seen["status"], seen["finishedAt"]) == ("ABORTED", "2026-03-01T13:00:01.000Z")
    truth = run.truth()
    assert (truth.aborted_by_api, truth.graceful, truth.abort_requests) == (True, False, 1)
    assert truth.effective_abort_at == clock.now() - timedelta(seconds=1)
    assert truth.usage.duration_s == 3601
    assert truth.natural_end_usage is not None
    assert truth.natural_end_usage.cost_usd == pytest.approx(2)


@pytest.mark.parametrize(("takes_s", "ends_s"), [(None, 30), (12.0, 12), (90.0, 30)])
async def test_a_graceful_abort_costs_until_it_is_over(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock, takes_s: float | None, ends_s: int
) -> None:
    run = apify.start_run(graceful_takes=takes_s)
    clock.advance(100)
    assert (await abort(apify_api, run.id, gracefully=True))["status"] == "ABORTING"
    clock.advance(ends_s - 1)
    assert (await get(apify_api, run.id))["status"] == "ABORTING"
    clock.advance(1)
    assert (await get(apify_api, run.id))["status"] == "ABORTED"
    assert run.usage().duration_s == 100 + ends_s
    assert run.truth().graceful is True


@pytest.mark.parametrize("gracefully", [True, False])
async def test_an_abort_of_a_run_that_never_ran_is_immediate_and_costs_nothing(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock, gracefully: bool
) -> None:
    run = apify.start_run(ready_for=60)
    assert (await abort(apify_api, run.id, gracefully=gracefully))["status"] == "ABORTING"
    clock.advance(1)
    assert run.status() == "ABORTED"
    assert run.usage().duration_s == 0


async def test_a_run_that_is_timing_out_can_be_aborted(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(timeout_secs=60)
    clock.advance(61)
    assert (await abort(apify_api, run.id))["status"] == "ABORTING"
    clock.advance(1)
    assert run.status() == "ABORTED"


async def test_a_second_abort_does_nothing(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run()
    await abort(apify_api, run.id, gracefully=True)
    clock.advance(10)
    assert (await abort(apify_api, run.id))["status"] == "ABORTING"
    clock.advance(19)
    assert run.status() == "ABORTING"
    clock.advance(1)
    assert run.status() == "ABORTED"
    assert run.truth().abort_requests == 2


async def test_a_second_abort_hastens_where_that_is_switched_on(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    apify.abort_escalates = True
    run = apify.start_run()
    await abort(apify_api, run.id, gracefully=True)
    clock.advance(10)
    await abort(apify_api, run.id)
    clock.advance(1)
    assert run.status() == "ABORTED"
    assert run.truth().graceful is False


async def test_an_abort_of_a_finished_run_changes_nothing(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ends_after=60)
    clock.advance(100)
    before = await get(apify_api, run.id)
    assert await abort(apify_api, run.id) == before
    assert before["status"] == "SUCCEEDED"
    assert not run.truth().aborted_by_api


async def test_a_resurrected_run_leaves_the_stopped_time_out(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ends_after=1000, timeout_secs=700, memory_mbytes=1024)
    clock.advance(99)
    await abort(apify_api, run.id)
    clock.advance(1 + 5000)
    answer = await apify_api.post(f"/v2/actor-runs/{run.id}/resurrect", params={"memory": 2048})
    assert answer.json()["data"]["status"] == "READY"
    clock.advance(1 + 600)
    seen = await get(apify_api, run.id)
    assert seen["startedAt"] == "2026-03-01T12:00:00.000Z"
    assert seen["finishedAt"] is None
    assert seen["stats"]["runTimeSecs"] == 700
    assert seen["stats"]["resurrectCount"] == 1
    assert seen["stats"]["computeUnits"] == pytest.approx((100 * 1 + 600 * 2) / 3600)
    clock.advance(100)
    assert run.status() == "TIMING-OUT"


async def test_a_run_that_was_stopped_before_the_simulation(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    run = apify.start_run(started_ago=7200, stopped_for=5400)
    seen = await get(apify_api, run.id)
    assert seen["startedAt"] == "2026-03-01T10:00:00.000Z"
    assert seen["stats"]["runTimeSecs"] == 1800
    assert seen["stats"]["resurrectCount"] == 1
    with pytest.raises(ValueError, match="must fit"):
        apify.start_run(started_ago=60, stopped_for=61)


async def test_resurrection_wants_a_finished_run_and_money(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ends_after=60)
    assert (await apify_api.post(f"/v2/actor-runs/{run.id}/resurrect")).status_code == 400
    with pytest.raises(ValueError, match="has not finished"):
        apify.resurrect(run)
    clock.advance(60)
    apify.can_pay = False
    assert (await apify_api.post(f"/v2/actor-runs/{run.id}/resurrect")).status_code == 402
    apify.resurrect(run)
    clock.advance(1)
    assert run.status() == "RUNNING"


async def test_the_reason_can_be_written_onto_a_run(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    run = apify.start_run()
    path = f"/v2/actor-runs/{run.id}"
    body = {"runId": run.id, "statusMessage": "over its limit", "isStatusMessageTerminal": True}
    seen = (await apify_api.put(path, json=body)).json()["data"]
    assert (seen["statusMessage"], seen["isStatusMessageTerminal"]) == ("over its limit", True)
    assert run.status_message == "over its limit"
    assert (await apify_api.put(path, json={"runId": run.id})).status_code == 400
    assert (await apify_api.put(path, json={**body, "runId": "another"})).status_code == 400
    assert (await apify_api.put(path, content=b"statusMessage=x")).status_code == 400


async def test_the_list_filters_sorts_and_pages(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    runs = [apify.start_run(started_ago=100 - n, ends_after=50 if n < 40 else None) for n in range(100)]
    clock.advance(0)

    async def page(**params: Any) -> dict[str, Any]:
        answer = await apify_api.get("/v2/actor-runs", params=params)
        data: dict[str, Any] = answer.json()["data"]
        return data

    active = await page(status="READY,RUNNING", limit=25, offset=50, desc="true")
    assert (active["total"], active["count"], active["offset"], active["limit"]) == (60, 10, 50, 25)
    assert active["desc"] is True
    assert [item["id"] for item in active["items"]] == [run.id for run in runs[49:39:-1]]
    everything = await page(limit=5000)
    assert (everything["total"], everything["limit"]) == (100, 1000)
    assert [item["id"] for item in everything["items"]] == [run.id for run in runs]
    late = await page(startedAfter="2026-03-01T11:59:50.000Z", startedBefore="2026-03-01T11:59:55.000Z")
    assert [item["id"] for item in late["items"]] == [run.id for run in runs[90:96]]
    clock.advance(1)
    apify.resurrect(runs[0])
    assert (await page(status="READY"))["total"] == 1
    clock.advance(1)
    assert (await page(status="RUNNING"))["total"] == 61


@pytest.mark.parametrize("query", ["limit=many", "offset=-1", "status=ASLEEP", "startedAfter=yesterday"])
async def test_queries_that_make_no_sense(apify_api: httpx.AsyncClient, query: str) -> None:
    answer = await apify_api.get(f"/v2/actor-runs?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid-input"


async def test_actors_tasks_and_datasets(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    actor = apify.add_actor("compass", "crawler-google-places")
    task = apify.add_task(actor, "berlin")
    run = apify.start_run(task=task, results_per_hour=3600)
    clock.advance(65)
    for path in (f"/v2/actors/{actor}", f"/v2/acts/{actor}", "/v2/acts/compass~crawler-google-places"):
        seen = (await apify_api.get(path)).json()["data"]
        assert (seen["id"], seen["username"], seen["name"]) == (actor, "compass", "crawler-google-places")
    assert (await apify_api.get(f"/v2/actor-tasks/{task}")).json()["data"]["name"] == "berlin"
    seen = await get(apify_api, run.id)
    assert (seen["actId"], seen["actorTaskId"]) == (actor, task)
    dataset = (await apify_api.get(f"/v2/datasets/{seen['defaultDatasetId']}")).json()["data"]
    assert dataset["itemCount"] == 60
    assert len(actor) == 17


async def test_account_totals(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    for _ in range(3):
        apify.start_run(usd_per_hour=2)
    clock.advance(1800)
    limits = (await apify_api.get("/v2/users/me/limits")).json()["data"]
    assert limits["current"]["monthlyUsageUsd"] == pytest.approx(3)
    assert limits["current"]["activeActorJobCount"] == 3
    usage = (await apify_api.get("/v2/users/me/usage/monthly")).json()["data"]
    assert usage["totalUsageCreditsUsdAfterVolumeDiscount"] == pytest.approx(3)
    assert (await apify_api.get("/v2/users/me")).json()["data"]["username"] == "janedoe"


async def test_a_limit_per_resource(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    apify.requests_per_second = 2
    first, second = apify.start_run(), apify.start_run()
    await get(apify_api, first.id)
    await get(apify_api, first.id)
    answer = await apify_api.get(f"/v2/actor-runs/{first.id}")
    assert answer.status_code == 429
    assert answer.json()["error"]["type"] == "rate-limit-exceeded"
    assert answer.headers["X-RateLimit-Limit"] == "2"
    await get(apify_api, second.id)
    clock.advance(1)
    await get(apify_api, first.id)
    assert apify.too_many_requests_count == 1


async def test_accounts_are_kept_apart(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    other = platforms.apify(token="other", username="joe")
    run = other.start_run()
    assert (await apify_api.get(f"/v2/actor-runs/{run.id}")).status_code == 404
    assert (await apify_api.get("/v2/actor-runs")).json()["data"]["total"] == 0
    theirs = {"Authorization": "Bearer other"}
    assert (await apify_api.get("/v2/actor-runs", headers=theirs)).json()["data"]["total"] == 1


def test_figures_that_cannot_be(apify: ApifyAccount) -> None:
    with pytest.raises(ValueError, match="usd_per_hour"):
        apify.start_run(usd_per_hour=float("nan"))
    with pytest.raises(ValueError, match="origin"):
        apify.start_run(origin="")
    run = apify.start_run()
    with pytest.raises(ValueError, match="already"):
        apify.start_run(run_id=run.id)


async def test_others_may_end_a_run_too(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    stopped, ended = apify.start_run(), apify.start_run()
    clock.advance(60)
    apify.abort_in_console(stopped)
    apify.finish(ended, "SUCCEEDED")
    clock.advance(1)
    assert (await get(apify_api, stopped.id))["status"] == "ABORTED"
    assert (await get(apify_api, ended.id))["status"] == "SUCCEEDED"
    assert not stopped.truth().aborted_by_api
    assert stopped.truth().abort_requests == 0
    assert ended.truth().natural_end_usage == ended.usage()
    with pytest.raises(ValueError, match="has ended already"):
        apify.finish(ended, "FAILED")
    with pytest.raises(ValueError, match="not a terminal status"):
        apify.finish(ended, "RUNNING")
