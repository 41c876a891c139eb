"""What the container starts: `budget-watchdog`, but able to hear a stop from its first moment on.

A signal that a process has not asked for ends it, except for the first process of a container: from that one the kernel
keeps every signal that nobody handles. The daemon handles SIGTERM once it runs; without this, a stop that comes while
it is still loading would go unheard, and the engine would wait out its grace and kill it.
"""

import os
import signal
import sys


def main() -> None:
    """Run the command line; until it has something better to do on SIGTERM, end at once, as any other process would."""
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, lambda signum, frame: os._exit(128 + signum))
    # Plug-ins and the like are looked for where the environment says, not beside this file.
    sys.path.pop(0)
    from watchdog.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
