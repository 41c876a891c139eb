"""Armed, dry run or paused: said by the log, the pages, the health check and the metrics of the real daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def told(site: Any, daemon: Any) -> tuple[str, str, str]:
    """What /healthz, /readyz and the health check say."""
    checked = site.call("healthcheck", "--ready")
    assert checked.returncode == 0, checked.stderr
    return daemon.get("/healthz")[1], daemon.ready()["arming"], checked.stdout.strip().partition("200: ")[2]


def armed(daemon: Any) -> dict[str, float]:
    return {account: daemon.counted("armed", account=account) for account in ("main", "growth")}


@pytest.mark.parametrize(
    ("arguments", "words", "value", "event"),
    [
        ((), "armed", 1, "armed: what breaks a rule is aborted"),
        (("--dry-run",), "dry run", 0, "not armed: nothing is aborted"),
    ],
)
def test_from_the_start(site: Any, arguments: Any, words: str, value: float, event: str) -> None:
    with site.daemon(*arguments) as daemon:
        daemon.wait_until_ready()
        assert told(site, daemon) == (f"ok: {words}", words, words)
        assert daemon.ready()["armed"] is bool(value)
        assert [check["detail"].rpartition("; ")[2] for check in daemon.ready()["checks"][1:]] == [words, words]
        assert armed(daemon) == {"main": value, "growth": value}
        (line,) = daemon.logged(event)
        assert line["accounts"] == ["main", "growth"]


def test_a_pause_of_one_account_begins_and_ends(site: Any, wait_for: Callable[..., Any]) -> None:
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        site.call("pause", "--for", "1h", "--account", "growth", "--reason", "month's end")
        wait_for(lambda: armed(daemon) == {"main": 1, "growth": 0}, "the pause")
        healthz, arming, checked = told(site, daemon)
        assert healthz == f"ok: {arming}"
        assert checked == arming
        assert arming.startswith("armed on main; paused until 20")
        assert arming.endswith(" UTC: month's end on growth")
        (line,) = daemon.logged("not armed: nothing is aborted")
        assert (line["level"], line["accounts"]) == ("warning", ["growth"])
        assert line["arming"].startswith("paused until ")
        site.call("resume")
        wait_for(lambda: armed(daemon) == {"main": 1, "growth": 1}, "the end of the pause")
        first, second = daemon.logged("armed: what breaks a rule is aborted")
        assert (first["accounts"], second["accounts"]) == (["main", "growth"], ["growth"])
        assert told(site, daemon)[1] == "armed"


def test_a_pause_from_before_the_start_is_told_first_of_all(site: Any) -> None:
    site.call("pause", "--for", "1h")
    with site.daemon() as daemon:
        daemon.wait_until_ready()
        assert told(site, daemon)[1].startswith("paused until ")
        assert not daemon.logged("armed: what breaks a rule is aborted")
        assert len(daemon.logged("not armed: nothing is aborted")) == 1


def test_check_says_it_too(site: Any) -> None:
    assert "armed: what breaks a rule is aborted\n" in site.call("check").stdout
    assert "dry run: nothing is aborted\n" in site.call("check", BUDGET_WATCHDOG_DRY_RUN="true").stdout
