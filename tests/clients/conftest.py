"""The platforms' official clients, each installed once in a place of its own, and a simulated platform to talk to."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "common"))
from bw_support import skip  # noqa: E402  # the folder is known only now

HERE = Path(__file__).parent
#: Ignored by git; kept from one run to the next.
CACHE = ROOT / ".venv-clients"
INSTALL_TIMEOUT_S = 600.0
CALL_TIMEOUT_S = 120.0


class NotInstalledError(Exception):
    """The text says what is lacking."""


class Recipe(Protocol):
    """How a client is installed."""

    @property
    def pins(self) -> list[Path]:
        """The files that say which versions; a change of one installs anew."""

    def install(self, folder: Path) -> None:
        """Install into this folder, which is empty. NotInstalledError where that cannot be."""


@dataclass(frozen=True)
class FromPyPI:
    """Python packages, in a virtual environment of their own: `bin/python` and what the packages bring."""

    requirements: str

    @property
    def pins(self) -> list[Path]:
        return [ROOT / "requirements" / self.requirements]

    def install(self, folder: Path) -> None:
        _call(sys.executable, "-m", "venv", str(folder))
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        _call(*pip, "--require-hashes", "-r", str(self.pins[0]))


@dataclass(frozen=True)
class FromNpm:
    """Node packages, in a folder of their own: `node_modules`."""

    folder: str

    @property
    def pins(self) -> list[Path]:
        return [HERE / self.folder / "package.json", HERE / self.folder / "package-lock.json"]

    def install(self, folder: Path) -> None:
        for program in ("node", "npm"):
            if shutil.which(program) is None:
                raise NotInstalledError(f"{program} is not installed (apt-get install nodejs npm)")
        folder.mkdir()
        for pins in self.pins:
            shutil.copy(pins, folder)
        _call("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)


#: name -> how to install it.
CLIENTS: dict[str, Recipe] = {
    "apify-python": FromPyPI("clients-apify.txt"),
    "apify-node": FromNpm("apify_node"),
    "lobstr": FromPyPI("clients-lobstr.txt"),
}


@functools.cache
def installed(name: str) -> Path:
    """Where this client is; installs it if it is not there yet, or in another version."""
    recipe, folder, stamp = CLIENTS[name], CACHE / name, CACHE / f"{name}.installed"
    wanted = f"{sys.version} {_digest(recipe.pins)}"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        CACHE.mkdir(exist_ok=True)
        recipe.install(folder)
        stamp.write_text(wanted, encoding="utf-8")
    return folder


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _call(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise NotInstalledError(f"{' '.join(command[:5])} ...: {done.stderr[-800:].strip()}")


@pytest.fixture(scope="session")
def client() -> Callable[[str], Path]:
    """Gives the folder of an official client by its name in `CLIENTS`; skips where it cannot be installed."""

    def folder(name: str) -> Path:
        try:
            return installed(name)
        except (NotInstalledError, OSError, subprocess.TimeoutExpired) as why:
            return skip(f"the official client {name} cannot be installed: {why}")

    return folder


@dataclass(frozen=True)
class Told:
    """What a client's process said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, which must be JSON and nothing else."""
        assert self.code == 0, f"exit code {self.code}: {self.err}\n{self.out}"
        return json.loads(self.out)


Run = Callable[..., Told]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a client's process to its end: no proxy, no variables of ours, a HOME of its own."""

    def call(*command: str | Path, environ: dict[str, str] | None = None, cwd: Path | None = None) -> Told:
        clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_COLOR": "1", **(environ or {})}
        done = subprocess.run(
            [str(part) for part in command],
            env=clean,
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return Told(done.returncode, done.stdout, done.stderr)

    return call


if __name__ == "__main__":
    for each in CLIENTS:
        try:
            print(installed(each).relative_to(ROOT))  # noqa: T201  # what `make clients` tells
        except NotInstalledError as lacking:
            sys.exit(f"{each} cannot be installed: {lacking}")
