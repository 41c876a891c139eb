"""`budget-watchdog once`: one sweep, then a table."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from watchdog.app import App, opened
from watchdog.cli import view
from watchdog.cli.common import Loaded, config_option, dry_run_option, judged, load, rules_option, surroundings
from watchdog.cli.ledgers import with_ledger
from watchdog.cli.proof import await_proof
from watchdog.cli.recorder import Recorder
from watchdog.cli.tables import console
from watchdog.config.models import Settings
from watchdog.domain.arming import summary
from watchdog.domain.decision import Abort, AbortState
from watchdog.domain.override import Override
from watchdog.domain.ports import Observer
from watchdog.engine.coverage import Entry
from watchdog.errors import WatchdogError
from watchdog.ledger.location import MEMORY
from watchdog.ledger.opening import path_of
from watchdog.platforms.known import known_traits
from watchdog.platforms.registry import known_platforms
from watchdog.telemetry.logs import LogObserver, configure_logging

#: With --exit-code: every account was read, every abort proven, and a run was stopped, or would be in a dry run.
STOPPED = 3


@click.command("once")
@config_option
@rules_option
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table: every limit of every run.")
@click.option("--exit-code", is_flag=True, help=f"End with {STOPPED} if a run was stopped (dry run: would be).")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=90.0,
    show_default=True,
    help="How many seconds to wait for the proof that aborted runs have stopped. The requests are sent in any case.",
)
def command(config: Path | None, rules: Path | None, dry_run: bool, as_json: bool, exit_code: bool, wait: float) -> int:
    """Look once at every active run of every account, abort what breaks a rule, wait for the proof that it stopped, and
    show each run with the limits that it is closest to. `+2` stands for two more limits, which --json shows.

    With --dry-run nothing is aborted: use it to try rules. Holds, protections and pauses count as they would for `run`.

    Exit code 0 if every account was read and every abort proven, 1 if not, 2 if a token was refused or the
    configuration is wrong. With --exit-code, 3 instead of 0 if a run was stopped, or would be but for the dry run.
    An abort that was begun before, by another command or a daemon, is finished and shown, but not counted.
    """
    loaded = load(config, rules, dry_run=dry_run)
    configure_logging(loaded.settings.log_format, redactor=loaded.redactor, level="warning")
    overrides = _overrides(loaded.settings) if loaded.settings.dry_run else []
    return asyncio.run(_once(loaded, overrides, as_json=as_json, exit_code=exit_code, wait_s=wait))


async def _once(
    loaded: Loaded,
    overrides: list[Override],
    *,
    as_json: bool,
    exit_code: bool,
    wait_s: float,
) -> int:
    recorder = Recorder()
    observers: list[Observer] = [LogObserver(platforms=known_traits()), recorder]
    # A dry run writes nothing, so it may run beside a daemon that has the ledger; `overrides` are what it needs of it.
    settings = loaded.settings.model_copy(update={"ledger": MEMORY}) if loaded.settings.dry_run else loaded.settings
    async with opened(settings, loaded.rules, observers=observers, redactor=loaded.redactor) as app:
        app.announce()
        await app.owners.refuse_twins()
        for override in overrides:
            await app.ledger.add_override(override)
        await app.rulebook.refresh(app.ledger, app.clock.now())
        earlier = frozenset(abort.id for abort in await app.ledger.open_aborts())
        await app.enforcer.resume()
        await asyncio.gather(*(watch.sweep() for watch in app.watches))
        await asyncio.gather(*(watch.drain() for watch in app.watches))
        await app.matches.look()
        await await_proof(app, wait_s)
        found = view.rows(app.status.read(), app.rulebook, recorder.aborts, earlier)
    # Only now: closing may still log, and no line of the log may stand in the table.
    if as_json:
        click.echo(json.dumps(_as_json(app, found), indent=2))
    else:
        _show(app, found)
    code = _exit_code(app, recorder.aborts)
    return STOPPED if exit_code and code == 0 and any(row.is_stopped for row in found) else code


def _overrides(settings: Settings) -> list[Override]:
    """The holds, protections and pauses in the ledger, which a dry run only reads."""
    path = path_of(settings.ledger, settings.file, os.environ)
    if path is None or not path.exists():
        return []
    try:
        return with_ledger(path, lambda ledger: ledger.store.overrides(datetime.now(UTC)), read_only=True)
    except WatchdogError as error:
        click.echo(f"warning: holds, protections and pauses cannot be read and do not count here: {error}", err=True)
        return []


def _show(app: App, found: list[view.Row]) -> None:
    unread = _unread(app)
    if len(unread) == len(app.watches):
        click.echo("no account could be read; the log above says why", err=True)
        return
    out = console()
    out.print(view.table(found), crop=False)
    for line in view.unmatched(_unmatched(app)) if found else ():
        out.print(line, soft_wrap=True, markup=False)
    if paused := {each.name: each.arming for each in app.status.accounts() if each.arming.pause is not None}:
        out.print(f"{summary(paused)}: nothing is aborted there", soft_wrap=True, markup=False)
    for line in (view.closing(found, dry_run=app.settings.dry_run), *(_missing(name) for name in unread)):
        if line:
            out.print(line, soft_wrap=True)


def _unread(app: App) -> list[str]:
    return [account.name for account in app.status.accounts() if account.swept_s is None]


def _unmatched(app: App) -> list[Entry]:
    """The entries of the rule files that match none of the runs there are, as far as those were seen."""
    return judged(app.matches.coverage.unmatched, _unread(app), surroundings(app.settings, known_platforms()))


def _missing(account: str) -> str:
    return f"account {account} could not be read: its runs are missing here"


def _as_json(app: App, found: list[view.Row]) -> dict[str, Any]:
    return {
        "dry_run": app.settings.dry_run,
        "runs": view.plain(found),
        "stopped": sum(row.is_stopped for row in found),
        "unmatched": view.plain_entries(_unmatched(app)),
        "accounts": [
            {"name": account.name, "error": str(account.error) if account.error else None}
            for account in app.status.accounts()
        ],
    }


def _exit_code(app: App, aborts: list[Abort]) -> int:
    status = app.status.read()
    errors = [account.error for account in status.accounts if account.error is not None]
    if errors:
        return max(error.exit_code for error in errors)
    unseen = any(run.failures for run in status.runs)
    unproven = any(abort.state.is_open or abort.state is AbortState.FAILED for abort in aborts)
    return 1 if unseen or unproven else 0
