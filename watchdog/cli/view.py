"""What a run looks like to people and to scripts: one record a run, the limit that it is closest to first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from watchdog.cli.tables import Cell, Name, Records, Whole, Words, counted, cut
from watchdog.domain.decision import (
    Abort,
    AbortState,
    Breach,
    Mode,
    Response,
    Verdict,
    VerdictKind,
    describe_use,
)
from watchdog.domain.meter import BOOKED
from watchdog.domain.run import RunKey, Snapshot
from watchdog.domain.status import RunStatus, Status
from watchdog.engine.coverage import Entry
from watchdog.engine.decide import one_a_limit
from watchdog.platforms.known import traits_of
from watchdog.runtime.rulebook import Rulebook
from watchdog.text import escaped

BAR_WIDTH = 10
UNMATCHED_MAX = 20
_STYLES = {
    VerdictKind.WITHIN: "green",
    VerdictKind.WARNING: "yellow",
    VerdictKind.BREACH: "red",
    VerdictKind.UNKNOWN: "magenta",
}
_WORST = (VerdictKind.BREACH, VerdictKind.UNKNOWN, VerdictKind.WARNING, VerdictKind.WITHIN)


@dataclass(frozen=True, slots=True)
class Row:
    """One run: the newest snapshot, its verdicts, and what is being done about it: its abort, or `responses`, a
    response with a note for people each. `mode` is how it would be aborted. `is_earlier`: the abort was begun by
    another command or a daemon, and is only followed up here."""

    snapshot: Snapshot
    verdicts: tuple[Verdict, ...]
    abort: Abort | None
    responses: tuple[tuple[Response, str], ...]
    mode: Mode = Mode.IMMEDIATE
    is_earlier: bool = False

    @property
    def verdict(self) -> VerdictKind | None:
        """The worst one; None if no rule says anything about this run."""
        kinds = {verdict.verdict for verdict in self.verdicts}
        return next((kind for kind in _WORST if kind in kinds), None)

    @property
    def response(self) -> tuple[str, str]:
        """What is or was done: the word for it, and more about it."""
        if self.abort is not None:
            return _earlier_words(self.abort) if self.is_earlier else _abort_words(self.abort)
        said = [_response_words(response, note, self.mode) for response, note in self.responses]
        if not said:
            return "-", ""
        return said[0][0], said[0][1] + "".join(f", {head}{detail}" for head, detail in said[1:])

    @property
    def deed(self) -> str:
        """The response in a word or two, for counting; "" if nothing is to be done."""
        if self.is_earlier:
            return ""
        is_over = self.abort is not None or (self.verdict is VerdictKind.BREACH and bool(self.responses))
        return self.response[0] if is_over else ""

    @property
    def is_stopped(self) -> bool:
        """Whether the run was stopped by this command, or would be but for the dry run."""
        if self.abort is not None:
            return self.abort.state is AbortState.CONFIRMED and not self.is_earlier
        return any(response is Response.DRY_RUN for response, _ in self.responses)


_ABORT_WORDS = {
    AbortState.INTENDED: "aborting",
    AbortState.REQUESTED: "aborting",
    AbortState.CONFIRMED: "aborted",
    AbortState.ALREADY_FINISHED: "had finished already",
    AbortState.FAILED: "ABORT FAILED",
    AbortState.WITHDRAWN: "abort withdrawn",
}
_RESPONSE_WORDS = {
    Response.ABORT: "abort",
    Response.NOTIFY: "notify only",
    Response.DRY_RUN: "would abort",
    Response.PROTECTED: "protected",
    Response.HELD: "held",
    Response.DEFERRED: "deferred",
}


def _abort_words(abort: Abort) -> tuple[str, str]:
    at_work = (AbortState.INTENDED, AbortState.REQUESTED, AbortState.CONFIRMED)
    return _ABORT_WORDS[abort.state], f" ({abort.mode})" if abort.state in at_work else ""


def _earlier_words(abort: Abort) -> tuple[str, str]:
    head, detail = _abort_words(abort)
    return (f"{head} earlier", detail) if abort.state is AbortState.CONFIRMED else (head, f"{detail}, begun earlier")


def _response_words(response: Response, note: str, mode: Mode) -> tuple[str, str]:
    word = _RESPONSE_WORDS[response]
    if response is Response.DRY_RUN:
        return word, f" ({mode})"
    for known in (word, "paused"):  # a note may begin with the word itself, and a pause holds a run, too
        if note == known or note.startswith((f"{known} ", f"{known}:")):
            return known, note.removeprefix(known)
    return word, f": {note}" if note else ""


def rows(
    status: Status,
    rulebook: Rulebook,
    aborts: Iterable[Abort],
    earlier: Collection[str] = (),
) -> list[Row]:
    """A row for each watched run, and for each aborted one that is watched no more; the closest to a limit first.

    `earlier`: the ids of aborts that others have begun; one of our own of the same run is shown instead.
    """
    by_run: dict[RunKey, Abort] = {
        abort.key: abort for abort in sorted(aborts, key=lambda abort: abort.id not in earlier)
    }
    found = [_row(each, by_run.pop(each.run.key, None)) for each in status.runs]
    found.extend(_row_of_abort(abort, rulebook) for abort in by_run.values())
    found = [replace(row, is_earlier=row.abort is not None and row.abort.id in earlier) for row in found]
    return sorted(found, key=_closeness, reverse=True)


def _row(status: RunStatus, abort: Abort | None) -> Row:
    run = _newest(status.run, abort)
    if status.decision is None:
        return Row(run, status.verdicts, abort, () if status.exemption is None else (status.exemption,))
    return Row(run, status.verdicts, abort, _responses(status.decision.breaches), status.decision.mode)


def _responses(breaches: Iterable[Breach]) -> tuple[tuple[Response, str], ...]:
    """Each once, and that there is a notice only if there is nothing more to say."""
    said = dict.fromkeys((breach.response, breach.note) for breach in breaches if breach.response is not Response.ABORT)
    more = tuple(each for each in said if each[0] is not Response.NOTIFY)
    return more or tuple(said)


def _newest(snapshot: Snapshot, abort: Abort | None) -> Snapshot:
    return abort.final if abort is not None and abort.final is not None else snapshot


def _row_of_abort(abort: Abort, rulebook: Rulebook) -> Row:
    return Row(abort.final or abort.before, one_a_limit(rulebook.evaluator.verdicts(abort.before)), abort, ())


def _closeness(row: Row) -> float:
    return max((verdict.ratio or 0.0 for verdict in row.verdicts), default=-1.0)


def table(found: Sequence[Row]) -> RenderableType:
    """The rows as a table for people."""
    if not found:
        return Text("no active runs")
    titles = ("run", "account", "source", "state", "verdict", "response", "used of limit (rule)")
    return Records(titles, [_cells(row) for row in found])


def _cells(row: Row) -> list[Cell]:
    run, worst = row.snapshot, row.verdict
    head, detail = row.response
    return [
        Whole(run.run_id),
        Name(run.account),
        Name(run.source.label),
        Whole(run.status.lower()),
        Whole(worst.value if worst else "-", _STYLES[worst] if worst else "dim"),
        Words(head, escaped(detail)),
        Limits.of(row.verdicts, run.platform),
    ]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on a run, the closest first: as many as there is room for, and how many more there are.

    `██████░░░░ $3.00 of $5.00 (maps-cap), 12m of 2h (maps-cap) +1`
    """

    parts: tuple[tuple[str, str], ...]
    ratio: float | None
    style: str

    @staticmethod
    def of(verdicts: Sequence[Verdict], platform: str) -> Limits:
        """The cell for these verdicts on a run of this platform."""
        ordered = sorted(verdicts, key=_urgency)
        parts = [
            (describe_use(each.kind, each.used, each.limit, traits_of(platform)), escaped(each.rule.name))
            for each in ordered
        ]
        if not ordered:
            return Limits((), None, "dim")
        return Limits(tuple(parts), ordered[0].ratio, _STYLES[ordered[0].verdict])

    @property
    def least(self) -> int:
        return cell_len(self._shown(0))

    @property
    def natural(self) -> int:
        return cell_len(self._shown(len(self.parts))) + (BAR_WIDTH + 1 if self.parts else 0)

    def fit(self, room: int) -> Text:
        if not self.parts:
            return Text("no rule matches", "dim")
        for bar in (BAR_WIDTH + 1, 0):
            for count in range(len(self.parts), 0, -1):
                if bar + cell_len(shown := self._shown(count)) <= room:
                    return self._bar().append(f" {shown}") if bar else Text(shown)
        return Text(self._with_rule_cut(room))

    def _shown(self, count: int) -> str:
        """So many limits with their rules; 0: the closest without."""
        if not self.parts:
            return "no rule matches"
        said = ", ".join(f"{use} ({rule})" for use, rule in self.parts[:count]) or self.parts[0][0]
        more = len(self.parts) - max(count, 1)
        return f"{said} +{more}" if more else said

    def _with_rule_cut(self, room: int) -> str:
        bare = self._shown(0)
        left = room - cell_len(bare) - len(" ()")
        if left < 2:
            return bare
        use, rule = self.parts[0]
        return f"{use} ({cut(rule, left)})" + bare.removeprefix(use)

    def _bar(self) -> Text:
        if self.ratio is None:
            return Text().append("?" * BAR_WIDTH, self.style)
        filled = max(0, min(BAR_WIDTH, int(min(self.ratio, 1.0) * BAR_WIDTH)))
        return Text().append("█" * filled, self.style).append("░" * (BAR_WIDTH - filled), "dim")


def _urgency(verdict: Verdict) -> tuple[int, bool, float]:
    """Of several broken limits the first is one that the run is stopped for."""
    return _WORST.index(verdict.verdict), not verdict.step.do.stops, -(verdict.ratio or 0.0)


def closing(found: Sequence[Row], *, dry_run: bool) -> str:
    """What became of the runs, in a line: `would abort 2 of 8 runs; also over a limit: 1 held`."""
    if not found:
        return ""
    deeds = Counter(row.deed for row in found if row.deed)
    main = "would abort" if dry_run else "aborted"
    many = deeds.pop(main, 0)
    line = f"{main} {many or 'none'} of {counted(len(found), 'run')}"
    if deeds:
        line += "; also over a limit: " + ", ".join(f"{deeds[deed]} {_passive(deed)}" for deed in sorted(deeds))
    if followed := sum(row.is_earlier for row in found):
        line += f"; {counted(followed, 'abort')} begun earlier followed up, not counted here"
    return f"dry run: {line}" if dry_run else line


def _passive(deed: str) -> str:
    return "being aborted" if deed == "aborting" else deed


def unmatched(found: Sequence[Entry]) -> list[str]:
    """A line for each of these entries of the rule files, which match none of the runs there are, but for the
    umpteenth."""
    lines = [f"{entry} matches none of the active runs" for entry in found[:UNMATCHED_MAX]]
    rest = len(found) - len(lines)
    return [*lines, f"... and {rest} more entries match none"] if rest else lines


def plain_entries(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Entries of the rule files for scripts."""
    return [
        {
            "section": entry.section.value,
            "name": entry.name or None,
            "match": {key: list(globs) for key, globs in entry.selector.globs.items()},
            "place": entry.selector.place,
        }
        for entry in entries
    ]


def plain(found: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for scripts."""
    return [_plain_row(row) for row in found]


def _plain_row(row: Row) -> dict[str, Any]:
    run = row.snapshot
    return {
        "account": run.account,
        "platform": run.platform,
        "run": run.run_id,
        "source": run.source.label,
        "origin": run.origin,
        "status": run.status,
        "state": run.state.value,
        "usage": run.usage.figures,
        "limits": [
            {
                "rule": verdict.rule.name,
                "limit": verdict.kind.value,
                "used": verdict.used,
                "allowed": verdict.limit,
                "verdict": verdict.verdict.value,
                **({"step": str(verdict.step)} if verdict.rule.steps and verdict.verdict is VerdictKind.BREACH else {}),
            }
            for verdict in row.verdicts
        ],
        "verdict": row.verdict.value if row.verdict else None,
        "response": "".join(row.response),
        "abort": None if row.abort is None else plain_abort(row.abort),
        "abort_is_earlier": row.is_earlier,
    }


def plain_abort(abort: Abort) -> dict[str, Any]:
    """One abort for scripts: the whole record, times in ISO 8601 UTC."""
    saving = abort.saving
    final = abort.final.usage if abort.final else None
    has_limit = abort.limit is not None  # one by hand has none, and its figures say nothing
    return {
        "id": abort.id,
        "account": abort.account,
        "platform": abort.platform,
        "run": abort.run_id,
        "source": abort.source,
        "rule": abort.rule,
        "limit": abort.limit_label,
        "allowed": abort.limit_value if has_limit else None,
        "used": abort.used_at_detection if has_limit else None,
        "step_at": abort.step_at if has_limit else None,
        "mode": abort.mode.value,
        "outcome": abort.state.value,
        "used_at_request": abort.used_at_request,
        "detected_at": _iso(abort.detected_at),
        "stopped_at": _iso(abort.stopped_at),
        "requests": abort.requests,
        "effective_requests": abort.effective_requests,
        "void_requests": abort.void_requests,
        "final": None if final is None else final.figures,
        "reason": abort.reason,
        **{f"saved_{meter.entry.booked}": saving.of(meter) if saving else None for meter in BOOKED},
        **{f"booked_{meter.entry.booked}": saving.at_first(meter) if saving else None for meter in BOOKED},
        "basis": saving.basis.value if saving and saving.basis else None,
        "basis_note": saving.note if saving else None,
        **{f"projected_{meter.entry.booked}": saving.projected.of(meter) if saving else None for meter in BOOKED},
        "history": [{"state": step.state.value, "at": _iso(step.at), "note": step.note} for step in abort.history],
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
