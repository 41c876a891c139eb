"""One file, one mistake: what users read is a contract. The expected messages stand on top of each file."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS
from watchdog.rulefile import AccountView, load_rules

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
PREFIX = "# expect: "
ACCOUNTS = (
    AccountView("apify-main", "apify"),
    AccountView("lobstr-main", "lobstr"),
    AccountView("lobstr-paid", "lobstr", has_usd_per_credit=True),
)


def expected_messages(file: Path) -> list[str]:
    lines = file.read_text().splitlines()
    return [line.removeprefix(PREFIX).replace("{file}", str(file)) for line in lines if line.startswith(PREFIX)]


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_every_mistake_is_named_where_it_stands(file: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_rules(file, platforms=OURS, accounts=ACCOUNTS)
    assert [str(problem) for problem in caught.value.problems] == expected_messages(file)


def test_there_are_enough_of_them_and_each_expects_something() -> None:
    assert len(BAD) >= 35
    assert all(expected_messages(file) for file in BAD)


def test_all_mistakes_of_all_files_come_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_rules(BAD[0].parent, platforms=OURS, accounts=ACCOUNTS)
    blamed = {problem.file for problem in caught.value.problems}
    assert blamed == {str(file) for file in BAD if file.stem != "no-rules"}
