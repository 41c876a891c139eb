"""The door to those who are told what happens."""

from __future__ import annotations

from typing import Protocol

from watchdog.domain.notice import Notice


class Observer(Protocol):
    """Who is told what happens: metrics, logs, the live table. Must be quick, and must not raise."""

    def notice(self, notice: Notice) -> None: ...
