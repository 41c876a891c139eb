"""The hashed requirements install with every pip from 22.3 on, whatever is released next.

Old pips take `coverage[toml]`, asked for by another package, for a requirement without a pin where the file pins plain
`coverage`, but only once the newest coverage is not the pinned one: it works today and fails tomorrow. So each file is
resolved against an index where every pinned package has a newer release: wheels without content, with the metadata of
the real ones, made here. No address is asked, but for the metadata of packages that are not installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from bw_support import skip
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FILES = [*sorted((ROOT / "requirements").glob("*.txt")), ROOT / "deploy/container/build-requirements.txt"]
#: The oldest that is supported, the one that Python 3.11 brings, and the newest.
PIPS = ["22.3.1", "23.2.1", ""]
NEWER = "99999.0"


@dataclass(frozen=True)
class Pin:
    """A line of a requirements file."""

    requirement: Requirement

    @property
    def name(self) -> str:
        return re.sub(r"[-_.]+", "-", self.requirement.name).lower()

    @property
    def version(self) -> str:
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "==", self.requirement
        return specifier.version


def pins_of(file: Path) -> list[Pin]:
    text = re.sub(r"(?m)#.*$", "", file.read_text()).replace("\\\n", " ")
    return [Pin(Requirement(line.split(" --hash")[0])) for line in text.splitlines() if line.strip()]


# --- what the packages ask for ---------------------------------------------------------------------------------------


@cache
def metadata_of(pin: Pin) -> str | None:
    """What the package says of itself, if this very version is installed here."""
    try:
        found = distribution(pin.name)
    except PackageNotFoundError:
        return None
    return found.read_text("METADATA") if found.version == pin.version else None


def asked_for(pins: Iterable[Pin], folder: Path) -> dict[Pin, str]:
    """The same from the index, for what is not installed."""
    missing = [pin for pin in pins if metadata_of(pin) is None and _applies(pin)]
    if not missing:
        return {}
    report, wanted = folder / "report.json", folder / "wanted.txt"
    wanted.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in missing))
    command = ["-m", "pip", "--disable-pip-version-check", "--retries", "0", "install", "--quiet", "--dry-run"]
    options = ["--no-deps", "--ignore-installed", "--report", str(report), "-r", str(wanted)]
    done = subprocess.run(
        [sys.executable, *command, *options], capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        skip(f"the metadata of {', '.join(pin.name for pin in missing)} cannot be had: {done.stderr[-300:]}")
    found = {each["metadata"]["name"]: each["metadata"] for each in json.loads(report.read_text())["install"]}
    by_name = {re.sub(r"[-_.]+", "-", name).lower(): metadata for name, metadata in found.items()}
    return {pin: "\n".join(_headers(by_name[pin.name])) + "\n" for pin in missing}


def _headers(metadata: dict[str, object]) -> Iterator[str]:
    yield "Metadata-Version: 2.1"
    yield f"Name: {metadata['name']}"
    yield f"Version: {metadata['version']}"
    for key, header in (("requires_dist", "Requires-Dist"), ("provides_extra", "Provides-Extra")):
        values = metadata.get(key, [])
        assert isinstance(values, list)
        yield from (f"{header}: {value}" for value in values)


def _applies(pin: Pin) -> bool:
    return pin.requirement.marker is None or pin.requirement.marker.evaluate()


# --- an index where everything has a newer release -------------------------------------------------------------------


def make_wheel(folder: Path, pin: Pin, version: str, metadata: str) -> str:
    """A wheel without content; its hash."""
    stem = f"{pin.name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        head = re.sub(r"(?m)^Version: .*$", f"Version: {version}", metadata, count=1)
        wheel.writestr(f"{stem}.dist-info/METADATA", head)
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_index(folder: Path, pins: list[Pin]) -> str:
    """The wheels of these pins and a newer one of each; the requirements file with their hashes."""
    asked = asked_for(pins, folder)
    lines = []
    for pin in pins:
        bare = f"Metadata-Version: 2.1\nName: {pin.name}\nVersion: {pin.version}\n"
        metadata = metadata_of(pin) or asked.get(pin, bare)
        digest = make_wheel(folder, pin, pin.version, metadata)
        make_wheel(folder, pin, NEWER, metadata)
        lines.append(f"{pin.requirement} --hash=sha256:{digest}\n")
    return "".join(lines)


# --- the pips ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session", params=PIPS, ids=lambda version: f"pip {version or 'newest'}")
def pip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pip as its own wheel, which can be run as it is."""
    version: str = request.param
    if version.startswith("22.") and sys.version_info >= (3, 12):
        pytest.skip(f"pip {version} does not know Python 3.12 and later")
    folder = tmp_path_factory.mktemp("pip")
    command = ["-m", "pip", "--disable-pip-version-check", "--retries", "0", "download", "--quiet", "--no-deps"]
    wanted = f"pip=={version}" if version else "pip"
    done = subprocess.run(
        [sys.executable, *command, "--dest", str(folder), wanted],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    wheels = [*folder.glob("*.whl")]
    if not wheels:
        skip(f"pip {version or '(the newest)'} cannot be had: {done.stderr[-300:]}")
    return wheels[0]


def resolve(pip: Path, folder: Path, requirements: str) -> subprocess.CompletedProcess[str]:
    """What this pip would install, by the index in the folder alone and without regard to what is installed."""
    file = folder / "requirements.txt"
    file.write_text(requirements)
    options = ["--dry-run", "--ignore-installed", "--no-index", "--find-links", str(folder), "--require-hashes"]
    environ = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(
        [sys.executable, str(pip / "pip"), "install", *options, "-r", str(file)],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# --- what is checked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_installs_after_any_release(pip: Path, tmp_path: Path, file: Path) -> None:
    pins = pins_of(file)
    done = resolve(pip, tmp_path, make_index(tmp_path, pins))
    assert done.returncode == 0, done.stderr[-2000:]
    taken = done.stdout.split("Would install ")[1].split()
    assert not [each for each in taken if each.endswith(NEWER)]
    assert len(taken) == len([pin for pin in pins if _applies(pin)])


def test_without_the_extras_an_old_pip_refuses(pip: Path, tmp_path: Path) -> None:
    """So the test above can fail: this is what the files were before."""
    if not pip.name.startswith("pip-22."):
        pytest.skip("newer ones may do either")
    pins = pins_of(ROOT / "requirements" / "dev.txt")
    assert any(pin.requirement.extras for pin in pins)
    requirements = re.sub(r"\[[^]]*\]", "", make_index(tmp_path, pins))
    done = resolve(pip, tmp_path, requirements)
    assert done.returncode == 1
    assert "all requirements must have their versions pinned" in done.stderr


def test_every_file_is_compiled_with_its_extras() -> None:
    commands = re.findall(r"uv pip compile(?:[^\n]*\\\n)*[^\n]*", (ROOT / "Makefile").read_text())
    assert len(commands) >= 3
    assert not [command for command in commands if "--no-strip-extras" not in command]
