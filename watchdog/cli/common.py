"""What several verbs share: their options, and loading settings with rules so that all mistakes show at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from watchdog.app.rules import account_views, read_rules, traits_in
from watchdog.cli.clash import refuse_clash
from watchdog.config import Configuration, find_config, variable_of
from watchdog.config.loader import load_settings
from watchdog.config.models import Settings
from watchdog.config.renewal import teach
from watchdog.engine.coverage import Entry
from watchdog.errors import ConfigurationError, Problem
from watchdog.ledger.location import AUTO
from watchdog.ledger.opening import path_of
from watchdog.platforms.registry import PlatformSpec, known_platforms
from watchdog.redaction import Redactor
from watchdog.rulefile import LoadedRules, load_rules
from watchdog.rulefile.reach import Surroundings

F = TypeVar("F", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="Configuration file. Default: ./budget-watchdog.yaml, else /etc/budget-watchdog/config.yaml, else only the "
    "environment (APIFY_TOKEN, LOBSTR_TOKEN, BUDGET_WATCHDOG_...).",
)
rules_option = click.option(
    "--rules",
    "-r",
    type=click.Path(path_type=Path),
    help="Rule file, or folder of *.yaml, instead of the configured one.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Observe and report; abort nothing.")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that is in order."""

    settings: Settings
    rules: LoadedRules
    redactor: Redactor
    config: Configuration


def load(config: Path | None, rules: Path | None, *, dry_run: bool = False) -> Loaded:
    """Read settings and rules. Raises one ConfigurationError with the mistakes of both."""
    refuse_clash()
    specs = known_platforms()
    environ = dict(os.environ)
    if rules is not None:
        environ[variable_of("rules")] = str(rules)
    if dry_run:
        environ[variable_of("dry_run")] = "true"
    found = find_config(config, environ)
    try:
        settings = load_settings(found, platforms=traits_in(specs))
    except ConfigurationError as error:
        others = (*_problems_of(_rules_path(found), specs), *_problems_of_ledger(found))
        raise ConfigurationError([*error.problems, *others]) from None
    if wrong := _problems_of_ledger(found):
        raise ConfigurationError([*wrong, *_problems_of(settings.rules, specs)])
    redactor = redactor_here()
    teach(redactor, settings)
    return Loaded(settings, read_rules(settings, specs), redactor, found)


def redactor_here() -> Redactor:
    """The one that all output of this process passes (`watchdog.cli.main`)."""
    context = click.get_current_context(silent=True)
    return Redactor() if context is None else context.ensure_object(Redactor)


def surroundings(settings: Settings, specs: Mapping[str, PlatformSpec]) -> Surroundings:
    """What the rules of these settings are checked against."""
    return Surroundings(traits_in(specs), account_views(settings))


def judged(unmatched: Iterable[Entry], unread: Collection[str], around: Surroundings) -> list[Entry]:
    """Of the entries that match none of the runs seen, those of which that can be said: the runs of every account that
    they can mean were seen."""
    return [
        entry
        for entry in unmatched
        if not any(account.name in unread for account in around.accounts_of(entry.selector))
    ]


def _problems_of_ledger(config: Configuration) -> tuple[Problem, ...]:
    """What is wrong with the address of the ledger, without looking whether anything can be written there."""
    try:
        address = config.ledger()
    except ConfigurationError:
        return ()  # the settings have been blamed for it
    try:
        if address != AUTO:
            path_of(address, config.file, config.environ)
    except ConfigurationError as error:
        return tuple(config.problem("ledger", problem.message) for problem in error.problems)
    return ()


def _rules_path(config: Configuration) -> Path | None:
    """Where the rules are, as far as that can be told from settings with mistakes in them; None if it cannot."""
    try:
        return config.rules()
    except ConfigurationError:
        return None


def _problems_of(rules: Path | None, specs: Mapping[str, PlatformSpec]) -> tuple[Problem, ...]:
    """The mistakes in the rules, found even though the settings cannot be used. That there are none at all is said
    only once the settings are in order: it may be one of their mistakes."""
    try:
        if rules is not None and rules.exists():
            load_rules(rules, platforms=traits_in(specs))
    except ConfigurationError as error:
        return error.problems
    except OSError:
        pass
    return ()
