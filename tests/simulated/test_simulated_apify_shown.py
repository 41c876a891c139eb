"""What Apify shows late, not at all, or only to some: seen through the API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from watchdog.simulated import ApifyAccount, PayPerEvent, PayPerResult, SimClock

pytestmark = pytest.mark.anyio


async def get(api: httpx.AsyncClient, path: str, status: int = 200) -> dict[str, Any]:
    answer = await api.get(path)
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    return document["data"] if status == 200 else document["error"]


async def listed(api: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    items = (await get(api, "/v2/actor-runs"))["items"]
    found: dict[str, Any] = next(item for item in items if item["id"] == run_id)
    return found


async def test_the_start_is_the_creation(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run(ready_for=2400)
    clock.advance(2410)
    seen = await get(apify_api, f"/v2/actor-runs/{run.id}")
    assert (seen["status"], seen["startedAt"]) == ("RUNNING", "2026-03-01T12:00:00.000Z")
    assert (await listed(apify_api, run.id))["startedAt"] == seen["startedAt"]
    assert seen["stats"]["runTimeSecs"] == 10


async def test_stats_may_lack_figures_for_a_while(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(ready_for=60, stats_missing={"runTimeSecs", "computeUnits"}, stats_fresh_s=10)
    path = f"/v2/actor-runs/{run.id}"
    for seconds in (0, 69):
        clock.advance(seconds)
        stats = (await get(apify_api, path))["stats"]
        assert "resurrectCount" in stats
        assert not {"runTimeSecs", "computeUnits"} & stats.keys()
    clock.advance(1)
    assert (await get(apify_api, path))["stats"]["runTimeSecs"] == 10


async def test_stats_may_be_absent(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    for_ever, fresh = apify.start_run(stats_none=True), apify.start_run(stats_none=True, stats_fresh_s=5)
    assert "stats" not in await get(apify_api, f"/v2/actor-runs/{fresh.id}")
    clock.advance(3600)
    assert "stats" in await get(apify_api, f"/v2/actor-runs/{fresh.id}")
    assert "stats" not in await get(apify_api, f"/v2/actor-runs/{for_ever.id}")


async def test_the_start_may_be_absent(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = apify.start_run(started_at_after=5)
    assert "startedAt" not in await listed(apify_api, run.id)
    assert "startedAt" not in await get(apify_api, f"/v2/actor-runs/{run.id}")
    clock.advance(5)
    assert "startedAt" in await listed(apify_api, run.id)
    assert "startedAt" in await get(apify_api, f"/v2/actor-runs/{run.id}")


async def test_the_cost_may_be_absent_from_lists(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(usd_per_hour=2, cost_in_list=False)
    clock.advance(3600)
    assert "usageTotalUsd" not in await listed(apify_api, run.id)
    assert (await get(apify_api, f"/v2/actor-runs/{run.id}"))["usageTotalUsd"] == pytest.approx(2)


async def test_the_cost_may_be_hidden_and_known_to_the_truth(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(usd_per_hour=2, cost_hidden=True)
    clock.advance(3600)
    assert "usageTotalUsd" not in await listed(apify_api, run.id)
    seen = await get(apify_api, f"/v2/actor-runs/{run.id}")
    assert not {"usageTotalUsd", "usageUsd", "usage"} & seen.keys()
    assert run.usage().cost_usd == pytest.approx(2)


async def test_pay_per_event(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    events = {"apify-actor-start": 0.5, "result": 0.01, "page": {"FREE": 0.002, "GOLD": 0.001}}
    pricing = PayPerEvent(events=events, counts={"page": lambda ran_s: 2 * ran_s}, tier="GOLD")
    run = apify.start_run(pricing=pricing, results_per_hour=3600, cost_lag=5)
    clock.advance(100)
    seen = await get(apify_api, f"/v2/actor-runs/{run.id}")
    assert seen["chargedEventCounts"] == {"apify-actor-start": 1, "result": 100, "page": 200}
    assert seen["usageTotalUsd"] == pytest.approx(0.5 + 95 * 0.01 + 190 * 0.001)
    assert run.usage().cost_usd == pytest.approx(0.5 + 100 * 0.01 + 200 * 0.001)
    info = seen["pricingInfo"]
    assert info["pricingModel"] == "PAY_PER_EVENT"
    charge = info["pricingPerEvent"]["actorChargeEvents"]
    assert charge["result"]["eventPriceUsd"] == 0.01
    assert charge["page"]["eventTieredPricingUsd"]["GOLD"] == {"tieredEventPriceUsd": 0.001}


async def test_the_total_lags_behind_the_events_after_the_end_too(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    apify.settle_seconds = 0
    run = apify.start_run(pricing=PayPerEvent(events={"result": 1}), results_per_hour=3600, cost_lag=20, ends_after=100)
    clock.advance(110)
    seen = await get(apify_api, f"/v2/actor-runs/{run.id}")
    assert (seen["status"], seen["chargedEventCounts"]["result"], seen["usageTotalUsd"]) == ("SUCCEEDED", 100, 90)
    clock.advance(10)
    assert (await get(apify_api, f"/v2/actor-runs/{run.id}"))["usageTotalUsd"] == 100


async def test_pay_per_result(apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock) -> None:
    pricing = PayPerResult(price=0.02, max_items=50)
    run = apify.start_run(pricing=pricing, results_per_hour=3600, cost_hidden=True, dataset_lag=7)
    clock.advance(40)
    seen = await get(apify_api, f"/v2/actor-runs/{run.id}")
    assert seen["pricingInfo"]["pricingModel"] == "PRICE_PER_DATASET_ITEM"
    assert seen["pricingInfo"]["pricePerUnitUsd"] == 0.02
    assert seen["options"]["maxItems"] == 50
    assert not {"usageTotalUsd", "chargedEventCounts"} & seen.keys()
    assert (await get(apify_api, f"/v2/datasets/{seen['defaultDatasetId']}"))["itemCount"] == 33
    assert run.usage().cost_usd == pytest.approx(0.8)
    clock.advance(40)
    assert run.usage().cost_usd == pytest.approx(1), "no more than maxItems is charged"


async def test_a_resurrection_waits_and_charges_the_start_again(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    apify.resurrect_ready_seconds = 20
    pricing = PayPerEvent(events={"apify-actor-start": 0.1})
    run = apify.start_run(pricing=pricing, ends_after=60, max_total_charge_usd=2)
    clock.advance(100)
    path = f"/v2/actor-runs/{run.id}"
    lower = await apify_api.post(f"{path}/resurrect", params={"maxTotalChargeUsd": 1})
    assert (lower.status_code, lower.json()["error"]["type"]) == (400, "max-total-charge-usd-below-minimum")
    higher = await apify_api.post(f"{path}/resurrect", params={"maxTotalChargeUsd": 3})
    assert (higher.status_code, higher.json()["data"]["status"]) == (200, "READY")
    clock.advance(20)
    seen = await get(apify_api, path)
    assert (seen["status"], seen["stats"]["resurrectCount"], seen["stats"]["runTimeSecs"]) == ("RUNNING", 1, 60)
    assert seen["chargedEventCounts"] == {"apify-actor-start": 2}
    assert seen["options"]["maxTotalChargeUsd"] == 3
    apify.finish(run, "SUCCEEDED")
    with pytest.raises(ValueError, match="only be raised"):
        apify.resurrect(run, max_total_charge_usd=1)


@pytest.mark.parametrize("changes", [True, False])
async def test_metamorph(apify: ApifyAccount, apify_api: httpx.AsyncClient, changes: bool) -> None:
    first, second = apify.add_actor("me", "router"), apify.add_actor("me", "worker")
    run = apify.start_run(first)
    apify.metamorph(run, second, changes_act_id=changes)
    seen = await get(apify_api, f"/v2/actor-runs/{run.id}")
    assert [change["actorId"] for change in seen["metamorphs"]] == [second]
    assert seen["actId"] == (await listed(apify_api, run.id))["actId"] == (second if changes else first)
    assert seen["stats"]["metamorph"] == 1
    for _ in range(9):
        apify.metamorph(run, second)
    with pytest.raises(ValueError, match="10 times"):
        apify.metamorph(run, first)


async def test_names_that_cannot_be_looked_up(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    actor = apify.add_actor("me", "maps")
    task = apify.add_task(actor, "berlin")
    run = apify.start_run(task=task)
    apify.refuse(actor)
    assert (await get(apify_api, f"/v2/acts/{actor}", 403))["type"] == "insufficient-permissions"
    apify.refuse(actor, "not-found-or-denied")
    assert (await get(apify_api, f"/v2/acts/{actor}", 404))["type"] == "record-or-token-not-found"
    apify.refuse(actor, None)
    apify.delete_task(task)
    assert (await get(apify_api, f"/v2/actor-tasks/{task}", 404))["type"] == "record-not-found"
    apify.rename_actor(actor, "places")
    assert (await get(apify_api, f"/v2/acts/{actor}"))["name"] == "places"
    apify.delete_actor(actor)
    assert (await get(apify_api, f"/v2/acts/{actor}", 404))["type"] == "record-not-found"
    assert (await listed(apify_api, run.id))["actId"] == actor
    apify.refuse(run.id, "not-found-or-denied")
    assert (await get(apify_api, f"/v2/actor-runs/{run.id}", 404))["type"] == "record-or-token-not-found"
    with pytest.raises(ValueError, match="unknown refusal"):
        apify.refuse(run.id, "perhaps")


async def test_a_renamed_task(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    task = apify.add_task(apify.add_actor(), "berlin")
    apify.rename_task(task, "hamburg")
    assert (await get(apify_api, f"/v2/actor-tasks/{task}"))["name"] == "hamburg"


async def test_a_new_run_is_listed_before_it_is_found(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run(detail_after=3)
    path = f"/v2/actor-runs/{run.id}"
    await listed(apify_api, run.id)
    assert (await get(apify_api, path, 404))["type"] == "record-not-found"
    assert (await apify_api.post(f"{path}/abort")).status_code == 404
    assert run.status() == "RUNNING"
    clock.advance(3)
    await get(apify_api, path)


async def test_status_messages(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    path = f"/v2/actor-runs/{apify.start_run().id}"
    answer = await apify_api.put(path, json={"statusMessage": "x" * 501})
    assert answer.json()["data"]["statusMessage"] == "x" * 500


def test_origins_are_an_open_set(apify: ApifyAccount) -> None:
    assert apify.start_run(origin="APIFY_AI").short.meta.origin == "APIFY_AI"
    with pytest.raises(ValueError, match="origin"):
        apify.start_run(origin="")
