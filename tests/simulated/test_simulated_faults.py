"""Every fault, seen through a real client."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from watchdog.simulated import ApifyAccount, Fault, LobstrAccount, SimClock, SimulatedPlatforms
from watchdog.simulated.faults import KINDS

pytestmark = pytest.mark.anyio

LIST = "/v2/actor-runs"


async def items(api: httpx.AsyncClient, **params: Any) -> Any:
    return (await api.get(LIST, params=params)).json()["data"]["items"]


async def test_status(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("status", match="list", status=503, headers={"Retry-After": "7"}, times=1))
    answer = await apify_api.get(LIST)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
    assert answer.json()["error"]["type"] == "internal-server-error"
    assert (await apify_api.get(LIST)).status_code == 200
    platforms.faults.add(Fault("status", status=502, body=b"bad gateway"))
    assert (await apify_api.get(LIST)).content == b"bad gateway"


async def test_status_on_lobstr(platforms: SimulatedPlatforms, lobstr_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("status", status=500))
    answer = await lobstr_api.get("/v1/squids")
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])


async def test_rate_limited(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("rate_limited", times=1))
    answer = await apify_api.get(LIST)
    assert answer.status_code == 429
    assert "Retry-After" not in answer.headers
    platforms.faults.add(Fault("rate_limited", retry_after_s=12))
    assert (await apify_api.get(LIST)).headers["Retry-After"] == "12"


async def test_hang(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("hang", times=1))
    with pytest.raises(httpx.ReadTimeout):
        await apify_api.get(LIST, timeout=0.05)
    assert (await apify_api.get(LIST)).status_code == 200
    assert [request.status for request in platforms.requests] == [None, 200]


async def test_stopping_does_not_wait_for_what_hangs(platforms: SimulatedPlatforms) -> None:
    platforms.faults.add(Fault("hang"))
    async with anyio.create_task_group() as group, httpx.AsyncClient() as client:

        async def ask(url: str) -> None:
            with pytest.raises(httpx.TransportError):
                await client.get(url, timeout=60)

        with anyio.fail_after(5):
            async with platforms:
                group.start_soon(ask, platforms.url + LIST)
                while not platforms.requests:
                    await anyio.lowlevel.checkpoint()


async def test_delay(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("delay", delay_s=0.05))
    before_s = time.monotonic()
    assert (await apify_api.get(LIST)).status_code == 200
    assert time.monotonic() - before_s >= 0.05


async def test_reset(platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    run = apify.start_run()
    platforms.faults.add(Fault("reset", match="abort", times=1))
    with pytest.raises(httpx.ReadError):
        await apify_api.post(f"{LIST}/{run.id}/abort")
    assert run.status() == "RUNNING"
    assert run.truth().abort_requests == 1


async def test_a_lost_answer_has_acted(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient
) -> None:
    run = apify.start_run()
    platforms.faults.add(Fault("lost_answer", match="abort", run_id=run.id))
    with pytest.raises(httpx.ReadError):
        await apify_api.post(f"{LIST}/{run.id}/abort")
    assert run.status() == "ABORTING"


async def test_half(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("half", times=1))
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
        await apify_api.get(LIST)
    assert (await apify_api.get(LIST)).status_code == 200


async def test_html(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("html"))
    answer = await apify_api.get(LIST)
    assert (answer.status_code, answer.headers["content-type"][:9]) == (200, "text/html")
    assert answer.text.startswith("<!doctype html>")


async def test_truncated_json(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("truncated_json"))
    answer = await apify_api.get(LIST)
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


async def test_wrong_types(platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    run = apify.start_run()
    armed = platforms.faults.add(Fault("wrong_types"))
    seen = (await apify_api.get(f"{LIST}/{run.id}")).json()["data"]
    assert (seen["usageTotalUsd"], seen["startedAt"]) == ("abc", 5)
    assert isinstance(await items(apify_api), dict)
    armed.remove()
    platforms.faults.add(Fault("wrong_types", fields={"usageTotalUsd": [1]}))
    assert (await items(apify_api))[0]["usageTotalUsd"] == [1]


@pytest.mark.parametrize("kind", ["null_usage", "missing_usage"])
async def test_no_usage(
    platforms: SimulatedPlatforms,
    apify: ApifyAccount,
    lobstr: LobstrAccount,
    apify_api: httpx.AsyncClient,
    kind: Any,
) -> None:
    run, other = apify.start_run(), apify.start_run()
    platforms.faults.add(Fault(kind, run_id=run.id))
    for seen in ((await apify_api.get(f"{LIST}/{run.id}")).json()["data"], (await items(apify_api))[0]):
        assert seen.get("usageTotalUsd", "absent") == (None if kind == "null_usage" else "absent")
    assert (await items(apify_api))[1]["usageTotalUsd"] == 0
    assert (await apify_api.get(f"{LIST}/{other.id}")).json()["data"]["usageTotalUsd"] == 0
    theirs = lobstr.start_run(lobstr.add_squid("maps"))
    platforms.faults.add(Fault(kind, account=lobstr))
    headers = {"Authorization": f"Token {lobstr.token}"}
    seen = (await apify_api.get(f"/v1/runs/{theirs.id}", headers=headers)).json()
    assert seen.get("credit_used", "absent") == (None if kind == "null_usage" else "absent")


async def test_abort_ignored(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run()
    platforms.faults.add(Fault("abort_ignored", times=1))
    platforms.faults.add(Fault("abort_ignored", times=1, after=1, claims_stopped=True))
    for claimed in ("RUNNING", "ABORTING"):
        answer = await apify_api.post(f"{LIST}/{run.id}/abort")
        assert (answer.status_code, answer.json()["data"]["status"]) == (200, claimed)
        clock.advance(60)
        assert run.status() == "RUNNING"
    assert not run.truth().aborted_by_api
    await apify_api.post(f"{LIST}/{run.id}/abort")
    assert run.status() == "ABORTING"
    assert run.truth().abort_requests == 3


async def test_abort_stuck(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = apify.start_run()
    platforms.faults.add(Fault("abort_stuck", times=1))
    await apify_api.post(f"{LIST}/{run.id}/abort")
    clock.advance(86400)
    assert run.status() == "ABORTING"
    assert run.usage().duration_s == 86400
    apify.abort_escalates = True
    await apify_api.post(f"{LIST}/{run.id}/abort")
    clock.advance(1)
    assert run.status() == "ABORTED"


@pytest.mark.parametrize(
    ("kind", "after_s", "status"), [("abort_ignored", 60, "running"), ("abort_stuck", 60, "uploading")]
)
async def test_aborts_that_fail_on_lobstr(
    platforms: SimulatedPlatforms,
    lobstr: LobstrAccount,
    lobstr_api: httpx.AsyncClient,
    clock: SimClock,
    kind: Any,
    after_s: float,
    status: str,
) -> None:
    run = lobstr.start_run(lobstr.add_squid("maps"))
    platforms.faults.add(Fault(kind, claims_stopped=True))
    answer = await lobstr_api.post(f"/v1/runs/{run.id}/abort")
    assert (answer.json()["status"], answer.json()["done_reason"]) == ("uploading", "aborted")
    clock.advance(after_s)
    assert run.status() == status


async def test_unknown_status(
    platforms: SimulatedPlatforms, lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient
) -> None:
    run = lobstr.start_run(lobstr.add_squid("maps"))
    platforms.faults.add(Fault("unknown_status"))
    assert (await lobstr_api.get(f"/v1/runs/{run.id}")).json()["status"] == "MIGRATING"
    assert (await lobstr_api.get("/v1/squids")).json()["data"][0]["last_run_status"] == "MIGRATING"


async def test_bad_item(platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    runs = [apify.start_run() for _ in range(3)]
    platforms.faults.add(Fault("bad_item", run_id=runs[1].id, times=1))
    assert [item["status"] for item in await items(apify_api)] == ["RUNNING", 7, "RUNNING"]
    platforms.faults.add(Fault("bad_item"))
    assert sum(item["status"] == 7 for item in await items(apify_api)) == 1


async def test_a_page_without_the_item_does_not_use_the_fault_up(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient
) -> None:
    runs = [apify.start_run() for _ in range(4)]
    armed = platforms.faults.add(Fault("slip_items", run_id=runs[3].id, times=1))
    assert len(await items(apify_api, limit=2)) == 2
    assert armed.hits == 0
    assert [item["id"] for item in await items(apify_api, limit=2, offset=2)] == [runs[2].id]
    assert armed.hits == 1
    assert len(await items(apify_api)) == 4


async def test_duplicate_items(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient
) -> None:
    ids = [apify.start_run().id for _ in range(4)]
    platforms.faults.add(Fault("duplicate_items"))
    second = [item["id"] for item in await items(apify_api, limit=2, offset=2)]
    assert second == [ids[1], ids[2], ids[3]]
    assert [item["id"] for item in await items(apify_api, limit=2)] == [ids[0], ids[1], ids[0]]


async def test_duplicate_items_on_lobstr(
    platforms: SimulatedPlatforms, lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient
) -> None:
    ids = [lobstr.add_squid(f"squid {n}") for n in range(4)]
    platforms.faults.add(Fault("duplicate_items", match="squids|list"))
    page = (await lobstr_api.get("/v1/squids", params={"limit": 2, "page": 2})).json()
    assert [item["id"] for item in page["data"]] == [ids[1], ids[2], ids[3]]


async def test_slip_items(platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    for _ in range(5):
        apify.start_run()
    platforms.faults.add(Fault("slip_items", times=1))
    assert len(await items(apify_api)) == 4
    assert len(await items(apify_api)) == 5


async def test_redirect(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("redirect", location="http://evil.invalid/v2"))
    answer = await apify_api.get(LIST)
    assert (answer.status_code, answer.headers["Location"]) == (302, "http://evil.invalid/v2")


async def test_huge(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("huge", size_bytes=3_000_000))
    answer = await apify_api.get(LIST)
    assert len(answer.content) > 3_000_000
    assert answer.json()["data"]["items"] == []


async def test_slow_drip(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    platforms.faults.add(Fault("slow_drip", drip_bytes=10, drip_pause_s=0.001))
    async with apify_api.stream("GET", LIST) as answer:
        parts = [part async for part in answer.aiter_raw()]
    assert len(parts) > 3
    assert json.loads(b"".join(parts))["data"]["count"] == 0


async def test_after_times_account_and_clear(
    platforms: SimulatedPlatforms, apify: ApifyAccount, apify_api: httpx.AsyncClient
) -> None:
    platforms.apify(token="other")
    armed = platforms.faults.add(Fault("status", status=500, account=apify, after=2, times=2))
    got = [(await apify_api.get(LIST)).status_code for _ in range(5)]
    assert got == [200, 200, 500, 500, 200]
    assert armed.hits == 2
    platforms.faults.add(Fault("status", status=500, account=apify.index))
    other = {"Authorization": "Bearer other"}
    assert (await apify_api.get(LIST, headers=other)).status_code == 200
    assert (await apify_api.get(LIST)).status_code == 500
    platforms.faults.clear()
    assert (await apify_api.get(LIST)).status_code == 200


async def test_probability_goes_by_the_seed(clock: SimClock) -> None:
    async def sequence(seed: int) -> list[int]:
        async with SimulatedPlatforms(clock, seed=seed) as platforms, httpx.AsyncClient() as client:
            token = {"Authorization": f"Bearer {platforms.apify().token}"}
            platforms.faults.add(Fault("status", status=500, probability=0.5))
            return [(await client.get(platforms.url + LIST, headers=token)).status_code for _ in range(20)]

    first = await sequence(1)
    assert first == await sequence(1)
    assert set(first) == {200, 500}
    assert first != await sequence(2)


def test_faults_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        Fault("sabotage")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probability"):
        Fault("hang", probability=2)
    assert len(KINDS) == 21
