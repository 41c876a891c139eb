"""What is printed degrades and never fails: terminals that are not UTF-8, full disks, readers that have gone."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = str(Path(sys.executable).with_name("budget-watchdog"))
WORDS = "café … Größe ✓"
NO_UTF8 = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"PYTHONIOENCODING": "latin-1:strict"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
VERBS = ["check", "once --dry-run", "history --csv", "holds", "demo --for 0.5s", "bogus"]


def run(site: Any, command: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """A command of the shell, in which `$0` is the script; every mistake of a pipe counts."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, SCRIPT],
        cwd=site.folder,
        env={**site.environ, **environ},
        capture_output=True,
        timeout=60,
        check=False,
    )
    site.check_output((done.stdout + done.stderr).decode("utf-8", "replace"))
    return done


@pytest.fixture
def worded(site: Any) -> Any:
    """A site whose names and notes have characters beyond ASCII; and a hold of some run."""
    site.write("rules/rules.yaml", f'rules: [{{name: "{WORDS}", limits: {{max_cost_usd: 1.00}}}}]')
    assert site.call("hold", "somebody", "--for", "1h", "--reason", WORDS).returncode == 0
    return site


@pytest.mark.parametrize("environ", NO_UTF8, ids=lambda environ: " ".join(environ.values()))
def test_terminals_that_are_not_utf8(worded: Any, environ: dict[str, str]) -> None:
    worded.apify.start_run(usd_per_hour=36_000)
    for verb in VERBS:
        done = run(worded, f'"$0" {verb}', **environ)
        assert done.returncode == (2 if verb == "bogus" else 0), (verb, done.stderr)
        if "ascii" in environ.get("PYTHONIOENCODING", ""):
            assert (done.stdout + done.stderr).isascii(), verb
        if verb == "holds":
            assert b"caf" in done.stdout


@pytest.mark.parametrize(
    ("sink", "words"),
    [
        (">/dev/full", b"cannot write the output: No space left on device; make room on the disk;"),
        ("| true", b"the output was not read to its end;"),
        (">/dev/full 2>/dev/full", b""),
    ],
)
@pytest.mark.parametrize("verb", ["--help", "check", "history --json", "holds", "hold x --for 1h"])
def test_output_that_cannot_be_written(worded: Any, verb: str, sink: str, words: bytes) -> None:
    done = run(worded, f'"$0" {verb} {sink}')
    assert done.returncode == 1
    if words:
        # Before it may stand what the command itself warns of.
        *_, line = done.stderr.splitlines()
        assert b"internal error" not in done.stderr
        assert line.startswith(b"budget-watchdog: " + words)
        assert line.endswith(b"what the command did is done all the same")


def test_an_abort_is_told_of_in_any_encoding(worded: Any) -> None:
    over = worded.apify.start_run(usd_per_hour=36_000)
    done = run(worded, '"$0" once --wait 20', PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert over.truth().aborted_by_api


@pytest.mark.parametrize("sink", [">/dev/full", "| true", ">&- 2>&-"])
def test_an_abort_is_made_whatever_becomes_of_what_is_said_of_it(worded: Any, sink: str) -> None:
    run_id = worded.apify.start_run(usd_per_hour=0.01)
    run(worded, f'"$0" abort {shlex.quote(run_id.id)} {sink}')
    assert run_id.truth().aborted_by_api
    (record,) = [line for line in worded.call("history", "--csv").stdout.splitlines() if run_id.id in line]
    assert ",confirmed," in record, "followed until it was proven"


# ---- what may not be read or written

#: Root is asked for permission, too, once it has given up what lets it pass by.
WITHOUT_PRIVILEGE = "setpriv --bounding-set=-dac_override,-dac_read_search"


@pytest.fixture
def asked(site: Any) -> str:
    """The script, run as somebody who needs permission."""
    probe = site.write("probe", "")
    probe.chmod(0)
    for prefix in ("", WITHOUT_PRIVILEGE):
        done = subprocess.run(["sh", "-c", f"{prefix} cat probe"], cwd=site.folder, capture_output=True, check=False)
        if b"ermission denied" in done.stderr:
            return f'{prefix} "$0"'
    pytest.skip("whoever runs the tests may read and write everything")


VERBS_OF_FILES = ["check", "once", "history", "hold x --for 1h", "abort x", "healthcheck", "run"]


@pytest.mark.parametrize("verb", VERBS_OF_FILES)
@pytest.mark.parametrize("closed", ["budget-watchdog.yaml", "."])
def test_a_configuration_that_may_not_be_read(site: Any, asked: str, verb: str, closed: str) -> None:
    """Nor the folder that it may be in: passing over it in silence would be worse."""
    (site.folder / closed).chmod(0)
    try:
        done = run(site, f"{asked} {verb}")
    finally:
        (site.folder / closed).chmod(0o755)
    assert done.returncode == 2
    assert done.stderr == b"budget-watchdog.yaml: may not be read by this user (permission denied)\n"


@pytest.mark.parametrize("verb", ["check", "once", "run"])
def test_rules_that_may_not_be_read(site: Any, asked: str, verb: str) -> None:
    (site.folder / "rules").chmod(0)
    try:
        done = run(site, f"{asked} {verb}")
    finally:
        (site.folder / "rules").chmod(0o755)
    assert done.returncode == 2
    assert done.stderr == b"rules: may not be read by this user (permission denied)\n"


@pytest.mark.parametrize("verb", ["once", "hold x --for 1h", "pause --for 1h", "abort x", "run"])
@pytest.mark.parametrize(("closed", "mode"), [("ledger.db", 0), ("ledger.db", 0o444), ("", 0o555)])
def test_a_ledger_that_may_not_be_written(site: Any, asked: str, verb: str, closed: str, mode: int) -> None:
    if closed:
        assert site.call("hold", "x", "--for", "1h").returncode == 0
    (site.folder / closed).chmod(mode)
    try:
        done = run(site, f"{asked} {verb}")
    finally:
        (site.folder / closed).chmod(0o755)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith(f"budget-watchdog: ledger {site.folder}/ledger.db: ")
    assert "Errno" not in line
    assert ";" in line, "what to do"
