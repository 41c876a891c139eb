"""What happened, for those who watch the watchdog: metrics, logs, notifiers, the live table.

Each notice is given once per happening: a breach once per run, limit and response, not at every look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from watchdog.domain.arming import Arming
from watchdog.domain.decision import Abort, AbortState, Breach, Mode, Saving, Verdict
from watchdog.domain.meter import Meter
from watchdog.domain.rule import RuleSet
from watchdog.domain.rule_changes import RuleChanges
from watchdog.domain.run import RunState, Snapshot
from watchdog.errors import WatchdogError


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """An account as observers see it: names and what its platform can do; never a token. `match_keys` are the keys of
    rules that only runs of its platform have; None: it does not say."""

    platform: str
    name: str
    modes: frozenset[Mode]
    match_keys: tuple[str, ...] | None = None


class Trigger(StrEnum):
    """What made the rules be read."""

    START = "start"
    SIGNAL = "signal"
    HTTP = "http"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class RulesLoaded:
    """A set of rules is in force, for these accounts. `changes`: against the rules before it (None at the start)."""

    rules: RuleSet
    accounts: tuple[AccountInfo, ...]
    at: datetime
    trigger: Trigger = Trigger.START
    changes: RuleChanges | None = None


@dataclass(frozen=True, slots=True)
class RulesRejected:
    """New rules were not taken; the last good ones stay in force."""

    error: WatchdogError
    at: datetime
    trigger: Trigger = Trigger.SIGNAL


class Admission(StrEnum):
    """What became of an admin call at the door."""

    ACCEPTED = "accepted"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class AdminCalled:
    """Somebody made an admin call over HTTP. `reason` says why it was not let in; `client` is the address it came from
    ("" for the Unix socket)."""

    admission: Admission
    client: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ArmingChanged:
    """Whether breaches on these accounts lead to aborts: told at the start, and when a pause begins or ends."""

    accounts: tuple[AccountInfo, ...]
    arming: Arming
    at: datetime


@dataclass(frozen=True, slots=True)
class SweepDone:
    """A sweep was read and judged.

    `active`: runs by state. `unknown`: active runs by limit kind whose figure for a limit on them is not known.
    `ratios`: by (rule, kind), used over limit of the closest active run. `bad_items`: a sentence per unreadable item.
    `nameless`: a sentence per source whose names will not be had. `waiting`: looks that are due and wait for their
    turn.
    """

    account: AccountInfo
    at: datetime
    seconds: float
    active: Mapping[RunState, int]
    unknown: Mapping[Meter, int]
    ratios: Mapping[tuple[str, Meter], float]
    bad_items: tuple[str, ...] = ()
    waiting: int = 0
    nameless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InspectionDone:
    """One run was looked at in detail; the answer came `late_s` seconds after the look was due (None: not planned, but
    called for by a sweep), and `waiting` other looks are due and wait for their turn."""

    account: AccountInfo
    snapshot: Snapshot
    late_s: float | None = None
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A sweep (`kind` sweep) or an inspection (`kind` inspection) did not succeed; it is tried again in time."""

    account: AccountInfo
    kind: str
    error: WatchdogError
    at: datetime
    failures_in_a_row: int = 1
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class UsageUnknown:
    """A limit cannot be judged, since its figure is missing; told once per run and limit."""

    snapshot: Snapshot
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class LimitNear:
    """A run comes close to a limit; told once per run and limit. By the forecast it breaks it in `expected_s` seconds,
    and would have used `projected` at its own end; None: nothing can be said."""

    snapshot: Snapshot
    verdict: Verdict
    expected_s: float | None = None
    projected: float | None = None


@dataclass(frozen=True, slots=True)
class LimitBreached:
    """A run broke a limit, proven by an inspection, and this is the response."""

    snapshot: Snapshot
    breach: Breach
    mode: Mode


@dataclass(frozen=True, slots=True)
class AbortChanged:
    """An abort went a step further; `before` is the state it came from (None: it was just opened)."""

    abort: Abort
    before: AbortState | None


@dataclass(frozen=True, slots=True)
class AbortTrouble:
    """An abort meets resistance: refused, unreachable, or not stopping. It goes on."""

    abort: Abort
    message: str


@dataclass(frozen=True, slots=True)
class SavingBooked:
    """The figures of an aborted run are settled and what it saved is in the ledger."""

    abort: Abort


@dataclass(frozen=True, slots=True)
class SavingTakenBack:
    """A part of what this abort had saved (`saving.booked_usd` and `booked_credits`) counts no more: its run was
    resurrected, and used it all the same. `before` is what its saving was until now."""

    abort: Abort
    before: Saving


@dataclass(frozen=True, slots=True)
class LedgerState:
    """The ledger cannot be written (`error` says why), or can be again (None). `pending`: records waiting in memory."""

    error: WatchdogError | None
    pending: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RequestDone:
    """One HTTP request to a platform: `status` 0 if no answer came; `seconds` of the wall clock.

    Of the rate budget right after it: `family`, the endpoints that share a limit with this one (empty: not told);
    `allowed_per_minute`, the requests that the account's most limited family may send; `used`, the share that this
    family has used of its own in the last minute.
    """

    account: str
    endpoint: str
    status: int
    seconds: float
    family: str = ""
    allowed_per_minute: int = 0
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenRenewed:
    """The token of `account` ("" is the admin token of the web server) was replaced where it lies, in the file
    `place`, and the new one is used from now on."""

    account: str
    place: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Anything else that somebody should know of, as one sentence; `level` is `warning` or `error`."""

    message: str
    account: str = ""
    run_id: str = ""
    level: str = "warning"


Notice = (
    RulesLoaded
    | RulesRejected
    | ArmingChanged
    | SweepDone
    | InspectionDone
    | PollFailed
    | UsageUnknown
    | LimitNear
    | LimitBreached
    | AbortChanged
    | AbortTrouble
    | SavingBooked
    | SavingTakenBack
    | LedgerState
    | RequestDone
    | AdminCalled
    | TokenRenewed
    | Trouble
)
