"""`budget-watchdog ledger check`: whether the ledger is whole, and its sums are those of its records."""

from __future__ import annotations

import json
from pathlib import Path

import click

from watchdog.cli.ledgers import config_option, ledger_option, ledger_path, with_ledger


@click.group("ledger", short_help="See to the ledger itself.")
def command() -> None:
    """See to the ledger itself: `budget-watchdog ledger check`."""


@command.command("check", short_help="Is the file whole, and do its sums agree with its records?")
@config_option
@ledger_option
@click.option("--repair", is_flag=True, help="Compute the sums anew from the records.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def check(ctx: click.Context, config: Path | None, address: str | None, repair: bool, as_json: bool) -> None:
    """Read the whole ledger: is the file undamaged, can every record of an abort be read, and are the sums that the
    daemon's counters continue from those of the records?

    Exits with 1 if something differs, and says what. With --repair sums that differ are computed anew from the records;
    a running daemon takes them over at its next start. Without it nothing is altered.
    """
    path = ledger_path(config, address)
    found = with_ledger(path, lambda opened: opened.store.check(repair=repair), read_only=not repair)
    if as_json:
        click.echo(json.dumps({"ok": not found, "differs": found, "repaired": repair and bool(found)}, indent=2))
    elif found:
        click.echo("\n".join(found))
        click.echo("the sums are computed anew" if repair else "run it with --repair to compute sums anew", err=True)
    else:
        click.echo("the ledger is whole, and its sums are those of its records")
    ctx.exit(1 if found and not repair else 0)
