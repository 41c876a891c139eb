"""docs/metrics.md names every metric there is, with its labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from watchdog.telemetry.exposition import Family
from watchdog.telemetry.metrics import PREFIX, Metrics

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+)[^|]*\| ([^|]*)\|", re.MULTILINE)


@pytest.fixture
def families():
    made = vars(Metrics()).values()
    return {each.name.removeprefix(PREFIX): each for each in made if isinstance(each, Family)}


def test_the_tables_name_every_metric_with_type_and_labels(families):
    rows = {name: (kind, tuple(labels.strip().split(", "))) for name, kind, labels in ROW.findall(PAGE.read_text())}
    assert rows == {name: (family.type, family.labels or ("",)) for name, family in families.items()}


def test_the_queries_use_only_metrics_that_exist(families):
    used = re.findall(rf"{PREFIX}(\w+)", "\n".join(re.findall(r"```promql\n(.*?)```", PAGE.read_text(), re.DOTALL)))
    assert used
    assert {name.removesuffix("_bucket") for name in used} <= set(families)
