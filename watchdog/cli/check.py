"""`budget-watchdog check`: is the configuration in order?"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import click

from watchdog.app import build
from watchdog.cli.common import Loaded, config_option, judged, load, rules_option, surroundings
from watchdog.cli.summary import Report, as_json, as_text, columns_of_output, failures
from watchdog.domain.ports import Platform
from watchdog.domain.run import Snapshot
from watchdog.engine.coverage import Coverage
from watchdog.errors import ConfigurationError, LedgerError, PlatformError
from watchdog.ledger.location import AUTO, MEMORY
from watchdog.ledger.opening import foresee, path_of
from watchdog.platforms.registry import known_platforms


@click.command("check")
@config_option
@rules_option
@click.option("--online", is_flag=True, help="Also try each token, and see which rules match any run.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON instead of text.")
def command(config: Path | None, rules: Path | None, online: bool, as_json_: bool) -> int:
    """Read the configuration and every rule file, and say what is in force, or every mistake as file:line:column.

    Nothing is written, and no run is aborted. With --online each account is asked for its active runs once.

    Exit code 0 if all is in order, 2 if not; with --online 1 if a platform cannot be reached and 2 if it refuses a
    token, or if two accounts have tokens of the same user.
    """
    loaded = load(config, rules)
    place, state, doubts = _ledger(loaded)
    seen = asyncio.run(_look(loaded)) if online else _Seen()
    around = surroundings(loaded.settings, known_platforms())
    report = Report(
        loaded=loaded,
        specs=known_platforms(),
        ledger=place,
        ledger_state=state,
        warnings=[*loaded.settings.warnings, *map(str, loaded.rules.warnings), *doubts, *seen.doubts],
        tried=seen.outcomes,
        runs=len(seen.runs) if online else None,
        unmatched=judged(seen.coverage.unmatched, seen.unread, around) if seen.coverage else (),
    )
    click.echo(json.dumps(as_json(report), indent=2) if as_json_ else as_text(report, columns_of_output()))
    errors = failures(seen.outcomes.values())
    return max((error.exit_code for error in errors), default=0)


# --- the ledger ------------------------------------------------------------------------------------------------------


def _ledger(loaded: Loaded) -> tuple[str, str, list[str]]:
    """Where the ledger will be, what becomes of it there, and what is doubtful about that. Raises ConfigurationError if
    it cannot be used."""
    address = loaded.settings.ledger
    path = path_of(address, loaded.settings.file, os.environ)
    place = MEMORY if path is None else str(path)
    try:
        state = foresee(path)
    except LedgerError as error:
        if address != AUTO or path is None:
            raise ConfigurationError([loaded.config.problem("ledger", str(error))]) from None
        return place, "not usable, so it would be kept in memory", [f"{error}; set `ledger`"]
    if address == AUTO or path is None or path.parent.exists():
        return place, state, []
    doubt = f"ledger {place}: its folder does not exist and would be made; is the path right?"
    return place, state, [doubt]


# --- the platforms ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Seen:
    """What the platforms said and showed."""

    outcomes: dict[str, str | PlatformError] = field(default_factory=dict)
    runs: list[Snapshot] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    coverage: Coverage | None = None

    @property
    def unread(self) -> list[str]:
        """The accounts whose runs were not seen."""
        return [name for name, outcome in self.outcomes.items() if isinstance(outcome, PlatformError)]


async def _look(loaded: Loaded) -> _Seen:
    """Try each token, list the active runs of each account, and compare them with the rules. Aborts nothing."""
    app = build(loaded.settings, loaded=loaded.rules, redactor=loaded.redactor)
    seen = _Seen()
    try:
        seen.doubts = await app.owners.refuse_twins()
        names = list(app.platforms)
        outcomes = await asyncio.gather(*(_try(app.platforms[name], seen.runs) for name in names))
    finally:
        await app.net.aclose()
    seen.outcomes = dict(zip(names, outcomes, strict=True))
    now = datetime.now(UTC)
    seen.coverage = Coverage(loaded.rules.rules, now)
    seen.coverage.see(seen.runs, now)
    return seen


async def _try(platform: Platform, runs: list[Snapshot]) -> str | PlatformError:
    """What the platform says of the token, or its refusal; the active runs go to `runs`."""

    def take(snapshots: Sequence[Snapshot]) -> None:
        runs.extend(snapshots)

    try:
        said = await platform.check()
        take((await platform.sweep(take)).snapshots)
    except PlatformError as error:
        return error
    return said
