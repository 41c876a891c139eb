"""What every store must do, whatever it is made of. A new kind of store joins by one entry in `OPENERS`."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Abort, AbortState, Basis, Mode, Saving, Transition
from watchdog.domain.meter import LEARNED, Meter, Usage
from watchdog.domain.override import Order, Override, OverrideKind
from watchdog.domain.ports import AbortFilter, Ledger
from watchdog.domain.run import PlatformCap, Progress, RunState, Snapshot, Source, replace
from watchdog.ledger.records import HISTORY_MAX

pytestmark = pytest.mark.anyio

# --- whole records ---------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.one_of(
    texts.filter(lambda text: text != ""),
    st.sampled_from(["HG7ML7M8z78YcAPEB", "a'b\"c", "100%", "x\x00y", "\u202eevil", "\U0001f577\ufe0f", "NULL"]),
)
moments = st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))


def aborts_of(figures: st.SearchStrategy[float]) -> st.SearchStrategy[Abort]:
    """Records with every field there is, and these figures wherever there is one."""
    maybe = st.one_of(st.none(), figures)
    usages = st.builds(Usage, maybe, maybe, maybe)
    facets = st.dictionaries(names, st.lists(texts, max_size=3).map(tuple), max_size=3)
    sources = st.builds(Source, names, texts, facets, st.frozensets(names, max_size=2), texts)
    counts = st.one_of(st.none(), st.integers(0, 2**70))
    snapshots = st.builds(
        Snapshot,
        account=names,
        platform=names,
        run_id=names,
        source=sources,
        state=st.sampled_from(RunState),
        status=texts,
        usage=usages,
        seen_at=moments,
        inspected=st.booleans(),
        origin=st.one_of(st.none(), texts),
        started_at=st.one_of(st.none(), moments),
        finished_at=st.one_of(st.none(), moments),
        resurrect_count=counts,
        progress=st.builds(Progress, maybe, counts, counts),
        cap=st.builds(PlatformCap, maybe, maybe),
        burn_cap_per_s=st.dictionaries(st.sampled_from(Meter), figures, max_size=3),
        end_reason=st.one_of(st.none(), texts),
    )
    savings = st.builds(Saving, st.one_of(st.none(), st.sampled_from(Basis)), usages, maybe, maybe, texts)
    steps = st.builds(Transition, st.sampled_from(AbortState), moments, texts)
    modes = st.sampled_from(Mode)
    return st.builds(
        Abort,
        id=st.uuids().map(lambda uuid: uuid.hex),
        account=names,
        platform=names,
        run_id=names,
        source=texts,
        rule=names,
        limit=st.one_of(st.none(), st.sampled_from(Meter)),
        limit_value=figures,
        used_at_detection=figures,
        detected_at=moments,
        asked_mode=modes,
        mode=modes,
        state=st.sampled_from(AbortState),
        history=st.lists(steps, min_size=1, max_size=4).map(tuple),
        before=snapshots,
        requests=st.integers(0, 1000),
        effective_requests=st.integers(0, 1000),
        void_requests=st.integers(0, 1000),
        refusals=st.integers(0, 1000),
        requested_at=st.one_of(st.none(), moments),
        stopped_at=st.one_of(st.none(), moments),
        final=st.one_of(st.none(), snapshots),
        settled=st.booleans(),
        saving=st.one_of(st.none(), savings),
        used_at_request=maybe,
        reason=texts,
    )


whole_aborts = aborts_of(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
odd_aborts = aborts_of(st.floats())


def test_any_record_comes_back_exactly(opener: Any, tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        context: AbstractAsyncContextManager[Ledger] = opener(tmp_path)
        store = runner.run(context.__aenter__())

        async def round_trip(records: list[Abort]) -> None:
            for record in records:
                await store.save(record)
            order = sorted(records, key=lambda record: (record.history[0].at, record.id))
            ids = {record.id for record in records}
            assert [found for found in await store.aborts() if found.id in ids] == order
            still_open = [record for record in order if not record.is_complete]
            assert [found for found in await store.open_aborts() if found.id in ids] == still_open

        @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(whole_aborts, min_size=1, max_size=4, unique_by=lambda abort: abort.id))
        def every(records: list[Abort]) -> None:
            runner.run(round_trip(records))

        every()
        runner.run(context.__aexit__(None, None, None))


def test_no_odd_figure_costs_a_record_wherever_it_is(opener: Any, tmp_path: Path) -> None:
    """One row that cannot be read would keep all the others from being read."""
    with asyncio.Runner() as runner:
        context: AbstractAsyncContextManager[Ledger] = opener(tmp_path)
        store = runner.run(context.__aenter__())

        @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
        @given(odd_aborts)
        def every(record: Abort) -> None:
            runner.run(store.save(record))
            found = {abort.id: abort for abort in runner.run(store.aborts())}[record.id]
            assert (found.history, found.reason, found.requests) == (record.history, record.reason, record.requests)

        every()
        runner.run(context.__aexit__(None, None, None))


@pytest.mark.parametrize(
    "changes",
    [
        {"limit_value": float("inf"), "used_at_detection": float("nan"), "used_at_request": float("inf")},
        {"reason": "half a surrogate \ud800", "run_id": "\udcff"},
        {"history": ()},
        {"run_id": "x" * 100_000, "rule": "r" * 5_000, "source": "s" * 200_000},
    ],
)
async def test_no_oddity_costs_a_record(store: Ledger, make: Any, changes: dict[str, Any]) -> None:
    """Nothing of the kind should come so far; if it does, the abort must still be found after a crash."""
    await store.save(make.abort("odd", **changes))
    await store.save(make.abort("next"))
    assert {abort.id for abort in await store.open_aborts()} == {"odd", "next"}


async def test_an_unknown_figure_never_becomes_zero(store: Ledger, make: Any) -> None:
    await store.save(make.abort(before=make.run(usage=Usage(float("nan"), None, float("inf"))), reason="\ud800"))
    [found] = await store.aborts()
    assert 0 not in (found.before.usage.credits, found.before.usage.cost_usd, found.before.usage.duration_s)


# --- aborts ----------------------------------------------------------------------------------------------------------


async def test_an_empty_store_has_nothing(store: Ledger, make: Any) -> None:
    assert await store.aborts() == await store.open_aborts() == []
    assert await store.overrides(make.t0) == []
    assert await store.orders() == []
    assert await store.finished_usages("x") == []
    assert await store.burns(["x"]) == {}
    assert await store.prune(make.at(1e6)) == 0


async def test_the_latest_version_wins(store: Ledger, make: Any) -> None:
    first = make.abort()
    for number in range(4):
        await store.save(make.version(first, number))
    assert await store.aborts() == [make.version(first, 3)]


async def test_saves_at_once_of_many_records(store: Ledger, make: Any) -> None:
    records = [make.abort(f"a{number:02}", number) for number in range(30)]
    await asyncio.gather(*(store.save(record) for record in records))
    await asyncio.gather(*(store.save(make.version(record, 2)) for record in records))
    assert await store.aborts() == [make.version(record, 2) for record in records]


async def test_open_are_those_with_something_left_to_do(store: Ledger, make: Any) -> None:
    confirmed = make.abort("c", 3).advance(AbortState.CONFIRMED, make.at(4))
    for record in (
        make.abort("b", 1),
        make.abort("a", 1),
        confirmed,
        replace(confirmed, id="d", settled=True),
        make.abort("e").advance(AbortState.ALREADY_FINISHED, make.at(1)),
        make.abort("f").advance(AbortState.FAILED, make.at(1)),
        make.abort("g", 0.5).advance(AbortState.REQUESTED, make.at(1)),
    ):
        await store.save(record)
    assert [abort.id for abort in await store.open_aborts()] == ["g", "a", "b", "c"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (AbortFilter(), "abcd"),
        (AbortFilter(account="main"), "abc"),
        (AbortFilter(account="Main"), ""),
        (AbortFilter(account="ma%"), ""),
        (AbortFilter(account=""), ""),
        (AbortFilter(rule="manual"), "b"),
        (AbortFilter(outcome="confirmed"), "c"),
        (AbortFilter(outcome="intended", account="main"), "ab"),
    ],
)
async def test_filters(store: Ledger, make: Any, wanted: AbortFilter, ids: str) -> None:
    await store.save(make.abort("a", 10))
    await store.save(make.abort("b", 20, rule="manual", limit=None))
    await store.save(make.abort("c", 30).advance(AbortState.CONFIRMED, make.at(31)))
    await store.save(make.abort("d", 40, account="other"))
    assert "".join(abort.id for abort in await store.aborts(wanted)) == ids


async def test_filters_by_time_take_the_start_and_leave_the_end_out(store: Ledger, make: Any) -> None:
    for number in range(5):
        await store.save(make.abort(f"a{number}", number))
    wanted = AbortFilter(since=make.at(1), until=make.at(3))
    assert [abort.id for abort in await store.aborts(wanted)] == ["a1", "a2"]
    elsewhere = make.at(1).astimezone(tz=None)
    assert [abort.id for abort in await store.aborts(AbortFilter(since=elsewhere))] == ["a1", "a2", "a3", "a4"]


async def test_records_of_one_instant_have_a_fixed_order(store: Ledger, make: Any) -> None:
    for abort_id in "cab":
        await store.save(make.abort(abort_id))
    assert [abort.id for abort in await store.aborts()] == ["a", "b", "c"]


# --- overrides -------------------------------------------------------------------------------------------------------


async def test_overrides_come_back_exactly(store: Ledger, make: Any) -> None:
    written = [
        Override("1", OverrideKind.HOLD, make.at(0), "r", "main", make.at(3600.000001), "weil \U0001f577 'so'"),
        Override("2", OverrideKind.PROTECT, make.at(1), "r"),
        Override("3", OverrideKind.RESURRECT, make.at(2), "r2", "other"),
        Override("4", OverrideKind.PAUSE, make.at(3), None, None, make.at(60)),
    ]
    for override in reversed(written):
        await store.add_override(override)
    assert await store.overrides(make.at(10)) == written


async def test_an_override_ends_by_itself_at_its_time(store: Ledger, make: Any) -> None:
    await store.add_override(Override("1", OverrideKind.HOLD, make.t0, "r", until=make.at(10)))
    assert len(await store.overrides(make.at(10) - timedelta(microseconds=1))) == 1
    assert await store.overrides(make.at(10)) == []
    assert await store.end_overrides([OverrideKind.HOLD], "r", make.at(10)) == 0


async def test_the_end_of_an_override_can_be_moved(store: Ledger, make: Any) -> None:
    holds = [Override(key, OverrideKind.HOLD, make.t0, key, until=make.at(10)) for key in ("moved", "other", "ended")]
    lasting = Override("lasting", OverrideKind.PROTECT, make.t0, "p")
    for override in (*holds, lasting):
        await store.add_override(override)
    await store.end_overrides([OverrideKind.HOLD], "ended", make.at(1))
    for key in ("moved", "ended", "lasting", "nowhere"):
        await store.move_override(key, make.at(99))
    assert await store.overrides(make.at(50)) == [lasting, replace(holds[0], until=make.at(99))]
    assert {each.id for each in await store.overrides(make.at(9))} == {"lasting", "moved", "other"}


async def test_ending_overrides_ends_those_of_one_run_and_these_kinds(store: Ledger, make: Any) -> None:
    for number, (kind, run_id) in enumerate(
        [
            (OverrideKind.HOLD, "r"),
            (OverrideKind.HOLD, "r"),
            (OverrideKind.PROTECT, "r"),
            (OverrideKind.HOLD, "R"),
            (OverrideKind.PAUSE, None),
        ]
    ):
        await store.add_override(Override(str(number), kind, make.at(number), run_id, until=make.at(1000)))
    assert await store.end_overrides([OverrideKind.HOLD], "r", make.at(20)) == 2
    assert [each.id for each in await store.overrides(make.at(20))] == ["2", "3", "4"]
    assert await store.end_overrides([OverrideKind.HOLD], "r", make.at(21)) == 0
    assert await store.end_overrides([OverrideKind.PAUSE, OverrideKind.HOLD], None, make.at(21)) == 1
    assert [each.id for each in await store.overrides(make.at(21))] == ["2", "3"]


async def test_ending_overrides_of_one_account(store: Ledger, make: Any) -> None:
    for number, account in enumerate(["a", "b", None]):
        await store.add_override(Override(str(number), OverrideKind.PAUSE, make.at(number), None, account))
    assert await store.end_overrides([OverrideKind.PAUSE], None, make.at(5), "a") == 1
    assert [each.id for each in await store.overrides(make.at(6))] == ["1", "2"]
    assert await store.end_overrides([OverrideKind.PAUSE], None, make.at(7)) == 2


async def test_an_override_written_twice_is_one(store: Ledger, make: Any) -> None:
    hold = Override("1", OverrideKind.HOLD, make.t0, "r")
    await store.add_override(hold)
    await store.add_override(replace(hold, reason="again"))
    assert await store.overrides(make.t0) == [replace(hold, reason="again")]


async def test_known_runs(store: Any, make: Any) -> None:
    if not hasattr(store, "known_runs"):
        return  # the one around the others is for the daemon, which does not ask
    assert await store.known_runs() == []
    await store.save_runs([make.run("r"), make.run("r", account="other")])
    await store.add_burn(make.finished("over", 0, 1.0))
    await store.save(make.abort("a", run_id="r"))
    await store.save(make.abort("b", run_id="stopped"))
    assert await store.known_runs() == [("main", "over"), ("main", "r"), ("main", "stopped"), ("other", "r")]
    assert await store.known_runs("r") == [("main", "r"), ("other", "r")]
    assert await store.known_runs("R") == []


# --- orders ----------------------------------------------------------------------------------------------------------


async def test_orders_wait_until_they_are_answered(store: Ledger, make: Any) -> None:
    later = Order("1", "r", Mode.GRACEFUL, make.at(2), "main", "too 'dear'")
    sooner = Order("2", "r2", Mode.IMMEDIATE, make.at(1))
    await store.add_order(later)
    await store.add_order(sooner)
    assert await store.orders() == [sooner, later]
    await store.answer_order("2", "done")
    assert await store.orders() == [later]
    await store.answer_order("unheard of", "done")
    assert await store.orders() == [later]


# --- runs ------------------------------------------------------------------------------------------------------------


async def test_history_of_a_source_is_its_own_oldest_first(store: Ledger, make: Any) -> None:
    await store.add_burn(make.finished("new", 20, 2.0))
    await store.add_burn(make.finished("old", 10, 1.0))
    await store.add_burn(make.finished("else", 15, 9.0, source_id="actor:b"))
    assert await store.finished_usages("actor:a") == [Usage(None, 1.0, 60.0), Usage(None, 2.0, 60.0)]
    assert await store.finished_usages("actor:b") == [Usage(None, 9.0, 60.0)]


async def test_a_run_counts_once_in_the_history(store: Ledger, make: Any) -> None:
    """One that was resurrected ends a second time; its last figures count."""
    await store.add_burn(make.finished("r", 10, 1.0))
    await store.add_burn(make.finished("r", 30, 3.0))
    assert await store.finished_usages("actor:a") == [Usage(None, 3.0, 60.0)]
    await store.add_burn(make.finished("r", 30, 3.0, source_id="actor:b"))
    assert await store.finished_usages("actor:a") == []
    assert await store.finished_usages("actor:b") == [Usage(None, 3.0, 60.0)]


async def test_a_run_that_went_on_after_its_end_and_was_aborted_says_nothing_of_ends(store: Ledger, make: Any) -> None:
    await store.add_burn(make.finished("r", 10, 1.0))
    aborted = make.burn("r", 30, ended_by_itself=False)
    await store.add_burn(aborted)
    assert await store.finished_usages("actor:a") == []
    assert await store.burns(["actor:a"]) == {"actor:a": [aborted]}
    await store.add_burn(make.finished("r", 50, 5.0))
    assert await store.finished_usages("actor:a") == [Usage(None, 5.0, 60.0)]


async def test_aborts_do_not_push_the_ends_of_runs_out_of_the_history(store: Ledger, make: Any) -> None:
    await store.add_burn(make.finished("first", 0, 1.0))
    for number in range(HISTORY_MAX + 5):
        await store.add_burn(make.burn(f"r{number:03}", 1 + number, ended_by_itself=False))
    assert await store.finished_usages("actor:a") == [Usage(None, 1.0, 60.0)]
    assert "first" not in {record.run_id for record in (await store.burns(["actor:a"]))["actor:a"]}


async def test_the_history_looks_back_on_the_latest_only(store: Ledger, make: Any) -> None:
    for number in range(HISTORY_MAX + 5):
        await store.add_burn(make.finished(f"r{number:03}", number, float(number)))
    found = [usage.cost_usd for usage in await store.finished_usages("actor:a")]
    assert found == [float(number) for number in range(5, HISTORY_MAX + 5)]


async def test_runs_that_ended_at_one_instant_have_a_fixed_order(store: Ledger, make: Any) -> None:
    for run_id, cost in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        await store.add_burn(make.finished(run_id, 10, cost))
    assert [usage.cost_usd for usage in await store.finished_usages("actor:a")] == [1.0, 2.0, 3.0]


async def test_unknown_figures_stay_unknown_in_the_history(store: Ledger, make: Any) -> None:
    await store.add_burn(make.burn("r", final=Usage()))
    assert await store.finished_usages("actor:a") == [Usage(None, None, None)]


async def test_last_known_usage_takes_doubles_and_nothing(store: Ledger, make: Any) -> None:
    await store.save_runs([])
    await store.save_runs([make.run("r"), make.run("s"), make.run("r", seen_at=make.at(5))])
    await store.save_runs(iter([make.run("r", seen_at=make.at(9))]))
    assert await store.prune(make.at(9)) == 1, "the run not seen since; the other is one row, seen at 9"


async def test_last_known_usage_of_a_great_many_runs(store: Ledger, make: Any) -> None:
    await store.save_runs(make.run(f"r{number}") for number in range(2_345))
    assert await store.prune(make.at(1)) == 2_345


# --- burn rates ------------------------------------------------------------------------------------------------------


async def test_burn_rates_come_back_exactly_oldest_first(store: Ledger, make: Any) -> None:
    unknown = make.burn("u", 15.25, rates={}, final=Usage(), ended_by_itself=False)
    new = make.burn(
        "n", 20, rates={Meter.CREDITS: 0.5, Meter.COST_USD: 0.001}, account="other", final=Usage(1.0, None, 0.0)
    )
    old = make.burn("o", 10.000001, rates={Meter.CREDITS: 0.0, Meter.COST_USD: 3e-9})
    elsewhere = make.burn("e", 5, source_id="actor:b")
    for record in (new, elsewhere, unknown, old):
        await store.add_burn(record)
    assert await store.burns(["actor:a", "actor:c", "actor:b"]) == {
        "actor:a": [old, unknown, new],
        "actor:b": [elsewhere],
    }
    assert await store.burns({"actor:b"}) == {"actor:b": [elsewhere]}
    assert await store.burns(["actor:c"]) == await store.burns([]) == {}
    assert await store.burns(["actor:b", "actor:b"]) == {"actor:b": [elsewhere]}


async def test_the_end_of_a_run_elsewhere_on_earth_is_the_same_moment(store: Ledger, make: Any) -> None:
    first, second = make.burn("a", 0), make.burn("b", 1)
    tokyo = timezone(timedelta(hours=9))
    await store.add_burn(replace(second, ended_at=second.ended_at.astimezone(UTC)))
    await store.add_burn(replace(first, ended_at=first.ended_at.astimezone(tokyo)))
    assert await store.burns(["actor:a"]) == {"actor:a": [first, second]}


async def test_a_run_has_one_burn_rate_the_latest(store: Ledger, make: Any) -> None:
    """One that was resurrected ends a second time; and the same id may be a run of another account."""
    await store.add_burn(make.burn("r", 10, rates={Meter.CREDITS: 1.0}, ended_by_itself=False))
    again = make.burn("r", 30, rates={Meter.CREDITS: 2.0, Meter.COST_USD: 0.1}, final=Usage(9.0, 9.0, 9.0))
    other = make.burn("r", 20, account="other")
    await store.add_burn(other)
    await store.add_burn(again)
    assert await store.burns(["actor:a"]) == {"actor:a": [other, again]}
    renamed = replace(again, source_id="actor:b")
    await store.add_burn(renamed)
    assert await store.burns(["actor:a", "actor:b"]) == {"actor:a": [other], "actor:b": [renamed]}


async def test_burn_rates_look_back_on_the_latest_of_each_source(store: Ledger, make: Any) -> None:
    def of(source: str, count: int) -> list[Any]:
        return [make.burn(f"{source}{number:03}", number // 2, source_id=source) for number in range(count)]

    many, some, few = of("many", HISTORY_MAX + 7), of("some", HISTORY_MAX), of("few", 3)
    await asyncio.gather(*(store.add_burn(record) for record in reversed(many + some + few)))
    found = await store.burns(["few", "many", "none", "some"])
    assert found == {"few": few, "many": many[7:], "some": some}


async def test_burn_rates_of_a_thousand_sources_at_once(store: Ledger, make: Any) -> None:
    records = {f"s{number}": make.burn(f"r{number}", number, source_id=f"s{number}") for number in range(1_200)}
    await asyncio.gather(*(store.add_burn(record) for record in records.values()))
    wanted = [*records][:1_100]
    found = await store.burns([*wanted, "unheard of"])
    assert found == {source_id: [records[source_id]] for source_id in wanted}


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf"), -1.0, -1e-12, 10**400])
async def test_a_figure_that_cannot_be_is_unknown(store: Ledger, make: Any, odd: float) -> None:
    every = dict.fromkeys(LEARNED, odd)
    await store.add_burn(make.burn("o", 0, rates=every, final=Usage.by(lambda _: odd)))
    await store.add_burn(make.burn("p", 1, rates={Meter.CREDITS: 0.5, Meter.COST_USD: odd}))
    expected = [make.burn("o", 0, rates={}, final=Usage()), make.burn("p", 1)]
    assert await store.burns(["actor:a"]) == {"actor:a": expected}


async def test_an_odd_source_costs_no_other_its_history(store: Ledger, make: Any) -> None:
    odd = ["half \ud800", "nul \0", "'; DROP TABLE ended_runs; --", "%", ""]
    for number, source_id in enumerate(odd):
        await store.add_burn(make.burn(f"r{number}", number, source_id=source_id))
    await store.add_burn(make.burn("sane"))
    found = await store.burns([*odd, "actor:a"])
    assert {source_id: [record.run_id for record in records] for source_id, records in found.items()} == {
        "actor:a": ["sane"]
    } | {source_id: [f"r{number}"] for number, source_id in enumerate(odd)}


# --- pruning ---------------------------------------------------------------------------------------------------------


async def test_pruning_deletes_what_is_old_and_never_an_abort(store: Ledger, make: Any) -> None:
    await store.save(make.abort("old", -1e6).advance(AbortState.FAILED, make.at(-1e6)))
    await store.save(make.abort("open", -1e6))
    aborts = await store.aborts()
    await store.save_runs([make.run("old", seen_at=make.at(-10)), make.run("new")])
    await store.add_burn(make.burn("old", -1e-6))
    await store.add_burn(make.burn("new", 0, final=Usage(None, 2.0, 60.0)))
    await store.add_override(Override("over", OverrideKind.HOLD, make.at(-99), "r", until=make.at(-1)))
    await store.add_override(Override("ended", OverrideKind.PROTECT, make.at(-99), "s"))
    await store.end_overrides([OverrideKind.PROTECT], "s", make.at(-1))
    await store.add_override(Override("lasting", OverrideKind.PROTECT, make.at(-99), "t"))
    await store.add_order(Order("waiting", "r", Mode.GRACEFUL, make.at(-99)))
    await store.add_order(Order("answered", "r", Mode.GRACEFUL, make.at(-99)))
    await store.answer_order("answered", "done")
    assert await store.prune(make.t0) == 5
    assert await store.aborts() == aborts
    assert await store.burns(["actor:a"]) == {"actor:a": [make.burn("new", 0, final=Usage(None, 2.0, 60.0))]}
    assert await store.finished_usages("actor:a") == [Usage(None, 2.0, 60.0)]
    assert [each.id for each in await store.overrides(make.at(-50))] == ["lasting"]
    assert [each.id for each in await store.orders()] == ["waiting"]
    assert await store.prune(make.t0) == 0
