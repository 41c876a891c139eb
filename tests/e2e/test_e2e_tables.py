"""The tables of `once`, `history` and `demo` as people get them: on a terminal, in a pipe, at several widths."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

WIDTHS = (60, 80, 120, 200)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(site: Any, columns: int, *arguments: str, **environ: str | None) -> tuple[int, str]:
    """Exit code and everything that came out on a terminal of this width, standard error as well."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {"COLUMNS": None, "TERM": "xterm", "LANG": "C.UTF-8", "PYTHONUTF8": "1"} | environ
    command = [str(Path(sys.executable).with_name("budget-watchdog")), *arguments]
    with subprocess.Popen(
        command, cwd=site.folder, env=site._environ(environ), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        out = b"".join(iter(lambda: _read(ours), b""))
        code = process.wait(30)
    os.close(ours)
    site.check_output(out.decode())
    return code, out.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno == errno.EIO:  # how the other end of a terminal is told to be closed
            return b""
        raise


def wide(lines: list[str]) -> int:
    return max(cell_len(line) for line in lines)


@pytest.fixture
def busy(site: Any) -> Any:
    """One run over its limit, one held, one protected, one within; and a squid with a name that is no good."""
    for run_id in ("overTheLimit00001", "heldByHand0000001", "protected00000001"):
        site.apify.start_run(curve=lambda ran_s: 3.0, run_id=run_id)
    site.apify.start_run(curve=lambda ran_s: 0.05, run_id="withinTheLimit001")
    squid = site.lobstr.add_squid("漢字 \x1b[31m[red]Paris \u202e" + "漢字" * 20)
    site.squid_run = site.lobstr.start_run(squid, credits_per_hour=1)
    rules = (site.folder / "rules/rules.yaml").read_text(encoding="utf-8")
    protect = 'protect: [{match: {run_id: protected00000001}, reason: "signed off"}]\n'
    site.write("rules/rules.yaml", f"{rules}{protect}")
    assert site.call("hold", "heldByHand0000001", "--for", "2h", "--reason", "month end").returncode == 0
    return site


def test_a_dry_run_shows_holds_and_protections_and_leaves_the_ledger_alone(busy: Any) -> None:
    ledger = busy.folder / "ledger.db"
    before = ledger.read_bytes()
    done = busy.call("once", "--dry-run", "--exit-code")
    assert done.returncode == 3, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "would abort" in rows["overTheLimit00001"]
    assert "main" in rows["overTheLimit00001"]
    assert "held until" in rows["heldByHand0000001"]
    assert "protected: signed off" in rows["protected00000001"]
    closing = done.stdout.splitlines()[-1]
    assert closing == "dry run: would abort 1 of 5 runs; also over a limit: 1 held, 1 protected"
    assert ledger.read_bytes() == before
    found = json.loads(busy.call("once", "--dry-run", "--json").stdout)
    assert found["stopped"] == 1
    responses = {run["run"]: run["response"] for run in found["runs"]}
    assert responses["overTheLimit00001"] == "would abort (immediate)"
    assert responses["heldByHand0000001"].endswith("month end")


def test_a_dry_run_says_when_it_cannot_read_the_holds(busy: Any) -> None:
    (busy.folder / "ledger.db").write_text("no ledger " * 100)
    done = busy.call("once", "--dry-run")
    assert done.returncode == 0
    assert "warning: holds, protections and pauses cannot be read" in done.stderr
    assert "would abort 2 of 5 runs" in done.stdout


def test_exit_codes_for_scripts(site: Any) -> None:
    site.apify.start_run(curve=lambda ran_s: 0.05)
    assert site.call("once", "--exit-code").returncode == 0
    site.apify.start_run(curve=lambda ran_s: 3.0)
    assert site.call("once", "--dry-run").returncode == 0, "only where it is asked for"
    assert site.call("once", "--dry-run", "--exit-code", L="wrong").returncode == 2, "what failed comes first"
    stopped = site.call("once", "--exit-code", "--wait", "10")
    assert stopped.returncode == 3
    assert stopped.stdout.splitlines()[-1] == "aborted 1 of 2 runs"


@pytest.mark.parametrize("width", WIDTHS)
def test_piped_with_columns_and_on_a_terminal(busy: Any, width: int) -> None:
    piped = busy.call("once", "--dry-run", COLUMNS=str(width))
    code, terminal = on_terminal(busy, width, "once", "--dry-run", NO_COLOR="1")
    assert (piped.returncode, code) == (0, 0)
    table = [line for line in COLOURS.sub("", terminal).splitlines() if "limit breached" not in line]
    for lines in (piped.stdout.splitlines(), table):
        assert wide(lines[:-1]) <= width
        assert all(line.isprintable() for line in lines)
        assert len(lines) <= 2 * 6 + 1
        for run_id in ("overTheLimit00001", "heldByHand0000001", busy.squid_run.id):
            assert any(run_id in line.split() for line in lines), "whole, on one line"
        assert "$3.00 of $1.00" in "\n".join(lines)


def test_piped_without_columns_a_run_takes_one_line(busy: Any) -> None:
    done = busy.call("once", "--dry-run", COLUMNS=None)
    assert len(done.stdout.splitlines()) == 1 + 5 + 1


def test_the_table_comes_after_every_line_of_the_log(busy: Any) -> None:
    busy.fault("abort_ignored", "abort")
    code, text = on_terminal(busy, 200, "once", "--wait", "1")
    lines = COLOURS.sub("", text).splitlines()
    assert code == 1
    logged = [number for number, line in enumerate(lines) if "limit breached" in line or "not proven" in line]
    [header] = [number for number, line in enumerate(lines) if line.startswith("run  ")]
    assert len(logged) >= 2
    assert max(logged) < header


@pytest.mark.parametrize("width", [60, 80])
def test_history_and_holds(busy: Any, width: int) -> None:
    assert busy.call("once", "--wait", "10").returncode == 0
    for verb, run_id in (("history", "overTheLimit00001"), ("holds", "heldByHand0000001")):
        lines = busy.call(verb, COLUMNS=str(width)).stdout.splitlines()
        assert wide(lines) <= width
        assert any(run_id in line.split() for line in lines)


def test_a_terminal_without_utf_8(busy: Any) -> None:
    done = busy.call("once", "--dry-run", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert r"\u6f22" in done.stdout


@pytest.mark.parametrize("width", [60, 200])
def test_demo_on_a_terminal(site: Any, width: int) -> None:
    code, text = on_terminal(site, width, "demo", "--for", "2s")
    assert code == 0, text
    assert "DISAGREES" not in text
    assert "runs stopped" in COLOURS.sub("", text).splitlines()[-1]
