"""The composition root: the only place where adapters meet the runtime."""

from watchdog.app.composition import App, build
from watchdog.app.opening import opened

__all__ = ["App", "build", "opened"]
