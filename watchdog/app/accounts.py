"""An account as the settings have it, with the defaults of its platform, and the adapter that speaks for it."""

from __future__ import annotations

from watchdog.config.models import AccountSettings
from watchdog.domain.ports import Platform
from watchdog.net import Net, Token
from watchdog.platforms.registry import AccountOptions, PlatformSpec


def adapter(net: Net, account: AccountSettings, spec: PlatformSpec, token: Token) -> Platform:
    """The platform as this account sees it."""
    session = net.session(
        account.name,
        address(account, spec),
        scheme=spec.auth_scheme,
        token=token,
        requests_per_minute=requests_per_minute(account, spec),
        is_own_error=spec.is_own_error,
    )
    return spec.build(session, AccountOptions(account.usd_per_credit, account.write_reason))


def address(account: AccountSettings, spec: PlatformSpec) -> str:
    """Where its platform is."""
    return account.base_url or spec.base_url


def interval_s(account: AccountSettings, spec: PlatformSpec) -> float | None:
    """Seconds between two sweeps; None: as the rate budget allows."""
    if account.poll_interval is not None:
        return account.poll_interval.total_seconds()
    return spec.traits.default_poll_interval_s


def requests_per_minute(account: AccountSettings, spec: PlatformSpec) -> int:
    """The rate budget of this account."""
    return account.requests_per_minute or spec.requests_per_minute
