"""The ledger over a SQL database, by SQLAlchemy Core: its slices together, who owns it, and its upkeep."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime

import sqlalchemy as sa

from watchdog.errors import LedgerError
from watchdog.ledger import schema, sums
from watchdog.ledger.database import Database
from watchdog.ledger.lease import Lease
from watchdog.ledger.rows import as_text
from watchdog.ledger.sql_aborts import SqlAborts
from watchdog.ledger.sql_histories import SqlHistories
from watchdog.ledger.sql_orders import SqlOrders
from watchdog.ledger.sql_overrides import SqlOverrides
from watchdog.ledger.sql_runs import SqlRuns

#: A sentence for each damage that a database finds in itself.
Damage = Callable[[sa.Connection], Sequence[str]]


class SqlLedger(SqlAborts, SqlRuns, SqlHistories, SqlOverrides, SqlOrders):
    """The `Ledger` port over an engine whose tables are there (`migrate`).

    `guard` is called before every write and raises LedgerError if the store must not be written; `where` names the
    store in messages. `lease`: that this process owns the store, without which it writes nothing; None for a guest.
    `damage` has the database look for damage in itself.
    """

    def __init__(
        self,
        engine: sa.Engine,
        where: str,
        guard: Callable[[], None] = lambda: None,
        lease: Lease | None = None,
        damage: Damage = lambda _: (),
    ) -> None:
        super().__init__(Database(engine, where, guard, None if lease is None else lease.check))
        self.lease = lease
        self._damage = damage
        self._closing = False

    async def close(self) -> None:
        """Finish what waits to be written, own the store no more, let go of the file. Closing it again does nothing."""
        if self._closing:
            return
        self._closing = True
        if self.lease is not None:
            # Where that cannot be written, the lock file is proof enough for the next one.
            with contextlib.suppress(LedgerError):
                await self._database.write(self.lease.release)
        await self._database.close()

    async def renew(self) -> None:
        """Give a sign of life, as the owner of the store must. LedgerError if it is so no more (`lease.lost`)."""
        if self.lease is not None:
            await self._database.write(self.lease.renew)

    async def check(self, *, repair: bool = False) -> list[str]:
        """A sentence for everything in the file that is not as it should be: damage, records that cannot be read, and
        sums that are not those of the records, which `repair` puts right."""
        if not repair:
            return await self._database.read(lambda connection: [*self._damage(connection), *sums.faults(connection)])
        return await self._database.write(
            lambda connection: [*self._damage(connection), *sums.faults(connection, repair=True)]
        )

    async def prune(self, before: datetime) -> int:
        """Delete runs, going on or over, overrides and orders older than this; never an abort, since the
        counters of the metrics are sums over them. How many rows there were."""
        limit = as_text(before)
        over = schema.overrides.c
        deletions = (
            sa.delete(schema.runs).where(schema.runs.c.seen_at < limit),
            sa.delete(schema.ended_runs).where(schema.ended_runs.c.ended_at < limit),
            sa.delete(schema.orders).where(schema.orders.c.created_at < limit, schema.orders.c.answer.is_not(None)),
            sa.delete(schema.overrides).where(sa.or_(over.ended_at < limit, over.until < limit)),
        )
        return int(
            await self._database.write(lambda connection: sum(connection.execute(each).rowcount for each in deletions))
        )
