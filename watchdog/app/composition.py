"""Puts everything together: settings and rules, adapters, the runtime, telemetry."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from watchdog.app.accounts import adapter, info_of, interval_s, place_of, requests_per_minute
from watchdog.app.health import DaemonHealth
from watchdog.app.renewal import Renewal
from watchdog.app.rules import read_draft, read_rules
from watchdog.app.web import Web
from watchdog.config.models import Settings
from watchdog.config.renewal import Tokens, teach
from watchdog.domain.notice import AccountInfo, RulesLoaded, Trigger, Trouble
from watchdog.domain.ports import Clock, Ledger, Observer, Platform
from watchdog.errors import LedgerError
from watchdog.ledger.memory import MemoryLedger
from watchdog.ledger.resilient import ResilientLedger
from watchdog.net import Net
from watchdog.platforms.registry import known_platforms
from watchdog.redaction import Redactor
from watchdog.rulefile import LoadedRules
from watchdog.runtime.chores import Upkeep, all_chores
from watchdog.runtime.clock import SystemClock
from watchdog.runtime.daemon import Daemon, Service
from watchdog.runtime.desk import Desk
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.matches import Matches
from watchdog.runtime.memory import Memory
from watchdog.runtime.owners import Owners
from watchdog.runtime.reload import Reloaded, Reloader, RuleWatch
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.sentry import Sentry
from watchdog.runtime.status import StatusReader
from watchdog.runtime.watch import Account, Watch
from watchdog.telemetry.fanout import Fanout
from watchdog.telemetry.metrics import Metrics


@dataclass(slots=True)
class App:
    """Everything put together. Close `net` when done."""

    settings: Settings
    loaded: LoadedRules
    clock: Clock
    net: Net
    platforms: Mapping[str, Platform]
    watches: Sequence[Watch]
    status: StatusReader
    enforcer: Enforcer
    ledger: ResilientLedger
    metrics: Metrics
    observer: Observer
    accounts: tuple[AccountInfo, ...]
    rulebook: Rulebook
    tokens: Tokens
    owners: Owners
    sentry: Sentry
    matches: Matches
    renewal: Renewal
    reloader: Reloader
    on_loss: list[Callable[[LedgerError], None]] = field(default_factory=list, init=False)

    def lose(self, sentence: str) -> None:
        """Another process owns the ledger: this one watches no more."""
        self.observer.notice(Trouble(sentence, level="error"))
        for each in self.on_loss:
            each(LedgerError(sentence))

    def announce(self) -> None:
        """Tell which rules are in force, and what is doubtful about the configuration."""
        self.observer.notice(RulesLoaded(self.loaded.rules, self.accounts, self.clock.now()))
        self.matches.show()
        for warning in (*self.settings.warnings, *map(str, self.loaded.warnings)):
            self.observer.notice(Trouble(warning))

    async def reload(self, trigger: Trigger = Trigger.SIGNAL) -> Reloaded:
        """Read the rules again and put them in force. Mistakes are told, and the last good ones stay; aborts that are
        going on are not disturbed."""
        for platform in self.platforms.values():
            if (forget := getattr(platform, "forget_names", None)) is not None:  # a plug-in may be older than this
                forget()
        return await self.reloader.reload(trigger)

    def daemon(self, *, listen: bool = True) -> Daemon:
        """The daemon over it, with the web server and the watch of the rule files unless told otherwise. Binds the port
        now, so that a port in use is known before anything runs."""
        health = DaemonHealth(self.reloader)
        desk = Desk(self.platforms, self.enforcer, self.ledger, self.clock)
        upkeep = Upkeep(self.ledger, self.watches, self.clock, self.settings.retention, self.metrics.show_pending)
        daemon = health.daemon = Daemon(
            self.watches,
            self.enforcer,
            self.status,
            self.clock,
            self.observer,
            self._services(health) if listen else [],
            all_chores(desk, self.sentry, upkeep, self.matches, self.owners),
            self.reload,
            self.owners.refuse_twins,
        )
        self.on_loss.append(daemon.stand_down)
        return daemon

    def _services(self, health: DaemonHealth) -> list[Service]:
        settings = self.settings
        tls = self.renewal.tls = settings.web.tls_context()
        web = Web(settings, health, self.metrics, self.observer, self.clock, self.net.redactor, self.reload)
        services: list[Service] = [*web.servers(tls, self.tokens)]
        if settings.watch_rules:
            services.append(RuleWatch(self.reloader, settings.rules, self.observer))
        return services


def build(
    settings: Settings,
    *,
    loaded: LoadedRules | None = None,
    clock: Clock | None = None,
    ledger: Ledger | None = None,
    observers: Iterable[Observer] = (),
    environ: Mapping[str, str] = os.environ,
    redactor: Redactor | None = None,
) -> App:
    """Put everything together for these settings; nothing runs yet. Needs a running event loop. `redactor` learns every
    secret, those that come later before they are used, and everything that leaves passes it."""
    specs = known_platforms()
    loaded = loaded or read_rules(settings, specs)
    clock = clock or SystemClock()
    redactor = redactor or Redactor()
    teach(redactor, settings)
    metrics = Metrics(redact=redactor.output)
    observer = Fanout([metrics, *observers])
    ledger = ResilientLedger(ledger or MemoryLedger(), observer, clock, redactor=redactor)
    net = Net(clock, observer, redactor)
    tokens = Tokens(settings, environ, observer, redactor.add)
    platforms = {
        account.name: adapter(net, account, specs[account.platform], tokens.of[account.name])
        for account in settings.accounts
    }
    memories = {name: Memory(clock) for name in platforms}
    rulebook = Rulebook(loaded.rules, settings.dry_run, clock.monotonic)
    enforcer = Enforcer(platforms, memories, rulebook, ledger, observer, clock)
    infos = {name: info_of(name, each, specs) for name, each in platforms.items()}
    accounts = tuple(infos.values())
    places = {account.name: place_of(account, specs[account.platform]) for account in settings.accounts}
    turn = asyncio.Lock()
    watches = [
        Watch(
            Account(
                infos[account.name],
                platforms[account.name],
                rulebook,
                enforcer,
                ledger,
                observer,
                clock,
                memories[account.name],
                poll_interval_s=interval_s(account, specs[account.platform]),
                requests_per_minute=requests_per_minute(account, specs[account.platform]),
            ),
            turn,
        )
        for account in settings.accounts
    ]
    status = StatusReader(watches, enforcer, rulebook, net, clock)
    renewal = Renewal(settings, tokens)
    return App(
        settings=settings,
        loaded=loaded,
        clock=clock,
        net=net,
        platforms=platforms,
        watches=watches,
        status=status,
        enforcer=enforcer,
        ledger=ledger,
        metrics=metrics,
        observer=observer,
        accounts=accounts,
        rulebook=rulebook,
        tokens=tokens,
        owners=Owners(platforms, places, enforcer, observer),
        sentry=Sentry(accounts, rulebook, ledger, observer, clock),
        matches=Matches(rulebook, status, clock, metrics.show_matches),
        renewal=renewal,
        reloader=Reloader(
            partial(read_draft, settings), rulebook, observer, clock, accounts, loaded.digest, renewal.renew
        ),
    )
