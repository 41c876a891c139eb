"""A platform in memory, for what is measured without a network: snapshots to sweep, and looks that cost nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta

from bench.fleet import BREACH_USD, FleetRun, PlainRule
from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.notice import AccountInfo
from watchdog.domain.ports import Observer, PlatformTraits, Seen, Sweep
from watchdog.domain.rule import Action, Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.ledger.memory import MemoryLedger
from watchdog.platforms.apify_facts import TRAITS
from watchdog.runtime.clock import SystemClock
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.memory import Memory
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.watch import Account, Watch

ACCOUNT = "memory"


def source_of(run: FleetRun) -> Source:
    """As the adapter makes it."""
    actor = run.actor
    names = (actor.label, actor.name, actor.id)
    return Source("|".join(names), actor.label, {"actor": names, "task": ()}, id=f"{actor.id}/")


def snapshots_of(runs: Iterable[FleetRun], sources: dict[str, Source] | None = None) -> list[Snapshot]:
    """The runs as a sweep shows them now; those of one Actor share its source, as they do in the adapter, which keeps
    it from one sweep to the next (`sources`)."""
    sources = {} if sources is None else sources
    now = datetime.now(UTC)
    found = []
    for run in runs:
        source = sources.setdefault(run.actor.id, source_of(run))
        usage = Usage(cost_usd=run.cost_usd, duration_s=(now - run.started_at).total_seconds())
        found.append(
            Snapshot(
                account=ACCOUNT,
                platform="apify",
                run_id=run.id,
                source=source,
                state=RunState.RUNNING,
                status="RUNNING",
                usage=usage,
                seen_at=now,
                inspected=False,
                origin=run.origin,
                started_at=run.started_at,
            )
        )
    return found


def rule_set(rules: Iterable[PlainRule]) -> RuleSet:
    """The rules as the loader makes them."""
    return RuleSet(tuple(map(_rule, rules)))


def _rule(rule: PlainRule) -> Rule:
    limits = {
        Meter.COST_USD: rule.max_cost_usd,
        Meter.DURATION: rule.max_duration_s,
        Meter.CREDITS: rule.max_credits,
    }
    given = {kind: limit for kind, limit in limits.items() if limit is not None}
    return Rule(rule.name, Selector({"actor": (rule.actor,)}), given, Action(rule.action))


class MemoryPlatform:
    """A `Platform` whose runs all run on; looks see them as they are at that moment."""

    traits: PlatformTraits = TRAITS

    def __init__(self, runs: Sequence[FleetRun]) -> None:
        self._runs = {run.id: run for run in runs}
        self._sources: dict[str, Source] = {}
        self._swept = snapshots_of(runs, self._sources)
        self._aborted: set[str] = set()
        #: When each run was looked at first, by the monotonic clock.
        self.looked_at: dict[str, float] = {}

    def refresh(self) -> None:
        """Let the next sweep show the runs as they are now."""
        self._swept = snapshots_of(self._runs.values(), self._sources)

    async def sweep(self, seen: Seen | None = None, watched: Collection[str] = ()) -> Sweep:
        return Sweep(self._swept)

    async def inspect(self, run_id: str, *, urgent: bool = False, progress: bool = False) -> Snapshot:
        self.looked_at.setdefault(run_id, time.monotonic())
        return self._seen(run_id)

    async def abort(self, run_id: str, mode: Mode) -> Snapshot:
        self._aborted.add(run_id)
        return self._seen(run_id)

    async def explain(self, run_id: str, text: str) -> None:
        """There is nobody to read it."""

    async def check(self) -> str:
        return "in memory"

    def _seen(self, run_id: str) -> Snapshot:
        run, now = self._runs[run_id], datetime.now(UTC)
        over = run_id in self._aborted
        ran_s = (now - run.started_at) / timedelta(seconds=1)
        return Snapshot(
            account=ACCOUNT,
            platform="apify",
            run_id=run_id,
            source=self._sources[run.actor.id],
            state=RunState.ABORTED if over else RunState.RUNNING,
            status="ABORTED" if over else "RUNNING",
            usage=Usage(
                credits=run.memory_mbytes / 1024 * ran_s / 3600,
                cost_usd=BREACH_USD if run.crosses else run.cost_usd,
                duration_s=ran_s,
            ),
            seen_at=now,
            inspected=True,
            origin=run.origin,
            started_at=run.started_at,
            finished_at=now if over else None,
            resurrect_count=0,
        )


def watch_over(platform: MemoryPlatform, rules: RuleSet, observer: Observer) -> tuple[Watch, Enforcer]:
    """The real watch and enforcer over it, with a ledger in memory."""
    clock, ledger, rulebook = SystemClock(), MemoryLedger(), Rulebook(rules)
    memory = Memory(clock)
    enforcer = Enforcer({ACCOUNT: platform}, {ACCOUNT: memory}, rulebook, ledger, observer, clock)
    account = Account(
        AccountInfo("apify", ACCOUNT, TRAITS.modes),
        platform,
        rulebook,
        enforcer,
        ledger,
        observer,
        clock,
        memory,
        poll_interval_s=TRAITS.default_poll_interval_s,
        requests_per_minute=6000,
    )
    return Watch(account), enforcer
