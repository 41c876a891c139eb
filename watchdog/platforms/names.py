"""A cache of names (Actors, tasks, squids): many at once are read from a list in pages, where the platform has one, and
what it does not show is looked up one by one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from watchdog.domain.ports import Clock
from watchdog.errors import CredentialsRefused, Gone, PlatformError

T = TypeVar("T")

#: Names are looked up again after so many seconds, or later if there are so many of them that the rate below would be
#: passed.
KEEP_S = 60.0
#: A failed look-up is tried again after so many seconds; one that was refused for good after so many.
RETRY_S = 60.0
REFUSED_RETRY_S = 600.0
#: Nobody waits longer than this for names, in seconds of the wall clock like every wait for the network. The look-ups
#: go on; until then the names are not known.
PATIENCE_S = 5.0
#: Look-ups at a time: fewer than a session lets out at once, so that slow ones leave room for looks at runs.
IN_FLIGHT_MAX = 3
#: If so many names are missing the list is read first, and a page more of it for every so many more: it takes no more
#: than a fifth of the requests that it may spare.
LIST_FROM = 5
LIST_PAGES_MAX = 10


@dataclass(frozen=True, slots=True)
class NamePage(Generic[T]):
    """A page of a list: what it names, by id; how many items it has, and how many the whole list (None: not said)."""

    named: Mapping[str, T]
    items: int
    total: int | None


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T | None
    until_s: float
    refusal: PlatformError | None = None


@dataclass(frozen=True, slots=True)
class _LookUp:
    task: asyncio.Task[None]
    awaited_until_s: float  # by the event loop's time


@dataclass(frozen=True, slots=True)
class _Listing:
    task: asyncio.Task[None]
    over: asyncio.Event  # it is done, or look-ups do not wait for it any longer


class NameCache(Generic[T]):
    """Looks a thing up once and remembers it. What cannot be looked up is None until a later try succeeds; a name
    once known is kept if it cannot be refreshed. `refresh_per_s`: so many look-ups a second may refresh names.
    `patience_s`: see `PATIENCE_S`. `list_page`: a page of the platform's list of them, from this item on; what it shows
    is taken, also of things that nobody has asked for yet, but the look-up has the last word on a name that changes."""

    def __init__(
        self,
        clock: Clock,
        look_up: Callable[[str], Awaitable[T]],
        *,
        refresh_per_s: float,
        patience_s: float = PATIENCE_S,
        list_page: Callable[[int], Awaitable[NamePage[T]]] | None = None,
    ) -> None:
        self._clock = clock
        self._look_up = look_up
        self._list_page = list_page
        self._refresh_per_s = refresh_per_s
        self._patience_s = patience_s
        self._entries: dict[str, _Entry[T]] = {}
        #: What the last list showed beside.
        self._spare: dict[str, _Entry[T]] = {}
        self._under_way: dict[str, _LookUp] = {}
        self._listing: _Listing | None = None
        self._list_from_s = -math.inf
        self._in_flight = asyncio.Semaphore(IN_FLIGHT_MAX)

    def get(self, key: str) -> T | None:
        """What is known now, without asking."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def refusal(self, key: str) -> PlatformError | None:
        """The platform's refusal to name it, if that is final: `Gone`, or `CredentialsRefused`."""
        entry = self._entries.get(key)
        return entry.refusal if entry else None

    def put(self, key: str, value: T) -> None:
        """Remember what another answer told."""
        keep_s = max(KEEP_S, len(self._entries) / self._refresh_per_s)
        self._entries[key] = _Entry(value, self._clock.monotonic() + keep_s)

    def expire(self) -> None:
        """Look everything up again when it is asked for next."""
        self._entries = {key: _Entry(each.value, -math.inf, each.refusal) for key, each in self._entries.items()}
        self._spare.clear()
        self._list_from_s = -math.inf

    async def fill(self, keys: Iterable[str], *, wait: bool = True) -> None:
        """Look up those that are missing or old, and wait a little for those that are not known at all. Failures leave
        None (or the old value)."""
        wanted = set(keys)
        self.request(wanted)
        if wait:
            await self.wait_for(wanted)

    def request(self, keys: Collection[str]) -> None:
        """The same without the waiting."""
        if self._spare:
            self._use_spare(keys)
        now = self._clock.monotonic()
        if due := [key for key in keys if self._is_due(key, now) and key not in self._under_way]:
            self._start_listing(due)
            for key in due:
                self._start(key)

    async def wait_for(self, keys: Iterable[str]) -> None:
        """Wait a little for those of these that were requested and are not known at all."""
        unknown = [key for key in keys if self._is_unknown(key)]
        now = asyncio.get_running_loop().time()
        look_ups = [each for key in unknown if (each := self._under_way.get(key)) and each.awaited_until_s > now]
        if look_ups:
            longest = max(look_up.awaited_until_s for look_up in look_ups) - now
            done, _ = await asyncio.wait([look_up.task for look_up in look_ups], timeout=longest)
            for task in done:
                task.result()

    def _use_spare(self, keys: Iterable[str]) -> None:
        """Know what was listed a moment ago of these. What is older may have changed: nobody goes by it unseen."""
        now = self._clock.monotonic()
        for key in keys:
            if (spare := self._spare.pop(key, None)) is not None and spare.until_s > now:
                self._entries[key] = spare

    def _is_due(self, key: str, now: float) -> bool:
        entry = self._entries.get(key)
        return entry is None or entry.until_s <= now

    def _is_unknown(self, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is None or (entry.value is None and entry.refusal is None)

    def _start(self, key: str) -> None:
        task = asyncio.create_task(self._refresh(key), name=f"look up {key}")
        self._under_way[key] = _LookUp(task, asyncio.get_running_loop().time() + self._patience_s)
        task.add_done_callback(lambda _: self._under_way.pop(key, None))

    async def _refresh(self, key: str) -> None:
        try:
            if self._listing is not None:
                await self._listing.over.wait()
            async with self._in_flight:
                if self._is_due(key, self._clock.monotonic()):
                    self.put(key, await self._look_up(key))
        except PlatformError as error:
            # Counted by the request itself.
            self._refused(key, error)

    def _refused(self, key: str, error: PlatformError) -> None:
        refusal = error if _is_final(error) else self.refusal(key)
        self._entries[key] = _Entry(self.get(key), self._clock.monotonic() + _pause_s(error), refusal)

    # The list

    def _start_listing(self, due: Collection[str]) -> None:
        """Read the list, if that may spare look-ups of these."""
        if self._list_page is None or len(due) < LIST_FROM or self._clock.monotonic() < self._list_from_s:
            return
        if self._listing is None or self._listing.task.done():
            over = asyncio.Event()
            task = asyncio.create_task(self._list(self._list_page, due), name="list names")
            task.add_done_callback(lambda _: over.set())
            # Half of the patience is left for the look-ups, should the list not come.
            asyncio.get_running_loop().call_later(self._patience_s / 2, over.set)
            self._listing = _Listing(task, over)

    async def _list(self, list_page: Callable[[int], Awaitable[NamePage[T]]], due: Collection[str]) -> None:
        """Take in the pages of the list, while the next one may spare enough look-ups of these. If it fails or does not
        help it is left alone for a while; that is no answer about anything that it should show."""
        self._spare.clear()
        offset, pages, missing = 0, 0, len(due)
        try:
            while pages < min(LIST_PAGES_MAX, len(due) // LIST_FROM) and missing >= LIST_FROM:
                page = await list_page(offset)
                self._take(page.named)
                pages, offset, now = pages + 1, offset + page.items, self._clock.monotonic()
                missing = sum(self._is_due(key, now) for key in due)
                if not page.items or (page.total is not None and offset >= page.total):
                    break
        except PlatformError as error:
            self._list_from_s = self._clock.monotonic() + _pause_s(error)
        else:
            if len(due) - missing <= pages:
                self._list_from_s = self._clock.monotonic() + REFUSED_RETRY_S

    def _take(self, named: Mapping[str, T]) -> None:
        until_s = self._clock.monotonic() + KEEP_S
        for key, value in named.items():
            known = self.get(key)
            if known is None or known == value:
                asked_for = key in self._entries or key in self._under_way
                (self._entries if asked_for else self._spare)[key] = _Entry(value, until_s)


def _is_final(error: PlatformError) -> bool:
    """Whether this is the answer, and another try will bring the same: the token is good for other things."""
    return isinstance(error, Gone) or (isinstance(error, CredentialsRefused) and error.token_works)


def _pause_s(error: PlatformError) -> float:
    return REFUSED_RETRY_S if _is_final(error) else RETRY_S
