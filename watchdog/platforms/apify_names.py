"""The names of Apify's Actors and tasks, and the sources that they make.

Facts used: runs carry only ids. The lists of Actors and tasks show all that the user made or used, 1,000 a page, with
the names that the detail has; those of Actors can come by their last use. An Actor or task that is deleted answers 404
and one that is hidden may do so too; a token of limited scope gets 403. Either is Apify's last word: then only the id
is left to match by. A list that is refused says nothing of what is in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from watchdog.domain.run import Source
from watchdog.errors import Gone, PlatformError
from watchdog.net import Call, Session, path_segment
from watchdog.platforms.apify_wire import PAGE_MAX, Pair, RawPageAnswer
from watchdog.platforms.names import PATIENCE_S, NameCache, NamePage
from watchdog.platforms.wire import count, read_items, text

#: So much of the rate budget goes into looking at names again: some 5 %.
_REFRESH_PER_S = 5.0
_DENIED = (
    "rules and protections by name cannot tell whether they mean its runs, and such a protection holds aborts up; "
    "allow the token to read it, or use ids"
)
_GONE = "rules and protections by its name do not mean its runs, those by its id do"


class _Named(msgspec.Struct):
    id: str
    name: str
    username: str | None = None


class _NamedAnswer(msgspec.Struct):
    data: _Named


class _Listed(msgspec.Struct):
    """An Actor or task in a list; without a name, or of another type, it has to be looked up."""

    id: str
    name: Any = None
    username: Any = None


@dataclass(frozen=True, slots=True)
class _Looked:
    """What a look-up brought: the name, or why there will be none; neither: not known yet."""

    id: str | None
    named: _Named | None = None
    refusal: PlatformError | None = None

    @property
    def is_missing(self) -> bool:
        """Whether its names are not known, though there may be some. A run without a task simply has none."""
        return self.id is not None and self.named is None and not isinstance(self.refusal, Gone)

    @property
    def names(self) -> tuple[str, ...]:
        """The name and the id, as far as they are known."""
        if self.named is None:
            return (self.id,) if self.id else ()
        return (self.named.name, self.named.id)

    @property
    def owned_names(self) -> tuple[str, ...]:
        """The same, after `owner/name`: so Actors are called. Of a task the owner is the account's own user, so that a
        glob meant for names (`task: "jan*"`) would match every task of the user janedoe."""
        if self.named is None or not self.named.username:
            return self.names
        return (f"{self.named.username}/{self.named.name}", *self.names)


@dataclass(frozen=True, slots=True)
class _Known:
    actor: _Looked
    task: _Looked
    source: Source


class ApifyNames:
    """The source of every pair of Actor and task, with the names known of both. Equal names are the same object. Nobody
    waits longer than `patience_s` for names."""

    def __init__(self, session: Session, patience_s: float = PATIENCE_S) -> None:
        self._session = session
        bounds = {"refresh_per_s": _REFRESH_PER_S, "patience_s": patience_s}
        self._actors = NameCache(session.clock, self._look_up_actor, list_page=self._list_actors, **bounds)
        self._tasks = NameCache(session.clock, self._look_up_task, list_page=self._list_tasks, **bounds)
        self._known: dict[Pair, _Known] = {}

    async def resolve(self, pairs: Collection[Pair], *, wait: bool = True) -> None:
        """Look up the names of every Actor and task among these that is not known yet."""
        actors, tasks = {actor for actor, _ in pairs if actor}, {task for _, task in pairs if task}
        self._actors.request(actors)
        self._tasks.request(tasks)
        if wait:
            await self._actors.wait_for(actors)
            await self._tasks.wait_for(tasks)
        for pair in pairs:
            self._know(pair)

    def knows(self, pair: Pair) -> bool:
        """Whether it has been resolved before, whatever came of it."""
        return pair in self._known

    def source(self, pair: Pair) -> Source:
        """The source of a pair that has been resolved before."""
        return self._known[pair].source

    def nameless(self, pairs: Iterable[Pair]) -> tuple[str, ...]:
        """A sentence for each Actor and task among these that Apify will not name."""
        found = (sentence for pair in pairs if (known := self._known.get(pair)) for sentence in _refusals(known))
        return tuple(sorted(set(found)))

    def expire(self) -> None:
        """Look names up again when they are needed next; until then those that are known hold."""
        self._actors.expire()
        self._tasks.expire()

    def _know(self, pair: Pair) -> None:
        """Make the source of a pair, anew only if its names have changed."""
        actor_id, task_id = pair
        actor, task = _looked(self._actors, actor_id), _looked(self._tasks, task_id)
        known = self._known.get(pair)
        if known is None or (known.actor, known.task) != (actor, task):
            self._known[pair] = _Known(actor, task, _make_source(actor, task))

    async def _look_up_actor(self, actor_id: str) -> _Named:
        call = Call("GET", f"/v2/actors/{path_segment(actor_id)}", endpoint="actor", family="actor")
        return (await self._session.get(call, _NamedAnswer))[0].data

    async def _look_up_task(self, task_id: str) -> _Named:
        call = Call("GET", f"/v2/actor-tasks/{path_segment(task_id)}", endpoint="task", family="task")
        task = (await self._session.get(call, _NamedAnswer))[0].data
        return _Named(task.id, task.name)

    async def _list_actors(self, offset: int) -> NamePage[_Named]:
        params = {**_page_from(offset), "sortBy": "stats.lastRunStartedAt"}
        call = Call("GET", "/v2/actors", endpoint="actors", family="actors", params=params, attempts=1)
        return await self._read_page(call, _listed_actor)

    async def _list_tasks(self, offset: int) -> NamePage[_Named]:
        params = _page_from(offset)
        call = Call("GET", "/v2/actor-tasks", endpoint="tasks", family="tasks", params=params, attempts=1)
        return await self._read_page(call, _listed_task)

    async def _read_page(self, call: Call, named: Callable[[_Listed], _Named | None]) -> NamePage[_Named]:
        """What of a page can be read and has its names. The rest is looked up, where it shows if that is a fault."""
        page = (await self._session.get(call, RawPageAnswer))[0].data
        items, _ = read_items(page.items, _Listed, "the list of names")
        by_id = {item.id: each for item in items if (each := named(item)) is not None}
        return NamePage(by_id, len(page.items), count(page.total))


def _page_from(offset: int) -> dict[str, str | int]:
    """The last used or made ones first."""
    return {"limit": PAGE_MAX, "offset": offset, "desc": "true"}


def _listed_actor(item: _Listed) -> _Named | None:
    name, owner = text(item.name), text(item.username)
    return _Named(item.id, name, owner) if name and owner else None


def _listed_task(item: _Listed) -> _Named | None:
    name = text(item.name)
    return _Named(item.id, name) if name else None


def _looked(names: NameCache[_Named], object_id: str | None) -> _Looked:
    if object_id is None:
        return _Looked(None)
    return _Looked(object_id, names.get(object_id), names.refusal(object_id))


def _refusals(known: _Known) -> Iterable[str]:
    for word, looked in (("Actor", known.actor), ("task", known.task)):
        if looked.named is not None or looked.refusal is None:
            continue
        if isinstance(looked.refusal, Gone):
            yield f"{word} {looked.id} is deleted or hidden ({_why(looked.refusal)}): {_GONE}"
        else:
            yield f"{word} {looked.id} may not be read with this token ({_why(looked.refusal)}): {_DENIED}"


def _why(refusal: PlatformError) -> str:
    return refusal.kind or f"HTTP {refusal.status}"


def _make_source(actor: _Looked, task: _Looked) -> Source:
    by_facet = {"actor": actor, "task": task}
    # Every run has an Actor, so that one without an id is not known either.
    unresolved = {
        facet for facet, looked in by_facet.items() if looked.is_missing or (looked is actor and not actor.id)
    }
    denied = frozenset(facet for facet in unresolved if by_facet[facet].refusal is not None)
    names = {"actor": actor.owned_names, "task": task.names}
    label = names["actor"][0] if names["actor"] else "unknown Actor"
    if names["task"]:
        label += f" ({names['task'][0]})"
    all_names = "|".join((*names["actor"], "", *names["task"]))
    return Source(
        f"{all_names}|{sorted(unresolved)}{sorted(denied)}",
        label,
        names,
        frozenset(unresolved),
        id=f"{actor.id}/{task.id or ''}",
        denied=denied,
    )
