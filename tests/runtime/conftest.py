"""A world for the whole daemon: simulated platforms over real HTTP, one fast clock, and an observer that forgets
nothing. At the end of every test the books, the metrics and the platforms' own records are compared."""

from __future__ import annotations

import asyncio
import gc
import json
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from watchdog.app import App, build
from watchdog.cli import view
from watchdog.config.models import AccountSettings, Settings
from watchdog.domain.decision import Abort, AbortState
from watchdog.domain.notice import Notice, RequestDone
from watchdog.domain.ports import Ledger
from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules
from watchdog.runtime.clock import FastClock
from watchdog.runtime.daemon import Daemon
from watchdog.runtime.watch import Watch
from watchdog.simulated import ArmedFault, Fault, SimClock, SimRun, SimulatedPlatforms

N = TypeVar("N")

APIFY_TOKEN = "apify_api_S3CRETtokenOfTheTests"
LOBSTR_TOKEN = "lobstrS3CRETtokenOfTheTests"
USD_PER_CREDIT = 0.002
#: Real seconds that a condition gets to come true; only a failing test waits that long.
PATIENCE_S = 40.0


class World:
    """Both platforms with an account each (`apify`, `lobstr`), and the daemon over them.

    Times are platform seconds: `speed` of them pass in a real one.
    """

    def __init__(
        self, rules: Path, *, speed: float, seed: int, dry_run: bool, options: dict[str, dict[str, Any]]
    ) -> None:
        self.speed = speed
        self.clock = FastClock(speed)
        self.sim = SimulatedPlatforms(SimClock(speed, self.clock.now()), seed=seed)
        self.apify = self.sim.apify(APIFY_TOKEN)
        self.lobstr = self.sim.lobstr(LOBSTR_TOKEN)
        self.notices: list[Notice] = []
        self.ledger: Ledger | None = None
        self.more_accounts: list[AccountSettings] = []
        self.base_urls: dict[str, str] = {}
        self.audited = True
        self.app: App
        self.daemon: Daemon
        self._rules = rules
        self._dry_run = dry_run
        self._options = options
        self._stack = AsyncExitStack()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.sim)
        return self

    def build(self) -> App:
        """Put the daemon together, without starting it."""
        if hasattr(self, "app"):
            return self.app
        loaded = load_rules(self._rules, platforms=OURS)
        self.app = build(self._settings(), loaded=loaded, clock=self.clock, ledger=self.ledger, observers=[self])
        self.app.announce()
        return self.app

    def _settings(self) -> Settings:
        accounts = [
            AccountSettings(
                name=name,
                platform=name,
                token=SecretStr(token),
                base_url=self.base_urls.get(name, self.sim.url),
                **{**defaults, **self._options.get(name, {})},
            )
            for name, token, defaults in (
                ("apify", APIFY_TOKEN, {}),
                ("lobstr", LOBSTR_TOKEN, {"usd_per_credit": USD_PER_CREDIT}),
            )
        ]
        return Settings(accounts=(*accounts, *self.more_accounts), dry_run=self._dry_run, rules=self._rules)

    async def start(self) -> None:
        """Start the daemon; back when every account has been swept."""
        self.build()
        self.daemon = self.app.daemon(listen=False)
        self._running = asyncio.create_task(self.daemon.run(close_s=0.5))
        await self.until(lambda: all(each.last_success_s is not None for each in self.app.watches), "the first sweeps")

    async def stop(self) -> None:
        """Stop the daemon, if it runs."""
        running, self._running = self._running, None
        if running is not None:
            self.daemon.stop()
            await running

    async def forget(self) -> None:
        """What a crash takes: everything but the ledger. `start` then makes all else anew."""
        await self.app.net.aclose()
        del self.app
        self.notices.clear()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        try:
            await self.stop()
            if kind is None and hasattr(self, "app"):
                await self.audit()
        finally:
            if hasattr(self, "app"):
                await self.app.net.aclose()
            await self._stack.aclose()
            self._sweep_up()

    @staticmethod
    def _sweep_up() -> None:
        """A request cancelled while it connects leaves its socket to the garbage collector (asyncio and anyio do, not
        we): collect it here, where its warning does not fall on another test."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()

    # Waiting

    async def until(
        self, condition: Callable[[], bool] | Callable[[], Awaitable[bool]], what: str, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait until something is so; the failure says what it was."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            if self._running is not None and self._running.done():
                self._running.result()
                raise AssertionError(f"the daemon ended while waiting for {what}")
            if loop.time() > end:
                raise AssertionError(f"waited in vain for {what}; last notices: {self.tail()}")
            await asyncio.sleep(0.004)

    async def until_booked(self, *runs: SimRun) -> list[Abort]:
        """Wait until the abort of each run is proven, settled and booked; the records, in the order of the runs."""
        wanted = {run.id for run in runs}

        async def booked() -> bool:
            return wanted <= {abort.run_id for abort in await self.app.ledger.aborts() if abort.is_complete}

        await self.until(booked, f"the books on {', '.join(wanted)}")
        by_run = {abort.run_id: abort for abort in await self.app.ledger.aborts()}
        return [by_run[run.id] for run in runs]

    async def pass_time(self, seconds: float) -> None:
        """Let platform time pass with the daemon at work: for what must *not* happen."""
        await self.clock.sleep(seconds)

    async def sweeps(self, count: int, account: str = "apify") -> None:
        """Let the daemon finish so many more sweeps of an account."""
        wanted = self.counted("polls", account=account, kind="sweep", outcome="ok") + count
        await self.until(
            lambda: self.counted("polls", account=account, kind="sweep", outcome="ok") >= wanted, f"{count} sweeps"
        )

    # Looking

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def told(self, kind: type[N], run: SimRun | None = None) -> list[N]:
        """The notices of a kind, of one run if one is given."""
        return [each for each in self.notices if isinstance(each, kind) and (run is None or _run_of(each) == run.id)]

    def tail(self) -> str:
        return "\n".join(str(each)[:400] for each in self.notices[-60:] if not isinstance(each, RequestDone))[-6000:]

    def watch(self, account: str) -> Watch:
        return next(each for each in self.app.watches if each.info.name == account)

    async def aborts(self) -> list[Abort]:
        return await self.app.ledger.aborts()

    async def abort_of(self, run: SimRun) -> Abort:
        """The only record of an abort of this run."""
        (abort,) = [each for each in await self.aborts() if each.run_id == run.id]
        return abort

    def fault(self, kind: Any, match: str = "*", **details: Any) -> ArmedFault:
        return self.sim.faults.add(Fault(kind=kind, match=match, **details))

    def samples(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Label values and value of every series of a metric (without the prefix and without `_total`)."""
        text = self.app.metrics.render()[0].decode()
        for family in text_string_to_metric_families(text):
            if family.name.removesuffix("_total") == f"budget_watchdog_{name}":
                for sample in family.samples:
                    if sample.name in (family.name, f"{family.name}_total"):
                        yield sample.labels, sample.value

    def counted(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric that have these labels."""
        return sum(value for found, value in self.samples(name) if labels.items() <= found.items())

    def requests(self, endpoint: str, run: SimRun | None = None, account: int | None = None) -> int:
        """How many requests the platforms got at an endpoint."""
        return sum(
            record.endpoint == endpoint
            and (run is None or f"/{run.id}" in record.path)
            and (account is None or record.account == account)
            for record in self.sim.requests
        )

    def used_at(self, run: SimRun, at: datetime) -> dict[str, float | None]:
        """True usage of a run at a moment, by the names of the limits."""
        usage = run.usage(at)
        usd = usage.cost_usd if run.platform == "apify" else usage.credits * USD_PER_CREDIT
        figures = {"max_credits": usage.credits, "max_cost_usd": usd, "max_duration": usage.duration_s}
        return {**figures, "max_results": usage.results}

    # The promises

    async def audit(self) -> None:
        """Promises 1, 3 and 4 as far as they can be told without knowing the scenario."""
        aborts = await self.aborts()
        truths = {truth.id: truth for truth in self.sim.truth()}
        self._check_secrecy(aborts)
        if not self.audited:
            return
        stops = Counter(abort.run_id for abort in aborts if abort.state is AbortState.CONFIRMED)
        for abort in aborts:
            run, truth = self._run(abort.run_id), truths[abort.run_id]
            if truth.effective_abort_at is not None and abort.state is AbortState.CONFIRMED:
                used = self.used_at(run, truth.effective_abort_at)[abort.limit]
                assert used is not None
                # The platforms round what they show to the millisecond.
                least = abort.limit_value / 2 if abort.projected is not None else abort.limit_value
                assert used >= least - 0.002, f"false kill of {abort.run_id}: {used} of {abort.limit_value}"
            if abort.state is AbortState.ALREADY_FINISHED:
                # Of a run that was stopped before, and resurrected, the platforms remember the earlier stop.
                assert not truth.aborted_by_api or stops[abort.run_id], "a kill was booked as already finished"
        for run_id, truth in truths.items():
            if truth.aborted_by_api:
                assert [each for each in aborts if each.run_id == run_id], f"{run_id} was stopped without a record"
                open_ones = [each for each in aborts if each.run_id == run_id and each.state.is_open]
                assert stops[run_id] or open_ones, f"{run_id} was stopped and the books do not say so"
        self._check_metrics(aborts)

    def _run(self, run_id: str) -> SimRun:
        return next(run for account in self.sim.accounts for run in account.runs if run.id == run_id)

    def _check_metrics(self, aborts: Iterable[Abort]) -> None:
        aborts = list(aborts)
        for metric, of in (("saved_usd", lambda each: each.usd), ("saved_credits", lambda each: each.credits)):
            booked = sum(of(abort.saving) or 0.0 for abort in aborts if abort.saving and abort.settled)
            assert self.counted(metric) - self.counted(f"{metric}_taken_back") == pytest.approx(booked)
        outcomes = Counter(
            (abort.account, abort.rule, str(abort.limit), str(abort.mode), str(abort.state))
            for abort in aborts
            # What was withdrawn came to nothing, which is no outcome.
            if not abort.state.is_open and abort.state is not AbortState.WITHDRAWN
        )
        shown = {
            (found["account"], found["rule"], found["limit"], found["mode"], found["outcome"]): value
            for found, value in self.samples("aborts")
        }
        assert {key: value for key, value in shown.items() if value} == dict(outcomes)
        unproven = sum(abort.state.is_open and abort.requests > 0 for abort in aborts)
        assert self.counted("aborts_unconfirmed") == unproven

    def _check_secrecy(self, aborts: Iterable[Abort]) -> None:
        texts = [repr(notice) for notice in self.notices]
        texts += [self.app.metrics.render()[0].decode(), repr(self.app), json.dumps(view.plain(self._rows(aborts)))]
        for token in (APIFY_TOKEN, LOBSTR_TOKEN):
            assert not [text for text in texts if token in text], "a token came out"

    def _rows(self, aborts: Iterable[Abort]) -> list[view.Row]:
        return view.rows(self.app.status.read(), self.app.rulebook, aborts)

    def seconds_between(self, earlier: datetime, later: datetime) -> float:
        return (later - earlier) / timedelta(seconds=1)


def _run_of(notice: Any) -> str:
    for holder in (getattr(notice, "abort", None), getattr(notice, "snapshot", None), notice):
        if (run_id := getattr(holder, "run_id", None)) is not None:
            return str(run_id)
    return ""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Makes a World from the text of a rule file; more keywords are options of the accounts of those names."""

    def make(
        rules: str, *, speed: float = 200.0, seed: int = 0, dry_run: bool = False, **options: dict[str, Any]
    ) -> World:
        path = tmp_path / "rules.yaml"
        path.write_text(rules, encoding="utf-8")
        return World(path, speed=speed, seed=seed, dry_run=dry_run, options=options)

    return make
