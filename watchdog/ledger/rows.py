"""Rows of tables <-> values of the domain.

Ids are texts and times UTC in ISO 8601 text, in types that every database has. Whatever a platform or a person may have
put into a value, its row can be stored; what cannot be read again raises ValueError, TypeError or MsgspecError.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from watchdog.domain.decision import Abort, Mode
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import BOOKED, IN_ORDER, LEARNED, Meter, Usage
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.run import Snapshot, replace
from watchdog.ledger import schema
from watchdog.ledger.records import opened_at

Row = dict[str, Any]

# --- values ----------------------------------------------------------------------------------------------------------


def as_text(at: datetime) -> str:
    """UTC in ISO 8601 with microseconds, so that texts sort as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def text_or_none(at: datetime | None) -> str | None:
    """The same of what may be missing."""
    return None if at is None else as_text(at)


def moment_or_none(text: str | None) -> datetime | None:
    """The moment that a text tells."""
    return None if text is None else datetime.fromisoformat(text)


def storable(value: Any) -> Any:
    """The nearest thing to it that JSON and every database can hold: no half surrogates, no NUL, no infinity."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {storable(key): storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value


# --- figures ---------------------------------------------------------------------------------------------------------

#: Columns that are not called like the meter's field with `_per_s`.
_RATE_COLUMNS = {Meter.COST_USD: "usd_per_s"}
_RATES = {meter: _RATE_COLUMNS.get(meter, f"{meter.entry.field}_per_s") for meter in LEARNED}
#: Figures that a table has no column for are JSON in its column `others`: a further meter needs none.
_FIELDS = tuple(meter.entry.field for meter in IN_ORDER)
_OTHERS_OF_RUNS = tuple(name for name in _FIELDS if name not in schema.runs.c)
_OTHERS_OF_ENDED = tuple(name for name in (*_FIELDS, *_RATES.values()) if name not in schema.ended_runs.c)
_OTHERS = msgspec.json.Decoder(dict[str, float])


def _spread(figures: Row, others: Iterable[str]) -> Row:
    """The columns for these figures by their names, of which `others` have none."""
    apart = {name: figure for name in others if (figure := figures.pop(name)) is not None and math.isfinite(figure)}
    figures["others"] = msgspec.json.encode(apart).decode() if apart else None
    return figures


def _gathered(row: sa.RowMapping) -> Row:
    """The same back by their names."""
    figures: Row = {**row}
    if (others := figures.pop("others")) is not None:
        figures |= _OTHERS.decode(others)
    return figures


def used_of(row: sa.RowMapping) -> Usage:
    """What a run has used, from `USED_COLUMNS`."""
    return _usage(_gathered(row))


def _usage(figures: Row) -> Usage:
    return Usage(*map(figures.get, _FIELDS))


#: The columns that `used_of` reads of runs that are over.
USED_COLUMNS = tuple(column for column in schema.ended_runs.c if column.name in (*_FIELDS, "others"))

# --- aborts ----------------------------------------------------------------------------------------------------------


def abort_row(abort: Abort) -> Row:
    """The record and the columns drawn from it."""
    abort = _with_finite_figures(abort)
    final = abort.final.usage if abort.final else Usage()
    saving = abort.saving
    row: Row = {
        "id": abort.id,
        "opened_at": as_text(opened_at(abort)),
        "account": abort.account,
        "platform": abort.platform,
        "run_id": abort.run_id,
        "source": abort.source,
        "rule": abort.rule,
        "limit_kind": abort.limit.value if abort.limit else "",
        "limit_value": abort.limit_value,
        "used_at_detection": abort.used_at_detection,
        "used_at_request": abort.used_at_request,
        "mode": abort.mode.value,
        "state": abort.state.value,
        "requests": abort.requests,
        "reason": abort.reason,
        "stopped_at": text_or_none(abort.stopped_at),
        **_drawn("final", final),
        **_drawn("projected", saving.projected if saving else Usage()),
        **{f"saved_{meter.entry.booked}": saving.of(meter) if saving else None for meter in BOOKED},
        "basis": saving.basis.value if saving and saving.basis else None,
        "basis_note": saving.note if saving else None,
        "complete": abort.is_complete,
        "record": record_text(abort),
    }
    for name, length in _LENGTHS.items():
        if (value := row[name]) is not None:
            row[name] = value[:length]
    return row


def _drawn(what: str, usage: Usage) -> Row:
    """The columns there are for these figures; the record has them all."""
    return {name: figure for field, figure in usage.figures.items() if (name := f"{what}_{field}") in schema.aborts.c}


#: What the columns of text have room for, where the database minds (PostgreSQL); the record has the whole.
_LENGTHS: dict[str, int] = {
    column.name: column.type.length
    for column in schema.aborts.columns
    if isinstance(column.type, sa.String) and column.type.length is not None and not column.primary_key
}


_DECODER = msgspec.json.Decoder(Abort)


def record_text(abort: Abort) -> str:
    """The whole record as JSON. Whatever a platform or a person may have put into it, it can be stored and read again:
    an odd figure or text must not cost the record of an abort. Raises MsgspecError for what is no record at all: one
    row that cannot be read would keep all the others from being read."""
    try:
        return _legible_text(msgspec.json.encode(abort))
    except (ValueError, msgspec.MsgspecError):
        return _legible_text(msgspec.json.encode(storable(msgspec.to_builtins(abort))))


def _legible_text(record: bytes) -> str:
    _DECODER.decode(record)
    return record.decode()


def _with_finite_figures(abort: Abort) -> Abort:
    """JSON knows no infinity. Where a figure may be missing, one that is not finite is written as missing; these must
    be there."""
    figures = {"limit_value": abort.limit_value, "used_at_detection": abort.used_at_detection}
    odd: dict[str, Any] = {name: _finite(figure) for name, figure in figures.items() if not math.isfinite(figure)}
    for name, run in (("before", abort.before), ("final", abort.final)):
        if run is not None and not all(map(math.isfinite, run.burn_cap_per_s.values())):
            odd[name] = _with_finite_caps(run)
    return replace(abort, **odd) if odd else abort


def _finite(figure: float) -> float:
    return 0.0 if math.isnan(figure) else math.copysign(sys.float_info.max, figure)


def _with_finite_caps(run: Snapshot) -> Snapshot:
    finite = {kind: rate for kind, rate in run.burn_cap_per_s.items() if math.isfinite(rate)}
    return replace(run, burn_cap_per_s=finite)


def abort_of(record: str) -> Abort:
    """The record of an abort from its text."""
    return _DECODER.decode(record)


# --- runs ------------------------------------------------------------------------------------------------------------


def run_row(run: Snapshot) -> Row:
    """The last known usage of a run."""
    return {
        "account": run.account,
        "run_id": run.run_id,
        "platform": run.platform,
        "source_id": run.source.id,
        "source": run.source.label,
        "state": run.state.value,
        **_spread(run.usage.figures, _OTHERS_OF_RUNS),
        "seen_running_s": run.seen_running_s,
        "started_at": text_or_none(run.started_at),
        "seen_at": as_text(run.seen_at),
    }


def burn_row(record: BurnRecord) -> Row:
    """What a run that is over used, and how fast; figures that cannot be are unknown."""
    record = record.as_kept
    rates = {name: record.rates.get(meter) for meter, name in _RATES.items()}
    return {
        "account": record.account,
        "run_id": record.run_id,
        "source_id": record.source_id,
        "ended_at": as_text(record.ended_at),
        "ended_by_itself": record.ended_by_itself,
        **_spread(record.final.figures | rates, _OTHERS_OF_ENDED),
    }


def burn_of(row: sa.RowMapping) -> BurnRecord:
    """The same from its row."""
    figures = _gathered(row)
    return BurnRecord(
        account=row["account"],
        run_id=row["run_id"],
        source_id=row["source_id"],
        ended_at=datetime.fromisoformat(row["ended_at"]),
        rates={meter: rate for meter, name in _RATES.items() if (rate := figures.get(name)) is not None},
        final=_usage(figures),
        ended_by_itself=row["ended_by_itself"],
    )


# --- overrides and orders --------------------------------------------------------------------------------------------


def override_row(override: Override) -> Row:
    """What somebody decided."""
    return {
        "id": override.id,
        "kind": override.kind.value,
        "run_id": override.run_id,
        "account": override.account,
        "created_at": as_text(override.created_at),
        "until": text_or_none(override.until),
        "ended_at": text_or_none(override.ended_at),
        "reason": override.reason,
    }


def override_of(row: sa.RowMapping) -> Override:
    """The same from its row."""
    return Override(
        id=row["id"],
        kind=OverrideKind(row["kind"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        run_id=row["run_id"],
        account=row["account"],
        until=moment_or_none(row["until"]),
        reason=row["reason"],
        ended_at=moment_or_none(row["ended_at"]),
    )


def order_row(order: Order) -> Row:
    """An abort asked for by hand."""
    return {
        "id": order.id,
        "run_id": order.run_id,
        "account": order.account,
        "mode": order.mode.value,
        "created_at": as_text(order.created_at),
        "reason": order.reason,
        "answer": order.answer,
    }


def order_of(row: sa.RowMapping) -> Order:
    """The same from its row."""
    return Order(
        id=row["id"],
        run_id=row["run_id"],
        mode=Mode(row["mode"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        account=row["account"],
        reason=row["reason"],
        answer=row["answer"],
    )
