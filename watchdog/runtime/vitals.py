"""Whether the parts of the daemon that must go on do go on, and how it stands, in a sentence each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from watchdog.domain.arming import summary
from watchdog.domain.ports import Clock
from watchdog.runtime.status import StatusReader
from watchdog.runtime.watch import Watch

#: What happens every so often is expected within so many of its intervals.
INTERVALS = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Of the vitals, in real seconds: the scheduler shows every `beat_s` that it lives, and what should have happened
    `stuck_s` ago does not happen any more."""

    beat_s: float = 5.0
    stuck_s: float = 30.0


PACE = Pace()


@dataclass(slots=True)
class _Part:
    """Something that is to show every `every_s` that it lives, and did last at `at_s` (real, monotonic)."""

    every_s: float
    at_s: float


class Vitals:
    """Dead man's switches for the scheduler and each account's sweeps and agenda.

    All by the monotonic clock, and apart from what turns the scheduler (`ticker.py`): should that fail, this is how
    it is noticed. A platform that does not answer stops none of them.
    """

    def __init__(self, watches: Sequence[Watch], status: StatusReader, clock: Clock, pace: Pace = PACE) -> None:
        self.pace = pace
        self._watches = watches
        self._status = status
        self._clock = clock
        self._parts: dict[str, _Part] = {}
        self._agendas: dict[str, asyncio.Task[None]] = {}

    def expect(self, part: str, every_s: float) -> None:
        """From now on this part shows every so many real seconds that it lives."""
        self._parts[part] = _Part(every_s, time.monotonic())

    def expect_sweeps(self, watch: Watch) -> None:
        """From now on this account is swept every interval."""
        self.expect(_sweeps(watch), self._clock.wall(watch.interval_s))

    def expect_agenda(self, watch: Watch, task: asyncio.Task[None]) -> None:
        """From now on this task serves the account's agenda."""
        self._agendas[watch.info.name] = task

    def beat(self, part: str) -> None:
        """This part lives."""
        self._parts[part].at_s = time.monotonic()

    def beat_sweeps(self, watch: Watch) -> None:
        """A sweep of this account was due, and somebody is seeing to it."""
        self.beat(_sweeps(watch))

    def stuck(self) -> str | None:
        """What of ours has come to a stand though it should go on; None if all goes on."""
        now_s = time.monotonic()
        for name, part in self._parts.items():
            if now_s - part.at_s > INTERVALS * part.every_s + self.pace.stuck_s:
                return f"{name}: no sign of life for {now_s - part.at_s:.0f} s"
        return next(filter(None, map(self._stuck_agenda, self._watches)), None)

    def _stuck_agenda(self, watch: Watch) -> str | None:
        name, task = f"agenda of {watch.info.name}", self._agendas.get(watch.info.name)
        if task is None:
            return None
        if task.done():
            error = None if task.cancelled() else task.exception()
            return f"{name}: has ended" + ("" if error is None else f" with {error!r}")
        late_s = self._clock.wall(watch.agenda.late_s)
        return f"{name}: a look is {late_s:.0f} s late" if late_s > self.pace.stuck_s else None

    def status(self) -> str:
        """How it stands, such as `armed; watching 37 runs on 2 accounts; 1 abort under way; last sweep 3 s ago`."""
        accounts = self._status.accounts()
        runs, aborts = sum(account.active for account in accounts), self._status.aborts_under_way
        swept = [account.swept_s for account in accounts if account.swept_s is not None]
        parts = [
            summary({account.name: account.arming for account in accounts}),
            f"watching {_count(runs, 'run')} on {_count(len(accounts), 'account')}",
            f"{_count(aborts or 'no', 'abort')} under way",
            f"last sweep {min(swept):.0f} s ago" if swept else "no sweep yet",
        ]
        if failing := [account.name for account in accounts if account.error is not None]:
            parts.append(f"cannot sweep {', '.join(failing)}")
        return "; ".join(parts)


def _sweeps(watch: Watch) -> str:
    return f"sweeps of {watch.info.name}"


def _count(number: int | str, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
