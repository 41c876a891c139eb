"""Selectors and globs: which runs are meant."""

from __future__ import annotations

import fnmatch
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.rule import Matched, Selector, glob_matches
from watchdog.domain.run import RunState, Snapshot, Source, Usage, replace

MAPS = Source(
    key="compass/maps|maps|id1",
    label="compass/maps",
    facets={"actor": ("compass/maps", "maps", "id1"), "task": ()},
)


def run(**details: Any) -> Snapshot:
    base = Snapshot(
        account="apify-main",
        platform="apify",
        run_id="HG7ML7",
        source=MAPS,
        state=RunState.RUNNING,
        status="RUNNING",
        usage=Usage(),
        seen_at=datetime(2026, 3, 1, tzinfo=UTC),
        inspected=True,
        origin="API",
    )
    return replace(base, **details)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "", True),
        ("*", "compass/maps", True),
        ("compass/*", "compass/maps", True),
        ("compass*", "compass/maps/v2", True),
        ("*maps", "compass/maps", True),
        ("maps", "compass/maps", False),
        ("Maps", "maps", False),
        ("m?ps", "maps", True),
        ("m?ps", "mps", False),
        ("[mn]aps", "naps", True),
        ("[!mn]aps", "maps", False),
        ("[0-9]", "7", True),
        ("[", "[", True),
        ("a[b", "a[b", True),
        ("[[]x]", "[x]", True),
        ("a.b", "axb", False),
        ("a+b", "a+b", True),
        ("(a|b)", "a", False),
        ("$x^", "$x^", True),
        ("a\\b", "a\\b", True),
        ("*", "two\nlines", True),
        ("maps", "maps\n", False),
        ("日本*", "日本語", True),
    ],
)
def test_glob(pattern: str, name: str, matches: bool) -> None:
    assert glob_matches((pattern,), (name,)) is matches


_TRICKY = st.text(alphabet="ab*?[]!^-&~|\\./+\n" + string.digits[:2], max_size=12)


@settings(max_examples=300)
@given(pattern=_TRICKY, name=_TRICKY)
def test_any_text_is_a_glob_and_means_what_fnmatch_says(pattern: str, name: str) -> None:
    assert glob_matches((pattern,), (name,)) is fnmatch.fnmatchcase(name, pattern)


@given(name=st.text(alphabet="abAB./+()$^{}|\\ -", min_size=1, max_size=20))
def test_a_name_without_wildcards_matches_itself_and_nothing_else(name: str) -> None:
    assert glob_matches((name,), (name,))
    assert not glob_matches((name,), (name + "x", "x" + name, name.swapcase() + "x"))


def test_any_of_the_globs_and_any_of_the_names_is_enough() -> None:
    assert glob_matches(("no", "ma*"), ("other", "maps"))
    assert not glob_matches(("no", "na*"), ("other", "maps"))
    assert not glob_matches((), ("maps",))
    assert not glob_matches(("*",), ())


def test_a_glob_made_to_be_slow_is_not() -> None:
    assert not glob_matches(("*a" * 40 + "b",), ("a" * 400,))


@pytest.mark.parametrize(
    ("globs", "answer"),
    [
        ({}, Matched.YES),
        ({"platform": ("apify",)}, Matched.YES),
        ({"platform": ("lobstr",)}, Matched.NO),
        ({"account": ("apify-*",), "origin": ("SCHEDULER", "API")}, Matched.YES),
        ({"account": ("apify-*",), "origin": ("SCHEDULER",)}, Matched.NO),
        ({"origin": ("api",)}, Matched.NO),
        ({"run_id": ("HG7*",)}, Matched.YES),
        ({"run_id": ("hg7*",)}, Matched.NO),
        ({"actor": ("compass/*",)}, Matched.YES),
        ({"actor": ("maps",)}, Matched.YES),
        ({"actor": ("id1",)}, Matched.YES),
        ({"actor": ("other/maps",)}, Matched.NO),
        ({"task": ("*",)}, Matched.NO),
        ({"squid": ("*",)}, Matched.NO),
    ],
)
def test_selector(globs: dict[str, tuple[str, ...]], answer: Matched) -> None:
    assert Selector(globs).matches(run()) is answer


NAMELESS = replace(MAPS, facets={"actor": ("id1",)}, unresolved=frozenset({"actor"}))


@pytest.mark.parametrize(
    ("globs", "answer"),
    [
        ({"actor": ("compass/*",)}, Matched.UNSURE),
        ({"actor": ("id1",)}, Matched.YES),
        ({"actor": ("compass/*",), "account": ("apify-main",)}, Matched.UNSURE),
        ({"actor": ("compass/*",), "account": ("other",)}, Matched.NO),
        ({"account": ("other",), "actor": ("compass/*",)}, Matched.NO),
        ({"account": ("apify-*",)}, Matched.YES),
    ],
)
def test_a_name_not_looked_up_yet_leaves_it_open(globs: dict[str, tuple[str, ...]], answer: Matched) -> None:
    assert Selector(globs).matches(run(source=NAMELESS)) is answer


def test_an_origin_that_is_not_known_leaves_it_open() -> None:
    assert Selector({"origin": ("API",)}).matches(run(origin=None)) is Matched.UNSURE
    assert Selector({"origin": ("API",), "platform": ("lobstr",)}).matches(run(origin=None)) is Matched.NO
    assert Selector({"platform": ("apify",)}).matches(run(origin=None)) is Matched.YES


@pytest.mark.parametrize(
    ("globs", "matches"),
    [
        ({}, True),
        ({"platform": ("apify",), "account": ("apify-*",)}, True),
        ({"platform": ("lobstr",), "account": ("apify-*",)}, False),
        ({"account": ("x",)}, False),
        ({"actor": ("nobody/knows",), "run_id": ("x",)}, True),
    ],
)
def test_selector_of_accounts(globs: dict[str, tuple[str, ...]], matches: bool) -> None:
    assert Selector(globs).matches_account("apify", "apify-main") is matches


_FACETS = st.sampled_from(["platform", "account", "run_id", "origin", "actor", "task"])
_GLOBS = st.lists(st.sampled_from(["*", "a*", "apify", "API", "maps", "x"]), min_size=1, max_size=3).map(tuple)


@given(globs=st.dictionaries(_FACETS, _GLOBS), more=st.dictionaries(_FACETS, _GLOBS))
def test_one_key_more_never_makes_a_selector_mean_more(
    globs: dict[str, tuple[str, ...]], more: dict[str, tuple[str, ...]]
) -> None:
    order = {Matched.NO: 0, Matched.UNSURE: 1, Matched.YES: 2}
    for seen in (run(), run(source=NAMELESS), run(origin=None)):
        narrow, wide = Selector({**more, **globs}), Selector(globs)
        assert order[narrow.matches(seen)] <= order[wide.matches(seen)]
