"""Stores of every kind behind one fixture, and records to put into them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.decision import Abort, AbortState, Mode, Transition
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import Notice
from watchdog.domain.ports import Ledger
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.ledger.memory import MemoryLedger
from watchdog.ledger.resilient import ResilientLedger
from watchdog.ledger.sqlite import open_sqlite
from watchdog.ledger.store import SqlLedger
from watchdog.ledger.tables import migrate
from watchdog.runtime.clock import SystemClock

T0 = datetime(2026, 11, 22, 3, tzinfo=UTC)


@dataclass
class Making:
    """Plain records, each told apart by what a test says of it."""

    t0: datetime = T0

    def at(self, seconds: float) -> datetime:
        return self.t0 + timedelta(seconds=seconds)

    def run(self, run_id: str = "run", **changes: Any) -> Snapshot:
        values: dict[str, Any] = {
            "account": "main",
            "platform": "apify",
            "run_id": run_id,
            "source": Source("actor:a", "acme/maps", {"actor": ("acme/maps", "maps")}, id="actor:a"),
            "state": RunState.RUNNING,
            "status": "RUNNING",
            "usage": Usage(cost_usd=1.5),
            "seen_at": self.t0,
            "inspected": True,
        }
        return Snapshot(**(values | changes))

    def finished(self, run_id: str, ended_s: float, cost_usd: float, **changes: Any) -> BurnRecord:
        """One that ended by itself, of which no rate is known."""
        final = Usage(credits=None, cost_usd=cost_usd, duration_s=60.0)
        return self.burn(run_id, ended_s, **({"rates": {}, "final": final} | changes))

    def burn(self, run_id: str = "run", ended_s: float = 0.0, **changes: Any) -> BurnRecord:
        values: dict[str, Any] = {
            "account": "main",
            "run_id": run_id,
            "source_id": "actor:a",
            "ended_at": self.at(ended_s),
            "rates": {Meter.CREDITS: 0.5},
            "final": Usage(30.0, 1.5, 60.0),
            "ended_by_itself": True,
        }
        return BurnRecord(**(values | changes))

    def abort(self, abort_id: str = "a1", opened_s: float = 0.0, **changes: Any) -> Abort:
        at = self.at(opened_s)
        values: dict[str, Any] = {
            "id": abort_id,
            "account": "main",
            "platform": "apify",
            "run_id": f"run-{abort_id}",
            "source": "acme/maps",
            "rule": "cap",
            "limit": Meter.COST_USD,
            "limit_value": 1.0,
            "used_at_detection": 1.5,
            "detected_at": at,
            "asked_mode": Mode.IMMEDIATE,
            "mode": Mode.IMMEDIATE,
            "state": AbortState.INTENDED,
            "history": (Transition(AbortState.INTENDED, at),),
            "before": self.run(f"run-{abort_id}"),
        }
        return Abort(**(values | changes))

    def version(self, abort: Abort, number: int) -> Abort:
        """The record `number` steps on: a later version of it."""
        for step in range(number):
            abort = abort.advance(AbortState.REQUESTED, self.at(step), f"step {step}", requests=step + 1)
        return abort


@dataclass
class Notices:
    """An observer that remembers."""

    told: list[Notice] = field(default_factory=list)

    def notice(self, notice: Notice) -> None:
        self.told.append(notice)


Opener = Callable[[Path], AbstractAsyncContextManager[Ledger]]


@asynccontextmanager
async def _memory(folder: Path) -> AsyncIterator[Ledger]:
    yield MemoryLedger()


@cache
def _empty_ledger() -> bytes:
    """A new ledger, made once: the migrations have tests of their own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        store = open_sqlite(path)
        store._database.engine.dispose()
        store._database.thread.shutdown()
        return path.read_bytes()


def new_sqlite(folder: Path) -> SqlLedger:
    """An empty ledger in a file of this folder."""
    path = folder / "ledger.db"
    path.write_bytes(_empty_ledger())
    path.chmod(0o600)
    return open_sqlite(path)


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Ledger]:
    store = new_sqlite(folder)
    yield store
    await store.close()


@asynccontextmanager
async def _resilient(folder: Path) -> AsyncIterator[Ledger]:
    observer = Notices()
    store = ResilientLedger(new_sqlite(folder), observer, SystemClock())
    yield store
    await store.close()
    assert observer.told == []


@asynccontextmanager
async def _postgresql(folder: Path) -> AsyncIterator[Ledger]:
    import sqlalchemy as sa

    engine = sa.create_engine(os.environ["BW_TEST_POSTGRESQL"])
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    migrate(engine)
    store = SqlLedger(engine, "ledger postgresql")
    yield store
    await store.close()


OPENERS: dict[str, Opener] = {"memory": _memory, "sqlite": _sqlite, "resilient": _resilient}
if "BW_TEST_POSTGRESQL" in os.environ:
    # An address such as postgresql+psycopg://user@/base?host=/run; its driver is no dependency of ours.
    OPENERS["postgresql"] = _postgresql


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest) -> Opener:
    """How to open an empty store of each kind."""
    return OPENERS[request.param]


@pytest.fixture
async def store(opener: Opener, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Ledger]:
    """An empty store of each kind."""
    async with opener(tmp_path) as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """The file of an empty ledger."""
    path = tmp_path / "ledger.db"
    path.write_bytes(_empty_ledger())
    path.chmod(0o600)
    return path


@pytest.fixture
def make() -> Making:
    return Making()


@pytest.fixture
def notices() -> Notices:
    return Notices()
