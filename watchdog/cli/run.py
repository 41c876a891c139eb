"""`budget-watchdog run`: the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from watchdog.app import opened
from watchdog.cli.common import Loaded, config_option, dry_run_option, load, redactor_here, rules_option
from watchdog.ledger.lock import DAEMON
from watchdog.platforms.known import known_traits
from watchdog.runtime.process import SIGNALS
from watchdog.runtime.systemd import OPENING_S, Systemd
from watchdog.telemetry.logs import LogObserver, configure_logging
from watchdog.telemetry.outlet import Outlet, outlet_of_stderr

LEVELS = ("debug", "info", "warning", "error")


@click.command("run")
@config_option
@rules_option
@dry_run_option
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def command(config: Path | None, rules: Path | None, dry_run: bool, log_level: str) -> None:
    """Keep watch over every active run of every account until SIGTERM or SIGINT (Ctrl-C).

    Metrics are on http://127.0.0.1:9877/metrics (`listen` in the configuration), with /healthz and /readyz. If every
    platform itself refuses its token at the start it ends with 2; any other fault of a platform is logged and tried
    again, also at the start. A stop takes at most 5 s; aborts not yet proven by then stay open in the ledger.
    """
    # First of all: from here on nothing waits for whoever should read what we say.
    outlet = outlet_of_stderr()
    systemd = Systemd(redact=redactor_here().text)
    with systemd.told_of_the_end():
        loaded = load(config, rules, dry_run=dry_run)
        configure_logging(loaded.settings.log_format, redactor=loaded.redactor, level=log_level)
        if systemd.watchdog_s is not None:
            # It ends a hang with SIGABRT: then the journal shows where every thread was.
            faulthandler.enable()
        asyncio.run(_serve(loaded, systemd, outlet))


async def _serve(loaded: Loaded, systemd: Systemd, outlet: Outlet | None) -> None:
    systemd.starting("opening the ledger", within_s=OPENING_S)
    observers = [LogObserver(platforms=known_traits())]
    async with opened(loaded.settings, loaded.rules, observers=observers, role=DAEMON, redactor=loaded.redactor) as app:
        if outlet is not None:
            app.metrics.watch_log(lambda: outlet.lost)
        daemon = app.daemon()
        app.announce()
        app.sentry.tell()
        loop = asyncio.get_running_loop()
        SIGNALS.obey(partial(_soon, loop, daemon.stop), partial(_soon, loop, daemon.begin_reload))
        await daemon.run(systemd=systemd)


def _soon(loop: asyncio.AbstractEventLoop, do: Callable[[], None]) -> None:
    """Let the loop do this, woken if need be; nothing once it has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(do)
