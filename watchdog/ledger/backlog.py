"""What waits to be written while a ledger cannot be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K")
T = TypeVar("T")


class Backlog(Generic[K, T]):
    """What waits to be written: the latest of each key."""

    def __init__(self, write: Callable[[K, T], Awaitable[None]], most: int | None = None) -> None:
        self.write = write
        self.items: dict[K, T] = {}
        self._most = most
        # Those nobody is writing at the moment, in the order in which they are tried again.
        self._idle: dict[K, None] = {}
        self._turns: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    def put(self, key: K, item: T) -> None:
        """Let it wait, in the place of an earlier one of this key; beyond `most` the oldest is forgotten."""
        self.items[key] = item
        self._idle[key] = None
        if self._most is not None and len(self.items) > self._most:
            oldest = next(iter(self.items))
            del self.items[oldest]
            self._idle.pop(oldest, None)

    def turn(self, key: K) -> asyncio.Lock:
        """One write of a key at a time, each of the latest version: an older one can never come last. Different keys do
        not wait for each other, so that the store can write them together."""
        return self._turns.setdefault(key, asyncio.Lock())

    @contextlib.contextmanager
    def taken(self, key: K) -> Iterator[T]:
        """The item while it is being written. If it, or a later version, still waits after that: last in the line, so
        that one that can never be written does not keep the others from it."""
        self._idle.pop(key, None)
        try:
            yield self.items[key]
        finally:
            if key in self.items:
                self._idle[key] = None

    def done(self, key: K, item: T) -> None:
        """This version is written; a later one that came meanwhile is not."""
        if self.items.get(key) is item:
            del self.items[key]

    def idle(self, most: int) -> list[K]:
        """Some that nobody is writing."""
        return list(islice(self._idle, most))

    def all(self) -> list[K]:
        """Every one, those that nobody is writing first."""
        return list(dict.fromkeys([*self._idle, *self.items]))
