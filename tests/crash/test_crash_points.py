"""Killed at the worst moments: each abort is resolved by looking at the run, with no request too many."""

from __future__ import annotations

from typing import Any

import pytest

RULES = """
rules:
  - {name: cap, match: {platform: apify, actor: [compass/*, movable/*]}, limits: {max_cost_usd: 5}}
  - {name: resumable, match: {platform: apify, actor: acme/*}, limits: {max_cost_usd: 5}, resurrect: true}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 5}}
"""
RAISED = (
    RULES.replace("[compass/*, movable/*]", "compass/*")
    + """
  - {name: movable, match: {platform: apify, actor: movable/*}, limits: {max_cost_usd: 5000}}
"""
)


def over(account: Any, owner: str = "compass", **details: Any) -> Any:
    """A run that is over its limit from the start, and costs 1 more a second. The platform would stop it in the end,
    so that an abort saves something."""
    if account.platform == "lobstr":
        details = {"results_total": 1000, "ends_after": 100.0, **details}
        return account.start_run(account.add_squid(owner), curve=lambda ran_s: 6 + ran_s, started_ago=10.0, **details)
    actor = account.add_actor(owner, "scraper")
    return account.start_run(actor, curve=lambda ran_s: 6 + ran_s, timeout_secs=600, **details)


def test_every_point_of_an_abort_survives_a_kill(site: Any) -> None:
    """One kill with an abort at each of the points, then a restart."""
    site.rules(RULES)
    site.second.abort_takes_s = 8.0
    first = site.daemon()

    # Request answered, run not over yet; in the graceful window; proof seen, figures not settled.
    stopping, graceful, proven = over(site.second), over(site.apify, "acme", graceful_takes=8.0), over(site.apify)
    # Request received, answer never read: without effect, and with.
    hangs, squid_hangs = over(site.apify), over(site.lobstr, "one")
    works, squid_works = over(site.apify), over(site.lobstr, "two")
    for run in (hangs, squid_hangs):
        site.fault("hang", "abort", run_id=run.id, times=1)
    for run in (works, squid_works):
        site.fault("slow_drip", "abort", run_id=run.id, times=1, drip_bytes=1, drip_pause_s=0.2)
    site.wait_for_state(stopping, "requested")
    site.second.abort_takes_s = 0.2
    # Refused for now; and, as the platform is to be left alone for a minute, one whose intent is stored but whose
    # request has not left.
    postponed = over(site.second)
    throttle = site.fault("rate_limited", "abort", run_id=postponed.id, retry_after_s=60, times=1)
    site.wait_for(lambda: site.row_of(postponed)["void_requests"] == 1, "a 429")
    unsent = over(site.second)
    site.wait_for(lambda: site.row_of(unsent)["requests"] == 1, "an intent")
    site.wait_for_state(proven, "confirmed")
    site.wait_for_state(graceful, "requested")
    waiting = (hangs, works, squid_hangs, squid_works)
    site.wait_for(lambda: all(len(site.posts(run)) == 1 for run in waiting), "the requests whose answers hang")
    runs = (stopping, postponed, unsent, proven, graceful, *waiting)
    states = {run: site.row_of(run) for run in runs}
    first.kill()

    assert throttle.hits == 1
    assert not site.posts(unsent)
    assert {run: row["state"] for run, row in states.items()} == {
        stopping: "requested",
        postponed: "intended",
        unsent: "intended",
        proven: "confirmed",
        graceful: "requested",
        **dict.fromkeys(waiting, "intended"),
    }
    assert all(row["requests"] == 1 and not row["complete"] for row in states.values())

    second = site.daemon(swept=False)
    for run in runs:
        site.wait_for_state(run, "confirmed")
    site.wait_for(lambda: all(row["complete"] for row in site.rows()), "settled figures")

    twice = (postponed, hangs, squid_hangs)
    assert {run: len(site.posts(run)) for run in runs} == {run: 2 if run in twice else 1 for run in runs}
    assert [each.query for each in site.posts(graceful)] == [{"gracefully": "true"}]
    for run in runs:
        row = site.row_of(run)
        assert row["id"] == states[run]["id"]
        assert row["used_at_request"] == states[run]["used_at_request"]
        assert row["requests"] == (2 if run in (*twice, unsent) else 1)
    truths = {truth.id: truth for truth in site.sim.truth()}
    for each in site.assert_books_agree(second):
        truth = truths[each["run"]]
        assert truth.aborted_by_api
        figure, used = (
            ("credits", truth.usage.credits) if truth.platform == "lobstr" else ("cost_usd", truth.usage.cost_usd)
        )
        assert each["final"][figure] == pytest.approx(used, abs=0.01)
        assert each["basis"] == ("progress" if truth.platform == "lobstr" else "cap")
        assert each["saved_usd"] > 0
    before = second.metrics()
    second.kill()

    third = site.daemon()
    site.assert_books_agree(third)
    for name in ("abort_seconds_count", "abort_seconds_sum", "overshoot_ratio_count", "overshoot_ratio_sum"):
        assert third.counted(name) == pytest.approx(before.sum(name)), name
    assert {run: len(site.posts(run)) for run in runs} == {run: 2 if run in twice else 1 for run in runs}
    for run in (proven, works, graceful):
        assert "cap" in run.status_message or "resumable" in run.status_message


def test_an_intent_is_carried_out_only_if_it_is_still_wanted(site: Any) -> None:
    """A limit raised and a hold added while the daemon was down: what had no effect yet is taken back, what had (or
    may still have) is followed to its proof."""
    site.rules(RULES)
    first = site.daemon()
    worked, late = over(site.apify, "movable"), over(site.second, "movable")
    site.fault("slow_drip", "abort", run_id=worked.id, times=1, drip_bytes=1, drip_pause_s=0.2)
    site.fault("delay", "abort", run_id=late.id, times=1, delay_s=10.0)
    site.wait_for(lambda: late.abort_requests and site.posts(worked), "the two requests")
    raised, held, still = over(site.apify, "movable"), over(site.lobstr), over(site.second)
    for run in (raised, held, still):
        site.fault("rate_limited", "abort", run_id=run.id, times=1, retry_after_s=60)
    undone = (raised, held, still)
    site.wait_for(lambda: all(site.row_of(run)["void_requests"] == 1 for run in undone), "three refusals for now")
    first.kill()
    assert late.is_active()
    assert not worked.is_active()

    site.rules(RAISED)
    assert "no daemon is running" in site.say("hold", held.id, "--for", "1h", "--reason", "month end")
    second = site.daemon(swept=False)
    for run in (raised, held):
        row = site.wait_for_state(run, "withdrawn")
        assert row["complete"]
    for run in (worked, late, still):
        site.wait_for_state(run, "confirmed")
    site.wait_for(lambda: second.counted("breaches_total", response="held"), "the breach that is held")
    assert {run: run.abort_requests for run in (worked, late, raised, held)} == dict.fromkeys(
        (worked, late, raised, held), 1
    )
    assert still.abort_requests == 2
    assert raised.is_active()
    assert held.is_active()
    site.assert_books_agree(second)

    # Taken back is not given up: once nothing holds it, it is stopped without delay, under a record of its own.
    site.say("release", held.id)
    site.wait_for(lambda: not held.is_active(), "the end of the run that is held no longer")
    site.wait_for(lambda: [row["state"] for row in site.rows_of(held)] == ["withdrawn", "confirmed"], "its proof")
    assert held.abort_requests == 2
    assert raised.abort_requests == 1
    site.assert_books_agree(second)


def test_dry_run_takes_back_what_had_no_effect(site: Any) -> None:
    site.rules(RULES)
    first = site.daemon()
    worked = over(site.apify)
    site.fault("slow_drip", "abort", run_id=worked.id, times=1, drip_bytes=1, drip_pause_s=0.2)
    site.wait_for(lambda: site.posts(worked), "the first request")
    undone = over(site.apify)
    site.fault("rate_limited", "abort", run_id=undone.id, times=1, retry_after_s=60)
    site.wait_for(lambda: site.row_of(undone)["void_requests"] == 1, "a refusal for now")
    first.kill()

    site.configure("dry_run: true")
    second = site.daemon(swept=False)
    site.wait_for_state(undone, "withdrawn")
    site.wait_for_state(worked, "confirmed")
    site.wait_for(lambda: second.counted("breaches_total", response="dry_run"), "the breach that is only told")
    assert undone.abort_requests == worked.abort_requests == 1
    second.kill()

    site.configure()
    third = site.daemon(swept=False)
    site.wait_for(
        lambda: [row["state"] for row in site.rows_of(undone)] == ["withdrawn", "confirmed"], "the second abort"
    )
    assert (undone.abort_requests, worked.abort_requests) == (2, 1)
    site.assert_books_agree(third)
