"""The platforms there are: ours by name, others by entry point.

A plug-in is an installed distribution with an entry point in the group `budget_watchdog.platforms` that names a
`PlatformSpec` (docs/plugins.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points

from watchdog.domain.platform import PlatformTraits
from watchdog.domain.ports import Platform
from watchdog.errors import StartupError
from watchdog.net import OwnError, Session, says_anything
from watchdog.platforms import apify, apify_facts, lobstr, lobstr_facts
from watchdog.platforms.facts import ENTRY_POINTS


@dataclass(frozen=True, slots=True)
class AccountOptions:
    """What the configuration says of an account that only its platform understands."""

    usd_per_credit: float | None = None
    write_reason: bool = True


@dataclass(frozen=True, slots=True)
class PlatformSpec:
    """A platform: its facts, how to connect to it, and how to make the adapter for one account.

    `auth_scheme` is the word before the token in the Authorization header, `requests_per_minute` the rate budget of an
    account that sets none. `match_keys` stand in the traits like the other facts; plug-ins may give them here as well.
    `is_own_error` tells from the JSON of a 401, 403 or 404 whether the platform itself says so, rather than a proxy or
    a firewall in between: only then is a token refused, or a run gone.
    """

    traits: PlatformTraits
    base_url: str
    auth_scheme: str
    requests_per_minute: int
    build: Callable[[Session, AccountOptions], Platform]
    match_keys: tuple[str, ...] = field(default=())
    is_own_error: OwnError = says_anything

    def __post_init__(self) -> None:
        if self.match_keys and not self.traits.match_keys:
            object.__setattr__(self, "traits", replace(self.traits, match_keys=self.match_keys))
        object.__setattr__(self, "match_keys", self.traits.match_keys)

    @property
    def name(self) -> str:
        """The word for it in configurations and labels."""
        return self.traits.name


APIFY = PlatformSpec(
    apify_facts.TRAITS,
    apify.BASE_URL,
    apify.AUTH_SCHEME,
    apify.REQUESTS_PER_MINUTE,
    lambda session, options: apify.Apify(session, write_reason=options.write_reason),
    is_own_error=apify.is_own_error,
)
LOBSTR = PlatformSpec(
    lobstr_facts.TRAITS,
    lobstr.BASE_URL,
    lobstr.AUTH_SCHEME,
    lobstr.REQUESTS_PER_MINUTE,
    lambda session, options: lobstr.Lobstr(session, options.usd_per_credit),
    is_own_error=lobstr.is_own_error,
)


def known_platforms() -> Mapping[str, PlatformSpec]:
    """Every platform by name; a plug-in cannot replace one of ours, nor another plug-in."""
    specs = {spec.name: spec for spec in (APIFY, LOBSTR)}
    plugins: dict[str, str] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        spec = _load(entry.name, entry.load)
        if (other := plugins.setdefault(spec.name, entry.name)) != entry.name:
            raise StartupError(
                f"two platform plug-ins, '{other}' and '{entry.name}', are called '{spec.name}'; uninstall one of them"
            )
        specs.setdefault(spec.name, spec)
    return specs


def _load(name: str, load: Callable[[], object]) -> PlatformSpec:
    try:
        spec = load()
    except Exception as error:
        raise StartupError(
            f"the platform plug-in '{name}' cannot be loaded: {error}; update or uninstall it"
        ) from error
    if not isinstance(spec, PlatformSpec):
        raise StartupError(f"the platform plug-in '{name}' is not a PlatformSpec; update or uninstall it")
    return spec
