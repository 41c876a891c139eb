"""Everything that a ledger gives back, as plain JSON values: to compare what different versions read from one file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec


async def everything_in(store: Any, sources: Sequence[str], accounts: Sequence[str], now: datetime) -> dict[str, Any]:
    """All that a start, a watch and the commands read; the history of these sources, overrides as they hold `now`."""
    found = {
        "aborts": await store.aborts(),
        "open": [abort.id for abort in await store.open_aborts()],
        "sums": [[list(group), _exact(summed)] for group, summed in sorted((await store.sums()).items())],
        "overrides": await store.overrides(now),
        "orders": await store.orders(),
        "seen running": {account: await store.seen_running(account) for account in accounts},
        "known runs": await store.known_runs(),
        "finished": {source: await store.finished_usages(source) for source in sources},
        "burns": await store.burns(sources),
        "faults": await store.check(),
    }
    return dict(json.loads(msgspec.json.encode(found)))


def _exact(summed: Any) -> list[Any]:
    amounts = (summed.saved_credits, summed.saved_usd, summed.taken_back_credits, summed.taken_back_usd)
    observed = [[sorted(each.counts.items()), str(each.total)] for each in (summed.seconds, summed.overshoot)]
    return [summed.aborts, [str(amount) for amount in amounts], observed]
