"""Which entries of the rule files match any run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from watchdog.domain.meter import Meter, Usage
from watchdog.domain.rule import Protection, Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source
from watchdog.engine.coverage import Coverage, Section, entries_of

T0 = datetime(2026, 3, 1, tzinfo=UTC)
LATER = T0 + timedelta(hours=1)


def run(run_id: str = "r1", actor: str = "compass/maps", unresolved: frozenset[str] = frozenset()) -> Snapshot:
    source = Source(key=f"{actor}{unresolved}", label=actor, facets={"actor": (actor,)}, unresolved=unresolved)
    return Snapshot("main", "apify", run_id, source, RunState.RUNNING, "RUNNING", Usage(), T0, False, origin="API")


def rule(name: str, **globs: str) -> Rule:
    return Rule(name, Selector({key: (glob,) for key, glob in globs.items()}), {Meter.CREDITS: 1.0})


RULES = RuleSet(
    rules=(rule("maps", actor="compass/*"), rule("lost", actor="nobody/*"), rule("all")),
    protect=(
        Protection(Selector({"run_id": ("r2",)}, "rules.yaml:9")),
        Protection(Selector({"run_id": ("r3*",), "actor": ("compass/*",)}, "rules.yaml:10")),
    ),
    resurrect=(Selector({"origin": ("SCHEDULER",)}, "rules.yaml:12"),),
)


def unmatched(coverage: Coverage) -> list[str]:
    return [str(entry) for entry in coverage.unmatched]


def test_every_entry_is_one() -> None:
    sections = [entry.section for entry in entries_of(RULES)]
    assert sections == [Section.RULES] * 3 + [Section.PROTECT] * 2 + [Section.RESURRECT]


def test_entries_that_match_nothing_are_named_with_their_place() -> None:
    coverage = Coverage(RULES, T0)
    assert len(coverage.unmatched) == 6
    coverage.see([run(), run("r4")], LATER)
    assert unmatched(coverage) == [
        "rule 'lost'",
        "protect (run_id=r2, rules.yaml:9)",
        "protect (actor=compass/*, run_id=r3*, rules.yaml:10)",
        "resurrect (origin=SCHEDULER, rules.yaml:12)",
    ]


def test_entries_on_single_runs_are_found_by_id_and_by_glob() -> None:
    coverage = Coverage(RULES, T0)
    coverage.see([run("r2", "other/actor"), run("r31", "other/actor")], LATER)
    assert "protect (run_id=r2, rules.yaml:9)" not in unmatched(coverage)
    assert "protect (actor=compass/*, run_id=r3*, rules.yaml:10)" in unmatched(coverage)
    coverage.see([run("r32")], LATER)
    assert "protect (actor=compass/*, run_id=r3*, rules.yaml:10)" not in unmatched(coverage)


def test_the_time_is_that_of_the_last_match_or_of_the_start() -> None:
    coverage = Coverage(RULES, T0)
    coverage.see([run()], LATER)
    coverage.see([], LATER + timedelta(hours=1))
    assert [at == LATER for at in coverage.last.values()] == [True, False, True, False, False, False]
    assert set(coverage.last.values()) == {T0, LATER}


def test_a_name_that_is_not_known_yet_may_match() -> None:
    coverage = Coverage(RULES, T0)
    coverage.see([run(actor="id1", unresolved=frozenset({"actor"}))], LATER)
    assert "rule 'lost'" not in unmatched(coverage)


def test_entries_that_stay_in_a_reload_are_remembered() -> None:
    coverage = Coverage(RULES, T0)
    coverage.see([run()], LATER)
    changed = RuleSet(rules=(rule("maps", actor="compass/*"), rule("all", actor="a/*"), rule("new")))
    end = LATER + timedelta(hours=1)
    after = coverage.replaced(changed, end)
    assert list(after.last.values()) == [LATER, end, end]
    assert unmatched(after) == ["rule 'all'", "rule 'new'"]


def test_thousands_of_exceptions_and_runs_are_no_product() -> None:
    protect = tuple(Protection(Selector({"run_id": (f"run{n}",)})) for n in range(5_000))
    coverage = Coverage(RuleSet(protect=protect), T0)
    coverage.see((run(f"run{n}") for n in range(0, 20_000, 2)), LATER)
    assert len(coverage.unmatched) == 2_500
