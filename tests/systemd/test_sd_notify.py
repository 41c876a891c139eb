"""What the daemon tells systemd, over a real datagram socket."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from freezegun import freeze_time
from pydantic import SecretStr

from watchdog.app import App, build
from watchdog.config.models import AccountSettings, Settings
from watchdog.domain.rule import RuleSet
from watchdog.errors import ConfigurationError, Problem, StartupError
from watchdog.ledger.memory import MemoryLedger
from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules
from watchdog.runtime.clock import SystemClock
from watchdog.runtime.daemon import Daemon
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.status import StatusReader
from watchdog.runtime.systemd import Heartbeat, Systemd
from watchdog.runtime.vitals import Pace, Vitals
from watchdog.simulated import Fault, SimulatedPlatforms
from watchdog.telemetry.log_observer import LogObserver

PATIENCE_S = 10.0
STATUS = "STATUS=armed; watching 2 runs on 1 account; no aborts under way; last sweep 0 s ago"
#: What the watchdog allows in these tests, in seconds.
WATCHDOG_S = 0.4


class Manager:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.heard: list[tuple[float, list[str]]] = []

    def environ(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, **more}

    def listen(self) -> None:
        """Take in what has come."""
        while True:
            try:
                message = self._socket.recv(65536).decode()
            except BlockingIOError:
                return
            self.heard.append((time.monotonic(), message.split("\n")))

    @property
    def messages(self) -> list[list[str]]:
        self.listen()
        return [lines for _, lines in self.heard]

    def count(self, line: str) -> int:
        return sum(line in lines for lines in self.messages)

    def close(self) -> None:
        self._socket.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = request.param == "abstract"
    manager = Manager(f"@budget-watchdog-test-{os.getpid()}" if abstract else str(tmp_path / "notify"))
    yield manager
    manager.close()


# ---- the protocol


def test_nothing_happens_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*arguments: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", no_socket)
    systemd = Systemd({"WATCHDOG_USEC": "1000000"})
    systemd.ready("fine")
    systemd.stopping("fine")
    assert (systemd.is_there, systemd.watchdog_s) == (False, None)


def test_messages(manager: Manager) -> None:
    systemd = Systemd(manager.environ(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())))
    assert systemd.watchdog_s == 3.0
    systemd.starting("opening", within_s=600)
    systemd.ready("fine")
    systemd.beat("fine", ping=True, extend=False)
    systemd.beat("stuck", ping=False, extend=True)
    systemd.reloading()
    systemd.stopping("the end")
    systemd.close()
    *others, reloading, stopping = manager.messages
    assert others == [
        ["EXTEND_TIMEOUT_USEC=600000000", "STATUS=opening"],
        ["READY=1", "STATUS=fine"],
        ["STATUS=fine", "WATCHDOG=1"],
        ["STATUS=stuck", "EXTEND_TIMEOUT_USEC=30000000"],
    ]
    assert reloading[0] == "RELOADING=1"
    usec = int(reloading[1].removeprefix("MONOTONIC_USEC="))
    assert 0 <= time.monotonic() - usec / 1e6 < 5
    assert stopping == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=30000000", "STATUS=the end"]


@pytest.mark.parametrize(
    "environ", [{}, {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "3s"}]
)
def test_no_pings_that_nobody_asked_us_for(manager: Manager, environ: Mapping[str, str]) -> None:
    systemd = Systemd(manager.environ(**environ))
    systemd.beat("fine", ping=True, extend=False)
    systemd.close()
    assert systemd.watchdog_s is None
    assert manager.messages == [["STATUS=fine"]]


def test_a_status_is_one_line_of_bounded_length(manager: Manager) -> None:
    systemd = Systemd(manager.environ())
    systemd.ready("one\nREADY=0\ttwo \udc80" + "x" * 1000)
    systemd.close()
    ((ready, status),) = manager.messages
    assert ready == "READY=1"
    assert status.startswith("STATUS=one READY=0 two ?xxx")
    assert len(status) == len("STATUS=") + 500


def test_how_it_ended(manager: Manager) -> None:
    problems = [Problem("c.yaml", 1, 1, "no"), Problem("c.yaml", 2, 1, "not either")]
    in_use = StartupError("cannot listen")
    in_use.__cause__ = OSError(errno.EADDRINUSE, "in use")
    for error in (ConfigurationError(problems), in_use):
        with pytest.raises(type(error)), Systemd(manager.environ()).told_of_the_end():
            raise error
    with Systemd(manager.environ()).told_of_the_end():
        pass
    assert manager.messages == [
        ["STATUS=c.yaml:1:1: no (and 1 more; see the journal)"],
        ["STATUS=cannot listen", f"ERRNO={errno.EADDRINUSE}"],
        ["STATUS=stopped"],
    ]


def test_a_socket_that_fails_is_told_once_and_what_counts_is_told_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = str(tmp_path / "notify")
    systemd = Systemd({"NOTIFY_SOCKET": address})
    systemd.starting("opening", within_s=1)
    systemd.ready("fine")
    systemd.beat("fine", ping=False, extend=False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cannot tell systemd how it stands: No such file" in caplog.text
    manager = Manager(address)
    systemd.beat("better", ping=False, extend=False)
    systemd.close()
    assert manager.messages == [["READY=1", "STATUS=fine"], ["STATUS=better"]]
    manager.close()


def test_a_systemd_that_is_busy_holds_nobody_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = Manager(str(tmp_path / "notify"))
    systemd = Systemd(manager.environ())
    began = time.monotonic()
    for _ in range(5000):  # more than any queue takes
        systemd.beat("fine", ping=False, extend=False)
    systemd.ready("fine")
    assert time.monotonic() - began < 2
    assert manager.count("READY=1") == 0
    systemd.beat("fine", ping=False, extend=False)
    systemd.close()
    assert manager.count("READY=1") == 1
    assert not caplog.records
    manager.close()


def test_a_socket_of_a_kind_that_we_do_not_speak(caplog: pytest.LogCaptureFixture) -> None:
    assert not Systemd({"NOTIFY_SOCKET": "vsock:2:1234"}).is_there
    assert "neither a path nor an abstract name" in caplog.text


# ---- the heartbeat


class Patient:
    """A daemon to feel the pulse of."""

    def __init__(self, manager: Manager) -> None:
        self.stuck: str | None = None
        self.error: Exception | None = None
        self.systemd = Systemd(manager.environ(WATCHDOG_USEC="1000000"))
        self.heart = Heartbeat(self.systemd, self.status, lambda: self.stuck)

    def status(self) -> str:
        if self.error is not None:
            raise self.error
        return "fine"


@pytest.fixture
def patient(manager: Manager) -> Iterator[Patient]:
    patient = Patient(manager)
    yield patient
    patient.systemd.close()


def test_it_beats_twice_within_the_watchdogs_patience_and_every_five_seconds_without_one(manager: Manager) -> None:
    def period_s(**environ: str) -> float:
        return Heartbeat(Systemd(manager.environ(**environ)), str, lambda: None).period_s

    assert period_s(WATCHDOG_USEC="3000000") == 1.5
    assert period_s(WATCHDOG_USEC="30000000") == 5.0
    assert period_s() == 5.0


def test_pings_end_when_something_is_stuck_for_longer_than_a_beat(
    manager: Manager, patient: Patient, caplog: pytest.LogCaptureFixture
) -> None:
    patient.heart.ready()
    patient.heart.beat()
    patient.stuck = "scheduler: no sign of life for 31 s"
    for _ in range(3):
        patient.heart.beat()
    patient.stuck = None
    patient.heart.beat()
    alive = ["STATUS=fine", "WATCHDOG=1"]
    stuck = ["STATUS=scheduler: no sign of life for 31 s; to be restarted"]
    assert manager.messages[1:] == [alive, alive, stuck, stuck, alive]
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "scheduler: no sign of life for 31 s; no more pings to systemd" in caplog.text


def test_until_it_is_ready_and_while_it_stops_it_asks_for_time(manager: Manager, patient: Patient) -> None:
    patient.heart.beat()
    patient.heart.ready()
    patient.heart.ready()
    patient.heart.stopping()
    patient.heart.beat()
    patient.heart.ready()
    more = "EXTEND_TIMEOUT_USEC=30000000"
    assert manager.messages == [
        ["STATUS=starting: fine", "WATCHDOG=1", more],
        ["READY=1", "STATUS=fine"],
        ["STOPPING=1", more, "STATUS=stopping: fine"],
        ["STATUS=stopping: fine", "WATCHDOG=1", more],
    ]


def test_a_reload_is_told_of_only_while_it_is_ready(manager: Manager, patient: Patient) -> None:
    with patient.heart.reloading():
        pass
    assert manager.messages == []
    patient.heart.ready()

    def fail() -> None:
        with patient.heart.reloading():
            assert manager.messages[-1][0] == "RELOADING=1"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert manager.messages[-1] == ["READY=1", "STATUS=fine"]
    patient.heart.stopping()
    with patient.heart.reloading():
        pass
    assert manager.messages[-1][0] == "STOPPING=1"


def test_a_fault_in_the_status_is_no_hang(manager: Manager, patient: Patient, caplog: pytest.LogCaptureFixture) -> None:
    patient.heart.ready()
    patient.error = ZeroDivisionError()
    patient.heart.beat()
    assert manager.messages[-1] == ["STATUS=running", "WATCHDOG=1"]
    assert "cannot say how it stands" in caplog.text


# ---- the daemon


class World:
    """The daemon over one account of a simulated platform, with a systemd that listens."""

    def __init__(self, manager: Manager, sim: SimulatedPlatforms, folder: Path) -> None:
        self.manager = manager
        self.sim = sim
        self.account = sim.apify("apify_api_S3CRETofTheNotifyTests")
        for usd in (0.1, 0.2):
            self.account.start_run(curve=lambda ran_s, usd=usd: usd)
        rules = folder / "rules.yaml"
        rules.write_text("rules: [{name: cap, limits: {max_cost_usd: 1}}]")
        self.accounts = [self._settings("main", sim.url)]
        self._rules = rules
        self.app: App
        self.daemon: Daemon
        self.systemd: Systemd
        self.running: asyncio.Task[None]

    @staticmethod
    def _settings(name: str, url: str) -> AccountSettings:
        token = SecretStr("apify_api_S3CRETofTheNotifyTests")
        return AccountSettings(name=name, platform="apify", token=token, base_url=url, poll_interval="1s")

    def start(self, pace: Pace | None = None) -> None:
        app = self.app = build(Settings(accounts=tuple(self.accounts)), loaded=load_rules(self._rules, platforms=OURS))
        if pace is None:
            self.daemon = app.daemon(listen=False)
        else:
            self.daemon = Daemon(app.watches, app.enforcer, app.status, app.clock, app.observer, pace=pace)
        self.systemd = Systemd(self.manager.environ(WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6))))
        self.running = asyncio.create_task(self.daemon.run(close_s=0.1, systemd=self.systemd))

    async def stop(self) -> None:
        self.daemon.stop()
        await self.running

    async def close(self) -> None:
        if not self.running.done():
            await self.stop()
        self.systemd.close()
        await self.app.net.aclose()
        await self.app.ledger.close()

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain for {what}: {self.manager.messages}"
            await asyncio.sleep(0.01)

    async def until_ready(self) -> None:
        await self.until(lambda: self.manager.count("READY=1"), "readiness")

    async def pings_during(self, seconds: float) -> int:
        before = self.manager.count("WATCHDOG=1")
        await asyncio.sleep(seconds)
        return self.manager.count("WATCHDOG=1") - before


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]]:
    """Play a story in a world."""
    manager = Manager(str(tmp_path / "notify"))

    async def play(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async with SimulatedPlatforms() as sim:
            world = World(manager, sim, tmp_path)
            try:
                await story(world)
            finally:
                await world.close()

    yield lambda story: asyncio.run(play(story))
    manager.close()


def test_ready_after_the_first_sweep_and_a_life_until_the_end(run: Any) -> None:
    async def story(world: World) -> None:
        late = world.sim.faults.add(Fault(kind="delay", match="list", delay_s=0.5))
        world.start()
        await asyncio.sleep(0.4)
        assert world.manager.count("READY=1") == 0
        assert world.manager.messages[0][0] == (
            "STATUS=starting: armed; watching 0 runs on 1 account; no aborts under way; no sweep yet"
        )
        assert world.manager.messages[0][-1] == "EXTEND_TIMEOUT_USEC=30000000"
        late.remove()
        await world.until_ready()
        assert ["READY=1", STATUS] in world.manager.messages
        assert await world.pings_during(4 * WATCHDOG_S) >= 6
        assert world.manager.messages[-1][0].startswith(STATUS.removesuffix("0 s ago"))
        await world.daemon.reload()
        told = [lines[0] for lines in world.manager.messages if not lines[0].startswith("STATUS=")]
        assert told == ["READY=1", "RELOADING=1", "READY=1"]
        await world.stop()
        assert world.manager.count("STOPPING=1") == 1
        assert world.manager.count("READY=1") == 2

    run(story)


def test_one_account_that_is_watched_is_enough(run: Any) -> None:
    async def story(world: World) -> None:
        other = world.sim.apify("apify_api_another")
        world.accounts.append(
            AccountSettings(name="silent", platform="apify", token=SecretStr(other.token), base_url=world.sim.url)
        )
        world.sim.faults.add(Fault(kind="hang", account=other))
        world.start()
        await world.until_ready()
        assert world.app.watches[1].last_success_s is None

    run(story)


def test_the_start_is_over_once_every_account_has_been_tried(run: Any) -> None:
    """A platform that is down holds up neither the start nor the boot of the machine; the status names it."""

    async def story(world: World) -> None:
        down = world.sim.faults.add(Fault(kind="status", status=500))
        world.start()
        await asyncio.sleep(0.1)
        assert world.manager.count("READY=1") == 0
        await world.until_ready()
        [ready] = [lines for lines in world.manager.messages if lines[0] == "READY=1"]
        assert ready[1].endswith("no sweep yet; cannot sweep apify")
        assert await world.pings_during(4 * WATCHDOG_S) >= 6
        down.remove()
        await world.until(lambda: "last sweep" in world.manager.messages[-1][0], "the recovery")
        assert world.manager.count("READY=1") == 1


def test_not_ready_if_every_token_is_refused(run: Any) -> None:
    async def story(world: World) -> None:
        world.sim.faults.add(Fault(kind="status", status=401))
        world.start()
        await world.until(lambda: world.running.done(), "the end")
        with pytest.raises(ConfigurationError):
            await world.running
        assert world.manager.count("READY=1") == 0

    run(story)


def test_a_platform_that_does_not_answer_is_no_hang(run: Any) -> None:
    async def story(world: World) -> None:
        world.start()
        await world.until_ready()
        world.sim.faults.add(Fault(kind="hang"))
        assert await world.pings_during(6 * WATCHDOG_S) >= 10
        assert re.search(r"last sweep [123] s ago", world.manager.messages[-1][0])
        assert world.daemon.stuck() is None

    run(story)


def test_the_status_names_what_is_under_way_and_what_fails(run: Any) -> None:
    async def story(world: World) -> None:
        world.start()
        await world.until_ready()
        world.sim.faults.add(Fault(kind="abort_ignored", match="abort"))
        world.account.start_run(curve=lambda ran_s: 5.0)

        def says(text: str) -> bool:
            return any(text in line for line in world.manager.messages[-1])

        await world.until(lambda: says("watching 3 runs on 1 account; 1 abort under way"), "the abort")
        world.sim.faults.add(Fault(kind="status", match="list", status=404))
        await world.until(lambda: says("cannot sweep main"), "the failure")

    run(story)


def test_a_loop_that_hangs_sends_nothing(run: Any) -> None:
    async def story(world: World) -> None:
        world.start()
        await world.until_ready()
        world.manager.listen()
        time.sleep(3 * WATCHDOG_S)  # noqa: ASYNC251  # it is to hang
        heard = len(world.manager.heard)
        assert len(world.manager.messages) == heard
        await world.until(lambda: world.manager.messages[-1][-1] == "WATCHDOG=1", "life after it")

    run(story)


def test_an_agenda_that_has_ended_ends_the_pings(run: Any) -> None:
    async def story(world: World) -> None:
        world.start()
        await world.until_ready()
        watch = world.app.watches[0]
        watch.memory.runs["no run"] = object()  # type: ignore[assignment]  # the next look that is due fails
        watch.agenda.set("no run", world.app.clock.monotonic())
        await world.until(lambda: "has ended" in (world.daemon.stuck() or ""), "the end of the agenda")
        del watch.memory.runs["no run"]
        await asyncio.sleep(2 * WATCHDOG_S)
        assert await world.pings_during(3 * WATCHDOG_S) == 0
        assert world.manager.messages[-1][0].startswith("STATUS=agenda of main: has ended with AttributeError(")

    run(story)


@pytest.mark.parametrize("dead", ["scheduler", "sweeps"])
def test_a_scheduler_that_has_stopped_ends_the_pings(run: Any, dead: str) -> None:
    async def story(world: World) -> None:
        world.start(Pace(beat_s=0.2, stuck_s=0.3))
        await world.until_ready()
        await asyncio.sleep(2.5)
        assert world.daemon.stuck() is None
        scheduler = world.daemon._ticker._scheduler
        if dead == "scheduler":
            scheduler.pause()
        else:
            world.daemon._jobs["main"].remove()
        await world.until(lambda: world.daemon.stuck(), "the suspicion")
        await asyncio.sleep(2 * WATCHDOG_S)
        assert await world.pings_during(3 * WATCHDOG_S) == 0
        words = "scheduler" if dead == "scheduler" else "sweeps of main"
        assert re.search(rf"^STATUS={words}: no sign of life for \d s; to be restarted$", world.manager.messages[-1][0])

    run(story)


class NoRates:
    """Of no account is known how much of its rate budget is used."""

    def rate_of(self, account: str) -> None:
        return None


def test_vitals_go_by_the_monotonic_clock_with_patience() -> None:
    with freeze_time("2026-01-01") as frozen:
        clock = SystemClock()
        rulebook = Rulebook(RuleSet())
        enforcer = Enforcer({}, {}, rulebook, MemoryLedger(), LogObserver(), clock)
        vitals = Vitals([], StatusReader([], enforcer, rulebook, NoRates(), clock), clock)
        vitals.expect("part", 5.0)
        frozen.tick(39.0)
        assert vitals.stuck() is None
        frozen.tick(2.0)
        assert vitals.stuck() == "part: no sign of life for 41 s"
        vitals.beat("part")
        assert vitals.stuck() is None
        assert vitals.status() == "armed; watching 0 runs on 0 accounts; no aborts under way; no sweep yet"
