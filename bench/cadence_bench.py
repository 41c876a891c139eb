"""The cadence against fixed polling and an oracle: overshoot and calls, on virtual time.

    python -m bench.cadence_bench [--quick] [--seeds N] [--json FILE] [--setting limited|unlimited|both]
                                  [--family all|NAME] [--worst N] [--trace RUN|worst] [--once] [--sources-seed N]

Overshoot counts at the instant the abort request arrives, as a share of the limit. Some of it nobody can avoid: a step
of a pay-per-event run, or what a stale figure hides until its next refresh. `avoidable` is the overshoot of a run less
the oracle's on the very same run, and the targets are judged on that.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.cadence_sim import DRAIN_S, UNLIMITED_PER_MINUTE, Sample, Summary, Trial, fixed, oracle, ours
from bench.curves import FAMILIES, RunSpec, make_workload
from bench.frame import Figure, Target, at_least, at_most
from bench.plots import Axis, Series, scatter
from watchdog.ledger.memory import MemoryLedger

PERIODS_S = (1.0, 10.0, 30.0, 60.0, 300.0)
LIMITED_PER_MINUTE = 120
SLOTS = 200
FULL_HORIZON_S = 3 * 3600.0
QUICK_HORIZON_S = 3600.0
#: The workload that fills the ledger comes from another seed, with the same sources.
HISTORY_SEED = 10_000
WITH, WITHOUT = "ours, with history", "ours, no history"


@dataclass(frozen=True, slots=True)
class Setting:
    """How many calls are allowed: `per_minute` in any 60 s (None: as many as anybody likes)."""

    name: str
    per_minute: int | None


SETTINGS = (Setting("limited", LIMITED_PER_MINUTE), Setting("unlimited", None))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated: virtual seconds, one workload for each seed, of the sources of `sources_seed`; `once`: no run
    is followed by another; `trace`: keep every look."""

    horizon_s: float = FULL_HORIZON_S
    seeds: Sequence[int] = (0,)
    sources_seed: int = 0
    slots: int = SLOTS
    once: bool = False
    trace: bool = False

    def workload(self, seed: int) -> list[RunSpec]:
        """The runs of a seed."""
        return make_workload(
            seed, sources_seed=self.sources_seed, slots=self.slots, horizon_s=self.horizon_s, once=self.once
        )


@dataclass(slots=True)
class Study:
    """Everything measured in one setting. `trials` hold each policy's trial on each seed's workload; `seconds`, of real
    time, what they took."""

    setting: Setting
    horizon_s: float
    workloads: list[list[RunSpec]] = field(default_factory=list)
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def summary(self, policy: str, family: str | None = None) -> Summary:
        """The figures of a policy over all seeds."""
        sample = Sample(policy)
        for trial, runs in zip(self.trials[policy], self.workloads, strict=True):
            sample.add(trial, runs, self.horizon_s, family)
        return sample.summary()

    def take(self, policy: str, play: Callable[[], Trial]) -> None:
        """Play a policy on the next workload, and take the time (real seconds)."""
        began = time.perf_counter()
        self.trials.setdefault(policy, []).append(play())
        self.seconds[policy] = self.seconds.get(policy, 0.0) + time.perf_counter() - began


def study(setting: Setting, plan: Plan) -> Study:
    """Every policy on the same workloads."""
    found = Study(setting, plan.horizon_s)
    ledger = MemoryLedger()
    _ours(plan.workload(HISTORY_SEED), ledger, WITHOUT, setting, plan, HISTORY_SEED)()
    for seed in plan.seeds:
        runs = plan.workload(seed)
        found.workloads.append(runs)
        found.take("oracle", _oracle(runs, plan))
        for policy, book in ((WITH, copy.deepcopy(ledger)), (WITHOUT, MemoryLedger())):
            found.take(policy, _ours(runs, book, policy, setting, plan, seed))
        for period_s in PERIODS_S:
            found.take(f"fixed {period_s:g} s", _fixed(runs, period_s, setting, plan, seed))
    return found


def _ours(
    runs: Sequence[RunSpec], ledger: MemoryLedger, policy: str, setting: Setting, plan: Plan, seed: int
) -> Callable[[], Trial]:
    return lambda: ours(
        runs,
        ledger,
        per_minute=setting.per_minute or UNLIMITED_PER_MINUTE,
        horizon_s=plan.horizon_s,
        policy=policy,
        trace=plan.trace,
        seed=seed,
        later=policy == WITH,
    )


def _oracle(runs: Sequence[RunSpec], plan: Plan) -> Callable[[], Trial]:
    return lambda: oracle(runs, plan.horizon_s)


def _fixed(runs: Sequence[RunSpec], period_s: float, setting: Setting, plan: Plan, seed: int) -> Callable[[], Trial]:
    return lambda: fixed(runs, period_s, plan.horizon_s, per_minute=setting.per_minute, seed=seed)


# Figures


def figures(found: Study) -> list[Figure]:
    """What this benchmark shows in one setting: ours with their targets, then everybody's overshoot and calls."""
    rows = [row for policy, bound in ((WITH, 0.015), (WITHOUT, 0.06)) for row in _of_ours(found, policy, bound)]
    for policy in found.trials:
        if policy not in (WITH, WITHOUT):
            mine = found.summary(policy)
            rows.append(_figure(found, policy, "overshoot p95", 100 * mine.p95, "%", note=_note(mine)))
            rows.append(_figure(found, policy, "calls", mine.calls_per_run_hour, "per run-hour"))
    return rows


def _of_ours(found: Study, policy: str, p95_bound: float) -> Iterator[Figure]:
    mine, best, polling = (found.summary(each) for each in (policy, "oracle", "fixed 1 s"))
    yield _figure(found, policy, "misses", mine.misses, "runs", target=at_most(0), note=f"of {mine.breaches}")
    yield _figure(found, policy, "false kills", mine.false_kills, "runs", target=at_most(0))
    is_limited = found.setting.per_minute is not None
    yield _compared(found, policy, "overshoot p95", mine.p95, best.p95, "oracle", note=_note(mine))
    if is_limited:
        yield _figure(
            found, policy, "avoidable overshoot p95", 100 * mine.excess_p95, "%", target=at_most(100 * p95_bound)
        )
        yield _figure(found, policy, "calls", mine.calls_per_run_hour, "per run-hour", target=at_most(45))
        yield _figure(found, policy, "most calls in 60 s", mine.peak, "", target=at_most(found.setting.per_minute or 0))
        return
    target = at_most(1, "ratio")
    yield _compared(found, policy, "overshoot p95", mine.p95, polling.p95, "fixed 1 s", target=target)
    excess = (mine.excess_p95, polling.excess_p95)
    yield _compared(found, policy, "avoidable overshoot p95", *excess, "fixed 1 s", target=target)
    calls = (mine.calls_per_run_hour, polling.calls_per_run_hour)
    yield _figure(
        found,
        policy,
        "calls",
        calls[0],
        "per run-hour",
        against="fixed 1 s",
        against_value=calls[1],
        ratio=calls[1] / calls[0] if calls[0] else None,
        ratio_is="compared / value",
        target=at_least(50, "ratio"),
    )


def _compared(
    found: Study,
    policy: str,
    what: str,
    mine: float,
    other: float,
    against: str,
    *,
    target: Target | None = None,
    note: str = "",
) -> Figure:
    """Two shares of the limit, in per cent."""
    ratio = mine / other if other else None
    values = {"against": against, "against_value": 100 * other, "ratio": ratio}
    return _figure(found, policy, what, 100 * mine, "%", target=target, note=note, **values)


def _figure(found: Study, policy: str, what: str, value: float, unit: str, **more: Any) -> Figure:
    return Figure(f"cadence, {found.setting.name}, {policy}: {what}", value, unit, **more)


def _note(row: Summary) -> str:
    calls = f"{row.calls_per_run_hour:.1f} calls/run-h"
    return f"median {row.median:.2%}, max {row.most:.1%}, {row.breaches} breaches, {calls}"


# Printing

_HEAD = (
    f"{'policy':20} {'breaches':>8} | {'overshoot: median':>17} {'p95':>8} {'max':>8}"
    f" | {'avoidable: median':>17} {'p95':>8} {'max':>8}"
    f" | {'calls/run-h':>11} {'max in 60 s':>11} {'misses':>6} {'false':>5} {'took s':>6}"
)


def table(found: Study, family: str | None = None) -> Iterator[str]:
    """Lines to print."""
    limit = f"{found.setting.per_minute} requests a minute" if found.setting.per_minute else "unlimited calls"
    count = sum(len(runs) for runs in found.workloads)
    of = f", {family} curves only" if family else ""
    yield ""
    yield f"{limit}, {found.horizon_s / 3600:g} h, {len(found.workloads)} seed(s), {count} runs{of}"
    yield _HEAD
    for policy in found.trials:
        yield _row(found.summary(policy, family), found.seconds[policy])


def _row(row: Summary, seconds: float) -> str:
    return (
        f"{row.policy:20} {row.breaches:8d} | {row.median:17.2%} {row.p95:8.2%} {row.most:8.1%}"
        f" | {row.excess_median:17.2%} {row.excess_p95:8.2%} {row.excess_most:8.1%}"
        f" | {row.calls_per_run_hour:11.1f} {row.peak:11d} {row.misses:6d} {row.false_kills:5d} {seconds:6.1f}"
    )


def target_lines(rows: Sequence[Figure]) -> Iterator[str]:
    """What is to be reached beside what was."""
    yield ""
    for row in rows:
        if row.target is not None:
            compared = f"{row.against}: {row.against_value:.4g}, ratio {row.ratio or 0:.3g}" if row.against else ""
            met = "met " if row.met else "MISS"
            yield f"{met} {row.name:62} {row.value:9.4g} {row.unit:12} {row.target!s:14} {compared}"


def kind_lines(found: Study) -> Iterator[str]:
    """What our calls were made for."""
    for policy in (WITH, WITHOUT):
        kinds = sum((trial.kinds for trial in found.trials[policy]), Counter[str]())
        shares = (f"{kind} {count / kinds.total():.1%}" for kind, count in kinds.most_common())
        yield f"calls of {policy}: {', '.join(shares)}"


def trouble_lines(found: Study) -> Iterator[str]:
    """What the daemon's observers were told of that should not happen here."""
    for policy, trials in found.trials.items():
        told = [text for trial in trials for text in trial.troubles]
        if told:
            yield f"{policy}: {len(told)} troubles, the first: {told[0]}"


def worst_lines(found: Study, policy: str, count: int) -> Iterator[str]:
    """The runs of the first seed that we did worst on, by what the oracle would have avoided."""
    yield ""
    yield f"worst runs of '{policy}', {found.setting.name}: start and breach in virtual s, seconds from breach to abort"
    for excess, run in _worst(found, policy)[:count]:
        late_s = min(found.trials[policy][0].aborted_s.get(run.run_id, float("inf")), run.ends_s) - run.breach_s
        yield (
            f"{run.run_id:18} {run.source.family:9} start {run.start_s:8.1f}"
            f"  reached after {run.breach_s - run.start_s:8.1f}  abort {late_s:7.1f} late  avoidable {excess:7.2%}"
        )


def _worst(found: Study, policy: str) -> list[tuple[float, RunSpec]]:
    trial, runs = found.trials[policy][0], found.workloads[0]
    rows = []
    for run in runs:
        if run.breach_s < found.horizon_s:
            at_s = min(trial.aborted_s.get(run.run_id, found.horizon_s + DRAIN_S), run.ends_s)
            rows.append((run.overshoot(at_s) - run.overshoot(run.breach_s), run))
    return sorted(rows, key=lambda row: -row[0])


def trace_lines(found: Study, policy: str, run_id: str) -> Iterator[str]:
    """Each look at one run (or the worst): seconds since its start, the share of the limit shown, what was planned."""
    run = next((run for run in found.workloads[0] if run.run_id == run_id), None) or _worst(found, policy)[0][1]
    yield ""
    yield (
        f"{run.run_id} under '{policy}', {found.setting.name}: {run.source.family}, starts {run.start_s:.1f},"
        f" shows its limit after {run.breach_s - run.start_s:.1f} s,"
        f" ends by itself after {run.ends_s - run.start_s:.1f} s"
    )
    for line in found.trials[policy][0].trace:
        if line.run_id == run.run_id:
            figure = f"next look in {line.figure:.2f} s" if line.what == "plan" else f"{line.figure:9.3%}"
            yield f"{line.at_s - run.start_s:10.2f}  {line.what:7} {figure}"


# Doors


#: The workloads of the targets, pooled: with one, p95 is the sixth worst of some 120 breaches.
TARGET_SEEDS = (0, 1, 2)


def run(quick: bool = False) -> list[Figure]:
    """The figures of this group.

    The targets are for 200 runs whose time to the limit is log-uniform, each once. In a harder workload beside it every
    run that ends is followed by another of its source, so that 200 are always active and the short ones, which break
    their limits most often, take most of the rate budget; it has no targets.
    """
    once = Plan(once=True, seeds=TARGET_SEEDS[:1] if quick else TARGET_SEEDS)
    rows = [row for setting in SETTINGS for row in figures(study(setting, shortened(once, setting, quick)))]
    return [*rows, *_always_busy(quick)]


def _always_busy(quick: bool) -> Iterator[Figure]:
    found = study(SETTINGS[0], shortened(Plan(), SETTINGS[0], quick))
    for policy in (WITH, WITHOUT, "fixed 10 s"):
        mine, oracles = found.summary(policy), found.summary("oracle")
        name = f"cadence, limited, 200 always active, {policy}"
        yield Figure(f"{name}: overshoot p95", 100 * mine.p95, "%", "oracle", 100 * oracles.p95, note=_note(mine))
        yield Figure(f"{name}: avoidable overshoot p95", 100 * mine.excess_p95, "%")
        yield Figure(f"{name}: misses", mine.misses, "runs")


def plots(rows: Sequence[Figure]) -> dict[str, str]:
    """Overshoot against calls, for every policy in both settings."""
    shown = {row.name: row.value for row in rows}
    drawn = []
    for setting in SETTINGS:
        start = f"cadence, {setting.name}, "
        names = [name.removeprefix(start).removesuffix(": calls") for name in shown if name.endswith(": calls")]
        policies = [name for name in names if f"{start}{name}: calls" in shown]
        points = [(shown[f"{start}{name}: calls"], shown[f"{start}{name}: overshoot p95"]) for name in policies]
        label = f"{setting.per_minute} requests a minute" if setting.per_minute else "unlimited calls"
        drawn.append(Series(label, points, policies, joined=False))
    calls = Axis("calls per run-hour", log=True)
    return {
        "overshoot": scatter("Overshoot against calls", calls, Axis("overshoot p95, % of the limit", log=True), drawn)
    }


def shortened(plan: Plan, setting: Setting, quick: bool) -> Plan:
    """The same with fewer hours if it must be quick; where calls are unlimited no run matters to another, so half the
    runs will do."""
    if not quick:
        return plan
    return replace(plan, horizon_s=QUICK_HORIZON_S, slots=plan.slots if setting.per_minute else plan.slots // 2)


def as_json(studies: Sequence[Study]) -> dict[str, object]:
    """Everything as plain data: shares of the limit, calls per run-hour, seconds."""
    return {
        found.setting.name: {
            "per_minute": found.setting.per_minute,
            "horizon_s": found.horizon_s,
            "policies": [asdict(found.summary(policy)) for policy in found.trials],
            "families": {
                family: [asdict(found.summary(policy, family)) for policy in found.trials] for family in FAMILIES
            },
            "figures": [row.plain() for row in figures(found)],
        }
        for found in studies
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    options = _parser().parse_args(arguments)
    settings = [each for each in SETTINGS if options.setting in ("both", each.name)]
    plan = Plan(
        seeds=range(options.seeds),
        sources_seed=options.sources_seed,
        once=options.once,
        trace=bool(options.trace),
    )
    studies = []
    for setting in settings:
        found = study(setting, shortened(plan, setting, options.quick))
        studies.append(found)
        _print(table(found))
        for family in FAMILIES if options.family == "all" else [options.family] if options.family else []:
            _print(table(found, family))
        for policy in (WITH, WITHOUT):
            if options.worst:
                _print(worst_lines(found, policy, options.worst))
            if options.trace:
                _print(trace_lines(found, policy, options.trace))
        _print(kind_lines(found))
        _print(trouble_lines(found))
    for found in studies:
        _print(target_lines(figures(found)))
    if options.json:
        Path(options.json).write_text(json.dumps(as_json(studies), indent=1), encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.cadence_bench", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="one simulated hour instead of three")
    parser.add_argument("--seeds", type=int, default=1, help="so many workloads, their figures pooled")
    parser.add_argument("--sources-seed", type=int, default=0, help="other sources")
    parser.add_argument("--once", action="store_true", help="no run is followed by another")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--setting", choices=("both", *(each.name for each in SETTINGS)), default="both")
    parser.add_argument(
        "--family", choices=("all", *FAMILIES), help="also the figures of one family of curves, or of each"
    )
    parser.add_argument(
        "--worst", type=int, default=0, metavar="N", help="list the N runs with most avoidable overshoot"
    )
    parser.add_argument("--trace", metavar="RUN", help="every look at this run; `worst`: at the one we did worst on")
    return parser


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(line.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
