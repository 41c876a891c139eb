"""What the books say of runs that are resurrected: a run saves no more than it could have cost."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.notice import SavingTakenBack
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
    metrics.restore(aborts)

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
        w.apify.resurrect(run, ends_after=700.0)
        await w.until(lambda: bool(w.told(SavingTakenBack)), "the correction")
        used = run.truth().usage.cost_usd
        assert used > 7.0
        assert await aborted_runs_save(w, run) == pytest.approx(AT_MOST - used, abs=0.1)
        assert restored(w, await w.aborts()) == {"missing": 0}
