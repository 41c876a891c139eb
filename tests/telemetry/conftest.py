"""Builders for the values that notices are made of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog

from watchdog.domain.decision import (
    Abort,
    AbortState,
    Basis,
    Breach,
    Mode,
    Response,
    Saving,
    Transition,
    Verdict,
    VerdictKind,
)
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import AccountInfo, LimitBreached, RulesLoaded, SweepDone
from watchdog.domain.rule import Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace


class Make:
    """One of everything, with the details that a test cares about."""

    noon = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    apify = AccountInfo("apify", "apify-main", frozenset(Mode))
    lobstr = AccountInfo("lobstr", "lobstr-growth", frozenset({Mode.IMMEDIATE}))

    @staticmethod
    def rule(name: str = "maps-cap", *kinds: Meter, **details: object) -> Rule:
        limits = dict.fromkeys(kinds or (Meter.COST_USD,), 5.0)
        return replace(Rule(name, Selector({}), limits), **details)  # type: ignore[arg-type]

    @classmethod
    def loaded(cls, *rules: Rule, accounts: tuple[AccountInfo, ...] | None = None, **more: object) -> RulesLoaded:
        whole = replace(RuleSet(rules), **more)  # type: ignore[arg-type]
        return RulesLoaded(whole, (cls.apify,) if accounts is None else accounts, cls.noon)

    @classmethod
    def run(cls, run_id: str = "run-1", used: float | None = 6.0, **details: object) -> Snapshot:
        run = Snapshot(
            account="apify-main",
            platform="apify",
            run_id=run_id,
            source=Source("actor:maps", "compass/maps"),
            state=RunState.RUNNING,
            status="RUNNING",
            usage=Usage(cost_usd=used),
            seen_at=cls.noon,
            inspected=True,
        )
        return replace(run, **details)  # type: ignore[arg-type]

    @classmethod
    def breached(cls, response: Response, note: str = "", run: Snapshot | None = None) -> LimitBreached:
        verdict = Verdict(cls.rule(), Meter.COST_USD, 5.0, 6.0, VerdictKind.BREACH)
        return LimitBreached(run or cls.run(), Breach(verdict, response, note), Mode.IMMEDIATE)

    @classmethod
    def opened(cls, abort_id: str = "a1", **details: object) -> Abort:
        abort = Abort(
            id=abort_id,
            account="apify-main",
            platform="apify",
            run_id="run-1",
            source="compass/maps",
            rule="maps-cap",
            limit=Meter.COST_USD,
            limit_value=5.0,
            used_at_detection=6.0,
            detected_at=cls.noon,
            asked_mode=Mode.IMMEDIATE,
            mode=Mode.IMMEDIATE,
            state=AbortState.INTENDED,
            history=(Transition(AbortState.INTENDED, cls.noon),),
            before=cls.run(),
        )
        return replace(abort, **details)  # type: ignore[arg-type]

    @classmethod
    def requested(cls, abort_id: str = "a1", **details: object) -> Abort:
        at = cls.noon + timedelta(seconds=1)
        return cls.opened(abort_id, **details).advance(AbortState.REQUESTED, at, requests=1, requested_at=at)

    @classmethod
    def closed(cls, abort_id: str = "a1", state: AbortState = AbortState.CONFIRMED, **details: object) -> Abort:
        at = cls.noon + timedelta(seconds=8)
        return cls.requested(abort_id, **details).advance(state, at, stopped_at=at)

    @classmethod
    def booked(
        cls, abort_id: str = "a1", usd: float | None = 3.0, used: float | None = 5.5, **details: object
    ) -> Abort:
        saving = Saving(Basis.PROGRESS, Usage(cost_usd=9.0), credits=None, usd=usd)
        closed = cls.closed(abort_id, **details)
        return replace(closed, final=cls.run(used=used, state=RunState.ABORTED), settled=True, saving=saving)

    @classmethod
    def swept(cls, account: AccountInfo | None = None, **details: object) -> SweepDone:
        sweep = SweepDone(account or cls.apify, cls.noon, 0.2, {RunState.RUNNING: 2}, {}, {})
        return replace(sweep, **details)  # type: ignore[arg-type]


@pytest.fixture
def make() -> type[Make]:
    return Make


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Leaves the logging of the process as it was."""
    names = ("", "httpx", "httpcore", "uvicorn", "apscheduler", "asyncio")
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    structlog.reset_defaults()
