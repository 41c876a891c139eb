"""The rules in force: one object that every poller looks at, so that a reload is one assignment."""

from __future__ import annotations

from dataclasses import dataclass, field

from watchdog.domain.rule import RuleSet
from watchdog.engine.evaluate import Evaluator

#: More sources than this remembered, and the memory of them is dropped and built anew.
_SOURCES_MAX = 100_000


@dataclass(slots=True)
class Rulebook:
    """Rules ready for use. `generation` rises with every change, for those who remember what they did under the old
    ones."""

    rules: RuleSet
    dry_run: bool = False
    generation: int = 0
    evaluator: Evaluator = field(init=False)

    def __post_init__(self) -> None:
        self.evaluator = Evaluator(self.rules)

    def replace(self, rules: RuleSet) -> None:
        """Put other rules in force."""
        self.rules = rules
        self.evaluator = Evaluator(rules)
        self.generation += 1

    def tidy(self) -> None:
        """Bound the memory of sources."""
        if len(self.evaluator) > _SOURCES_MAX:
            self.evaluator.forget_sources()
