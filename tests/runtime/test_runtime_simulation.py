"""Random runs, random faults, the whole daemon: whatever happens, the four promises hold.

1. No false kill. 2. No miss. 3. True books. 4. Good citizen. The audit of the World checks 1, 3 and 4 after every
test; here an oracle that knows every run's rules checks 1 and 2 as well, against the platforms' own records.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from watchdog.domain.decision import AbortState
from watchdog.domain.notice import LimitBreached

# A request that is cancelled while it connects (an outage, the end) leaves its socket to the garbage collector: asyncio
# and anyio do that, not we.
pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]

RULES = """
rules:
  - {name: usd, match: {platform: apify, actor: "acme/*"}, limits: {max_cost_usd: 1.5}}
  - {name: usd-soft, match: {actor: "acme/soft"}, limits: {max_cost_usd: 0.75}, resurrect: true}
  - {name: units, match: {actor: ["acme/units", "acme/soft"]}, limits: {max_credits: 0.1}}
  - {name: time, match: {platform: apify, origin: [SCHEDULER]}, limits: {max_duration: 4m}}
  - {name: tell, match: {actor: "acme/*"}, limits: {max_cost_usd: 0.1, max_duration: 30s}, action: notify}
  - {name: squid, match: {platform: lobstr}, limits: {max_credits: 20, max_cost_usd: 0.05}}
  - {name: squid-time, match: {squid: "timed *"}, limits: {max_duration: 3m}}
protect:
  - {match: {run_id: "signed*"}}
  - {match: {squid: "* precious"}}
resurrect:
  - {match: {run_id: "again*"}}
"""

FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 429},
    {"kind": "rate_limited", "retry_after_s": 2},
    {"kind": "html"},
    {"kind": "reset"},
    {"kind": "half"},
    {"kind": "lost_answer"},
    {"kind": "truncated_json"},
    {"kind": "wrong_types"},
    {"kind": "null_usage"},
    {"kind": "missing_usage"},
    {"kind": "unknown_status"},
    {"kind": "bad_item"},
    {"kind": "duplicate_items"},
    {"kind": "slip_items"},
    {"kind": "delay", "delay_s": 0.03},
    {"kind": "abort_ignored"},
    {"kind": "abort_ignored", "claims_stopped": True},
)


@dataclass
class Expected:
    """A run with the limits that may stop it."""

    run: Any
    limits: dict[str, float]

    def _is_over(self, at_s: float) -> bool:
        usage = self.run.usage_at(at_s)
        usd = usage.cost_usd if self.run.platform == "apify" else usage.credits * 0.002
        used = {"max_credits": usage.credits, "max_cost_usd": usd, "max_duration": usage.duration_s}
        return any(used[kind] is not None and used[kind] >= limit - 0.002 for kind, limit in self.limits.items())

    def was_over(self, at: Any) -> bool:
        return self._is_over(self.run._clock.elapsed_at(at))


class Cast:
    """Random runs on both platforms."""

    def __init__(self, w: Any, dice: random.Random) -> None:
        self.w, self.dice = w, dice
        self.expected: list[Expected] = []
        self._named = 0

    def apify(self) -> None:
        dice = self.dice
        name = dice.choice(["soft", "units", "plain"])
        origin = dice.choice(["API", "SCHEDULER"])
        self._named += 1
        run_id = f"{dice.choice(['signed', 'again', 'some', 'some'])}{self._named:011}"
        stopped = dice.choice([0, 0, 900])
        owner = dice.choice(["acme", "acme", "other"])
        run = self.w.apify.start_run(
            self.w.apify.add_actor(owner, name),
            origin=origin,
            memory_mbytes=dice.choice([128, 1024, 4096]),
            usd_per_hour=dice.choice([None, 0.1, 5, 20, 60]),
            ends_after=dice.choice([None, dice.uniform(20, 500)]),
            ends_as=dice.choice(["SUCCEEDED", "FAILED"]),
            timeout_secs=dice.choice([0, 0, 200]),
            ready_for=0 if stopped else dice.choice([0, 0, 15]),
            started_ago=stopped + dice.uniform(0, 60),
            stopped_for=stopped,
            graceful_takes=dice.choice([None, 3]),
            refresh_every=dice.choice([0, 0, 20]),
            run_id=run_id,
        )
        limits: dict[str, float] = {}
        if owner == "acme":
            limits["max_cost_usd"] = 0.75 if name == "soft" else 1.5
            if name in ("soft", "units"):
                limits["max_credits"] = 0.1
        if origin == "SCHEDULER":
            limits["max_duration"] = 240
        self.expected.append(Expected(run, {} if run_id.startswith("signed") else limits))

    def lobstr(self) -> None:
        dice = self.dice
        self._named += 1
        kind, tail = dice.choice(["timed", "plain"]), dice.choice(["", "", " precious"])
        run = self.w.lobstr.start_run(
            self.w.lobstr.add_squid(f"{kind} {self._named}{tail}"),
            credits_per_hour=dice.choice([5, 100, 600]),
            ends_after=dice.choice([None, dice.uniform(20, 500)]),
            pauses=dice.choice([(), ((40, 60),)]),
            pending_for=dice.choice([0, 10]),
        )
        limits = {"max_credits": 20, "max_cost_usd": 0.05}
        if kind == "timed":
            limits["max_duration"] = 180
        self.expected.append(Expected(run, {} if tail else limits))

    def trouble(self) -> None:
        """A fault for a while, at a random place."""
        details = dict(self.dice.choice(FAULTS))
        match = self.dice.choice(["list|squids", "run", "abort", "actor", "stats", "*"])
        account = self.dice.choice([self.w.apify, self.w.lobstr])
        if details["kind"] == "unknown_status":
            match = "list|squids"  # the detail call would say it of runs that have ended, too
        self.w.fault(match=match, account=account, times=self.dice.randint(1, 6), probability=0.7, **details)


#: More of them find more: SIMULATION_SEEDS=200 pytest tests/runtime/test_runtime_simulation.py
SEEDS = int(os.environ.get("SIMULATION_SEEDS", "3"))


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_four_promises_hold_whatever_happens(world: Any, seed: int) -> None:
    dice = random.Random(seed)
    async with world(RULES, speed=200, seed=seed, lobstr={"poll_interval": "10s"}) as w:
        w.lobstr.requests_per_minute = None
        cast = Cast(w, dice)
        for _ in range(8):
            cast.apify()
        for _ in range(4):
            cast.lobstr()
        await w.start()
        for _ in range(12):
            cast.trouble()
            await w.pass_time(dice.uniform(5, 20))
            dice.choice([cast.apify, cast.lobstr, lambda: None])()
        await w.pass_time(150)
        w.sim.faults.clear()

        def no_run_is_over() -> bool:
            return not any(each.run.is_active() and each.was_over(w.sim.clock.now()) for each in cast.expected)

        def all_proven() -> bool:
            return not any(abort.state.is_open for abort in w.app.enforcer.open_aborts)

        # No miss: once the platforms answer again, everything over a limit is stopped, and that is proven.
        await w.until(lambda: no_run_is_over() and all_proven(), "the stop of every run over its limit")

        async def all_settled() -> bool:
            return not await w.app.ledger.open_aborts()

        await w.until(all_settled, "the books being closed")
        await w.stop()
        await check_promises(w, cast.expected)


async def check_promises(w: Any, expected: list[Expected]) -> None:
    by_run = {each.run.id: each for each in expected}
    aborts = await w.aborts()
    confirmed = Counter(abort.run_id for abort in aborts if abort.state is AbortState.CONFIRMED)
    for each in expected:
        truth = each.run.truth()
        if truth.aborted_by_api:
            assert each.was_over(truth.effective_abort_at), f"false kill of {truth.id} ({each.limits})"
            assert confirmed[truth.id] == 1, f"{truth.id} was stopped once and booked {confirmed[truth.id]} times"
        elif not each.limits:
            assert not truth.abort_requests
    for abort in aborts:
        limits = by_run[abort.run_id].limits
        assert limits.get(abort.limit) is not None, f"{abort.run_id} has no such limit"
        assert abort.state in (AbortState.CONFIRMED, AbortState.ALREADY_FINISHED, AbortState.FAILED)
    assert set(confirmed) == {each.run.id for each in expected if each.run.truth().aborted_by_api}
    keys = [
        (each.snapshot.run_id, each.breach.verdict.rule.name, each.breach.verdict.kind, each.breach.response)
        for each in w.told(LimitBreached)
    ]
    resurrected = {each.run.id for each in expected if each.run.platform == "apify" and each.run.resurrect_count}
    assert [key for key, times in Counter(keys).items() if times > 1 and key[0] not in resurrected] == []
