"""The records of aborts, and the sums over them, in a SQL database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import sqlalchemy as sa

from watchdog.domain.decision import Abort
from watchdog.domain.ports import AbortFilter
from watchdog.domain.sums import AbortGroup, AbortSums
from watchdog.errors import LedgerError
from watchdog.ledger import schema, sums
from watchdog.ledger.database import Slice, upsert
from watchdog.ledger.records import opened_at
from watchdog.ledger.rows import abort_of, abort_row, as_text

#: Records of aborts read at a time where there may be very many.
_PORTION = 500


class SqlAborts(Slice):
    """`AbortLedger`, `AbortRecords` and `SumLedger`."""

    async def save(self, abort: Abort) -> None:
        """Write this version of the record, and what it changes in the sums; both are on disk when this returns."""
        await self._database.write(partial(self._save, abort=abort))

    def _save(self, connection: sa.Connection, abort: Abort) -> None:
        row, table = abort_row(abort), schema.aborts
        known = sa.select(table.c.record).where(table.c.id == row["id"], table.c.complete)
        before = connection.execute(known).scalar_one_or_none()
        upsert(connection, table, [row])
        if before is not None or row["complete"]:
            # From what is stored, not from what was to be: whoever adds the records up must find the same.
            sums.keep(connection, None if before is None else self._record(before), self._record(row["record"]))

    async def sums(self) -> dict[AbortGroup, AbortSums]:
        """What all complete aborts add up to."""
        try:
            return await self._database.read(sums.read)
        except LedgerError as error:
            if isinstance(error.__cause__, ValueError):
                raise LedgerError(f"{error}; `budget-watchdog ledger check --repair` computes them anew") from error
            raise

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
        return await self._database.read(
            lambda connection: [self._record(row) for row in connection.execute(query).scalars()]
        )

    def _record(self, row: str) -> Abort:
        return self._database.legible("a record of an abort", lambda: abort_of(row))


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
