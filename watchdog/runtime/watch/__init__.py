"""The watch of one account: sweeps, looks at single runs, and what follows from them."""

from watchdog.runtime.watch.account import Account
from watchdog.runtime.watch.watch import Watch

__all__ = ["Account", "Watch"]
