"""What lobstr's official clients know better than its documentation, and the simulation can show."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from watchdog.simulated import EmailVerification, Fault, LobstrAccount, LobstrRun, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio


async def get(api: httpx.AsyncClient, path: str, **params: Any) -> dict[str, Any]:
    answer = await api.get(path, params=params)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def listed(api: httpx.AsyncClient, run: LobstrRun) -> dict[str, Any]:
    """The run as the newest of its squid's list."""
    found: dict[str, Any] = (await get(api, "/v1/runs", squid=run.squid.id))["data"][0]
    return found


def started(lobstr: LobstrAccount, **how: Any) -> LobstrRun:
    return lobstr.start_run(lobstr.add_squid("maps-berlin"), **how)


async def test_duration_is_not_the_time_elapsed(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, pending_for=30, pauses=[(60, 40)], ends_after=100)
    clock.advance(30 + 60 + 20)
    assert (await listed(lobstr_api, run))["duration"] == 39.6
    assert (await get(lobstr_api, f"/v1/runs/{run.id}"))["duration"] == "0:00:39.600000"
    assert (await get(lobstr_api, f"/v1/runs/{run.id}/stats"))["duration"] == "0:01:20"
    clock.advance(500)
    assert (await listed(lobstr_api, run))["duration"] == 66
    assert (await get(lobstr_api, f"/v1/runs/{run.id}/stats"))["duration"] == "0:02:20"
    assert run.usage().duration_s == 100


@pytest.mark.parametrize(("habit", "listing", "detail"), [("zero", 0, "0:00:00"), ("null", None, None)])
async def test_duration_may_be_missing_until_the_end(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock, habit: Any, listing: Any, detail: Any
) -> None:
    run = started(lobstr, ends_after=1000, duration_while_running=habit)
    clock.advance(600)
    assert (await listed(lobstr_api, run))["duration"] == listing
    assert (await get(lobstr_api, f"/v1/runs/{run.id}"))["duration"] == detail
    clock.advance(600)
    assert (await listed(lobstr_api, run))["duration"] == 660


async def test_addresses_are_verified_and_charged_after_done(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    emails = EmailVerification(emails=100, lasts_s=100, credits_per_email=0.5)
    run = started(lobstr, ends_after=60, credits_per_hour=3600, uploading_for=10, verification=emails)
    path = f"/v1/runs/{run.id}"
    clock.advance(30)
    seen = await get(lobstr_api, path)
    assert seen["credit_used"] == 30
    assert seen["email_verification"] == {
        "status": "pending",
        "progress": "0%",
        "verified_emails": 0,
        "total_emails": 50,
        "is_done": False,
    }
    assert "email_verification" not in await listed(lobstr_api, run)
    clock.advance(30 + 40)
    seen = await get(lobstr_api, path)
    assert (seen["status"], seen["is_done"], seen["credit_used"]) == ("done", True, 60 + 20)
    assert (seen["email_verification"]["verified_emails"], seen["email_verification"]["is_done"]) == (40, False)
    clock.advance(60)
    seen = await get(lobstr_api, path)
    assert (seen["credit_used"], seen["email_verification"]["is_done"]) == (110, True)
    assert run.truth().natural_end_usage == run.truth().usage
    parts = (await get(lobstr_api, f"{path}/credits"))["breakdown"]
    assert {part["function"]: (part["credits"], part["attempts"]) for part in parts} == {
        "base": (60, 1000),
        "verify_emails": (50, 100),
    }


@pytest.mark.parametrize(("goes_on", "credits_used"), [(True, 30 + 50), (False, 30)])
async def test_verification_after_an_abort(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock, goes_on: bool, credits_used: float
) -> None:
    emails = EmailVerification(emails=100, lasts_s=10, after_abort=goes_on)
    run = started(lobstr, ends_after=60, credits_per_hour=3600, verification=emails)
    clock.advance(30)
    await lobstr_api.post(f"/v1/runs/{run.id}/abort")
    clock.advance(20)
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["credit_used"]) == ("aborted", credits_used)
    assert seen["email_verification"]["is_done"]


async def test_a_failed_run_verifies_nothing(lobstr: LobstrAccount, clock: SimClock) -> None:
    emails = EmailVerification(emails=100)
    run = started(lobstr, ends_after=60, ends_as="error", credits_per_hour=3600, verification=emails)
    clock.advance(3600)
    assert run.usage().credits == 60
    assert run.truth().natural_end_usage == run.usage()


async def test_an_older_run_beside_a_newer_one(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    older = started(lobstr, ends_after=None)
    clock.advance(60)
    newer = lobstr.start_run(older.squid.id, pending_for=3600, beside=True)
    page = await get(lobstr_api, "/v1/runs", squid=older.squid.id)
    assert [(item["id"], item["status"]) for item in page["data"]] == [(newer.id, "pending"), (older.id, "running")]
    assert (await get(lobstr_api, "/v1/squids"))["data"][0]["last_run_status"] == "PENDING"


@pytest.mark.parametrize(
    ("shape", "missing"),
    [
        ("real", {"errors": {"message": "Run not found", "type": "HTTPNotFound", "code": 404}}),
        ("errors", {"errors": {"message": "Run not found", "type": "HTTPNotFound", "code": 404}}),
        ("error", {"error": {"message": "Run not found", "type": "HTTPNotFound", "param": None}}),
        ("text", {"error": "Run not found", "type": "HTTPNotFound", "code": 404}),
        ("detail", {"detail": "Run not found"}),
    ],
)
async def test_shapes_of_errors(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, shape: Any, missing: Any) -> None:
    lobstr.error_shape = shape
    assert (await lobstr_api.get("/v1/runs/unknown")).json() == missing
    framework = "detail" if shape == "real" else next(iter(missing))
    lobstr.requests_per_minute = 0
    throttled = await lobstr_api.get("/v1/squids")
    assert (throttled.status_code, next(iter(throttled.json()))) == (429, framework)
    assert next(iter((await lobstr_api.get("/v1/nothing")).json())) == framework


async def test_a_fault_takes_the_shape_of_the_account(
    platforms: SimulatedPlatforms, lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient
) -> None:
    lobstr.error_shape = "errors"
    platforms.faults.add(Fault("status", status=401, match="squids", times=1))
    answer = await lobstr_api.get("/v1/squids")
    assert answer.json()["errors"] == {"message": "Invalid token.", "type": "NotAuthenticated", "code": 401}


async def test_an_abort_of_a_finished_run_may_change_nothing(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    lobstr.abort_of_finished = "unchanged"
    run = started(lobstr, ends_after=60)
    clock.advance(100)
    answer = await lobstr_api.post(f"/v1/runs/{run.id}/abort")
    assert (answer.status_code, answer.json()["status"], answer.json()["done_reason"]) == (200, "done", "tasks_done")
    assert not run.truth().aborted_by_api
    assert (await lobstr_api.post("/v1/runs/unknown/abort")).status_code == 404


@pytest.mark.parametrize(("habit", "body"), [("status", b'{"status":"aborted"}'), ("object", b"{}"), ("empty", b"")])
async def test_answers_to_an_abort(
    platforms: SimulatedPlatforms,
    lobstr: LobstrAccount,
    lobstr_api: httpx.AsyncClient,
    clock: SimClock,
    habit: Any,
    body: bytes,
) -> None:
    lobstr.abort_answers = habit
    run = started(lobstr)
    answer = await lobstr_api.post(f"/v1/runs/{run.id}/abort")
    assert (answer.status_code, answer.content) == (200, body)
    clock.advance(5)
    assert run.status() == "aborted"
    ignored = started(lobstr)
    platforms.faults.add(Fault("abort_ignored", claims_stopped=True))
    assert (await lobstr_api.post(f"/v1/runs/{ignored.id}/abort")).status_code == 200
    assert ignored.status() == "running"


async def test_other_words_for_statuses(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    run = started(lobstr, ends_after=60, done_reason="last_page_reached")
    lobstr.statuses_upper = True
    assert (await get(lobstr_api, f"/v1/runs/{run.id}"))["status"] == "RUNNING"
    clock.advance(100)
    lobstr.status_words = {"done": "finished"}
    assert (await get(lobstr_api, f"/v1/runs/{run.id}"))["status"] == "FINISHED"
    lobstr.statuses_upper = False
    seen = await listed(lobstr_api, run)
    assert (seen["status"], seen["is_done"], seen["done_reason"]) == ("finished", True, "last_page_reached")
    squid = await get(lobstr_api, f"/v1/squids/{run.squid.id}")
    assert (squid["last_run_status"], squid["last_run_done_reason"]) == ("FINISHED", "last_page_reached")


async def test_switching_a_squid_off_cuts_its_run_short(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, credits_per_hour=3600)
    path = f"/v1/squids/{run.squid.id}"
    clock.advance(30)
    assert (await lobstr_api.post(path, json={"is_active": False})).json()["is_active"] is False
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["done_reason"]) == ("uploading", "deactivated")
    clock.advance(30)
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["done_reason"], seen["credit_used"]) == ("done", "deactivated", 30)
    assert not run.truth().aborted_by_api
    with pytest.raises(ValueError, match="is not active"):
        lobstr.start_run(run.squid.id)
    await lobstr_api.post(path, json={"is_active": True})
    assert lobstr.start_run(run.squid.id).status() == "running"
    assert (await lobstr_api.post("/v1/squids/unknown", json={"is_active": False})).status_code == 404
    assert (await lobstr_api.post(path, content=b"{")).status_code == 400


async def test_lists_of_free_plans_end_early(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    for number in range(7):
        lobstr.add_squid(f"squid {number}")
    assert "warning" not in await get(lobstr_api, "/v1/squids", limit=3)
    lobstr.free_plan_cap = 5
    pages = [await get(lobstr_api, "/v1/squids", limit=3, page=number) for number in (1, 2, 3)]
    assert [len(page["data"]) for page in pages] == [3, 2, 0]
    assert {page["total_results"] for page in pages} == {7}
    assert all("only 5 results" in page["warning"] for page in pages)


async def test_runs_pause_when_the_credits_of_the_day_are_gone(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    lobstr.credits_available = 100
    run = started(lobstr, credits_per_hour=60, ends_after=7200)
    clock.advance(3600)
    lobstr.run_out_of_credits()
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["done_reason"], seen["is_done"]) == ("paused", "no_credits_left", False)
    balance = await get(lobstr_api, "/v1/user/balance")
    assert (balance["available"], balance["consumed"], balance["interval"]) == (100, 100, "daily")
    clock.advance(11 * 3600 + 600)
    seen = await get(lobstr_api, f"/v1/runs/{run.id}")
    assert (seen["status"], seen["done_reason"], seen["credit_used"]) == ("running", None, 70)
    balance = await get(lobstr_api, "/v1/user/balance")
    assert (balance["consumed"], balance["reset_time"]) == (10, "2026-03-03T00:00:00Z")
    clock.advance(3600)
    assert run.truth().natural_end_usage == run.truth().usage
    assert run.usage().credits == 120


async def test_a_monthly_balance(lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock) -> None:
    lobstr.interval = "monthly"
    lobstr.credits_consumed_before = 100_000
    started(lobstr, credits_per_hour=60, ends_after=None)
    clock.advance(3600)
    balance = await get(lobstr_api, "/v1/user/balance")
    assert set(balance) == {
        *("id", "object", "name", "available", "consumed", "bonus_credit", "rollover_credit"),
        *("rollover_credit_expires_at", "interval", "used_slots", "total_available_slots", "has_unpaid_bill"),
        "reset_time",
    }
    assert (balance["available"], balance["consumed"]) == (100_000, 100_060)  # what is left may be negative
    assert (balance["used_slots"], balance["total_available_slots"]) == (1, 10)
    assert balance["reset_time"] == "2026-04-01T00:00:00Z"


async def test_started_at_may_say_when_it_was_created(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    lobstr.started_when_created = True
    squid = lobstr.add_squid("maps")
    run = (await lobstr_api.post("/v1/runs", json={"squid": squid})).json()
    assert (run["status"], run["started_at"], run["duration"]) == ("pending", "2026-03-01T12:00:00Z", 0)
    clock.advance(65)
    stats = await get(lobstr_api, f"/v1/runs/{run['id']}/stats")
    assert (stats["started_at"], stats["duration"]) == ("2026-03-01T12:00:05", "0:01:00")


async def test_runs_started_by_the_api_go_as_the_account_says(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    lobstr.new_runs = {"credits_per_hour": 3600, "ends_after": None}
    squid = lobstr.add_squid("maps", tasks=["u1", "u2"])
    started_now = (await lobstr_api.post("/v1/runs", json={"squid": squid})).json()
    clock.advance(60)
    assert (await get(lobstr_api, f"/v1/runs/{started_now['id']}"))["credit_used"] == 60
    assert (await get(lobstr_api, "/v1/runtasks", run=started_now["id"], limit=1))["total_pages"] == 2
    for body, kind in (
        ({}, "ParamsNeeded"),
        ({"squid": squid}, "RunInProgress"),
        ({"squid": "x"}, "SquidDoesNotExist"),
    ):
        refused = (await lobstr_api.post("/v1/runs", json=body)).json()["errors"]
        assert refused["type"] == kind


async def test_what_is_charged_by_squid_and_by_crawler(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    emails = EmailVerification(emails=10, lasts_s=0)
    run = started(lobstr, ends_after=60, credits_per_hour=3600, verification=emails)
    older = started(lobstr, ends_after=60, credits_per_hour=3600, credits_lost=True)
    clock.advance(100)
    assert (await lobstr_api.get(f"/v1/runs/{older.id}/credits")).status_code == 404
    path = f"/v1/squids/{run.squid.id}"
    assert (await get(lobstr_api, f"{path}/credits"))["data"][0]["credits"] == 70
    [crawler] = (await get(lobstr_api, "/v1/credits/modules", days=7))["data"]
    assert crawler["functions"] == {"base": 120, "verify_emails": 10}
    await lobstr_api.delete(path)
    for days, shown in ((0, True), (29, True), (2, False)):
        clock.advance(days * 86_400)
        rows = {row["squid"]: row for row in (await get(lobstr_api, "/v1/credits/squids"))["data"]}
        assert (run.squid.id in rows) is shown, days
    assert (await get(lobstr_api, "/v1/credits/modules", days=7))["data"] == []


async def test_a_deleted_squid_takes_its_runs_along(
    platforms: SimulatedPlatforms, lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr)
    clock.advance(60)
    assert (await lobstr_api.delete(f"/v1/squids/{run.squid.id}")).json()["deleted"] is True
    clock.advance(60)
    assert (await lobstr_api.get(f"/v1/runs/{run.id}")).status_code == 404
    assert (await lobstr_api.post(f"/v1/runs/{run.id}/abort")).status_code == 404
    [truth] = platforms.truth()
    assert (truth.status, truth.aborted_by_api, truth.usage.duration_s) == ("aborted", False, 60)


async def test_each_kind_of_call_has_its_own_rate_limit(
    lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    squid = lobstr.add_squid("maps")
    seen = [(await lobstr_api.get("/v1/results", params={"squid": squid})).status_code for _ in range(3)]
    assert seen == [200, 200, 429]
    clock.advance(1)
    assert (await lobstr_api.get("/v1/results", params={"squid": squid})).status_code == 200
    tasks = await lobstr_api.get("/v1/tasks", params={"squid": squid})
    assert tasks.headers["X-RateLimit-Limit"] == "90"


async def test_the_item_before_a_page_of_a_search_comes_again(
    platforms: SimulatedPlatforms, lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient
) -> None:
    for name in ("one", "two", "other", "one more"):
        lobstr.add_squid(name)
    platforms.faults.add(Fault("duplicate_items", match="squids"))
    page = await get(lobstr_api, "/v1/squids", name="ONE", limit=1, page=2)
    assert [item["name"] for item in page["data"]] == ["one", "one more"]


async def test_an_address_for_a_download_needs_no_token_and_leaks_none(
    platforms: SimulatedPlatforms, lobstr: LobstrAccount, lobstr_api: httpx.AsyncClient, clock: SimClock
) -> None:
    run = started(lobstr, ends_after=10, results_total=5)
    clock.advance(60)
    signed = (await get(lobstr_api, f"/v1/runs/{run.id}/download"))["s3"]
    assert lobstr.token not in signed
    async with httpx.AsyncClient() as stranger:
        assert len((await stranger.get(signed)).text.splitlines()) == 6
        assert (await stranger.get(signed.partition("?")[0])).status_code == 401
