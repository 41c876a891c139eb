"""One observer that stands for several."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from watchdog.domain.notice import Notice
from watchdog.domain.ports import Observer

_log = logging.getLogger("budget_watchdog.telemetry")


class Fanout:
    """Tells several observers. One that fails is no reason not to tell the others, nor to stop watching."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def notice(self, notice: Notice) -> None:
        """Pass it on to each."""
        for observer in self._observers:
            try:
                observer.notice(notice)
            except Exception:  # noqa: BLE001  # whoever gives notice is busy stopping runs
                _log.exception("an observer could not take a notice of kind %s", type(notice).__name__)
