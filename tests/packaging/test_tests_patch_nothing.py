"""No test patches code of ours (CONTRIBUTING.md): what passes over a patched part says nothing of the whole.

What a test wants to be otherwise (a bound, a platform, a clock) is an argument. Only what is the system's, at the edge,
may be replaced where there is no other way: `os.geteuid`, `fcntl.flock`, a socket.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OURS = {"watchdog", "bench"}
#: What replaces a part of its first argument: methods of pytest's `monkeypatch`.
PATCHES = {"setattr", "delattr", "setitem", "delitem"}
#: Of `unittest.mock`, whatever it patches.
MOCKS = {"unittest.mock", "mock"}


def patches(code: str) -> list[str]:
    """The lines of a test file that replace something which is not the system's."""
    tree = ast.parse(code)
    modules = _imported(tree)
    return [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if _is_patch(node, modules)]


def _imported(tree: ast.AST) -> dict[str, str]:
    """Where each imported name of a file comes from, as a dotted path."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                found[each.asname or each.name.partition(".")[0]] = each.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return found


def _is_patch(node: ast.AST, imported: dict[str, str]) -> bool:
    if isinstance(node, ast.Call):
        replaces = isinstance(node.func, ast.Attribute) and node.func.attr in PATCHES
        return replaces and not (node.args and _is_the_systems(node.args[0], imported))
    if isinstance(node, ast.Import | ast.ImportFrom):
        names = [each.name for each in node.names]
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        return bool(MOCKS & {module, *names, *(f"{module}.{name}" for name in names)})
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and any(
        _is_ours(target, imported) for target in targets
    )


def _is_the_systems(target: ast.expr, imported: dict[str, str]) -> bool:
    """A module of the standard library, or something in one; of an object nobody knows whose it is."""
    if isinstance(target, ast.Constant):
        path = str(target.value)
    else:
        name, _, rest = ast.unparse(target).partition(".")
        path = ".".join(filter(None, (imported.get(name, ""), rest)))
    return path.partition(".")[0] in sys.stdlib_module_names


def _is_ours(target: ast.expr | None, imported: dict[str, str]) -> bool:
    """`module.name = ...` of something that was imported from us."""
    if not isinstance(target, ast.Attribute):
        return False
    name = ast.unparse(target.value).partition(".")[0]
    return imported.get(name, "").partition(".")[0] in OURS


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_patches_code_of_ours(path: Path) -> None:
    assert patches(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr("watchdog.net.session.PATIENCE_S", 1)',
        'monkeypatch.setattr("bench.frame.machine", None)',
        'monkeypatch.setattr(session, "PATIENCE_S", 1)',
        'monkeypatch.setattr(Net, "session", None)',
        'monkeypatch.setattr(watchdog.net.session, "PATIENCE_S", 1)',
        'monkeypatch.setattr(made_here, "sweep", broken)',
        'monkeypatch.setattr(app.platforms["a"], "sweep", broken)',
        'monkeypatch.delattr(Net, "session")',
        'monkeypatch.setitem(session.TABLE, "a", 1)',
        'with monkeypatch.context() as context: context.setattr(Net, "session", None)',
        "from unittest import mock",
        "import unittest.mock",
        "from unittest.mock import patch",
        "session.PATIENCE_S = 1",
        "Net.session = None",
        "watchdog.net.session.PATIENCE_S += 1",
    ],
)
def test_a_patch_is_found(line: str) -> None:
    assert len(patches(f"import watchdog.net\nfrom watchdog.net import Net, session\n{line}\n")) == 1


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr(os, "geteuid", lambda: 0)',
        'monkeypatch.setattr(os.path, "exists", lambda path: True)',
        'monkeypatch.setattr("sys.stderr", stream)',
        'monkeypatch.setitem(sys.modules, "x", None)',
        'monkeypatch.setenv("A", "b")',
        "made_here.daemon = Net()",
        "self.net = Net()",
    ],
)
def test_what_is_the_systems_may_be_replaced(line: str) -> None:
    assert patches(f"import os, sys\nfrom watchdog.net import Net\n{line}\n") == []
