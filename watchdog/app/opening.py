"""Everything put together on the ledger of the settings, from its opening to its close."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from watchdog.app.composition import App, build
from watchdog.config.models import Settings
from watchdog.domain.notice import Trouble
from watchdog.domain.ports import Clock, Observer
from watchdog.errors import LedgerError
from watchdog.ledger.lock import COMMAND
from watchdog.ledger.opening import open_configured
from watchdog.ledger.rescue import prepare_rescue, write_rescue
from watchdog.net import read_ahead
from watchdog.redaction import Redactor
from watchdog.rulefile import LoadedRules


@asynccontextmanager
async def opened(
    settings: Settings,
    loaded: LoadedRules | None = None,
    *,
    clock: Clock | None = None,
    observers: Iterable[Observer] = (),
    environ: Mapping[str, str] = os.environ,
    role: str = COMMAND,
    redactor: Redactor | None = None,
) -> AsyncIterator[App]:
    """Everything put together on the ledger of the settings, with the counters continued from it; closed at the end.

    `role` is DAEMON for the process that takes orders. Raises LedgerError if another process has the ledger or it
    cannot be used.
    """
    # Beside the ledger, whose modules take longer than the certificates.
    asyncio.get_running_loop().run_in_executor(None, read_ahead, environ)
    ledger, warning = open_configured(settings.ledger, settings.file, environ, role)
    app = build(
        settings,
        loaded=loaded,
        clock=clock,
        ledger=ledger.store,
        observers=observers,
        environ=environ,
        redactor=redactor,
    )
    keeping = asyncio.create_task(ledger.keep(app.lose), name="ledger: signs of life")
    path = ledger.path
    try:
        if warning:
            app.observer.notice(Trouble(warning, level="error"))
        for sentence in [] if path is None else await prepare_rescue(path, ledger.store, app.ledger.save, environ):
            app.observer.notice(Trouble(sentence))
        await _continue_counters(app)
        # Read once, what people have decided stays known whatever becomes of the disk.
        await app.rulebook.refresh(app.ledger, app.clock.now())
        yield app
    finally:
        keeping.cancel()
        await app.net.aclose()
        now = app.clock.now()
        await app.ledger.close(None if path is None else lambda aborts: write_rescue(path, aborts, now, environ))
        if ledger.lock is not None:
            ledger.lock.release()


async def _continue_counters(app: App) -> None:
    """From the sums over all that is done, and from what is open: never by reading years of records."""
    unfinished = await app.ledger.open_aborts()
    try:
        app.metrics.continue_from(await app.ledger.sums())
    except LedgerError as error:
        # Runs are guarded all the same: it is only counters that begin anew.
        app.observer.notice(Trouble(f"the counters of aborts begin at zero: {error}", level="error"))
    app.metrics.restore(unfinished)
