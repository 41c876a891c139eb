"""What is imported for the daemon, and what is not; run in processes of their own, since imports stay."""

from __future__ import annotations

import subprocess
import sys

import pytest

from watchdog.runtime.process import without


def loaded_for(verb: str) -> set[str]:
    """The packages that are loaded once this verb is known."""
    code = (
        "import sys, click\n"
        "from watchdog.cli import cli\n"
        f"assert cli.get_command(click.Context(cli), {verb!r}) is not None\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_daemon_does_without_what_draws_tables() -> None:
    loaded = loaded_for("run")
    assert {"structlog", "httpx"} <= loaded, "these would take rich along"
    assert not {"rich", "pygments"} & loaded


def test_other_verbs_draw_tables() -> None:
    assert "rich" in loaded_for("history")


def test_what_is_left_out_can_be_imported_later() -> None:
    code = (
        "import sys\n"
        "from watchdog.runtime.process import without\n"
        "with without('rich'):\n"
        "    try:\n"
        "        import rich\n"
        "    except ImportError:\n"
        "        print('left out')\n"
        "import rich\n"
        "print(rich.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["left out", "rich", ""]


def test_what_is_loaded_already_stays() -> None:
    with without("pytest"):
        assert sys.modules["pytest"] is pytest
    assert sys.modules["pytest"] is pytest
