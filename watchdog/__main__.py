"""The door of the command line: `budget-watchdog` and `python -m watchdog`."""

from __future__ import annotations

import sys
from typing import NoReturn

from watchdog.runtime.process import prepare


def main() -> NoReturn:
    """The command line, once what must come first is done: its own imports take a while."""
    prepare(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        from watchdog.cli import main as command_line

        command_line()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
