"""Apify's list of runs: one page of it, and the whole of it, though it changes while it is read.

Facts used: offsets page over a changing list, newest first, so that an item may appear twice or slip between pages; a
page may be shorter than asked for, and the total may be missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from watchdog.errors import CredentialsRefused, PlatformError
from watchdog.net import UNREADABLE, Answer, Call, Priority, Session
from watchdog.platforms.apify_wire import (
    ACTIVE_STATUSES,
    PAGE_MAX,
    Listed,
    PageAnswer,
    Pair,
    RawPageAnswer,
    RunShort,
    as_documented,
)
from watchdog.platforms.wire import count, read_items

#: So many pages are asked for ahead of the one that is being read.
_AHEAD_MAX = 3
#: How often we run after items that slip between two pages.
_SLIPPED_TRIES = 3
#: 10 million runs: more pages than this is a list that never ends.
_PAGES_MAX = 10_000
#: So many pages may fail, after all their retries, before a sweep makes do with what it has.
_BAD_PAGES_MAX = 3

_decode_page = msgspec.json.Decoder(PageAnswer).decode


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was read: what can be read of it, a sentence for each item that cannot, and how many there are."""

    runs: Sequence[Listed]
    bad_items: Sequence[str]
    items: int
    total: int | None
    received_at: datetime


class RunList:
    """The list of an account's runs, page by page."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def page(
        self,
        offset: int,
        limit: int = PAGE_MAX,
        *,
        status: str = ACTIVE_STATUSES,
        priority: Priority = Priority.SWEEP,
        more: Mapping[str, str] | None = None,
    ) -> Page:
        """The runs of these statuses from `offset` on, the newest first; `more`: other parameters of the call."""
        call = Call(
            "GET",
            "/v2/actor-runs",
            endpoint="list",
            family="list",
            priority=priority,
            params={"status": status, "limit": limit, "offset": offset, "desc": "true", **(more or {})},
        )
        return await self._session.read(call, lambda answer: self._read_page(call, answer))

    def _read_page(self, call: Call, answer: Answer) -> Page:
        try:
            page = _decode_page(answer.body).data
        except UNREADABLE:
            return self._read_item_by_item(call, answer)
        if any(not run.id for run in page.items):
            return self._read_item_by_item(call, answer)
        return Page(page.items, (), len(page.items), count(page.total), answer.received_at)

    def _read_item_by_item(self, call: Call, answer: Answer) -> Page:
        """A page with something in it that is not as documented: a bad item hurts only itself, a bad figure only that
        figure."""
        page = self._session.decode(call, answer, RawPageAnswer).data
        items, bad_items = read_items(page.items, RunShort, "the list of runs")
        runs = [as_documented(run) for run in items]
        return Page(runs, bad_items, len(page.items), count(page.total), answer.received_at)


#: Reads so many items from an offset on.
Read = Callable[[int, int], Awaitable[Page]]
#: Takes runs not seen before, and when their page came.
Take = Callable[[Collection[Listed], datetime], Awaitable[None]]


class Listing:
    """How far the list has been read."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.pairs: set[Pair] = set()
        self.bad_items: list[str] = []
        self.sure = True
        self.next_offset = 0
        self.pages = 0
        self._bad_pages = 0
        self._total: int | None = None

    def add(self, page: Page) -> tuple[Collection[Listed], bool]:
        """Take a page in: what is new in it, and whether there is another. Pages get their length from the server,
        which may give less than asked for, and the total may be missing; a page that brings nothing new is the end of
        any list."""
        self._total = page.total
        new = self.add_between(page)
        self.next_offset += page.items
        self.pages += 1
        if page.total is not None and self.next_offset >= page.total:
            return new, False
        goes_on = page.items > 0 and (bool(new) or not page.runs)
        self.sure = self.sure and (goes_on or page.total is None)
        return new, goes_on

    def miss(self, offset: int, error: PlatformError) -> None:
        """Take down that a part of the list could not be read."""
        self.bad_items.append(f"the list of runs from item {offset} on: {error}")
        self.sure = False

    def add_between(self, page: Page) -> Collection[Listed]:
        """Take in items that are not the next ones of the list; those among them that are new."""
        new = {run.id: run for run in page.runs if run.id not in self.ids}
        self.ids |= new.keys()
        self.pairs |= {(run.act_id, run.actor_task_id) for run in new.values()}
        self.bad_items.extend(page.bad_items)
        return new.values()

    def shrunk_by(self, page: Page) -> int:
        """By how many items the list has become shorter between the last page and this one. Items of this page have
        moved up by no more than that, since new runs are listed first."""
        if self._total is None or page.total is None:
            return 0
        return min(max(0, self._total - page.total), self.next_offset, PAGE_MAX)

    def skip(self, error: PlatformError) -> bool:
        """A page that cannot be read hurts only itself; whether to try the next one. Not if nothing was read before:
        then the list is what cannot be read."""
        self._bad_pages += 1
        if self.next_offset == 0 or isinstance(error, CredentialsRefused):
            raise error
        self.miss(self.next_offset, error)
        self.next_offset += PAGE_MAX
        return error.retryable and self._bad_pages < _BAD_PAGES_MAX


class _Pages:
    """The pages of the list by offset, with the next ones asked for ahead: over a real network a hundred pages one
    after the other take longer than the pause between two sweeps."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._ahead: dict[int, asyncio.Task[Page]] = {}

    async def at(self, offset: int) -> Page:
        """The page from this item on."""
        page = await (self._ahead.pop(offset, None) or self._task(offset))
        # Only a page of full length says where the next ones begin.
        if page.items == PAGE_MAX and page.total is not None:
            following = range(offset + PAGE_MAX, page.total, PAGE_MAX)[:_AHEAD_MAX]
            self._ahead |= {each: self._task(each) for each in following if each not in self._ahead}
        return page

    def _task(self, offset: int) -> asyncio.Task[Page]:
        return asyncio.ensure_future(self._read(offset, PAGE_MAX))

    async def close(self) -> None:
        """Let go of what nobody came for."""
        for task in self._ahead.values():
            task.cancel()
        await asyncio.gather(*self._ahead.values(), return_exceptions=True)


async def read_all(read: Read, take: Take) -> Listing:
    """Read the whole list: `take` gets every run once. Raises what the first page raises, and `CredentialsRefused`."""
    listing, pages = Listing(), _Pages(read)
    try:
        for _ in range(_PAGES_MAX):
            try:
                page = await pages.at(listing.next_offset)
            except PlatformError as error:
                more = listing.skip(error)
            else:
                offset, shrunk_by = listing.next_offset, listing.shrunk_by(page)
                runs, more = listing.add(page)
                await take(runs, page.received_at)
                if shrunk_by:
                    await _read_slipped(listing, read, take, offset, shrunk_by, page.total or 0)
            if not more:
                break
    finally:
        await pages.close()
    return listing


async def _read_slipped(listing: Listing, read: Read, take: Take, offset: int, count: int, total: int) -> None:
    """What moved past us between the last page and the one from `offset` on, when the list had `total` items: runs that
    end while we read make the list `count` shorter, and what follows them moves up, onto pages that we have read
    already; and goes on moving until this is answered."""
    for _ in range(_SLIPPED_TRIES):
        start = max(0, offset - 2 * count)
        try:
            page = await read(start, min(offset - start, PAGE_MAX))
        except PlatformError as error:
            listing.miss(start, error)
            break
        await take(listing.add_between(page), page.received_at)
        moved = count + max(0, total - (total if page.total is None else page.total))
        if moved <= offset - start or start == 0:
            break
        count = moved
