"""What the commands share that work on the ledger, beside a running daemon or without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from watchdog.ledger.opening import OpenLedger, open_beside, path_of
from watchdog.settings import find_ledger

T = TypeVar("T")

ledger_option = click.option(
    "--ledger",
    "address",
    metavar="ADDRESS",
    help="The ledger, e.g. sqlite:///var/lib/budget-watchdog/ledger.db. Default: that of the configuration.",
)


def ledger_path(config: Path | None, address: str | None) -> Path | None:
    """The file of the ledger; None if it is in memory."""
    found, file = (address, None) if address else find_ledger(config, os.environ)
    return path_of(found, file, os.environ)


def with_ledger(path: Path | None, work: Callable[[OpenLedger], Awaitable[T]], *, read_only: bool = False) -> T:
    """Open the ledger, do the work, close it."""

    async def run() -> T:
        opened = open_beside(path, read_only=read_only)
        try:
            return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(run())
