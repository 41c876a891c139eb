"""The facts of all platforms there are, without their adapters: those, and what carries their requests, take a while to
load."""

from __future__ import annotations

from functools import lru_cache

from watchdog.domain.platform import Platforms, PlatformTraits
from watchdog.platforms import apify_facts, lobstr_facts

ENTRY_POINTS = "budget_watchdog.platforms"
#: Those that come with the program.
OURS: Platforms = {traits.name: traits for traits in (apify_facts.TRAITS, lobstr_facts.TRAITS)}


def known_traits() -> Platforms:
    """The facts of every platform by name, those of plug-ins included. Raises StartupError if a plug-in is no good."""
    from importlib.metadata import entry_points  # takes a while, and `--help` wants only ours

    if not entry_points(group=ENTRY_POINTS):
        return OURS
    from watchdog.platforms.registry import known_platforms  # only plug-ins need it

    return {name: spec.traits for name, spec in known_platforms().items()}


def traits_of(platform: str) -> PlatformTraits | None:
    """The facts of the platform of this name; None if there is none, or not any more."""
    return OURS.get(platform) or _of_plug_ins().get(platform)


@lru_cache(maxsize=1)
def _of_plug_ins() -> Platforms:
    return known_traits()
