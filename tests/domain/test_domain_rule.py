"""Selectors and globs: which runs are meant."""

from __future__ import annotations

import fnmatch
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.glob import fold, glob_matches
from watchdog.domain.meter import Usage
from watchdog.domain.rule import Matched, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace

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
        ("maps", "maps\n", True),
        ("maps", "maps2", False),
        ("日本*", "日本語", True),
    ],
)
def test_glob(pattern: str, name: str, matches: bool) -> None:
    assert glob_matches((pattern,), (name,)) is matches


_TRICKY = st.text(alphabet="ab*?[]!^-&~|\\./+\n" + string.digits[:2], max_size=12)


@settings(max_examples=300)
@given(pattern=_TRICKY, name=_TRICKY)
def test_any_text_is_a_glob_and_means_what_fnmatch_says_or_its_brackets_themselves(pattern: str, name: str) -> None:
    pattern, name = fold(pattern), fold(name)
    plain = pattern.replace("[", "[[]")
    meant = fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, plain)
    assert glob_matches((pattern,), (name,)) is meant


@given(text=st.text(min_size=1, max_size=30))
def test_every_text_matches_itself(text: str) -> None:
    assert glob_matches((text,), (text,))


@given(text=st.text(max_size=30))
def test_folding_twice_is_folding_once(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("[EU] leads", "[EU] leads"),
        ("[EU] leads *", "[EU] leads 7"),
        ("* [a-b]", "leads [a-b]"),
        ("[EU", "[EU"),
        ("leads paris", "leads\u00a0paris"),
        ("leads\u00a0paris", "leads paris"),
        ("leads paris", "leads  paris "),
        ("leads  paris\t", "leads paris"),
        ("caf\u00e9 *", "cafe\u0301 Paris"),
        ("cafe\u0301", "caf\u00e9"),
        ("leads", "le\u00adads\u200b"),
        ("\ufeffleads", "leads"),
        ("love \u2764", "love \u2764\ufe0f"),
        ("leads *", "\u3000leads\u2003paris"),
    ],
)
def test_what_looks_the_same_is_the_same(pattern: str, name: str) -> None:
    assert glob_matches((pattern,), (name,))
    squid = Source(key=name, label=name, facets={"squid": (name, "id")})
    assert Selector({"squid": ("no", pattern)}).matches(run(source=squid)) is Matched.YES
    assert Selector({"run_id": (pattern,)}).matches(run(run_id=name)) is Matched.YES
    assert Selector({"account": (pattern,)}).matches_account("lobstr", name)


def test_brackets_are_still_a_choice_of_characters() -> None:
    assert glob_matches(("[EU] leads",), ("E leads",))
    assert not glob_matches(("[EU] leads",), ("EU leads",))
    assert not glob_matches(("[[]EU] leads",), ("E leads",))


def test_thousands_of_exact_texts_are_one_look_up() -> None:
    many = Selector({"run_id": tuple(f"run{n}" for n in range(20_000))})
    assert all(many.matches(run(run_id=f"run{n}")) is Matched.YES for n in range(0, 20_000, 7))
    assert many.matches(run(run_id="run20000")) is Matched.NO


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
