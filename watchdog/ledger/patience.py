"""How long a ledger is waited for, and who is told when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from watchdog.domain.notice import LedgerState
from watchdog.domain.ports import Clock, Observer
from watchdog.errors import LedgerError

T = TypeVar("T")

#: Nobody waits longer than this for the inner ledger, in real seconds: a disk that hangs must not hold an abort up.
PATIENCE_S = 3.0
#: Until something has been read, reads are waited for so many times as long: no abort can begin before it is known
#: which are open, and while a machine boots its disk may be slow. Who gave up then would leave all runs unwatched.
FIRST_READ_TIMES = 10
#: A failure that took at least so long is slow, and so is every time-out; after one, nothing is tried for the pause,
#: unless somebody insists.
_SLOW_S = 0.5
_PAUSE_S = 5.0


class _Pausing(LedgerError):
    """Not tried, so soon after a slow failure."""


class Patience:
    """Calls of the inner ledger: each only for so long, and a change for the worse or the better told once.

    `pending` says how many records wait in memory.
    """

    def __init__(self, observer: Observer, clock: Clock, patience_s: float, pending: Callable[[], int]) -> None:
        self._observer = observer
        self._clock = clock
        self._patience_s = patience_s
        self._has_read = False
        self._pending = pending
        self._pause_until = float("-inf")
        self._write_error: LedgerError | None = None
        self._read_error: LedgerError | None = None
        self._told_failing = False

    @property
    def is_pausing(self) -> bool:
        """Whether it has just failed slowly."""
        return _now_s() < self._pause_until

    async def patiently(self, work: Callable[[], Awaitable[T]], *, insist: bool = False, times: int = 1) -> T:
        """Do it, but wait only so long, or so many times as long. During the pause after a slow failure it is not even
        tried, unless somebody insists: a hundred aborts must not each wait for a disk that hangs."""
        started, patience_s = _now_s(), times * self._patience_s
        if self.is_pausing and not insist:
            raise _Pausing("the ledger has just failed to answer")
        try:
            async with asyncio.timeout(patience_s):
                return await work()
        except (LedgerError, TimeoutError) as error:
            if isinstance(error, TimeoutError) or _now_s() - started >= _SLOW_S:
                self._pause_until = _now_s() + _PAUSE_S
            if isinstance(error, LedgerError):
                raise
            text = f"the ledger gave no answer within {patience_s:g} s; look after the disk it is on"
            raise LedgerError(text) from None

    async def write(self, work: Callable[[], Awaitable[object]], *, insist: bool = False) -> bool:
        """Whether it was written."""
        try:
            await self.patiently(work, insist=insist)
        except _Pausing:
            return False
        except LedgerError as error:
            self.write_failed(error)
            return False
        return True

    def write_failed(self, error: LedgerError) -> None:
        """Something could not be written."""
        self._write_error = error
        self._tell()

    def written(self, *, all_of_it: bool) -> None:
        """A write worked: all is well once nothing waits."""
        if all_of_it:
            self._write_error = None
        self._tell()

    async def read(self, work: Callable[[], Awaitable[T]]) -> T:
        """Read, and tell of a change; LedgerError if it cannot be read."""
        try:
            found = await self.patiently(work, times=1 if self._has_read else FIRST_READ_TIMES)
        except _Pausing:
            raise
        except LedgerError as error:
            self._read_error = error
            self._tell()
            raise
        self._has_read, self._read_error = True, None
        self._tell()
        return found

    def _tell(self) -> None:
        """Tell of a change for the worse or the better, not of every failure."""
        error = self._write_error or self._read_error
        if (error is not None) != self._told_failing:
            self._told_failing = error is not None
            self._observer.notice(LedgerState(error, self._pending(), self._clock.now()))


def _now_s() -> float:
    """Real time: it is a disk that is waited for, whatever the clock of a demo does."""
    return asyncio.get_running_loop().time()
