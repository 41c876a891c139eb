"""What a selector can reach: the platforms that have its keys, and the accounts that are configured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from watchdog.domain.glob import glob_matches
from watchdog.domain.rule import Selector


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What rule files must know of a platform.

    `keys`: match keys that only its runs have. `graceful`: whether an abort can be told to save state first.
    `prices`: whether it says what a run costs in USD; if not, an account needs `usd_per_credit` for that.
    """

    keys: tuple[str, ...]
    graceful: bool
    prices: bool


#: Platforms that are not in this table (plug-ins) may have any key: nothing is said against them.
PLATFORMS = {
    "apify": PlatformFacts(keys=("actor", "task"), graceful=True, prices=True),
    "lobstr": PlatformFacts(keys=("squid", "crawler"), graceful=False, prices=False),
}
OWNERS = {key: platform for platform, facts in PLATFORMS.items() for key in facts.keys}


@dataclass(frozen=True, slots=True)
class AccountView:
    """What rule files must know of a configured account."""

    name: str
    platform: str
    has_usd_per_credit: bool = False

    @property
    def has_cost(self) -> bool:
        """Whether the cost of its runs in USD can be known at all."""
        facts = PLATFORMS.get(self.platform)
        return facts is None or facts.prices or self.has_usd_per_credit


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules are checked against; None where it is not known."""

    platforms: Collection[str] | None = None
    accounts: Collection[AccountView] | None = None

    def platforms_of(self, selector: Selector) -> set[str]:
        """The platforms whose runs it can mean."""
        known = set(PLATFORMS) if self.platforms is None else set(self.platforms)
        globs = selector.globs.get("platform", ("*",))
        return {name for name in known if glob_matches(globs, (name,)) and has_keys(name, selector)}

    def accounts_of(self, selector: Selector) -> list[AccountView]:
        """The configured accounts whose runs it can mean."""
        return [
            account
            for account in self.accounts or ()
            if selector.matches_account(account.platform, account.name) and has_keys(account.platform, selector)
        ]


def has_keys(platform: str, selector: Selector) -> bool:
    """Whether runs of this platform can have every key of the selector."""
    owners = {OWNERS[key] for key in selector.globs if key in OWNERS}
    return platform not in PLATFORMS or owners <= {platform}
