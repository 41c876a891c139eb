"""A scene to play with: runs of every kind on both platforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from watchdog.simulated.account import SimRun
from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_pricing import PayPerEvent, PayPerResult
from watchdog.simulated.lobstr import LobstrAccount
from watchdog.simulated.server import SimulatedPlatforms

APIFY_TOKEN: Final = "apify_api_demo"  # noqa: S105  # made up
LOBSTR_TOKEN: Final = "lobstr_demo"  # noqa: S105  # made up
USERNAME: Final = "janedoe"

_HOUR_S: Final = 3600.0


class Prop(NamedTuple):
    """One thing of the scene: what it is, its id, and what is to be known of it."""

    kind: str
    id: str
    what: str


class Scene(NamedTuple):
    apify: list[Prop]
    lobstr: list[Prop]


def set_up(platforms: SimulatedPlatforms) -> Scene:
    """Fill the accounts of the two demo tokens."""
    apify, lobstr = platforms.apify(APIFY_TOKEN, USERNAME), platforms.lobstr(LOBSTR_TOKEN)
    apify.starts_as = {"ready_for": 2.0}
    return Scene(list(_apify(apify)), list(_lobstr(lobstr)))


def _apify(account: ApifyAccount) -> Iterator[Prop]:
    own = account.add_actor(USERNAME, "maps")
    others = account.add_actor("compass", "crawler-google-places")
    by_event = account.add_actor("apify", "instagram-scraper")
    by_result = account.add_actor("clockworks", "tiktok-scraper")
    task = account.add_task(own, "berlin")
    schedule = account.add_schedule("nightly", task=task, cron="0 3 * * *")
    webhook = account.add_webhook("https://example.com/hook", "ACTOR.RUN.ABORTED", actor=own)
    yield _run(account.start_run(own, ready_for=_HOUR_S), "waits in READY for an hour")
    yield _run(account.start_run(own, usd_per_hour=6, memory_mbytes=4096, started_ago=600), "$6 an hour, 4 GB")
    yield _run(
        account.start_run(task=task, schedule=schedule, usd_per_hour=1.5, started_ago=900, timeout_secs=14_400),
        "of task berlin, started by schedule nightly; timeout 4 h",
    )
    yield _run(account.start_run(others, usd_per_hour=3, started_ago=1800, cost_in_list=False), "no cost in lists")
    events = PayPerEvent(events={"apify-actor-start": 0.05, "result": 0.002})
    yield _run(account.start_run(by_event, pricing=events, results_per_hour=2000, started_ago=600), "pays by event")
    pricing = PayPerResult(price=0.004)
    yield _run(account.start_run(by_result, pricing=pricing, cost_hidden=True, started_ago=600), "pays by result")
    stopped = account.start_run(own, started_ago=2 * _HOUR_S, stopped_for=_HOUR_S)
    yield _run(stopped, "resurrected; startedAt is two hours ago, it ran for one")
    yield _run(account.start_run(own, started_ago=7200, ends_after=_HOUR_S), "finished, can be resurrected")
    failed = account.start_run(own, started_ago=7200, ends_after=600, ends_as="FAILED", max_total_charge_usd=5)
    yield _run(failed, "finished, can be resurrected")
    yield Prop("Actor", own, f"{USERNAME}/maps")
    yield Prop("task", task, f"{USERNAME}/berlin")
    yield Prop("schedule", schedule, "nightly; pause it with PUT isEnabled false")
    yield Prop("webhook", webhook, "is never called")


def _lobstr(account: LobstrAccount) -> Iterator[Prop]:
    running = account.add_squid("Restaurants Paris")
    yield Prop("squid", running, "Restaurants Paris")
    yield _run(account.start_run(running, credits_per_hour=240, started_ago=600), "240 credits an hour")
    waiting = account.add_squid("Hotels Rome")
    yield Prop("squid", waiting, "Hotels Rome")
    yield _run(account.start_run(waiting, pending_for=_HOUR_S), "waits for an hour")
    ended = account.add_squid("Jobs Berlin", crawler="LinkedIn Jobs Search Export")
    yield Prop("squid", ended, "Jobs Berlin")
    yield _run(account.start_run(ended, ends_after=600, started_ago=_HOUR_S), "has ended")
    yield Prop("squid", account.add_squid("Nothing yet"), "idle, has never run")


def _run(run: SimRun, what: str) -> Prop:
    return Prop(run.status(), run.id, f"{run.source}: {what}")
