"""What Prometheus sees: every metric of docs/metrics.md, kept from the notices.

Three conventions hold for all of them. No label holds a run's id. Counters of what a rule can do exist at zero from
the moment it is loaded, since `increase()` over a counter born at 1 misses the first abort. What is counted from the
records of aborts is counted once per record and fact, exactly, whatever the order: so it continues from the ledger
after a restart at the very value it had.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import PurePath
from typing import assert_never

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from watchdog import __version__
from watchdog.domain.decision import NO_LIMIT, Abort, AbortState, Basis, Response, Saving
from watchdog.domain.meter import Meter
from watchdog.domain.notice import (
    AbortChanged,
    AbortTrouble,
    AccountInfo,
    AdminCalled,
    Admission,
    ArmingChanged,
    InspectionDone,
    LedgerState,
    LimitBreached,
    LimitNear,
    Notice,
    PollFailed,
    RequestDone,
    RulesLoaded,
    RulesRejected,
    SavingBooked,
    SavingTakenBack,
    SweepDone,
    TokenRenewed,
    Trigger,
    Trouble,
    UsageUnknown,
)
from watchdog.domain.override import MANUAL
from watchdog.domain.rule import RuleSet
from watchdog.domain.run import ACTIVE_STATES
from watchdog.domain.sums import ABORT_SECONDS_BOUNDS, OVERSHOOT_BOUNDS, AbortGroup, AbortSums, taken_back
from watchdog.engine.coverage import Entry, Section
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
from watchdog.telemetry.exposition import Counter, Gauge, Histogram, render, render_gently
from watchdog.telemetry.series import Reach, reaches

PREFIX = "budget_watchdog_"

#: A metric has at most so many series of what rules can do, and of rules; what happens is counted all the same.
SERIES_MAX = 10_000
#: So many complete records are remembered, so that each is counted once.
_FINISHED_MAX = 10_000
LOOK_DELAY_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
REQUEST_SECONDS_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

_OK = "ok"
_OUTCOMES: Mapping[type[WatchdogError], str] = {
    Unreachable: "unreachable",
    RateLimited: "rate_limited",
    ServerFault: "server_fault",
    BadAnswer: "bad_answer",
    CredentialsRefused: "credentials_refused",
    Refused: "refused",
    Gone: "gone",
    WatchdogError: "error",
}
_POLL_KINDS = ("sweep", "inspection")
_CHANGED, _UNCHANGED, _REJECTED = _RELOAD_OUTCOMES = ("changed", "unchanged", "rejected")
_RELOAD_TRIGGERS = tuple(trigger for trigger in Trigger if trigger is not Trigger.START)
_TOO_MANY_REQUESTS = 429
_CLOSED = (AbortState.CONFIRMED, AbortState.ALREADY_FINISHED, AbortState.FAILED)

_log = logging.getLogger("budget_watchdog.telemetry")


class Metrics:
    """The Observer that counts. Belongs to one event loop and one registry; never raises from `notice`."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        version: str = __version__,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._redact = redact
        self.registry = registry if registry is not None else CollectorRegistry()
        self._accounts: tuple[AccountInfo, ...] = ()
        self._ratio_keys: dict[tuple[str, Meter], None] = {}
        self._ratios_changed = False
        self._entries: Sequence[Entry] = ()
        self._match_series: list[tuple[Gauge | None, tuple[str, ...]]] = []
        self._ratios: dict[str, Mapping[tuple[str, Meter], float]] = {}
        self._unconfirmed: dict[tuple[str, str], set[str]] = {}
        self._ask_lines_lost: Callable[[], int] = int
        self._lines_counted = 0
        self._seen: dict[str, set[str]] = {}
        self._finished: dict[str, None] = {}
        self._make_abort_families()
        self._make_run_families()
        self._make_own_families(version)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def notice(self, notice: Notice) -> None:
        """Take what happened into account. A fault in here is counted and logged, never passed on."""
        try:
            self._take(notice)
        except Exception:  # noqa: BLE001  # whoever gives notice is busy stopping runs
            self._observer_errors.add(())
            _log.exception("metrics could not take a notice of kind %s", type(notice).__name__)

    def continue_from(self, sums: Mapping[AbortGroup, AbortSums]) -> None:
        """Continue the counters from what complete aborts add up to: once, before anything else is counted."""
        for group, summed in sums.items():
            where, rule = (group.platform, group.account), (group.platform, group.account, group.rule)
            self._bear_outcomes((*rule, group.limit), {group.asked_mode, group.mode})
            self._bear_savings(rule)
            self._aborts_unconfirmed.born(where)
            if group.rule != MANUAL:
                self._breaches.add((*rule, group.limit, Response.ABORT), summed.aborts)
            if group.state in _CLOSED:
                self._aborts.add((*rule, group.limit, group.mode, group.state), summed.aborts)
            self._abort_seconds.add(where, summed.seconds.counts, summed.seconds.total)
            self._overshoot.add(where, summed.overshoot.counts, summed.overshoot.total)
            if group.basis:
                self._add_savings((*rule, group.basis), summed)

    def _add_savings(self, labels: tuple[str, str, str, str], summed: AbortSums) -> None:
        for counter, amount in (
            (self._saved_credits, summed.saved_credits),
            (self._saved_usd, summed.saved_usd),
            (self._taken_back_credits, summed.taken_back_credits),
            (self._taken_back_usd, summed.taken_back_usd),
        ):
            if amount:
                counter.add(labels, amount)

    def restore(self, aborts: Iterable[Abort]) -> None:
        """Continue the counters from records that are not in the sums yet. Doing so twice is harmless."""
        for abort in aborts:
            self._count_abort(abort)
            if abort.is_complete and (abort.state is AbortState.CONFIRMED or abort.saving is not None):
                self._count_saving(abort)

    def show_pending(self, records: int) -> None:
        """How many records of aborts wait to be written, between the notices of a change."""
        self._ledger_pending.set((), records)

    def show_matches(self, entries: Sequence[Entry], times: Sequence[datetime]) -> None:
        """When each entry of the rule files last matched a run."""
        if entries is not self._entries:
            self._entries = entries
            self._show_entries(entries)
        for (family, labels), at in zip(self._match_series, times, strict=True):
            if family is not None:
                family.set(labels, at.timestamp())

    def _show_entries(self, entries: Sequence[Entry]) -> None:
        """Which series they have; those of entries that are gone end."""
        self._match_series = []
        shown: dict[Gauge, dict[tuple[str, ...], None]] = {self._rule_matched: {}, self._exception_matched: {}}
        for entry in entries:
            family, labels = self._series_of(entry)
            has_room = labels in shown[family] or len(shown[family]) < SERIES_MAX
            self._match_series.append((family if has_room else None, labels))
            if has_room:
                shown[family][labels] = None
        for family, kept in shown.items():
            self._leave_out(family, sum(self._series_of(entry)[0] is family for entry in entries) - len(kept))
            for labels in family.series():
                if labels not in kept:
                    family.drop(labels)

    def _series_of(self, entry: Entry) -> tuple[Gauge, tuple[str, ...]]:
        if entry.section is Section.RULES:
            return self._rule_matched, (entry.name,)
        # Exceptions have no names, and what they match may be the id of a run, which no label may hold.
        return self._exception_matched, (entry.section, PurePath(entry.selector.place).name)

    def watch_log(self, lines_lost: Callable[[], int]) -> None:
        """Ask this at each scrape how many lines of the log were lost so far."""
        self._ask_lines_lost = lines_lost

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """The answer to a scrape with this Accept header: the body and its content type."""
        self._count_lines_lost()
        return render(self.registry, accept)

    async def rendered(self, accept: str = "") -> tuple[bytes, str]:
        """The same, without holding up whoever else is busy meanwhile."""
        self._count_lines_lost()
        for _ in self._showing_ratios():
            await asyncio.sleep(0)
        return await render_gently(self.registry, accept)

    def _count_lines_lost(self) -> None:
        lost = self._ask_lines_lost()
        self._lines_lost.add((), lost - self._lines_counted)
        self._lines_counted = lost

    # ---- the metrics

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        family = Counter(PREFIX + name, help_text, labels, self._redact)
        self.registry.register(family)
        return family

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        family = Gauge(PREFIX + name, help_text, labels, self._redact)
        self.registry.register(family)
        return family

    def _histogram(self, name: str, help_text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        family = Histogram(PREFIX + name, help_text, labels, bounds, self._redact)
        self.registry.register(family)
        return family

    def _make_abort_families(self) -> None:
        where = ("platform", "account")
        self._breaches = self._counter(
            "breaches_total", "Limits broken, by what was done about it.", *where, "rule", "limit", "response"
        )
        self._aborts = self._counter(
            "aborts_total", "Aborts that came to an end.", *where, "rule", "limit", "mode", "outcome"
        )
        self._aborts_unconfirmed = self._gauge(
            "aborts_unconfirmed", "Aborts asked for whose run is not yet proven to have stopped.", *where
        )
        self._saved_credits = self._counter(
            "saved_credits_total",
            "Credits (compute units on Apify) that aborted runs did not use, estimated; by basis cap: at most.",
            *(*where, "rule", "basis"),
        )
        self._saved_usd = self._counter(
            "saved_usd_total",
            "US dollars that aborted runs did not cost, estimated; by basis cap: at most.",
            *(*where, "rule", "basis"),
        )
        self._taken_back_credits = self._counter(
            "saved_credits_taken_back_total",
            "Saved credits that count no more: the run was resurrected and used them all the same.",
            *(*where, "rule", "basis"),
        )
        self._taken_back_usd = self._counter(
            "saved_usd_taken_back_total",
            "Saved US dollars that count no more: the run was resurrected and cost them all the same.",
            *(*where, "rule", "basis"),
        )
        self._savings = (self._saved_credits, self._saved_usd, self._taken_back_credits, self._taken_back_usd)
        self._overshoot = self._histogram(
            "overshoot_ratio",
            "Settled usage of an aborted run past its limit, over the limit.",
            OVERSHOOT_BOUNDS,
            *where,
        )
        self._abort_seconds = self._histogram(
            "abort_seconds",
            "Time from seeing the breach to the proof that the run stopped.",
            ABORT_SECONDS_BOUNDS,
            *where,
        )

    def _make_run_families(self) -> None:
        where = ("platform", "account")
        self._runs_active = self._gauge("runs_active", "Active runs in the last sweep.", *where, "state")
        self._usage_unknown = self._gauge(
            "usage_unknown_runs",
            "Active runs with a limit that cannot be judged: the figure is missing.",
            *where,
            "limit",
        )
        self._unreadable = self._gauge("unreadable_items", "Items of the last sweep that could not be read.", "account")
        self._nameless = self._gauge(
            "names_refused", "Sources of active runs whose names the platform refuses to tell.", "account"
        )
        self._rule_usage = self._gauge(
            "rule_usage_ratio", "Usage of the active run closest to the limit, over the limit.", "rule", "limit"
        )
        self._rule_usage.refresh = self._show_ratios
        self._rule_matched = self._gauge(
            "rule_matched_timestamp_seconds",
            "When a run was last seen that the rule matches; since when it is in force, if there was none.",
            "rule",
        )
        self._exception_matched = self._gauge(
            "exception_matched_timestamp_seconds",
            "When a run was last seen that an entry of protect or resurrect matches; else since when it is in force.",
            "section",
            "place",
        )
        self._looks_waiting = self._gauge(
            "looks_waiting", "Looks at runs that are due and wait for their turn.", "account"
        )
        self._look_delay = self._histogram(
            "look_delay_seconds", "From when a look was due to its answer.", LOOK_DELAY_BOUNDS, "account"
        )
        self._polls = self._counter("polls_total", "Looks at a platform.", "account", "kind", "outcome")
        self._last_success = self._gauge(
            "last_success_timestamp_seconds", "When the last sweep succeeded; 0 before the first.", "account"
        )
        self._requests = self._counter(
            "platform_requests_total", "HTTP requests; status 0 had no answer.", "account", "endpoint", "status"
        )
        self._request_seconds = self._histogram(
            "platform_request_seconds", "Duration of HTTP requests.", REQUEST_SECONDS_BOUNDS, "account", "endpoint"
        )
        self._budget = self._gauge(
            "rate_budget_requests",
            "Requests a minute that the account's most limited endpoint family may send at present.",
            "account",
        )
        self._budget_used = self._gauge(
            "rate_budget_used_ratio",
            "Requests of the last minute over those that the family may send, as of its last request.",
            "account",
            "family",
        )
        self._rate_limited = self._counter(
            "rate_limited_total", "Requests that the platform answered with 429.", "account", "family"
        )

    def _make_own_families(self, version: str) -> None:
        self._rules = self._gauge("rules", "Rules in force.")
        self._armed = self._gauge("armed", "1 if breaches lead to aborts, 0 in a dry run or pause.", "account")
        self._reload_success = self._gauge("reload_success", "Whether the last loading of rules succeeded.")
        self._reload_timestamp = self._gauge("reload_timestamp_seconds", "When rules were last loaded with success.")
        self._reloads = self._counter("reloads_total", "Reloads of the rules since the start.", "trigger", "outcome")
        self._admin_calls = self._counter("admin_calls_total", "Admin calls, by what became of them.", "outcome")
        self._lines_lost = self._counter("log_lines_lost_total", "Lines of the log that nobody took.")
        self._observer_errors = self._counter("observer_errors_total", "Notices that the metrics failed to take.")
        self._left_out = self._gauge(
            "series_left_out", "Series of rules that do not exist, as the metric has as many as it may.", "metric"
        )
        self._build_info = self._gauge("build_info", "What is running; always 1.", "version", "python")
        self._build_info.set((version, platform.python_version()), 1)
        self._ledger_writable = self._gauge("ledger_writable", "Whether the ledger can be written.")
        self._ledger_pending = self._gauge("ledger_pending_records", "Records of aborts that wait to be written.")
        for gauge in (self._rules, self._reload_success, self._reload_timestamp, self._ledger_pending):
            gauge.born(())
        self._ledger_writable.set((), 1)
        self._observer_errors.born(())
        self._lines_lost.born(())
        for trigger in _RELOAD_TRIGGERS:
            for outcome in _RELOAD_OUTCOMES:
                self._reloads.born((trigger, outcome))
        for admission in Admission:
            self._admin_calls.born((admission,))

    # ---- notices

    def _take(self, notice: Notice) -> None:
        match notice:
            case RequestDone():
                self._count_request(notice)
            case InspectionDone():
                self._count_look(notice)
            case SweepDone():
                self._take_sweep(notice)
            case PollFailed():
                self._polls.add((notice.account.name, notice.kind, outcome_word(notice.error)))
            case LimitBreached():
                self._count_breach(notice)
            case AbortChanged():
                self._count_abort(notice.abort)
            case SavingBooked():
                self._count_saving(notice.abort)
            case SavingTakenBack():
                self._count_taken_back(notice.abort, notice.before)
            case RulesLoaded():
                self._load_rules(notice)
            case ArmingChanged():
                for account in notice.accounts:
                    self._armed.set((account.name,), 1 if notice.arming.is_armed else 0)
            case RulesRejected():
                self._reload_success.set((), 0)
                self._reloads.add((notice.trigger, _REJECTED))
            case LedgerState():
                self._ledger_writable.set((), 0 if notice.error else 1)
                self._ledger_pending.set((), notice.pending)
            case AdminCalled():
                self._admin_calls.add((notice.admission,))
            case UsageUnknown() | LimitNear() | AbortTrouble() | TokenRenewed() | Trouble():
                pass  # The gauges show these as long as they last; the log tells of each one.
            case _:
                assert_never(notice)

    def _count_look(self, notice: InspectionDone) -> None:
        name = notice.account.name
        self._polls.add((name, "inspection", _OK))
        self._looks_waiting.set((name,), notice.waiting)
        if notice.late_s is not None:
            self._look_delay.observe((name,), notice.late_s)

    def _count_request(self, notice: RequestDone) -> None:
        self._requests.add((notice.account, notice.endpoint, str(notice.status)))
        self._request_seconds.observe((notice.account, notice.endpoint), max(0.0, notice.seconds))
        if notice.family:
            self._show_budget(notice)

    def _show_budget(self, notice: RequestDone) -> None:
        where = (notice.account, notice.family)
        self._budget.set((notice.account,), notice.allowed_per_minute)
        self._budget_used.set(where, notice.used)
        self._rate_limited.born(where)
        if notice.status == _TOO_MANY_REQUESTS:
            self._rate_limited.add(where)

    def _take_sweep(self, notice: SweepDone) -> None:
        account = notice.account
        for state in ACTIVE_STATES:
            self._runs_active.set((account.platform, account.name, state), notice.active.get(state, 0))
        for kind in Meter:
            self._usage_unknown.set((account.platform, account.name, kind), notice.unknown.get(kind, 0))
        self._unreadable.set((account.name,), len(notice.bad_items))
        self._nameless.set((account.name,), len(notice.nameless))
        self._looks_waiting.set((account.name,), notice.waiting)
        self._polls.add((account.name, "sweep", _OK))
        self._last_success.set((account.name,), notice.at.timestamp())
        self._ratios[account.name] = notice.ratios
        self._ratios_changed = True

    def _show_ratios(self) -> None:
        """Of all accounts together, once for each scrape: there may be a sweep a second, of thousands of rules."""
        for _ in self._showing_ratios():
            pass

    def _showing_ratios(self) -> Iterator[None]:
        """The same, with a pause after each account."""
        if not self._ratios_changed:
            return
        self._ratios_changed = False
        closest: dict[tuple[str, Meter], float] = {}
        for ratios in list(self._ratios.values()):
            for key, ratio in ratios.items():
                if ratio > closest.get(key, 0.0):
                    closest[key] = ratio
            yield
        for key in self._ratio_keys:
            self._rule_usage.set(key, closest.get(key, 0.0))

    def _count_breach(self, notice: LimitBreached) -> None:
        # A breach that is answered by an abort is counted with the record of the abort: the ledger can continue that.
        if notice.breach.response is not Response.ABORT:
            verdict, run = notice.breach.verdict, notice.snapshot
            self._breaches.add((run.platform, run.account, verdict.rule.name, verdict.kind, notice.breach.response))

    # ---- rules

    def _load_rules(self, notice: RulesLoaded) -> None:
        self._rules.set((), len(notice.rules.rules))
        if notice.trigger is not Trigger.START:
            self._reloads.add((notice.trigger, _CHANGED if notice.changes else _UNCHANGED))
        self._reload_success.set((), 1)
        self._reload_timestamp.set((), notice.at.timestamp())
        self._take_accounts(notice.accounts)
        self._bear_all(notice.rules, notice.accounts)
        keys = [(rule.name, kind) for rule in notice.rules.rules for kind in rule.limits]
        self._ratio_keys = dict.fromkeys(keys[:SERIES_MAX])
        self._leave_out(self._rule_usage, len(keys) - len(self._ratio_keys))
        for labels in set(self._rule_usage.series()) - self._ratio_keys.keys():
            self._rule_usage.drop(labels)
        for key in self._ratio_keys:
            self._rule_usage.born(key)
        self._ratios_changed = True

    def _bear_all(self, rules: RuleSet, accounts: tuple[AccountInfo, ...]) -> None:
        """Let the counters exist at 0 of what the rules can do, as far as there is room for them."""
        found = [(reach, *foreseen) for reach in reaches(rules, accounts) for foreseen in self._foreseen(reach)]
        wanted = Counts[Counter]()
        for reach, family, more in found:
            wanted[family] += len(more) * len(reach.rules)
        names = {rule.name for rule in rules.rules} | {MANUAL}
        for family, series in wanted.items():
            if len(family) + series > SERIES_MAX:
                family.drop_unused(lambda labels: labels[2] not in names)
        for reach, family, more in found:
            self._bear(family, reach, more)
        for family in (self._breaches, self._aborts, *self._savings):
            there = sum(labels[2] != MANUAL for labels in family.series())
            self._leave_out(family, max(0, wanted[family] - there))

    def _leave_out(self, family: Counter | Gauge, series: int) -> None:
        self._left_out.set((family.name.removeprefix(PREFIX),), series)

    def _take_accounts(self, accounts: tuple[AccountInfo, ...]) -> None:
        kept = {account.name for account in accounts}
        for account in self._accounts:
            if account.name not in kept:
                self._forget_account(account)
        self._accounts = accounts
        for account in accounts:
            self._bear_account(account)

    def _forget_account(self, account: AccountInfo) -> None:
        self._ratios.pop(account.name, None)
        self._ratios_changed = True
        self._unreadable.drop((account.name,))
        self._nameless.drop((account.name,))
        self._looks_waiting.drop((account.name,))
        self._last_success.drop((account.name,))
        self._armed.drop((account.name,))
        self._budget.drop((account.name,))
        for labels in self._budget_used.series():
            if labels[0] == account.name:
                self._budget_used.drop(labels)
        for state in ACTIVE_STATES:
            self._runs_active.drop((account.platform, account.name, state))
        for kind in Meter:
            self._usage_unknown.drop((account.platform, account.name, kind))
        if not self._unconfirmed.get((account.platform, account.name)):
            self._aborts_unconfirmed.drop((account.platform, account.name))

    def _bear_account(self, account: AccountInfo) -> None:
        where = (account.platform, account.name)
        for state in ACTIVE_STATES:
            self._runs_active.born((*where, state))
        for limit in Meter:
            self._usage_unknown.born((*where, limit))
        for poll_kind in _POLL_KINDS:
            for outcome in (_OK, *_OUTCOMES.values()):
                self._polls.born((account.name, poll_kind, outcome))
        for family in (self._unreadable, self._nameless, self._looks_waiting, self._last_success, self._look_delay):
            family.born((account.name,))
        for of_place in (self._aborts_unconfirmed, self._overshoot, self._abort_seconds):
            of_place.born(where)
        # Somebody may ask for an abort at any time, and it may be refused before the next scrape.
        self._bear_outcomes((*where, MANUAL, NO_LIMIT), account.modes)
        self._bear_savings((*where, MANUAL))

    def _foreseen(self, reach: Reach) -> Iterator[tuple[Counter, Sequence[tuple[str, ...]]]]:
        """What can come of each of these rules: metrics, with the labels after the rule's."""
        limits, modes = reach.limits, reach.modes
        yield self._breaches, [(limit, response) for limit in limits for response in reach.responses]
        yield self._aborts, [(limit, mode, outcome) for limit in limits for mode in modes for outcome in _CLOSED]
        for family in self._savings if modes else ():
            yield family, [(basis,) for basis in Basis]

    @staticmethod
    def _bear(family: Counter, reach: Reach, more: Sequence[tuple[str, ...]]) -> None:
        where = (reach.account.platform, reach.account.name)
        for rule in reach.rules:
            if len(family) + len(more) > SERIES_MAX:
                return
            for labels in more:
                family.born((*where, rule.name, *labels))

    def _bear_outcomes(self, labels: tuple[str, str, str, str], modes: Iterable[str]) -> None:
        for mode in modes:
            for outcome in _CLOSED:
                self._aborts.born((*labels, mode, outcome))

    def _bear_savings(self, labels: tuple[str, str, str]) -> None:
        for basis in Basis:
            for family in self._savings:
                family.born((*labels, basis))

    # ---- records of aborts

    def _count_abort(self, abort: Abort) -> None:
        where = (abort.platform, abort.account)
        rule = (*where, abort.rule)
        # Also for what no loaded rule foretold (a rule that is gone): an abort takes long enough, as a rule, for a
        # scrape to see its zero first.
        self._bear_outcomes((*rule, abort.limit_label), {abort.asked_mode, abort.mode})
        self._bear_savings(rule)
        if abort.rule != MANUAL and self._first_time(abort, "breach"):
            self._breaches.add((*rule, abort.limit_label, Response.ABORT))
        self._follow_unconfirmed(abort)
        # One that was withdrawn came to nothing, which is no outcome of an abort.
        if abort.state in _CLOSED and self._first_time(abort, "outcome"):
            self._aborts.add((*rule, abort.limit_label, abort.mode, abort.state))
            seconds = AbortSums.of(abort).seconds
            self._abort_seconds.add(where, seconds.counts, seconds.total)

    def _follow_unconfirmed(self, abort: Abort) -> None:
        where = (abort.platform, abort.account)
        waiting = self._unconfirmed.setdefault(where, set())
        if abort.state.is_open and abort.requests > 0:
            waiting.add(abort.id)
        else:
            waiting.discard(abort.id)
        self._aborts_unconfirmed.set(where, len(waiting))

    def _count_saving(self, abort: Abort) -> None:
        if not self._first_time(abort, "saving"):
            return
        summed = AbortSums.of(abort)
        if abort.state is AbortState.CONFIRMED:
            self._overshoot.add((abort.platform, abort.account), summed.overshoot.counts, summed.overshoot.total)
        if abort.saving is not None and abort.saving.basis is not None:
            self._add_savings((abort.platform, abort.account, abort.rule, abort.saving.basis), summed)

    def _count_taken_back(self, abort: Abort, before: Saving) -> None:
        """Count what was taken back of this record since."""
        saving = abort.saving
        if saving is None or saving.basis is None:
            return
        labels = (abort.platform, abort.account, abort.rule, saving.basis)
        now, then = taken_back(saving), taken_back(before)
        for counter, after, counted in zip((self._taken_back_credits, self._taken_back_usd), now, then, strict=True):
            counter.add(labels, max(Fraction(0), after - counted))

    def _first_time(self, abort: Abort, fact: str) -> bool:
        """Whether this fact of this record has not been counted yet; from now on it has. Of records that are complete
        only the latest are remembered: nothing more comes of them."""
        facts = self._seen.setdefault(abort.id, set())
        if fact in facts:
            return False
        facts.add(fact)
        if abort.is_complete:
            self._finished[abort.id] = None
            if len(self._finished) > _FINISHED_MAX:
                oldest = next(iter(self._finished))
                del self._finished[oldest], self._seen[oldest]
        return True


def outcome_word(error: WatchdogError) -> str:
    """The `outcome` label of `polls_total` for an error: one word per class of error, `error` for any other."""
    return next(word for kind, word in _OUTCOMES.items() if isinstance(error, kind))
