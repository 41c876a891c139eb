"""What several verbs share: their options, and loading settings with rules so that all mistakes show at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from watchdog.app import read_rules, refuse_clash
from watchdog.errors import ConfigurationError, Problem
from watchdog.platforms.registry import known_platforms
from watchdog.rulefile import LoadedRules, load_rules
from watchdog.settings import Settings, load_settings

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


def load(config: Path | None, rules: Path | None, *, dry_run: bool = False) -> Loaded:
    """Read settings and rules. Raises one ConfigurationError with the mistakes of both."""
    refuse_clash()
    specs = known_platforms()
    environ = dict(os.environ)
    if rules is not None:
        environ["BUDGET_WATCHDOG_RULES"] = str(rules)
    if dry_run:
        environ["BUDGET_WATCHDOG_DRY_RUN"] = "true"
    try:
        settings = load_settings(config, environ, platforms=tuple(specs))
    except ConfigurationError as error:
        raise ConfigurationError([*error.problems, *_problems_of(rules, tuple(specs))]) from None
    return Loaded(settings, read_rules(settings, specs))


def _problems_of(rules: Path | None, platforms: tuple[str, ...]) -> tuple[Problem, ...]:
    """The mistakes in the rules, found even though the settings cannot be used."""
    try:
        load_rules(rules or Path("rules"), platforms=platforms)
    except ConfigurationError as error:
        return error.problems if rules is not None else ()
    return ()
