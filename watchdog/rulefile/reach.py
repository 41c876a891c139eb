"""What a selector can reach: the platforms that have its keys, and the accounts that are configured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from watchdog.domain.glob import glob_matches
from watchdog.domain.meter import Meter
from watchdog.domain.platform import Mode, Platforms
from watchdog.domain.rule import RUN_KEYS, Selector
from watchdog.text.hints import is_same


@dataclass(frozen=True, slots=True)
class AccountView:
    """What rule files must know of a configured account."""

    name: str
    platform: str
    has_usd_per_credit: bool = False


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules are checked against: the platforms there are, and the configured accounts (None: not known)."""

    platforms: Platforms
    accounts: Collection[AccountView] | None = None

    @property
    def own_keys(self) -> Mapping[str, Collection[str]]:
        """The keys that only runs of each platform have; runs of one that is not installed may have any."""
        return {name: traits.match_keys for name, traits in self.platforms.items()}

    def has_cost(self, account: AccountView) -> bool:
        """Whether the cost of its runs in USD can be known at all."""
        traits = self.platforms.get(account.platform)
        return traits is None or traits.prices or account.has_usd_per_credit

    def silent_on(self, meter: Meter, selector: Selector) -> tuple[set[str], set[str]]:
        """The platforms whose runs never show this meter, of those that the selector means, and all of these."""
        meant = self.platforms_meant(selector)
        told = {name: traits.meters for name, traits in self.platforms.items()}
        return {name for name in meant if (meters := told.get(name)) is not None and meter not in meters}, meant

    def can_be_graceful(self, platform: str) -> bool:
        """Whether an abort there can be told to save state first."""
        return Mode.GRACEFUL in self.platforms[platform].modes

    def own_word(self, key: str) -> str:
        """What a platform calls its credits, for a key of limits that asks for them by that name; "" for any other."""
        for traits in self.platforms.values():
            words = traits.credits
            if words is not None and any(is_same(key, each) for each in words.keys):
                return f" (they are {words.several} on {traits.title or traits.name})"
        return ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key that a match can have."""
        own = (key for keys in self.own_keys.values() for key in keys)
        return tuple(dict.fromkeys((*RUN_KEYS, *own)))

    def owners(self, key: str) -> tuple[str, ...]:
        """The platforms that say they have this key; none for a key of every run."""
        if key in RUN_KEYS:
            return ()
        return tuple(name for name, keys in self.own_keys.items() if key in keys)

    def platforms_of(self, selector: Selector) -> set[str]:
        """The platforms whose runs it can mean."""
        globs = selector.globs.get("platform", ("*",))
        return {name for name in self.platforms if glob_matches(globs, (name,)) and self.has_keys(name, selector)}

    def platforms_meant(self, selector: Selector) -> set[str]:
        """The platforms of the configured accounts whose runs it can mean; of all platforms if of none."""
        return {account.platform for account in self.accounts_of(selector)} or self.platforms_of(selector)

    def accounts_of(self, selector: Selector) -> list[AccountView]:
        """The configured accounts whose runs it can mean."""
        return [
            account
            for account in self.accounts or ()
            if selector.matches_account(account.platform, account.name) and self.has_keys(account.platform, selector)
        ]

    def has_keys(self, platform: str, selector: Selector) -> bool:
        """Whether runs of this platform can have every key of the selector."""
        own = self.own_keys.get(platform)
        return own is None or all(key in own for key in selector.globs if key not in RUN_KEYS)
