"""How long a command waits for what it has begun: for the proof of a stop, and for every request to leave."""

from __future__ import annotations

import asyncio

from watchdog.app import App
from watchdog.domain.decision import Abort, AbortState

#: An abort that was announced must be asked for, however short the wait for its proof is: so many seconds more are
#: granted for that, which is what a slow platform may need for an answer.
REQUEST_S = 30.0
_LOOK_S = 0.05


async def await_proof(app: App, wait_s: float) -> None:
    """Wait until every abort is proven and booked, but no longer than this; what is not stays open in the ledger, with
    its request sent."""
    proven = asyncio.ensure_future(app.enforcer.drain())
    # Not under a time-out: to break off the waiting would break off the aborts themselves.
    await asyncio.wait({proven}, timeout=wait_s)
    end_s = asyncio.get_running_loop().time() + REQUEST_S
    while any(map(_is_unasked, app.enforcer.open_aborts)) and asyncio.get_running_loop().time() < end_s:
        await asyncio.wait({proven}, timeout=_LOOK_S)
    if not proven.done():
        await app.enforcer.close(0.0)
    await proven
    # What stops have cost in the end makes history.
    for watch in app.watches:
        await watch.take_outcomes()


def _is_unasked(abort: Abort) -> bool:
    """Whether its first request is still to leave, or to be answered."""
    return abort.state is AbortState.INTENDED and abort.void_requests == 0
