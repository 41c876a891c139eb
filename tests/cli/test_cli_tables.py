"""Tables at every width: nothing that must be copied or compared is cut, and nothing drives the terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from watchdog.cli import view
from watchdog.cli.tables import Name, Records, Whole, Words, counted, cut
from watchdog.domain.decision import Response, Verdict, VerdictKind
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.rule import Rule, Selector
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.escapes import escaped

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
APIFY_ID, LOBSTR_ID, UUID = "HG7ML7M8z78YcAPEB", "300e" * 8, "6b1f3c1e-8a52-4d6e-9f0c-0a1b2c3d4e5f"
WIDTHS = (60, 80, 120, 200)


def shown(table: Any, width: int, **options: Any) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, **options).print(table, crop=False)
    return out.getvalue().splitlines()


def verdict(kind: Meter, used: float | None, limit: float, name: str = "maps-cap") -> Verdict:
    rule = Rule(name, Selector(), {kind: limit})
    if used is None:
        return Verdict(rule, kind, limit, None, VerdictKind.UNKNOWN, "usage")
    return Verdict(rule, kind, limit, used, VerdictKind.BREACH if used >= limit else VerdictKind.WITHIN)


def row(run_id: str, *verdicts: Verdict, source: str = "compass/crawler", **details: Any) -> view.Row:
    values: dict[str, Any] = {"account": "apify-main", "platform": "apify", "responses": (), "status": "RUNNING"}
    values |= details
    run = Snapshot(
        values["account"],
        values["platform"],
        run_id,
        Source("k", source),
        RunState.RUNNING,
        values["status"],
        Usage(),
        NOON,
        True,
    )
    return view.Row(run, verdicts, None, values["responses"])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("run_id", [APIFY_ID, LOBSTR_ID, UUID])
@pytest.mark.parametrize("source", ["a", "long/" + "name-" * 60, "漢字" * 40, "a b " * 40, "🕷" * 50])
def test_a_run_takes_two_lines_at_most_with_id_and_figures_whole(width: int, run_id: str, source: str) -> None:
    over = row(
        run_id,
        *(verdict(Meter.CREDITS, 1234.5 + index, 40, "rule-with-a-long-name-" * 3) for index in range(20)),
        source=source,
        account="account-" * 7,
        status="TIMING-OUT",
        responses=((Response.HELD, "held until 2026-03-01 12:00 UTC: " + "reason " * 30),),
    )
    lines = shown(view.table([over, row("other", verdict(Meter.COST_USD, 0.5, 1))]), width)
    assert len(lines) <= 3 * 2
    assert max(map(cell_len, lines)) <= width
    assert run_id in "\n".join(lines).split()
    assert "1254 of 40 compute units" in "\n".join(lines)
    assert "held" in "\n".join(lines)


def test_the_closest_limits_come_first_and_the_rest_is_counted() -> None:
    run = row(
        APIFY_ID,
        verdict(Meter.DURATION, 60, 7200, "idle"),
        verdict(Meter.COST_USD, 3, 1, "cap"),
        verdict(Meter.CREDITS, None, 40, "units"),
    )
    [_, line] = shown(view.table([run]), 200)
    assert "$3.00 of $1.00 (cap), unknown of 40 compute units (units), 1m of 2h (idle)" in line
    assert "$3.00 of $1.00 (cap) +2" in "\n".join(shown(view.table([run]), 80))


def test_no_rule_and_no_run() -> None:
    assert "no rule matches" in "\n".join(shown(view.table([row("r")]), 60))
    assert shown(view.table([]), 60) == ["no active runs"]


@pytest.mark.parametrize("width", WIDTHS)
def test_many_rows_are_as_many_records(width: int) -> None:
    runs = [row(f"{APIFY_ID}{index}", verdict(Meter.COST_USD, 0.5, 1)) for index in range(500)]
    lines = shown(view.table(runs), width)
    assert len(lines) in (501, 1002)
    assert all(f"{APIFY_ID}{index}" in line for index, line in enumerate(line for line in lines if APIFY_ID in line))


@pytest.mark.parametrize("width", WIDTHS)
def test_names_from_outside_cannot_drive_the_terminal(width: int) -> None:
    odd = "\x1b[31mx\x1b]0;t\x07[red]\r\n\u202ey\u200b\u2066\ufeff\x9b31m"
    run = row(odd, verdict(Meter.COST_USD, 3, 1, odd), source=odd, account=odd, status=odd)
    lines = shown(view.table([run]), width)
    assert all(line.isprintable() for line in lines)
    assert r"\x1b[31mx\x1b]0;t\x07[red]\r\n\u202ey\u200b\u2066\ufeff\x9b31m" in "\n".join(lines), "the id is whole"


def test_an_encoding_without_bars_gets_others_of_the_same_width() -> None:
    out = io.TextIOWrapper(io.BytesIO(), "ascii", errors="backslashreplace")
    Console(file=out, width=60).print(view.table([row(APIFY_ID, verdict(Meter.COST_USD, 0.5, 1, "c"))]), crop=False)
    out.seek(0)
    text = out.read()
    assert "#####----- $0.50 of $1.00 (c)" in text


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=60).map(escaped)
cells = st.one_of(
    st.builds(Name, texts), st.builds(Words, st.sampled_from(["held", "would abort"]), texts), st.builds(Name, texts)
)


@given(data=st.data(), width=st.integers(40, 220))
def test_every_table_fits_where_its_ids_do(data: st.DataObject, width: int) -> None:
    records = data.draw(
        st.lists(st.tuples(st.text("ab1", min_size=1, max_size=36).map(Whole), cells, cells, cells), max_size=5)
    )
    lines = [line.plain for line in Records(("run", "one", "two", "three"), records).lines(width)]
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= 3 * (len(records) + 1)
    assert all(any(record[0].text in line for line in lines) for record in records)


@given(text=texts, room=st.integers(1, 80))
def test_what_is_cut_says_so(text: str, room: int) -> None:
    short = cut(text, room)
    assert cell_len(short) <= room
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@pytest.mark.parametrize(("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_counts_agree(number: int, text: str) -> None:
    assert counted(number, "run") == text


def test_the_closing_line() -> None:
    over = verdict(Meter.COST_USD, 3, 1)
    runs = [
        row("a", over, responses=((Response.DRY_RUN, "dry run"),)),
        row("b", over, responses=((Response.PROTECTED, "signed off"),)),
        row("c", over, responses=((Response.HELD, "held until 2026-03-01 12:00 UTC"),)),
        row("d", verdict(Meter.COST_USD, 0.1, 1), responses=((Response.HELD, "held"),)),
    ]
    assert view.closing(runs, dry_run=True) == (
        "dry run: would abort 1 of 4 runs; also over a limit: 1 held, 1 protected"
    )
    assert view.closing(runs[3:], dry_run=True) == "dry run: would abort none of 1 run"
    assert view.closing(runs[3:], dry_run=False) == "aborted none of 1 run"
    assert view.closing([], dry_run=True) == ""
    assert [each.is_stopped for each in runs] == [True, False, False, False]


def test_a_line_of_the_log_stands_above_the_live_table(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.live import Live

    from watchdog.cli.demo import Stderr

    err, out = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    stream = Stderr()
    with Live("the table", console=Console(file=out, force_terminal=True, width=60), auto_refresh=False) as live:
        stream.write("a line of the log\n")
        live.refresh()
    stream.write("a later line\n")
    assert out.getvalue().index("a line of the log") < out.getvalue().rindex("the table")
    assert err.getvalue() == "a later line\n"


@pytest.mark.parametrize("evil", ["\x1b[2J", "\r", "\x9b1m", "\u202e", "\u200b", "\u061c", "\ufeff", "\n"])
def test_no_cell_lets_a_terminal_be_steered(evil: str) -> None:
    """Whoever made it: names and ids come from elsewhere."""
    text = f"a{evil}b"
    cells = [Whole(text), Name(text), Words(text, text)]
    shown = "".join(line.plain for line in Records(("x", "y", "z"), [cells]).lines(200))
    assert evil not in shown
    assert escaped(text) in shown
    assert escaped(escaped(text)) == escaped(text)
