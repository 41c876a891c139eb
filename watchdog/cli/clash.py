"""Whether another distribution has our import name."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from watchdog.errors import StartupError


def refuse_clash() -> None:
    """Stop if the distribution `watchdog` (file-system events) shares our package: both install `watchdog/`, and
    whichever came last has overwritten parts of the other."""
    try:
        distribution("watchdog")
    except PackageNotFoundError:
        return
    raise StartupError(
        "the package 'watchdog' (file-system events) is installed in the same environment and shares its import name "
        "with budget-watchdog: install budget-watchdog in a venv of its own, with pipx, or use the image"
    )
