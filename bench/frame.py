"""What every measurement shares: figures with their targets, fair timing, and the facts of the machine."""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should reach: its `ratio` (to what it is compared with) or its `value`, at least or at most."""

    sign: Literal["<=", ">="]
    bound: float
    of: Literal["ratio", "value"] = "value"

    def is_met(self, value: float) -> bool:
        """Whether this value is good enough; NaN never is."""
        return value <= self.bound if self.sign == "<=" else value >= self.bound

    def __str__(self) -> str:
        return f"{self.of} {self.sign} {self.bound:g}"


def at_most(bound: float, of: Literal["ratio", "value"] = "value") -> Target:
    """The figure should not exceed this."""
    return Target("<=", bound, of)


def at_least(bound: float, of: Literal["ratio", "value"] = "value") -> Target:
    """The figure should not fall short of this."""
    return Target(">=", bound, of)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    `against` says what it is compared to in the same run, `against_value` is that one's value in the same unit, and
    `ratio` how many times one is of the other, in whichever direction `ratio_is` says. `note` is for what a reader must
    know to judge it.
    """

    name: str
    value: float
    unit: str
    against: str = ""
    against_value: float | None = None
    ratio: float | None = None
    ratio_is: str = "value / compared"
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        value = self.ratio if self.target.of == "ratio" else self.value
        return value is not None and self.target.is_met(value)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        target = str(self.target) if self.target else None
        return {**asdict(self), "target": target, "met": self.met}


# --- timing ----------------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """Seconds of the wall clock, and of all processors as far as this process used them."""

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Takes both times from here on; `stop` as often as wanted."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def stop(self) -> Sample:
        """The time since the start."""
        return Sample(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def timed(work: Callable[[], object]) -> Sample:
    """Do it once."""
    watch = Stopwatch()
    work()
    return watch.stop()


def interleaved(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Let each contender run once a round, beginning with another one each time: a machine that gets busy, warm or
    slow does so for all of them."""
    names = list(contenders)
    results: dict[str, list[T]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            results[name].append(contenders[name]())
    return results


def median_ratio(upper: Sequence[float], lower: Sequence[float]) -> float:
    """The median of the ratios of each round: two figures of one round share the state of the machine."""
    return statistics.median(over / under for over, under in zip(upper, lower, strict=True))


def walls(samples: Iterable[Sample]) -> list[float]:
    """The wall times."""
    return [sample.wall_s for sample in samples]


def cpus(samples: Iterable[Sample]) -> list[float]:
    """The processor times."""
    return [sample.cpu_s for sample in samples]


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of all values does not exceed (nearest rank); NaN of nothing."""
    ordered = sorted(values)
    if not ordered:
        return float("nan")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


# --- the machine -----------------------------------------------------------------------------------------------------

_PACKAGES = ("apify-client", "apscheduler", "httpx", "httpx-aiohttp", "msgspec", "prometheus-client", "sqlalchemy")


def machine() -> dict[str, Any]:
    """What a reader needs to compare: never a name of a host or a path."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def memory_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_memory_bytes() -> int:
    """The most that was resident at any time."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return memory_bytes()
