"""The facts of every platform there is. Adapters are only loaded where a plug-in is installed."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points

from watchdog.domain.platform import Platforms, PlatformTraits
from watchdog.platforms.facts import ENTRY_POINTS, OURS


def known_traits() -> Platforms:
    """The facts of every platform by name, those of plug-ins included. Raises StartupError if a plug-in is no good."""
    if not entry_points(group=ENTRY_POINTS):
        return OURS
    from watchdog.platforms.registry import known_platforms  # it brings the adapters along

    return {name: spec.traits for name, spec in known_platforms().items()}


def traits_of(platform: str) -> PlatformTraits | None:
    """The facts of the platform of this name; None if there is none, or not any more."""
    return OURS.get(platform) or _with_plug_ins().get(platform)


@lru_cache(maxsize=1)
def _with_plug_ins() -> Platforms:
    return known_traits()
