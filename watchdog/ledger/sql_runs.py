"""What is known of runs, in a SQL database."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import sqlalchemy as sa

from watchdog.domain.run import RunKey, Snapshot
from watchdog.ledger import schema
from watchdog.ledger.database import Slice, upsert
from watchdog.ledger.rows import run_row, storable

#: Rows of runs written in one transaction: few enough that a record of an abort does not wait long for the thread.
_RUNS_MAX = 1_000


class SqlRuns(Slice):
    """`RunLedger` and `KnownRuns`."""

    async def save_runs(self, snapshots: Iterable[Snapshot]) -> None:
        """Write the last known usage of these runs; in portions, since each row stands for itself, and the record of an
        abort must not wait for ten thousand of them."""
        rows = list({snapshot.key: run_row(snapshot) for snapshot in snapshots}.values())
        for start in range(0, len(rows), _RUNS_MAX):
            portion = rows[start : start + _RUNS_MAX]
            await self._database.write(partial(upsert, table=schema.runs, rows=portion))

    async def seen_running(self, account: str) -> dict[str, float]:
        """Seconds that runs of this account were seen running, by id."""
        table = schema.runs.c
        query = sa.select(table.run_id, table.seen_running_s).where(
            table.account == storable(account), table.seen_running_s > 0
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {run_id: float(seconds) for run_id, seconds in rows}

    async def known_runs(self, run_id: str | None = None) -> list[RunKey]:
        """The runs that there is anything about, or those of this id: whoever names another may have mistyped it."""
        tables = (schema.runs, schema.ended_runs, schema.aborts)
        each = [sa.select(table.c.account, table.c.run_id) for table in tables]
        if run_id is not None:
            each = [query.where(query.selected_columns.run_id == run_id) for query in each]
        rows = await self._database.read(lambda connection: connection.execute(sa.union(*each)).all())
        return sorted((row.account, row.run_id) for row in rows)
