"""How the whole watch stands, read on demand."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.decision import AbortState, Response

pytestmark = pytest.mark.anyio

RULES = """
rules:
  - {name: cap, limits: {max_cost_usd: 10, max_duration: 2h}}
  - {name: tell, limits: {max_cost_usd: 4}, action: notify}
protect:
  - match: {actor: "acme/precious"}
    reason: signed off
"""


async def test_it_shows_accounts_runs_and_aborts(world: Any) -> None:
    async with world(RULES, speed=50.0) as w:
        far = w.apify.start_run(curve=lambda ran_s: 1.0)
        near = w.apify.start_run(curve=lambda ran_s: 8.0)
        precious = w.apify.start_run(w.apify.add_actor("acme", "precious"), curve=lambda ran_s: 2.0)
        squid = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=1)
        await w.start()
        await w.until(lambda: bool(w.counted("breaches", response="notify")), "the notice")
        status = w.app.status.read()
        assert [account.name for account in status.accounts] == ["apify", "lobstr"]
        assert [account.active for account in status.accounts] == [3, 1]
        for account in status.accounts:
            assert account.error is None
            assert account.swept_s is not None
            assert account.rate is not None
            assert 0 < account.rate.used <= account.rate.allowed
        assert status.arming["apify"].is_armed
        assert status.runs[0].run.run_id == near.id, "the closest to a limit first"
        by_id = {run.run.run_id: run for run in status.runs}
        assert set(by_id) == {far.id, near.id, precious.id, squid.id}
        assert by_id[near.id].closest == pytest.approx(2.0)
        assert by_id[near.id].decision is not None
        assert by_id[precious.id].exemption == (Response.PROTECTED, "signed off")
        assert by_id[squid.id].next_look_s is not None, "lobstr's list shows no usage"
        assert [run.run.run_id for run in w.app.status.read(closest=1).runs] == [near.id]
        assert status.open_aborts == ()


async def test_it_shows_aborts_that_are_not_proven_and_accounts_that_fail(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_cost_usd: 0.5}}]") as w:
        run = w.apify.start_run(usd_per_hour=72)
        w.fault("abort_ignored", "abort", run_id=run.id, times=100)
        await w.start()
        w.fault("status", account=w.lobstr, status=500)
        await w.until(lambda: bool(w.app.status.read().open_aborts), "an open abort")
        (abort,) = w.app.status.read().open_aborts
        assert abort.run_id == run.id
        assert abort.state in (AbortState.INTENDED, AbortState.REQUESTED)
        await w.until(lambda: w.app.status.accounts()[1].error is not None, "the failing account")
        assert w.app.status.accounts()[0].error is None
