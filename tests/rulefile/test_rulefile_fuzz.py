"""Whatever stands in a rule file: rules, or a ConfigurationError in sentences."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.errors import ConfigurationError, Problem
from watchdog.platforms.facts import OURS
from watchdog.rulefile import AccountView, LoadedRules, load_rules
from watchdog.rulefile.reach import Surroundings
from watchdog.rulefile.reader import FILE_KEYS, LIMIT_KEYS, RULE_KEYS

MATCH_KEYS = Surroundings(OURS).keys
ACCOUNTS = (AccountView("apify", "apify"), AccountView("lobstr", "lobstr"))
KEYS = st.sampled_from([*FILE_KEYS, *RULE_KEYS, *MATCH_KEYS, *LIMIT_KEYS, "reason", "<<", ""]) | st.text(max_size=5)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["apify", "lobstr", "abort", "notify", "2h", "*", "[", "[!a]"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)
MATCHES = st.dictionaries(KEYS, st.lists(SCALARS, max_size=3) | SCALARS, max_size=4)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "name": SCALARS,
        "match": MATCHES | VALUES,
        "limits": st.dictionaries(st.sampled_from(LIMIT_KEYS), SCALARS, max_size=3) | VALUES,
        "resurrect": SCALARS,
        "never_exceed": SCALARS,
        "action": SCALARS,
    },
)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "rules": st.lists(RULES | VALUES, max_size=4),
        "protect": st.lists(st.fixed_dictionaries({"match": MATCHES}), max_size=2) | VALUES,
        "resurrect": st.lists(st.fixed_dictionaries({"match": MATCHES}), max_size=2) | VALUES,
    },
)


def check_problems(problems: tuple[Problem, ...], file: str) -> None:
    assert problems
    for problem in problems:
        assert str(problem).isprintable(), problem
        assert problem.file in (file, "")


def load(content: bytes) -> LoadedRules | None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.yaml"
        file.write_bytes(content)
        try:
            return load_rules(file, platforms=OURS, accounts=ACCOUNTS)
        except ConfigurationError as error:
            problems = error.problems
    check_problems(problems, str(file))
    return None


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    load(content)


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    load(text.encode("utf-8", "surrogatepass"))


@given(st.text(alphabet="rules: -[]{}*&!|>'\"#%@`,?<\n\t\\ab01.~", max_size=80))
def test_any_yaml_like_text(text: str) -> None:
    load(text.encode())


@settings(max_examples=300)
@given(VALUES | FILES, st.booleans())
def test_any_values(value: object, flow: bool) -> None:
    loaded = load(yaml.safe_dump(value, allow_unicode=True, default_flow_style=flow).encode("utf-8", "replace"))
    if loaded is not None:
        assert loaded.rules.rules
        assert all(rule.limits and min(rule.limits.values()) >= 0 for rule in loaded.rules.rules)
