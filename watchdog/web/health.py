"""What the web needs to know of the daemon's health, as a port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from watchdog.domain.arming import Arming


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold before the daemon can be relied on; `detail` says in a few words how it stands."""

    name: str
    ok: bool
    detail: str = ""


class Health(Protocol):
    """Asked at every probe: must be quick and must not wait."""

    def alive(self) -> bool:
        """Whether the process does its work at all; if not, it should be restarted."""
        ...

    def arming(self) -> Mapping[str, Arming]:
        """Whether breaches lead to aborts, by account."""
        ...

    def readiness(self) -> Sequence[Check]:
        """Everything that must hold for the daemon to guard every account; ready if all of it does."""
        ...
