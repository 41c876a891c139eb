"""The verbs that change what the daemon may do with single runs, or with all: hold, protect, resurrect, pause."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.console import RenderableType
from rich.text import Text

from watchdog.cli.common import redactor_here
from watchdog.cli.duration import DURATION
from watchdog.cli.ledgers import config_option, ledger_option, ledger_path, with_ledger
from watchdog.cli.tables import Cell, Name, Records, Whole, console
from watchdog.cli.target import RUN, Accounts, configured_accounts, doubt_of_spelling, doubts, refuse_unknown_account
from watchdog.domain.override import Override, OverrideKind
from watchdog.domain.ports import CheckedOverrides, OverrideLedger
from watchdog.ledger.opening import daemon_is_running
from watchdog.text import escaped

OF_RUNS = (OverrideKind.HOLD, OverrideKind.PROTECT, OverrideKind.RESURRECT)


def _name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The name of an account that can be one."""
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


_run = click.argument("run_id", metavar="RUN", type=RUN)
_reason = click.option("--reason", default="", callback=_text, help="Why, for those who read the records later.")
_account = click.option("--account", callback=_name, help="Only on this account. Default: on every account.")
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
    """Exempt RUN from aborts for a time. Breaches are still seen and counted (response `held`).

    RUN is the id of a run, or the address of its page in Apify Console or the lobstr.io app. A running daemon obeys at
    its next decision, without a restart. `release RUN` ends the hold sooner.
    """
    _add(OverrideKind.HOLD, config, address, run_id=run_id, account=account, reason=reason, for_s=for_s)


@click.command("protect", short_help="Exempt a run from aborts for good.")
@_run
@_reason
@_account
@config_option
@ledger_option
def protect(run_id: str, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Exempt RUN, an id or the address of the run's page, from aborts until `release RUN`.

    To protect many runs write `protect:` into a rule file.
    """
    _add(OverrideKind.PROTECT, config, address, run_id=run_id, account=account, reason=reason)


@click.command("resurrect", short_help="Flag a run to be resumed later: abort it gracefully.")
@_run
@_reason
@_account
@config_option
@ledger_option
def resurrect(run_id: str, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Flag RUN, an id or the address of the run's page, as one that you will resurrect later: if it must be aborted, it
    is aborted gracefully where the platform can.

    This starts nothing. `release RUN` takes the flag off.
    """
    _add(OverrideKind.RESURRECT, config, address, run_id=run_id, account=account, reason=reason)


@click.command("pause", short_help="Abort nothing for a time; keep observing.")
@_for
@_reason
@_account
@config_option
@ledger_option
def pause(for_s: float, reason: str, account: str | None, config: Path | None, address: str | None) -> None:
    """Abort nothing for a time, on all accounts or one; keep observing and counting. `resume` ends the pause sooner."""
    _add(OverrideKind.PAUSE, config, address, account=account, reason=reason, for_s=for_s)


@click.command("release", short_help="End hold, protect and resurrect of a run.")
@_run
@click.option("--account", callback=_name, help="Only what was set for this account. Default: whatever was set.")
@config_option
@ledger_option
def release(run_id: str, account: str | None, config: Path | None, address: str | None) -> int:
    """End every hold, protection and resurrect flag of RUN that was set by hand. Exit code 1 if there was none."""
    return _end(OF_RUNS, config, address, run_id=run_id, account=account)


@click.command("resume", short_help="End a pause.")
@click.option("--account", callback=_name, help="End only the pauses of this account. Default: every pause.")
@config_option
@ledger_option
def resume(account: str | None, config: Path | None, address: str | None) -> int:
    """End every pause, those of single accounts too; with --account only those of that account.

    Exit code 1 if there was none.
    """
    return _end((OverrideKind.PAUSE,), config, address, account=account)


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
        console().print(_table(found), crop=False)


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
    known = configured_accounts(config, needed=address is None)
    refuse_unknown_account(account, known)
    if run_id is not None:
        doubt_of_spelling(run_id, account, known)  # before a ledger is made for it
    now = datetime.now(UTC)
    until = None if for_s is None else now + timedelta(seconds=for_s)
    override = Override(uuid.uuid4().hex, kind, now, run_id, account, until, redactor_here().text(reason))
    path = ledger_path(config, address)
    doubtful, stronger = with_ledger(path, lambda ledger: _write(ledger.store, override, known))
    for doubt in doubtful:
        click.echo(f"warning: {doubt} {_ALL_THE_SAME[kind]}", err=True)
    if not any(_covers(each, override) for each in stronger):
        click.echo(f"{_in_force(override)}{_until(override)}{_note(path)}")
        note = ""
    else:
        note = _note(path)
    for each in stronger:
        click.echo(f"{_already(each)}; that stays{note}")


async def _write(
    ledger: CheckedOverrides, override: Override, known: Accounts | None
) -> tuple[list[str], list[Override]]:
    """Put it in force unless something that is says the same for as long or longer; what may be wrong with it, and what
    is in force that outlasts it."""
    found = await doubts(ledger, override.run_id, override.account, known)
    stronger = [each for each in await ledger.overrides(override.created_at) if _outlasts(each, override)]
    if not any(_covers(each, override) for each in stronger):
        await ledger.add_override(override)
    return found, stronger


#: What is as good as the other, or better.
_AS_GOOD = {OverrideKind.HOLD: (OverrideKind.HOLD, OverrideKind.PROTECT)}


def _outlasts(old: Override, new: Override) -> bool:
    """Whether it does the same, or more, for the same run on an account that the new one means, and no shorter."""
    is_same = old.run_id == new.run_id and old.kind in _AS_GOOD.get(new.kind, (new.kind,))
    shares = old.account == new.account or None in (old.account, new.account)
    return is_same and shares and (old.until is None or (new.until is not None and old.until >= new.until))


def _covers(old: Override, new: Override) -> bool:
    """Whether nothing is left for the new one to do, given that the old one outlasts it."""
    return old.account in (None, new.account)


def _already(override: Override) -> str:
    about = f" on account {override.account}" if override.account else ""
    words = {
        OverrideKind.HOLD: f"run {override.run_id} is already held{about}",
        OverrideKind.PROTECT: f"run {override.run_id} is already protected{about}",
        OverrideKind.RESURRECT: f"run {override.run_id} is already marked{about}",
        OverrideKind.PAUSE: f"already paused{about or ' on all accounts'}",
    }
    return f"{words[override.kind]}{_until(override)}"


_ALL_THE_SAME = {
    OverrideKind.HOLD: "It is held all the same.",
    OverrideKind.PROTECT: "It is protected all the same.",
    OverrideKind.RESURRECT: "It is marked all the same.",
    OverrideKind.PAUSE: "It is paused all the same.",
}


def _in_force(override: Override) -> str:
    about = f" on account {override.account}" if override.account else ""
    run = f"run {override.run_id}{about}"
    words = {
        OverrideKind.HOLD: f"{run} is held",
        OverrideKind.PROTECT: f"{run} is protected",
        OverrideKind.RESURRECT: f"{run} is marked: if it must be aborted, it is aborted gracefully",
        OverrideKind.PAUSE: f"paused: nothing is aborted{about or ' on any account'}",
    }
    return words[override.kind]


def _until(override: Override) -> str:
    return f" until {override.until:%Y-%m-%d %H:%M:%S} UTC" if override.until else ""


def _end(
    kinds: Sequence[OverrideKind],
    config: Path | None,
    address: str | None,
    *,
    run_id: str | None = None,
    account: str | None = None,
) -> int:
    """End what was set by hand about a run, or the pauses; say what it was, and what goes on all the same."""
    path = ledger_path(config, address)
    ended: list[Override] = []
    left: list[Override] = []
    if path is None or path.exists():  # to end something needs no new ledger
        ended, left = with_ledger(path, lambda ledger: _end_in(ledger.store, kinds, run_id, account))
    for each in ended:
        click.echo(f"ended: {_ended(each)}")
    for each in left:
        click.echo(_still(each, account), err=True)
    if not ended:
        refuse_unknown_account(account, configured_accounts(config, needed=address is None))
        about = f" on account {account}" if account else ""
        what = f"nothing holds run {run_id}" if run_id else "nothing is paused"
        click.echo(f"{what}{about}{' alone' if left else ''}")
        return 1
    if note := _note(path):
        click.echo(note.strip(" ()"))
    return 0


async def _end_in(
    ledger: OverrideLedger, kinds: Sequence[OverrideKind], run_id: str | None, account: str | None
) -> tuple[list[Override], list[Override]]:
    """What was ended, and what means this account, too, but not it alone."""
    now = datetime.now(UTC)
    found = [each for each in await ledger.overrides(now) if each.kind in kinds and each.run_id == run_id]
    await ledger.end_overrides(kinds, run_id, now, account)
    if account is None:
        return found, []
    return [each for each in found if each.account == account], [each for each in found if each.account is None]


def _still(override: Override, account: str | None) -> str:
    """What goes on although what was set for this account alone has ended."""
    verb = f"release {override.run_id}" if override.run_id else "resume"
    lasts = f"lasts{_until(override)}" if override.until else "has no end"
    states = {
        OverrideKind.HOLD: f"Run {override.run_id} is still held on account {account}",
        OverrideKind.PROTECT: f"Run {override.run_id} is still protected on account {account}",
        OverrideKind.RESURRECT: f"Run {override.run_id} is still marked on account {account}",
        OverrideKind.PAUSE: f"Account {account} is still paused",
    }
    noun = _NOUNS[override.kind]
    return f"{states[override.kind]}: the {noun} on all accounts {lasts}; end it with `{verb}`."


_NOUNS = {
    OverrideKind.HOLD: "hold",
    OverrideKind.PROTECT: "protection",
    OverrideKind.RESURRECT: "resurrect flag",
    OverrideKind.PAUSE: "pause",
}


def _ended(override: Override) -> str:
    about = f" of run {override.run_id}" if override.run_id else ""
    where = f" on account {override.account}" if override.account else "" if about else " on all accounts"
    reason = f" ({escaped(override.reason)})" if override.reason else ""
    return f"{_NOUNS[override.kind]}{about}{where}{_until(override)}{reason}"


def _note(path: Path | None) -> str:
    running = path is not None and daemon_is_running(path)
    return "" if running else " (no daemon is running now; it takes effect when one starts)"


def _table(found: Sequence[Override]) -> RenderableType:
    if not found:
        return Text("none")
    titles = ("kind", "run", "account", "until (UTC)", "since (UTC)", "reason")
    return Records(titles, [_cells(each) for each in found])


def _cells(override: Override) -> list[Cell]:
    return [
        Whole(override.kind.value),
        Whole(override.run_id or "all"),
        Name(override.account or "all"),
        Whole(f"{override.until:%Y-%m-%d %H:%M:%S}" if override.until else "for good"),
        Whole(f"{override.created_at:%Y-%m-%d %H:%M:%S}"),
        Name(override.reason),
    ]


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
