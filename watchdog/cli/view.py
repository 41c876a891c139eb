"""What a run looks like to people and to scripts: one row a run, with a bar for each limit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from watchdog.domain.decision import Abort, AbortState, Response, Verdict, VerdictKind, describe
from watchdog.domain.run import RunKey, Snapshot
from watchdog.runtime.poller import Poller
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.watched import Watched

BAR_WIDTH = 10
_STYLES = {
    VerdictKind.WITHIN: "green",
    VerdictKind.WARNING: "yellow",
    VerdictKind.BREACH: "red",
    VerdictKind.UNKNOWN: "magenta",
}
_WORST = (VerdictKind.BREACH, VerdictKind.UNKNOWN, VerdictKind.WARNING, VerdictKind.WITHIN)


@dataclass(frozen=True, slots=True)
class Row:
    """One run: the newest snapshot, its verdicts, and what is being done about it."""

    snapshot: Snapshot
    verdicts: tuple[Verdict, ...]
    abort: Abort | None
    responses: tuple[str, ...]

    @property
    def verdict(self) -> VerdictKind | None:
        """The worst one; None if no rule says anything about this run."""
        kinds = {verdict.verdict for verdict in self.verdicts}
        return next((kind for kind in _WORST if kind in kinds), None)

    @property
    def action(self) -> str:
        """What is or was done, in a few words."""
        if self.abort is not None:
            return _abort_words(self.abort)
        return ", ".join(self.responses) or "-"


def _abort_words(abort: Abort) -> str:
    words = {
        AbortState.INTENDED: "aborting",
        AbortState.REQUESTED: "aborting",
        AbortState.CONFIRMED: "aborted",
        AbortState.ALREADY_FINISHED: "had finished already",
        AbortState.FAILED: "ABORT FAILED",
        AbortState.WITHDRAWN: "abort withdrawn",
    }
    text = words[abort.state]
    at_work = (AbortState.INTENDED, AbortState.REQUESTED, AbortState.CONFIRMED)
    return f"{text} ({abort.mode})" if abort.state in at_work else text


def rows(pollers: Sequence[Poller], rulebook: Rulebook, aborts: Iterable[Abort]) -> list[Row]:
    """A row for each watched run, and for each aborted one that is watched no more; the closest to a limit first."""
    by_run: dict[RunKey, Abort] = {abort.key: abort for abort in aborts}
    every = (watched for poller in pollers for watched in poller.watched.values())
    found = [_row(watched, rulebook, by_run.pop(watched.swept.key, None)) for watched in every]
    found.extend(_row_of_abort(abort, rulebook) for abort in by_run.values())
    return sorted(found, key=_closeness, reverse=True)


def _row(watched: Watched, rulebook: Rulebook, abort: Abort | None) -> Row:
    snapshot = watched.inspected if watched.verdicts and watched.inspected else watched.swept
    verdicts = watched.verdicts or tuple(rulebook.evaluator.verdicts(snapshot))
    responses = []
    if watched.decision is not None:
        seen = dict.fromkeys(
            breach.response.value.replace("_", " ") + (f" ({breach.note})" if breach.note else "")
            for breach in watched.decision.breaches
            if breach.response is not Response.ABORT
        )
        responses = [text.removesuffix(" (dry run)") for text in seen]
    return Row(_newest(snapshot, abort), verdicts, abort, tuple(responses))


def _newest(snapshot: Snapshot, abort: Abort | None) -> Snapshot:
    return abort.final if abort is not None and abort.final is not None else snapshot


def _row_of_abort(abort: Abort, rulebook: Rulebook) -> Row:
    return Row(abort.final or abort.before, tuple(rulebook.evaluator.verdicts(abort.before)), abort, ())


def _closeness(row: Row) -> float:
    return max((verdict.ratio or 0.0 for verdict in row.verdicts), default=-1.0)


def table(found: Sequence[Row], *, limit: int | None = None) -> RenderableType:
    """The rows as a table for people; at most `limit` of them, with a note on the rest."""
    shown = found if limit is None else found[:limit]
    grid = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for title in ("run", "source", "state", "usage against each limit", "verdict", "action"):
        grid.add_column(title, overflow="fold", no_wrap=title in ("state", "verdict"))
    for row in shown:
        run = row.snapshot
        worst = row.verdict
        grid.add_row(
            Text(run.run_id),
            Text(run.source.label),
            Text(run.status.lower()),
            Text("\n").join([_bar(verdict) for verdict in row.verdicts] or [Text("no rule matches", "dim")]),
            Text(worst.value if worst else "-", _STYLES[worst] if worst else "dim"),
            Text(row.action),
        )
    if not shown:
        return Text("no active runs")
    rest = len(found) - len(shown)
    return Group(grid, Text(f"... and {rest} more", "dim")) if rest else grid


def _bar(verdict: Verdict) -> Text:
    """`######---- $3.00/$5.00 maps-cap`"""
    ratio = verdict.ratio
    style = _STYLES[verdict.verdict]
    filled = 0 if ratio is None else max(0, min(BAR_WIDTH, int(ratio * BAR_WIDTH)))
    bar = Text("?" * BAR_WIDTH if ratio is None else "█" * filled, style)
    bar.append("░" * (0 if ratio is None else BAR_WIDTH - filled), "dim")
    used, limit = describe(verdict.kind, verdict.used), describe(verdict.kind, verdict.limit)
    bar.append(f" {used} of {limit}  ")
    bar.append(verdict.rule.name, "dim")
    return bar


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
        "usage": {"credits": run.usage.credits, "cost_usd": run.usage.cost_usd, "duration_s": run.usage.duration_s},
        "limits": [
            {
                "rule": verdict.rule.name,
                "limit": verdict.kind.value,
                "used": verdict.used,
                "allowed": verdict.limit,
                "verdict": verdict.verdict.value,
            }
            for verdict in row.verdicts
        ],
        "verdict": row.verdict.value if row.verdict else None,
        "action": row.action,
        "abort": None if row.abort is None else plain_abort(row.abort),
    }


def plain_abort(abort: Abort) -> dict[str, Any]:
    """One abort for scripts: the whole record, times in ISO 8601 UTC."""
    saving = abort.saving
    final = abort.final.usage if abort.final else None
    return {
        "id": abort.id,
        "account": abort.account,
        "platform": abort.platform,
        "run": abort.run_id,
        "source": abort.source,
        "rule": abort.rule,
        "limit": abort.limit_label,
        "allowed": abort.limit_value,
        "used": abort.used_at_detection,
        "mode": abort.mode.value,
        "outcome": abort.state.value,
        "used_at_request": abort.used_at_request,
        "detected_at": _iso(abort.detected_at),
        "stopped_at": _iso(abort.stopped_at),
        "requests": abort.requests,
        "effective_requests": abort.effective_requests,
        "void_requests": abort.void_requests,
        "final": None if final is None else _figures(final.credits, final.cost_usd, final.duration_s),
        "reason": abort.reason,
        "saved_credits": saving.credits if saving else None,
        "saved_usd": saving.usd if saving else None,
        "booked_credits": _booked(saving.booked_credits, saving.credits) if saving else None,
        "booked_usd": _booked(saving.booked_usd, saving.usd) if saving else None,
        "basis": saving.basis.value if saving and saving.basis else None,
        "basis_note": saving.note if saving else None,
        "projected_credits": saving.projected.credits if saving else None,
        "projected_usd": saving.projected.cost_usd if saving else None,
        "history": [{"state": step.state.value, "at": _iso(step.at), "note": step.note} for step in abort.history],
    }


def _booked(at_first: float | None, stands: float | None) -> float | None:
    """What was booked before anything was taken back."""
    return stands if at_first is None else at_first


def _figures(
    credits_used: float | None, cost_usd: float | None, duration_s: float | None
) -> Mapping[str, float | None]:
    return {"credits": credits_used, "cost_usd": cost_usd, "duration_s": duration_s}


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
