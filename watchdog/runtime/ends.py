"""Many runs that are to end soon: one list of ended runs shows a thousand of them, where each would take a look of its
own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from watchdog.domain.notice import Trouble
from watchdog.domain.ports import Clock, Ended, ListsEnds, Observer
from watchdog.domain.run import Snapshot
from watchdog.errors import PlatformError

#: From so many runs on that are being stopped at once, lists show their ends.
MANY = 20
#: Seconds from the first who asks to the list that answers all who have asked by then; between two lists, where at
#: least so many ask for each page of it; the longest that anybody waits for one; and after one that cannot be read.
GATHER_S = 0.25
EVERY_S = 1.0
ENOUGH = 50
LONGEST_S = 4.0
PAGE = 1_000
PAUSE_S = 30.0
#: So long after they were that many the last of them are shown by lists too.
STILL_S = 60.0


class Ends:
    """The runs of one account that are being stopped, and those who wait for the next list of ended runs."""

    def __init__(self, account: str, platform: ListsEnds, observer: Observer, clock: Clock) -> None:
        self._account = account
        self._observer = observer
        self._platform = platform
        self._clock = clock
        self._stopping: set[str] = set()
        self._waiting: dict[str, tuple[Snapshot, asyncio.Future[Ended | None]]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._not_before = float("-inf")
        self._many_at = float("-inf")

    def expect(self, abort_id: str) -> None:
        """The request of this abort was accepted: its run is to end soon."""
        self._stopping.add(abort_id)

    def forget(self, abort_id: str) -> None:
        """Nobody follows that any more."""
        self._stopping.discard(abort_id)

    @property
    def help(self) -> bool:
        """Whether lists spare looks now: many are being stopped, or were until a moment ago."""
        now_s = self._clock.monotonic()
        if len(self._stopping) >= MANY:
            self._many_at = now_s
        return now_s >= self._not_before and now_s - self._many_at <= STILL_S

    def cancel(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()

    async def of(self, last: Snapshot) -> Ended | None:
        """The run as the next list of ended runs shows it; None if that does not. `last` is the last look at it."""
        future: asyncio.Future[Ended | None] = asyncio.get_running_loop().create_future()
        _, before = self._waiting.get(last.run_id, (last, None))
        self._waiting[last.run_id] = (last, future)
        if before is not None and not before.done():
            before.set_result(None)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all(), name="ended runs")
        return await future

    async def _read_all(self) -> None:
        try:
            while self._waiting:
                now_s = self._clock.monotonic()
                await self._clock.sleep(max(GATHER_S, self._read_at + EVERY_S - now_s))
                # A thousand runs are a page, and pages are to stay a small part of all requests.
                enough = ENOUGH * (1 + len(self._stopping) // PAGE)
                while len(self._waiting) < enough and self._clock.monotonic() - self._read_at < LONGEST_S:
                    await self._clock.sleep(GATHER_S)
                waiting, self._waiting = self._waiting, {}
                await self._read(waiting)
        finally:
            self._reading = None

    async def _read(self, waiting: Mapping[str, tuple[Snapshot, asyncio.Future[Ended | None]]]) -> None:
        found: Mapping[str, Ended] = {}
        try:
            # All that come while it is read wait for the next one: what they ask about may have changed since.
            found = await self._platform.ended({run_id: last for run_id, (last, _) in waiting.items()})
            self._read_at = self._clock.monotonic()
        except PlatformError:
            self._not_before = self._clock.monotonic() + PAUSE_S  # each is looked at by itself, as where they are few
        except Exception as error:  # noqa: BLE001  # a fault here must be seen, and must not keep any stop from its proof
            self._not_before = self._clock.monotonic() + PAUSE_S
            text = f"internal error in reading ended runs: {error!r}; each is looked at by itself"
            self._observer.notice(Trouble(text, account=self._account, level="error"))
        finally:
            for run_id, (_, future) in waiting.items():
                if not future.done():
                    future.set_result(found.get(run_id))
