"""The ledger over a SQL database, by SQLAlchemy Core.

Every call runs in one thread of its own: the event loop never waits for a disk, and writes keep their order. Those that
wait for the thread share a transaction (`together`).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from watchdog.domain.decision import Abort, Mode
from watchdog.domain.history import BurnRecord, plausible
from watchdog.domain.meter import Usage
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.ports import AbortFilter
from watchdog.domain.run import RunKey, Snapshot, replace
from watchdog.domain.sums import AbortGroup, AbortSums
from watchdog.errors import LedgerError, of_system
from watchdog.ledger import schema, sums
from watchdog.ledger.lease import Lease
from watchdog.ledger.memory import HISTORY_MAX, opened_at
from watchdog.ledger.schema import WRITES
from watchdog.ledger.together import GroupCommit

T = TypeVar("T")

#: Sources asked for in one query: few enough bound variables for any database, and few enough rows that a record of an
#: abort does not wait long for the thread.
_SOURCES_MAX = 20
#: Records of aborts read at a time where there may be very many.
_PORTION = 500
#: Rows of runs written in one transaction, for the same reason.
_RUNS_MAX = 1_000
#: What a database, its driver, or the executor raise; the others are values that cannot be bound or written as JSON.
_FAULTS = (SQLAlchemyError, OSError, RuntimeError, ValueError, OverflowError, msgspec.MsgspecError)


def as_text(at: datetime) -> str:
    """UTC in ISO 8601 with microseconds, so that texts sort as times do."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _text_or_none(at: datetime | None) -> str | None:
    return None if at is None else as_text(at)


class SqlLedger:
    """The `Ledger` port over an engine whose tables are there (`migrate`).

    `guard` is called before every write and raises LedgerError if the store must not be written; `where` names the
    store in messages. `lease`: that this process owns the store, without which it writes nothing; None for a guest.
    """

    def __init__(
        self, engine: sa.Engine, where: str, guard: Callable[[], None] = lambda: None, lease: Lease | None = None
    ) -> None:
        self._engine = engine
        self._where = where
        self.lease = lease
        fence = None if lease is None else lease.check
        self._writes = GroupCommit(engine.execution_options(**{WRITES: True}), guard, fence)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._closing = False

    async def close(self) -> None:
        """Finish what waits to be written, own the store no more, let go of the file. Closing it again does nothing."""
        if self._closing:
            return
        self._closing = True
        if self.lease is not None:
            # Where that cannot be written, the lock file is proof enough for the next one.
            with contextlib.suppress(LedgerError):
                await self._write(self.lease.release)
        # In the thread as well: the last connection to a SQLite file moves its journal into it.
        disposed = self._thread.submit(self._engine.dispose)
        self._thread.shutdown(wait=False)
        await asyncio.wrap_future(disposed)

    async def renew(self) -> None:
        """Give a sign of life, as the owner of the store must. LedgerError if it is so no more (`lease.lost`)."""
        if self.lease is not None:
            await self._write(self.lease.renew)

    # Aborts

    async def save(self, abort: Abort) -> None:
        """Write this version of the record, and what it changes in the sums; both are on disk when this returns."""
        await self._write(partial(self._save, abort=abort))

    def _save(self, connection: sa.Connection, abort: Abort) -> None:
        row, table = abort_row(abort), schema.aborts
        known = sa.select(table.c.record).where(table.c.id == row["id"], table.c.complete)
        before = connection.execute(known).scalar_one_or_none()
        _upsert(connection, table, [row])
        if before is not None or row["complete"]:
            # From what is stored, not from what was to be: whoever adds the records up must find the same.
            sums.keep(connection, None if before is None else self._record(before), self._record(row["record"]))

    async def sums(self) -> dict[AbortGroup, AbortSums]:
        """What all complete aborts add up to."""
        try:
            return await self._read(sums.read)
        except LedgerError as error:
            if isinstance(error.__cause__, ValueError):
                raise LedgerError(f"{error}; `budget-watchdog ledger check --repair` computes them anew") from error
            raise

    async def check(self, *, repair: bool = False) -> list[str]:
        """A sentence for everything in the file that is not as it should be: damage, records that cannot be read, and
        sums that are not those of the records, which `repair` puts right."""
        if not repair:
            return await self._read(_faults)
        return await self._write(partial(_faults, repair=True))

    async def open_aborts(self) -> list[Abort]:
        """Records with something left to do, oldest first."""
        table = schema.aborts
        query = sa.select(table.c.record).where(table.c.complete.is_(False)).order_by(table.c.opened_at, table.c.id)
        return await self._records(query)

    async def aborts(self, wanted: AbortFilter | None = None) -> list[Abort]:
        """Records that fit, oldest first."""
        table = schema.aborts
        wanted = wanted or AbortFilter()
        query = sa.select(table.c.record).where(*_conditions(wanted))
        if wanted.newest is None:
            return await self._records(query.order_by(table.c.opened_at, table.c.id))
        latest_first = query.order_by(table.c.opened_at.desc(), table.c.id.desc())
        return (await self._records(latest_first.limit(wanted.newest)))[::-1]

    async def newest_first(self, wanted: AbortFilter) -> AsyncIterator[list[Abort]]:
        """Records that fit, newest first, a portion at a time, so that they need not all be in memory."""
        table, last, left = schema.aborts, None, wanted.newest
        query = sa.select(table.c.record).order_by(table.c.opened_at.desc(), table.c.id.desc())
        query = query.where(*_conditions(wanted))
        while left is None or left > 0:
            portion = query if last is None else query.where(sa.tuple_(table.c.opened_at, table.c.id) < last)
            found = await self._records(portion.limit(min(_PORTION, left or _PORTION)))
            if not found:
                return
            yield found
            last = (as_text(opened_at(found[-1])), found[-1].id)
            left = None if left is None else left - len(found)

    async def _records(self, query: sa.Select[str]) -> list[Abort]:
        """Decoded in the thread too: all the records of years take their time."""
        return await self._read(lambda connection: [self._record(row) for row in connection.execute(query).scalars()])

    def _record(self, row: str) -> Abort:
        return self._legible("a record of an abort", lambda: _DECODER.decode(row))

    def _legible(self, what: str, read: Callable[[], T]) -> T:
        """A row that cannot be read must not pass for none: behind it may be an open abort, or a hold."""
        try:
            return read()
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            raise LedgerError(f"{self._where}: {what} cannot be read: {error}; the file is damaged") from error

    # Runs

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Write the last known usage of these runs; in portions, since each row stands for itself, and the record of an
        abort must not wait for ten thousand of them."""
        rows = list({snapshot.key: _run_row(snapshot) for snapshot in snapshots}.values())
        for start in range(0, len(rows), _RUNS_MAX):
            portion = rows[start : start + _RUNS_MAX]
            await self._write(partial(_upsert, table=schema.runs, rows=portion))

    async def seen_running(self, account: str) -> dict[str, float]:
        """Seconds that runs of this account were seen running, by id."""
        table = schema.runs.c
        query = sa.select(table.run_id, table.seen_running_s).where(
            table.account == _storable(account), table.seen_running_s > 0
        )
        rows = await self._read(lambda connection: connection.execute(query).all())
        return {run_id: float(seconds) for run_id, seconds in rows}

    async def add_finished(self, snapshot: Snapshot) -> None:
        """Remember how much a run that ended by itself used."""
        row = _finished_row(snapshot)
        await self._write(lambda connection: _upsert(connection, schema.finished_runs, [row]))

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """What the latest runs of this source used that ended by themselves, oldest first."""
        table = schema.finished_runs
        query = (
            sa.select(table.c.credits, table.c.cost_usd, table.c.duration_s)
            .where(table.c.source_id == source_id)
            .order_by(table.c.finished_at.desc(), table.c.account.desc(), table.c.run_id.desc())
            .limit(HISTORY_MAX)
        )
        rows = await self._read(lambda connection: connection.execute(query).all())
        return [Usage(*row) for row in reversed(rows)]

    async def add_burn(self, record: BurnRecord) -> None:
        """Remember how fast a run that is over used up what it used; figures that cannot be are stored as unknown."""
        row = _burn_row(record)
        await self._write(lambda connection: _upsert(connection, schema.burn_rates, [row]))

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        """The latest records of each of these sources, oldest first; sources without any are left out."""
        wanted = list(dict.fromkeys(source_ids))
        found: dict[str, list[BurnRecord]] = {}
        for start in range(0, len(wanted), _SOURCES_MAX):
            # A portion at a time, so that writes come between them.
            portion = wanted[start : start + _SOURCES_MAX]
            found |= await self._read(partial(self._burns, source_ids=portion))
        return found

    def _burns(self, connection: sa.Connection, source_ids: Sequence[str]) -> dict[str, list[BurnRecord]]:
        stored = {source_id: _storable(source_id) for source_id in source_ids}
        rows = connection.execute(_burns_of([*stored.values()])).all()
        of_source = defaultdict(list)
        for record in self._legible("a burn rate", lambda: [_burn(row) for row in rows]):
            of_source[record.source_id].append(record)
        return {source_id: of_source[text][-HISTORY_MAX:] for source_id, text in stored.items() if text in of_source}

    async def known_runs(self, run_id: str | None = None) -> list[RunKey]:
        """The runs that there is anything about, or those of this id: whoever names another may have mistyped it."""
        tables = (schema.runs, schema.finished_runs, schema.aborts)
        each = [sa.select(table.c.account, table.c.run_id) for table in tables]
        if run_id is not None:
            each = [query.where(query.selected_columns.run_id == run_id) for query in each]
        rows = await self._read(lambda connection: connection.execute(sa.union(*each)).all())
        return sorted((row.account, row.run_id) for row in rows)

    # Overrides and orders

    async def add_override(self, override: Override) -> None:
        """Write an override."""
        row = {
            "id": override.id,
            "kind": override.kind.value,
            "run_id": override.run_id,
            "account": override.account,
            "created_at": as_text(override.created_at),
            "until": _text_or_none(override.until),
            "ended_at": _text_or_none(override.ended_at),
            "reason": override.reason,
        }
        await self._write(lambda connection: _upsert(connection, schema.overrides, [row]))

    async def overrides(self, now: datetime) -> list[Override]:
        """Those that hold now, oldest first."""
        table = schema.overrides
        query = (
            sa.select(table)
            .where(table.c.ended_at.is_(None), sa.or_(table.c.until.is_(None), table.c.until > as_text(now)))
            .order_by(table.c.created_at, table.c.id)
        )
        rows = await self._read(lambda connection: connection.execute(query).mappings().all())
        return [self._legible("an override", partial(_override, row)) for row in rows]

    async def end_overrides(
        self, kinds: Sequence[OverrideKind], run_id: str | None, at: datetime, account: str | None = None
    ) -> int:
        """End those of these kinds about this run (None: about no single run) that hold now, and of these only those
        for this account (None: all); how many there were."""
        table = schema.overrides
        about = table.c.run_id.is_(None) if run_id is None else table.c.run_id == run_id
        change = (
            sa.update(table)
            .where(table.c.kind.in_([kind.value for kind in kinds]), about, table.c.ended_at.is_(None))
            .where(sa.or_(table.c.until.is_(None), table.c.until > as_text(at)))
            .values(ended_at=as_text(at))
        )
        if account is not None:
            change = change.where(table.c.account == account)
        return int(await self._write(lambda connection: connection.execute(change).rowcount))

    async def move_override(self, override_id: str, until: datetime | None) -> None:
        """Let it end at another hour, unless somebody has ended it or it never ends."""
        over = schema.overrides.c
        lasting = (over.id == override_id, over.ended_at.is_(None), over.until.is_not(None))
        change = sa.update(schema.overrides).where(*lasting).values(until=_text_or_none(until))
        await self._write(lambda connection: connection.execute(change))

    async def add_order(self, order: Order) -> None:
        """Write an abort asked for by hand, for the daemon to take on."""
        row = {
            "id": order.id,
            "run_id": order.run_id,
            "account": order.account,
            "mode": order.mode.value,
            "created_at": as_text(order.created_at),
            "reason": order.reason,
            "answer": order.answer,
        }
        await self._write(lambda connection: _upsert(connection, schema.orders, [row]))

    async def orders(self) -> list[Order]:
        """Those that nobody has taken on, oldest first."""
        table = schema.orders
        query = sa.select(table).where(table.c.answer.is_(None)).order_by(table.c.created_at, table.c.id)
        rows = await self._read(lambda connection: connection.execute(query).mappings().all())
        return [self._legible("an order", partial(_order, row)) for row in rows]

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order."""
        table = schema.orders
        change = sa.update(table).where(table.c.id == order_id).values(answer=answer)
        await self._write(lambda connection: connection.execute(change))

    async def order_answer(self, order_id: str) -> str | None:
        """What came of an order; None while nobody has taken it on."""
        table = schema.orders
        query = sa.select(table.c.answer).where(table.c.id == order_id)
        return await self._read(lambda connection: connection.execute(query).scalar_one_or_none())

    # Upkeep

    async def prune(self, before: datetime) -> int:
        """Delete runs, finished runs, burn rates, overrides and orders older than this; never an abort, since the
        counters of the metrics are sums over them. How many rows there were."""
        limit = as_text(before)
        over = schema.overrides.c
        deletions = (
            sa.delete(schema.runs).where(schema.runs.c.seen_at < limit),
            sa.delete(schema.finished_runs).where(schema.finished_runs.c.finished_at < limit),
            sa.delete(schema.burn_rates).where(schema.burn_rates.c.ended_at < limit),
            sa.delete(schema.orders).where(schema.orders.c.created_at < limit, schema.orders.c.answer.is_not(None)),
            sa.delete(schema.overrides).where(sa.or_(over.ended_at < limit, over.until < limit)),
        )
        return int(await self._write(lambda connection: sum(connection.execute(each).rowcount for each in deletions)))

    # The thread

    async def _read(self, work: Callable[[sa.Connection], T]) -> T:
        """Sees every write that was awaited before; waits for no more than what already stands in the line."""

        def in_transaction() -> T:
            with self._engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, in_transaction)
        except _FAULTS as error:
            raise self._fault(error) from error

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        """On disk when this returns, and even if its caller does not wait for that."""
        try:
            # Each write asks for the thread; the first that gets it takes all the others along.
            done = self._writes.add(work, lambda: self._thread.submit(self._writes.carry_out))
            return await asyncio.wrap_future(done)
        except LedgerError as error:
            # Of the guard, and shared by all that were written together: everybody raises one of his own.
            raise LedgerError(str(error)) from error
        except _FAULTS as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> LedgerError:
        return LedgerError(f"{self._where}: {sentence(error)}")


def _upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    clean = [{name: _storable(value) for name, value in row.items()} for row in rows]
    connection.execute(_upsert_into(table, connection.dialect.name), clean)


@cache
def _upsert_into(table: sa.Table, dialect: str) -> Any:
    """Made once: making it takes ten times as long as carrying it out."""
    insert = _insert(dialect)(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)


def _insert(dialect: str) -> Any:
    """Each dialect has its own INSERT ... ON CONFLICT; only the one in use is loaded."""
    return import_module(f"sqlalchemy.dialects.{dialect}").insert


def sentence(error: Exception) -> str:
    """What a database says, without the statement and its values, and what to do about the usual ones."""
    cause = error.__cause__ or getattr(error, "orig", None) or error
    if isinstance(cause, OSError):
        return of_system(cause)
    text = " ".join(str(cause).split()) or type(cause).__name__
    hints = {
        "full": "free some space",
        "readonly": "make the file and its folder writable",
        "locked": "another program holds it; stop that one",
        "malformed": "the file is damaged: restore it from a backup, or move it away",
        "not a database": "the file is not a ledger: name another one, or move it away",
        "unable to open": "check that the folder exists, and that this user may write it and the file",
    }
    hint = next((hint for word, hint in hints.items() if word in text), "")
    return f"{text}; {hint}" if hint else text


def abort_row(abort: Abort) -> dict[str, Any]:
    """The record and the columns drawn from it."""
    abort = _with_finite_figures(abort)
    final = abort.final.usage if abort.final else Usage()
    saving = abort.saving
    row: dict[str, Any] = {
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
        "stopped_at": _text_or_none(abort.stopped_at),
        "final_credits": final.credits,
        "final_cost_usd": final.cost_usd,
        "final_duration_s": final.duration_s,
        "projected_credits": saving.projected.credits if saving else None,
        "projected_cost_usd": saving.projected.cost_usd if saving else None,
        "saved_credits": saving.credits if saving else None,
        "saved_usd": saving.usd if saving else None,
        "basis": saving.basis.value if saving and saving.basis else None,
        "basis_note": saving.note if saving else None,
        "complete": abort.is_complete,
        "record": record_text(abort),
    }
    for name, length in _LENGTHS.items():
        if (value := row[name]) is not None:
            row[name] = value[:length]
    return row


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
        return _legible_text(msgspec.json.encode(_storable(msgspec.to_builtins(abort))))


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


def _storable(value: Any) -> Any:
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
        return {_storable(key): _storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(each) for each in value]
    return value


def _faults(connection: sa.Connection, *, repair: bool = False) -> list[str]:
    found: list[str] = []
    if connection.dialect.name == "sqlite":
        words = connection.exec_driver_sql("PRAGMA integrity_check(10)").scalars().all()
        found += [f"the file is damaged: {' '.join(str(each).split())}" for each in words if each != "ok"]

    def illegible(abort_id: str, error: Exception) -> None:
        found.append(f"the record of abort {abort_id} cannot be read: {error}")

    right = sums.recomputed(connection, illegible)
    try:
        kept = sums.read(connection)
        found += sums.differences(kept, right)
    except ValueError as error:
        kept = {}
        found.append(f"what cannot be read: {error}")
    if repair and kept != right:
        sums.replace_all(connection, right)
    return found


def _conditions(wanted: AbortFilter) -> list[sa.ColumnElement[bool]]:
    table = schema.aborts.c
    conditions: list[sa.ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(table.opened_at >= as_text(wanted.since))
    if wanted.until is not None:
        conditions.append(table.opened_at < as_text(wanted.until))
    asked = (
        (table.account, wanted.account),
        (table.rule, wanted.rule),
        (table.state, wanted.outcome),
        (table.run_id, wanted.run_id),
        (table.id, wanted.abort_id),
    )
    for column, value in asked:
        if value is not None:
            conditions.append(column == value)
    return conditions


def _run_row(run: Snapshot) -> dict[str, Any]:
    return {
        "account": run.account,
        "run_id": run.run_id,
        "platform": run.platform,
        "source_id": run.source.id,
        "source": run.source.label,
        "state": run.state.value,
        "credits": run.usage.credits,
        "cost_usd": run.usage.cost_usd,
        "duration_s": run.usage.duration_s,
        "seen_running_s": run.seen_running_s,
        "started_at": _text_or_none(run.started_at),
        "seen_at": as_text(run.seen_at),
    }


def _finished_row(run: Snapshot) -> dict[str, Any]:
    return {
        "account": run.account,
        "run_id": run.run_id,
        "source_id": run.source.id,
        "state": run.state.value,
        "credits": run.usage.credits,
        "cost_usd": run.usage.cost_usd,
        "duration_s": run.usage.duration_s,
        "finished_at": as_text(run.finished_at or run.seen_at),
    }


def _burn_row(record: BurnRecord) -> dict[str, Any]:
    return {
        "account": record.account,
        "run_id": record.run_id,
        "source_id": record.source_id,
        "ended_at": as_text(record.ended_at),
        "credits_per_s": plausible(record.credits_per_s),
        "usd_per_s": plausible(record.usd_per_s),
        "credits": plausible(record.final.credits),
        "cost_usd": plausible(record.final.cost_usd),
        "duration_s": plausible(record.final.duration_s),
        "ended_by_itself": record.ended_by_itself,
    }


def _burn(row: Sequence[Any]) -> BurnRecord:
    account, run_id, source_id, ended_at, credits_per_s, usd_per_s, used, cost_usd, duration_s, ended_by_itself = row
    final = Usage(used, cost_usd, duration_s)
    at = datetime.fromisoformat(ended_at)
    return BurnRecord(account, run_id, source_id, at, credits_per_s, usd_per_s, final, ended_by_itself)


def _burns_of(source_ids: Sequence[str]) -> sa.Select[Any]:
    """The latest records of each of these sources, oldest first; some more where several ended at one instant. For each
    source two looks into the index, for the oldest end that counts and from there on: a window function (row_number)
    reads all there ever were, which takes ten times as long."""
    table = schema.burn_rates
    wanted = sa.values(sa.column("id", sa.Text), name="wanted").data([(source_id,) for source_id in source_ids]).cte()
    each = table.alias("each_rate")
    oldest = (
        sa.select(each.c.ended_at)
        .where(each.c.source_id == wanted.c.id)
        .order_by(each.c.ended_at.desc())
        .limit(1)
        .offset(HISTORY_MAX - 1)
        .correlate(wanted)
        .scalar_subquery()
    )
    latest = sa.and_(table.c.source_id == wanted.c.id, table.c.ended_at >= sa.func.coalesce(oldest, ""))
    return sa.select(table).join(wanted, latest).order_by(table.c.ended_at, table.c.account, table.c.run_id)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _override(row: sa.RowMapping) -> Override:
    return Override(
        id=row["id"],
        kind=OverrideKind(row["kind"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        run_id=row["run_id"],
        account=row["account"],
        until=_moment(row["until"]),
        reason=row["reason"],
        ended_at=_moment(row["ended_at"]),
    )


def _order(row: sa.RowMapping) -> Order:
    return Order(
        id=row["id"],
        run_id=row["run_id"],
        mode=Mode(row["mode"]),
        created_at=datetime.fromisoformat(row["created_at"]),
        account=row["account"],
        reason=row["reason"],
        answer=row["answer"],
    )
