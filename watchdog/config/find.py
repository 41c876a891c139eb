"""Where the configuration is, for every verb alike, and what it says of the few settings that some need alone.

Whoever only asks a ledger, or the daemon beside it, must not need the tokens, nor wait for pydantic: such settings are
read here without judging the others. `loader` reads and judges them all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchdog.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from watchdog.text.document import Document, Entry

PREFIX = "BUDGET_WATCHDOG_"
CONFIG_VARIABLE = PREFIX + "CONFIG"
SEARCH_PATHS = (Path("budget-watchdog.yaml"), Path("/etc/budget-watchdog/config.yaml"))
#: What holds where neither the file nor a variable says otherwise.
DEFAULT_LEDGER = "auto"
DEFAULT_LISTEN = "127.0.0.1:9877"
DEFAULT_RULES = "rules/"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Where the settings are: a file (None: there is none), and the variables of the environment, which win over it.

    What it says of single settings raises ConfigurationError if the file cannot be read; mistakes elsewhere in it are
    not looked for.
    """

    file: Path | None
    environ: Mapping[str, str]

    @property
    def folder(self) -> Path:
        """What relative paths in the file are meant from."""
        return self.file.parent if self.file is not None else Path()

    def document(self) -> Document | None:
        """The file as it is now; None if there is none. Raises ConfigurationError."""
        from watchdog.text.parsing import read_document  # YAML takes a while to load, and a variable may say all

        return read_document(self.file) if self.file is not None else None

    def variable(self, key: str) -> str:
        """What the variable of this setting at the top level holds; "" if it is not set."""
        return self.environ.get(variable_of(key), "")

    def problem(self, key: str, message: str) -> Problem:
        """A problem with a setting at the top level, told where it is set: in a variable, or at a place in the file."""
        if self.variable(key):
            return Problem("", 0, 0, f"{variable_of(key)}: {message.removeprefix(f'{key}: ')}")
        try:
            entry = self._entry(key)
        except ConfigurationError:
            entry = None
        return (
            Problem(str(self.file), entry.value.line, entry.value.column, message)
            if entry
            else Problem("", 0, 0, message)
        )

    def ledger(self) -> str:
        """The address of the ledger. Raises ConfigurationError, also if it is no text."""
        if address := self.variable("ledger"):
            return address
        entry = self._entry("ledger")
        if entry is None:
            return DEFAULT_LEDGER
        value = _plain(entry)
        if not isinstance(value, str):
            where = Problem(
                str(self.file), entry.value.line, entry.value.column, "ledger must be text; put it in quotes"
            )
            raise ConfigurationError([where])
        return value

    def listen(self) -> str:
        """The address that the daemon listens on, right or wrong. Raises ConfigurationError."""
        return self.variable("listen") or str(_plain(self._entry("listen")) or DEFAULT_LISTEN)

    def rules(self) -> Path | None:
        """Where the rules are; None if what is written there is no path. Raises ConfigurationError."""
        if path := self.variable("rules"):
            return Path(path)
        entry = self._entry("rules")
        path = _plain(entry) if entry is not None else DEFAULT_RULES
        return self.folder / path if isinstance(path, str) and path else None

    def _problem_at(self, entry: Entry, message: str) -> Problem:
        return Problem(str(self.file), entry.value.line, entry.value.column, message)

    def _entry(self, key: str) -> Entry | None:
        from watchdog.text.document import Table

        document = self.document()
        root = document.root if document is not None else None
        return root.get(key) if isinstance(root, Table) else None


def find_config(
    config: Path | None, environ: Mapping[str, str], *, search: Sequence[Path] = SEARCH_PATHS
) -> Configuration:
    """The configuration of this environment. Its file: `config` if given, else the one that `$BUDGET_WATCHDOG_CONFIG`
    names, else the first of `search` that there is, else none. One that was named may not exist; who reads it says so.
    """
    named = environ.get(CONFIG_VARIABLE)
    if config is not None or named:
        return Configuration(config or Path(named or ""), environ)
    return Configuration(next((path for path in search if may_exist(path)), None), environ)


def variable_of(key: str) -> str:
    """The variable that a setting at the top level can come from."""
    return PREFIX + key.upper()


def may_exist(path: Path) -> bool:
    """Whether there is something of this name, be it a link to nothing, or it cannot be looked at: to pass over a
    configuration in silence would be worse than to fail."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _plain(entry: Entry | None) -> Any:
    from watchdog.text.document import plain

    return plain(entry.value) if entry is not None else None
