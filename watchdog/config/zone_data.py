"""Which time zone data counts: the newer one of the system's and of the package `tzdata`.

Python reads the system's first, however old it is, and the package's only for what is missing there: a machine that is
not kept up to date would begin days by rules that a country gave up, and a mixture of both has no version at all.

The system's version is what its own files say: `tzdata.zi` begins with it, and some systems have a file of its own for
it. Data without a version cannot be compared, and the package's counts, which has one.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import tzdata

PACKAGE = "the package tzdata"
#: Where systems write the version, beside the zones: the compiler's own source, macOS and the BSDs, others.
_VERSION_FILES = ("tzdata.zi", "+VERSION", "version")
#: `2026b`, also within `# version 2026b` and `2026b-dirty`; the letter after z was `za` to its makers.
_VERSION = re.compile(r"\b(\d{4})([a-z]{1,2})\b")


@dataclass(frozen=True, slots=True)
class ZoneData:
    """Time zone data: its version, as `2026b`, and where it is from, for people."""

    version: str
    source: str

    @property
    def age(self) -> tuple[str, int, str]:
        """To compare: the larger is the newer. After `2026z` comes `2026za`."""
        year, letters = self.version[:4], self.version[4:]
        return year, len(letters), letters

    def __str__(self) -> str:
        return f"{self.version} ({self.source})"


def newest_zone_data(folders: Sequence[str], package_version: str = tzdata.IANA_VERSION) -> ZoneData:
    """Of the data in these folders and of the package; of equal ones the package's, which is the same everywhere."""
    candidates = [ZoneData(package_version, PACKAGE)]
    candidates += [ZoneData(version, folder) for folder in folders if (version := _version_in(Path(folder)))]
    return max(candidates, key=lambda data: data.age)


def use_newest_zone_data(folders: Sequence[str] | None = None) -> ZoneData:
    """Let this whole process take its time zones from the newest data, and say which that is. To be called before rules
    are read: zones that were loaded earlier stay as they are where they are held.

    `folders`: where the system's data can be; left out: where Python looks (`zoneinfo.TZPATH`, PYTHONTZPATH). A name
    that only the package has (old names, on some systems) still comes from there.
    """
    found = newest_zone_data(zoneinfo.TZPATH if folders is None else folders)
    zoneinfo.reset_tzpath(() if found.source == PACKAGE else (found.source,))
    zoneinfo.ZoneInfo.clear_cache()
    return found


def _version_in(folder: Path) -> str | None:
    """None if there is no data, or it does not say which it is."""
    # Some images are stripped of the zones, but not of the text that they were made from.
    if not (folder / "Etc/UTC").is_file():
        return None
    for name in _VERSION_FILES:
        try:
            with (folder / name).open(encoding="utf-8", errors="replace") as file:
                head = "".join(islice(file, 1))[:200]
        except OSError:
            continue
        if match := _VERSION.search(head):
            return match.group()
    return None
