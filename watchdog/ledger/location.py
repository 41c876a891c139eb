"""Where the ledger is: the addresses that the configuration may hold."""

from __future__ import annotations

import os
import pwd
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from watchdog.errors import ConfigurationError
from watchdog.redaction import MASK
from watchdog.text import escaped

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
    rest = address.removeprefix(_SQLITE)
    if not address.startswith(_SQLITE) or not rest:
        raise ConfigurationError(
            f"ledger: '{_without_secrets(address)}' is not supported; write sqlite:///path/to/{FILE_NAME}, or memory"
        )
    if fault := _fault(rest):
        raise ConfigurationError(f"ledger: '{escaped(address)}': {fault}")
    if rest.startswith("."):
        return Location(folder / rest)
    if rest.startswith("/"):
        return Location(Path("/") / rest.lstrip("/"))
    return Location(Path("/") / rest if "/" in rest else folder / rest)


def _fault(rest: str) -> str | None:
    """What keeps this from being the path of a file, as far as can be told without looking."""
    if rest == ":memory:":
        return f"for a ledger that is not kept write {MEMORY}"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in rest):
        return "a path must not hold control characters or bytes that are no text"
    if rest.startswith("~"):
        return "'~' is not expanded; write the whole path"
    if rest.rpartition("/")[2] in ("", ".", ".."):
        return f"this is a folder; name a file in it, such as {FILE_NAME}"
    return None


def _without_secrets(address: str) -> str:
    """Addresses of servers hold passwords, before an @ or among the options."""
    plain = escaped(address.partition("?")[0])
    if "@" not in plain:
        return plain
    kind, slashes, _ = plain.partition("://")
    return f"{kind + slashes if slashes else ''}{MASK}@{plain.rpartition('@')[2]}"


def default_address(environ: Mapping[str, str], config: Path | None = None) -> str:
    """Where the ledger is if nothing is said.

    systemd's state directory; else beside the configuration file, if that is not one of the system's, so that two
    configurations never share a ledger by accident; else /var/lib for root and the user's own state folder for others.
    Raises ConfigurationError if the user has none.
    """
    if state := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        folder = Path(state)
    elif config is not None and SYSTEM not in config.absolute().parents:
        return f"sqlite:///{config.absolute().parent / BESIDE_NAME}"
    elif os.geteuid() == 0:
        folder = Path("/var/lib/budget-watchdog")
    else:
        folder = _state_home(environ) / "budget-watchdog"
    return f"sqlite:///{folder.absolute() / FILE_NAME}"


def _state_home(environ: Mapping[str, str]) -> Path:
    """https://specifications.freedesktop.org/basedir-spec: a relative path there counts as not set."""
    state = environ.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state)
    return _home(environ) / ".local" / "state"


def _home(environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        raise ConfigurationError("ledger: this user has no home folder; write ledger: sqlite:///path/to/file") from None
