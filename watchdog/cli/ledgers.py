"""What the commands share that work on the ledger, beside a running daemon or without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from watchdog.config import find_config
from watchdog.ledger.opening import OpenLedger, open_beside, path_of

T = TypeVar("T")

#: For verbs that need nothing of the configuration but where the ledger is: the option of the same name in `common`
#: comes with the whole daemon, which takes a while to load.
config_option = click.option(
    "--config",
    "-c",
    type=click.Path(path_type=Path),
    help="Configuration file: where the ledger is, and which accounts there are. Default: ./budget-watchdog.yaml, else "
    "/etc/budget-watchdog/config.yaml, else only the environment (BUDGET_WATCHDOG_LEDGER).",
)

ledger_option = click.option(
    "--ledger",
    "address",
    metavar="ADDRESS",
    help="The ledger, e.g. sqlite:///var/lib/budget-watchdog/ledger.db. Default: that of the configuration.",
)


def ledger_path(config: Path | None, address: str | None) -> Path | None:
    """The file of the ledger; None if it is in memory."""
    if address is not None:
        return path_of(address, None, os.environ)
    found = find_config(config, os.environ)
    return path_of(found.ledger(), found.file, os.environ)


def with_ledger(path: Path | None, work: Callable[[OpenLedger], Awaitable[T]], *, read_only: bool = False) -> T:
    """Open the ledger, do the work, close it."""

    async def run() -> T:
        opened = open_beside(path, read_only=read_only)
        try:
            return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(run())
