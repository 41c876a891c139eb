"""`budget-watchdog abort RUN`: stop one run by hand, through the same machine and into the same books."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import click

from watchdog.app import opened
from watchdog.cli.common import config_option, load, redactor_here
from watchdog.cli.ledgers import ledger_option, ledger_path
from watchdog.cli.proof import await_proof
from watchdog.cli.target import RUN, configured_accounts, doubt_of_spelling, refuse_unknown_account
from watchdog.domain.decision import Abort, AbortState, Mode
from watchdog.domain.override import Order
from watchdog.domain.ports import AbortFilter, AbortRecords
from watchdog.ledger.opening import daemon_is_running, open_beside
from watchdog.platforms.known import known_traits
from watchdog.runtime.desk import Desk
from watchdog.telemetry.logs import LogObserver, configure_logging
from watchdog.text import escaped

_POLL_S = 0.3


@click.command("abort", short_help="Stop one run by hand.")
@click.argument("run_id", metavar="RUN", type=RUN)
@click.option("--graceful", is_flag=True, help="Let the run save its state first, where the platform can.")
@click.option("--account", help="The account that has the run. Default: look on every account.")
@click.option("--reason", default="", help="Why, for the record.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=90.0,
    show_default=True,
    help="How many seconds to wait for the proof that the run has stopped. The request is sent in any case.",
)
@config_option
@ledger_option
def command(
    run_id: str,
    graceful: bool,
    account: str | None,
    reason: str,
    wait: float,
    config: Path | None,
    address: str | None,
) -> int:
    """Abort RUN, an id or the address of the run's page; follow it until it has stopped, and record it under the rule
    `manual`. Holds, protections, pauses and a dry run do not keep it from being aborted.

    A daemon that is running on the ledger does the work; if there is none, this command does. Exit code 0 if the run
    is proven to have stopped (or had stopped already), 1 otherwise.
    """
    known = configured_accounts(config, needed=address is None)
    refuse_unknown_account(account, known)
    doubt = doubt_of_spelling(run_id, account, known)
    mode = Mode.GRACEFUL if graceful else Mode.IMMEDIATE
    order = Order(uuid.uuid4().hex, run_id, mode, datetime.now(UTC), account, redactor_here().text(reason))
    path = ledger_path(config, address)
    asked = path is not None and daemon_is_running(path)
    code = asyncio.run(_ask_daemon(path, order, wait) if path and asked else _do_it(config, address, order, wait))
    if code and doubt:
        click.echo(f"warning: {doubt}", err=True)  # only now: the platform knows best what is a run
    return code


async def _ask_daemon(path: Path, order: Order, wait_s: float) -> int:
    opened = open_beside(path)
    try:
        await opened.store.add_order(order)
        end = time.monotonic() + wait_s
        answer = None
        while answer is None and time.monotonic() < end:
            answer = await opened.store.order_answer(order.id)
            await asyncio.sleep(_POLL_S)
        if answer is None:
            click.echo(
                "the daemon has not taken the order yet and will when it can: see `budget-watchdog history`", err=True
            )
            return 1
        click.echo(escaped(answer))
        return await _follow(opened.store, order, answer, end)
    finally:
        await opened.close()


async def _follow(ledger: AbortRecords, order: Order, answer: str, end_s: float) -> int:
    """Wait until the daemon's record of the abort says how it ended."""
    if not answer.startswith("abort "):
        return 0 if answer.startswith("nothing to abort") else 1
    abort_id = answer.split()[1]
    while True:
        record = next(iter(await ledger.aborts(AbortFilter(abort_id=abort_id))), None)
        if record is not None and not record.state.is_open:
            return _say(record)
        if time.monotonic() > end_s:
            click.echo(
                "not proven to have stopped yet; the daemon goes on trying: see `budget-watchdog history`", err=True
            )
            return 1
        await asyncio.sleep(_POLL_S)


async def _do_it(config: Path | None, address: str | None, order: Order, wait_s: float) -> int:
    loaded = load(config, None)
    configure_logging(loaded.settings.log_format, redactor=loaded.redactor, level="error")
    settings = loaded.settings.model_copy(update={"ledger": address}) if address else loaded.settings
    async with opened(
        settings, loaded.rules, observers=[LogObserver(platforms=known_traits())], redactor=loaded.redactor
    ) as app:
        answer = await Desk(app.platforms, app.enforcer, app.ledger, app.clock).take(order)
        click.echo(escaped(answer))
        await await_proof(app, wait_s)
        named = [await app.ledger.aborts(AbortFilter(abort_id=word)) for word in answer.split()]
        made = [abort for found in named for abort in found]
        if made:
            return _say(made[0])
        return 0 if answer.startswith("nothing to abort") else 1


def _say(abort: Abort) -> int:
    if abort.state.is_open:
        click.echo(_not_proven(abort), err=True)
        return 1
    words = abort.state.value.replace("_", " ")
    note = escaped(abort.history[-1].note)
    click.echo(f"{words}: {note}" if note else words)
    return 0 if abort.state in (AbortState.CONFIRMED, AbortState.ALREADY_FINISHED) else 1


def _not_proven(abort: Abort) -> str:
    """What is known of an abort that nobody follows any more when this command has ended."""
    if abort.effective_requests:
        known = "requested, and not yet proven to have stopped"
    elif abort.may_have_arrived:
        known = "requested, but the answer was lost: it may have worked"
    else:
        known = "not requested yet: the platform has not taken the request"
    return (
        f"{known}. It stays open in the ledger: see `budget-watchdog history`; "
        "`budget-watchdog run`, `once`, or this command again follows it up"
    )
