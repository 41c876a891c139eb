"""What is remembered of runs that are over, in a SQL database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Usage
from watchdog.ledger import schema
from watchdog.ledger.database import Slice, upsert
from watchdog.ledger.records import HISTORY_MAX
from watchdog.ledger.rows import USED_COLUMNS, burn_of, burn_row, storable, used_of

#: Sources asked for in one query: few enough bound variables for any database, and few enough rows that a record of an
#: abort does not wait long for the thread.
_SOURCES_MAX = 20


class SqlHistories(Slice):
    """`HistoryLedger`."""

    async def add_burn(self, record: BurnRecord) -> None:
        """Remember what a run that is over used, and how fast; figures that cannot be are stored as unknown."""
        row = burn_row(record)
        await self._database.write(lambda connection: upsert(connection, schema.ended_runs, [row]))

    async def burns(self, source_ids: Collection[str]) -> dict[str, list[BurnRecord]]:
        """The latest records of each of these sources, oldest first; sources without any are left out."""
        wanted = list(dict.fromkeys(source_ids))
        found: dict[str, list[BurnRecord]] = {}
        for start in range(0, len(wanted), _SOURCES_MAX):
            # A portion at a time, so that writes come between them.
            portion = wanted[start : start + _SOURCES_MAX]
            found |= await self._database.read(partial(self._burns, source_ids=portion))
        return found

    async def finished_usages(self, source_id: str) -> list[Usage]:
        """What the latest runs of this source used that ended by themselves, oldest first."""
        table = schema.ended_runs.c
        query = (
            sa.select(*USED_COLUMNS)
            .where(table.source_id == storable(source_id), table.ended_by_itself)
            .order_by(table.ended_at.desc(), table.account.desc(), table.run_id.desc())
            .limit(HISTORY_MAX)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).mappings().all())
        return self._database.legible("what a run used", lambda: [used_of(row) for row in reversed(rows)])

    def _burns(self, connection: sa.Connection, source_ids: Sequence[str]) -> dict[str, list[BurnRecord]]:
        stored = {source_id: storable(source_id) for source_id in source_ids}
        rows = connection.execute(_burns_of([*stored.values()])).mappings().all()
        of_source = defaultdict(list)
        for record in self._database.legible("a burn rate", lambda: [burn_of(row) for row in rows]):
            of_source[record.source_id].append(record)
        return {source_id: of_source[text][-HISTORY_MAX:] for source_id, text in stored.items() if text in of_source}


def _burns_of(source_ids: Sequence[str]) -> sa.Select[Any]:
    """The latest records of each of these sources, oldest first; some more where several ended at one instant. For each
    source two looks into the index, for the oldest end that counts and from there on: a window function (row_number)
    reads all there ever were, which takes ten times as long."""
    table = schema.ended_runs
    wanted = sa.values(sa.column("id", sa.Text), name="wanted").data([(source_id,) for source_id in source_ids]).cte()
    each = table.alias("each_run")
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
