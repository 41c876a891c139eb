"""Every verb finds the same configuration file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bw_support import without_privileges

from watchdog.config import find_config
from watchdog.config.find import may_exist
from watchdog.errors import ConfigurationError

FIRST, SECOND = Path("first.yaml"), Path("second.yaml")


def find(folder: Path, config: Path | None = None, **environ: str) -> Path | None:
    return find_config(config, environ, search=(folder / FIRST, folder / SECOND)).file


def test_the_order(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    (tmp_path / SECOND).touch()
    assert find(tmp_path) == tmp_path / SECOND
    (tmp_path / FIRST).touch()
    assert find(tmp_path) == tmp_path / FIRST
    assert find(tmp_path, BUDGET_WATCHDOG_CONFIG="") == tmp_path / FIRST
    assert find(tmp_path, BUDGET_WATCHDOG_CONFIG="gone.yaml") == Path("gone.yaml")
    assert find(tmp_path, Path("mine.yaml"), BUDGET_WATCHDOG_CONFIG="gone.yaml") == Path("mine.yaml")


def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / FIRST).symlink_to("gone.yaml")
    (tmp_path / SECOND).touch()
    assert find(tmp_path) == tmp_path / FIRST


def test_links_in_a_circle_and_parts_that_are_no_folder(tmp_path: Path) -> None:
    (tmp_path / FIRST).symlink_to(FIRST)
    assert may_exist(tmp_path / FIRST)
    assert may_exist(tmp_path / FIRST / "x")
    (tmp_path / SECOND).touch()
    assert not may_exist(tmp_path / SECOND / "x")
    assert not may_exist(Path("a\0b"))


def test_a_folder_that_cannot_be_read_is_not_passed_over() -> None:
    with without_privileges() as tmp_path:
        (tmp_path / "closed").mkdir(mode=0)
        assert may_exist(tmp_path / "closed" / FIRST)


@pytest.mark.parametrize(
    "verb", [("check",), ("once",), ("run",), ("healthcheck",), ("history",), ("holds",)], ids=lambda verb: verb[0]
)
def test_every_verb_finds_the_same_file(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """A link to nothing in the working folder: each stops at it, and none takes the defaults instead."""
    (tmp_path / "budget-watchdog.yaml").symlink_to("gone.yaml")
    script = str(Path(sys.executable).with_name("budget-watchdog"))
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin", "APIFY_TOKEN": "x"}
    done = subprocess.run(
        [script, *verb], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "budget-watchdog.yaml: is a link to nothing\n"


def test_a_problem_is_told_where_the_setting_is(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("rules: r\nledger: x\n")
    config = find_config(file, {})
    assert str(config.problem("ledger", "ledger: bad")) == f"{file}:2:9: ledger: bad"
    assert str(config.problem("listen", "listen: bad")) == "listen: bad"
    in_variable = find_config(file, {"BUDGET_WATCHDOG_LEDGER": "x"}).problem("ledger", "ledger: bad")
    assert str(in_variable) == "BUDGET_WATCHDOG_LEDGER: bad"
    assert str(find_config(Path("gone.yaml"), {}).problem("ledger", "ledger: bad")) == "ledger: bad"


def test_single_settings_are_had_without_the_others(tmp_path: Path) -> None:
    """Of a file with mistakes elsewhere, too; variables win, and what is not said has its default."""
    file = tmp_path / "c.yaml"
    file.write_text("accounts: nonsense\nledger: memory\nlisten: 9877\nrules: [r]\n")
    config = find_config(file, {})
    assert (config.ledger(), config.listen(), config.rules()) == ("memory", "9877", None)
    variables = {f"BUDGET_WATCHDOG_{key}": "x" for key in ("LEDGER", "LISTEN", "RULES")}
    config = find_config(file, variables)
    assert (config.ledger(), config.listen(), config.rules()) == ("x", "x", Path("x"))
    file.write_text("rules: r\n")
    config = find_config(file, {})
    assert (config.ledger(), config.listen(), config.rules()) == ("auto", "127.0.0.1:9877", tmp_path / "r")
    nowhere = find_config(None, {}, search=())
    assert (nowhere.ledger(), nowhere.listen(), nowhere.rules()) == ("auto", "127.0.0.1:9877", Path("rules"))


def test_a_setting_that_cannot_be_had_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("ledger: [a]\n")
    with pytest.raises(ConfigurationError, match=r"c\.yaml:1:9: ledger must be text; put it in quotes"):
        find_config(file, {}).ledger()
    with pytest.raises(ConfigurationError, match=r"gone\.yaml: no such file or folder"):
        find_config(Path("gone.yaml"), {}).listen()
