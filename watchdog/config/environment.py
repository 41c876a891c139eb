"""The variables `BUDGET_WATCHDOG_...`: their values, and those that look like ours and are not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from watchdog.config.find import CONFIG_VARIABLE, PREFIX
from watchdog.config.models import SETTING_KEYS, Settings, model_at
from watchdog.errors import Problem
from watchdog.text import shown
from watchdog.text.hints import closest, other_meaning

#: What Kubernetes puts into every container of a namespace that has a Service named `budget-watchdog...`.
_SERVICE_LINK = re.compile(
    r"(?:\w+_)?(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")


class Environment(EnvSettingsSource):
    """The BUDGET_WATCHDOG_* variables of a given environment; empty ones count as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in environ.items() if _is_ours(name) and value}
        #: Keys whose variable holds no JSON.
        self.broken: set[str] = set()
        self.problems: list[Problem] = []

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON, or a problem that does not repeat the text."""
        try:
            return json.loads(value, parse_int=_json_int)
        except (ValueError, RecursionError) as error:
            where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            message = f"{PREFIX}{field_name.upper()}: is not valid JSON{where}"
            self.problems.append(Problem("", 0, 0, message))
            self.broken.add(field_name)
        return None


def _json_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= 18 else float(digits)  # Python refuses to read very long integers


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) and name == name.upper() and name != CONFIG_VARIABLE


def unknown_variables(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables that look like ours and are not: a typo in a safety setting must not pass silently."""
    known = [PREFIX + key.upper() for key in SETTING_KEYS]
    for name, value in sorted(environ.items()):
        if not name.upper().startswith(PREFIX) or name in (*known, CONFIG_VARIABLE) or _is_service_link(name, value):
            continue
        head = name.split("__", 1)[0]
        if head == PREFIX + "ACCOUNTS":
            message = f"{shown(name)} cannot be read: give all accounts as a JSON list in {head}"
        elif head in known and head != name and model_at((head.removeprefix(PREFIX).lower(),)) is not None:
            continue
        else:
            message = f"unknown environment variable {shown(name)}" + _likely_variable(name)
        yield Problem("", 0, 0, message)


def _likely_variable(name: str) -> str:
    # Compared without the prefix, which alone would make any two of them alike.
    keys = {key.upper(): PREFIX + key.upper() for key in (*SETTING_KEYS, "config")}
    word = name[len(PREFIX) :]
    if likely := closest(word, keys):
        return f", did you mean '{keys[likely]}'?"
    meaning = other_meaning(word, keys)
    return f"{f': it {meaning}' if meaning else ''}; known variables: {', '.join(keys.values())}"


def _is_service_link(name: str, value: str) -> bool:
    rest = name.removeprefix(PREFIX)
    if rest == "PORT" or rest.endswith("_PORT"):
        return _SERVICE_ADDRESS.match(value) is not None or _SERVICE_LINK.fullmatch(rest) is not None
    return _SERVICE_LINK.fullmatch(rest) is not None
