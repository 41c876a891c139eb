"""lobstr: what a sweep costs and asks, odd pages, credits into dollars, progress, names."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pytest

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Usage
from watchdog.domain.run import Progress, RunState
from watchdog.errors import CredentialsRefused, PlatformError, ServerFault
from watchdog.platforms.lobstr import Lobstr
from watchdog.platforms.names import RETRY_S
from watchdog.simulated import Fault, SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio


def squid(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"squid{number:03}",
        "name": f"Squid {number}",
        "crawler": "c1",
        "crawler_name": "Maps",
        "last_run_status": "RUNNING",
        **more,
    }


def run_of(squid_id: str, **more: Any) -> dict[str, Any]:
    return {"id": f"run-{squid_id}", "status": "running", "squid": squid_id, "credit_used": 2, "duration": 60.5, **more}


class Account:
    """A lobstr account of squids, each with a run, with habits of its own."""

    def __init__(self, reply: Any, squids: int) -> None:
        self.reply = reply
        self.squids = [squid(number) for number in range(squids)]
        self.limit = 100
        self.envelope: Any = lambda page, pages: {"total_pages": pages, "total_results": len(self.squids)}
        self.runs: dict[str, Any] = {}
        self.instead: dict[str, Any] = {}
        self.past_the_end = reply({"detail": "Invalid page."}, 404)

    def __call__(self, asked: Any) -> Any:
        key = f"{asked.path}?{asked.query.get('squid') or asked.query.get('page', '')}"
        if key in self.instead:
            return self.instead[key]
        if asked.path == "/v1/squids":
            return self._page(int(asked.query["page"]))
        if asked.path == "/v1/runs":
            squid_id = asked.query["squid"]
            return self.reply({"data": [self.runs.get(squid_id, run_of(squid_id))], "total_pages": 1})
        squid_id = asked.path.rpartition("/")[2]
        found = next((each for each in self.squids if each["id"] == squid_id), None)
        return self.reply(found) if found else self.reply({"detail": "Not found."}, 404)

    def _page(self, page: int) -> Any:
        start, pages = (page - 1) * self.limit, -(-len(self.squids) // self.limit)
        shown = self.squids[start : start + self.limit]
        if not shown and page > 1:
            return self.past_the_end
        return self.reply({"data": shown, **self.envelope(page, pages)})


@pytest.fixture
def account(shelf: Any, reply: Any) -> Any:
    def make(squids: int) -> Account:
        shelf.handler = Account(reply, squids)
        return shelf.handler

    return make


ENVELOPES: list[Any] = [
    lambda page, pages: {"total_pages": pages, "total_results": 25},
    lambda page, pages: {"total_pages": pages},
    lambda page, pages: {"next": f"http://elsewhere.invalid/?page={page + 1}" if page < pages else None},
    lambda page, pages: {"total_results": 25},
    lambda page, pages: {"total_results": "25", "next": "x" if page < pages else None},
    lambda page, pages: {"total_pages": 1, "next": "x" if page < pages else None},
    lambda page, pages: {"total_pages": pages + 5},
    lambda page, pages: {},
]


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("past_the_end", ["404", "empty"])
async def test_pages(account: Any, shelf: Any, connect: Any, reply: Any, envelope: Any, past_the_end: str) -> None:
    a = account(25)
    a.limit, a.envelope = 10, envelope
    if past_the_end == "empty":
        a.past_the_end = reply({"data": []})
    sweep = await connect("lobstr", shelf.url).sweep()
    assert len(sweep.snapshots) == 25
    assert sweep.sure
    assert not sweep.bad_items
    assert shelf.paths("/v1/squids").count("/v1/squids") <= 4


async def test_a_server_that_ignores_the_page(account: Any, shelf: Any, connect: Any, reply: Any) -> None:
    a = account(5)
    shelf.handler = lambda asked: (
        reply({"data": a.squids, "total_pages": 99}) if asked.path == "/v1/squids" else a(asked)
    )
    assert len((await connect("lobstr", shelf.url).sweep()).snapshots) == 5
    assert shelf.paths().count("/v1/squids") == 2


async def test_a_page_of_squids_that_cannot_be_read_hurts_only_itself(
    account: Any, shelf: Any, connect: Any, reply: Any
) -> None:
    a = account(30)
    a.limit = 10
    a.instead["/v1/squids?2"] = reply({}, 500)
    sweep = await connect("lobstr", shelf.url).sweep()
    assert (len(sweep.snapshots), sweep.sure) == (20, False)
    assert sweep.bad_items[0].startswith("page 2 of the squids: account 'acme': ")


async def test_one_call_for_each_active_squid(connect: Any) -> None:
    clock = SimClock(speed=0)
    simulated = SimulatedPlatforms(clock)
    lobstr = simulated.lobstr("a-token")
    squids = [lobstr.add_squid(f"Squid {number}") for number in range(250)]
    for each in squids[:40]:
        lobstr.start_run(each)
    async with simulated:
        adapter = connect("lobstr", simulated.url, token="a-token")
        for _ in range(2):
            simulated.requests.clear()
            assert len((await adapter.sweep()).snapshots) == 40
            assert Counter(request.endpoint for request in simulated.requests) == {"squids": 3, "list": 40}


@pytest.mark.parametrize("squids", [30, 110])
async def test_the_rate_limit_of_the_platform_is_never_met(connect: Any, squids: int) -> None:
    """Both sides on one clock: not one 429 in ten sweeps as fast as the budget lets them go."""
    from watchdog.runtime.clock import FastClock

    sim_clock = SimClock(speed=300)
    clock = FastClock(300, sim_clock.now())
    simulated = SimulatedPlatforms(sim_clock)
    lobstr = simulated.lobstr("a-token")
    for number in range(squids):
        lobstr.start_run(lobstr.add_squid(f"Squid {number}"), ends_after=None)
    async with simulated:
        adapter = connect("lobstr", simulated.url, token="a-token", clock=clock, per_minute=120)
        for _ in range(4):
            assert len((await adapter.sweep()).snapshots) == squids
    assert lobstr.too_many_requests_count == 0


async def test_runs_that_are_watched_cost_no_call(account: Any, shelf: Any, connect: Any) -> None:
    """They are looked at one by one; the squid list shows whether they go on, and whether a newer run has begun."""
    a = account(3)
    for each in a.squids:
        each["last_run_at"] = "2026-03-01T11:00:00Z"
    adapter = connect("lobstr", shelf.url)
    watched = {each.run_id for each in (await adapter.sweep()).snapshots}
    assert len(watched) == 3

    async def swept() -> tuple[set[str], set[str], int]:
        asked = len(shelf.paths("/v1/runs"))
        sweep = await adapter.sweep(watched=watched)
        return {each.run_id for each in sweep.snapshots}, set(sweep.unread), len(shelf.paths("/v1/runs")) - asked

    assert await swept() == (set(), watched, 0)
    # Another run of the same squid, between two sweeps.
    a.squids[0]["last_run_at"] = "2026-03-01T12:00:00Z"
    a.runs["squid000"] = run_of("squid000", id="run-new")
    assert await swept() == ({"run-new"}, watched - {"run-squid000"}, 1)
    # Over, as the list says: asked for once more, as it may be wrong.
    watched.add("run-new")
    a.squids[1]["last_run_status"] = "DONE"
    a.runs["squid001"] = run_of("squid001", status="done")
    assert await swept() == (set(), {"run-new", "run-squid002"}, 1)
    assert await swept() == (set(), {"run-new", "run-squid002"}, 0)
    # Nobody looks at it any more: the sweep reads it again.
    watched.discard("run-squid002")
    assert await swept() == ({"run-squid002"}, {"run-new"}, 1)


async def test_a_run_that_was_active_is_asked_for_once_more(account: Any, shelf: Any, connect: Any) -> None:
    a = account(2)
    adapter = connect("lobstr", shelf.url)
    await adapter.sweep()
    a.squids[0]["last_run_status"] = "DONE"
    del a.squids[1]  # slipped between two pages, or deleted
    assert {snapshot.run_id for snapshot in (await adapter.sweep()).snapshots} == {"run-squid000", "run-squid001"}
    a.runs = {f"squid00{n}": run_of(f"squid00{n}", status="done") for n in range(2)}
    assert not (await adapter.sweep()).snapshots
    shelf.asked.clear()
    await adapter.sweep()
    assert not shelf.paths("/v1/runs")


async def test_a_squid_that_cannot_be_asked_hurts_only_itself(
    account: Any, shelf: Any, connect: Any, reply: Any
) -> None:
    a = account(3)
    adapter = connect("lobstr", shelf.url)
    await adapter.sweep()
    a.instead["/v1/runs?squid001"] = reply({}, 500)
    sweep = await adapter.sweep()
    assert (len(sweep.snapshots), sweep.sure) == (2, False)
    assert "runs of squid squid001: account 'acme': " in sweep.bad_items[0]
    a.instead.clear()
    a.squids[1]["last_run_status"] = "DONE"
    assert len((await adapter.sweep()).snapshots) == 3, "asked for again, although the list says otherwise"


@pytest.mark.parametrize(("status", "kind"), [(403, CredentialsRefused), (500, ServerFault)])
async def test_when_no_run_can_be_seen_the_sweep_has_failed(
    account: Any, shelf: Any, connect: Any, reply: Any, status: int, kind: type[PlatformError]
) -> None:
    """A token that may list squids but not runs must not look like an account at rest."""
    a = account(3)
    a.instead = {f"/v1/runs?squid00{number}": reply({"detail": "No."}, status) for number in range(3)}
    with pytest.raises(kind):
        await connect("lobstr", shelf.url).sweep()


@pytest.mark.parametrize(
    ("last", "asked"),
    [
        ("RUNNING", True),
        ("paused", True),
        ("PENDING", True),
        ("HIBERNATING", True),
        ("", True),
        (7, True),
        (None, False),
        ("DONE", False),
        ("UPLOADING", False),
        ("ABORTED", False),
        ("ERROR", False),
    ],
)
async def test_which_squids_are_asked_for(account: Any, shelf: Any, connect: Any, last: Any, asked: bool) -> None:
    account(1).squids[0]["last_run_status"] = last
    await connect("lobstr", shelf.url).sweep()
    assert bool(shelf.paths("/v1/runs")) is asked


@pytest.mark.parametrize(
    ("status", "more", "state"),
    [
        ("PENDING", {}, RunState.PENDING),
        ("running", {"is_done": True}, RunState.RUNNING),
        ("paused", {}, RunState.PAUSED),
        ("uploading", {"is_done": False}, RunState.STOPPED),
        ("uploading", {"is_done": True}, RunState.STOPPED),
        ("done", {}, RunState.SUCCEEDED),
        ("DONE", {"done_reason": "ABORTED"}, RunState.ABORTED),
        ("aborted", {}, RunState.ABORTED),
        ("error", {}, RunState.FAILED),
        ("hibernating", {}, RunState.UNKNOWN),
        ("hibernating", {"is_done": "true"}, RunState.UNKNOWN),
        ("hibernating", {"is_done": True}, RunState.STOPPED),
        ("", {}, RunState.UNKNOWN),
    ],
)
async def test_states(shelf: Any, connect: Any, reply: Any, status: str, more: dict[str, Any], state: RunState) -> None:
    shelf.handler = lambda asked: reply(run_of("squid000", status=status, **more))
    assert (await connect("lobstr", shelf.url).inspect("run-squid000")).state is state


_EMAILS = {"status": "running", "progress": "20%", "verified_emails": 2, "total_emails": 10, "is_done": False}


@pytest.mark.parametrize(
    ("status", "verification", "settling"),
    [
        ("done", _EMAILS, True),
        ("aborted", _EMAILS, True),
        ("running", _EMAILS, False),
        ("done", {**_EMAILS, "is_done": True}, False),
        ("done", {"is_done": False}, False),
        ("done", {**_EMAILS, "status": None}, True),
        ("done", {**_EMAILS, "status": None, "total_emails": 0}, False),
        ("done", {**_EMAILS, "total_emails": 0}, True),
        ("done", {"status": "DONE", "total_emails": 10}, False),
        ("done", {"status": "pending"}, True),
        ("done", None, False),
        ("done", {}, False),
        ("done", "none", False),
        ("done", 7, False),
        ("uploading", None, True),
        ("uploading", {**_EMAILS, "is_done": True}, True),
    ],
)
async def test_figures_are_final_when_the_verification_of_addresses_is_done(
    shelf: Any, connect: Any, reply: Any, status: str, verification: Any, settling: bool
) -> None:
    shelf.handler = lambda asked: reply(run_of("squid000", status=status, email_verification=verification))
    assert (await connect("lobstr", shelf.url).inspect("run-squid000")).settling is settling


@pytest.mark.parametrize(
    ("credit_used", "usd_per_credit", "cost"),
    [(10, 0.002, 0.02), (0, 0.002, 0), (10, None, None), (None, 0.002, None), ("10", 0.002, None), (10, 0.0, 0)],
)
async def test_cost(
    shelf: Any, connect: Any, reply: Any, credit_used: Any, usd_per_credit: float | None, cost: float | None
) -> None:
    shelf.handler = lambda asked: reply(run_of("squid000", credit_used=credit_used))
    seen = await connect("lobstr", shelf.url, usd_per_credit=usd_per_credit).inspect("run-squid000")
    assert seen.usage.cost_usd == (None if cost is None else pytest.approx(cost))
    assert seen.usage.duration_s == 60.5, "never derived from the credits, nor they from it"


@pytest.mark.parametrize(
    ("details", "least_s", "most_s"),
    [
        ({"duration": 2400, "started_at": "2026-03-01T11:00:00Z"}, 2400.0, 3600.0),
        ({"duration": "0:40:00.500000", "started_at": "2026-03-01T11:00:00"}, 2400.5, 3600.0),
        ({"duration": 0, "started_at": "2026-03-01T11:00:00Z"}, 0.0, 3600.0),
        ({"duration": None, "started_at": "2026-03-01T11:00:00Z"}, None, 3600.0),
        ({"duration": 5, "started_at": None}, 5.0, math.inf),
        # whatever is said, it has not run for longer than since its start
        ({"duration": 90_000, "started_at": "2026-03-01T11:00:00Z"}, 3600.0, 3600.0),
        ({"duration": 5, "started_at": "2026-03-01T12:30:00Z"}, 0.0, 0.0),
        ({"duration": None, "started_at": None, "status": "pending"}, 0.0, 0.0),
        ({"duration": 40, "started_at": "2026-03-01T11:00:00Z", "status": "pending"}, 40.0, 3600.0),
        (
            {
                "duration": 50,
                "started_at": "2026-03-01T11:00:00Z",
                "ended_at": "2026-03-01T11:01:10Z",
                "status": "done",
                "is_done": True,
            },
            50.0,
            70.0,
        ),
    ],
)
async def test_running_time(
    shelf: Any, connect: Any, reply: Any, details: dict[str, Any], least_s: float | None, most_s: float
) -> None:
    """`duration` is less than the time that has passed since the start, which may hold pauses."""
    shelf.handler = lambda asked: reply(run_of("squid000", **details))
    seen = await connect("lobstr", shelf.url).inspect("run-squid000")
    assert seen.usage.duration_s == least_s
    assert seen.most.duration_s == most_s


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"status": "aborted"}, RunState.ABORTED),
        ({"status": "ABORTED"}, RunState.ABORTED),
        ({"status": None}, RunState.UNKNOWN),
        ({}, RunState.UNKNOWN),
        (b"", RunState.UNKNOWN),
        (b"  ", RunState.UNKNOWN),
    ],
)
async def test_an_answer_to_an_abort_that_does_not_show_the_run(
    shelf: Any, connect: Any, reply: Any, body: Any, state: RunState
) -> None:
    """It was accepted; a look has to tell what became of the run."""
    shelf.handler = lambda asked: reply(body)
    seen = await connect("lobstr", shelf.url).abort("run-squid000", Mode.IMMEDIATE)
    assert (seen.run_id, seen.state) == ("run-squid000", state)
    assert seen.usage == Usage()


@pytest.mark.parametrize(
    ("status", "reason", "state"),
    [
        ("success", None, RunState.SUCCEEDED),
        ("SUCCEEDED", "tasks_done", RunState.SUCCEEDED),
        ("finished", "last_page_reached", RunState.SUCCEEDED),
        ("failed", None, RunState.FAILED),
        ("Cancelled", None, RunState.ABORTED),
        ("done", "deactivated", RunState.ABORTED),
        ("done", "a new reason", RunState.SUCCEEDED),
    ],
)
async def test_other_words_for_the_end(
    shelf: Any, connect: Any, reply: Any, status: str, reason: str | None, state: RunState
) -> None:
    shelf.handler = lambda asked: reply(run_of("squid000", status=status, is_done=True, done_reason=reason))
    seen = await connect("lobstr", shelf.url).inspect("run-squid000")
    assert (seen.state, seen.end_reason) == (state, reason)


async def test_the_reason_of_a_pause_is_not_that_of_an_end(shelf: Any, connect: Any, reply: Any) -> None:
    shelf.handler = lambda asked: reply(run_of("squid000", status="paused", done_reason="no_credits_left"))
    assert (await connect("lobstr", shelf.url).inspect("run-squid000")).end_reason is None


@pytest.mark.parametrize("details", [{"warning": "Upgrade to see all"}, {"total_results": 250}])
async def test_a_squid_list_that_is_cut_short_is_told(
    shelf: Any, connect: Any, reply: Any, details: dict[str, Any]
) -> None:
    """A free plan lists only so many, whatever the total says."""
    squid = {"id": "squid000", "name": "one", "crawler": "c", "crawler_name": "maps", "last_run_status": None}
    envelope = {"data": [squid], "total_results": 1, "limit": 100, "page": 1, "total_pages": 1, "next": None}
    shelf.handler = lambda asked: reply(envelope | details)
    sweep = await connect("lobstr", shelf.url).sweep()
    assert not sweep.sure
    assert any("are not watched" in each for each in sweep.bad_items)


async def test_without_the_platforms_clock_nobody_knows_how_long_a_run_may_have_run(
    shelf: Any, connect: Any, reply: Any
) -> None:
    shelf.tells_time = False
    shelf.handler = lambda asked: reply(run_of("squid000", duration=5, started_at="2026-03-01T11:00:00Z"))
    seen = await connect("lobstr", shelf.url).inspect("run-squid000")
    assert (seen.usage.duration_s, seen.most.duration_s) == (5.0, math.inf)


async def test_the_list_shows_the_state_and_the_names_of_runs_that_it_only_names(
    shelf: Any, connect: Any, reply: Any
) -> None:
    squid = {"id": "squid000", "name": "old", "crawler": "c", "crawler_name": "maps", "last_run_status": "RUNNING"}

    def serve(asked: Any) -> Any:
        if asked.path == "/v1/squids":
            return reply({"data": [squid], "total_results": 1, "limit": 100, "page": 1, "total_pages": 1, "next": None})
        return reply({"data": [run_of("squid000")], "total_results": 1, "total_pages": 1, "next": None})

    shelf.handler = serve
    platform = connect("lobstr", shelf.url)
    [first] = (await platform.sweep()).snapshots
    squid |= {"name": "new", "last_run_status": "PAUSED"}
    glimpse = (await platform.sweep(watched=[first.run_id])).glimpses[first.run_id]
    assert glimpse.state is RunState.PAUSED
    assert "new" in glimpse.source.facets["squid"]


# --- progress ----------------------------------------------------------------------------------------------------


async def test_progress_is_read_with_the_inspection(connect: Any) -> None:
    clock = SimClock(speed=0)
    simulated = SimulatedPlatforms(clock)
    lobstr = simulated.lobstr("a-token")
    run = lobstr.start_run(lobstr.add_squid("Leads"), ends_after=3600, results_total=1000)
    clock.advance(900)
    async with simulated:
        adapter = connect("lobstr", simulated.url, token="a-token")
        seen = await adapter.inspect(run.id, urgent=True, progress=True)
        assert (seen.progress.share, seen.progress.results_total) == (0.25, 1000)
        assert (await adapter.inspect(run.id)).progress == Progress()
        simulated.faults.add(Fault("status", match="stats"))
        assert (await adapter.inspect(run.id, progress=True)).progress == Progress()
    assert Counter(request.endpoint for request in simulated.requests)["stats"] == 2


async def test_stats_that_hang_do_not_hold_up_an_abort(shelf: Any, connect: Any, reply: Any) -> None:
    shelf.handler = lambda asked: None if asked.path.endswith("/stats") else reply(run_of("squid000"))
    adapter = connect("lobstr", shelf.url, build=lambda session: Lobstr(session, stats_patience_s=0.05))
    async with asyncio.timeout(3):
        seen = await adapter.inspect("run-squid000", urgent=True, progress=True)
    assert (seen.usage.credits, seen.progress) == (2, Progress())


# --- names -------------------------------------------------------------------------------------------------------


async def test_names_that_the_list_leaves_out_are_looked_up(account: Any, shelf: Any, connect: Any, reply: Any) -> None:
    a = account(2)
    bare = {**a.squids[1]}
    del bare["crawler_name"]
    shelf.handler = lambda asked: (
        reply({"data": [a.squids[0], bare], "total_pages": 1}) if asked.path == "/v1/squids" else a(asked)
    )
    adapter = connect("lobstr", shelf.url)
    for _ in range(2):
        first, second = (await adapter.sweep()).snapshots
        assert first.source.facets["crawler"] == second.source.facets["crawler"] == ("Maps", "c1")
        assert not second.source.unresolved
    assert shelf.paths("/v1/squids/") == ["/v1/squids/squid001"]


async def test_names_that_cannot_be_looked_up_come_later(shelf: Any, connect: Any, reply: Any, clock: Any) -> None:
    there = False

    def serve(asked: Any) -> Any:
        if "/runs/" in asked.path:
            return reply(run_of("squid000"))
        return reply(squid(0)) if there else reply({}, 500)

    shelf.handler = serve
    adapter = connect("lobstr", shelf.url)
    unnamed = await adapter.inspect("run-squid000")
    assert unnamed.source.unresolved == {"squid", "crawler"}
    assert unnamed.source.facets["squid"] == ("squid000",)
    there = True
    assert (await adapter.inspect("run-squid000")).source.unresolved
    clock.advance(RETRY_S + 1)
    named = await adapter.inspect("run-squid000")
    assert not named.source.unresolved
    assert named.source.facets == {"squid": ("Squid 0", "squid000"), "crawler": ("Maps", "c1")}
    assert named.source.key != unnamed.source.key


async def test_a_run_without_its_squid_is_of_the_one_it_was_listed_under(
    account: Any, shelf: Any, connect: Any, reply: Any
) -> None:
    a = account(1)
    a.runs["squid000"] = run_of("squid000", squid=None)
    shelf.handler = lambda asked: reply(a.runs["squid000"]) if "/runs/" in asked.path else a(asked)
    adapter = connect("lobstr", shelf.url)
    assert (await adapter.inspect("run-squid000")).source.unresolved == {"squid", "crawler"}
    await adapter.sweep()
    assert (await adapter.inspect("run-squid000")).source.label == "Squid 0"


async def test_a_server_that_ignores_the_squid(account: Any, shelf: Any, connect: Any) -> None:
    """It gives the newest run of all for each: one run, of the squid it says."""
    a = account(3)
    a.runs = {f"squid00{number}": run_of("squid002") for number in range(3)}
    [seen] = (await connect("lobstr", shelf.url).sweep()).snapshots
    assert seen.source.label == "Squid 2"


async def test_there_is_no_place_for_a_reason(shelf: Any, connect: Any) -> None:
    await connect("lobstr", shelf.url).explain("run-squid000", "over its limit")
    assert not shelf.asked


async def test_an_abort_does_not_wait_for_names(shelf: Any, connect: Any, reply: Any) -> None:
    answer = reply(run_of("squid000", status="uploading", done_reason="aborted"))
    shelf.handler = lambda asked: answer if asked.method == "POST" else None
    async with asyncio.timeout(2):
        seen = await connect("lobstr", shelf.url).abort("run-squid000", Mode.GRACEFUL)
    assert (seen.state, seen.end_reason) == (RunState.STOPPED, "aborted")
