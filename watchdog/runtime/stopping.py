"""How long it takes to stop a run, as measured: for limits that are never to be exceeded."""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.domain.decision import Abort, Mode
from watchdog.domain.ports import Platform
from watchdog.engine.forecast import Latency

#: What a request for a stop takes, and the stop after it, before any has been measured; the longest stop that is
#: believed to be one. In seconds.
REQUEST_FIRST_S = 1.0
STOP_FIRST_S = 2.0
STOP_MAX_S = 60.0


class StoppingTimes:
    """Those of each account."""

    def __init__(self, platforms: Mapping[str, Platform]) -> None:
        self._window_s = {name: each.traits.graceful_window_s for name, each in platforms.items()}
        self._request_s = {name: Latency(REQUEST_FIRST_S) for name in platforms}
        self._stop_s = {name: Latency(STOP_FIRST_S) for name in platforms}

    def of(self, account: str) -> dict[Mode, float]:
        """Seconds that a run of this account goes on spending once it is decided to stop it: the request and the stop,
        as measured, and the platform's window of a graceful one."""
        seconds = self._request_s[account].high + self._stop_s[account].high
        return {Mode.IMMEDIATE: seconds, Mode.GRACEFUL: seconds + self._window_s[account]}

    def requested(self, account: str, seconds: float) -> None:
        """A request was answered after so many seconds."""
        self._request_s[account].took(seconds)

    def stopped(self, abort: Abort) -> None:
        """A stop is proven. What an immediate one took counts by the platform's own account; clocks may differ, so
        never less than 0."""
        if abort.mode is Mode.IMMEDIATE and abort.stopped_at is not None and abort.requested_at is not None:
            seconds = (abort.stopped_at - abort.requested_at).total_seconds()
            self._stop_s[abort.account].took(min(STOP_MAX_S, max(0.0, seconds)))
