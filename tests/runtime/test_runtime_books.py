"""What the books say of runs that are resurrected: a run saves no more than it could have cost."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.decision import AbortState
from watchdog.domain.notice import SavingTakenBack
from watchdog.domain.sums import sum_up
from watchdog.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

#: 36 dollars an hour under a time-out of 1,000 s: the run can cost 10 dollars in all.
RULES = "rules: [{name: cap, limits: {max_cost_usd: 1.00}}]"
BURN, TIMEOUT_S, AT_MOST = 36.0, 1000, 10.0


async def aborted_runs_save(w: Any, run: Any) -> float:
    """What all aborts of this run have saved together."""
    return sum(abort.saving.usd or 0.0 for abort in await w.aborts() if abort.run_id == run.id and abort.saving)


def restored(w: Any, aborts: list[Any]) -> dict[str, float]:
    """Every counter of savings after a restart, beside the live one."""
    metrics = Metrics()
    metrics.continue_from(sum_up(aborts))
    metrics.restore([abort for abort in aborts if not abort.is_complete])

    def lines(source: Metrics) -> set[str]:
        text = source.render()[0].decode()
        return {line for line in text.splitlines() if "_saved_" in line and not line.startswith("#")}

    return {"missing": len(lines(metrics) - lines(w.app.metrics))}


async def booked(w: Any, run: Any, count: int) -> None:
    async def so_many() -> bool:
        return sum(each.is_complete and each.run_id == run.id for each in await w.aborts()) == count

    await w.until(so_many, f"{count} booked aborts")


async def test_a_run_aborted_resurrected_and_aborted_again_is_saved_once(world: Any) -> None:
    async with world(RULES) as w:
        run = w.apify.start_run(usd_per_hour=BURN, timeout_secs=TIMEOUT_S, max_total_charge_usd=AT_MOST)
        await w.start()
        await booked(w, run, 1)
        first = await aborted_runs_save(w, run)
        for again in (2, 3):
            w.apify.resurrect(run)
            await booked(w, run, again)
            used = run.truth().usage.cost_usd
            assert await aborted_runs_save(w, run) <= AT_MOST - used + 0.01
        assert 8.0 < await aborted_runs_save(w, run) < first
        assert w.counted("saved_usd") == pytest.approx(first), "a counter does not go down"
        assert restored(w, await w.aborts()) == {"missing": 0}, "and is the same after a restart"


async def test_what_a_resurrected_run_used_after_all_is_taken_back(world: Any) -> None:
    async with world(RULES) as w:
        run = w.apify.start_run(usd_per_hour=BURN, timeout_secs=TIMEOUT_S, max_total_charge_usd=AT_MOST)
        await w.start()
        await booked(w, run, 1)
        assert await aborted_runs_save(w, run) > 8.0
        w.fault("status", "abort", status=403)  # nobody stops it this time
        w.audited = False  # the truth of a run does not tell which of its lives was aborted
        w.apify.resurrect(run, ends_after=700.0)
        await w.until(lambda: bool(w.told(SavingTakenBack)), "the correction")
        used = run.truth().usage.cost_usd
        assert used > 7.0
        assert await aborted_runs_save(w, run) == pytest.approx(AT_MOST - used, abs=0.1)
        assert restored(w, await w.aborts()) == {"missing": 0}


# ---- figures that are not final yet

LOBSTR_CAP = "rules: [{name: cap, limits: {max_credits: 20}}]"


def shows(w: Any, credits_used: float, *, is_done: bool) -> Any:
    """From now on lobstr says this of every run in detail: e-mail addresses are verified, and billed, after the end."""
    verification = {
        "status": "running",
        "progress": "20%",
        "verified_emails": 2,
        "total_emails": 10,
        "is_done": is_done,
    }
    return w.fault("wrong_types", "run", fields={"credit_used": credits_used, "email_verification": verification})


async def finished_credits(w: Any, run: Any) -> list[float | None]:
    return [usage.credits for usage in await w.app.ledger.finished_usages(run.squid.id)]


async def test_an_abort_is_booked_when_the_verification_of_addresses_is_done(world: Any) -> None:
    async with world(LOBSTR_CAP) as w:
        w.audited = False  # by these figures, which are not those of the simulated run
        run = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600)
        verifying = shows(w, 30.0, is_done=False)
        await w.start()
        await w.until(lambda: run.truth().status == "aborted", "the stop")
        await w.pass_time(60)
        abort = await w.abort_of(run)
        assert abort.state is AbortState.CONFIRMED
        assert not abort.settled
        verifying.remove()
        shows(w, 45.0, is_done=True)
        (booked_at_last,) = await w.until_booked(run)
        assert booked_at_last.final.usage.credits == 45.0


async def test_a_run_that_ended_by_itself_is_remembered_by_its_final_figures(world: Any) -> None:
    async with world("rules: [{name: cap, limits: {max_credits: 1000}}]", lobstr={"poll_interval": "5s"}) as w:
        run = w.lobstr.start_run(w.lobstr.add_squid("s"), credits_per_hour=3600, ends_after=20.0)
        verifying = shows(w, 30.0, is_done=False)
        await w.start()

        async def remembered(amount: float) -> bool:
            return await finished_credits(w, run) == [amount]

        await w.until(lambda: remembered(30.0), "the first figures")
        verifying.remove()
        shows(w, 45.0, is_done=True)
        await w.until(lambda: remembered(45.0), "the final figures")
        history = await w.app.ledger.burns([run.squid.id])
        assert [record.final.credits for record in history[run.squid.id]] == [45.0]


async def test_a_run_that_goes_on_does_not_wait_for_the_figures_of_its_last_abort(world: Any) -> None:
    """Whether a platform can resurrect a run whose figures settle is its own affair: a breach is answered at once."""
    async with world(LOBSTR_CAP, lobstr={"poll_interval": "5s"}) as w:
        w.audited = False
        squid = w.lobstr.add_squid("s")
        run = w.lobstr.start_run(squid, credits_per_hour=3600)
        verifying = shows(w, 30.0, is_done=False)
        await w.start()
        await w.until(lambda: run.truth().status == "aborted", "the stop")
        await w.pass_time(300)
        verifying.remove()
        w.fault("wrong_types", "run", fields={"status": "running", "credit_used": 50.0, "ended_at": None}, times=8)
        w.fault("wrong_types", "list", fields={"status": "running", "credit_used": 50.0}, times=8)
        w.fault("wrong_types", "squids", fields={"last_run_status": "RUNNING"}, times=8)
        await w.until(lambda: w.requests("abort") > 1, "another abort", patience_s=5)

        async def is_settled() -> bool:
            return min(await w.aborts(), key=lambda each: each.detected_at).settled

        await w.until(is_settled, "the first record, whose figures are those of its own stop")
