"""What windows can follow, and what they cannot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from watchdog.domain.window import Days, Every, Months, Rolling, Weeks, Years

UTC = ZoneInfo("UTC")
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Weeks(UTC, 7), "weekday 7"),
        (lambda: Weeks(UTC, -1), "weekday -1"),
        (lambda: Months(UTC, 0), "day 0: not from 1 to 31"),
        (lambda: Months(UTC, 32), "day 32"),
        (lambda: Years(UTC, 4, 31), "month 4, day 31: there is no such date"),
        (lambda: Years(UTC, 13, 1), "month 13"),
        (lambda: Every(UTC, MINUTE - timedelta.resolution, datetime(2026, 1, 1)), "shorter than a minute"),
        (lambda: Rolling(timedelta()), "has no length"),
    ],
)
def test_what_cannot_be(make: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_what_can_be() -> None:
    assert Weeks(UTC, 6).weekday == 6
    assert Months(UTC, 31).day == 31
    assert Years(UTC, 2, 29).day == 29
    assert Every(UTC, MINUTE, datetime(2026, 1, 1)).length == MINUTE
    assert Days(UTC) == Days(UTC) != Days(ZoneInfo("Etc/UTC"))
