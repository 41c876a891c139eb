"""Every answer of the simulated Apify against Apify's published description."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

from watchdog.simulated import ApifyAccount, Fault, PayPerEvent, PayPerResult, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio

Validate = Callable[[httpx.Response], None]

METHODS = ("GET", "PUT", "POST", "DELETE")


@pytest.fixture(scope="session")
def description(apify_description: Path) -> OpenAPI:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(apify_description.read_text("utf-8"), Loader=loader)
    return OpenAPI.from_dict(document)


@pytest.fixture
def validate(description: OpenAPI) -> Validate:
    def check(answer: httpx.Response) -> None:
        # The description knows Actors only by their newer path, and no methods that are not allowed.
        path = answer.request.url.path.replace("/v2/acts/", "/v2/actors/")
        request = MockRequest(
            "https://api.apify.com", answer.request.method.lower(), path, args=dict(answer.request.url.params)
        )
        content_type = answer.headers["content-type"].split(";")[0]
        response = MockResponse(answer.content, answer.status_code, content_type=content_type)
        description.validate_response(request, response)

    return check


@pytest.fixture
def world(apify: ApifyAccount, clock: SimClock) -> dict[str, str]:
    """Runs in all conditions; ids by name."""
    actor = apify.add_actor()
    task = apify.add_task(actor, "berlin")
    ended = apify.start_run(actor, ends_after=60)
    schedule = apify.add_schedule("nightly", task=task)
    running = apify.start_run(task=task, schedule=schedule, max_total_charge_usd=5, timeout_secs=7200)
    events = PayPerEvent(events={"apify-actor-start": 0.1, "result": {"FREE": 0.02, "GOLD": 0.01}})
    by_event = apify.start_run(actor, pricing=events)
    by_result = apify.start_run(actor, pricing=PayPerResult(price=0.02, max_items=9))
    by_tier = apify.start_run(actor, pricing=PayPerResult(price={"FREE": 0.02}))
    mine = apify.add_actor("janedoe", "mine")
    apify.metamorph(by_event, mine)
    aborting = apify.start_run(actor)
    apify.start_run(actor, ends_after=60, ends_as="FAILED")
    apify.start_run(actor, timeout_secs=60)
    apify.start_run(actor, timeout_secs=99)
    clock.advance(100)
    apify.start_run(actor, ready_for=60)
    apify.start_run(actor, started_ago=7200, stopped_for=3600)
    apify.abort(aborting, clock.elapsed_s(), gracefully=True)
    return {
        "actor": actor,
        "task": task,
        "ended": ended.id,
        "running": running.id,
        "schedule": schedule,
        "mine": mine,
        "by_event": by_event.id,
        "by_result": by_result.id,
        "by_tier": by_tier.id,
        "dataset": running.short.default_dataset_id,
    }


CALLS: list[tuple[int, str, str, Any]] = [
    (200, "GET", "/v2/actor-runs", None),
    (200, "GET", "/v2/actor-runs?status=READY,RUNNING&limit=2&offset=1&desc=true", None),
    (200, "GET", "/v2/actor-runs?startedAfter=2026-03-01T00:00:00.000Z", None),
    (400, "GET", "/v2/actor-runs?limit=-1", None),
    (200, "GET", "/v2/actor-runs/{running}", None),
    (200, "GET", "/v2/actor-runs/{ended}", None),
    (404, "GET", "/v2/actor-runs/unknown", None),
    (200, "POST", "/v2/actor-runs/{running}/abort", None),
    (200, "POST", "/v2/actor-runs/{running}/abort?gracefully=true", None),
    (200, "POST", "/v2/actor-runs/{ended}/abort", None),
    (404, "POST", "/v2/actor-runs/unknown/abort", None),
    (200, "PUT", "/v2/actor-runs/{running}", {"runId": "{running}", "statusMessage": "stopped"}),
    (400, "PUT", "/v2/actor-runs/{running}", {"runId": "{running}"}),
    (404, "PUT", "/v2/actor-runs/unknown", {"runId": "unknown", "statusMessage": "stopped"}),
    (200, "POST", "/v2/actor-runs/{ended}/resurrect?timeout=60&memory=2048&maxTotalChargeUsd=2.5", None),
    (400, "POST", "/v2/actor-runs/{running}/resurrect", None),
    (404, "POST", "/v2/actor-runs/unknown/resurrect", None),
    (200, "GET", "/v2/actors/{actor}", None),
    (200, "GET", "/v2/acts/{actor}", None),
    (200, "GET", "/v2/actors/compass~crawler-google-places", None),
    (404, "GET", "/v2/actors/unknown", None),
    (200, "GET", "/v2/actor-tasks/{task}", None),
    (404, "GET", "/v2/actor-tasks/unknown", None),
    (200, "GET", "/v2/datasets/{dataset}", None),
    (404, "GET", "/v2/datasets/unknown", None),
    (200, "GET", "/v2/actor-runs/{by_event}", None),
    (200, "GET", "/v2/actor-runs/{by_result}", None),
    (200, "GET", "/v2/actor-runs/{by_tier}", None),
    (200, "GET", "/v2/actor-runs/{ended}?waitForFinish=5", None),
    (200, "PUT", "/v2/actor-runs/{running}", {"statusMessage": "stopped"}),
    (400, "PUT", "/v2/actor-runs/{running}", {"runId": "another", "statusMessage": "stopped"}),
    (400, "POST", "/v2/actor-runs/{ended}/resurrect?maxItems=0", None),
    (200, "GET", "/v2/actor-runs/{running}/dataset", None),
    (403, "DELETE", "/v2/actor-runs/{running}/dataset", None),
    (404, "GET", "/v2/actor-runs/unknown/dataset", None),
    (200, "GET", "/v2/actors?my=true", None),
    (200, "GET", "/v2/actors?limit=1000&offset=0&desc=true&sortBy=stats.lastRunStartedAt", None),
    (201, "POST", "/v2/actors", {"name": "another"}),
    (400, "POST", "/v2/actors", {}),
    (200, "PUT", "/v2/actors/{mine}", {"title": "Mine"}),
    (403, "PUT", "/v2/actors/{actor}", {"title": "Mine"}),
    (204, "DELETE", "/v2/actors/{mine}", None),
    (200, "GET", "/v2/actor-tasks?limit=5", None),
    (200, "GET", "/v2/actor-tasks/janedoe~berlin", None),
    (200, "GET", "/v2/schedules", None),
    (201, "POST", "/v2/schedules", {"name": "weekly", "cronExpression": "0 1 * * 0"}),
    (409, "POST", "/v2/schedules", {"name": "nightly"}),
    (200, "GET", "/v2/schedules/{schedule}", None),
    (200, "PUT", "/v2/schedules/{schedule}", {"isEnabled": False}),
    (400, "PUT", "/v2/schedules/{schedule}", {"isEnabled": "no"}),
    (404, "GET", "/v2/schedules/unknown", None),
    (204, "DELETE", "/v2/schedules/{schedule}", None),
    (200, "GET", "/v2/users/me", None),
    (200, "GET", "/v2/users/me/limits", None),
    (200, "GET", "/v2/users/me/usage/monthly", None),
    (200, "GET", "/v2/users/me/usage/monthly?date=2026-02-10", None),
]


@pytest.mark.parametrize(
    ("status", "method", "path", "body"), CALLS, ids=[f"{call[1]} {call[2]} {call[0]}" for call in CALLS]
)
async def test_answers(
    apify_api: httpx.AsyncClient,
    world: dict[str, str],
    validate: Validate,
    status: int,
    method: str,
    path: str,
    body: Any,
) -> None:
    if body is not None:
        body = {key: value.format(**world) if isinstance(value, str) else value for key, value in body.items()}
    answer = await apify_api.request(method, path.format(**world), json=body)
    assert answer.status_code == status
    # A 204 has no body, whatever the description gives as an example of it.
    if status != 204:
        validate(answer)
    else:
        assert answer.content == b""


GOOD = [call for call in CALLS if call[0] == 200]


@pytest.mark.parametrize(("method", "path"), [(call[1], call[2]) for call in GOOD])
@pytest.mark.parametrize("token", [None, "Bearer unknown", "Basic x"])
async def test_401(
    apify_api: httpx.AsyncClient,
    world: dict[str, str],
    validate: Validate,
    method: str,
    path: str,
    token: str | None,
) -> None:
    headers = {"Authorization": token or ""}
    answer = await apify_api.request(method, path.format(**world), headers=headers)
    assert answer.status_code == 401
    validate(answer)


@pytest.mark.parametrize(("method", "path"), [(call[1], call[2]) for call in GOOD])
async def test_429(
    platforms: SimulatedPlatforms,
    apify_api: httpx.AsyncClient,
    world: dict[str, str],
    validate: Validate,
    method: str,
    path: str,
) -> None:
    platforms.faults.add(Fault("rate_limited", retry_after_s=3))
    answer = await apify_api.request(method, path.format(**world))
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
    validate(answer)


async def test_402(
    apify: ApifyAccount, apify_api: httpx.AsyncClient, world: dict[str, str], validate: Validate
) -> None:
    apify.can_pay = False
    answer = await apify_api.post(f"/v2/actor-runs/{world['ended']}/resurrect")
    assert answer.status_code == 402
    validate(answer)


async def test_413(apify_api: httpx.AsyncClient, world: dict[str, str], validate: Validate) -> None:
    answer = await apify_api.put(f"/v2/actor-runs/{world['running']}", content=bytes(9_437_185))
    assert answer.status_code == 413
    validate(answer)


async def test_405(apify_api: httpx.AsyncClient, world: dict[str, str], validate: Validate) -> None:
    """A method that the description does not have cannot be looked up in it; the answer has its 405's
    shape."""
    answer = await apify_api.delete("/v2/users/me")
    assert answer.status_code == 405
    assert answer.json()["error"]["type"] == "method-not-allowed"
    assert "OPTIONS,GET" in answer.json()["error"]["message"]
    answer.request.method = "GET"
    validate(answer)


async def test_the_judge_does_judge(
    platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient, world: dict[str, str], validate: Validate
) -> None:
    platforms.faults.add(Fault("unknown_status", match="run"))
    answer = await apify_api.get(f"/v2/actor-runs/{world['running']}")
    with pytest.raises(Exception, match="Invalid"):
        validate(answer)
