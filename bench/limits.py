"""How far it carries: many rules, accounts, aborts in the ledger, breaches at once; each beside an earlier build."""

from __future__ import annotations

import re
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.builds import OLD, ROOT, Build, ProbeFailed, builds, finish
from bench.fleet import FleetSpec
from bench.frame import Figure, Target, at_most, interleaved, median_ratio
from bench.plots import Series, growth
from bench.server import Server

#: Trees of earlier builds are kept between runs.
TREES = ROOT / "bench" / "out" / "builds"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. The earlier build asks every rule for every source, or every run, and beyond 4,096 globs
    compiles each anew every time: with more rules than `old_..._max` it would take minutes."""

    rules: tuple[int, ...] = (20, 200, 2_000, 20_000)
    runs: tuple[int, ...] = (1_000, 10_000, 50_000)
    run_id_rules: tuple[int, ...] = (20, 100, 300, 3_000, 20_000)
    old_rules_max: int = 2_000
    old_run_id_rules_max: int = 300
    cliff: tuple[int, int] = (4_300, 100)
    sweeps: int = 5
    rounds: int = 5
    pages: tuple[tuple[int, int], ...] = ((20, 50), (40, 200), (40, 2_000))
    aborts: tuple[int, ...] = (0, 1_000, 10_000, 50_000, 200_000)
    breaches: int = 10_000
    requests_per_minute: int = 6_000
    patience_s: float = 800.0


FULL = Size()
QUICK = Size(
    rules=(20, 2_000),
    runs=(1_000, 10_000),
    run_id_rules=(20, 300),
    cliff=(4_200, 2),
    sweeps=2,
    rounds=2,
    pages=((20, 50), (20, 500)),
    aborts=(0, 2_000, 10_000),
    breaches=300,
    patience_s=60.0,
)

Found = Mapping[str, Any]


def run(quick: bool = False, size: Size | None = None, measured: Sequence[Build] = ()) -> list[Figure]:
    """The figures of this group; `measured`: today's build first."""
    size = size or (QUICK if quick else FULL)
    measured = measured or builds(TREES)
    return [
        *_rules(measured, size),
        *_run_ids(measured, size),
        *_pages(measured, size),
        *_aborts(measured, size),
        *_breaches(measured, size),
    ]


def _each(measured: Sequence[Build], probe: str, **details: object) -> dict[str, Found]:
    """What each build does, one after the other; empty for one that cannot do it."""
    found: dict[str, Found] = {}
    for build in measured:
        try:
            found[build.name] = build.probe(probe, **details)
        except ProbeFailed:
            if build.name != OLD:
                raise
            found[build.name] = {}
    return found


def _figure(
    name: str, unit: str, found: Mapping[str, Found], key: str, *, scale: float = 1.0, target: Target | None = None
) -> Figure:
    """One of today's, beside that of the earlier build; where that one could not do it at all, a note says so."""
    ours, theirs = found["today"][key] * scale, found.get(OLD)
    if theirs is None:
        return Figure(name, ours, unit, target=target)
    if not theirs:
        return Figure(name, ours, unit, target=target, note=f"{OLD} fails")
    old = theirs[key] * scale
    return Figure(name, ours, unit, OLD, old, ours / old if old else None, target=target)


# --- rules x runs ----------------------------------------------------------------------------------------------------


def _rules(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    for runs in size.runs:
        for count in size.rules:
            some = measured if count <= size.old_rules_max else measured[:1]
            found = _each(some, "rules", kind="actor", count=count, runs=runs, sweeps=size.sweeps)
            name = f"{count:,} rules by Actor, {runs:,} runs"
            yield _figure(f"{name}: first sweep", "ms", found, "first_s", scale=1e3)
            yield _figure(f"{name}: warm sweep", "ms", found, "warm_s", scale=1e3)
    count, runs = size.cliff
    found = _each(measured, "rules", kind="actor", count=count, runs=runs, sweeps=1)
    yield _figure(f"{count:,} rules by Actor, {runs:,} runs, the first sweep", "ms", found, "first_s", scale=1e3)
    few, many, runs = size.rules[0], size.rules[-1], size.runs[-1]

    def warm_s(count: int) -> float:
        found: float = measured[0].probe("rules", kind="actor", count=count, runs=runs, sweeps=size.sweeps)["warm_s"]
        return found

    turns = interleaved({"few": lambda: warm_s(few), "many": lambda: warm_s(many)}, size.rounds)
    yield Figure(
        f"warm sweep of {runs:,} runs, {many:,} rules against {few:,}",
        statistics.median(turns["many"]) * 1e3,
        "ms",
        f"{few:,} rules",
        statistics.median(turns["few"]) * 1e3,
        median_ratio(turns["many"], turns["few"]),
        target=at_most(1.5, "ratio"),
        note="without a network and decoding, which cost the same with any number of rules",
    )


def _run_ids(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    runs = size.runs[-1]
    for count in size.run_id_rules:
        some = measured if count <= size.old_run_id_rules_max else measured[:1]
        found = _each(some, "rules", kind="run_id", count=count, runs=runs, sweeps=size.sweeps)
        yield _figure(f"{count:,} rules by run id, {runs:,} runs: first sweep", "ms", found, "first_s", scale=1e3)


# --- accounts x rules ------------------------------------------------------------------------------------------------


def _pages(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    for accounts, count in size.pages:
        found = _each(measured, "metrics", accounts=accounts, count=count)
        name = f"{count:,} rules on {accounts:,} accounts"
        yield _figure(f"{name}: /metrics", "MB", found, "page_mb")
        yield _figure(f"{name}: memory of metrics", "MB", found, "memory_mb")
        yield _figure(f"{name}: loading them", "ms", found, "load_s", scale=1e3)
        is_last = (accounts, count) == size.pages[-1]
        target = at_most(20) if is_last else None
        yield _figure(f"{name}: longest hold-up by a scrape", "ms", found, "held_up_ms", target=target)


# --- aborts in the ledger --------------------------------------------------------------------------------------------


def _aborts(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    first: Found = {}
    for count in size.aborts:
        starts: dict[str, Found] = {}
        reads: dict[str, Found] = {}
        for build in measured:
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                path = str(Path(folder) / "ledger.db")
                build.probe("fill", path=path, count=count)
                starts |= _each([build], "start", path=path)
                reads |= _each([build], "history", path=path)
        first = first or starts["today"]
        name, is_last = f"{count:,} aborts in the ledger", count == size.aborts[-1]
        yield _figure(f"{name}: start", "ms", starts, "start_s", scale=1e3)
        yield _figure(f"{name}: resident memory", "MB", starts, "memory_mb")
        yield _figure(f"{name}: history --limit 20", "ms", reads, "seconds", scale=1e3)
        yield _figure(f"{name}: memory of history", "MB", reads, "peak_mb")
        if is_last:
            for key, what, scale, unit in (("start_s", "start", 1e3, "ms"), ("memory_mb", "memory", 1.0, "MB")):
                ours, none = starts["today"][key], first[key]
                against = f"{size.aborts[0]:,} aborts"
                bound = at_most(1.5 if key == "start_s" else 1.1, "ratio")
                full = f"{what} with {count:,} aborts against {size.aborts[0]:,}"
                yield Figure(full, ours * scale, unit, against, none * scale, ours / none, target=bound)


# --- many breaches at once -------------------------------------------------------------------------------------------


def _breaches(measured: Sequence[Build], size: Size) -> Iterator[Figure]:
    """All builds at the same time, each on a server of its own: they wait for the rate budget, hardly for anything
    else."""
    found: dict[str, Found] = {}
    requests: dict[str, dict[str, int]] = {}
    count = size.breaches
    servers = {build.name: Server(FleetSpec(runs=count, actors=50, crossing=count)) for build in measured}
    try:
        running = {}
        for build in measured:
            server = servers[build.name]
            _ = server.url
            server.reset(crossed=True, prompt=True)
            details = {"patience_s": size.patience_s, "requests_per_minute": size.requests_per_minute}
            running[build.name] = build.begin("breaches", url=server.url, token=server.token, count=count, **details)
        for name, process in running.items():
            found[name] = finish(process)
            requests[name] = servers[name].seen()[0]
    finally:
        for server in servers.values():
            server.close()
    name = f"{count:,} breaches at once"
    for build in measured:
        # Sweeps go on whatever is stopped; lists of ended runs are what proves the stops.
        seen = requests[build.name]
        spent = sum(seen.get(kind, 0) for kind in ("detail", "abort", "ended"))
        found[build.name] = {**found[build.name], "each": spent / count, "lost": count - found[build.name]["proven"]}
    yield _figure(f"{name}: requests an abort", "", found, "each", target=at_most(2.2))
    # With few of them the rate budget is not what they wait for.
    target = at_most(0.55, "ratio") if OLD in found and 4 * count > size.requests_per_minute else None
    yield _figure(f"{name}: median time to the proof", "s", found, "median_s", target=target)
    yield _figure(f"{name}: the last proof", "s", found, "last_s")
    yield _figure(f"{name}: all booked", "s", found, "settled_s")
    yield _figure(f"{name}: not proven", "runs", found, "lost", target=at_most(0))


# --- plots -----------------------------------------------------------------------------------------------------------

_RULES = re.compile(r"([\d,]+) rules by Actor, ([\d,]+) runs: (first|warm) sweep")
_IDS = re.compile(r"([\d,]+) rules by run id, [\d,]+ runs: first sweep")
_PAGE = re.compile(r"([\d,]+) rules on ([\d,]+) accounts: /metrics")
_LEDGER = re.compile(r"([\d,]+) aborts in the ledger: (start|resident memory|history --limit 20)")


def plots(figures: Sequence[Figure]) -> dict[str, str]:
    """How each grows, today and in the earlier build."""
    by_actor = [(match, figure) for figure in figures if (match := _RULES.fullmatch(figure.name))]
    most_runs = max((_number(match[2]) for match, _ in by_actor), default=0)
    at_most_runs = [(m, f) for m, f in by_actor if _number(m[2]) == most_runs]

    def of_sweep(which: str) -> list[tuple[float, Figure]]:
        return [(_number(m[1]), f) for m, f in at_most_runs if m[3] == which]

    def of_ledger(which: str) -> list[tuple[float, Figure]]:
        found = ((_LEDGER.fullmatch(figure.name), figure) for figure in figures)
        # On a scale of powers of ten nothing has no place.
        return [(max(1.0, _number(m[1])), f) for m, f in found if m and m[2] == which]

    pages = [(_number(m[1]) * _number(m[2]), f) for f in figures if (m := _PAGE.fullmatch(f.name))]
    by_id = [(_number(m[1]), f) for f in figures if (m := _IDS.fullmatch(f.name))]
    runs = f"{most_runs:,} runs"
    return {
        "limits-rules": growth(
            f"Sweep of {runs} against rules by Actor",
            "rules",
            "milliseconds",
            [*_both("first sweep", of_sweep("first")), *_both("warm sweep", of_sweep("warm"))],
        ),
        "limits-run-ids": growth(
            f"First sweep of {runs} against rules by run id", "rules", "milliseconds", _both("first sweep", by_id)
        ),
        "limits-metrics": growth("/metrics against rules x accounts", "rules x accounts", "MB", _both("page", pages)),
        "limits-ledger": growth(
            "Start and history against aborts in the ledger",
            "aborts in the ledger (0 drawn at 1)",
            "milliseconds",
            [*_both("start", of_ledger("start")), *_both("history", of_ledger("history --limit 20"))],
            note=_fails(of_ledger("start"), "the start"),
        ),
        "limits-memory": growth(
            "Resident memory against aborts in the ledger",
            "aborts in the ledger (0 drawn at 1)",
            "MB",
            _both("daemon", of_ledger("resident memory")),
            note=_fails(of_ledger("resident memory"), "the daemon"),
        ),
    }


def _both(name: str, points: Sequence[tuple[float, Figure]]) -> list[Series]:
    ours = Series(f"{name}, today", [(x, figure.value) for x, figure in points])
    old = [(x, figure.against_value) for x, figure in points if figure.against_value is not None]
    return [ours, Series(f"{name}, {OLD}", old)] if old else [ours]


def _fails(points: Sequence[tuple[float, Figure]], what: str) -> str:
    failing = [f"{x:,.0f}" for x, figure in points if figure.note]
    return f"{OLD}: {what} fails with {', '.join(failing)}" if failing else ""


def _number(text: str) -> int:
    return int(text.replace(",", ""))
