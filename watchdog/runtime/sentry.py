"""Sees to it that everybody knows whether the daemon is armed: tells when a pause begins or ends."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from watchdog.domain.arming import Arming
from watchdog.domain.notice import AccountInfo, ArmingChanged
from watchdog.domain.ports import Clock, Observer, OverrideLedger
from watchdog.errors import LedgerError
from watchdog.runtime.rulebook import Rulebook


class Sentry:
    """Tells each account's arming, once at first and whenever it has changed."""

    def __init__(
        self,
        accounts: Sequence[AccountInfo],
        rulebook: Rulebook,
        ledger: OverrideLedger,
        observer: Observer,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._rulebook = rulebook
        self._ledger = ledger
        self._observer = observer
        self._clock = clock
        self._told: dict[str, Arming] = {}

    async def look(self) -> None:
        """Read what people have decided, and tell what has changed by that, or by time."""
        now = self._clock.now()
        # That the ledger cannot be read is told elsewhere; what was read last still holds, and runs out in time.
        with contextlib.suppress(LedgerError):
            await self._rulebook.refresh(self._ledger, now)
        self.tell()
        await self._rulebook.set_hours_right(self._ledger, now)

    def tell(self) -> None:
        """What was not told yet; accounts that share a state share the notice."""
        now = self._clock.now()
        changed: dict[Arming, list[AccountInfo]] = {}
        for account in self._accounts:
            arming = self._rulebook.arming(account.name, now)
            if self._told.get(account.name) != arming:
                self._told[account.name] = arming
                changed.setdefault(arming, []).append(account)
        for arming, accounts in changed.items():
            self._observer.notice(ArmingChanged(tuple(accounts), arming, now))
