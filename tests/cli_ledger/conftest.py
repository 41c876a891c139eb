"""A ledger with aborts in it, and the commands run on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from watchdog.cli import cli
from watchdog.domain.decision import Abort, AbortState, Basis, Mode, Saving, Transition
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.errors import WatchdogError
from watchdog.ledger.sqlite import open_sqlite
from watchdog.ledger.store import SqlLedger

T0 = datetime(2026, 11, 22, 3, tzinfo=UTC)


def make_abort(abort_id: str = "a1", opened_s: float = 0.0, saved_usd: float | None = None, **changes: Any) -> Abort:
    """An abort; with `saved_usd` one that was confirmed, settled and saved this much."""
    at = T0 + timedelta(seconds=opened_s)
    run = Snapshot(
        "main",
        "apify",
        f"run-{abort_id}",
        Source("actor:a", "acme/maps"),
        RunState.RUNNING,
        "RUNNING",
        Usage(),
        at,
        True,
    )
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
        "before": run,
    }
    abort = Abort(**(values | changes))
    if saved_usd is None:
        return abort
    saving = Saving(Basis.HISTORY, Usage(cost_usd=saved_usd + 1), None, saved_usd, "median of 5")
    return abort.advance(AbortState.CONFIRMED, at, stopped_at=at, settled=True, saving=saving)


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Desk:
    """Runs commands in a folder of their own, as the console script would."""

    folder: Path
    address: str = "sqlite:///./x.db"
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.folder / "x.db"

    def __call__(self, *words: str, ledger: bool = True) -> Result:
        more = ["--ledger", self.address] if ledger else []
        result = CliRunner().invoke(cli, [*words, *more], env=self.environ, standalone_mode=False)
        code, err = result.exit_code, result.stderr
        if isinstance(result.exception, WatchdogError):
            code, err = result.exception.exit_code, err + str(result.exception)
        elif result.exception is not None:
            assert isinstance(result.exception, click.ClickException), repr(result.exception)
            code, err = result.exception.exit_code, err + result.exception.format_message()
        elif isinstance(result.return_value, int):
            code = result.return_value
        return Result(code, result.stdout, err)

    def with_store(self, work: Callable[[SqlLedger], Any]) -> Any:
        async def whole() -> Any:
            store = open_sqlite(self.path)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(whole())

    def save(self, *aborts: Abort) -> None:
        async def save_all(store: SqlLedger) -> None:
            for abort in aborts:
                await store.save(abort)

        self.with_store(save_all)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    for name in ("BUDGET_WATCHDOG_LEDGER", "BUDGET_WATCHDOG_CONFIG", "STATE_DIRECTORY", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Desk(tmp_path)


@pytest.fixture
def make() -> Callable[..., Abort]:
    return make_abort
