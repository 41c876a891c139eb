"""How fast `/metrics` answers over real HTTP, with many rules and accounts, while sweeps are running and while not."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.builds import Hosted
from bench.child import Child, hosted
from bench.contenders import log_to, settings_for
from bench.fleet import FleetSpec, PlainRule, make_actors, make_rules
from bench.frame import Figure, at_most, percentile
from bench.loop import LoopMonitor
from bench.server import Server
from watchdog.app import App, opened
from watchdog.runtime import collector
from watchdog.telemetry.logs import LogObserver
from watchdog.web import Check, Gate, WebServer, bind, create_app

#: What Prometheus asks for.
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: `runs` in one account, `other_runs` in each of the others."""

    runs: int = 10_000
    other_runs: int = 100
    accounts: int = 20
    rules: int = 50
    seconds: float = 8.0
    pause_s: float = 0.01


FULL = Size()
QUICK = Size(seconds=3.0)


@dataclass(frozen=True, slots=True)
class Scrapes:
    """Latencies in seconds, and the size of the page in bytes."""

    latencies_s: list[float]
    page_bytes: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What the daemon did meanwhile: rounds of sweeps over all accounts, and the longest hold-up of its loop."""

    rounds: int
    held_up_s: float


def run(quick: bool = False, size: Size | None = None) -> list[Figure]:
    """The figures of this group."""
    size = size or (QUICK if quick else FULL)
    specs = fleets(size)
    with (
        Server(specs) as server,
        hosted(Page, server.url, list(specs), rules(size)) as page,
        hosted(Scraper) as scraper,
    ):
        port = page.call("port")
        quiet, _ = phase(page, scraper, port, size, sweeping=False)
        busy, swept = phase(page, scraper, port, size, sweeping=True)
    return _figures(quiet, busy, swept, size)


def fleets(size: Size) -> dict[str, FleetSpec]:
    """The runs of each account by its token, the large one first."""
    runs = [size.runs, *[size.other_runs] * (size.accounts - 1)]
    return {
        f"token-{number}": FleetSpec(runs=count, actors=10 if number else 200, crossing=0, seed=number)
        for number, count in enumerate(runs)
    }


def rules(size: Size) -> list[PlainRule]:
    """None limits compute units: that would have runs looked at."""
    return [rule for rule in make_rules(size.rules + 1, make_actors(200)) if rule.max_credits is None]


def phase(page: Child | Hosted, scraper: Child, port: int, size: Size, *, sweeping: bool) -> tuple[Scrapes, Swept]:
    """The daemon works a little longer than the scraper asks."""
    page.begin("work", size.seconds + 0.5, sweeping)
    scrapes: Scrapes = scraper.call("scrape", port, size.seconds, size.pause_s)
    done = page.finish("work")
    return scrapes, Swept(**done) if isinstance(done, dict) else done


class _Healthy:
    def alive(self) -> bool:
        return True

    def readiness(self) -> list[Check]:
        return []


class Page:
    """The daemon's parts with the real web server, in one event loop."""

    def __init__(self, url: str, tokens: list[str], rules: list[PlainRule]) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._port = 0
        self._app: App
        self._runner.run(self._open(url, tokens, rules))

    def port(self) -> int:
        """Where the page is."""
        return self._port

    def work(self, seconds: float, sweeping: bool) -> Swept:
        """Serve for so long, with sweeps of all accounts one after the other, or without any."""
        return self._runner.run(self._work(seconds, sweeping))

    def close(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()

    async def _open(self, url: str, tokens: list[str], rules: list[PlainRule]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._stack.callback(log_to(folder))
        settings = settings_for(url, tokens, folder, rules)
        self._app = await self._stack.enter_async_context(opened(settings, observers=[LogObserver()]))
        self._app.announce()
        await self._sweep_all()
        collector.settle()
        listener = bind("127.0.0.1", 0)
        self._port = listener.getsockname()[1]
        nobody = Gate(None, local=True, told=lambda *_: None)
        server = WebServer(create_app(_Healthy(), self._app.metrics.rendered, {}, nobody), listener)
        await server.start()
        self._stack.push_async_callback(server.stop)

    async def _sweep_all(self) -> None:
        await asyncio.gather(*(watch.sweep() for watch in self._app.watches))
        for watch in self._app.watches:
            if watch.last_error is not None:
                raise watch.last_error

    async def _work(self, seconds: float, sweeping: bool) -> Swept:
        end, rounds = time.monotonic() + seconds, 0
        with LoopMonitor() as monitor:
            while time.monotonic() < end:
                if sweeping:
                    await self._sweep_all()
                    rounds += 1
                else:
                    await asyncio.sleep(0.05)
        return Swept(rounds, monitor.longest_s)


class Scraper:
    """Asks for the page over and over, on one connection, as Prometheus does."""

    def scrape(self, port: int, seconds: float, pause_s: float) -> Scrapes:
        """Latency of each answer, to its last byte."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        end, latencies, length = time.monotonic() + seconds, [], 0
        while time.monotonic() < end:
            began = time.perf_counter()
            connection.request("GET", "/metrics", headers={"Accept": ACCEPT})
            answer = connection.getresponse()
            length = len(answer.read())
            latencies.append(time.perf_counter() - began)
            if answer.status != 200:
                raise AssertionError(f"/metrics answered {answer.status}")
            time.sleep(pause_s)
        connection.close()
        return Scrapes(latencies, length)


def _figures(quiet: Scrapes, busy: Scrapes, swept: Swept, size: Size) -> list[Figure]:
    note = (
        f"{size.rules} rules, {size.accounts} accounts, {busy.page_bytes / 1024:.0f} KiB, "
        f"{len(busy.latencies_s)} scrapes; "
        f"meanwhile {swept.rounds} sweeps of {size.runs + (size.accounts - 1) * size.other_runs:,} runs, "
        f"longest hold-up of the loop {swept.held_up_s * 1e3:.0f} ms"
    )
    figures = []
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        ours = percentile(busy.latencies_s, share) * 1e3
        still = percentile(quiet.latencies_s, share) * 1e3
        target = at_most(20) if name == "p99" else None
        figures.append(
            Figure(
                f"/metrics during sweeps, {name}",
                ours,
                "ms",
                "without sweeps",
                still,
                ours / still,
                target=target,
                note=note,
            )
        )
    return figures
