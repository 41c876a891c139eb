"""Facts of a platform stand beside its adapter: no other module knows a platform by name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import watchdog
from watchdog.domain.links import named_by, run_pages
from watchdog.platforms.facts import OURS
from watchdog.platforms.known import known_traits, traits_of
from watchdog.platforms.registry import known_platforms

ROOT = Path(watchdog.__file__).parent
#: Where they may be named: the adapters, the other side of the wire, and the demo that plays it.
AT_HOME = ("platforms/", "simulated/", "cli/demo.py")
#: Help texts name them as examples.
HELP = ("cli/__init__.py", "cli/common.py", "telemetry/")
_NAME = re.compile("apify|lobstr", re.IGNORECASE)


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every text in the code but docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, kinds) and node.body]
    told = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node


def test_no_module_outside_names_a_platform() -> None:
    found = [
        f"{name}:{text.lineno}: {text.value}"
        for file in sorted(ROOT.rglob("*.py"))
        if not (name := file.relative_to(ROOT).as_posix()).startswith((*AT_HOME, *HELP))
        for text in texts(ast.parse(file.read_text("utf-8")))
        if _NAME.search(text.value)
    ]
    assert found == []


def test_facts_are_those_of_the_registry() -> None:
    """They are known without the adapters, and the same."""
    specs = known_platforms()
    assert {name: specs[name].traits for name in OURS} == OURS
    assert set(known_traits()) == set(specs)
    assert traits_of("apify") is OURS["apify"]
    assert traits_of("gone") is None


@pytest.mark.parametrize("name", OURS)
def test_a_link_to_a_run_names_the_run(name: str) -> None:
    """What is told to people is what they can paste."""
    run_id = {"apify": "HG7ML7M8z78YcAPEB", "lobstr": "300e" * 8}[name]
    for page in run_pages([OURS[name]], run_id):
        assert named_by(page, OURS.values()) == {"run_id": run_id}
    assert run_pages(OURS.values(), "X") == ["https://console.apify.com/actors/runs/X"]
