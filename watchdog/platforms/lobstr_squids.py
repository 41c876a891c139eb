"""The squids of a lobstr account: the list of them, and what is known of each.

Facts used: the list gives names, but need not; on some plans it shows only so many squids, and warns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from watchdog.errors import CredentialsRefused, Gone, PlatformError
from watchdog.net import Call, Priority, Session, path_segment
from watchdog.platforms.lobstr_wire import Envelope, Squid, is_last
from watchdog.platforms.names import NameCache
from watchdog.platforms.wire import count, read_items, text

PAGE_MAX = 100
#: Names come with the list; so many look-ups a second may be spent on those that it leaves out.
_REFRESH_PER_S = 0.1
_PAGES_MAX = 1000
#: So many pages may fail, after all their retries, before a sweep makes do with what it has.
_BAD_PAGES_MAX = 3


@dataclass(slots=True)
class SquidList:
    """The list of squids as it was read. `sure`: all of it."""

    squids: dict[str, Squid] = field(default_factory=dict)
    bad_items: list[str] = field(default_factory=list)
    sure: bool = True
    pages: int = 0
    bad_pages: int = 0


class LobstrSquids:
    """Reads the list of squids, and remembers what is known of each."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._named = NameCache(session.clock, self._look_up, refresh_per_s=_REFRESH_PER_S)
        self._listed: Mapping[str, Squid] = {}

    def known(self, squid_id: str) -> Squid:
        """What is known of a squid, without asking."""
        return self._named.get(squid_id) or self._listed.get(squid_id) or Squid(squid_id)

    async def find(self, squid_id: str, *, wait: bool) -> Squid:
        """A squid, looked up if it has no name yet."""
        if self._named.get(squid_id) is None:
            await self._named.fill([squid_id], wait=wait)
        return self.known(squid_id)

    async def remember(self, listed: Mapping[str, Squid], wanted: Iterable[Squid]) -> None:
        """Keep what the list gives, and look up the names that it leaves out, of squids that matter."""
        self._listed = listed
        for squid in listed.values():
            if _is_named(squid):
                self._named.put(squid.id, squid)
        await self._named.fill(squid.id for squid in wanted if not _is_named(squid))

    def expire(self) -> None:
        """The list brings the names at every sweep; those that it leaves out are looked up again."""
        self._named.expire()

    async def _look_up(self, squid_id: str) -> Squid:
        call = Call("GET", f"/v1/squids/{path_segment(squid_id)}", endpoint="squid", family="squids")
        return (await self._session.get(call, Squid))[0]

    async def read_list(self) -> SquidList:
        """Every page of the squid list. A page that cannot be read hurts only itself, unless it is the first."""
        listed = SquidList()
        for page in range(1, _PAGES_MAX + 1):
            params = {"limit": PAGE_MAX, "page": page}
            call = Call("GET", "/v1/squids", endpoint="squids", family="squids", params=params, priority=Priority.SWEEP)
            try:
                envelope, _ = await self._session.get(call, Envelope)
            except PlatformError as error:
                if page == 1 or isinstance(error, CredentialsRefused):
                    raise
                if isinstance(error, Gone):
                    break  # the list has become shorter meanwhile
                listed.bad_pages += 1
                listed.bad_items.append(f"page {page} of the squids: {error}")
                listed.sure = False
                if not error.retryable or listed.bad_pages >= _BAD_PAGES_MAX:
                    break
                continue
            if not _add(envelope, page, listed):
                _note_cut(envelope, listed)
                break
        return listed


def _add(envelope: Envelope, page: int, listed: SquidList) -> bool:
    """Take a page in; whether there is another."""
    listed.pages += 1
    known = len(listed.squids)
    squids, bad_items = read_items(envelope.data, Squid, "the list of squids")
    listed.bad_items += bad_items
    listed.squids.update((squid.id, squid) for squid in squids)
    brought_nothing = len(listed.squids) == known and bool(squids)
    return bool(envelope.data) and not brought_nothing and not is_last(envelope, page, len(listed.squids))


def _note_cut(last: Envelope, listed: SquidList) -> None:
    """Tell if the list ended before all squids were listed: on some plans lobstr shows only so many."""
    total, shown = count(last.total_results), len(listed.squids)
    warning = text(last.warning)
    if warning is None and (total is None or shown >= total or listed.bad_items):
        return
    said = f"; it says: {' '.join(warning.split())[:200]}" if warning else ""
    listed.bad_items.append(
        f"lobstr lists {shown} of {'an unknown number of' if total is None else total} squids{said}; the runs of "
        "the others are not watched; see whether the plan of this account limits lists"
    )
    listed.sure = False


def _is_named(squid: Squid) -> bool:
    return text(squid.name) is not None and text(squid.crawler_name) is not None
