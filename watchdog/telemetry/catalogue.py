"""The table of all metrics: one entry each, with its name, help text, labels, and from when on its series exist.

docs/metrics.md says the same to people, and a test compares the two. The families are made from this table, and their
series born and ended by it (`watchdog.telemetry.families`); `watchdog.telemetry.metrics` only says what happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, TypeVar

from watchdog.domain.decision import AbortState, Basis
from watchdog.domain.meter import Meter
from watchdog.domain.notice import Admission, Trigger
from watchdog.domain.run import ACTIVE_STATES
from watchdog.domain.sums import ABORT_SECONDS_BOUNDS, OVERSHOOT_BOUNDS
from watchdog.errors import (
    BadAnswer,
    CredentialsRefused,
    Gone,
    RateLimited,
    Refused,
    ServerFault,
    Unreachable,
    WatchdogError,
)
from watchdog.telemetry.exposition import Counter, Family, Gauge, Histogram

PREFIX = "budget_watchdog_"

F = TypeVar("F", bound=Family)


class Born(Enum):
    """From when on the series of a metric exist."""

    #: From the start of the process.
    START = auto()
    #: As soon as the account is watched.
    ACCOUNT = auto()
    #: As soon as the rule is loaded, on every account on which it can do this; aborts by hand with the account. As far
    #: as there is room: `series_left_out` has the rest.
    RULE = auto()
    #: As long as the entry of the rule files is in force; as far as there is room, too.
    ENTRY = auto()
    #: With its first figure: nobody can know before which series there are going to be.
    USE = auto()


@dataclass(frozen=True, slots=True, eq=False)
class Metric(Generic[F]):
    """One metric. `name` is without the prefix, and as it is written on the page (a counter's with `_total`).

    `values` has, of those labels that neither the account nor the rule decides, every value that exists from its birth
    on. `bounds` are the upper bounds of a histogram, ascending, without infinity. Gauges with a label `account` end
    with the account.
    """

    kind: type[F]
    name: str
    help_text: str
    labels: tuple[str, ...] = ()
    born: Born = Born.USE
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bounds: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus knows it."""
        return PREFIX + self.name


# ---- the words of labels that are ours alone

SWEEP, INSPECTION = _POLL_KINDS = ("sweep", "inspection")
OK = "ok"
#: One word per class of error, the particular ones first.
ERROR_WORDS: Mapping[type[WatchdogError], str] = {
    Unreachable: "unreachable",
    RateLimited: "rate_limited",
    ServerFault: "server_fault",
    BadAnswer: "bad_answer",
    CredentialsRefused: "credentials_refused",
    Refused: "refused",
    Gone: "gone",
    WatchdogError: "error",
}
CHANGED, UNCHANGED, REJECTED = _RELOAD_OUTCOMES = ("changed", "unchanged", "rejected")
#: How an abort can end that came to an end: `withdrawn` is no outcome, since it came to nothing.
OUTCOMES = (AbortState.CONFIRMED, AbortState.ALREADY_FINISHED, AbortState.FAILED)

_WHERE = ("platform", "account")
_OF_SAVINGS = (*_WHERE, "rule", "basis")
_BASES = {"basis": tuple(Basis)}

# ---- breaches, aborts, savings

BREACHES = Metric(
    Counter,
    "breaches_total",
    "Limits broken, by what was done about it.",
    (*_WHERE, "rule", "limit", "response"),
    Born.RULE,
)
ABORTS = Metric(
    Counter,
    "aborts_total",
    "Aborts that came to an end.",
    (*_WHERE, "rule", "limit", "mode", "outcome"),
    Born.RULE,
    {"outcome": OUTCOMES},
)
ABORTS_UNCONFIRMED = Metric(
    Gauge,
    "aborts_unconfirmed",
    "Aborts asked for whose run is not yet proven to have stopped.",
    _WHERE,
    Born.ACCOUNT,
)
#: What aborted runs did not use, by what it is counted in: the keys are those of `AbortSums.saved`.
SAVED = {
    "credits": Metric(
        Counter,
        "saved_credits_total",
        "Credits (compute units on Apify) that aborted runs did not use, estimated; by basis cap: at most.",
        _OF_SAVINGS,
        Born.RULE,
        _BASES,
    ),
    "usd": Metric(
        Counter,
        "saved_usd_total",
        "US dollars that aborted runs did not cost, estimated; by basis cap: at most.",
        _OF_SAVINGS,
        Born.RULE,
        _BASES,
    ),
}
#: Of that, what counts no more.
TAKEN_BACK = {
    "credits": Metric(
        Counter,
        "saved_credits_taken_back_total",
        "Saved credits that count no more: the run was resurrected and used them all the same.",
        _OF_SAVINGS,
        Born.RULE,
        _BASES,
    ),
    "usd": Metric(
        Counter,
        "saved_usd_taken_back_total",
        "Saved US dollars that count no more: the run was resurrected and cost them all the same.",
        _OF_SAVINGS,
        Born.RULE,
        _BASES,
    ),
}
OVERSHOOT = Metric(
    Histogram,
    "overshoot_ratio",
    "Settled usage of an aborted run past its limit, over the limit.",
    _WHERE,
    Born.ACCOUNT,
    bounds=OVERSHOOT_BOUNDS,
)
ABORT_SECONDS = Metric(
    Histogram,
    "abort_seconds",
    "Time from seeing the breach to the proof that the run stopped.",
    _WHERE,
    Born.ACCOUNT,
    bounds=ABORT_SECONDS_BOUNDS,
)

# ---- runs

RUNS_ACTIVE = Metric(
    Gauge,
    "runs_active",
    "Active runs in the last sweep.",
    (*_WHERE, "state"),
    Born.ACCOUNT,
    {"state": ACTIVE_STATES},
)
USAGE_UNKNOWN = Metric(
    Gauge,
    "usage_unknown_runs",
    "Active runs with a limit that cannot be judged: the figure is missing.",
    (*_WHERE, "limit"),
    Born.ACCOUNT,
    {"limit": tuple(Meter)},
)
UNREADABLE = Metric(
    Gauge, "unreadable_items", "Items of the last sweep that could not be read.", ("account",), Born.ACCOUNT
)
NAMES_REFUSED = Metric(
    Gauge,
    "names_refused",
    "Sources of active runs whose names the platform refuses to tell.",
    ("account",),
    Born.ACCOUNT,
)
RULE_USAGE = Metric(
    Gauge,
    "rule_usage_ratio",
    "Usage of the active run closest to the limit, over the limit.",
    ("rule", "limit"),
    Born.ENTRY,
)
RULE_MATCHED = Metric(
    Gauge,
    "rule_matched_timestamp_seconds",
    "When a run was last seen that the rule matches; since when it is in force, if there was none.",
    ("rule",),
    Born.ENTRY,
)
EXCEPTION_MATCHED = Metric(
    Gauge,
    "exception_matched_timestamp_seconds",
    "When a run was last seen that an entry of protect or resurrect matches; else since when it is in force.",
    ("section", "place"),
    Born.ENTRY,
)

# ---- platforms

LOOKS_WAITING = Metric(
    Gauge, "looks_waiting", "Looks at runs that are due and wait for their turn.", ("account",), Born.ACCOUNT
)
LOOK_DELAY = Metric(
    Histogram,
    "look_delay_seconds",
    "From when a look was due to its answer.",
    ("account",),
    Born.ACCOUNT,
    bounds=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
POLLS = Metric(
    Counter,
    "polls_total",
    "Looks at a platform.",
    ("account", "kind", "outcome"),
    Born.ACCOUNT,
    {"kind": _POLL_KINDS, "outcome": (OK, *ERROR_WORDS.values())},
)
LAST_SUCCESS = Metric(
    Gauge,
    "last_success_timestamp_seconds",
    "When the last sweep succeeded; 0 before the first.",
    ("account",),
    Born.ACCOUNT,
)
REQUESTS = Metric(
    Counter, "platform_requests_total", "HTTP requests; status 0 had no answer.", ("account", "endpoint", "status")
)
REQUEST_SECONDS = Metric(
    Histogram,
    "platform_request_seconds",
    "Duration of HTTP requests.",
    ("account", "endpoint"),
    bounds=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
RATE_BUDGET = Metric(
    Gauge,
    "rate_budget_requests",
    "Requests a minute that the account's most limited endpoint family may send at present.",
    ("account",),
)
RATE_BUDGET_USED = Metric(
    Gauge,
    "rate_budget_used_ratio",
    "Requests of the last minute over those that the family may send, as of its last request.",
    ("account", "family"),
)
RATE_LIMITED = Metric(
    Counter, "rate_limited_total", "Requests that the platform answered with 429.", ("account", "family")
)

# ---- the watchdog itself

RULES = Metric(Gauge, "rules", "Rules in force.", born=Born.START)
ARMED = Metric(Gauge, "armed", "1 if breaches lead to aborts, 0 in a dry run or pause.", ("account",))
RELOAD_SUCCESS = Metric(Gauge, "reload_success", "Whether the last loading of rules succeeded.", born=Born.START)
RELOAD_TIMESTAMP = Metric(
    Gauge, "reload_timestamp_seconds", "When rules were last loaded with success.", born=Born.START
)
RELOADS = Metric(
    Counter,
    "reloads_total",
    "Reloads of the rules since the start.",
    ("trigger", "outcome"),
    Born.START,
    {"trigger": tuple(each for each in Trigger if each is not Trigger.START), "outcome": _RELOAD_OUTCOMES},
)
ADMIN_CALLS = Metric(
    Counter,
    "admin_calls_total",
    "Admin calls, by what became of them.",
    ("outcome",),
    Born.START,
    {"outcome": tuple(Admission)},
)
LINES_LOST = Metric(Counter, "log_lines_lost_total", "Lines of the log that nobody took.", born=Born.START)
OBSERVER_ERRORS = Metric(Counter, "observer_errors_total", "Notices that the metrics failed to take.", born=Born.START)
LEFT_OUT = Metric(
    Gauge, "series_left_out", "Series of rules that do not exist, as the metric has as many as it may.", ("metric",)
)
BUILD_INFO = Metric(Gauge, "build_info", "What is running; always 1.", ("version", "python"))
LEDGER_WRITABLE = Metric(Gauge, "ledger_writable", "Whether the ledger can be written.", born=Born.START)
LEDGER_PENDING = Metric(Gauge, "ledger_pending_records", "Records of aborts that wait to be written.", born=Born.START)

#: In the order of the page.
METRICS: tuple[Metric[Any], ...] = (
    BREACHES,
    ABORTS,
    ABORTS_UNCONFIRMED,
    *SAVED.values(),
    *TAKEN_BACK.values(),
    OVERSHOOT,
    ABORT_SECONDS,
    RUNS_ACTIVE,
    USAGE_UNKNOWN,
    UNREADABLE,
    NAMES_REFUSED,
    RULE_USAGE,
    RULE_MATCHED,
    EXCEPTION_MATCHED,
    LOOKS_WAITING,
    LOOK_DELAY,
    POLLS,
    LAST_SUCCESS,
    REQUESTS,
    REQUEST_SECONDS,
    RATE_BUDGET,
    RATE_BUDGET_USED,
    RATE_LIMITED,
    RULES,
    ARMED,
    RELOAD_SUCCESS,
    RELOAD_TIMESTAMP,
    RELOADS,
    ADMIN_CALLS,
    LINES_LOST,
    OBSERVER_ERRORS,
    LEFT_OUT,
    BUILD_INFO,
    LEDGER_WRITABLE,
    LEDGER_PENDING,
)
