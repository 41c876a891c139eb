"""Apify: many names at once come from the lists of Actors and tasks, and nothing depends on those."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from watchdog.domain.notice import Trouble
from watchdog.platforms.apify import Apify
from watchdog.platforms.names import KEEP_S, LIST_FROM, LIST_PAGES_MAX, REFUSED_RETRY_S, RETRY_S
from watchdog.simulated import SimClock, SimulatedPlatforms

pytestmark = pytest.mark.anyio

REFUSED = {"error": {"type": "insufficient-permissions", "message": "No."}}


class World:
    """An account with a run of each Actor whose number is in `running`, where `listed` Actors are listed. How a list or
    a look-up is answered may be said by `list_instead` and `instead`."""

    def __init__(self, reply: Any, count: int) -> None:
        self.reply = reply
        self.running: Iterable[int] = range(count)
        self.listed = [self.named(number) for number in range(count)]
        self.limit = 1000
        self.list_instead: Callable[[], Any] | None = None
        self.instead: dict[str, Any] = {}
        self.names: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.orders: set[Any] = set()

    def named(self, number: int) -> dict[str, Any]:
        return {"id": f"actor{number}", "name": f"name{number}", "username": "owner", "title": "A Title"}

    def __call__(self, asked: Any) -> Any:
        _, _, kind, *rest = asked.path.split("/")
        self.asked["/".join((kind, *("id" for _ in rest)))] += 1
        if kind == "actor-runs":
            items = [{"id": f"run{each}", "status": "RUNNING", "actId": f"actor{each}"} for each in self.running]
            return self.reply({"data": {"items": items, "total": len(items)}})
        if not rest:
            return self._page(asked) if self.list_instead is None else self.list_instead()
        if rest[0] in self.instead:
            return self.instead[rest[0]]
        found = self.named(int(rest[0].removeprefix("actor")))
        return self.reply({"data": found | {"name": self.names.get(rest[0], found["name"])}})

    def _page(self, asked: Any) -> Any:
        self.orders.add((asked.query.get("sortBy"), asked.query["desc"]))
        offset = int(asked.query["offset"])
        items = self.listed[offset : offset + self.limit]
        return self.reply({"data": {"items": items, "total": len(self.listed), "offset": offset}})

    def taken(self) -> dict[str, int]:
        """The requests for names since this was asked last."""
        taken = {kind: count for kind, count in self.asked.items() if kind != "actor-runs"}
        self.asked.clear()
        return taken


@pytest.fixture
def world(shelf: Any, reply: Any) -> Callable[[int], World]:
    def make(count: int) -> World:
        shelf.handler = World(reply, count)
        return shelf.handler

    return make


@pytest.fixture
def account(shelf: Any, connect: Any) -> Apify:
    adapter: Apify = connect("apify", shelf.url, build=lambda session: Apify(session, names_patience_s=2.0))
    return adapter


async def actors(account: Apify) -> dict[str, tuple[str, ...]]:
    """The names of the Actor of every run, by the run's id."""
    sweep = await account.sweep()
    return {each.run_id: each.source.facets["actor"] for each in sweep.snapshots}


def all_named(count: int, **others: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    known = {f"run{each}": (f"owner/name{each}", f"name{each}", f"actor{each}") for each in range(count)}
    return known | others


async def test_many_names_take_one_request(world: Any, account: Apify) -> None:
    w = world(200)
    assert await actors(account) == all_named(200)
    assert w.taken() == {"actors": 1}
    assert w.orders == {("stats.lastRunStartedAt", "true")}


async def test_a_few_names_are_looked_up(world: Any, account: Apify) -> None:
    w = world(LIST_FROM - 1)
    assert await actors(account) == all_named(LIST_FROM - 1)
    assert w.taken() == {"actors/id": LIST_FROM - 1}


async def test_tasks_come_from_their_list(connect: Any) -> None:
    simulated = SimulatedPlatforms(SimClock(speed=0))
    apify = simulated.apify("a-token")
    actor = apify.add_actor("compass", "places")
    for number in range(20):
        apify.start_run(task=apify.add_task(actor, f"task-{number}"))
    async with simulated:
        sweep = await connect("apify", simulated.url, token="a-token").sweep()
        assert Counter(request.endpoint for request in simulated.requests) == {"list": 1, "actor": 1, "tasks": 1}
        tasks = {run.source.facets["task"][0]: len(run.source.facets["task"]) for run in sweep.snapshots}
        assert tasks == {f"task-{number}": 2 for number in range(20)}, "the name and the id, and no owner"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429, 500, 200])
async def test_no_list(world: Any, account: Apify, reply: Any, heard: list[Any], clock: Any, status: int) -> None:
    """It is no answer about any Actor: each is looked up, nobody hears of it, and it is left alone for a while."""
    w = world(20)
    w.list_instead = lambda: reply(REFUSED if status != 200 else {"data": {"items": "none"}}, status)
    assert await actors(account) == all_named(20)
    assert w.taken() == {"actors": 1, "actors/id": 20}
    assert not (await account.sweep()).nameless
    assert w.taken() == {}
    clock.advance(KEEP_S)
    w.list_instead = None
    await account.sweep()
    await settled()
    assert w.taken() == ({"actors/id": 20} if status in (403, 404) else {"actors": 1})
    clock.advance(REFUSED_RETRY_S)
    await account.sweep()
    await settled()
    assert w.taken() == {"actors": 1}
    assert not [notice for notice in heard if isinstance(notice, Trouble)]


@pytest.mark.parametrize(
    "change",
    [
        {"name": None},
        {"name": ""},
        {"name": 7},
        {"username": None},
        {"username": ""},
        {"username": ["owner"]},
        {"id": None},
        {"id": ""},
        {"id": "another"},
    ],
    ids=str,
)
async def test_an_item_without_its_names_costs_only_itself(world: Any, account: Apify, change: dict[str, Any]) -> None:
    w = world(20)
    w.listed[3] |= change
    assert await actors(account) == all_named(20)
    assert w.taken() == {"actors": 1, "actors/id": 1}


@pytest.mark.parametrize("item", [None, 7, [], {}, "actor3"])
async def test_what_is_no_item_costs_only_itself(world: Any, account: Apify, item: Any) -> None:
    w = world(20)
    w.listed[3] = item
    assert await actors(account) == all_named(20)
    assert w.taken() == {"actors": 1, "actors/id": 1}


async def test_what_the_list_does_not_show_is_looked_up(world: Any, account: Apify, reply: Any) -> None:
    w = world(20)
    del w.listed[15:]
    w.instead["actor17"] = reply(REFUSED, 403)
    w.instead["actor18"] = reply({"error": {"type": "record-not-found", "message": "Gone."}}, 404)
    assert await actors(account) == all_named(20, run17=("actor17",), run18=("actor18",))
    assert w.taken() == {"actors": 1, "actors/id": 5}
    nameless = (await account.sweep()).nameless
    assert [sentence.split()[1] for sentence in nameless] == ["actor17", "actor18"]


async def test_who_may_list_but_not_look_up_knows_the_names(world: Any, account: Apify, reply: Any) -> None:
    w = world(20)
    w.instead = {f"actor{each}": reply(REFUSED, 403) for each in range(20)}
    assert await actors(account) == all_named(20)
    assert not (await account.sweep()).nameless


async def test_what_was_refused_may_be_listed_later(world: Any, account: Apify, reply: Any, clock: Any) -> None:
    w = world(20)
    w.instead["actor3"] = reply(REFUSED, 403)
    listed = w.listed.pop(3)
    assert await actors(account) == all_named(20, run3=("actor3",))
    w.listed.append(listed)
    clock.advance(KEEP_S)
    await account.sweep()
    await settled()
    sweep = await account.sweep()
    assert not sweep.nameless
    assert {each.run_id: each.source.facets["actor"] for each in sweep.snapshots} == all_named(20)


async def test_pages_are_read_while_they_may_help(world: Any, account: Apify) -> None:
    w = world(250)
    w.limit = 100
    assert await actors(account) == all_named(250)
    assert w.taken() == {"actors": 3}


@pytest.mark.parametrize(("wanted", "pages"), [(LIST_FROM, 1), (4 * LIST_FROM, 4), (40 * LIST_FROM, LIST_PAGES_MAX)])
async def test_a_list_takes_no_more_than_a_part_of_what_it_may_spare(
    world: Any, account: Apify, clock: Any, wanted: int, pages: int
) -> None:
    """Where none of those that are wanted is on it, it is not asked for again soon."""
    w = world(wanted)
    w.limit = 10
    w.listed = [w.named(10_000 + number) for number in range(1000)]
    assert await actors(account) == all_named(wanted)
    assert w.taken() == {"actors": pages, "actors/id": wanted}
    clock.advance(REFUSED_RETRY_S - 1)
    await account.sweep()
    await settled()
    assert w.taken() == {"actors/id": wanted}
    clock.advance(REFUSED_RETRY_S)
    await account.sweep()
    await settled()
    assert w.taken() == {"actors": pages, "actors/id": wanted}


@pytest.mark.parametrize("total", [None, 10_000, 3])
async def test_a_total_that_is_not_true(world: Any, account: Apify, reply: Any, total: int | None) -> None:
    w = world(20)
    pages = [reply({"data": {"items": w.listed[:10], "total": total}}), reply({"data": {"items": []}})]
    w.list_instead = lambda: pages.pop(0)
    assert await actors(account) == all_named(20)
    assert w.taken() == {"actors": 1 if total == 3 else 2, "actors/id": 10}


async def test_a_list_that_hangs_holds_nothing_up(world: Any, shelf: Any, connect: Any) -> None:
    """Names are there before anybody's patience is over."""
    w = world(20)
    w.list_instead = lambda: None
    adapter = connect("apify", shelf.url, build=lambda session: Apify(session, names_patience_s=0.5))
    async with asyncio.timeout(5):
        assert await actors(adapter) == all_named(20)
        w.running = range(40)
        assert await actors(adapter) == all_named(40)
    assert w.taken() == {"actors": 1, "actors/id": 40}


async def test_a_list_that_comes_late_spares_what_was_not_looked_up_yet(
    world: Any, shelf: Any, connect: Any, reply: Any
) -> None:
    """Look-ups that hang are not the end of it, either."""
    w = world(20)
    w.instead = dict.fromkeys((f"actor{each}" for each in range(20)), None)
    adapter = connect("apify", shelf.url, build=lambda session: Apify(session, names_patience_s=0.2))
    async with asyncio.timeout(5):
        assert await actors(adapter) == all_named(20)
    assert w.taken() == {"actors": 1}


async def test_names_that_nobody_asked_for_are_known_for_a_while(world: Any, account: Apify, clock: Any) -> None:
    """Then they are looked up before anybody goes by them: they may have changed."""
    w = world(50)
    w.running = range(20)
    await account.sweep()
    assert w.taken() == {"actors": 1}
    w.running = range(22)
    assert await actors(account) == all_named(22)
    assert w.taken() == {}
    clock.advance(KEEP_S)
    w.running = (30, 31)
    w.names["actor30"] = "new"
    w.names["actor31"] = "newer"
    assert {names[1] for names in (await actors(account)).values()} == {"new", "newer"}
    assert w.taken() == {"actors/id": 2}


async def test_names_are_refreshed_from_the_list(world: Any, account: Apify, clock: Any) -> None:
    w = world(200)
    await account.sweep()
    for _ in range(3):
        w.taken()
        clock.advance(KEEP_S)
        await account.sweep()
        await settled()
        assert w.taken() == {"actors": 1}
    assert await actors(account) == all_named(200)


async def test_a_name_that_changes_is_looked_up(world: Any, account: Apify, clock: Any) -> None:
    """The look-up has the last word, whatever the list goes on to say."""
    w = world(20)
    await account.sweep()
    w.taken()
    w.listed[3]["name"] = "half-way"
    w.names["actor3"] = "renamed"
    for _ in range(2):
        clock.advance(KEEP_S)
        await account.sweep()
        await settled()
        assert w.taken() == {"actors": 1, "actors/id": 1}
        assert await actors(account) == all_named(20, run3=("owner/renamed", "renamed", "actor3"))


async def test_a_reload_asks_for_the_list_again(world: Any, account: Apify, reply: Any) -> None:
    w = world(20)
    w.list_instead = lambda: reply(REFUSED, 403)
    await account.sweep()
    w.list_instead = None
    w.taken()
    account.forget_names()
    await account.sweep()
    await settled()
    assert w.taken() == {"actors": 1}


async def test_a_lists_limit_is_its_own(world: Any, account: Apify, reply: Any, clock: Any) -> None:
    """Where the platform asks to be left alone by those who list Actors, look-ups and sweeps go on."""
    w = world(20)
    w.list_instead = lambda: reply(REFUSED, 429, {"Retry-After": "120"})
    async with asyncio.timeout(5):
        assert await actors(account) == all_named(20)
    assert clock.monotonic() < RETRY_S
    assert w.taken() == {"actors": 1, "actors/id": 20}


async def settled() -> None:
    """Until look-ups that nobody waits for are over."""
    while others := [task for task in asyncio.all_tasks() if task.get_name().startswith(("look up", "list names"))]:
        await asyncio.wait(others, timeout=5)
