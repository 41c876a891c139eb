"""Life, credits, answers and limits of the simulated lobstr."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from watchdog.simulated import LobstrAccount, LobstrRun, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio


async def get(api: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def started(lobstr: LobstrAccount, **how: Any) -> LobstrRun:
    return lobstr.start_run(lobstr.add_squid("maps-berlin"), **how)


async def test_a_run_is_pending_running_uploading_done(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, pending_for=5, ends_after=600, uploading_for=10, credits_per_hour=360)
    path = f"/v1/runs/{run.id}"
    seen = await get(lobstr_api, path)
    assert (seen["status"], seen["is_done"], seen["started_at"]) == ("pending", False, None)
    clock.advance(5 + 300)
    seen = await get(lobstr_api, path)
    assert (seen["status"], seen["credit_used"], seen["total_results"]) == ("running", 30, 500)
    assert seen["done_reason"] is None
    clock.advance(305)
    seen = await get(lobstr_api, path)
    assert (seen["status"], seen["is_done"]) == ("uploading", True)
    lobstr.uploading_is_done = False
    assert (await get(lobstr_api, path))["is_done"] is False
    clock.advance(5)
    seen = await get(lobstr_api, path)
    assert (seen["status"], seen["is_done"], seen["credit_used"]) == ("done", True, 60)
    assert seen["ended_at"] == "2026-03-01T12:10:05"
    assert run.truth().natural_end_usage == run.usage()


async def test_an_error_ends_a_run_at_once(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, ends_after=60, ends_as="error")
    clock.advance(60)
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["is_done"], seen["done_reason"]) == ("error", True, "error")


async def test_pauses_cost_nothing(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = started(lobstr, pauses=[(60, 3600), (120, 600)], credits_per_hour=3600, duration_share=1.0)
    clock.advance(60 + 1800)
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["credit_used"], seen["duration"]) == ("paused", 60, "0:01:00")
    clock.advance(1800 + 60 + 600 + 30)
    assert run.status() == "running"
    assert run.usage().duration_s == 150
    assert run.usage().credits == pytest.approx(150)


async def test_an_abort_uploads_then_is_aborted(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, ends_after=3600, results_total=1000, credits_per_hour=60, duration_share=1.0)
    clock.advance(900)
    answer = (await lobstr_api.post(f"/v1/runs/{run.id}/abort")).json()
    assert set(answer) == {
        *("id", "object", "squid", "is_done", "started_at", "total_results", "total_unique_results"),
        *("ended_at", "duration", "credit_used", "origin", "status", "export_done", "created_at"),
        *("next_launch_at", "force_launch", "export_count", "export_time", "email_done", "email_time"),
        *("done_reason", "done_reason_desc"),
    }
    assert (answer["status"], answer["done_reason"], answer["is_done"]) == ("uploading", "aborted", True)
    assert (answer["duration"], answer["credit_used"], answer["total_results"]) == (900, 15, 250)
    assert answer["ended_at"] == "2026-03-01T12:15:00Z"
    stats = await get(lobstr_api, f"/v1/runs/{run.id}/stats")
    assert (stats["percent_done"], stats["results_done"], stats["results_total"]) == ("100%", 250, 1000)
    clock.advance(5)
    assert (await get(lobstr_api, f"/v1/runs/{run.id}"))["status"] == "aborted"
    truth = run.truth()
    assert (truth.aborted_by_api, truth.abort_requests, truth.usage.credits) == (True, 1, 15)
    assert truth.graceful is None
    assert truth.natural_end_usage is not None
    assert truth.natural_end_usage.credits == 60


async def test_an_abort_before_it_ran(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = started(lobstr, pending_for=60)
    assert (await lobstr_api.post(f"/v1/runs/{run.id}/abort")).json()["started_at"] is None
    clock.advance(5)
    assert run.status() == "aborted"
    assert run.usage().credits == 0


async def test_what_is_over_cannot_be_aborted(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, ends_after=60, uploading_for=10)
    for run_id, wait_s in (("unknown", 0), (run.id, 65), (run.id, 100)):
        clock.advance(wait_s)
        answer = await lobstr_api.post(f"/v1/runs/{run_id}/abort")
        assert answer.status_code == 404
        assert answer.json()["errors"]["type"] == "HTTPNotFound"
        assert answer.json()["errors"]["code"] == 404
    assert run.truth().abort_requests == 2


async def test_both_ways_to_write_time(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    clock.advance(0.25)
    run = started(lobstr, started_ago=93784.5, ends_after=None, duration_share=1.0)
    detail = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (detail["duration"], detail["started_at"]) == (
        "1 day, 2:03:04.500000",
        "2026-02-28T09:56:55.750000",
    )
    stats = await get(lobstr_api, f"/v1/runs/{run.id}/stats")
    assert (stats["duration"], stats["started_at"]) == (detail["duration"], detail["started_at"])
    listed = (await get(lobstr_api, "/v1/runs", squid=run.squid.id))["data"][0]
    assert (listed["duration"], listed["started_at"]) == (93784.5, "2026-02-28T09:56:55Z")


async def test_a_duration_may_be_null(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient) -> None:
    run = started(lobstr, duration_null=True)
    assert (await get(lobstr_api, f"/v1/runs/{run.id}"))["duration"] is None
    assert (await get(lobstr_api, "/v1/runs", squid=run.squid.id))["data"][0]["duration"] is None


async def test_stats(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = started(lobstr, ends_after=3600, results_total=1000)
    clock.advance(1512)
    stats = await get(lobstr_api, f"/v1/runs/{run.id}/stats")
    assert (stats["percent_done"], stats["eta"], stats["results_done"]) == ("42%", "0:34:48", 420)
    assert (stats["total_tasks"], stats["total_tasks_done"], stats["total_tasks_left"]) == (10, 4, 6)
    assert "credit_used" not in stats
    endless = started(lobstr, ends_after=None, results_total=None)
    clock.advance(60)
    stats = await get(lobstr_api, f"/v1/runs/{endless.id}/stats")
    assert (stats["percent_done"], stats["eta"], stats["results_total"]) == ("0%", "∞", None)


async def test_credits_are_for_completed_runs(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, ends_after=3600, curve=lambda ran_s: ran_s * 2)
    path = f"/v1/runs/{run.id}/credits"
    assert (await lobstr_api.get(path)).status_code == 400
    clock.advance(4000)
    assert await get(lobstr_api, path) == {
        "run_id": run.id,
        "total_credits": 7200,
        "total_results": 1000,
        "breakdown": [{"function": "base", "credits": 7200, "attempts": 1000}],
        "rates": {"credits_per_row": 7.2},
        "function_colors": {},
        "base_function_label": None,
        "filter_breakdown": [],
    }


async def test_squids(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    idle, busy = lobstr.add_squid("idle"), lobstr.add_squid("busy", crawler="LinkedIn")
    run = lobstr.start_run(busy, ends_after=60)
    page = await get(lobstr_api, "/v1/squids", limit=100, page=1)
    first, second = page["data"]
    assert (first["id"], first["last_run_status"], first["total_runs"]) == (idle, None, 0)
    assert (second["id"], second["last_run_status"], second["crawler_name"]) == (busy, "RUNNING", "LinkedIn")
    assert len(busy) == len(second["crawler"]) == 32
    assert (page["total_results"], page["total_pages"], page["next"], page["previous"]) == (2, 1, None, None)
    detail = await get(lobstr_api, f"/v1/squids/{busy}")
    assert (detail["last_run"], detail["last_run_is_done"]) == (run.id, False)
    clock.advance(100)
    detail = await get(lobstr_api, f"/v1/squids/{busy}")
    assert (detail["last_run_status"], detail["last_run_is_done"]) == ("DONE", True)


async def test_one_active_run_a_squid(lobstr: LobstrAccount, clock: SimClock) -> None:
    run = started(lobstr, ends_after=60)
    with pytest.raises(ValueError, match="has an active run"):
        lobstr.start_run(run.squid.id)
    clock.advance(100)
    assert lobstr.start_run(run.squid.id).status() == "running"


async def test_runs_of_a_squid_newest_first(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    squid = lobstr.add_squid("maps")
    runs = []
    for _ in range(5):
        runs.append(lobstr.start_run(squid, ends_after=10, uploading_for=0))
        clock.advance(20)
    page = await get(lobstr_api, "/v1/runs", squid=squid, limit=2, page=2)
    assert [item["id"] for item in page["data"]] == [runs[2].id, runs[1].id]
    assert (page["total_results"], page["total_pages"], page["page"], page["limit"]) == (5, 3, 2, 2)
    assert (page["result_from"], page["result_to"]) == (3, 4)
    following = (await lobstr_api.get(page["next"])).json()
    assert [item["id"] for item in following["data"]] == [runs[0].id]
    assert following["next"] is None
    assert (await lobstr_api.get(following["previous"])).json()["data"] == page["data"]


async def test_requests_that_make_no_sense(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient) -> None:
    squid = lobstr.add_squid("maps")
    for path, status, envelope in (
        ("/v1/runs", 400, "errors"),
        (f"/v1/runs?squid={squid}&limit=x", 400, "errors"),
        (f"/v1/runs?squid={squid}&page=2", 404, "detail"),
        ("/v1/runs?squid=unknown", 404, "errors"),
        ("/v1/runs/unknown", 404, "errors"),
        ("/v1/runs/unknown/stats", 404, "errors"),
        ("/v1/runs/unknown/credits", 404, "errors"),
        ("/v1/squids/unknown", 404, "errors"),
        ("/v1/nothing", 404, "detail"),
    ):
        answer = await lobstr_api.get(path)
        assert answer.status_code == status, path
        assert list(answer.json()) == [envelope], path
    answer = await lobstr_api.delete("/v1/squids")
    assert (answer.status_code, list(answer.json())) == (405, ["detail"])


@pytest.mark.parametrize("authorization", ["", "Token unknown", "Bearer lobstr-test"])
async def test_tokens(lobstr_api: httpx.AsyncClient, authorization: str) -> None:
    answer = await lobstr_api.get("/v1/squids", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert list(answer.json()) == ["detail"]


async def test_the_balance_is_an_allotment(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    started(lobstr, credits_per_hour=60)
    clock.advance(1800)
    balance = await get(lobstr_api, "/v1/user/balance")
    assert (balance["available"], balance["consumed"]) == (100_000, 30)
    assert balance["reset_time"] == "2026-03-02T00:00:00Z"


async def test_the_rate_limit_slides(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    lobstr.requests_per_minute = 3
    for left in (2, 1, 0):
        answer = await lobstr_api.get("/v1/squids")
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert answer.headers["X-RateLimit-Remaining"] == str(left)
        assert int(answer.headers["X-RateLimit-Reset"]) == 1772366460
        clock.advance(10)
    refused = await lobstr_api.get("/v1/squids/any")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
    assert refused.headers["X-RateLimit-Remaining"] == "0"
    assert (await lobstr_api.get("/v1/runs/any")).status_code == 404  # a limit of its own
    assert (await lobstr_api.get("/v1/user/balance")).status_code == 200  # none at all
    clock.advance(30)
    assert (await lobstr_api.get("/v1/squids")).status_code == 200
    assert (await lobstr_api.get("/v1/squids")).status_code == 429
    assert lobstr.too_many_requests_count == 2
    lobstr.requests_per_minute = None
    assert (await lobstr_api.get("/v1/squids")).status_code == 200


async def test_truth_lists_all(platforms: SimulatedPlatforms, lobstr: LobstrAccount) -> None:
    run = started(lobstr)
    platforms.apify().start_run()
    truths = platforms.truth()
    assert [(truth.platform, truth.account) for truth in truths] == [("lobstr", 0), ("apify", 1)]
    assert (truths[0].id, truths[0].source, truths[0].ended) == (run.id, "maps-berlin", None)
    assert truths[1].source == "compass/crawler-google-places"


async def test_others_may_end_a_run_too(lobstr: LobstrAccount, clock: SimClock) -> None:
    stopped, failed = started(lobstr), started(lobstr)
    lobstr.abort_in_dashboard(stopped)
    lobstr.finish(failed, "error")
    clock.advance(5)
    assert (stopped.status(), failed.status()) == ("aborted", "error")
    assert not stopped.truth().aborted_by_api
