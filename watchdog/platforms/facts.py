"""The platforms that come with the program, by their facts alone: adapters take a while to load."""

from __future__ import annotations

from watchdog.domain.platform import Platforms
from watchdog.platforms import apify_facts, lobstr_facts

#: Where plug-ins say that they are there.
ENTRY_POINTS = "budget_watchdog.platforms"
OURS: Platforms = {traits.name: traits for traits in (apify_facts.TRAITS, lobstr_facts.TRAITS)}
