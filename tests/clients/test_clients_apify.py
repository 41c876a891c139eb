"""Apify's official clients take the simulated Apify for the real one: their own calls, in processes of their own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from watchdog.simulated import ApifyAccount, PayPerEvent, SimClock, SimulatedPlatforms

TOKEN = "apify_api_clients"
SCRIPTS = Path(__file__).parent / "scripts"
Answers = dict[str, Any]


@pytest.fixture
def platforms() -> Iterator[SimulatedPlatforms]:
    clock = SimClock(speed=20, start=datetime(2026, 3, 5, 12, 0, tzinfo=UTC))
    with SimulatedPlatforms(clock).serve_in_thread() as serving:
        yield serving


@pytest.fixture
def account(platforms: SimulatedPlatforms) -> ApifyAccount:
    account = platforms.apify(TOKEN, username="janedoe")
    account.starts_as = {"ready_for": 0.0}
    return account


@pytest.fixture
def world(platforms: SimulatedPlatforms, account: ApifyAccount) -> dict[str, str]:
    """Things of every kind; ids by name."""
    actor, other = account.add_actor(), account.add_actor("compass", "other")
    hidden = account.add_actor("somebody", "secret")
    account.refuse(hidden)
    task = account.add_task(actor, "berlin")
    schedule = account.add_schedule("nightly", task=task)
    by_event = PayPerEvent(events={"apify-actor-start": 0.1, "result": 0.01})
    running = account.start_run(task=task, schedule=schedule, max_total_charge_usd=5)
    return {
        "url": platforms.url,
        "token": TOKEN,
        "actor": actor,
        "other_actor": other,
        "hidden_actor": hidden,
        "task": task,
        "schedule": schedule,
        "webhook": account.add_webhook("https://example.com/", "ACTOR.RUN.ABORTED", actor=actor),
        "running": running.id,
        "dataset": running.short.default_dataset_id,
        "ended": account.start_run(actor, started_ago=600, ends_after=60).id,
        "deletable": account.start_run(other, started_ago=600, ends_after=60).id,
        "ending": account.start_run(actor, ends_after=60).id,
        "by_event": account.start_run(other, pricing=by_event, results_per_hour=0).id,
    }


def no_route_was_missing(platforms: SimulatedPlatforms) -> bool:
    lost = [f"{seen.method} {seen.path}" for seen in platforms.requests if seen.endpoint is None]
    assert not lost, f"the simulated Apify does not know {lost}"
    return True


@pytest.fixture
def python_answers(
    client: Callable[[str], Path], run: Any, platforms: SimulatedPlatforms, world: dict[str, str]
) -> Answers:
    answers: Answers = run(
        client("apify-python") / "bin" / "python", SCRIPTS / "apify_python.py", json.dumps(world)
    ).json()
    return answers


#: What the Python client told -> where in the answer -> what is there.
PYTHON_ANSWERS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("runs", ("count",), 2),
    ("runs-by-status", ("items", 0, "status"), "RUNNING"),
    ("runs-of-task", ("total",), 1),
    ("run", ("meta", "origin"), "SCHEDULER"),
    ("run-unknown", (), None),
    ("last-run", ("status",), "SUCCEEDED"),
    ("last-run-of-task", ("options", "maxTotalChargeUsd"), 5),
    ("items-of-run", (), 10),
    ("status-message", ("statusMessage",), "over its budget"),
    ("long-status-message", ("statusMessage",), "x" * 500),
    ("start", ("options", "maxItems"), 7),
    ("start", ("options", "memoryMbytes"), 512),
    ("start", ("options", "maxTotalChargeUsd"), 2),
    ("start", ("options", "timeoutSecs"), 99),
    ("start", ("options", "build"), "beta"),
    ("start", ("options", "restartOnError"), True),
    ("start-task", ("status",), "RUNNING"),
    ("call", ("status",), "RUNNING"),
    ("call-with-log", ("status",), "RUNNING"),
    ("wait", ("status",), "RUNNING"),
    ("wait-to-the-end", ("status",), "SUCCEEDED"),
    ("metamorph", ("stats", "metamorph"), 1),
    ("reboot", ("stats", "rebootCount"), 1),
    ("charged", ("chargedEventCounts",), {"apify-actor-start": 1, "result": 3}),
    ("abort-gracefully", ("status",), "ABORTING"),
    ("abort-ended", ("status",), "SUCCEEDED"),
    ("resurrect", ("status",), "READY"),
    ("resurrect", ("options", "memoryMbytes"), 2048),
    ("deleted", (), None),
    ("actors", ("total",), 2),
    ("my-actors", ("total",), 0),
    ("actor-by-name", ("username",), "compass"),
    ("actor-unknown", (), None),
    ("actor-renamed", ("name",), "renamed"),
    ("input-valid", (), True),
    ("store", ("items", 0, "name"), "crawler-google-places"),
    ("task-new", ("options", "memoryMbytes"), 256),
    ("task-renamed", ("name",), "bremen"),
    ("schedule", ("isEnabled",), True),
    ("schedule-paused", ("isEnabled",), False),
    ("schedule-log", (0, "level"), "INFO"),
    ("schedule-new", ("actions", 0, "type"), "RUN_ACTOR"),
    ("webhooks-of-actor", ("total",), 1),
    ("webhook-changed", ("eventTypes",), ["ACTOR.RUN.FAILED"]),
    ("other-user", ("username",), "compass"),
    ("me", ("username",), "janedoe"),
    ("limits", ("limits", "maxMonthlyUsageUsd"), 300),
    ("limits-changed", ("limits", "maxMonthlyUsageUsd"), 500),
    ("usage", ("usageCycle", "startAt"), "2026-03-01T00:00:00Z"),
]

PYTHON_REFUSALS = {
    "start-unknown": [404, "record-not-found"],
    "start-odd-memory": [400, "invalid-input"],
    "charge-other": [400, "cannot-charge-non-pay-per-event-actor"],
    "abort-unknown": [404, "record-not-found"],
    "resurrect-running": [400, "invalid-input"],
    "delete-running": [400, "cannot-remove-running-run"],
    "actor-hidden": [403, "insufficient-permissions"],
    "actor-others": [403, "insufficient-permissions"],
    "build-new": [403, "insufficient-permissions"],
    "versions": [403, "insufficient-permissions"],
    "schedule-of-unknown": [404, "schedule-actor-not-found"],
    "webhook-test": [403, "insufficient-permissions"],
    "wrong-token": [401, "invalid-token"],
}


def test_the_python_client(python_answers: Answers, platforms: SimulatedPlatforms) -> None:
    seen = [(name, where, inside(python_answers[name].get("answer"), where)) for name, where, _ in PYTHON_ANSWERS]
    assert seen == PYTHON_ANSWERS
    refused = {name: told["refused"] for name, told in python_answers.items() if "refused" in told}
    assert refused == PYTHON_REFUSALS
    assert no_route_was_missing(platforms)


def inside(value: Any, where: tuple[str | int, ...]) -> Any:
    for step in where:
        value = value[step]
    return value


@pytest.fixture
def node_answers(client: Callable[[str], Path], run: Any, world: dict[str, str]) -> Answers:
    answers: Answers = run("node", SCRIPTS / "apify_node.mjs", client("apify-node"), json.dumps(world)).json()
    return answers


NODE_ANSWERS: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("runs", ("count",), 2),
    ("runs-of-task", ("total",), 1),
    ("run-waited", ("status",), "RUNNING"),
    ("run-unknown", (), None),
    ("last-run", ("status",), "SUCCEEDED"),
    ("last-run-of-task", ("meta", "origin"), "SCHEDULER"),
    ("items", ("total",), 10),
    ("datasets", ("total",), 5),
    ("status-message", ("statusMessage",), "over its budget"),
    ("start", ("options", "maxItems"), 7),
    ("start", ("options", "timeoutSecs"), 99),
    ("start-waited", ("status",), "RUNNING"),
    ("call", ("status",), "RUNNING"),
    ("wait-to-the-end", ("status",), "SUCCEEDED"),
    ("metamorph", ("stats", "metamorph"), 1),
    ("reboot", ("stats", "rebootCount"), 1),
    ("charge-event", ("chargedEventCounts", "result"), 3),
    ("abort-gracefully", ("status",), "ABORTING"),
    ("resurrect", ("options", "maxTotalChargeUsd"), 3),
    ("actor", ("username",), "compass"),
    ("default-build", ("status",), "SUCCEEDED"),
    ("task-input", (), {"city": "Berlin"}),
    ("task-renamed", ("name",), "hamburg"),
    ("schedule-paused", ("isEnabled",), False),
    ("webhook-new", ("condition", "actorId"), "{actor}"),
    ("me", ("username",), "janedoe"),
    ("limits", ("limits", "maxMonthlyUsageUsd"), 300),
    ("usage", ("usageCycle", "startAt"), "2026-03-01T00:00:00.000Z"),
]

NODE_REFUSALS = {
    "charge-own-event": [400, "cannot-charge-apify-event"],
    "actor-hidden": [403, "insufficient-permissions"],
    "versions": [403, "insufficient-permissions"],
    "limits-too-low": [400, "monthly-usage-limit-too-low"],
    "wrong-token": [401, "invalid-token"],
}


def test_the_javascript_client(node_answers: Answers, platforms: SimulatedPlatforms, world: dict[str, str]) -> None:
    expected = [(n, w, v.format(**world) if isinstance(v, str) else v) for n, w, v in NODE_ANSWERS]
    seen = [(name, where, inside(node_answers[name].get("answer"), where)) for name, where, _ in NODE_ANSWERS]
    assert seen == expected
    refused = {name: told["refused"] for name, told in node_answers.items() if "refused" in told}
    assert refused == NODE_REFUSALS
    assert no_route_was_missing(platforms)


@pytest.fixture
def apify_cli(client: Callable[[str], Path], run: Any, world: dict[str, str], tmp_path: Path) -> Any:
    """Apify's command line, logged in; a HOME of its own, and nothing told to anybody else."""
    program = client("apify-node") / "node_modules" / ".bin" / "apify"
    environ = {
        "APIFY_CLIENT_BASE_URL": world["url"],
        "APIFY_DISABLE_KEYRING": "1",
        "APIFY_CLI_DISABLE_TELEMETRY": "1",
        "APIFY_CLI_SKIP_UPDATE_CHECK": "1",
    }

    def call(*arguments: str) -> Any:
        return run(program, *arguments, environ=environ)

    told = call("login", "--token", TOKEN)
    assert told.code == 0, told
    assert "logged in to Apify as janedoe" in told.out + told.err
    return call


def test_the_command_line(
    apify_cli: Any, platforms: SimulatedPlatforms, account: ApifyAccount, world: dict[str, str]
) -> None:
    account.starts_as = {"ready_for": 0.0, "ends_after": 20.0}
    listed = apify_cli("runs", "ls", "compass/crawler-google-places", "--json").json()
    assert {item["id"] for item in listed["items"]} == {world["running"], world["ended"], world["ending"]}
    info = apify_cli("runs", "info", world["running"], "--json").json()
    assert (info["status"], info["meta"]["scheduleId"]) == ("RUNNING", world["schedule"])
    told = {
        "info": apify_cli("runs", "info", world["running"]),
        "log": apify_cli("runs", "log", world["running"]),
        "abort": apify_cli("runs", "abort", world["running"]),
        "resurrect": apify_cli("runs", "resurrect", world["ended"]),
        "actors": apify_cli("actors", "ls"),
        "actor": apify_cli("actors", "info", "compass/crawler-google-places"),
        "call": apify_cli("call", "compass/crawler-google-places"),
        "task": apify_cli("task", "run", "janedoe/berlin"),
        "wait": apify_cli("runs", "wait", world["ending"]),
        "limits": apify_cli("api", "v2/users/me/limits"),
    }
    assert {name: each.code for name, each in told.items()} == dict.fromkeys(told, 0)
    assert "Task: berlin" in told["info"].out + told["info"].err
    assert account.run(world["running"]).truth().graceful is True
    assert account.run(world["ended"]).resurrect_count == 1
    assert no_route_was_missing(platforms)
    assert [seen.path for seen in platforms.requests if seen.status == 404] == []


def test_the_command_line_is_refused(apify_cli: Any) -> None:
    """It exits with 0 all the same: what was refused is told in words only."""
    unknown = apify_cli("runs", "info", "unknown")
    assert "was not found on your account" in unknown.err
    wrong = apify_cli("login", "--token", "wrong")
    assert "token is not valid" in wrong.err
