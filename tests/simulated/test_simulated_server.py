"""The wire and the server: keep-alive, dates, records, threads."""

from __future__ import annotations

import asyncio
import threading
from email.utils import parsedate_to_datetime

import httpx
import pytest

from watchdog.simulated import ApifyAccount, Fault, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio


async def test_connections_are_kept(platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient) -> None:
    streams = set()
    for _ in range(5):
        answer = await apify_api.get("/v2/actor-runs")
        streams.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(streams) == 1


async def test_connection_close_is_honoured(platforms: SimulatedPlatforms) -> None:
    async with platforms:
        port = int(platforms.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v2/users/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
        writer.close()
        await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order(platforms: SimulatedPlatforms) -> None:
    async with platforms:
        port = int(platforms.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"HEAD /v2/nothing HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(head + b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        everything = await reader.read()
        assert everything.count(b"HTTP/1.1 404 ") == 2
        assert everything.endswith(b'{"detail":"Not found."}')
        writer.close()
        await writer.wait_closed()


async def test_what_is_not_http_is_refused(platforms: SimulatedPlatforms) -> None:
    async with platforms:
        port = int(platforms.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"EHLO platform\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        await writer.wait_closed()


async def test_a_body_may_wait_for_100_continue(platforms: SimulatedPlatforms, apify: ApifyAccount) -> None:
    run = apify.start_run()
    body = b'{"runId":"%s","statusMessage":"x"}' % run.id.encode()
    async with platforms:
        port = int(platforms.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"PUT /v2/actor-runs/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n"
            b"Connection: close\r\n\r\n" % (run.id.encode(), apify.token.encode(), len(body))
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
    assert run.status_message == "x"


async def test_the_date_is_the_platforms(
    platforms: SimulatedPlatforms, apify_api: httpx.AsyncClient, clock: SimClock
) -> None:
    clock.advance(3600)
    date = (await apify_api.get("/v2/users/me")).headers["Date"]
    assert date == "Sun, 01 Mar 2026 13:00:00 GMT"
    platforms.date_skew_seconds = -90
    skewed = parsedate_to_datetime((await apify_api.get("/v2/users/me")).headers["Date"])
    assert (clock.now() - skewed).total_seconds() == 90


async def test_records_never_hold_a_token(platforms: SimulatedPlatforms, apify: ApifyAccount, clock: SimClock) -> None:
    async with platforms, httpx.AsyncClient(base_url=platforms.url) as client:
        answer = await client.get("/v2/actor-runs", params={"token": apify.token, "limit": 5})
        assert answer.status_code == 200
        await client.get("/v2/actor-runs", headers={"Authorization": "Bearer wrong-secret"})
        await client.get("/v2/none")
    first, second, third = platforms.requests
    assert (first.account, first.endpoint, first.status, first.query["limit"]) == (0, "list", 200, "5")
    assert (second.account, second.status) == (None, 401)
    assert (third.endpoint, third.status) == (None, 404)
    assert first.at == clock.now()
    assert apify.token not in repr(platforms.requests) + repr(apify)
    assert "wrong-secret" not in repr(platforms.requests)


async def test_the_rate_limit_header(apify_api: httpx.AsyncClient) -> None:
    for path in ("/v2/users/me", "/v2/actor-runs/unknown", "/v2/none"):
        assert (await apify_api.get(path)).headers["X-RateLimit-Limit"] == "60"


async def test_it_can_be_stopped_and_started_again(platforms: SimulatedPlatforms) -> None:
    for _ in range(2):
        async with platforms, httpx.AsyncClient() as client:
            assert (await client.get(platforms.url + "/v2/none")).status_code == 404
    with pytest.raises(RuntimeError, match="not serving"):
        _ = platforms.url


async def test_a_page_of_a_thousand(apify: ApifyAccount, apify_api: httpx.AsyncClient) -> None:
    actor = apify.add_actor()
    ids = {apify.start_run(actor, started_ago=n).id for n in range(2500)}
    seen: list[str] = []
    for offset in (0, 1000, 2000):
        data = (await apify_api.get("/v2/actor-runs", params={"offset": offset, "desc": "1"})).json()["data"]
        assert data["total"] == 2500
        seen += [item["id"] for item in data["items"]]
    assert len(seen) == 2500
    assert set(seen) == ids


def test_a_thread_serves_synchronous_callers(platforms: SimulatedPlatforms, apify: ApifyAccount) -> None:
    before = threading.active_count()
    with platforms.serve_in_thread() as serving:
        token = {"Authorization": f"Bearer {apify.token}"}
        with httpx.Client(base_url=serving.url, headers=token) as client:
            for total in range(1, 20):
                apify.start_run()
                assert client.get("/v2/actor-runs").json()["data"]["total"] == total
    assert threading.active_count() == before


def test_a_port_that_is_taken(clock: SimClock) -> None:
    with SimulatedPlatforms(clock).serve_in_thread() as first:
        port = int(first.url.rpartition(":")[2])
        second = SimulatedPlatforms(clock, port=port)
        with pytest.raises(RuntimeError, match="did not start"), second.serve_in_thread():
            pass


async def test_stopping_does_not_wait_for_who_does_not_read(platforms: SimulatedPlatforms, apify: ApifyAccount) -> None:
    platforms.faults.add(Fault("huge", size_bytes=30_000_000))
    async with asyncio.timeout(10):
        async with platforms:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(platforms.url.rpartition(":")[2]))
            token = apify.token.encode()
            writer.write(b"GET /v2/users/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % token)
            await reader.readexactly(1)
        writer.transport.abort()
