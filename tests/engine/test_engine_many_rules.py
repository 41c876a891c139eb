"""Thousands of rules: what is asked of each run does not grow with them. Counted, not timed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.decision import Mode
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.rule import Matched, Protection, Rule, RuleSet, Selector, SelectorIndex
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine.coverage import Coverage
from watchdog.engine.decide import decide, is_flagged
from watchdog.engine.evaluate import Evaluator

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
COST = Meter.COST_USD
MANY = 5_000
#: What may be asked of a run, however many rules there are: some look-ups, and the few rules that may mean it.
FEW = 12


class Text(str):
    """A text that counts how often it is compared with globs."""

    asked = 0

    def isascii(self) -> bool:
        Text.asked += 1
        return super().isascii()


class Facets(Mapping[str, tuple[str, ...]]):
    """Names of a source that count how often somebody asks for them."""

    def __init__(self, **names: tuple[str, ...]) -> None:
        self._names, self.asked = names, 0

    def __getitem__(self, key: str) -> tuple[str, ...]:
        self.asked += 1
        return self._names[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def run(run_id: str = "run-7", facets: Mapping[str, tuple[str, ...]] | None = None, **details: Any) -> Snapshot:
    source = Source("maps", "compass/maps", facets or {"actor": ("compass/maps", "maps", "id1")})
    usage = Usage(cost_usd=6.0)
    seen = Snapshot("apify-main", "apify", run_id, source, RunState.RUNNING, "RUNNING", usage, NOON, True, origin="API")
    return replace(seen, **details)


def rules(*matches: dict[str, tuple[str, ...]]) -> tuple[Rule, ...]:
    return tuple(Rule(f"rule-{n}", Selector(match), {COST: 5.0}) for n, match in enumerate(matches))


def names(evaluator: Evaluator, seen: Snapshot) -> list[str]:
    return [limit.rule.name for limit in evaluator.limits(seen).thresholds]


@pytest.mark.parametrize(
    ("glob", "matching"),
    [
        ("owner-{}/maps", "compass/maps"),
        ("owner-{}/*", "compass/*"),
        ("*/maps-{}", "*/maps"),
    ],
)
def test_rules_by_actor_are_found_without_asking_each(glob: str, matching: str) -> None:
    facets = Facets(actor=("compass/maps", "maps", "id1"))
    many = [{"actor": (glob.format(number),)} for number in range(MANY)]
    evaluator = Evaluator(RuleSet(rules(*many, {"actor": (matching,)})))
    assert names(evaluator, run(facets=facets)) == [f"rule-{MANY}"]
    assert facets.asked <= FEW


@pytest.mark.parametrize("extra", [{}, {"platform": ("apify",)}, {"account": ("apify-*",)}])
def test_rules_by_run_id_are_found_without_asking_each(extra: dict[str, tuple[str, ...]]) -> None:
    many = [{"run_id": (f"run-{number}",), **extra} for number in range(MANY)]
    evaluator = Evaluator(RuleSet(rules({}, *many)))
    Text.asked = 0
    assert names(evaluator, run(Text("run-7"))) == ["rule-0", "rule-8"]
    assert names(evaluator, run(Text("another"))) == ["rule-0"]
    assert Text.asked <= FEW


@pytest.mark.parametrize("glob", ["run-*", "*"])
def test_what_rules_say_of_a_run_is_worked_out_once_for_all_sweeps(glob: str) -> None:
    evaluator = Evaluator(RuleSet(rules({"run_id": (glob,)}, {"run_id": ("run-7",)})))
    first = evaluator.limits(run())
    assert all(evaluator.limits(run(status="RUNNING", seen_at=NOON)) is first for _ in range(5))
    assert [limit.rule.name for limit in first.thresholds] == ["rule-0", "rule-1"]


def test_a_run_that_is_one_of_another_source_now_is_asked_anew() -> None:
    evaluator = Evaluator(RuleSet(rules({"run_id": ("run-7",), "actor": ("compass/maps",)})))
    assert names(evaluator, run()) == ["rule-0"]
    assert names(evaluator, run(source=Source("other", "acme/other", {"actor": ("acme/other",)}))) == []
    assert names(evaluator, run()) == ["rule-0"]


def test_sources_with_the_same_limits_share_them() -> None:
    evaluator = Evaluator(RuleSet(rules({}, {"actor": ("*a*",)})))
    found = {
        id(evaluator.limits(run(source=Source(f"a{number}", "", {"actor": (f"a{number}",)})))) for number in range(50)
    }
    assert len(found) == 1


def test_what_is_remembered_of_runs_long_gone_is_dropped() -> None:
    evaluator = Evaluator(RuleSet(rules({"run_id": ("*",)})))
    for number in range(25_000):
        evaluator.limits(run(f"run-{number}"))
    kept = evaluator.limits(run("run-1"))
    evaluator.tidy("apify-main", 20_000)
    assert evaluator.limits(run("run-1")) is kept
    evaluator.tidy("apify-main", 10)
    assert evaluator.limits(run("run-1")) is not kept


def test_protections_are_found_without_asking_each() -> None:
    protect = tuple(Protection(Selector({"run_id": (f"run-{number}",)}), f"number {number}") for number in range(MANY))
    book = RuleSet(rules({}), protect)
    Text.asked = 0
    made = decide(
        run(Text("run-7")), Evaluator(book).verdicts(run(Text("run-7"))), book, modes=frozenset({Mode.IMMEDIATE})
    )
    assert made is not None
    assert made.breaches[0].note == "number 7"
    assert Text.asked <= FEW


def test_flags_are_found_without_asking_each() -> None:
    book = RuleSet((), (), tuple(Selector({"run_id": (f"run-{number}",)}) for number in range(MANY)))
    Text.asked = 0
    seen = run(Text("run-7"))
    assert is_flagged(seen, book.flags_of(seen))
    assert Text.asked <= FEW


def test_entries_that_match_are_found_without_asking_each() -> None:
    by_id = [{"run_id": (f"run-{number}",)} for number in range(MANY)]
    by_actor = [{"actor": (f"owner-{number}/*",)} for number in range(MANY)]
    facets = Facets(actor=("owner-3/maps", "maps", "id1"))
    coverage = Coverage(RuleSet(rules(*by_id, *by_actor)), NOON)
    Text.asked = 0
    coverage.see([run(Text("run-7"), facets)], NOON)
    assert {entry.name for entry in coverage.entries} - {entry.name for entry in coverage.unmatched} == {
        "rule-7",
        f"rule-{MANY + 3}",
    }
    assert Text.asked <= FEW
    assert facets.asked <= FEW


def test_selectors_are_told_apart_by_their_hashes() -> None:
    """A table of them would else be searched from end to end for each."""
    assert len({hash(Selector({"run_id": (f"run-{number}",)})) for number in range(1_000)}) > 990


# Every way of writing a selector is found

_TEXTS = st.sampled_from(("maps", "compass/maps", "compass/", "a", "A", "[EU] leads", "[EU]  leads", "", "café", "ca*"))
_GLOBS = st.one_of(
    _TEXTS,
    st.text("ac*?[]/ ", min_size=1, max_size=6),
    st.sampled_from(("*", "compass/*", "*/maps", "c*s", "[EU] *", "*] leads", "?aps", "*aps*", "cafe\u0301*", "[!x]*")),
)
_KEYS = st.sampled_from(("platform", "account", "run_id", "origin", "actor", "task"))
_SELECTORS = st.builds(
    Selector, st.dictionaries(_KEYS, st.lists(_GLOBS, min_size=1, max_size=3).map(tuple), max_size=3)
)
_SOURCES = st.builds(
    Source,
    st.just("key"),
    st.just("label"),
    st.fixed_dictionaries({"actor": st.lists(_TEXTS, max_size=3).map(tuple)}),
    st.frozensets(st.sampled_from(("actor", "task")), max_size=2),
)
_RUNS = st.builds(
    lambda source, run_id, account, origin: replace(
        run(), source=source, run_id=run_id, account=account, origin=origin
    ),
    _SOURCES,
    _TEXTS,
    _TEXTS,
    st.none() | _TEXTS,
)


@given(selectors=st.lists(_SELECTORS, max_size=8), seen=_RUNS)
def test_no_selector_that_may_mean_a_run_is_left_out(selectors: list[Selector], seen: Snapshot) -> None:
    found = SelectorIndex(selectors).candidates(seen)
    assert found == sorted(found)
    may = [number for number, selector in enumerate(selectors) if selector.matches(seen) is not Matched.NO]
    assert set(may) <= set(found)
