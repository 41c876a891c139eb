"""`python -m bench`: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.frame import Figure, machine
from bench.plots import save

#: Each is a module with `run(quick: bool) -> list[Figure]`, in the order in which they are measured. If it also has
#: `plots(figures) -> Mapping[str, str]`, those are drawn: SVG by name.
GROUPS = {
    "evaluate": "bench.evaluate",
    "windows": "bench.windows",
    "cycle": "bench.cycle",
    "deadlines": "bench.deadlines",
    "growth": "bench.growth",
    "metrics": "bench.metrics_page",
    "cadence": "bench.cadence_bench",
    "limits": "bench.limits",
    "middle": "bench.middle",
}
OUT = Path(__file__).parent / "out"


@dataclass(frozen=True, slots=True)
class Result:
    """A group's figures, how long they took, and what went wrong instead of them."""

    group: str
    figures: Sequence[Figure]
    seconds: float
    error: str = ""

    @property
    def missed(self) -> list[Figure]:
        """Those that do not reach their target."""
        return [figure for figure in self.figures if figure.met is False]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "group": self.group,
            "seconds": round(self.seconds, 1),
            "error": self.error or None,
            "figures": [figure.plain() for figure in self.figures],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """0 unless a group broke, or, with --strict, a target is missed."""
    options = _options(arguments)
    console = _console()
    facts = machine()
    results = []
    for group in options.only or GROUPS:
        results.append(measured(group, quick=options.quick))
        console.print(table(results[-1]))
        if results[-1].error:
            console.print(results[-1].error, style="red", markup=False)
    path = options.json or OUT / ("quick.json" if options.quick else "full.json")
    write(path, results, facts, quick=options.quick)
    if options.plots:
        draw(options.plots, results)
    _summarise(console, results, path)
    return verdict(results, strict=options.strict)


def _console() -> Console:
    """As wide as the table needs where nobody says how wide it may be."""
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=150)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes and fewer rounds")
    parser.add_argument("--only", nargs="+", choices=GROUPS, metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures (default: bench/out/)")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw the plots that go with the figures")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    return parser.parse_args(arguments)


def measured(group: str, *, quick: bool, groups: Mapping[str, str] = GROUPS) -> Result:
    """Run one group; a fault in it must not cost the others."""
    began = time.perf_counter()
    try:
        figures = importlib.import_module(groups[group]).run(quick=quick)
    except Exception:  # noqa: BLE001  # the other groups are measured all the same, and the text is shown
        return Result(group, [], time.perf_counter() - began, traceback.format_exc())
    return Result(group, figures, time.perf_counter() - began)


def table(result: Result) -> Table:
    """The figures of a group for people."""
    shown = Table(title=f"{result.group} ({result.seconds:.0f} s)", title_justify="left", expand=False)
    shown.add_column("figure", overflow="fold", min_width=30)
    shown.add_column("value", justify="right", no_wrap=True)
    shown.add_column("compared to", overflow="fold")
    shown.add_column("ratio", justify="right", no_wrap=True)
    shown.add_column("target", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for figure in result.figures:
        against = f"{figure.against}: {number(figure.against_value)} {figure.unit}" if figure.against else ""
        target = str(figure.target) if figure.target else ""
        shown.add_row(
            figure.name, f"{number(figure.value)} {figure.unit}", against, _ratio(figure), target, _mark(figure)
        )
    return shown


def _ratio(figure: Figure) -> str:
    return "" if figure.ratio is None else f"{number(figure.ratio)} x"


def _mark(figure: Figure) -> str:
    return {True: "[green]met[/]", False: "[bold red]MISSED[/]", None: ""}[figure.met]


def number(value: float | None) -> str:
    """Three digits that count, no powers of ten."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def write(path: Path, results: Sequence[Result], facts: dict[str, Any], *, quick: bool) -> None:
    """Everything as JSON; what JSON has no number for (NaN, infinity) becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": facts, "quick": quick, "groups": [result.plain() for result in results]}
    path.write_text(json.dumps(_finite(document), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def draw(folder: Path, results: Sequence[Result]) -> None:
    """The plots of every group that has some."""
    for result in results:
        plots = getattr(importlib.import_module(GROUPS[result.group]), "plots", None)
        if plots is not None and result.figures:
            for name, svg in plots(result.figures).items():
                save(svg, folder / f"{name}.svg")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _summarise(console: Console, results: Sequence[Result], path: Path) -> None:
    figures = [figure for result in results for figure in result.figures]
    aimed = [figure for figure in figures if figure.met is not None]
    missed = [figure for result in results for figure in result.missed]
    seconds = sum(result.seconds for result in results)
    console.print(f"{len(figures)} figures in {seconds:.0f} s, written to {path}", soft_wrap=True)
    console.print(f"{len(aimed) - len(missed)} of {len(aimed)} targets met")
    for figure in missed:
        value = figure.ratio if figure.target and figure.target.of == "ratio" else figure.value
        console.print(f"[bold red]MISSED[/] {figure.name}: {number(value)}, target {figure.target}", soft_wrap=True)
    for result in results:
        if result.error:
            console.print(f"[bold red]BROKEN[/] {result.group}")


def verdict(results: Sequence[Result], *, strict: bool) -> int:
    """The exit code."""
    broken = any(result.error for result in results)
    return int(broken or (strict and any(result.missed for result in results)))


if __name__ == "__main__":
    sys.exit(main())
