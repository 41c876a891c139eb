"""A cache of names that are looked up one by one (Actors, tasks, squids)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
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


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T | None
    until_s: float
    refusal: PlatformError | None = None


@dataclass(frozen=True, slots=True)
class _LookUp:
    task: asyncio.Task[None]
    awaited_until_s: float  # by the event loop's time


class NameCache(Generic[T]):
    """Looks a thing up once and remembers it. What cannot be looked up is None until a later try succeeds; a name
    once known is kept if it cannot be refreshed. `refresh_per_s`: so many look-ups a second may refresh names.
    `patience_s`: see `PATIENCE_S`."""

    def __init__(
        self,
        clock: Clock,
        look_up: Callable[[str], Awaitable[T]],
        *,
        refresh_per_s: float,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._clock = clock
        self._look_up = look_up
        self._refresh_per_s = refresh_per_s
        self._patience_s = patience_s
        self._entries: dict[str, _Entry[T]] = {}
        self._under_way: dict[str, _LookUp] = {}
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
        self._entries = {key: _Entry(each.value, 0.0, each.refusal) for key, each in self._entries.items()}

    async def fill(self, keys: Iterable[str], *, wait: bool = True) -> None:
        """Look up those that are missing or old, and wait a little for those that are not known at all. Failures leave
        None (or the old value)."""
        now = self._clock.monotonic()
        wanted = set(keys)
        for key in wanted:
            if (entry := self._entries.get(key)) is None or entry.until_s <= now:
                self._start(key)
        if wait:
            await self._wait_for(key for key in wanted if self._is_unknown(key))

    def _is_unknown(self, key: str) -> bool:
        entry = self._entries.get(key)
        return entry is None or (entry.value is None and entry.refusal is None)

    async def _wait_for(self, keys: Iterable[str]) -> None:
        now = asyncio.get_running_loop().time()
        look_ups = [look_up for key in keys if (look_up := self._under_way.get(key)) and look_up.awaited_until_s > now]
        if look_ups:
            longest = max(look_up.awaited_until_s for look_up in look_ups) - now
            done, _ = await asyncio.wait([look_up.task for look_up in look_ups], timeout=longest)
            for task in done:
                task.result()

    def _start(self, key: str) -> None:
        if key not in self._under_way:
            task = asyncio.create_task(self._refresh(key), name=f"look up {key}")
            self._under_way[key] = _LookUp(task, asyncio.get_running_loop().time() + self._patience_s)
            task.add_done_callback(lambda _: self._under_way.pop(key, None))

    async def _refresh(self, key: str) -> None:
        try:
            async with self._in_flight:
                self.put(key, await self._look_up(key))
        except PlatformError as error:
            # Counted by the request itself.
            self._refused(key, error)

    def _refused(self, key: str, error: PlatformError) -> None:
        now_s = self._clock.monotonic()
        if isinstance(error, Gone) or (isinstance(error, CredentialsRefused) and error.token_works):
            # The token is good for other things: this is the answer, and another try will bring the same.
            self._entries[key] = _Entry(self.get(key), now_s + REFUSED_RETRY_S, error)
        else:
            self._entries[key] = _Entry(self.get(key), now_s + RETRY_S, self.refusal(key))
