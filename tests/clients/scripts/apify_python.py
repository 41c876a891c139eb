"""Runs in the official Python client's own environment: its calls against a simulated Apify, answers as JSON.

python apify_python.py '{"url": ..., "token": ..., "actor": ..., ...}'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from apify_client import ApifyClient
from apify_client.errors import ApifyApiError

world = json.loads(sys.argv[1])
client = ApifyClient(world["token"], api_url=world["url"], max_retries=0)
told: dict[str, Any] = {}


def plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True, mode="json")
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def call(name: str, do: Callable[[], Any]) -> Any:
    """Do it; tell the answer, or how the platform refused."""
    try:
        value = do()
    except ApifyApiError as error:
        told[name] = {"refused": [error.status_code, error.type]}
        return None
    told[name] = {"answer": plain(value)}
    return value


run, ended = client.run(world["running"]), client.run(world["ended"])
actor, task = client.actor(world["actor"]), client.task(world["task"])

# Runs, looked at.
call("runs", lambda: client.runs().list(limit=2, desc=True))
call("runs-by-status", lambda: client.runs().list(status=["READY", "RUNNING"]))
call("runs-iterated", lambda: [each.id for each in client.runs().iterate(limit=1000)])
call("runs-of-actor", lambda: actor.runs().list())
call("runs-of-task", lambda: task.runs().list())
call("run", run.get)
call("run-unknown", client.run("unknown").get)
call("last-run", lambda: actor.last_run(status="SUCCEEDED").get())
call("last-run-of-task", lambda: task.last_run(origin="SCHEDULER").get())
call("log", lambda: run.log().get())
call("dataset-of-run", lambda: run.dataset().get())
call("store-of-run", lambda: run.key_value_store().get())
call("queue-of-run", lambda: run.request_queue().get())
call("dataset", lambda: client.dataset(world["dataset"]).get())
call("items", lambda: client.dataset(world["dataset"]).list_items(limit=3).items)
call("datasets", lambda: client.datasets().list())

# Runs, acted upon.
call("status-message", lambda: run.update(status_message="over its budget", is_status_message_terminal=True))
call("long-status-message", lambda: run.update(status_message="x" * 3000))
call(
    "start",
    lambda: actor.start(
        run_input={"a": 1},
        max_items=7,
        max_total_charge_usd=2,
        memory_mbytes=512,
        restart_on_error=True,
        run_timeout=timedelta(seconds=99),
        build="beta",
    ),
)
started = client.run(told["start"]["answer"]["id"])
call("start-task", task.start)
call("start-unknown", client.actor("unknown").start)
call("start-odd-memory", lambda: actor.start(memory_mbytes=1000))
call("call", lambda: actor.call(wait_duration=timedelta(seconds=1), logger=None))
call("call-with-log", lambda: task.call(wait_duration=timedelta(seconds=1)))
call("task-published", task.publish)
call("items-of-run", lambda: len(list(client.run(world["deletable"]).iterate_dataset_items())))
call("wait", lambda: started.wait_for_finish(wait_duration=timedelta(seconds=1)))
call("wait-to-the-end", lambda: client.run(world["ending"]).wait_for_finish(wait_duration=timedelta(seconds=30)))
call("metamorph", lambda: started.metamorph(target_actor_id=world["other_actor"]))
call("reboot", started.reboot)
call("charge", lambda: client.run(world["by_event"]).charge("result", count=3, idempotency_key="once"))
call("charge-again", lambda: client.run(world["by_event"]).charge("result", count=3, idempotency_key="once"))
call("charged", client.run(world["by_event"]).get)
call("charge-other", lambda: run.charge("result"))
call("abort-gracefully", lambda: run.abort(gracefully=True))
call("abort", started.abort)
call("abort-ended", ended.abort)
call("abort-unknown", client.run("unknown").abort)
call("resurrect", lambda: ended.resurrect(memory_mbytes=2048, run_timeout=timedelta(seconds=60), restart_on_error=True))
call("resurrect-running", run.resurrect)
call("delete-running", ended.delete)
call("delete", client.run(world["deletable"]).delete)
call("deleted", client.run(world["deletable"]).get)

# Actors, tasks.
call("actors", lambda: client.actors().list(my=False))
call("my-actors", lambda: client.actors().list(my=True))
call("actor", actor.get)
call("actor-by-name", client.actor("compass/crawler-google-places").get)
call("actor-unknown", client.actor("unknown").get)
call("actor-hidden", client.actor(world["hidden_actor"]).get)
call("actor-others", lambda: actor.update(title="mine"))
mine = call("actor-new", lambda: client.actors().create(name="my-actor", title="Mine"))
call("actor-renamed", lambda: client.actor(mine.id).update(name="renamed"))
call("actor-removed", client.actor(mine.id).delete)
call("builds", lambda: actor.builds().list())
call("build", lambda: actor.default_build().get())
call("build-new", lambda: actor.build(version_number="0.0"))
call("versions", lambda: actor.versions().list())
call("input-valid", lambda: actor.validate_input({"a": 1}))
call("store", lambda: client.store().list(search="google"))
call("tasks", lambda: client.tasks().list())
call("task", task.get)
call("task-new", lambda: client.tasks().create(actor_id=world["actor"], name="hamburg", memory_mbytes=256))
call("task-renamed", lambda: client.task(told["task-new"]["answer"]["id"]).update(name="bremen"))
call("task-input", lambda: task.update_input(task_input={"city": "Berlin"}))
call("task-input-read", task.get_input)
call("task-removed", client.task(told["task-new"]["answer"]["id"]).delete)

# Schedules, webhooks.
schedule = client.schedule(world["schedule"])
call("schedules", lambda: client.schedules().list())
call("schedule", schedule.get)
call("schedule-paused", lambda: schedule.update(is_enabled=False))
call("schedule-log", schedule.get_log)
call(
    "schedule-new",
    lambda: client.schedules().create(
        cron_expression="0 1 * * *",
        is_enabled=True,
        is_exclusive=False,
        name="weekly",
        actions=[{"type": "RUN_ACTOR", "actorId": world["actor"]}],
    ),
)
call(
    "schedule-of-unknown",
    lambda: client.schedules().create(
        cron_expression="0 1 * * *",
        is_enabled=True,
        is_exclusive=False,
        name="never",
        actions=[{"type": "RUN_ACTOR", "actorId": "unknown"}],
    ),
)
call("schedule-removed", client.schedule(told["schedule-new"]["answer"]["id"]).delete)
call("webhooks", lambda: client.webhooks().list())
call("webhooks-of-actor", lambda: actor.webhooks().list())
call("webhooks-of-task", lambda: task.webhooks().list())
call("webhook", client.webhook(world["webhook"]).get)
call(
    "webhook-new",
    lambda: client.webhooks().create(
        event_types=["ACTOR.RUN.TIMED_OUT"],
        request_url="https://example.com/hook",
        actor_id=world["actor"],
    ),
)
call("webhook-changed", lambda: client.webhook(world["webhook"]).update(event_types=["ACTOR.RUN.FAILED"]))
call("webhook-test", client.webhook(world["webhook"]).test)
call("webhook-dispatches", lambda: client.webhook(world["webhook"]).dispatches().list())
call("dispatches", lambda: client.webhook_dispatches().list())
call("webhook-removed", client.webhook(told["webhook-new"]["answer"]["id"]).delete)

# The user.
call("me", client.user().get)
call("other-user", client.user("compass").get)
call("limits", client.user().limits)
call("limits-new", lambda: client.user().update_limits(max_monthly_usage_usd=500))
call("limits-changed", client.user().limits)
call("usage", client.user().monthly_usage)
call("wrong-token", ApifyClient("wrong", api_url=world["url"], max_retries=0).user().get)
print(json.dumps(told))  # noqa: T201  # what the test reads
