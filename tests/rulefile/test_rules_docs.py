"""The reference shows only what works."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog.platforms.facts import OURS
from watchdog.rulefile import load_rules
from watchdog.rulefile.reach import Surroundings
from watchdog.rulefile.reader import FILE_KEYS, LIMIT_KEYS, RULE_KEYS

MATCH_KEYS = Surroundings(OURS).keys
DOC = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
EXAMPLES = [part.split("```")[0] for part in DOC.split("```yaml\n")[1:]]


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_rule_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    assert load_rules(file, platforms=OURS).warnings == ()


@pytest.mark.parametrize("key", [*FILE_KEYS, *RULE_KEYS, *MATCH_KEYS, *LIMIT_KEYS])
def test_every_key_is_explained(key: str) -> None:
    assert f"| `{key}` |" in DOC
