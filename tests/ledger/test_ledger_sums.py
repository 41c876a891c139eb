"""The sums over all aborts: always those of the records, whatever becomes of these."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Abort, AbortState, Basis, Saving
from watchdog.domain.meter import Usage
from watchdog.domain.ports import AbortFilter
from watchdog.domain.run import RunState, replace
from watchdog.domain.sums import AbortGroup, AbortSums, sum_up
from watchdog.errors import LedgerError
from watchdog.ledger import sums
from watchdog.ledger.memory import ABORTS_MAX, MemoryLedger
from watchdog.ledger.sqlite import open_sqlite
from watchdog.ledger.store import SqlLedger

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    store = open_sqlite(tmp_path / "ledger.db")
    yield store
    await store.close()


def done(make: Any, abort_id: str, usd: float | None = 3.0, basis: Basis | None = Basis.CAP, **changes: Any) -> Abort:
    final = make.run(f"run-{abort_id}", state=RunState.ABORTED, usage=Usage(cost_usd=1.7), finished_at=make.at(5))
    abort: Abort = make.abort(abort_id, used_at_request=1.5).advance(AbortState.CONFIRMED, make.at(4))
    saving = Saving(basis, Usage(cost_usd=5.0), None, usd, "")
    found: Abort = replace(abort, final=final, stopped_at=make.at(5), settled=True, saving=saving)
    return replace(found, **changes)


async def test_sums_are_those_of_complete_records(ledger: SqlLedger, make: Any) -> None:
    for abort in (make.abort("open"), done(make, "a", 0.1), done(make, "b", 0.2), done(make, "c", None, None)):
        await ledger.save(abort)
    found = await ledger.sums()
    assert found == sum_up(await ledger.aborts())
    group = AbortGroup("apify", "main", "cap", "max_cost_usd", "immediate", "immediate", "confirmed", "cap")
    assert found[group].aborts == 2
    assert found[group].saved_usd == Fraction(0.1) + Fraction(0.2), "to the last digit"
    assert sum(each.aborts for each in found.values()) == 3
    assert await ledger.check() == []


async def test_a_record_written_again_counts_once(ledger: SqlLedger, make: Any) -> None:
    for abort in (make.abort("a"), done(make, "a", settled=False), done(make, "a"), done(make, "a")):
        await ledger.save(abort)
    assert [each.aborts for each in (await ledger.sums()).values()] == [1]


async def test_what_is_taken_back_is_in_the_sums_with_it(ledger: SqlLedger, make: Any) -> None:
    first = done(make, "a", 3.0)
    await ledger.save(first)
    await ledger.save(replace(first, saving=replace(first.saving, usd=1.0, booked_usd=3.0)))
    (summed,) = (await ledger.sums()).values()
    assert (summed.saved_usd, summed.taken_back_usd) == (3, 2)
    assert await ledger.check() == []


async def test_a_record_that_changes_its_group_leaves_the_old_one(ledger: SqlLedger, make: Any) -> None:
    await ledger.save(done(make, "a", basis=Basis.CAP))
    await ledger.save(done(make, "a", basis=Basis.HISTORY))
    assert [group.basis for group in await ledger.sums()] == ["history"]


_CHANGES = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from([AbortState.REQUESTED, AbortState.CONFIRMED, AbortState.FAILED, AbortState.WITHDRAWN]),
    st.booleans(),
    st.one_of(st.none(), st.sampled_from(Basis)),
    st.floats(0, 1e6) | st.sampled_from([None, float("nan"), float("inf"), 5e-324, 1.7e308]),
    st.floats(0, 1e6) | st.none(),
    st.sampled_from(["cap", "manual", "x\x00y", "\U0001f577"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_CHANGES, max_size=10))
async def test_whatever_is_written_the_sums_are_those_of_the_records(
    tmp_path_factory: pytest.TempPathFactory, make: Any, changes: list[Any]
) -> None:
    store = open_sqlite(tmp_path_factory.mktemp("ledger") / "ledger.db")
    try:
        for abort_id, state, settled, basis, usd, booked, rule in changes:
            abort = done(make, abort_id, settled=settled, rule=rule).advance(state, make.at(6))
            saving = Saving(basis, Usage(), usd, usd, "", booked, booked)
            await store.save(replace(abort, saving=saving if settled else None))
        assert await store.check() == []
        assert await store.sums() == sum_up(await store.aborts())
    finally:
        await store.close()


async def test_sums_that_differ_are_told_of_and_put_right(tmp_path: Path, ledger: SqlLedger, make: Any) -> None:
    await ledger.save(done(make, "a"))
    right = await ledger.sums()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE abort_sums SET aborts = 7, saved_usd = '4.5'")
    found = await ledger.check()
    assert len(found) == 2
    assert "aborts is 7, and by the records 1" in found[0]
    assert await ledger.check() == found, "looking alters nothing"
    assert await ledger.check(repair=True) == found
    assert await ledger.check() == []
    assert await ledger.sums() == right


@pytest.mark.parametrize("odd", ["nonsense", "1/0", "0x1"])
async def test_sums_that_cannot_be_read_are_no_sums_of_nothing(
    tmp_path: Path, ledger: SqlLedger, make: Any, odd: str
) -> None:
    await ledger.save(done(make, "a"))
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE abort_sums SET saved_usd = '{odd}'")
    with pytest.raises(LedgerError, match=r"ledger check --repair"):
        await ledger.sums()
    await ledger.check(repair=True)
    assert await ledger.check() == []


async def test_an_older_ledger_gets_its_sums(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "ledger.db"
    store = open_sqlite(path)
    for number in range(5):
        await store.save(done(make, f"a{number}"))
    right = await store.sums()
    await store.close()
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE abort_sums")
        connection.exec_driver_sql("DROP INDEX ix_aborts_run_id")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0004'")
    engine.dispose()
    store = open_sqlite(path)
    assert await store.sums() == right
    await store.close()


@given(st.lists(st.floats(0, allow_infinity=False, allow_nan=False), max_size=5))
def test_decimals_are_exact(amounts: list[float]) -> None:
    total = sum(map(Fraction, amounts), Fraction(0))
    assert Fraction(sums.as_decimal(total)) == total
    assert Fraction(sums.as_decimal(-total)) == -total


async def test_reading_by_portions_leaves_none_out(ledger: SqlLedger, make: Any) -> None:
    for number in range(1_203):
        await ledger.save(make.abort(f"a{number:04}", opened_s=number // 7))
    whole = await ledger.aborts()
    for most in (None, 1, 500, 700, 5_000):
        found = [abort async for portion in ledger.newest_first(AbortFilter(newest=most)) for abort in portion]
        assert found == whole[::-1][:most]
        assert await ledger.aborts(AbortFilter(newest=most)) == whole[-(most or 0) :]


async def test_a_daemon_does_not_read_records_that_are_done(tmp_path: Path, ledger: SqlLedger, make: Any) -> None:
    """Of years of records only what is open is read at a start: those that are done cannot even be read here."""
    for number in range(20):
        await ledger.save(done(make, f"a{number}"))
    await ledger.save(make.abort("open"))
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE aborts SET record = 'x' WHERE complete")
    assert sum(each.aborts for each in (await ledger.sums()).values()) == 20
    assert [abort.id for abort in await ledger.open_aborts()] == ["open"]


def test_times_are_told_apart_by_bounds(make: Any) -> None:
    abort = done(make, "a")
    quick = replace(abort, detected_at=make.at(4) - timedelta(seconds=0.5))
    assert [dict(AbortSums.of(each).seconds.counts) for each in (abort, quick)] == [{5: 1}, {0.5: 1}]


async def test_a_ledger_in_memory_keeps_the_latest_and_all_sums(make: Any) -> None:
    store, count = MemoryLedger(), ABORTS_MAX + 40
    await store.save(make.abort("open"))
    for number in range(count):
        await store.save(done(make, f"a{number}", 0.1))
    assert len(await store.aborts()) == ABORTS_MAX + 1
    (summed,) = (await store.sums()).values()
    assert (summed.aborts, summed.saved_usd) == (count, count * Fraction(0.1))
    assert [abort.id for abort in await store.open_aborts()] == ["open"]
