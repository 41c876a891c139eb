"""What made `written_by_462e9d6.sql` and `.json`: a ledger of every table and state, and what its writer read from it.

To make them again, check that commit out elsewhere and run this file there, with `tests/common` of this one on the path
and the folder that they go into as its argument. Later code cannot run it: two calls for the end of a run became one.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

from bw_ledger import everything_in

from watchdog.domain.decision import Abort, AbortState, Basis, Mode, Saving, Transition
from watchdog.domain.history import BurnRecord
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.run import PlatformCap, Progress, RunState, Snapshot, Source, replace
from watchdog.ledger.lock import DAEMON
from watchdog.ledger.opening import open_exclusively

T0 = datetime(2026, 11, 22, 3, tzinfo=UTC)
ACCOUNTS = ("apify-main", "lobstr-main")
#: Sources of one run each whose two rows do not say the same.
ODD_SOURCES = ("before burn rates", "killed between the two", "resurrected, aborted", "resurrected, ended")
EVERY_SOURCE = ("actor:a", "squid:s", *ODD_SOURCES)
NATURAL = (RunState.SUCCEEDED, RunState.FAILED, RunState.TIMED_OUT)
SOURCES = {
    "apify": Source("actor:a", "acme/maps", {"actor": ("acme/maps", "maps"), "task": ("nightly",)}, id="actor:a"),
    "lobstr": Source("squid:s", "München läuft", {"squid": ("München läuft", "s")}, id="squid:s"),
}


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def run(number: int, **changes: Any) -> Snapshot:
    platform = ("apify", "lobstr")[number % 2]
    snapshot = Snapshot(
        account=f"{platform}-main",
        platform=platform,
        run_id=f"run{number:02}",
        source=SOURCES[platform],
        state=RunState.RUNNING,
        status="RUNNING",
        usage=Usage(None if number % 3 == 0 else number / 7, None if number % 5 == 0 else number / 3, 60.0 * number),
        seen_at=at(number),
        inspected=True,
        origin="API",
        started_at=None if number % 4 == 0 else at(number - 3600.123456),
        progress=Progress(number / 100, number, 100),
        cap=PlatformCap(7200.0, 50.0),
        seen_running_s=number * 1.5,
    )
    return replace(snapshot, **changes)


def aborts() -> list[Abort]:
    """Every state, limit, mode and basis; settled or not; closed and booked, taken back, by hand."""
    found = []
    kinds = [*Meter, None]
    for number, (state, settled) in enumerate([*product(AbortState, (False, True))] * 3):
        before = run(number)
        opened = Abort(
            id=f"{number:032x}",
            account=before.account,
            platform=before.platform,
            run_id=before.run_id,
            source=before.source.label,
            rule=f"cap-{number % 3}" if kinds[(number + number // 12) % 4] else "manual",
            limit=kinds[(number + number // 12) % 4],
            limit_value=number * 0.1,
            used_at_detection=number * 0.11,
            detected_at=at(number),
            asked_mode=(Mode.GRACEFUL, Mode.IMMEDIATE)[number % 2],
            mode=Mode.IMMEDIATE,
            state=AbortState.INTENDED,
            history=(Transition(AbortState.INTENDED, at(number), "why it was meant"),),
            before=before,
            reason=f"rule 'cap-{number % 3}': it's \"too much\"; -- 100 % ✓",
        )
        if state is not AbortState.INTENDED:
            opened = opened.advance(
                AbortState.REQUESTED,
                at(number + 1.25),
                requests=2,
                effective_requests=1,
                void_requests=number % 2,
                requested_at=at(number + 1),
                used_at_request=number * 0.12,
            )
        if not state.is_open:
            final = run(number, state=RunState.ABORTED, status="ABORTED", finished_at=at(number + 20))
            opened = opened.advance(state, at(number + 33.5), "seen", final=final, stopped_at=at(number + 20))
        if settled and not state.is_open:
            opened = replace(opened, settled=True, saving=saving(number))
        found.append(opened)
    return found


def saving(number: int) -> Saving | None:
    basis = (*Basis, None)[number // 3 % 4]
    usd = number * 0.3 + 0.1
    taken_back = usd + 1.7 if number % 5 == 0 else None
    return (
        Saving(basis, Usage(9.0, 99.0), number * 0.7, usd, "12.5 of 50 rows", None, taken_back) if number % 7 else None
    )


def ended(number: int, **changes: Any) -> Snapshot:
    state = NATURAL[number % 3]
    return run(100 + number, **({"state": state, "status": state.upper(), "finished_at": at(number * 60)} | changes))


def burn(of: Snapshot, *, by_itself: bool, **changes: Any) -> BurnRecord:
    record = BurnRecord(
        account=of.account,
        run_id=of.run_id,
        source_id=of.source.id,
        ended_at=of.finished_at or of.seen_at,
        credits_per_s=of.usage.credits and of.usage.credits / 1e4,
        usd_per_s=None if of.usage.cost_usd is None else of.usage.cost_usd / 1e5,
        final=of.usage,
        ended_by_itself=by_itself,
    )
    return replace(record, **changes)


async def write_history(store: Any) -> None:
    for number in range(20):  # as the watch did: both for a run that ended by itself, one for a run that was aborted
        if number % 4 == 3:
            await store.add_burn(burn(ended(number, state=RunState.ABORTED), by_itself=False))
        else:
            await store.add_burn(burn(ended(number), by_itself=True))
            await store.add_finished(ended(number))
    unknown = ended(21, usage=Usage(), finished_at=None)
    await store.add_burn(burn(unknown, by_itself=True, credits_per_s=None, usd_per_s=None))
    await store.add_finished(unknown)

    def odd(number: int, source: str, **changes: Any) -> Snapshot:
        return ended(number, source=Source(source, source, {}, id=source), account="apify-main", **changes)

    alone, killed, aborted, natural = ODD_SOURCES
    await store.add_finished(odd(30, alone))
    await store.add_burn(burn(odd(32, killed), by_itself=True))
    first, second = odd(34, aborted), odd(34, aborted, finished_at=at(9_999))
    await store.add_finished(first)
    await store.add_burn(burn(second, by_itself=False, final=Usage(99.0, 999.0, 9_999.0)))
    first, second = odd(36, natural), odd(36, natural, finished_at=at(9_999))
    await store.add_burn(burn(first, by_itself=False))
    await store.add_finished(replace(second, usage=Usage(77.0, 777.0, 7_777.0)))


async def write(store: Any) -> None:
    for abort in aborts():
        await store.save(abort)
    await store.save_runs(run(50 + number, state=state) for number, state in enumerate([*RunState] * 2))
    await write_history(store)
    for number, kind in enumerate(OverrideKind):
        about = None if kind is OverrideKind.PAUSE else f"run{number:02}"
        for each, until in enumerate((None, at(1e6), at(-1e6))):
            account = ("apify-main", None)[each % 2]
            await store.add_override(Override(f"{kind}{each}", kind, at(each), about, account, until, f"it's {kind}"))
        ended_at = at(50)
        await store.add_override(Override(f"{kind}-ended", kind, at(9), about, None, at(1e6), ended_at=ended_at))
    for number, (mode, answer) in enumerate(product(Mode, (None, "nothing to abort: it's over"))):
        account = ("apify-main", None)[number % 2]
        order = Order(f"order{number}", f"run{number:02}", mode, at(number), account, "by hand", None)
        await store.add_order(order)
        if answer is not None:
            await store.answer_order(order.id, answer)


async def main(folder: Path) -> None:
    name = Path(__file__).with_suffix("").name
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "ledger.db"
        opened = open_exclusively(path, DAEMON)
        await write(opened.store)
        await opened.close()
        opened = open_exclusively(path, DAEMON)
        found = await everything_in(opened.store, EVERY_SOURCE, ACCOUNTS, T0)
        (folder / f"{name}.json").write_text(json.dumps(found) + "\n")
        await opened.close()
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE leases SET host = 'old', pid = 1")
            (folder / f"{name}.sql").write_text("\n".join(connection.iterdump()) + "\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
