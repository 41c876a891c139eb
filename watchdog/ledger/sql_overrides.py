"""What people have decided, in a SQL database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import sqlalchemy as sa

from watchdog.domain.override import Override, OverrideKind
from watchdog.ledger import schema
from watchdog.ledger.database import Slice, upsert
from watchdog.ledger.rows import as_text, override_of, override_row, text_or_none


class SqlOverrides(Slice):
    """`OverrideLedger`."""

    async def add_override(self, override: Override) -> None:
        """Write an override."""
        row = override_row(override)
        await self._database.write(lambda connection: upsert(connection, schema.overrides, [row]))

    async def overrides(self, now: datetime) -> list[Override]:
        """Those that hold now, oldest first."""
        table = schema.overrides
        query = (
            sa.select(table)
            .where(table.c.ended_at.is_(None), sa.or_(table.c.until.is_(None), table.c.until > as_text(now)))
            .order_by(table.c.created_at, table.c.id)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).mappings().all())
        return [self._database.legible("an override", partial(override_of, row)) for row in rows]

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
        return int(await self._database.write(lambda connection: connection.execute(change).rowcount))

    async def move_override(self, override_id: str, until: datetime | None) -> None:
        """Let it end at another hour, unless somebody has ended it or it never ends."""
        over = schema.overrides.c
        lasting = (over.id == override_id, over.ended_at.is_(None), over.until.is_not(None))
        change = sa.update(schema.overrides).where(*lasting).values(until=text_or_none(until))
        await self._database.write(lambda connection: connection.execute(change))
