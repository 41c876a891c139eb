"""docs/metrics.md says what the catalogue says: every metric that there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from watchdog.domain.sums import AbortSums
from watchdog.telemetry import catalogue
from watchdog.telemetry.catalogue import METRICS, PREFIX, SAVED, TAKEN_BACK, Metric

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


class Row(NamedTuple):
    """A row of one of its tables."""

    kind: str
    labels: tuple[str, ...]
    meaning: str


ROWS = {
    name: Row(kind, tuple(filter(None, labels.strip().split(", "))), meaning)
    for name, kind, labels, meaning in re.findall(r"(?m)^\| `(\w+)` \| (\w+)[^|]*\| ([^|]*)\| (.*) \|$", PAGE)
}


def test_the_tables_name_every_metric_and_no_other() -> None:
    assert sorted(ROWS) == sorted(metric.name for metric in METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_row_has_type_labels_and_help_text_of_its_metric(metric: Metric) -> None:
    row = ROWS[metric.name]
    assert (row.kind, row.labels) == (metric.kind.type, metric.labels)
    assert row.meaning.startswith(metric.help_text)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_page_has_every_value_of_a_label(metric: Metric) -> None:
    for label, values in metric.values.items():
        assert label in metric.labels
        for value in values:
            assert f"`{value}`" in PAGE, (label, value)


def test_the_queries_use_only_metrics_that_exist() -> None:
    used = re.findall(rf"{PREFIX}(\w+)", "\n".join(re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL)))
    assert used
    assert {name.removesuffix("_bucket") for name in used} <= set(ROWS)


def test_everything_that_is_declared_is_in_the_table() -> None:
    declared = {each for each in vars(catalogue).values() if isinstance(each, Metric)}
    assert declared | {*SAVED.values(), *TAKEN_BACK.values()} == set(METRICS)


def test_whatever_can_be_saved_has_its_metrics() -> None:
    assert (SAVED.keys(), TAKEN_BACK.keys()) == (AbortSums().saved.keys(), AbortSums().taken_back.keys())
