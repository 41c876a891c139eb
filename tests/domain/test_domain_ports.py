"""Looks at a run by way of the port: what is asked for, and of whom."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.meter import Meter
from watchdog.domain.platform import PlatformTraits
from watchdog.domain.ports import look

pytestmark = pytest.mark.anyio


def traits(*extra: str) -> PlatformTraits:
    return PlatformTraits("any", frozenset(), 0.0, 0.0, None, extra_meters=extra)


class Older:
    """An adapter that knows of no further meters."""

    def __init__(self, *extra: str) -> None:
        self.traits = traits(*extra)
        self.asked: list[Any] = []

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Any:
        self.asked.append((run_id, urgent, progress))


class Newer(Older):
    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False, meters: Any = ()) -> Any:
        self.asked.append((run_id, urgent, progress, *meters))


async def test_an_adapter_without_extra_meters_is_asked_as_ever() -> None:
    older: Any = Older()
    await look(older, "run", frozenset(Meter), urgent=True)
    assert older.asked == [("run", True, False)]


async def test_only_extra_meters_that_are_wanted_are_asked_for() -> None:
    newer: Any = Newer("max_credits")
    await look(newer, "run", (Meter.DURATION, Meter.CREDITS), progress=True)
    await look(newer, "run", (Meter.DURATION,))
    assert newer.asked == [("run", False, True, Meter.CREDITS), ("run", False, False)]
