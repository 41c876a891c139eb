"""Which time zone data counts, and that the whole process then has it."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import pytest
import tzdata

from watchdog.config.zone_data import PACKAGE, ZoneData, newest_zone_data, use_newest_zone_data

BERLIN, TOKYO = "Europe/Berlin", "Asia/Tokyo"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The path belongs to the process."""
    path = zoneinfo.TZPATH
    yield
    zoneinfo.reset_tzpath(path)
    zoneinfo.ZoneInfo.clear_cache()


def system(
    folder: Path, head: str | None, file: str = "tzdata.zi", zones: tuple[str, ...] = ("Etc/UTC", BERLIN)
) -> str:
    """Data as systems have it, but for Berlin, where it is as late as in Tokyo."""
    for name in zones:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        source = TOKYO if name == BERLIN else name
        path.write_bytes(resources.files("tzdata").joinpath("zoneinfo", *source.split("/")).read_bytes())
    if head is not None:
        (folder / file).write_text(head)
    return str(folder)


@pytest.mark.parametrize(
    ("head", "file"),
    [
        ("# version 2026b\n# ddeps backzone\n", "tzdata.zi"),
        ("# version 2026b-dirty\n", "tzdata.zi"),
        ("2026b\n", "+VERSION"),
        ("2026b", "version"),
    ],
)
def test_the_newer_one_counts(tmp_path: Path, head: str, file: str) -> None:
    folder = system(tmp_path, head, file)
    assert newest_zone_data([folder], "2026a") == ZoneData("2026b", folder)
    assert newest_zone_data([folder], "2025z") == ZoneData("2026b", folder)
    assert newest_zone_data([folder], "2026b") == ZoneData("2026b", PACKAGE)
    assert newest_zone_data([folder], "2026c") == ZoneData("2026c", PACKAGE)
    assert newest_zone_data([folder], "2026za") == ZoneData("2026za", PACKAGE)


@pytest.mark.parametrize("head", [None, "", "# version unknown\n", "# redo posix_only\n"])
def test_data_without_a_version_does_not_count(tmp_path: Path, head: str | None) -> None:
    assert newest_zone_data([system(tmp_path, head)], "2026a") == ZoneData("2026a", PACKAGE)


def test_a_version_without_zones_does_not_count(tmp_path: Path) -> None:
    assert newest_zone_data([system(tmp_path, "# version 2099a", zones=())], "2026a").source == PACKAGE


def test_of_several_folders_the_newest(tmp_path: Path) -> None:
    folders = [
        str(tmp_path / "none"),
        system(tmp_path / "old", "# version 2026b"),
        system(tmp_path / "new", "# version 2026d"),
    ]
    assert newest_zone_data(folders, "2026c") == ZoneData("2026d", folders[2])
    assert newest_zone_data([], "2026c") == ZoneData("2026c", PACKAGE)


def test_the_process_has_the_newer_data(tmp_path: Path) -> None:
    summer = datetime(2026, 7, 1, tzinfo=UTC)
    # Loaded, and remembered by Python, before anybody asked which data counts.
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo(BERLIN)
    newer = system(tmp_path / "newer", "# version 9999a")
    found = use_newest_zone_data([newer])
    assert str(found) == f"9999a ({newer})"
    assert summer.astimezone(zoneinfo.ZoneInfo(BERLIN)).hour == 9
    # What it lacks comes from the package.
    assert summer.astimezone(zoneinfo.ZoneInfo("Europe/Paris")).hour == 2
    older = system(tmp_path / "older", "# version 2001a")
    zoneinfo.reset_tzpath([older])
    assert str(use_newest_zone_data()) == f"{tzdata.IANA_VERSION} (the package tzdata)"
    assert summer.astimezone(zoneinfo.ZoneInfo(BERLIN)).hour == 2
