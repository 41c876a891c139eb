"""What is in force, for `check`: for people, in as many columns as there are, and for scripts."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from watchdog.cli.common import Loaded, surroundings
from watchdog.cli.view import UNMATCHED_MAX, plain_entries
from watchdog.config.models import AccountSettings
from watchdog.domain.decision import describe
from watchdog.domain.duration import format_duration
from watchdog.domain.rule import Rule, Selector
from watchdog.engine.coverage import Entry
from watchdog.errors import PlatformError
from watchdog.platforms.registry import PlatformSpec
from watchdog.text import escaped

_NARROWEST = 40


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found: the configuration, where the ledger will be and what becomes of it, what each platform said
    (by account, if it was asked), and what matched none of the runs that there are (None: nobody looked)."""

    loaded: Loaded
    specs: Mapping[str, PlatformSpec]
    ledger: str
    ledger_state: str
    warnings: Sequence[str]
    tried: Mapping[str, str | PlatformError]
    runs: int | None = None
    unmatched: Sequence[Entry] = ()


def as_text(report: Report, columns: int | None = None) -> str:
    """For people. `columns`: where lines are to end; None does not break them, so that they can be searched."""
    return "\n".join(part for line in _lines(report) for part in _wrapped(escaped(line), columns))


def columns_of_output() -> int | None:
    """How wide the terminal is, or what COLUMNS says; None if the output goes elsewhere."""
    if not sys.stdout.isatty() and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return max(_NARROWEST, shutil.get_terminal_size().columns)


def _wrapped(line: str, columns: int | None) -> list[str]:
    if columns is None or len(line) <= columns:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(line, columns, subsequent_indent=indent, break_on_hyphens=False)


def _lines(report: Report) -> Iterator[str]:
    settings, rules = report.loaded.settings, report.loaded.rules.rules
    yield f"configuration: {settings.file or 'environment only'}"
    for account in settings.accounts:
        yield from _account_lines(account, report)
    files = len(report.loaded.rules.files)
    yield f"{_count(len(rules.rules), 'rule')} from {_count(files, 'file')} in {settings.rules}"
    for rule in rules.rules:
        yield from _rule_lines(rule, report)
    if rules.protect:
        yield "protected, never aborted:"
        yield from (_exception(each.selector, each.reason) for each in rules.protect)
    if rules.resurrect:
        yield "resurrected later, aborted gracefully:"
        yield from (_exception(selector) for selector in rules.resurrect)
    yield f"ledger: {report.ledger}, {report.ledger_state}"
    yield f"listening on {settings.listen}: {_doors(report)}"
    yield from _unmatched_lines(report)
    yield from (f"warning: {warning}" for warning in report.warnings)
    yield "dry run: nothing is aborted" if settings.dry_run else "armed: what breaks a rule is aborted"
    if not any(isinstance(outcome, PlatformError) for outcome in report.tried.values()):
        yield "all in order" + (f", with {_count(len(report.warnings), 'warning')}" if report.warnings else "")


def _account_lines(account: AccountSettings, report: Report) -> Iterator[str]:
    outcome = report.tried.get(account.name)
    said = "" if outcome is None else f": {outcome if isinstance(outcome, PlatformError) else 'ok, ' + outcome}"
    yield f"account {account.name} on {account.platform}{said}"
    every = _interval_s(account, report.specs)
    often = "as often as its rate allows" if every is None else f"every {format_duration(every)}"
    yield f"  {_base_url(account, report.specs)}, looked at {often}"


def _rule_lines(rule: Rule, report: Report) -> Iterator[str]:
    platforms = surroundings(report.loaded.settings, report.specs).platforms_meant(rule.selector)
    platform = report.specs[next(iter(platforms))].traits if len(platforms) == 1 else None
    limits = ", ".join(f"{kind} {describe(kind, value, platform)}" for kind, value in rule.limits.items())
    flags = [flag for flag in ("resurrect", "never_exceed") if getattr(rule, flag)]
    done = ", ".join(map(str, rule.steps)) or rule.action.value
    yield f"  {rule.name}: {', '.join((limits, done, *flags))}"
    if rule.after:
        amounts = (f"{meter.entry.word} {describe(meter, value, platform)}" for meter, value in rule.after.items())
        yield f"    after: {', '.join(amounts)}"
    yield f"    match: {rule.selector}"


def _exception(selector: Selector, reason: str = "") -> str:
    return f"  {selector}" + (f": {' '.join(reason.split())}" if reason else "")


def _doors(report: Report) -> str:
    web = report.loaded.settings.web
    doors = ["https" if web.tls_cert is not None else "http"]
    doors.append("admin calls with the token" if web.token is not None else "no admin calls")
    if web.socket is not None:
        doors.append(f"admin calls on the socket {web.socket}")
    return ", ".join(doors)


def _unmatched_lines(report: Report) -> Iterator[str]:
    if report.runs is None:
        return
    where = " of the accounts that could be read" if failures(report.tried.values()) else ""
    whole = "" if report.unmatched or where else "; each entry matches some"
    yield f"{_count(report.runs, 'active run')} now{where}{whole}"
    if report.runs:
        for entry in report.unmatched[:UNMATCHED_MAX]:
            yield f"  {entry} matches none of them"
        if (rest := len(report.unmatched) - UNMATCHED_MAX) > 0:
            yield f"  ... and {_count(rest, 'more entry', 'more entries')} without a match"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _base_url(account: AccountSettings, specs: Mapping[str, PlatformSpec]) -> str:
    return account.base_url or specs[account.platform].base_url


def _interval_s(account: AccountSettings, specs: Mapping[str, PlatformSpec]) -> float | None:
    if account.poll_interval is not None:
        return account.poll_interval.total_seconds()
    return specs[account.platform].traits.default_poll_interval_s


# --- for scripts -----------------------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, Any]:
    """For scripts: durations in seconds."""
    settings, rules = report.loaded.settings, report.loaded.rules.rules
    return {
        "configuration": str(settings.file) if settings.file else None,
        "accounts": [_plain_account(account, report) for account in settings.accounts],
        "rules": [_plain_rule(rule) for rule in rules.rules],
        "protect": [
            {"match": _match(each.selector), "reason": each.reason or None, "place": each.selector.place}
            for each in rules.protect
        ],
        "resurrect": [{"match": _match(selector), "place": selector.place} for selector in rules.resurrect],
        "ledger": {"place": report.ledger, "state": report.ledger_state},
        "listen": settings.listen,
        "dry_run": settings.dry_run,
        "active_runs": report.runs,
        "unmatched": None if report.runs is None else plain_entries(report.unmatched),
        "warnings": list(report.warnings),
    }


def _plain_account(account: AccountSettings, report: Report) -> dict[str, Any]:
    outcome = report.tried.get(account.name)
    told = {} if outcome is None else {"ok": not isinstance(outcome, PlatformError), "detail": str(outcome)}
    return {
        "name": account.name,
        "platform": account.platform,
        "base_url": _base_url(account, report.specs),
        "poll_interval_s": _interval_s(account, report.specs),
        **told,
    }


def _plain_rule(rule: Rule) -> dict[str, Any]:
    return {
        "name": rule.name,
        "match": _match(rule.selector),
        "limits": {kind.value: value for kind, value in rule.limits.items()},
        "action": rule.action.value,
        "steps": [{"at": step.at, "do": step.do.value} for step in rule.steps],
        "after": {meter.entry.word: value for meter, value in rule.after.items()},
        "resurrect": rule.resurrect,
        "never_exceed": rule.never_exceed,
        "file": rule.file,
        "line": rule.line,
    }


def _match(selector: Selector) -> dict[str, list[str]]:
    return {key: list(globs) for key, globs in selector.globs.items()}


def failures(outcomes: Iterable[str | PlatformError]) -> list[PlatformError]:
    """The platforms that could not be reached, or refused the token."""
    return [outcome for outcome in outcomes if isinstance(outcome, PlatformError)]
