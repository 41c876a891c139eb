"""Aborts that people ask for by hand, in a SQL database."""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from watchdog.domain.override import Order
from watchdog.ledger import schema
from watchdog.ledger.database import Slice, upsert
from watchdog.ledger.rows import order_of, order_row


class SqlOrders(Slice):
    """`OrderLedger`, and what came of an order."""

    async def add_order(self, order: Order) -> None:
        """Write an abort asked for by hand, for the daemon to take on."""
        row = order_row(order)
        await self._database.write(lambda connection: upsert(connection, schema.orders, [row]))

    async def orders(self) -> list[Order]:
        """Those that nobody has taken on, oldest first."""
        table = schema.orders
        query = sa.select(table).where(table.c.answer.is_(None)).order_by(table.c.created_at, table.c.id)
        rows = await self._database.read(lambda connection: connection.execute(query).mappings().all())
        return [self._database.legible("an order", partial(order_of, row)) for row in rows]

    async def answer_order(self, order_id: str, answer: str) -> None:
        """Say what came of an order."""
        table = schema.orders
        change = sa.update(table).where(table.c.id == order_id).values(answer=answer)
        await self._database.write(lambda connection: connection.execute(change))

    async def order_answer(self, order_id: str) -> str | None:
        """What came of an order; None while nobody has taken it on."""
        table = schema.orders
        query = sa.select(table.c.answer).where(table.c.id == order_id)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
