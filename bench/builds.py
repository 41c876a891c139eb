"""An earlier build of ours, to be measured beside the present one in the same run."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

ROOT = Path(__file__).parent.parent
#: What the limits were measured on first: "Nobody left unguarded".
OLD = "5578a92"
_PROBE = Path(__file__).parent / "limits_probe.py"
_HOST = Path(__file__).parent / "host.py"
PATIENCE_S = 900.0
_END_S = 5.0


class ProbeFailed(Exception):
    """A probe raised or did not come to its end; the text says what it wrote last."""


@dataclass(frozen=True, slots=True)
class Build:
    """A tree of our sources, run by this very interpreter: only our own code differs."""

    name: str
    tree: Path

    def begin(self, probe: str, **details: object) -> subprocess.Popen[str]:
        """Start a probe (a function of `limits_probe`) on this build; `finish` gets what it found."""
        command = [sys.executable, "-P", str(_PROBE), probe, json.dumps(details)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environ, cwd=self.tree, stdout=pipe, stderr=pipe, text=True)

    @property
    def environ(self) -> dict[str, str]:
        """In which Python imports this build."""
        return {**os.environ, "PYTHONPATH": str(self.tree), "BENCH_TREE": str(self.tree)}

    def hosted(self, kind: str, *args: object) -> Hosted:
        """An object of this build's own benchmark (a function of `host` makes it) in a process of its own."""
        return Hosted(self, kind, *args)

    def probe(self, probe: str, **details: object) -> Mapping[str, Any]:
        """Run it to its end."""
        return finish(self.begin(probe, **details))


class Hosted:
    """An object in a process of a build, spoken to in lines of JSON; the face is that of `child.Child`."""

    def __init__(self, build: Build, kind: str, *args: object) -> None:
        command = [sys.executable, "-P", str(_HOST), kind, msgspec.json.encode(args).decode()]
        pipe = subprocess.PIPE
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # see close
        self._process = subprocess.Popen(
            command, env=build.environ, cwd=build.tree, stdin=pipe, stdout=pipe, stderr=self._errors, text=True
        )

    def call(self, method: str, *args: object, patience_s: float = PATIENCE_S) -> Any:
        """Call a method of it and wait for its result, which is plain: lists and dicts instead of classes."""
        self.begin(method, *args)
        return self.finish(method, patience_s)

    def begin(self, method: str, *args: object) -> None:
        """Call without waiting; `finish` gets the result."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # `finish` says what it died of
            self._process.stdin.write(json.dumps([method, args]) + "\n")
            self._process.stdin.flush()

    def finish(self, method: str = "call", patience_s: float = PATIENCE_S) -> Any:
        """The result of what `begin` began."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience_s)[0]:
            raise ProbeFailed(f"no answer to '{method}' within {patience_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise ProbeFailed(f"the process ended during '{method}':\n{self._errors.read().strip()[-2000:]}")
        outcome, value = json.loads(line)
        if outcome == "error":
            raise ProbeFailed(f"'{method}' failed:\n{value}")
        return value

    def close(self) -> None:
        """Let it end; it is made to if it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


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
