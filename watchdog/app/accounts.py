"""An account as the settings have it, with the defaults of its platform, and the adapter that speaks for it."""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.config.models import AccountSettings
from watchdog.domain.notice import AccountInfo
from watchdog.domain.ports import Platform
from watchdog.net import Net, Token
from watchdog.platforms.registry import AccountOptions, PlatformSpec


def adapter(net: Net, account: AccountSettings, spec: PlatformSpec, token: Token) -> Platform:
    """The platform as this account sees it."""
    session = net.session(
        account.name,
        _address(account, spec),
        scheme=spec.auth_scheme,
        token=token,
        requests_per_minute=requests_per_minute(account, spec),
        is_own_error=spec.is_own_error,
    )
    return spec.build(session, AccountOptions(account.usd_per_credit, account.write_reason))


def _address(account: AccountSettings, spec: PlatformSpec) -> str:
    return account.base_url or spec.base_url


def info_of(name: str, platform: Platform, specs: Mapping[str, PlatformSpec]) -> AccountInfo:
    """What observers are told of the account that this adapter speaks for."""
    traits = platform.traits
    return AccountInfo(traits.name, name, traits.modes, specs[traits.name].traits.match_keys or None)


def place_of(account: AccountSettings, spec: PlatformSpec) -> tuple[str, str]:
    """Where it is: platform and address. Only two accounts in one place can be of one owner."""
    return account.platform, _address(account, spec).rstrip("/")


def interval_s(account: AccountSettings, spec: PlatformSpec) -> float | None:
    """Seconds between two sweeps; None: as the rate budget allows."""
    if account.poll_interval is not None:
        return account.poll_interval.total_seconds()
    return spec.traits.default_poll_interval_s


def requests_per_minute(account: AccountSettings, spec: PlatformSpec) -> int:
    """The rate budget of this account."""
    return account.requests_per_minute or spec.requests_per_minute
