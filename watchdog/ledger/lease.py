"""The store itself says who owns it: a row with the owner, a number that rises with each owner, and a count that rises
while the owner lives.

A lock file is only as good as its name: removed, or reached by another name of the ledger (a hard link, another mount),
it lets a second process in. The row is where the records are. Nobody's clock is compared with anybody else's: whoever
waits sees by its own steady clock whether the count still rises.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

import sqlalchemy as sa

from watchdog.errors import LedgerError
from watchdog.ledger import schema

#: Who has not made the count rise for so many seconds, three times as long as is meant, has lost it.
EXPIRE_S = 35.0
_LOOK_S = 0.5
#: What there is to own.
_NAME = "writer"
_table = schema.leases
_log = logging.getLogger("budget_watchdog.ledger")
_row = _table.c.name == _NAME


class Holder(NamedTuple):
    """Who has it. `owner` is "" if it was given back."""

    owner: str
    number: int
    renewals: int
    pid: int
    host: str


class Lease:
    """Held from `take` to `release`, by the process that signs as `owner`.

    `expire_s`: after so many seconds without a sign of life its owner has lost it.
    """

    def __init__(
        self,
        engine: sa.Engine,
        where: str,
        owner: str,
        *,
        expire_s: float = EXPIRE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._engine = engine
        self._where = where
        self._owner = owner
        self._expire_s = expire_s
        self._sleep = sleep
        self._number = 0
        #: Why it is ours no more, in a sentence; "" while it is.
        self.lost = ""

    def take(self, *, gone: Collection[str] = ()) -> None:
        """Own the store, or raise LedgerError that names the process that does. `gone`: these owners are known to
        have ended. Another that gives no sign of life is waited for until its time is over."""
        seen, since_s = self._holder(), time.monotonic()
        free = frozenset(gone) | {""}
        if seen.owner not in free:
            _log.warning(
                "%s: a budget-watchdog (pid %d on %s) did not give it back; waiting for up to %g s whether it lives",
                *(self._where, seen.pid, seen.host, self._expire_s),
            )
        while not self._try(seen, is_over=seen.owner in free or time.monotonic() - since_s >= self._expire_s):
            self._sleep(_LOOK_S)
            now = self._holder()
            if now != seen and now.owner:
                raise LedgerError(
                    f"{self._where}: in use by another budget-watchdog (pid {now.pid} on {now.host}), under another "
                    "name or with its lock file removed; stop that one, or give this one a ledger of its own"
                )
            seen = now

    def _holder(self) -> Holder:
        with self._engine.begin() as connection:
            return _read(connection)

    def _try(self, seen: Holder, *, is_over: bool) -> bool:
        """Take it if it is to be had and still as it was seen; whether it is ours."""
        if not is_over:
            return False
        with self._engine.execution_options(**{schema.WRITES: True}).begin() as connection:
            if _read(connection) != seen:
                return False
            self._number = seen.number + 1
            values = {"owner": self._owner, "number": self._number, "renewals": 0, **_self()}
            connection.execute(sa.delete(_table).where(_row))
            connection.execute(sa.insert(_table).values(name=_NAME, **values))
        return True

    def check(self, connection: sa.Connection) -> None:
        """Raise LedgerError if the store is not ours any more: nothing may be written then. Within a transaction that
        is going to write."""
        holder = _read(connection)
        if (holder.owner, holder.number) != (self._owner, self._number):
            self.lost = (
                f"{self._where}: another budget-watchdog (pid {holder.pid} on {holder.host}) has taken it over, since "
                f"this one gave no sign of life for {self._expire_s:g} s; this one stands down"
            )
            raise LedgerError(self.lost)

    def renew(self, connection: sa.Connection) -> None:
        """Give a sign of life; the transaction has been checked."""
        connection.execute(sa.update(_table).where(_row).values(renewals=_table.c.renewals + 1))

    def release(self, connection: sa.Connection) -> None:
        """Give it back; the transaction has been checked."""
        connection.execute(sa.update(_table).where(_row).values(owner=""))


def _read(connection: sa.Connection) -> Holder:
    columns = (_table.c.owner, _table.c.number, _table.c.renewals, _table.c.pid, _table.c.host)
    found = connection.execute(sa.select(*columns).where(_row)).one_or_none()
    return Holder("", 0, 0, 0, "") if found is None else Holder(*found)


def _self() -> dict[str, object]:
    return {"pid": os.getpid(), "host": socket.gethostname()}
