"""Where the configuration file is, for every verb alike."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

PREFIX = "BUDGET_WATCHDOG_"
CONFIG_VARIABLE = PREFIX + "CONFIG"
SEARCH_PATHS = (Path("budget-watchdog.yaml"), Path("/etc/budget-watchdog/config.yaml"))


def find_config(
    config: Path | None, environ: Mapping[str, str], *, search: Sequence[Path] = SEARCH_PATHS
) -> Path | None:
    """The configuration file: `config` if given, else the one that `$BUDGET_WATCHDOG_CONFIG` names, else the first of
    `search` that there is, else None. One that was named may not exist; who reads it says so."""
    named = environ.get(CONFIG_VARIABLE)
    if config is not None or named:
        return config or Path(named or "")
    return next((path for path in search if may_exist(path)), None)


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
