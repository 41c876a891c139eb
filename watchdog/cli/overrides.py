"""The verbs that change what the daemon may do with single runs, or with all: hold, protect, resurrect, pause."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from watchdog.cli.duration import DURATION
from watchdog.cli.ledgers import config_option, ledger_option, ledger_path, plain_text, with_ledger
from watchdog.domain.override import Override, OverrideKind
from watchdog.ledger.opening import daemon_is_running

OF_RUNS = (OverrideKind.HOLD, OverrideKind.PROTECT, OverrideKind.RESURRECT)


def _name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A run or an account that can be: a hold on a mistyped nothing would hold nothing, without a word."""
    if value is not None and (not value.isprintable() or value != value.strip() or not value):
        raise click.BadParameter("must be a name, without white space around it or control characters", ctx, param)
    return value


def _text(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Words on one line; the bytes of a terminal that are no text are not kept."""
    return " ".join(value.encode("utf-8", "replace").decode().split())


def _positive(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if value <= 0:
        raise click.BadParameter("must be longer than 0s", ctx, param)
    return value


_run = click.argument("run_id", metavar="RUN", callback=_name)
_reason = click.option("--reason", default="", callback=_text, help="Why, for those who read the records later.")
_account = click.option("--account", callback=_name, help="Only on this account. Default: any.")
_for = click.option(
    "--for",
    "for_s",
    type=DURATION,
    required=True,
    metavar="DURATION",
    callback=_positive,
    help="How long: 30m, 2h, 1d.",
)


@click.command("hold", short_help="Exempt a run from aborts for a time.")
@_run
@_for
@_reason
@_account
@config_option
@ledger_option
def hold(run_id: str, for_s: float, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Exempt RUN from aborts for a time; breaches are still seen and counted (response `held`).

    A running daemon obeys at its next decision, without a restart. `release RUN` ends it sooner.
    """
    _add(OverrideKind.HOLD, config, address, run_id=run_id, account=account, reason=reason, for_s=for_s)


@click.command("protect", short_help="Exempt a run from aborts for good.")
@_run
@_reason
@_account
@config_option
@ledger_option
def protect(run_id: str, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Exempt RUN from aborts until `release RUN`. For many runs use `protect:` in the rule files."""
    _add(OverrideKind.PROTECT, config, address, run_id=run_id, account=account, reason=reason)


@click.command("resurrect", short_help="Flag a run to be resumed later: abort it gracefully.")
@_run
@_reason
@_account
@config_option
@ledger_option
def resurrect(run_id: str, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Flag RUN as one that will be resurrected later, so that an abort of it is graceful where the platform can; it
    starts nothing. `release RUN` takes the flag off."""
    _add(OverrideKind.RESURRECT, config, address, run_id=run_id, account=account, reason=reason)


@click.command("pause", short_help="Abort nothing for a time; keep observing.")
@_for
@_reason
@_account
@config_option
@ledger_option
def pause(for_s: float, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Keep observing everything and abort nothing, on all accounts or one; ends by itself, or with `resume`."""
    _add(OverrideKind.PAUSE, config, address, account=account, reason=reason, for_s=for_s)


@click.command("release", short_help="End hold, protect and resurrect of a run.")
@_run
@config_option
@ledger_option
def release(run_id: str, config: Path | None, address: str | None) -> int:
    """End every hold, protection and resurrect flag that was set by hand on RUN. Exit code 1 if there was none."""
    return _end(OF_RUNS, run_id, config, address, f"nothing holds run {run_id}")


@click.command("resume", short_help="End a pause.")
@config_option
@ledger_option
def resume(config: Path | None, address: str | None) -> int:
    """End every pause. Exit code 1 if there was none."""
    return _end((OverrideKind.PAUSE,), None, config, address, "nothing is paused")


@click.command("holds", short_help="List holds, flags and pauses in force.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@config_option
@ledger_option
def holds(as_json: bool, config: Path | None, address: str | None) -> None:
    """List every hold, protection, resurrect flag and pause that was set by hand and is in force now."""
    path = ledger_path(config, address)
    found = with_ledger(path, lambda opened: opened.store.overrides(datetime.now(UTC)), read_only=True)
    if as_json:
        click.echo(json.dumps([_plain(override) for override in found], indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 200).print(_table(found))


def _add(
    kind: OverrideKind,
    config: Path | None,
    address: str | None,
    *,
    run_id: str | None = None,
    account: str | None = None,
    reason: str = "",
    for_s: float | None = None,
) -> None:
    now = datetime.now(UTC)
    until = None if for_s is None else now + timedelta(seconds=for_s)
    override = Override(uuid.uuid4().hex, kind, now, run_id, account, until, reason)
    path = ledger_path(config, address)
    with_ledger(path, lambda opened: opened.store.add_override(override))
    words = {
        OverrideKind.HOLD: f"run {run_id} is held",
        OverrideKind.PROTECT: f"run {run_id} is protected",
        OverrideKind.RESURRECT: f"run {run_id} is flagged: it will be aborted gracefully",
        OverrideKind.PAUSE: f"paused: nothing is aborted{f' on account {account}' if account else ''}",
    }
    end = f" until {until:%Y-%m-%d %H:%M:%S} UTC" if until else ""
    click.echo(f"{words[kind]}{end}{_note(path)}")


def _end(kinds: Sequence[OverrideKind], run_id: str | None, config: Path | None, address: str | None, none: str) -> int:
    path = ledger_path(config, address)
    if path is not None and not path.exists():
        click.echo(none)  # not even a ledger; there is no need to make one
        return 1
    count = with_ledger(path, lambda opened: opened.store.end_overrides(kinds, run_id, datetime.now(UTC)))
    click.echo(f"ended {count}{_note(path)}" if count else none)
    return 0 if count else 1


def _note(path: Path | None) -> str:
    running = path is not None and daemon_is_running(path)
    return "" if running else " (no daemon is running on this ledger; it holds for the next one)"


def _table(found: Sequence[Override]) -> Table | Text:
    if not found:
        return Text("none")
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("what", "run", "account", "until (UTC)", "since (UTC)", "reason"):
        grid.add_column(title, overflow="fold")
    for each in found:
        until = f"{each.until:%Y-%m-%d %H:%M:%S}" if each.until else "released"
        since = f"{each.created_at:%Y-%m-%d %H:%M:%S}"
        grid.add_row(
            each.kind.value,
            plain_text(each.run_id or "all"),
            plain_text(each.account or "any"),
            until,
            since,
            plain_text(each.reason),
        )
    return grid


def _plain(override: Override) -> dict[str, Any]:
    return {
        "id": override.id,
        "kind": override.kind.value,
        "run": override.run_id,
        "account": override.account,
        "created_at": override.created_at.isoformat(),
        "until": override.until.isoformat() if override.until else None,
        "reason": override.reason,
    }
