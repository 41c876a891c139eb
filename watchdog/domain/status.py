"""How the whole watch stands at one moment, for those who show it: the command line, health, metrics, pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from watchdog.domain.arming import Arming
from watchdog.domain.decision import Abort, Decision, Response, Verdict, VerdictKind
from watchdog.domain.notice import AccountInfo
from watchdog.domain.run import Snapshot
from watchdog.errors import PlatformError


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run that is watched.

    `run` is the look that `verdicts` are about, one for each limit; `decision` what was decided on it last; `exemption`
    what would keep it from being aborted now, with a note. In `next_look_s` seconds it is looked at (None: sweeps are
    looks enough), and in `breach_s` it may plausibly break a limit (inf: nothing says so). `is_over`: it was seen to
    have ended. `failures`: looks in a row that failed.
    """

    run: Snapshot
    verdicts: tuple[Verdict, ...]
    decision: Decision | None = None
    exemption: tuple[Response, str] | None = None
    next_look_s: float | None = None
    breach_s: float = float("inf")
    is_over: bool = False
    failures: int = 0

    @property
    def closest(self) -> float:
        """How close it is to a limit: used over limit, of the nearest one whose figure is known."""
        known = (each.ratio for each in self.verdicts if each.verdict is not VerdictKind.UNKNOWN)
        return max((ratio for ratio in known if ratio is not None), default=0.0)


@dataclass(frozen=True, slots=True)
class RateUse:
    """How much of a rate budget is used: requests of the last minute, and how many a minute may have at present."""

    used: int
    allowed: int


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """An account. `swept_s` seconds ago it was last swept (None: never), every `interval_s`; `error`: why the last
    sweep failed. `active`: runs that are not seen to be over; `looks_waiting`: looks that are due and wait for their
    turn."""

    info: AccountInfo
    arming: Arming
    interval_s: float
    swept_s: float | None
    error: PlatformError | None
    active: int
    looks_waiting: int
    rate: RateUse | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.info.name


@dataclass(frozen=True, slots=True)
class Status:
    """All accounts; their runs, the closest to a limit first; the aborts whose stop is not proven yet."""

    at: datetime
    accounts: tuple[AccountStatus, ...]
    runs: tuple[RunStatus, ...]
    open_aborts: tuple[Abort, ...]

    @property
    def arming(self) -> Mapping[str, Arming]:
        """Whether breaches lead to aborts, account by account."""
        return {account.name: account.arming for account in self.accounts}
