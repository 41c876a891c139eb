"""An earlier build of ours, to be measured beside the present one in the same run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
#: What the limits were measured on first: "Nobody left unguarded".
OLD = "5578a92"
_PROBE = Path(__file__).parent / "limits_probe.py"
PATIENCE_S = 900.0


class ProbeFailed(Exception):
    """A probe raised or did not come to its end; the text says what it wrote last."""


@dataclass(frozen=True, slots=True)
class Build:
    """A tree of our sources, run by this very interpreter: only our own code differs."""

    name: str
    tree: Path

    def begin(self, probe: str, **details: object) -> subprocess.Popen[str]:
        """Start a probe (a function of `limits_probe`) on this build; `finish` gets what it found."""
        environ = {**os.environ, "PYTHONPATH": str(self.tree), "BENCH_TREE": str(self.tree)}
        command = [sys.executable, "-P", str(_PROBE), probe, json.dumps(details)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environ, cwd=self.tree, stdout=pipe, stderr=pipe, text=True)

    def probe(self, probe: str, **details: object) -> Mapping[str, Any]:
        """Run it to its end."""
        return finish(self.begin(probe, **details))


def finish(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    """What a probe found."""
    try:
        out, errors = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise ProbeFailed(f"no answer within {PATIENCE_S:.0f} s") from None
    if process.returncode:
        raise ProbeFailed(errors.strip()[-2000:])
    found: Mapping[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def builds(folder: Path) -> list[Build]:
    """The present build, and the old one if git can give it: its sources are put into `folder` once."""
    present = Build("today", ROOT)
    tree = folder / OLD
    if not (tree / "watchdog").is_dir() and not _extract(OLD, tree):
        return [present]
    return [present, Build(OLD, tree)]


def _extract(commit: str, tree: Path) -> bool:
    try:
        made = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return False
    tree.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(tree, filter="data")
    return True
