"""Where the ledger is: the addresses that the configuration may hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchdog.errors import ConfigurationError

MEMORY = "memory"
AUTO = "auto"
FILE_NAME = "ledger.db"
BESIDE_NAME = "budget-watchdog.db"
#: Configurations below this are the system's; data does not belong there.
SYSTEM = Path("/etc")
_SQLITE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Location:
    """A SQLite file; None is memory."""

    path: Path | None


def locate(address: str, folder: Path) -> Location:
    """The file that an address means.

    `sqlite:///var/lib/x.db` and `sqlite:////var/lib/x.db` are both /var/lib/x.db. A bare name (`sqlite:///x.db`) and
    one that begins with a dot (`sqlite:///./data/x.db`) are relative to `folder`, that of the configuration file.
    `memory` keeps nothing. Raises ConfigurationError for anything else.
    """
    if address == MEMORY:
        return Location(None)
    if not address.startswith(_SQLITE) or len(address) == len(_SQLITE):
        raise ConfigurationError(
            f"ledger: '{_without_password(address)}' is not supported; write sqlite:///path/to/{FILE_NAME}, or memory"
        )
    rest = address.removeprefix(_SQLITE)
    if rest.startswith("."):
        return Location(folder / rest)
    if rest.startswith("/"):
        return Location(Path("/") / rest.lstrip("/"))
    return Location(Path("/") / rest if "/" in rest else folder / rest)


def _without_password(address: str) -> str:
    scheme, found, rest = address.partition("://")
    return f"{scheme}://...@{rest.rpartition('@')[2]}" if found and "@" in rest else address


def default_address(environ: Mapping[str, str], config: Path | None = None) -> str:
    """Where the ledger is if nothing is said.

    systemd's state directory; else beside a configuration file that is not one of the system's, so that two
    configurations never share a ledger by accident; else /var/lib for root and the user's own state folder for others.
    """
    if state := environ.get("STATE_DIRECTORY"):
        folder = Path(state.partition(":")[0])
    elif config is not None and SYSTEM not in config.absolute().parents:
        return f"sqlite:///{config.absolute().parent / BESIDE_NAME}"
    elif os.geteuid() == 0:
        folder = Path("/var/lib/budget-watchdog")
    else:
        home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or "~", ".local", "state")
        folder = Path(home).expanduser() / "budget-watchdog"
    return f"sqlite:///{folder / FILE_NAME}"
