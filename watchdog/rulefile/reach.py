"""What a selector can reach: the platforms that have its keys, and the accounts that are configured."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from watchdog.domain.glob import glob_matches
from watchdog.domain.rule import RUN_KEYS, Selector


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """What rule files must know of a platform.

    `keys`: match keys that only its runs have. `graceful`: whether an abort can be told to save state first.
    `prices`: whether it says what a run costs in USD; if not, an account needs `usd_per_credit` for that.
    `origins`: the origins that its runs have been seen to have; there may be more. `run_id`: what its run ids look
    like, as a regular expression.
    """

    keys: tuple[str, ...]
    graceful: bool
    prices: bool
    origins: tuple[str, ...]
    run_id: str


#: Of platforms that are not in this table (plug-ins) only the match keys are known, if that.
#: Apify's ids and origins: APIFY_ID_REGEX and META_ORIGINS of @apify/consts 3, and what runs were seen with.
PLATFORMS = {
    "apify": PlatformFacts(
        keys=("actor", "task"),
        graceful=True,
        prices=True,
        origins=(
            *("DEVELOPMENT", "WEB", "API", "SCHEDULER", "TEST", "WEBHOOK", "ACTOR", "CLI", "STANDBY", "CI", "MCP"),
            "APIFY_AI",
        ),
        run_id="[A-Za-z0-9]{17}",
    ),
    "lobstr": PlatformFacts(
        keys=("squid", "crawler"), graceful=False, prices=False, origins=("user",), run_id="[0-9a-f]{32}"
    ),
}
_OWN_KEYS = {name: facts.keys for name, facts in PLATFORMS.items()}


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
    """What the rules are checked against; None where it is not known.

    `match_keys`: the keys that only runs of a platform have, for those that say so; a platform that is not in it may
    have any key.
    """

    platforms: Collection[str] | None = None
    accounts: Collection[AccountView] | None = None
    match_keys: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def own_keys(self) -> Mapping[str, Collection[str]]:
        """The keys of each platform that says which it has."""
        return {**_OWN_KEYS, **self.match_keys}

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
        known = set(PLATFORMS) if self.platforms is None else set(self.platforms)
        globs = selector.globs.get("platform", ("*",))
        return {name for name in known if glob_matches(globs, (name,)) and self.has_keys(name, selector)}

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
