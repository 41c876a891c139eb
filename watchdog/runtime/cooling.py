"""The rest after a failed abort: a run still over its limit is not asked to stop again at once."""

from __future__ import annotations

from dataclasses import dataclass

from watchdog.domain.ports import Clock
from watchdog.domain.run import RunKey

#: After a failed abort of a run still over its limit, wait this long before the next; doubled each time. In seconds.
COOL_DOWN_S = 60.0
COOL_DOWN_MAX_S = 900.0


@dataclass(frozen=True, slots=True)
class _CoolDown:
    failures: int
    until_s: float


class Cooling:
    """The runs whose last abort has failed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: dict[RunKey, _CoolDown] = {}

    def rests(self, key: RunKey) -> bool:
        """Whether this run is to be left alone for now."""
        cooling = self._runs.get(key)
        return cooling is not None and cooling.until_s > self._clock.monotonic()

    def failed(self, key: RunKey) -> None:
        """An abort of this run has failed, once more."""
        failures = self._runs[key].failures + 1 if key in self._runs else 1
        seconds = min(COOL_DOWN_MAX_S, COOL_DOWN_S * 2 ** (failures - 1))
        self._runs[key] = _CoolDown(failures, self._clock.monotonic() + seconds)

    def forget(self, key: RunKey) -> None:
        """An abort of this run has come to its end."""
        self._runs.pop(key, None)
