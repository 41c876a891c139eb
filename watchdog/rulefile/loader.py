"""All rule files of a folder, or one file: the public face of the room."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from watchdog.document import os_sentence, read_document
from watchdog.domain.rule import RuleSet
from watchdog.errors import ConfigurationError, Problem
from watchdog.rulefile.reach import AccountView, Surroundings
from watchdog.rulefile.reader import FileReader, Harvest

__all__ = ["AccountView", "LoadedRules", "load_rules"]

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """The rules, the files they come from in reading order, and what is doubtful but not wrong."""

    rules: RuleSet
    files: tuple[Path, ...]
    warnings: tuple[Problem, ...] = ()


def load_rules(
    path: Path,
    *,
    platforms: Collection[str] | None = None,
    accounts: Collection[AccountView] | None = None,
) -> LoadedRules:
    """Read a rule file, or every `*.yaml` and `*.yml` of a folder (not of folders in it), sorted by name.

    `platforms` and `accounts` are what there is to match; None leaves out the checks that need them. Raises
    ConfigurationError with all mistakes of all files.
    """
    files = _files(path)
    harvest = Harvest()
    around = Surroundings(platforms, accounts)
    for file in files:
        try:
            document = read_document(file)
        except ConfigurationError as error:
            harvest.findings.errors.extend(error.problems)
        else:
            FileReader(document, harvest, around).read()
    if harvest.findings.errors:
        raise ConfigurationError(harvest.findings.errors)
    if not harvest.rules:
        raise ConfigurationError(_no_rules(path, files))
    rules = RuleSet(tuple(harvest.rules), tuple(harvest.protect), tuple(harvest.resurrect))
    return LoadedRules(rules, files, tuple(sorted(set(harvest.findings.warnings))))


def _files(path: Path) -> tuple[Path, ...]:
    """The rule files. Names with a dot in front are left out: editors' and Kubernetes' own (`..data`)."""
    try:
        if not path.is_dir():
            return (path,)
        found: dict[Path, Path] = {}
        for file in sorted(entry for entry in path.iterdir() if _is_rule_file(entry.name)):
            found.setdefault(file.resolve(), file)
        return tuple(found.values())
    except (OSError, RuntimeError, ValueError) as error:
        reason = os_sentence(error) if isinstance(error, OSError | ValueError) else "its symbolic links run in a circle"
    raise ConfigurationError([Problem(str(path), 0, 0, reason)])


def _is_rule_file(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def _no_rules(path: Path, files: tuple[Path, ...]) -> str:
    if not files:
        return f"no rules found in {path}: it holds no *.yaml or *.yml file"
    return f"no rules found in {path}: nothing would be watched, so write at least one entry under 'rules'"
