"""The composition root: the only place where adapters meet the runtime."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from itertools import islice

from starlette.types import ASGIApp

from watchdog.config.models import AccountSettings, Settings
from watchdog.config.renewal import Tokens, teach
from watchdog.domain.arming import Arming
from watchdog.domain.notice import AccountInfo, AdminCalled, Admission, Notice, RulesLoaded, Trigger, Trouble
from watchdog.domain.platform import Platforms
from watchdog.domain.ports import AbortLedger, Clock, Ledger, Observer, Platform
from watchdog.engine.coverage import Coverage
from watchdog.errors import ConfigurationError, LedgerError, StartupError
from watchdog.ledger.location import AUTO
from watchdog.ledger.lock import COMMAND
from watchdog.ledger.memory import MemoryLedger
from watchdog.ledger.opening import OpenLedger, is_writable, open_exclusively, path_of
from watchdog.ledger.rescue import reserve_room, take_in_rescues, write_rescue
from watchdog.ledger.resilient import ResilientLedger
from watchdog.net import Net, Token, read_ahead
from watchdog.platforms.registry import AccountOptions, PlatformSpec, known_platforms
from watchdog.redaction import Redactor
from watchdog.rulefile import AccountView, LoadedRules, RuleFiles, load_rules, parse_rules, read_rule_files
from watchdog.runtime import collector
from watchdog.runtime.clock import SystemClock
from watchdog.runtime.daemon import Chore, Daemon, Service
from watchdog.runtime.desk import Desk
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.memory import Memory
from watchdog.runtime.owners import AGAIN_S, Owners
from watchdog.runtime.reload import Reloaded, Reloader, RuleWatch
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.sentry import Sentry
from watchdog.runtime.status import StatusReader
from watchdog.runtime.watch import Account, Watch
from watchdog.telemetry.metrics import Metrics
from watchdog.web import Check, Door, Gate, OpenGate, Outcome, WebServer, bind, bind_unix, create_app

_log = logging.getLogger("budget_watchdog.app")


#: How often, in seconds: orders and pauses are looked for, records in memory tried again, usage of runs written, old
#: rows pruned, and which rules match any run.
ORDERS_S = 2.0
ARMING_S = 2.0
FLUSH_S = 10.0
RUNS_S = 60.0
PRUNE_S = 3600.0
MATCHES_S = 15.0
#: So many runs at a time are compared with the rules: a few milliseconds.
MATCHES_AT_A_TIME = 2_000
#: After the wall clock was set forward nothing is pruned by it for so long, in seconds: it may be set right again.
DOUBT_S = 86400.0


def refuse_clash() -> None:
    """Stop if the distribution `watchdog` (file-system events) shares our package: both install `watchdog/`, and
    whichever came last has overwritten parts of the other."""
    try:
        distribution("watchdog")
    except PackageNotFoundError:
        return
    raise StartupError(
        "the package 'watchdog' (file-system events) is installed in the same environment and shares its import name "
        "with budget-watchdog: install budget-watchdog in a venv of its own, with pipx, or use the image"
    )


class Fanout:
    """Tells several observers. One that fails is no reason not to tell the others, nor to stop watching."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = tuple(observers)

    def notice(self, notice: Notice) -> None:
        """Pass it on to each."""
        for observer in self._observers:
            try:
                observer.notice(notice)
            except Exception:  # noqa: BLE001  # whoever gives notice is busy stopping runs
                _log.exception("an observer could not take a notice of kind %s", type(notice).__name__)


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
    reloader: Reloader = field(init=False)
    coverage: Coverage = field(init=False)
    tls: ssl.SSLContext | None = field(default=None, init=False)
    seen_settings: str = field(default="", init=False)
    on_loss: list[Callable[[LedgerError], None]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        digest = self.loaded.digest
        self.coverage = Coverage(self.rulebook.rules, self.clock.now())
        self.reloader = Reloader(
            self._read_draft, self.rulebook, self.observer, self.clock, self.accounts, digest, self._beside_reload
        )

    def lose(self, sentence: str) -> None:
        """Another process owns the ledger: this one watches no more."""
        self.observer.notice(Trouble(sentence, level="error"))
        for each in self.on_loss:
            each(LedgerError(sentence))

    def announce(self) -> None:
        """Tell which rules are in force, and what is doubtful about the configuration."""
        self.observer.notice(RulesLoaded(self.loaded.rules, self.accounts, self.clock.now()))
        self.metrics.show_matches(self.coverage.entries, self.coverage.times)
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
        health = _Health(self.reloader)
        services: list[Service] = [*self._web(health), *self._watch()] if listen else []
        daemon = health.daemon = Daemon(
            self.watches,
            self.enforcer,
            self.status,
            self.clock,
            self.observer,
            services,
            self._chores(health),
            self.reload,
            self.owners.refuse_twins,
        )
        self.on_loss.append(daemon.stand_down)
        return daemon

    def _read_draft(self) -> _Draft:
        return _Draft(read_rule_files(self.settings.rules), self.settings, known_platforms())

    async def _beside_reload(self) -> list[str]:
        """What else a reload looks at: the tokens and the certificate are renewed; the settings are not, which must be
        said."""
        notes = [*await self.tokens.renew(), *await asyncio.to_thread(self._stale_settings)]
        if self.tls is not None:
            try:
                self.settings.web.renew_tls(self.tls)
            except ConfigurationError as error:
                notes.append(f"the certificate is not renewed and the old one stays: {error}")
        return notes

    def _stale_settings(self) -> Iterator[str]:
        """Told once for each new content of the file."""
        digest = self.settings.file_digest()
        if digest and digest != self.seen_settings:
            yield f"{self.settings.file} has changed, and the settings are only read at the start: restart to use it"
        self.seen_settings = digest

    def _chores(self, health: _Health) -> tuple[Chore, ...]:
        desk = Desk(self.platforms, self.enforcer, self.ledger, self.clock)
        return (
            Chore("orders", ORDERS_S, desk.serve),
            Chore("armed or not", ARMING_S, self.sentry.look),
            Chore("ledger: what waits in memory", FLUSH_S, self._flush),
            Chore("ledger: usage of runs", RUNS_S, self._save_runs),
            Chore("ledger: pruning", PRUNE_S, partial(self._prune, health)),
            Chore("which rules match", MATCHES_S, self.cover),
            Chore("owners of tokens", AGAIN_S, self.owners.ask_again),
            Chore("garbage collection", collector.COLLECT_S, self._collect),
        )

    async def cover(self) -> None:
        """See which entries of the rule files match the runs of this moment, and show it."""
        now = self.clock.now()
        if self.coverage.rules is not self.rulebook.rules:
            self.coverage = self.coverage.replaced(self.rulebook.rules, now)
        for runs in self.status.swept_runs():
            while some := list(islice(runs, MATCHES_AT_A_TIME)):
                self.coverage.see(some, now)
                await asyncio.sleep(0)
        self.metrics.show_matches(self.coverage.entries, self.coverage.times)

    async def _collect(self) -> None:
        collector.settle()

    async def _flush(self) -> None:
        """Write what waits in memory, and show how much still does."""
        await self.ledger.flush()
        self.metrics.show_pending(self.ledger.pending)

    async def _save_runs(self) -> None:
        """Write the usage of runs that has changed since it was written last."""
        changed = [run for watch in self.watches for run in watch.memory.changed()]
        await self.ledger.save_runs(changed)

    async def _prune(self, health: _Health) -> None:
        if health.daemon is not None and health.daemon.was_set_forward_within(DOUBT_S):
            return
        await self.ledger.prune(self.clock.now() - self.settings.retention)

    def _watch(self) -> list[RuleWatch]:
        is_wanted = self.settings.watch_rules
        return [RuleWatch(self.reloader, self.settings.rules, self.observer)] if is_wanted else []

    def _web(self, health: _Health) -> list[WebServer]:
        """The server at `listen`, and the one on the Unix socket if there is to be one."""
        settings = self.settings
        self.tls = settings.web.tls_context()
        token = settings.web.token
        gate = Gate(
            None if token is None else token.get_secret_value().encode(), local=settings.is_local, told=self._called
        )
        self.tokens.web_renewed = lambda secret: gate.renew(secret.get_secret_value().encode())
        listener = bind(settings.listen_host, settings.listen_port)
        servers = [WebServer(self._pages(health, gate), listener, tls=self.tls)]
        if settings.web.socket is not None:
            try:
                inside = bind_unix(settings.web.socket)
            except StartupError:
                listener.close()
                raise
            servers.append(WebServer(self._pages(health, OpenGate(self._called)), inside))
        return servers

    def _pages(self, health: _Health, gate: Door) -> ASGIApp:
        return create_app(health, self.metrics.rendered, {"/-/reload": self._reload_by_http}, gate, self.net.redactor)

    def _called(self, admission: Admission, client: str, reason: str) -> None:
        self.observer.notice(AdminCalled(admission, client, reason, self.clock.now()))

    async def _reload_by_http(self) -> Outcome:
        reloaded = await self.reload(Trigger.HTTP)
        body: dict[str, object] = {"reloaded": reloaded.error is None, "rules": reloaded.rules}
        if reloaded.error is not None:
            body["problems"] = [str(problem) for problem in reloaded.error.problems]
        else:
            body |= reloaded.changes.as_lists()
        return Outcome(reloaded.error is None, body | {"warnings": list(reloaded.warnings)})


@dataclass(frozen=True, slots=True)
class _Draft:
    """The rule files as they were at one moment, with what they are checked against."""

    files: RuleFiles
    settings: Settings
    specs: Mapping[str, PlatformSpec]

    @property
    def digest(self) -> str:
        return self.files.digest

    def judge(self) -> LoadedRules:
        specs = self.specs
        return parse_rules(self.files, platforms=traits_in(specs), accounts=account_views(self.settings))


@dataclass(slots=True)
class _Health:
    """The daemon's state in the words of the web room."""

    reloader: Reloader
    daemon: Daemon | None = field(default=None)

    def alive(self) -> bool:
        return self.daemon is None or self.daemon.stuck() is None

    def arming(self) -> dict[str, Arming]:
        return self.daemon.arming() if self.daemon else {}

    def readiness(self) -> list[Check]:
        """Rules are always in order: while the files on disk are rejected, the last good ones guard all the same."""
        found = self.daemon.readiness() if self.daemon else []
        rules = Check("rules", ok=True, detail=self.reloader.describe())
        return [rules, *(Check(each.name, each.ok, each.detail) for each in found)]


def read_rules(settings: Settings, specs: Mapping[str, PlatformSpec]) -> LoadedRules:
    """The rules that the settings name, checked against the accounts there are."""
    return load_rules(settings.rules, platforms=traits_in(specs), accounts=account_views(settings))


def traits_in(specs: Mapping[str, PlatformSpec]) -> Platforms:
    """The facts of each platform."""
    return {name: spec.traits for name, spec in specs.items()}


def account_views(settings: Settings) -> list[AccountView]:
    """What rule files must know of the accounts there are."""
    return [
        AccountView(account.name, account.platform, account.usd_per_credit is not None) for account in settings.accounts
    ]


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
        account.name: _adapter(net, account, specs[account.platform], tokens.of[account.name])
        for account in settings.accounts
    }
    memories = {name: Memory(clock) for name in platforms}
    rulebook = Rulebook(loaded.rules, settings.dry_run, clock.monotonic)
    enforcer = Enforcer(platforms, memories, rulebook, ledger, observer, clock)
    infos = {
        name: AccountInfo(each.traits.name, name, each.traits.modes, specs[each.traits.name].traits.match_keys or None)
        for name, each in platforms.items()
    }
    places = {
        account.name: (account.platform, (account.base_url or specs[account.platform].base_url).rstrip("/"))
        for account in settings.accounts
    }
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
                poll_interval_s=_interval_s(account, specs[account.platform]),
                requests_per_minute=_requests_per_minute(account, specs[account.platform]),
            ),
            turn,
        )
        for account in settings.accounts
    ]
    return App(
        settings=settings,
        loaded=loaded,
        clock=clock,
        net=net,
        platforms=platforms,
        watches=watches,
        status=StatusReader(watches, enforcer, rulebook, clock),
        enforcer=enforcer,
        ledger=ledger,
        metrics=metrics,
        observer=observer,
        accounts=tuple(infos.values()),
        rulebook=rulebook,
        tokens=tokens,
        owners=Owners(platforms, places, enforcer, observer),
        sentry=Sentry(tuple(infos.values()), rulebook, ledger, observer, clock),
    )


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
    ledger, warning = _open_ledger(settings, environ, role)
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
    try:
        if warning:
            app.observer.notice(Trouble(warning, level="error"))
        for sentence in await _prepare_rescue(ledger, app.ledger, environ):
            app.observer.notice(Trouble(sentence))
        await _continue_counters(app)
        # Read once, what people have decided stays known whatever becomes of the disk.
        await app.rulebook.refresh(app.ledger, app.clock.now())
        yield app
    finally:
        keeping.cancel()
        await app.net.aclose()
        path, now = ledger.path, app.clock.now()
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


async def _prepare_rescue(opened: OpenLedger, ledger: AbortLedger, environ: Mapping[str, str]) -> list[str]:
    """Take in what was rescued at the last end, and reserve the room for the next; what people should know of it."""
    if opened.path is None:
        return []
    said = await take_in_rescues(opened.path, opened.store, ledger.save, environ)
    try:
        reserve_room(opened.path)
    except OSError as error:
        said.append(
            f"no room could be reserved beside {opened.path} for records that cannot be written before the end "
            f"({error.strerror or error}); free some space"
        )
    return said


def _open_ledger(settings: Settings, environ: Mapping[str, str], role: str) -> tuple[OpenLedger, str]:
    """The ledger, and a warning if it is not where it should be. One that somebody asked for must work; the default
    place gives way to memory where it cannot be written, as in a container without a volume."""
    path = path_of(settings.ledger, settings.file, environ)
    if settings.ledger != AUTO or path is None:
        return open_exclusively(path, role), ""
    if is_writable(path):
        return open_exclusively(path, role), ""
    text = f"the ledger is kept in memory and lost at the end, since {path} cannot be written; set `ledger`"
    return open_exclusively(None), text


def _adapter(net: Net, account: AccountSettings, spec: PlatformSpec, token: Token) -> Platform:
    session = net.session(
        account.name,
        account.base_url or spec.base_url,
        scheme=spec.auth_scheme,
        token=token,
        requests_per_minute=_requests_per_minute(account, spec),
        is_own_error=spec.is_own_error,
    )
    return spec.build(session, AccountOptions(account.usd_per_credit, account.write_reason))


def _interval_s(account: AccountSettings, spec: PlatformSpec) -> float | None:
    if account.poll_interval is not None:
        return account.poll_interval.total_seconds()
    return spec.traits.default_poll_interval_s


def _requests_per_minute(account: AccountSettings, spec: PlatformSpec) -> int:
    return account.requests_per_minute or spec.requests_per_minute
