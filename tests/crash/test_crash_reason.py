"""The reason of an abort on the run itself, where its owner looks; it changes nothing else."""

from __future__ import annotations

from typing import Any


def over(account: Any) -> Any:
    actor = account.add_actor("compass", "scraper")
    return account.start_run(actor, curve=lambda ran_s: 6 + ran_s, timeout_secs=600)


def test_the_reason_is_written_onto_the_run(site: Any) -> None:
    site.configure(of_apify=", write_reason: false")
    daemon = site.daemon()
    silent, told, broken, hanging = over(site.apify), over(site.second), over(site.second), over(site.second)
    site.fault("status", "update", run_id=broken.id, status=500)
    site.fault("hang", "update", run_id=hanging.id)
    runs = (silent, told, broken, hanging)
    for run in runs:
        site.wait_for_state(run, "confirmed")
    site.wait_for(lambda: told.status_message, "the reason")
    assert "rule 'cap'" in told.status_message
    assert "$5.00" in told.status_message
    assert told.is_status_message_terminal
    site.wait_for(lambda: broken.id in [line.get("run_id") for line in site.logged("trouble")], "the log of a failure")
    # None of them holds up the books.
    site.wait_for(lambda: all(row["complete"] for row in site.rows()), "settled figures", 14)
    assert [run.status_message for run in (silent, broken, hanging)] == [None, None, None]
    assert not [each for each in site.sim.requests if each.endpoint == "update" and silent.id in each.path]
    assert all(run.abort_requests == 1 for run in runs)
    site.assert_books_agree(daemon)


def test_a_reason_that_a_crash_left_unwritten_is_written_after_it(site: Any) -> None:
    site.daemon()
    run = over(site.apify)
    hang = site.fault("hang", "update", run_id=run.id, times=1)
    site.wait_for_state(run, "confirmed")
    site.wait_for(lambda: hang.hits, "the first try")
    site.kill_daemons()
    site.daemon(swept=False)
    site.wait_for(lambda: run.status_message, "the reason")
    assert run.abort_requests == 1
