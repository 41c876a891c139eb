"""How the daemon does, in the words of the web room."""

from __future__ import annotations

from dataclasses import dataclass, field

from watchdog.domain.arming import Arming
from watchdog.runtime.daemon import Daemon
from watchdog.runtime.reload import Reloader
from watchdog.web import Check


@dataclass(slots=True)
class DaemonHealth:
    """The web's view of a daemon; `daemon` is None until it is made, as its web server is made before it."""

    reloader: Reloader
    daemon: Daemon | None = field(default=None)

    def alive(self) -> bool:
        """Whether it does its work at all."""
        return self.daemon is None or self.daemon.stuck() is None

    def arming(self) -> dict[str, Arming]:
        """Whether breaches lead to aborts, by account."""
        return self.daemon.arming() if self.daemon else {}

    def readiness(self) -> list[Check]:
        """Rules are always in order: while the files on disk are rejected, the last good ones guard all the same."""
        found = self.daemon.readiness() if self.daemon else []
        rules = Check("rules", ok=True, detail=self.reloader.describe())
        return [rules, *(Check(each.name, each.ok, each.detail) for each in found)]
