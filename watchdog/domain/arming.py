"""Whether breaches lead to aborts at all: armed, dry run, or paused. Whoever looks at the daemon must see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Arming:
    """How it stands with one account. A dry run lasts as long as the process; a pause ends by itself at `until` (UTC;
    None: when somebody ends it). `pause` is the id of the pause; two states are the same whatever the hour of its end,
    which moves with the wall clock."""

    dry_run: bool = False
    pause: str | None = None
    until: datetime | None = field(default=None, compare=False)
    reason: str = ""

    @property
    def is_armed(self) -> bool:
        """Whether a breach of a rule that aborts leads to an abort."""
        return not self.dry_run and self.pause is None

    def __str__(self) -> str:
        """`armed`, `dry run`, or `paused until 2026-11-22 14:00 UTC: the reason`."""
        if self.dry_run:
            return "dry run"
        if self.pause is None:
            return "armed"
        until = f" until {self.until:%Y-%m-%d %H:%M} UTC" if self.until else ""
        return f"paused{until}" + (f": {self.reason}" if self.reason else "")


def summary(armings: Mapping[str, Arming]) -> str:
    """All accounts in one line: `armed`, or `armed on a, b; paused until ... on c`."""
    accounts: dict[str, list[str]] = {}
    for account, arming in armings.items():
        accounts.setdefault(str(arming), []).append(account)
    if len(accounts) <= 1:
        return next(iter(accounts), "armed")
    return "; ".join(f"{state} on {', '.join(names)}" for state, names in accounts.items())
