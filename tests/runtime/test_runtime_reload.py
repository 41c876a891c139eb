"""A reload under a daemon at work: what is going on is not disturbed, and what is asked for afterwards is by the new
rules."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from watchdog.domain.decision import AbortState
from watchdog.domain.notice import RulesLoaded, RulesRejected, Trigger
from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules

pytestmark = pytest.mark.anyio

CAP = "rules: [{name: cap, match: {platform: apify}, limits: {max_cost_usd: 1}}]"
GONE = "rules: [{name: other, match: {platform: lobstr}, limits: {max_credits: 1000}}]"
HIGHER = CAP.replace("max_cost_usd: 1", "max_cost_usd: 1000")
BAD = CAP.replace("max_cost_usd", "max_cost")


def rewrite(w: Any, tmp_path: Path, text: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    w.app.settings = w.app.settings.model_copy(update={"rules": file})


@pytest.mark.parametrize("text", [GONE, HIGHER, BAD], ids=["rule gone", "limit higher", "bad file"])
async def test_an_abort_that_was_asked_for_goes_on(world: Any, tmp_path: Path, text: str) -> None:
    async with world(CAP) as w:
        w.fault("abort_ignored", "abort", times=2)
        run = w.apify.start_run(usd_per_hour=3600, started_ago=10)
        await w.start()
        await w.until(lambda: run.abort_requests == 1, "the abort request that does nothing")
        before = await w.abort_of(run)
        rewrite(w, tmp_path, text)
        done = await w.app.reload(Trigger.SIGNAL)
        assert (done.error is None) == (text != BAD)
        (abort,) = await w.until_booked(run)
        assert (abort.id, abort.state, abort.rule) == (before.id, AbortState.CONFIRMED, "cap")
        assert abort.limit_value == 1
        assert run.truth().aborted_by_api
        assert len(await w.aborts()) == 1


async def test_nothing_new_is_aborted_by_the_old_rules(world: Any, tmp_path: Path) -> None:
    async with world(CAP) as w:
        await w.start()
        rewrite(w, tmp_path, HIGHER)
        await w.app.reload()
        run = w.apify.start_run(usd_per_hour=3600, started_ago=10)
        await w.sweeps(3)
        assert not run.abort_requests
        rewrite(w, tmp_path, CAP)
        await w.app.reload()
        await w.until_booked(run)


async def test_a_bad_file_leaves_the_last_good_rules_at_work(world: Any, tmp_path: Path) -> None:
    async with world(CAP) as w:
        await w.start()
        rewrite(w, tmp_path, BAD)
        done = await w.app.reload(Trigger.HTTP)
        assert done.error is not None
        assert "did you mean 'max_cost_usd'" in str(done.error)
        assert w.counted("reload_success") == 0
        assert w.counted("reloads", trigger="http", outcome="rejected") == 1
        assert [notice.trigger for notice in w.told(RulesRejected)] == [Trigger.HTTP]
        run = w.apify.start_run(usd_per_hour=3600, started_ago=10)
        await w.until_booked(run)


async def test_counts_by_trigger_and_outcome(world: Any, tmp_path: Path) -> None:
    async with world(CAP) as w:
        w.build()
        assert {(found["trigger"], found["outcome"]) for found, _ in w.samples("reloads")} == {
            (trigger, outcome)
            for trigger in ("signal", "http", "file")
            for outcome in ("changed", "unchanged", "rejected")
        }
        assert w.counted("reloads") == 0, "the start is no reload"
        rewrite(w, tmp_path, CAP)
        await w.app.reload()
        await w.app.reload(Trigger.HTTP)
        rewrite(w, tmp_path, HIGHER)
        await w.app.reload(Trigger.HTTP)
        assert w.counted("reloads", trigger="signal", outcome="unchanged") == 1
        assert w.counted("reloads", trigger="http", outcome="unchanged") == 1
        assert w.counted("reloads", trigger="http", outcome="changed") == 1
        assert w.counted("reloads") == 3
        assert w.counted("reload_success") == 1
        assert w.told(RulesLoaded)[0].changes is None


async def test_many_at_once_are_done_one_after_the_other(world: Any, tmp_path: Path) -> None:
    async with world(CAP) as w:
        w.build()
        rewrite(w, tmp_path, HIGHER)
        done = await asyncio.gather(*(w.app.reload() for _ in range(8)))
        assert sum(bool(each.changes) for each in done) == 1
        assert w.app.rulebook.rules == load_rules(tmp_path / "rules.yaml", platforms=OURS).rules
