"""What happens, as lines in the log: one per notice worth a line, with a fixed text per kind and the rest as fields."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timedelta
from typing import Any, assert_never

import structlog

from watchdog.domain.decision import Abort, AbortState, Response, Verdict, describe
from watchdog.domain.duration import format_duration
from watchdog.domain.notice import (
    AbortChanged,
    AbortTrouble,
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
from watchdog.domain.platform import Platforms
from watchdog.domain.run import Snapshot
from watchdog.errors import ConfigurationError, CredentialsRefused, WatchdogError

#: Responses that somebody asked for beforehand; every other breach deserves a look.
_EXPECTED = frozenset({Response.PROTECTED, Response.HELD})


#: How often refused admin calls are worth a line.
_REFUSALS_EVERY = timedelta(minutes=1)


class LogObserver:
    """The Observer that writes lines. Belongs to one event loop; never raises from `notice`."""

    def __init__(self, logger: Any = None, platforms: Platforms | None = None) -> None:
        """`platforms` have the words for their figures."""
        self._platforms = platforms or {}
        self._log = structlog.stdlib.get_logger("budget_watchdog") if logger is None else logger
        self._swept: set[str] = set()
        self._failing: set[str] = set()
        self._bad_items: dict[str, frozenset[str]] = {}
        self._nameless: dict[str, frozenset[str]] = {}
        self._ledger_fails = False
        self._refused = 0
        self._refused_told_at: datetime | None = None

    def notice(self, notice: Notice) -> None:
        """Write what is to be written. A fault in here is told in a line of its own, never passed on."""
        try:
            self._tell(notice)
        except Exception as error:  # noqa: BLE001  # whoever gives notice is busy stopping runs
            with contextlib.suppress(Exception):
                self._log.error("notice not logged", kind=type(notice).__name__, error=str(error))

    def _tell(self, notice: Notice) -> None:
        match notice:
            case RequestDone():
                self._tell_request(notice)
            case InspectionDone():
                self._log.debug("run inspected", **_of_run(notice.snapshot), status=notice.snapshot.status)
            case SweepDone():
                self._tell_sweep(notice)
            case PollFailed():
                self._tell_failure(notice)
            case UsageUnknown():
                fields = _of_run(notice.snapshot) | _of_verdict(notice.verdict)
                self._log.warning("limit cannot be judged", **fields, missing=notice.verdict.why_unknown)
            case LimitNear():
                self._log.info(
                    "limit near", **_of_run(notice.snapshot), **_of_verdict(notice.verdict), **self._of_forecast(notice)
                )
            case LimitBreached():
                self._tell_breach(notice)
            case AbortChanged():
                self._tell_abort(notice)
            case AbortTrouble():
                self._log.error("abort meets trouble", **_of_abort(notice.abort), error=notice.message)
            case SavingBooked():
                self._log.info("saving booked", **_of_abort(notice.abort), **_of_saving(notice.abort))
            case SavingTakenBack():
                self._log.info("saving taken back", **_of_abort(notice.abort), **_of_saving(notice.abort))
            case RulesLoaded():
                self._tell_rules(notice)
            case ArmingChanged():
                self._tell_arming(notice)
            case RulesRejected():
                self._log.error(
                    "rules rejected, the last good ones stay", trigger=notice.trigger, **_of_error(notice.error)
                )
            case AdminCalled():
                self._tell_admin_call(notice)
            case LedgerState():
                self._tell_ledger(notice)
            case TokenRenewed():
                whose = {"account": notice.account} if notice.account else {}
                self._log.info("token replaced, the new one is used", **whose, file=notice.place)
            case Trouble():
                self._tell_trouble(notice)
            case _:
                assert_never(notice)

    def _tell_request(self, notice: RequestDone) -> None:
        self._log.debug(
            "request done",
            account=notice.account,
            endpoint=notice.endpoint,
            status=notice.status,
            seconds=_rounded(notice.seconds),
        )

    def _of_forecast(self, notice: LimitNear) -> dict[str, object]:
        """When the limit is going to be broken, and what the run is headed for; nothing where nothing can be said."""
        told: dict[str, object] = {}
        if notice.expected_s is not None:
            told["expected_in"] = format_duration(notice.expected_s)
        if notice.projected is not None:
            platform = self._platforms.get(notice.snapshot.platform)
            told["projected_final"] = describe(notice.verdict.kind, notice.projected, platform)
        return told

    def _tell_sweep(self, notice: SweepDone) -> None:
        account = notice.account.name
        fields = {
            "platform": notice.account.platform,
            "account": account,
            "active": sum(notice.active.values()),
            "seconds": _rounded(notice.seconds),
        }
        if account in self._failing:
            self._log.info("sweep works again", **fields)
        elif account not in self._swept:
            self._log.info("first sweep done", **fields)
        else:
            self._log.debug("sweep done", **fields)
        self._failing.discard(account)
        self._swept.add(account)
        self._tell_bad_items(notice)

    def _tell_bad_items(self, notice: SweepDone) -> None:
        """Once for as long as an item stays unreadable, or a source without a name, not at every sweep."""
        now = frozenset(notice.bad_items)
        for item in sorted(now - self._bad_items.get(notice.account.name, frozenset())):
            self._log.warning("item not readable", account=notice.account.name, error=item)
        self._bad_items[notice.account.name] = now
        nameless = frozenset(notice.nameless)
        for sentence in sorted(nameless - self._nameless.get(notice.account.name, frozenset())):
            self._log.warning("name refused", account=notice.account.name, error=sentence)
        self._nameless[notice.account.name] = nameless

    def _tell_failure(self, notice: PollFailed) -> None:
        """At the 1st, 2nd, 4th, 8th ... failure in a row; in between only for those who debug."""
        level = logging.ERROR if isinstance(notice.error, CredentialsRefused) else logging.WARNING
        if notice.failures_in_a_row.bit_count() != 1:
            level = logging.DEBUG
        if notice.kind == "sweep":
            self._failing.add(notice.account.name)
        run = {} if notice.run_id is None else {"run_id": notice.run_id}
        self._log.log(
            level,
            f"{notice.kind} failed",
            platform=notice.account.platform,
            account=notice.account.name,
            **run,
            failures_in_a_row=notice.failures_in_a_row,
            **_of_error(notice.error),
        )

    def _tell_breach(self, notice: LimitBreached) -> None:
        breach = notice.breach
        fields = _of_run(notice.snapshot) | _of_verdict(breach.verdict) | {"response": breach.response}
        if breach.verdict.rule.steps:
            fields["step"] = str(breach.verdict.step)
        if breach.response in (Response.ABORT, Response.DRY_RUN):
            fields["mode"] = notice.mode
        level = logging.INFO if breach.response in _EXPECTED else logging.WARNING
        self._log.log(level, "limit breached", **fields, **_note(breach.note))

    def _tell_abort(self, notice: AbortChanged) -> None:
        abort = notice.abort
        fields = _of_abort(abort) | {"state": abort.state}
        if not abort.state.is_open:
            fields["outcome"] = fields.pop("state")
        level = logging.ERROR if abort.state is AbortState.FAILED else logging.INFO
        last = abort.history[-1].note if abort.history else ""
        self._log.log(level, f"abort {abort.state.replace('_', ' ')}", **fields, **_note(last))

    def _tell_rules(self, notice: RulesLoaded) -> None:
        """At the start all there is; after that what has changed, every kind of change being there also if empty."""
        fields: dict[str, object] = {"rules": len(notice.rules.rules)}
        if notice.trigger is Trigger.START or notice.changes is None:
            self._log.info("rules loaded", **fields, accounts=[account.name for account in notice.accounts])
            return
        self._log.info("rules reloaded", trigger=notice.trigger, **fields, **notice.changes.as_lists())

    def _tell_arming(self, notice: ArmingChanged) -> None:
        accounts = [account.name for account in notice.accounts]
        if notice.arming.is_armed:
            self._log.info("armed: what breaks a rule is aborted", accounts=accounts)
        else:
            self._log.warning("not armed: nothing is aborted", arming=str(notice.arming), accounts=accounts)

    def _tell_admin_call(self, notice: AdminCalled) -> None:
        """Who is turned away could fill the disk: one line a minute, with how many calls it stands for."""
        if notice.admission is Admission.ACCEPTED:
            self._log.info("admin call", client=notice.client or "socket")
            return
        self._refused += 1
        if self._refused_told_at is not None and abs(notice.at - self._refused_told_at) < _REFUSALS_EVERY:
            return
        self._log.warning("admin call refused", client=notice.client, error=notice.reason, calls=self._refused)
        self._refused, self._refused_told_at = 0, notice.at

    def _tell_ledger(self, notice: LedgerState) -> None:
        """Only the change: how many records wait is for the metrics."""
        if notice.error is not None and not self._ledger_fails:
            self._log.error("ledger fails, records wait in memory", pending=notice.pending, **_of_error(notice.error))
        elif notice.error is None and self._ledger_fails:
            self._log.warning("ledger works again")
        self._ledger_fails = notice.error is not None

    def _tell_trouble(self, notice: Trouble) -> None:
        level = logging.ERROR if notice.level == "error" else logging.WARNING
        about = {"account": notice.account, "run_id": notice.run_id}
        self._log.log(level, "trouble", error=notice.message, **{key: value for key, value in about.items() if value})


def _of_run(run: Snapshot) -> dict[str, object]:
    return {"platform": run.platform, "account": run.account, "run_id": run.run_id, "source": run.source.label}


def _of_verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "rule": verdict.rule.name,
        "limit": verdict.kind,
        "used": _rounded(verdict.used),
        "limit_value": _rounded(verdict.limit),
    }


def _of_abort(abort: Abort) -> dict[str, object]:
    return {
        "platform": abort.platform,
        "account": abort.account,
        "run_id": abort.run_id,
        "source": abort.source,
        "rule": abort.rule,
        "limit": abort.limit_label,
        # One by hand has no limit, and its figures say nothing.
        "used": _rounded(None if abort.limit is None else abort.used_at_detection),
        "limit_value": _rounded(None if abort.limit is None else abort.limit_value),
        "mode": abort.mode,
        "requests": abort.requests,
    }


def _of_saving(abort: Abort) -> dict[str, object]:
    if abort.saving is None:
        return {"basis": None}
    amounts = {f"saved_{unit}": _rounded(amount) for unit, amount in abort.saving.amounts.items()}
    return {"basis": abort.saving.basis, **amounts}


def _of_error(error: WatchdogError) -> dict[str, object]:
    if isinstance(error, ConfigurationError):
        return {"problems": [str(problem) for problem in error.problems]}
    return {"error": str(error)}


def _note(note: str) -> dict[str, object]:
    return {"note": note} if note else {}


def _rounded(value: float | None) -> float | None:
    """Six digits after the point: what a person or a script can use, without the dust of floating point."""
    return None if value is None else round(value, 6)
