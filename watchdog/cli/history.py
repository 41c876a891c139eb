"""`budget-watchdog history`: the aborts in the ledger."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import indent

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watchdog.cli.ledgers import config_option, ledger_option, ledger_path, with_ledger
from watchdog.cli.savings import saved, saved_in_all
from watchdog.cli.tables import Cell, Name, Records, Whole, Words, console
from watchdog.cli.target import configured_accounts, refuse_unknown_account
from watchdog.cli.view import plain_abort
from watchdog.domain.decision import Abort, AbortState, Basis, describe_use
from watchdog.domain.ports import AbortFilter, AbortRecords
from watchdog.domain.run import replace
from watchdog.ledger.opening import OpenLedger
from watchdog.platforms.known import traits_of
from watchdog.text import escaped, shown
from watchdog.text.durations import parse_duration
from watchdog.text.hints import suggestion

OUTCOMES = tuple(state.value for state in AbortState)
#: What a spreadsheet takes for the beginning of a formula, also in full width. An empty text begins with none.
_FORMULA = frozenset("=+-@＝＋－＠")
#: A table has at most so many rows, unless --limit asks for more.
TABLE_MAX = 1_000
#: How the JSON begins, if there are any.
OPENING = '{\n  "aborts": [\n'
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class MomentType(click.ParamType[datetime]):
    """A time: `2026-11-22`, `2026-11-22T03:00`, or how long ago: `24h`, `7d`. Without an offset it is UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time in UTC; a usage error for anything else."""
        if isinstance(value, datetime):
            return value
        text = str(value)
        try:
            if not _DATE.match(text):
                return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
            moment = datetime.fromisoformat(text)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{shown(text)} is no time: write 2026-11-22, 2026-11-22T03:00, or 24h for 24 hours ago", param, ctx
            )


@click.command("history", short_help="The aborts so far, and what they saved.")
@config_option
@ledger_option
@click.option(
    "--since", type=MomentType(), metavar="TIME", help="From this time on: 2026-11-22, or 24h for 24 hours ago."
)
@click.option("--until", type=MomentType(), metavar="TIME", help="Before this time.")
@click.option("--account", help="Only this account.")
@click.option("--rule", help="Only this rule (`manual`: stopped by hand).")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only this outcome.")
@click.option("--limit", type=click.IntRange(min=1), help="Show at most this many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: whole records with every step.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: one line for each abort.")
def command(
    config: Path | None,
    address: str | None,
    since: datetime | None,
    until: datetime | None,
    account: str | None,
    rule: str | None,
    outcome: str | None,
    limit: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show the aborts in the ledger, newest first, with totals of what they saved by rule and basis.

    Savings by `cap` are no estimates but bounds ("at most"): they are in no sum of what was saved.

    It reads the ledger's file, so it works while the daemon runs and needs no token.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    if since is not None and until is not None and since >= until:
        raise click.UsageError(
            f"the range is empty: --since ({since:%Y-%m-%d %H:%M:%S}) is not before --until ({until:%Y-%m-%d %H:%M:%S})"
        )
    wanted = AbortFilter(since, until, account, rule, outcome, newest=limit)

    async def show(opened: OpenLedger) -> None:
        _tell(await _missing(opened.store, wanted), config, account)
        if as_json:
            await _write_json(opened.store, wanted)
        elif as_csv:
            await _write_csv(opened.store, wanted)
        else:
            await _write_table(opened.store, wanted)

    with_ledger(ledger_path(config, address), show, read_only=True)


async def _missing(store: AbortRecords, wanted: AbortFilter) -> dict[str, str]:
    """A sentence for each of account and rule that is asked for and that no abort in the ledger has."""
    asked = {what: name for what in ("account", "rule") if (name := getattr(wanted, what)) is not None}
    if not asked or await store.aborts(replace(wanted, newest=1)):
        return {}
    names: dict[str, set[str]] = {what: set() for what in asked}
    async for portion in store.newest_first(AbortFilter()):
        for what, found in names.items():
            found.update(getattr(abort, what) for abort in portion)
    sentences: dict[str, str] = {}
    for what, name in asked.items():
        if name not in names[what]:
            there = sorted(names[what])
            there_are = f"it has some of: {', '.join(map(escaped, there))}" if there else "it has none at all"
            of = "on account" if what == "account" else "by a rule"
            hint = suggestion(name, there)
            sentences[what] = f"no abort {of} {shown(name)} is in the ledger{hint or ';'} {there_are}"
    return sentences


def _tell(missing: dict[str, str], config: Path | None, account: str | None) -> None:
    """Warn of names that no abort has; an account that is not configured either is refused."""
    told = dict(missing)
    if "account" in told and account is not None:
        known = configured_accounts(config, needed=False)
        if known is None or account not in known.names:
            refuse_unknown_account(account, known)
        else:
            del told["account"]
    for sentence in told.values():
        click.echo(f"warning: {sentence}", err=True)


async def _write_table(store: AbortRecords, wanted: AbortFilter) -> None:
    limit = wanted.newest
    newest = list(reversed(await store.aborts(replace(wanted, newest=limit or TABLE_MAX + 1))))
    if not newest:
        console().print(Text("no aborts" if wanted == AbortFilter(newest=limit) else "no aborts that fit"))
        return
    shown_at_most = newest[: limit or TABLE_MAX]
    console().print(_as_table(shown_at_most), crop=False)
    if len(shown_at_most) < len(newest):
        text = f"these are the newest {TABLE_MAX:,} and what they saved; --limit, --since, --json and --csv show more"
        console().print(Text(text))


async def _write_csv(store: AbortRecords, wanted: AbortFilter) -> None:
    """A portion at a time: years of records need not fit into memory."""
    click.echo(_as_csv([], heading=True), nl=False)
    async for portion in store.newest_first(wanted):
        click.echo(_as_csv(portion), nl=False)


async def _write_json(store: AbortRecords, wanted: AbortFilter) -> None:
    """A portion at a time, as CSV."""
    totals, unbooked, before = _Totals(), 0, OPENING
    async for portion in store.newest_first(wanted):
        unbooked += _unbooked(portion)
        for abort in portion:
            totals.add(abort)
            click.echo(f"{before}{indent(json.dumps(plain_abort(abort), indent=2), '    ')}", nl=False)
            before = ",\n"
    listed = '{\n  "aborts": []' if before == OPENING else "\n  ]"
    saved_by = indent(json.dumps(totals.rows(), indent=2), "  ").lstrip()
    click.echo(f'{listed},\n  "saved": {saved_by},\n  "not_yet_booked": {unbooked}\n}}')


def _unbooked(aborts: Iterable[Abort]) -> int:
    """How many are open, or wait for their last figures: what they saved is in no sum yet."""
    return sum(not abort.is_complete for abort in aborts)


class _Totals:
    """Sums of what was saved by rule and basis; `none` where nothing could be estimated."""

    def __init__(self, aborts: Iterable[Abort] = ()) -> None:
        self._sums: dict[tuple[str, str], list[float]] = {}
        for abort in aborts:
            self.add(abort)

    def add(self, abort: Abort) -> None:
        """Count one more."""
        if abort.saving is None:
            return
        key = (abort.rule, abort.saving.basis.value if abort.saving.basis else "none")
        entry = self._sums.setdefault(key, [0, 0.0, 0.0])
        entry[0] += 1
        entry[1] += abort.saving.credits or 0.0
        entry[2] += abort.saving.usd or 0.0

    def rows(self) -> list[dict[str, object]]:
        """One for each, sorted."""
        return [
            {"rule": rule, "basis": basis, "aborts": int(count), "credits": credits_saved, "usd": usd}
            for (rule, basis), (count, credits_saved, usd) in sorted(self._sums.items())
        ]


_COLUMNS = (
    "detected_at", "account", "platform", "run", "source", "rule", "limit", "allowed", "used", "mode", "outcome",
    "requests", "stopped_at", "saved_usd", "saved_credits", "basis", "reason", "id",
)  # fmt: skip


#: What steers a terminal; the rest is the reader's own.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _as_csv(aborts: Sequence[Abort], *, heading: bool = False) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    if heading:
        writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in plain_abort(abort).items()} for abort in aborts)
    return out.getvalue()


def _cell(value: object) -> object:
    """A text that begins like a formula must not become one in a spreadsheet, whatever white space stands before it;
    and a lone carriage return would end the line for many a reader."""
    if not isinstance(value, str):
        return value
    text = _CONTROL.sub(lambda found: escaped(found[0]), value.replace("\r\n", "\n").replace("\r", "\n"))
    return f"'{text}" if text.lstrip()[:1] in _FORMULA or text[:1] in ("\t", "\n") else text


def _as_table(aborts: Sequence[Abort]) -> RenderableType:
    grid = Records(
        ("when (UTC)", "account", "run", "source", "rule", "used of limit", "outcome", "saved"),
        [_cells(abort) for abort in aborts],
    )
    totals = Table(title="saved", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for title in ("rule", "basis", "aborts", "credits", "USD"):
        totals.add_column(title)
    for row in _Totals(aborts).rows():
        at_most = "at most " if row["basis"] == Basis.CAP else ""
        amounts = (f"{at_most}{row['credits']:.2f}", f"{at_most}{row['usd']:.2f}")
        totals.add_row(Text(escaped(str(row["rule"]))), str(row["basis"]), str(row["aborts"]), *amounts)
    parts: list[RenderableType] = [totals, Text(saved_in_all(aborts))] if totals.rows else []
    more = " more" if parts else ""
    notes = [f"{count}{more} not yet booked" for count in [_unbooked(aborts)] if count]
    # Those that were no stop of ours save nothing.
    rest = sum(abort.is_complete and abort.saving is None for abort in aborts)
    notes += [f"{rest}{more} with nothing saved (no stop of ours)"] if rest else []
    if notes and parts:
        parts.append(Text(f"and {', and '.join(notes)}"))
    elif notes:
        parts.append(Text(", and ".join(notes)))
    return Group(grid, Text(""), *parts) if parts else grid


def _cells(abort: Abort) -> list[Cell]:
    return [
        Words(f"{abort.detected_at:%Y-%m-%d %H:%M}", f"{abort.detected_at::%S}"),
        Name(abort.account),
        Whole(abort.run_id),
        Name(abort.source),
        Name(abort.rule),
        Whole(describe_use(abort.limit, abort.used_at_detection, abort.limit_value, traits_of(abort.platform))),
        _outcome(abort),
        Whole(saved(abort) or "-"),
    ]


def _outcome(abort: Abort) -> Cell:
    style = {AbortState.CONFIRMED: "green", AbortState.FAILED: "red"}.get(abort.state, "yellow")
    return Words(abort.state.value.replace("_", " "), f" ({abort.mode})", style)
