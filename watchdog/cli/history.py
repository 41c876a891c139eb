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
from watchdog.cli.tables import Cell, Name, Records, Whole, Words, console, escaped
from watchdog.cli.view import plain_abort
from watchdog.document import parse_duration, shown
from watchdog.domain.decision import Abort, AbortState, Basis, describe_use
from watchdog.domain.ports import AbortFilter
from watchdog.domain.run import replace
from watchdog.ledger.opening import LedgerStore

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
    wanted = AbortFilter(since, until, account, rule, outcome, newest=limit)
    path = ledger_path(config, address)
    if as_json or as_csv:
        with_ledger(path, lambda opened: _write_out(opened.store, wanted, as_json=as_json), read_only=True)
        return
    at_once = replace(wanted, newest=limit or TABLE_MAX + 1)
    newest = list(reversed(with_ledger(path, lambda opened: opened.store.aborts(at_once), read_only=True)))
    if not newest:
        console().print(Text("no aborts" if wanted == AbortFilter(newest=limit) else "no aborts that fit"))
        return
    shown_at_most = newest[: limit or TABLE_MAX]
    console().print(_as_table(shown_at_most), crop=False)
    if len(shown_at_most) < len(newest):
        text = f"these are the newest {TABLE_MAX:,} and what they saved; --limit, --since, --json and --csv show more"
        console().print(Text(text))


async def _write_out(store: LedgerStore, wanted: AbortFilter, *, as_json: bool) -> None:
    """A portion at a time: years of records need not fit into memory."""
    if not as_json:
        click.echo(_as_csv([], heading=True), nl=False)
    totals = _Totals()
    before, empty = "", True
    async for portion in store.newest_first(wanted):
        if not as_json:
            click.echo(_as_csv(portion), nl=False)
            continue
        for abort in portion:
            totals.add(abort)
            click.echo(f"{before or OPENING}{indent(json.dumps(plain_abort(abort), indent=2), '    ')}", nl=False)
            before, empty = ",\n", False
    if as_json:
        listed = '{\n  "aborts": []' if empty else "\n  ]"
        click.echo(f'{listed},\n  "saved": {indent(json.dumps(totals.rows(), indent=2), "  ").lstrip()}\n}}')


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
    text = value.replace("\r\n", "\n").replace("\r", "\n")
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
    return Group(grid, Text(""), totals, Text(saved_in_all(aborts))) if totals.rows else grid


def _cells(abort: Abort) -> list[Cell]:
    return [
        Words(f"{abort.detected_at:%Y-%m-%d %H:%M}", f"{abort.detected_at::%S}"),
        Name(escaped(abort.account)),
        Whole(escaped(abort.run_id)),
        Name(escaped(abort.source)),
        Name(escaped(abort.rule)),
        Whole(describe_use(abort.limit, abort.used_at_detection, abort.limit_value, abort.platform)),
        _outcome(abort),
        Whole(saved(abort) or "-"),
    ]


def _outcome(abort: Abort) -> Cell:
    style = {AbortState.CONFIRMED: "green", AbortState.FAILED: "red"}.get(abort.state, "yellow")
    return Words(abort.state.value.replace("_", " "), f" ({abort.mode})", style)
