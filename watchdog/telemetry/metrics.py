"""What Prometheus sees: every metric of docs/metrics.md, kept from the notices.

Three conventions hold for all of them. No label holds a run's id. Counters of what a rule can do exist at zero from
the moment it is loaded, since `increase()` over a counter born at 1 misses the first abort. What is counted from the
records of aborts is counted once per record and fact, exactly, whatever the order: so it continues from the ledger
after a restart at the very value it had.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from pathlib import PurePath
from typing import assert_never

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector

from watchdog import __version__
from watchdog.domain.decision import NO_LIMIT, Abort, AbortState, Response, Saving
from watchdog.domain.meter import Meter
from watchdog.domain.notice import (
    AbortChanged,
    AbortTrouble,
    AccountInfo,
    AdminCalled,
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
from watchdog.domain.run import ACTIVE_STATES, replace
from watchdog.domain.sums import AbortGroup, AbortSums
from watchdog.engine.coverage import Entry, Section
from watchdog.errors import WatchdogError
from watchdog.telemetry import catalogue
from watchdog.telemetry.catalogue import Born, Metric
from watchdog.telemetry.exposition import Breath, Gauge, Labels, render, render_gently
from watchdog.telemetry.families import Families
from watchdog.telemetry.series import of_abort, of_account, reaches

#: So many complete records are remembered, so that each is counted once.
_FINISHED_MAX = 10_000
_TOO_MANY_REQUESTS = 429

_log = logging.getLogger("budget_watchdog.telemetry")


class Metrics:
    """The Observer that counts. Belongs to one event loop and one registry; never raises from `notice`."""

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        version: str = __version__,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._families = Families(self.registry, redact)
        self._accounts: tuple[AccountInfo, ...] = ()
        self._ratio_keys: Collection[Labels] = ()
        self._ratios_changed = False
        self._entries: Sequence[Entry] = ()
        self._match_series: Sequence[tuple[Gauge, Labels] | None] = ()
        self._ratios: dict[str, Mapping[tuple[str, Meter], float]] = {}
        self._unconfirmed: dict[tuple[str, str], set[str]] = {}
        self._ask_lines_lost: Callable[[], int] = int
        self._lines_counted = 0
        self._seen: dict[str, set[str]] = {}
        self._finished: dict[str, None] = {}
        self._families[catalogue.RULE_USAGE].refresh = self._show_ratios
        self._families[catalogue.BUILD_INFO].set((version, platform.python_version()), 1)
        self._families[catalogue.LEDGER_WRITABLE].set((), 1)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def notice(self, notice: Notice) -> None:
        """Take what happened into account. A fault in here is counted and logged, never passed on."""
        try:
            self._take(notice)
        except Exception:  # noqa: BLE001  # whoever gives notice is busy stopping runs
            self._families[catalogue.OBSERVER_ERRORS].add(())
            _log.exception("metrics could not take a notice of kind %s", type(notice).__name__)

    def continue_from(self, sums: Mapping[AbortGroup, AbortSums]) -> None:
        """Continue the counters from what complete aborts add up to: once, before anything else is counted."""
        families = self._families
        for group, summed in sums.items():
            where, rule = (group.platform, group.account), (group.platform, group.account, group.rule)
            families.bear(Born.RULE, of_abort(*rule, group.limit, (group.asked_mode, group.mode)))
            families[catalogue.ABORTS_UNCONFIRMED].born(where)
            if group.rule != MANUAL:
                families[catalogue.BREACHES].add((*rule, group.limit, Response.ABORT), summed.aborts)
            if group.state in catalogue.OUTCOMES:
                families[catalogue.ABORTS].add((*rule, group.limit, group.mode, group.state), summed.aborts)
            families[catalogue.ABORT_SECONDS].add(where, summed.seconds.counts, summed.seconds.total)
            families[catalogue.OVERSHOOT].add(where, summed.overshoot.counts, summed.overshoot.total)
            if group.basis:
                self._add_savings((*rule, group.basis), summed)

    def _add_savings(self, labels: Labels, summed: AbortSums) -> None:
        for metrics, amounts in ((catalogue.SAVED, summed.saved), (catalogue.TAKEN_BACK, summed.taken_back)):
            for unit, amount in amounts.items():
                if amount:
                    self._families[metrics[unit]].add(labels, amount)

    def restore(self, aborts: Iterable[Abort]) -> None:
        """Continue the counters from records that are not in the sums yet. Doing so twice is harmless."""
        for abort in aborts:
            self._count_abort(abort)
            if abort.is_complete and (abort.state is AbortState.CONFIRMED or abort.saving is not None):
                self._count_saving(abort)

    def show_pending(self, records: int) -> None:
        """How many records of aborts wait to be written, between the notices of a change."""
        self._families[catalogue.LEDGER_PENDING].set((), records)

    def show_matches(self, entries: Sequence[Entry], times: Sequence[datetime]) -> None:
        """When each entry of the rule files last matched a run."""
        if entries is not self._entries:
            self._entries, self._match_series = entries, self._show_entries(entries)
        for series, at in zip(self._match_series, times, strict=True):
            if series is not None:
                family, labels = series
                family.set(labels, at.timestamp())

    def _show_entries(self, entries: Sequence[Entry]) -> Sequence[tuple[Gauge, Labels] | None]:
        """The series of each entry, or None where there is no room for it; those of entries that are gone end."""
        all_series = [_series_of(entry) for entry in entries]
        kept = {
            metric: self._families.keep_only(metric, [labels for of, labels in all_series if of is metric])
            for metric in (catalogue.RULE_MATCHED, catalogue.EXCEPTION_MATCHED)
        }
        return [(self._families[of], labels) if labels in kept[of] else None for of, labels in all_series]

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
        breath = Breath()
        for _ in self._showing_ratios():
            await breath.take()
        return await render_gently(self.registry, accept, breath)

    def _count_lines_lost(self) -> None:
        lost = self._ask_lines_lost()
        self._families[catalogue.LINES_LOST].add((), lost - self._lines_counted)
        self._lines_counted = lost

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
                self._count_poll(notice.account, notice.kind, outcome_word(notice.error))
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
                    self._families[catalogue.ARMED].set((account.name,), 1 if notice.arming.is_armed else 0)
            case RulesRejected():
                self._families[catalogue.RELOAD_SUCCESS].set((), 0)
                self._families[catalogue.RELOADS].add((notice.trigger, catalogue.REJECTED))
            case LedgerState():
                self._families[catalogue.LEDGER_WRITABLE].set((), 0 if notice.error else 1)
                self._families[catalogue.LEDGER_PENDING].set((), notice.pending)
            case AdminCalled():
                self._families[catalogue.ADMIN_CALLS].add((notice.admission,))
            case UsageUnknown() | LimitNear() | AbortTrouble() | TokenRenewed() | Trouble():
                pass  # The gauges show these as long as they last; the log tells of each one.
            case _:
                assert_never(notice)

    def _count_look(self, notice: InspectionDone) -> None:
        where = (notice.account.name,)
        self._count_poll(notice.account, catalogue.INSPECTION, catalogue.OK)
        self._families[catalogue.LOOKS_WAITING].set(where, notice.waiting)
        if notice.late_s is not None:
            self._families[catalogue.LOOK_DELAY].observe(where, notice.late_s)

    def _count_poll(self, account: AccountInfo, kind: str, outcome: str) -> None:
        self._families[catalogue.POLLS].add((account.name, kind, outcome))

    def _count_request(self, notice: RequestDone) -> None:
        where = (notice.account, notice.endpoint)
        self._families[catalogue.REQUESTS].add((*where, str(notice.status)))
        self._families[catalogue.REQUEST_SECONDS].observe(where, max(0.0, notice.seconds))
        if notice.family:
            self._show_budget(notice)

    def _show_budget(self, notice: RequestDone) -> None:
        where = (notice.account, notice.family)
        self._families[catalogue.RATE_BUDGET].set((notice.account,), notice.allowed_per_minute)
        self._families[catalogue.RATE_BUDGET_USED].set(where, notice.used)
        limited = self._families[catalogue.RATE_LIMITED]
        limited.born(where)
        if notice.status == _TOO_MANY_REQUESTS:
            limited.add(where)

    def _take_sweep(self, notice: SweepDone) -> None:
        account, families = notice.account, self._families
        own, where = (account.name,), (account.platform, account.name)
        for state in ACTIVE_STATES:
            families[catalogue.RUNS_ACTIVE].set((*where, state), notice.active.get(state, 0))
        for kind in Meter:
            families[catalogue.USAGE_UNKNOWN].set((*where, kind), notice.unknown.get(kind, 0))
        families[catalogue.UNREADABLE].set(own, len(notice.bad_items))
        families[catalogue.NAMES_REFUSED].set(own, len(notice.nameless))
        families[catalogue.LOOKS_WAITING].set(own, notice.waiting)
        self._count_poll(account, catalogue.SWEEP, catalogue.OK)
        families[catalogue.LAST_SUCCESS].set(own, notice.at.timestamp())
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
        closest: dict[Labels, float] = {}
        for ratios in list(self._ratios.values()):
            for key, ratio in ratios.items():
                if ratio > closest.get(key, 0.0):
                    closest[key] = ratio
            yield
        for labels in self._ratio_keys:
            self._families[catalogue.RULE_USAGE].set(labels, closest.get(labels, 0.0))

    def _count_breach(self, notice: LimitBreached) -> None:
        # A breach that is answered by an abort is counted with the record of the abort: the ledger can continue that.
        if notice.breach.response is not Response.ABORT:
            verdict, run = notice.breach.verdict, notice.snapshot
            labels = (run.platform, run.account, verdict.rule.name, verdict.kind, notice.breach.response)
            self._families[catalogue.BREACHES].add(labels)

    # ---- rules

    def _load_rules(self, notice: RulesLoaded) -> None:
        rules, families = notice.rules, self._families
        families[catalogue.RULES].set((), len(rules.rules))
        if notice.trigger is not Trigger.START:
            outcome = catalogue.CHANGED if notice.changes else catalogue.UNCHANGED
            families[catalogue.RELOADS].add((notice.trigger, outcome))
        families[catalogue.RELOAD_SUCCESS].set((), 1)
        families[catalogue.RELOAD_TIMESTAMP].set((), notice.at.timestamp())
        self._take_accounts(notice.accounts)
        families.foresee(list(reaches(rules, notice.accounts)), {rule.name for rule in rules.rules})
        of_limits = [(rule.name, kind) for rule in rules.rules for kind in rule.limits]
        self._ratio_keys = families.keep_only(catalogue.RULE_USAGE, of_limits)
        self._ratios_changed = True

    def _take_accounts(self, accounts: tuple[AccountInfo, ...]) -> None:
        kept = {account.name for account in accounts}
        for account in self._accounts:
            if account.name not in kept:
                self._forget_account(account)
        self._accounts = accounts
        for account in accounts:
            where = (account.platform, account.name)
            self._families.bear(Born.ACCOUNT, of_account(*where))
            # Somebody may ask for an abort at any time, and it may be refused before the next scrape.
            self._families.bear(Born.RULE, of_abort(*where, MANUAL, NO_LIMIT, sorted(account.modes)))

    def _forget_account(self, account: AccountInfo) -> None:
        self._ratios.pop(account.name, None)
        self._ratios_changed = True
        is_waiting = bool(self._unconfirmed.get((account.platform, account.name)))
        self._families.end_account(account.name, spared=(catalogue.ABORTS_UNCONFIRMED,) if is_waiting else ())

    # ---- records of aborts

    def _count_abort(self, abort: Abort) -> None:
        where = (abort.platform, abort.account)
        rule = (*where, abort.rule)
        # Also for what no loaded rule foretold (a rule that is gone): an abort takes long enough, as a rule, for a
        # scrape to see its zero first.
        self._families.bear(Born.RULE, of_abort(*rule, abort.limit_label, (abort.asked_mode, abort.mode)))
        if abort.rule != MANUAL and self._first_time(abort, "breach"):
            self._families[catalogue.BREACHES].add((*rule, abort.limit_label, Response.ABORT))
        self._follow_unconfirmed(abort)
        # One that was withdrawn came to nothing, which is no outcome of an abort.
        if abort.state in catalogue.OUTCOMES and self._first_time(abort, "outcome"):
            self._families[catalogue.ABORTS].add((*rule, abort.limit_label, abort.mode, abort.state))
            seconds = AbortSums.of(abort).seconds
            self._families[catalogue.ABORT_SECONDS].add(where, seconds.counts, seconds.total)

    def _follow_unconfirmed(self, abort: Abort) -> None:
        where = (abort.platform, abort.account)
        waiting = self._unconfirmed.setdefault(where, set())
        if abort.state.is_open and abort.requests > 0:
            waiting.add(abort.id)
        else:
            waiting.discard(abort.id)
        self._families[catalogue.ABORTS_UNCONFIRMED].set(where, len(waiting))

    def _count_saving(self, abort: Abort) -> None:
        if not self._first_time(abort, "saving"):
            return
        summed = AbortSums.of(abort)
        if abort.state is AbortState.CONFIRMED:
            where, past = (abort.platform, abort.account), summed.overshoot
            self._families[catalogue.OVERSHOOT].add(where, past.counts, past.total)
        if abort.saving is not None and abort.saving.basis is not None:
            self._add_savings((abort.platform, abort.account, abort.rule, abort.saving.basis), summed)

    def _count_taken_back(self, abort: Abort, before: Saving) -> None:
        """Count what was taken back of this record since."""
        saving = abort.saving
        if saving is None or saving.basis is None:
            return
        labels = (abort.platform, abort.account, abort.rule, saving.basis)
        now, then = AbortSums.of(abort).taken_back, AbortSums.of(replace(abort, saving=before)).taken_back
        for unit, amount in now.items():
            self._families[catalogue.TAKEN_BACK[unit]].add(labels, max(Fraction(0), amount - then[unit]))

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
    return next(word for kind, word in catalogue.ERROR_WORDS.items() if isinstance(error, kind))


def _series_of(entry: Entry) -> tuple[Metric[Gauge], Labels]:
    if entry.section is Section.RULES:
        return catalogue.RULE_MATCHED, (entry.name,)
    # Exceptions have no names, and what they match may be the id of a run, which no label may hold.
    return catalogue.EXCEPTION_MATCHED, (entry.section, PurePath(entry.selector.place).name)
