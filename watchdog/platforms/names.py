"""A cache of names that are looked up one by one (Actors, tasks, squids)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from watchdog.domain.ports import Clock
from watchdog.errors import PlatformError

T = TypeVar("T")

#: Names change rarely; they are looked up again after this many seconds.
KEEP_S = 3600.0
#: A failed look-up is tried again after this many seconds.
RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T | None
    until_s: float


class NameCache(Generic[T]):
    """Looks a thing up once and remembers it. What cannot be looked up is None until a later try succeeds; a name
    once known is kept if it cannot be refreshed."""

    def __init__(self, clock: Clock, look_up: Callable[[str], Awaitable[T]]) -> None:
        self._clock = clock
        self._look_up = look_up
        self._entries: dict[str, _Entry[T]] = {}

    def get(self, key: str) -> T | None:
        """What is known now, without asking."""
        entry = self._entries.get(key)
        return entry.value if entry else None

    def put(self, key: str, value: T) -> None:
        """Remember what another answer told."""
        self._entries[key] = _Entry(value, self._clock.monotonic() + KEEP_S)

    async def fill(self, keys: Iterable[str]) -> None:
        """Look up those that are missing or old, all at once. Failures leave None (or the old value)."""
        now = self._clock.monotonic()
        stale = [key for key in set(keys) if (entry := self._entries.get(key)) is None or entry.until_s <= now]
        if stale:
            await asyncio.gather(*(self._refresh(key) for key in stale))

    async def _refresh(self, key: str) -> None:
        try:
            self.put(key, await self._look_up(key))
        except PlatformError:
            # Counted by the request itself; the source stays unresolved, which the engine treats as "not sure".
            self._entries[key] = _Entry(self.get(key), self._clock.monotonic() + RETRY_S)
