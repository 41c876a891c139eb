"""The configuration: `budget-watchdog.yaml`, the environment, and the tokens that they name.

Where they are is here, since every verb asks. The rest has a module each and is loaded by those who need it (pydantic
takes a while): `models` (the settings), `loader` (reading them), `renewal` (the tokens of a running program).
"""

from __future__ import annotations

from watchdog.config.find import Configuration, find_config, variable_of

__all__ = ["Configuration", "find_config", "variable_of"]
