"""Armed, dry run, paused: in words, for one account and for all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from watchdog.domain.arming import Arming, summary
from watchdog.domain.override import Override, OverrideKind, Overrides

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
PAUSED = Arming(pause="1", until=NOON, reason="release")


@pytest.mark.parametrize(
    ("arming", "is_armed", "words"),
    [
        (Arming(), True, "armed"),
        (Arming(dry_run=True), False, "dry run"),
        (PAUSED, False, "paused until 2026-11-22 12:00 UTC: release"),
        (Arming(pause="1"), False, "paused"),
        (Arming(True, "1", NOON), False, "dry run"),
    ],
)
def test_words(arming: Arming, is_armed: bool, words: str) -> None:
    assert (arming.is_armed, str(arming)) == (is_armed, words)


def test_summary() -> None:
    assert summary({}) == "armed"
    assert summary({"a": Arming(), "b": Arming()}) == "armed"
    assert summary({"a": Arming(True), "b": Arming(True)}) == "dry run"
    mixed = {"a": Arming(), "b": PAUSED, "c": Arming()}
    assert summary(mixed) == "armed on a, c; paused until 2026-11-22 12:00 UTC: release on b"


def test_the_pause_that_lasts_longest_counts() -> None:
    def pause(key: str, hours: int | None, account: str | None = None) -> Override:
        until = None if hours is None else NOON + timedelta(hours=hours)
        return Override(key, OverrideKind.PAUSE, NOON, account=account, until=until)

    hold = Override("hold", OverrideKind.HOLD, NOON, "r", until=NOON + timedelta(days=9))
    pauses = Overrides((pause("over", -1), pause("short", 1), pause("long", 2, "a"), pause("other", 3, "b"), hold))
    found = {account: pauses.pause_of(account, NOON) for account in "abc"}
    assert {account: each.id for account, each in found.items() if each} == {"a": "long", "b": "other", "c": "short"}
    for_ever = Overrides((pause("short", 1), pause("ever", None))).pause_of("a", NOON)
    assert for_ever is not None
    assert for_ever.id == "ever"
    assert Overrides((hold,)).pause_of("a", NOON) is None
