"""All rule files of a folder, or one file: the public face of the room."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from watchdog.domain.platform import Platforms
from watchdog.domain.rule import RuleSet
from watchdog.errors import ConfigurationError, Problem
from watchdog.rulefile.doubts import uncovered_accounts
from watchdog.rulefile.reach import AccountView, Surroundings
from watchdog.rulefile.reader import FileReader, Harvest
from watchdog.text.document import Document
from watchdog.text.files import os_sentence, read_bytes
from watchdog.text.parsing import parse_document

__all__ = ["AccountView", "LoadedRules", "RuleFiles", "load_rules", "parse_rules", "read_rule_files"]

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """The rules, the files they come from in reading order, and what is doubtful but not wrong."""

    rules: RuleSet
    files: tuple[Path, ...]
    warnings: tuple[Problem, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class RuleFiles:
    """The rule files as they were at one moment: for each its bytes, or why it could not be read.

    `fault`: why there is not even a list of files. `digest` tells one such moment from another by names and contents.
    """

    path: Path
    contents: tuple[tuple[Path, bytes | ConfigurationError], ...] = field(repr=False)
    fault: ConfigurationError | None = None

    @property
    def digest(self) -> str:
        """The same for the same files with the same contents, however they came to be there."""
        digest = hashlib.sha256()
        for path, content in self.contents:
            data = str(content).encode("utf-8", "replace") if isinstance(content, ConfigurationError) else content
            for part in (str(path).encode("utf-8", "surrogateescape"), type(content).__name__.encode(), data):
                digest.update(len(part).to_bytes(8, "big") + part)
        digest.update(str(self.fault).encode("utf-8", "replace"))
        return digest.hexdigest()


def load_rules(
    path: Path,
    *,
    platforms: Platforms,
    accounts: Collection[AccountView] | None = None,
) -> LoadedRules:
    """Read a rule file, or every `*.yaml` and `*.yml` of a folder (not of folders in it), sorted by name.

    `platforms` and `accounts` are what there is to match; without accounts the checks that need them are left out.
    Raises ConfigurationError with all mistakes of all files.
    """
    return parse_rules(read_rule_files(path), platforms=platforms, accounts=accounts)


def read_rule_files(path: Path) -> RuleFiles:
    """The rule files that `load_rules` would read, read; never raises."""
    try:
        return RuleFiles(path, tuple((file, _read(file)) for file in _files(path)))
    except ConfigurationError as error:
        return RuleFiles(path, (), error)


def parse_rules(
    files: RuleFiles,
    *,
    platforms: Platforms,
    accounts: Collection[AccountView] | None = None,
) -> LoadedRules:
    """What these files say; otherwise like `load_rules`."""
    if files.fault is not None:
        raise ConfigurationError(files.fault.problems)
    harvest = Harvest()
    around = Surroundings(platforms, accounts)
    for path, content in files.contents:
        try:
            FileReader(_document(path, content), harvest, around).read()
        except ConfigurationError as error:
            harvest.findings.errors.extend(error.problems)
    if harvest.findings.errors:
        raise ConfigurationError(harvest.findings.errors)
    paths = tuple(path for path, _ in files.contents)
    if not harvest.rules:
        raise ConfigurationError(_no_rules(files.path, paths))
    uncovered = (Problem(str(files.path), 0, 0, doubt) for doubt in uncovered_accounts(harvest.rules, around))
    harvest.findings.warnings.extend(uncovered)
    rules = RuleSet(tuple(harvest.rules), tuple(harvest.protect), tuple(harvest.resurrect))
    return LoadedRules(rules, paths, tuple(sorted(set(harvest.findings.warnings))), files.digest)


def _read(path: Path) -> bytes | ConfigurationError:
    try:
        return read_bytes(path)
    except ConfigurationError as error:
        return error


def _document(path: Path, content: bytes | ConfigurationError) -> Document:
    if isinstance(content, ConfigurationError):
        raise content
    return parse_document(content, str(path))


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
