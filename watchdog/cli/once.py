"""`budget-watchdog once`: one sweep, then a table."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from watchdog.app import App, opened
from watchdog.cli import view
from watchdog.cli.common import Loaded, config_option, dry_run_option, load, rules_option
from watchdog.cli.recorder import Recorder
from watchdog.domain.decision import Abort, AbortState
from watchdog.domain.ports import Observer
from watchdog.ledger.location import MEMORY
from watchdog.runtime.daemon import startup_error
from watchdog.telemetry.logs import LogObserver, configure_logging


@click.command("once")
@config_option
@rules_option
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=90.0,
    show_default=True,
    help="How many seconds to wait for the proof that aborted runs have stopped.",
)
def command(config: Path | None, rules: Path | None, dry_run: bool, as_json: bool, wait: float) -> int:
    """Look once at every active run of every account, abort what breaks a rule, wait until that is proven, and show
    each run with its usage against each limit.

    With --dry-run nothing is aborted: use it to try rules. Exit code 0 if every account could be read and every abort
    was proven, 1 otherwise, 2 if a token was refused or the configuration is wrong.
    """
    loaded = load(config, rules, dry_run=dry_run)
    redactor = configure_logging(loaded.settings.log_format, level="warning")
    for secret in loaded.settings.secrets:
        redactor.add(secret)
    return asyncio.run(_once(loaded, as_json=as_json, wait_s=wait))


async def _once(loaded: Loaded, *, as_json: bool, wait_s: float) -> int:
    recorder = Recorder()
    observers: list[Observer] = [LogObserver(), recorder]
    # A dry run writes nothing, so it may run beside a daemon that has the ledger.
    settings = loaded.settings.model_copy(update={"ledger": MEMORY}) if loaded.settings.dry_run else loaded.settings
    async with opened(settings, loaded.rules, observers=observers) as app:
        app.announce()
        await app.owners.refuse_twins()
        await app.enforcer.resume()
        await asyncio.gather(*(poller.sweep() for poller in app.pollers))
        await asyncio.gather(*(poller.drain() for poller in app.pollers))
        await _await_proof(app, wait_s)
        if as_json:
            click.echo(json.dumps(_as_json(app, recorder.aborts), indent=2))
        elif all(poller.last_success_s is None for poller in app.pollers):
            click.echo("no account could be read", err=True)
        else:
            found = view.rows(app.pollers, app.rulebook, recorder.aborts)
            Console(width=None if sys.stdout.isatty() else 160).print(view.table(found))
        return _exit_code(app, recorder.aborts)


async def _await_proof(app: App, wait_s: float) -> None:
    try:
        async with asyncio.timeout(wait_s):
            await app.enforcer.drain()
    except TimeoutError:
        await app.enforcer.close(0.0)


def _as_json(app: App, aborts: list[Abort]) -> dict[str, Any]:
    return {
        "dry_run": app.settings.dry_run,
        "runs": view.plain(view.rows(app.pollers, app.rulebook, aborts)),
        "accounts": [
            {"name": poller.info.name, "error": str(poller.last_error) if poller.last_error else None}
            for poller in app.pollers
        ],
    }


def _exit_code(app: App, aborts: list[Abort]) -> int:
    errors = [poller.last_error for poller in app.pollers if poller.last_error is not None]
    if errors:
        return startup_error(errors).exit_code
    unseen = any(watched.failures for poller in app.pollers for watched in poller.watched.values())
    unproven = any(abort.state.is_open or abort.state is AbortState.FAILED for abort in aborts)
    return 1 if unseen or unproven else 0
