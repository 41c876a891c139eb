"""The rule files, checked against the accounts of the settings and the platforms there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from watchdog.config.models import Settings
from watchdog.domain.platform import Platforms
from watchdog.platforms.registry import PlatformSpec, known_platforms
from watchdog.rulefile import AccountView, LoadedRules, RuleFiles, load_rules, parse_rules, read_rule_files


def read_rules(settings: Settings, specs: Mapping[str, PlatformSpec]) -> LoadedRules:
    """The rules that the settings name. Raises ConfigurationError with every mistake in them."""
    return load_rules(settings.rules, platforms=traits_in(specs), accounts=account_views(settings))


def traits_in(specs: Mapping[str, PlatformSpec]) -> Platforms:
    """The facts of each platform."""
    return {name: spec.traits for name, spec in specs.items()}


def account_views(settings: Settings) -> list[AccountView]:
    """What rule files must know of the accounts there are."""
    return [
        AccountView(account.name, account.platform, account.usd_per_credit is not None) for account in settings.accounts
    ]


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """The rule files as they were at one moment, with what they are checked against."""

    files: RuleFiles
    settings: Settings
    specs: Mapping[str, PlatformSpec]

    @property
    def digest(self) -> str:
        """Tells names and contents from any others."""
        return self.files.digest

    def judge(self) -> LoadedRules:
        """What they say. Raises ConfigurationError."""
        specs = self.specs
        return parse_rules(self.files, platforms=traits_in(specs), accounts=account_views(self.settings))


def read_draft(settings: Settings) -> RuleDraft:
    """The files as they are now."""
    return RuleDraft(read_rule_files(settings.rules), settings, known_platforms())
