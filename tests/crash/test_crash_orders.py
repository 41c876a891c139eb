"""What people order beside the daemon: it obeys at its next decision, and `abort` works without it as well."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

RULES = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 5}}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 5}}
"""


class Spender:
    """A run that uses what the test says."""

    def __init__(self, account: Any, name: str, used: float = 1.0) -> None:
        self.used = used
        if account.platform == "lobstr":
            self.run = account.start_run(account.add_squid(name), curve=self._curve)
        else:
            self.run = account.start_run(
                account.add_actor("compass", name), curve=self._curve, timeout_secs=600, graceful_takes=1.0
            )

    def _curve(self, ran_s: float) -> float:
        return self.used

    @property
    def id(self) -> str:
        return str(self.run.id)

    @property
    def is_active(self) -> bool:
        return bool(self.run.is_active())


def together(site: Any, *orders: tuple[str, ...]) -> list[str]:
    """Run these commands at the same time; each must succeed."""
    processes: list[subprocess.Popen[str]] = [site.begin(*order) for order in orders]
    printed = [process.communicate(timeout=90)[0] for process in processes]
    for order, process, text in zip(orders, processes, printed, strict=True):
        assert process.returncode == 0, f"{order}: {text}"
    return printed


@contextmanager
def reading_history(site: Any) -> Iterator[list[int]]:
    """`history` over and over meanwhile; yields how many records each showed."""
    stop, counts, failures = threading.Event(), list[int](), list[BaseException]()

    def read() -> None:
        try:
            while not stop.is_set():
                counts.append(len(site.history()["aborts"]))
                stop.wait(0.3)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join(30)
    assert not failures, failures


def test_orders_take_effect_without_a_restart(site: Any) -> None:
    site.rules(RULES)
    daemon = site.daemon()
    held, protected, flagged = (Spender(site.apify, name) for name in ("held", "protected", "flagged"))
    squid, paused = Spender(site.lobstr, "squid"), Spender(site.second, "paused")
    by_hand, gently = Spender(site.second, "by-hand"), Spender(site.apify, "gently")
    printed = together(
        site,
        ("hold", held.id, "--for", "1h", "--reason", "month end"),
        ("hold", squid.id, "--for", "1h"),
        ("protect", protected.id, "--reason", "signed off"),
        ("resurrect", flagged.id),
        ("pause", "--for", "1h", "--account", "second"),
    )
    assert not any("no daemon" in text for text in printed), printed
    kinds = [each["kind"] for each in json.loads(site.say("holds", "--json"))]
    assert sorted(kinds) == ["hold", "hold", "pause", "protect", "resurrect"]

    for each in (held, protected, flagged, squid, paused):
        each.used = 9.0
    site.wait_for(lambda: not flagged.is_active, "the end of the flagged run")
    assert [each.query for each in site.posts(flagged.run)] == [{"gracefully": "true"}]
    for response, account, count in (("held", "main", 1), ("protected", "main", 1), ("held", "growth", 1)):
        site.wait_for(
            lambda response=response, account=account, count=count: (
                daemon.counted("breaches_total", response=response, account=account) == count
            ),
            f"the breach that is {response} on {account}",
        )
    site.wait_for(lambda: daemon.counted("breaches_total", response="held", account="second") == 1, "the pause")
    assert all(each.is_active for each in (held, protected, squid, paused))

    # A person's order goes before a pause, which is about what the daemon decides by itself.
    with reading_history(site) as counts:
        refused, *said = (
            site.begin("run"),
            site.begin("abort", by_hand.id, "--reason", "not needed"),
            site.begin("abort", gently.id, "--graceful", "--account", "main"),
        )
        for process in said:
            assert "confirmed" in process.communicate(timeout=90)[0]
            assert process.returncode == 0
        together(site, ("release", held.id), ("release", squid.id), ("release", protected.id), ("resume",))
        stopped = (held, protected, squid, paused)
        site.wait_for(lambda: not any(each.is_active for each in stopped), "the end of those that nothing holds")
        for each in stopped:
            site.wait_for_state(each.run, "confirmed")
    assert counts == sorted(counts)
    text = refused.communicate(timeout=90)[0]
    assert refused.returncode == 1
    assert text.count("\n") == 1, text
    assert f"pid {daemon.pid}" in text
    assert daemon.process.poll() is None

    assert [each.query for each in site.posts(gently.run)] == [{"gracefully": "true"}]
    record = site.row_of(by_hand.run)
    assert (record["rule"], record["limit"], record["reason"]) == ("manual", None, "stopped by hand: not needed")
    everyone = (held, protected, flagged, squid, paused, by_hand, gently)
    assert {each.id: each.run.abort_requests for each in everyone} == {each.id: 1 for each in everyone}
    assert daemon.counted("aborts_total", rule="manual", outcome="confirmed") == 2
    site.assert_books_agree(daemon)

    # A pause ends by itself, and nothing has to be read or said for that.
    later = Spender(site.second, "later")
    said = site.say("pause", "--for", "8s")
    # As it was said, and not asked for afterwards: on a slow machine it may be over by then.
    (until,) = (datetime.fromisoformat(f"{each}+00:00") for each in re.findall(r"until (\S+ \S+) UTC", said))
    later.used = 9.0
    site.wait_for(lambda: not later.is_active, "the end of the pause")
    assert later.run.truth().effective_abort_at >= until


def test_an_abort_by_hand_without_a_daemon(site: Any) -> None:
    """What the daemon had begun when it was killed goes on under its own record; a hold does not stand in the way of
    one who asks."""
    site.rules(RULES)
    daemon = site.daemon()
    begun, other = Spender(site.apify, "begun", 9.0), Spender(site.lobstr, "other")
    site.fault("rate_limited", "abort", run_id=begun.id, times=1, retry_after_s=60)
    site.wait_for(lambda: site.row_of(begun.run)["void_requests"] == 1, "an intent without effect")
    daemon.kill()
    site.say("hold", begun.id, "--for", "1h")

    said = site.call("abort", "nosuchrun")
    assert said.returncode == 1
    assert "no account has a run nosuchrun" in said.stdout
    said = site.call("abort", begun.id, "--wait", "6")
    assert said.returncode == 0, said
    assert "confirmed" in said.stdout
    said = site.call("abort", other.id, "--wait", "4", "--reason", "mistake")
    assert said.returncode == 0, said
    assert "confirmed" in said.stdout
    assert not begun.is_active
    assert not other.is_active

    daemon = site.daemon()
    assert (site.row_of(begun.run)["rule"], site.row_of(other.run)["rule"]) == ("cap", "manual")
    assert (begun.run.abort_requests, other.run.abort_requests) == (2, 1)
    site.assert_books_agree(daemon)
