"""Aborts that people ask for: takes orders from the ledger and hands them to the enforcer."""

from __future__ import annotations

from collections.abc import Mapping

from watchdog.domain.decision import Mode
from watchdog.domain.override import Order
from watchdog.domain.ports import Clock, OrderLedger, Platform
from watchdog.domain.run import Snapshot
from watchdog.errors import Gone, PlatformError
from watchdog.runtime.enforcer import Enforcer

#: An order that nobody took on within so many seconds is not carried out any more.
ORDER_MAX_AGE_S = 300.0


class Desk:
    """Takes on every waiting order, once; the answer to each is written into the ledger."""

    def __init__(
        self, platforms: Mapping[str, Platform], enforcer: Enforcer, ledger: OrderLedger, clock: Clock
    ) -> None:
        self._platforms = platforms
        self._enforcer = enforcer
        self._ledger = ledger
        self._clock = clock
        self._served_at_s: float | None = None

    async def serve(self) -> None:
        """Take on what waits now."""
        served_at_s, began_s = self._served_at_s, self._clock.monotonic()
        orders = await self._ledger.orders()
        self._served_at_s = began_s
        for order in orders:
            # Older by the wall clock than the last time that none waited: that clock was set. One from its future is as
            # old as can be, for all we know.
            age_s = abs((self._clock.now() - order.created_at).total_seconds())
            if served_at_s is not None:
                age_s = min(age_s, began_s - served_at_s)
            # Whoever asked yesterday, when no daemon was there to hear it, does not expect it today.
            answer = (
                await self.take(order) if age_s <= ORDER_MAX_AGE_S else "not aborted: the order is too old; ask again"
            )
            await self._ledger.answer_order(order.id, answer)

    async def take(self, order: Order) -> str:
        """Look at the run and open its abort; what came of that, in one sentence."""
        troubles = []
        for name in self._accounts(order):
            try:
                run = await self._platforms[name].inspect(order.run_id, urgent=True, progress=True)
            except Gone as error:
                if error.maybe_denied:
                    troubles.append(str(error))
                continue
            except PlatformError as error:
                troubles.append(str(error))
                continue
            return await self._open(order, run)
        if troubles:
            return "not aborted: " + "; ".join(troubles)
        where = f"account '{order.account}' has no" if order.account else "no account has a"
        return f"not aborted: {where} run {order.run_id}"

    def _accounts(self, order: Order) -> list[str]:
        return [name for name in self._platforms if order.account in (None, name)]

    async def _open(self, order: Order, run: Snapshot) -> str:
        if not run.state.is_active:
            return f"nothing to abort: run {run.run_id} on account '{run.account}' is {run.status}"
        can_be_graceful = Mode.GRACEFUL in self._platforms[run.account].traits.modes
        mode = order.mode if can_be_graceful else Mode.IMMEDIATE
        # One that a daemon has begun and not finished, as it was killed, goes on: never two records of one stop.
        abort_id = await self._enforcer.resume_one(run.key)
        if abort_id is None:
            abort_id = self._enforcer.submit_by_hand(run, mode, order.reason)
        if abort_id is None:
            return f"run {run.run_id} on account '{run.account}' is being aborted already"
        return f"abort {abort_id} of run {run.run_id} on account '{run.account}' is under way ({mode})"
