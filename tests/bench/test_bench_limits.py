"""The group `limits` in a tiny size: it runs on today's build, and its figures and plots are plausible."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bench import limits
from bench.builds import OLD, ROOT, Build, ProbeFailed, builds
from bench.frame import Figure

TINY = limits.Size(
    rules=(3, 30),
    runs=(20, 60),
    run_id_rules=(3, 10),
    cliff=(5, 3),
    sweeps=1,
    rounds=1,
    pages=((2, 5),),
    aborts=(0, 30),
    breaches=25,
    patience_s=60.0,
)


def test_limits() -> None:
    figures = limits.run(size=TINY, measured=[Build("today", ROOT)])
    assert len({figure.name for figure in figures}) == len(figures)
    assert all(math.isfinite(figure.value) and figure.value >= 0 for figure in figures)
    found = {figure.name: figure for figure in figures}
    assert found["25 breaches at once: not proven"].value == 0
    assert found["25 breaches at once: requests an abort"].value >= 2
    assert found["memory with 30 aborts against 0"].ratio is not None
    drawn = {"limits-rules", "limits-run-ids", "limits-metrics", "limits-ledger", "limits-memory"}
    assert limits.plots(figures).keys() == drawn


def test_a_build_that_fails_is_drawn_as_failing() -> None:
    figures = [
        Figure("0 aborts in the ledger: start", 100, "ms", OLD, 120, 0.8),
        Figure("200,000 aborts in the ledger: start", 100, "ms", note=f"{OLD} fails"),
        Figure("0 aborts in the ledger: resident memory", 70, "MB", OLD, 70, 1.0),
        Figure("0 aborts in the ledger: history --limit 20", 100, "ms", OLD, 120, 0.8),
        Figure("20 rules by Actor, 1,000 runs: first sweep", 10, "ms", OLD, 12, 0.8),
        Figure("20 rules by Actor, 1,000 runs: warm sweep", 10, "ms", OLD, 12, 0.8),
        Figure("20 rules on 2 accounts: /metrics", 1, "MB", OLD, 1.2, 0.8),
        Figure("20 rules by run id, 1,000 runs: first sweep", 10, "ms", OLD, 12, 0.8),
    ]
    assert f"{OLD}: the start fails with 200,000" in limits.plots(figures)["limits-ledger"]


def test_a_probe_measures_the_build_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ProbeFailed, match="another build was loaded"):
        Build("nothing", tmp_path).probe("rules", kind="actor", count=1, runs=1, sweeps=1)


def test_without_git_only_today_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [build.name for build in builds(tmp_path)] == ["today"]
