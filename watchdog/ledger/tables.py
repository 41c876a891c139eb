"""Brings the tables of a database up to date: makes them in an empty one, migrates those of an older version."""

from __future__ import annotations

import sqlalchemy as sa

from watchdog.ledger.schema import HEAD, VERSION_TABLE, WRITES, metadata, version


def migrate(engine: sa.Engine) -> None:
    """In one transaction, for any database that the store supports; does nothing if another process was first."""
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        found = _revision(connection)
        if found is None:
            _make(connection)
        elif found != HEAD:
            from watchdog.ledger.upgrade import upgrade  # Alembic takes 0.13 s and 11 MB, and is needed once a version

            upgrade(connection)


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(sa.select(version.c.version_num)).scalar_one_or_none()


def _make(connection: sa.Connection) -> None:
    """As the migrations would, one after the other."""
    metadata.create_all(connection, checkfirst=False)
    version.create(connection)
    connection.execute(sa.insert(version).values(version_num=HEAD))
