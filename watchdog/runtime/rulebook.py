"""What holds now: the rules in force, and what people have decided beside them. One object that every watch looks at,
so that a reload is one assignment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from watchdog.domain.arming import Arming
from watchdog.domain.decision import Abort, Mode
from watchdog.domain.override import Overrides
from watchdog.domain.ports import OverrideLedger
from watchdog.domain.rule import RuleSet
from watchdog.domain.run import Snapshot
from watchdog.engine.decide import NO_OVERRIDES, Ruling
from watchdog.engine.evaluate import Evaluator
from watchdog.engine.grounds import Grounds, grounds_of, margin_of
from watchdog.errors import LedgerError
from watchdog.runtime.clock import steady
from watchdog.runtime.leases import Leases


@dataclass(slots=True)
class Rulebook:
    """Rules and overrides ready for use. `generation` rises with every change of rules, `edition` with every change of
    overrides, and `changes` with either, for those who remember what they did under the old ones. Holds and pauses run
    down by the clock `steady_s` (seconds)."""

    rules: RuleSet
    dry_run: bool = False
    steady_s: Callable[[], float] = steady
    overrides: Overrides = NO_OVERRIDES
    generation: int = 0
    edition: int = 0
    changes: int = 0
    evaluator: Evaluator = field(init=False)
    _leases: Leases = field(init=False)
    _since: dict[str, int] = field(init=False)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: int = 0
    _served: int = 0

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.rules)
        self._leases = Leases(self.steady_s)
        self._since = {rule.name: 0 for rule in self.rules.rules}

    def replace(self, rules: RuleSet) -> None:
        """Put other rules in force."""
        before = {rule.name: rule for rule in self.rules.rules}
        self.rules = rules
        self.evaluator = Evaluator(rules)
        self.generation += 1
        self.changes += 1
        known, self._since = self._since, {}
        for rule in rules.rules:
            is_same = rule.says_the_same_as(before.get(rule.name))
            self._since[rule.name] = known.get(rule.name, 0) if is_same else self.generation

    def is_as_in(self, generation: int, rule: str) -> bool:
        """Whether the rule of this name says what it said in that generation of rules."""
        return self._since.get(rule, generation + 1) <= generation

    async def refresh(self, ledger: OverrideLedger, now: datetime) -> None:
        """Read what people have decided, from the ledger, as it stands at this call or later. Where a hundred runs
        break their limits at once, those that ask while one reading is under way share the next one."""
        self._asked += 1
        asked = self._asked
        async with self._reading:
            if self._served >= asked:
                return
            serves = self._asked
            read = await ledger.overrides(self._leases.hour_to_ask_for(now))
            found = Overrides.of(self._leases.take(read, now))
            self._served = serves
            if found != self.overrides:
                self.overrides = found
                self.edition += 1
                self.changes += 1

    def arming(self, account: str, now: datetime) -> Arming:
        """Whether breaches on this account lead to aborts at this moment."""
        pause = Overrides(self._leases.in_force(now)).pause_of(account, now)
        if pause is None:
            return Arming(self.dry_run)
        return Arming(self.dry_run, pause.id, pause.until, pause.reason)

    async def set_hours_right(self, ledger: OverrideLedger, now: datetime) -> None:
        """Let the ledger say when holds and pauses really end, should the wall clock have been set: for those who read
        it, and the next daemon. Nothing here depends on it."""
        with contextlib.suppress(LedgerError):
            for override in self._leases.misplaced(now):
                await ledger.move_override(override.id, override.until)

    def ruling(self, now: datetime) -> Ruling:
        """The rules and overrides of this moment, to decide by."""
        return Ruling(self.rules, Overrides(self._leases.in_force(now)), self.dry_run, now)

    def grounds(self, abort: Abort, seen: Snapshot, now: datetime) -> Grounds:
        """How the reason of an abort stands by a new look at its run alone, and by what holds now."""
        verdicts = self.evaluator.verdicts(seen, margin_of(abort, seen))
        # Whatever else is going on, only whether the run is to be stopped is in question here.
        decision = self.ruling(now).decide(seen, verdicts, modes=frozenset({Mode.IMMEDIATE}), overdue=True)
        return grounds_of(abort, seen, verdicts, decision)

    def tidy(self, account: str, runs: int) -> None:
        """Bound the memory of sources and runs; this account has so many runs now."""
        self.evaluator.tidy(account, runs)
