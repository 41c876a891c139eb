"""An object of a build's own benchmark, behind lines of JSON: `host.py KIND ARGUMENTS` answers each line `[method,
arguments]` with `["ok", result]` or `["error", text]`, until its input ends.

Run by path with the build's tree first on the path, as `limits_probe.py` is. How a build is driven is known to its own
`bench`: so a name that is used here must be in all builds.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec


def ours(task: dict[str, Any]) -> Any:
    """A cycle of the daemon's parts."""
    from bench.contenders import Ours

    return Ours(_task(task))


def account(task: dict[str, Any]) -> Any:
    """One account, warm."""
    from bench.growth import Account

    return Account(_task(task))


def page(url: str, tokens: list[str], rules: Sequence[dict[str, Any]]) -> Any:
    """The daemon's parts with the web server."""
    from bench.fleet import PlainRule
    from bench.metrics_page import Page

    return Page(url, tokens, [PlainRule(**rule) for rule in rules])


class Taking:
    """Warm sweeps against decoding their pages."""

    def __init__(self, runs: int, actors: int, rules: int) -> None:
        from bench.fleet import FleetSpec, make_actors, make_rules

        self._spec = FleetSpec(runs=runs, actors=actors, crossing=0)
        self._rules = make_rules(rules, make_actors(actors))

    def take(self, rounds: int) -> dict[str, float]:
        """The median of some rounds of each: seconds per run."""
        from bench import evaluate
        from bench.frame import timed

        runs = self._spec.runs
        pages = evaluate._pages(self._spec)
        decoding = []
        for _ in range(rounds + 1):
            gc.collect()
            decoding.append(timed(lambda: evaluate._decode(pages)).wall_s / runs)
        taking = evaluate._poller(self._spec, self._rules, rounds)
        return {
            "decode_s": statistics.median(decoding[1:]),
            "take_s": statistics.median(sample.wall_s for sample in taking) / runs,
        }


def _task(plain: dict[str, Any]) -> Any:
    from bench.contenders import Task

    return msgspec.convert(plain, Task)


def main() -> None:
    """Serve the object that the arguments name."""
    tree = Path(os.environ["BENCH_TREE"])
    import watchdog

    if tree not in Path(watchdog.__file__).parents:
        raise SystemExit(f"another build was loaded than that in {tree}")
    # What is printed by the way must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    kinds = {"ours": ours, "account": account, "page": page, "taking": Taking}
    thing = kinds[sys.argv[1]](*json.loads(sys.argv[2]))
    try:
        for line in sys.stdin:
            method, arguments = json.loads(line)
            answers.write(_outcome(thing, method, arguments) + "\n")
            answers.flush()
    finally:
        if hasattr(thing, "close"):
            thing.close()


def _outcome(thing: Any, method: str, arguments: Sequence[Any]) -> str:
    try:
        outcome = ("ok", getattr(thing, method)(*arguments))
    except Exception:  # noqa: BLE001  # the parent raises it
        outcome = ("error", traceback.format_exc())
    return msgspec.json.encode(outcome).decode()


if __name__ == "__main__":
    main()
