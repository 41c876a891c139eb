"""What holds now: the rules in force, and what people have decided beside them. One object that every poller looks at,
so that a reload is one assignment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from watchdog.domain.decision import Decision, Mode, Verdict
from watchdog.domain.override import Overrides
from watchdog.domain.ports import Ledger
from watchdog.domain.rule import RuleSet
from watchdog.domain.run import Snapshot
from watchdog.engine.evaluate import NO_OVERRIDES, Evaluator, decide


@dataclass(slots=True)
class Rulebook:
    """Rules and overrides ready for use. `generation` rises with every change of rules, `edition` with every change of
    overrides, and `changes` with either, for those who remember what they did under the old ones."""

    rules: RuleSet
    dry_run: bool = False
    overrides: Overrides = NO_OVERRIDES
    generation: int = 0
    edition: int = 0
    changes: int = 0
    evaluator: Evaluator = field(init=False)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asked: int = 0
    _served: int = 0

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.rules)

    def replace(self, rules: RuleSet) -> None:
        """Put other rules in force."""
        self.rules = rules
        self.evaluator = Evaluator(rules)
        self.generation += 1
        self.changes += 1

    async def refresh(self, ledger: Ledger, now: datetime) -> None:
        """Read what people have decided, from the ledger, as it stands at this call or later. Where a hundred runs
        break their limits at once, those that ask while one reading is under way share the next one."""
        self._asked += 1
        asked = self._asked
        async with self._reading:
            if self._served >= asked:
                return
            serves = self._asked
            found = Overrides.of(await ledger.overrides(now))
            self._served = serves
            if found != self.overrides:
                self.overrides = found
                self.edition += 1
                self.changes += 1

    def decide(
        self,
        snapshot: Snapshot,
        verdicts: Sequence[Verdict],
        now: datetime,
        *,
        modes: frozenset[Mode],
        overdue: bool = False,
    ) -> Decision | None:
        """What to do about an inspected run, by the rules and overrides of this moment."""
        return decide(
            snapshot,
            verdicts,
            self.rules,
            modes=modes,
            dry_run=self.dry_run,
            overdue=overdue,
            overrides=self.overrides,
            now=now,
        )

    def tidy(self, account: str, runs: int) -> None:
        """Bound the memory of sources and runs; this account has so many runs now."""
        self.evaluator.tidy(account, runs)
