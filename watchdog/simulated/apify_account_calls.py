"""The calls of the simulated Apify about the user, Actors, tasks, schedules and webhooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from watchdog.simulated import apify_account_documents as documents
from watchdog.simulated.apify_ask import Ask, RefusedError, bad_request, data_answer, found, no_content
from watchdog.simulated.apify_records import ApifyActor, ApifyTask
from watchdog.simulated.http import Answer, json_answer

Call = Callable[[Ask, str], Answer]

_ACTOR_FIELDS: Final[Mapping[str, type]] = {"name": str, "title": str}
_TASK_FIELDS: Final[Mapping[str, type]] = {"name": str, "options": dict, "input": object}
_SCHEDULE_FIELDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("name", "cronExpression", "timezone", "description", "title"), str),
    **dict.fromkeys(("isEnabled", "isExclusive"), bool),
    "actions": list,
    "notifications": dict,
}
_WEBHOOK_FIELDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("requestUrl", "description", "payloadTemplate", "headersTemplate"), str),
    **dict.fromkeys(("isAdHoc", "ignoreSslErrors", "doNotRetry", "shouldInterpolateStrings"), bool),
    "eventTypes": list,
    "condition": dict,
}
_SCHEDULE_SHORT_LACKS: Final = frozenset({"description", "title", "notifications"})
_WEBHOOK_SHORT_LACKS: Final = frozenset({"payloadTemplate", "headersTemplate", "description"})


# --- the user --------------------------------------------------------------------------------------------------------


def get_me(ask: Ask, _: str) -> Answer:
    return data_answer(documents.me(ask.account))


def get_user(ask: Ask, key: str) -> Answer:
    """The public face of a user: the owner of the token, and the owners of Actors."""
    account = ask.account
    users = {account.user_id: account.username, account.username: account.username}
    for actor in account.actors.values():
        users |= {actor.owner_id: actor.owner, actor.owner: actor.owner}
    name = found(users.get(key))
    return data_answer({"username": name, "profile": {"name": name}})


def get_limits(ask: Ask, _: str) -> Answer:
    return data_answer(documents.limits(ask.account, ask.now_s))


def update_limits(ask: Ask, _: str) -> Answer:
    fields = ask.fields(maxMonthlyUsageUsd=float, dataRetentionDays=int)
    usd, days = fields.get("maxMonthlyUsageUsd"), fields.get("dataRetentionDays")
    if usd is not None:
        if usd < documents.limits(ask.account, ask.now_s)["current"]["monthlyUsageUsd"]:
            raise bad_request("The limit is lower than what was used already.", "monthly-usage-limit-too-low")
        ask.account.max_monthly_usage_usd = float(usd)
    if days is not None:
        ask.account.data_retention_days = days
    return data_answer({}, 201)


def get_usage(ask: Ask, _: str) -> Answer:
    """The month that `date` lies in; the present one if left out."""
    day_s = ask.moment_s("date")
    clock = ask.account.clock
    return data_answer(documents.monthly_usage(ask.account, ask.now_s, clock.at(ask.now_s if day_s is None else day_s)))


# --- Actors ----------------------------------------------------------------------------------------------------------


def list_actors(ask: Ask, _: str) -> Answer:
    """The Actors that the user made or ran (with `my`: made), in order of their making or of their last run."""
    account, runs = ask.account, documents.runs_by_actor(ask.account)
    mine = ask.flag("my")
    actors = [actor for actor in _readable(ask) if actor.owner == account.username or (actor.id in runs and not mine)]
    match ask.query.get("sortBy", "createdAt"):
        case "createdAt":
            actors.sort(key=lambda actor: actor.created_s)
        case "stats.lastRunStartedAt":
            actors.sort(key=lambda actor: documents.last_start_s(runs.get(actor.id, ())))
        case _:
            raise bad_request("Invalid input: sortBy must be createdAt or stats.lastRunStartedAt.")
    return ask.page(actors, lambda actor: documents.actor_short(actor, account, runs.get(actor.id, ())))


def search_store(ask: Ask, _: str) -> Answer:
    wanted, runs = ask.query.get("search", "").lower(), documents.runs_by_actor(ask.account)
    actors = [actor for actor in _readable(ask) if wanted in actor.label.lower()]
    return ask.page(actors, lambda actor: documents.actor_in_store(actor, runs.get(actor.id, ())))


def _readable(ask: Ask) -> list[ApifyActor]:
    return [actor for actor in ask.account.actors.values() if actor.id not in ask.account.refusals]


def create_actor(ask: Ask, _: str) -> Answer:
    account, fields = ask.account, ask.fields(**_ACTOR_FIELDS)
    if not (name := fields.get("name")):
        raise bad_request("Invalid input: name must be given.")
    if account.actor_by(f"{account.username}~{name}") is not None:
        raise RefusedError(409, "actor-name-not-unique", f"There is an Actor {name} already.")
    actor_id = account.add_actor(account.username, name)
    _retitle(ask, account.actors[actor_id], fields)
    return data_answer(documents.actor(account.actors[actor_id], account), 201)


def get_actor(ask: Ask, key: str) -> Answer:
    return data_answer(documents.actor(_actor(ask, key), ask.account))


def update_actor(ask: Ask, key: str) -> Answer:
    actor, fields = _own_actor(ask, key), ask.fields(**_ACTOR_FIELDS)
    if "name" in fields:
        ask.account.rename_actor(actor.id, fields["name"])
    _retitle(ask, ask.account.actors[actor.id], fields)
    return data_answer(documents.actor(ask.account.actors[actor.id], ask.account))


def delete_actor(ask: Ask, key: str) -> Answer:
    ask.account.delete_actor(_own_actor(ask, key).id)
    return no_content()


def validate_input(ask: Ask, key: str) -> Answer:
    _actor(ask, key)
    return json_answer(200, {"valid": True})


def list_builds(ask: Ask, key: str) -> Answer:
    """The build of each Actor, or of one."""
    actors = [_actor(ask, key)] if key else list(ask.account.actors.values())
    return ask.page(actors, lambda actor: documents.build(actor, ask.account))


def get_build(ask: Ask, build_id: str) -> Answer:
    return data_answer(documents.build(_built(ask, build_id), ask.account))


def get_default_build(ask: Ask, key: str) -> Answer:
    return data_answer(documents.build(_actor(ask, key), ask.account))


def _actor(ask: Ask, key: str) -> ApifyActor:
    actor: ApifyActor = found(ask.account.actor_by(key))
    return actor


def _own_actor(ask: Ask, key: str) -> ApifyActor:
    actor = _actor(ask, key)
    if actor.owner != ask.account.username:
        raise RefusedError(403)
    return actor


def _built(ask: Ask, build_id: str) -> ApifyActor:
    actors = ask.account.actors.values()
    actor: ApifyActor = found(next((actor for actor in actors if actor.build_id == build_id), None))
    return actor


def _retitle(ask: Ask, actor: ApifyActor, fields: Mapping[str, Any]) -> None:
    ask.account.actors[actor.id] = msgspec.structs.replace(actor, title=fields.get("title", actor.title))


# --- tasks -----------------------------------------------------------------------------------------------------------


def list_tasks(ask: Ask, _: str) -> Answer:
    tasks = [task for task in ask.account.tasks.values() if task.id not in ask.account.refusals]
    return ask.page(tasks, lambda task: documents.task_short(task, ask.account))


def create_task(ask: Ask, _: str) -> Answer:
    account, fields = ask.account, ask.fields(actId=str, **_TASK_FIELDS)
    actor, name = account.actor_by(fields.get("actId", "")), fields.get("name", "my-task")
    if actor is None:
        raise RefusedError(404, "actor-not-found", "Actor was not found.")
    if any(task.name == name for task in account.tasks.values()):
        raise RefusedError(409, "actor-task-name-not-unique", f"There is a task {name} already.")
    task_id = account.add_task(actor.id, name)
    _change_task(ask, account.tasks[task_id], fields)
    return data_answer(documents.task(account.tasks[task_id], account), 201)


def get_task(ask: Ask, key: str) -> Answer:
    return data_answer(documents.task(_task(ask, key), ask.account))


def update_task(ask: Ask, key: str) -> Answer:
    task = _task(ask, key)
    _change_task(ask, task, ask.fields(**_TASK_FIELDS))
    return data_answer(documents.task(ask.account.tasks[task.id], ask.account))


def delete_task(ask: Ask, key: str) -> Answer:
    ask.account.delete_task(_task(ask, key).id)
    return no_content()


def get_task_input(ask: Ask, key: str) -> Answer:
    return json_answer(200, _task(ask, key).input)


def update_task_input(ask: Ask, key: str) -> Answer:
    task = _task(ask, key)
    _change_task(ask, task, {"input": ask.data()})
    return json_answer(200, ask.account.tasks[task.id].input)


def _task(ask: Ask, key: str) -> ApifyTask:
    task: ApifyTask = found(ask.account.task_by(key))
    return task


def _change_task(ask: Ask, task: ApifyTask, fields: Mapping[str, Any]) -> None:
    ask.account.tasks[task.id] = msgspec.structs.replace(
        task,
        name=fields.get("name", task.name),
        options={**task.options, **_checked_options(fields.get("options", {}))},
        input=fields.get("input", task.input),
    )


def _checked_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    whole = ("timeoutSecs", "memoryMbytes", "maxItems")
    if any(not isinstance(options.get(name), int | None) for name in whole):
        raise bad_request(f"Invalid input: {', '.join(whole)} must be whole numbers.")
    if not isinstance(options.get("maxTotalChargeUsd"), int | float | None):
        raise bad_request("Invalid input: maxTotalChargeUsd must be a number.")
    return options


# --- schedules and webhooks ------------------------------------------------------------------------------------------


def list_schedules(ask: Ask, _: str) -> Answer:
    return ask.page(ask.account.schedules.values(), lambda thing: _without(thing, _SCHEDULE_SHORT_LACKS))


def create_schedule(ask: Ask, _: str) -> Answer:
    fields = _schedule_fields(ask)
    if "name" in fields and any(known["name"] == fields["name"] for known in ask.account.schedules.values()):
        raise RefusedError(409, "schedule-name-not-unique", f"There is a schedule {fields['name']} already.")
    return data_answer(ask.account.put_schedule(fields), 201)


def get_schedule(ask: Ask, schedule_id: str) -> Answer:
    return data_answer(found(ask.account.schedules.get(schedule_id)))


def update_schedule(ask: Ask, schedule_id: str) -> Answer:
    schedule: dict[str, Any] = found(ask.account.schedules.get(schedule_id))
    schedule.update(_schedule_fields(ask), modifiedAt=ask.now)
    return data_answer(schedule)


def delete_schedule(ask: Ask, schedule_id: str) -> Answer:
    found(ask.account.schedules.pop(schedule_id, None))
    return no_content()


def get_schedule_log(ask: Ask, schedule_id: str) -> Answer:
    """A line for each run that it started."""
    found(ask.account.schedules.get(schedule_id))
    started = [run for run in ask.account.runs if run.short.meta.schedule_id == schedule_id]
    lines = [
        {"message": f"Schedule invoked run {run.id}", "level": "INFO", "createdAt": run.started_at} for run in started
    ]
    return data_answer(lines)


def _schedule_fields(ask: Ask) -> dict[str, Any]:
    fields = ask.fields(**_SCHEDULE_FIELDS)
    for action in fields.get("actions", []):
        kind = action.get("type") if isinstance(action, dict) else None
        if kind == "RUN_ACTOR_TASK":
            if ask.account.task_by(str(action.get("actorTaskId"))) is None:
                raise RefusedError(404, "schedule-actor-task-not-found", "Task of the schedule was not found.")
        elif kind != "RUN_ACTOR":
            raise bad_request("Invalid input: the type of an action is RUN_ACTOR or RUN_ACTOR_TASK.")
        elif ask.account.actor_by(str(action.get("actorId"))) is None:
            raise RefusedError(404, "schedule-actor-not-found", "Actor of the schedule was not found.")
    return fields


def list_webhooks(ask: Ask, _: str) -> Answer:
    return _webhooks(ask, lambda condition: True)


def list_webhooks_of_actor(ask: Ask, key: str) -> Answer:
    actor = _actor(ask, key)
    return _webhooks(ask, lambda condition: condition.get("actorId") == actor.id)


def list_webhooks_of_task(ask: Ask, key: str) -> Answer:
    task = _task(ask, key)
    return _webhooks(ask, lambda condition: condition.get("actorTaskId") == task.id)


def create_webhook(ask: Ask, _: str) -> Answer:
    """A webhook is of an Actor, a task or a run; none is of a whole account."""
    fields = ask.fields(**_WEBHOOK_FIELDS)
    if (
        not fields.get("eventTypes")
        or not fields.get("requestUrl")
        or not any((fields.get("condition") or {}).values())
    ):
        raise bad_request("Invalid input: eventTypes, requestUrl and a condition must be given.")
    if (key := ask.query.get("idempotencyKey") or ask.fields(idempotencyKey=str).get("idempotencyKey")) is not None:
        return data_answer(ask.account.webhook_once(key, fields), 201)
    return data_answer(ask.account.put_webhook(fields), 201)


def get_webhook(ask: Ask, webhook_id: str) -> Answer:
    return data_answer(found(ask.account.webhooks.get(webhook_id)))


def update_webhook(ask: Ask, webhook_id: str) -> Answer:
    webhook: dict[str, Any] = found(ask.account.webhooks.get(webhook_id))
    webhook.update(ask.fields(**_WEBHOOK_FIELDS), modifiedAt=ask.now)
    return data_answer(webhook)


def delete_webhook(ask: Ask, webhook_id: str) -> Answer:
    found(ask.account.webhooks.pop(webhook_id, None))
    return no_content()


def list_dispatches(ask: Ask, _: str) -> Answer:
    """The simulation never calls a webhook."""
    return ask.page([], lambda thing: thing)


def list_dispatches_of_webhook(ask: Ask, webhook_id: str) -> Answer:
    found(ask.account.webhooks.get(webhook_id))
    return list_dispatches(ask, "")


def _webhooks(ask: Ask, is_meant: Callable[[Mapping[str, Any]], bool]) -> Answer:
    meant = [webhook for webhook in ask.account.webhooks.values() if is_meant(webhook["condition"])]
    return ask.page(meant, lambda thing: _without(thing, _WEBHOOK_SHORT_LACKS))


def _without(thing: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name not in names}


def refuse(ask: Ask, _: str) -> Answer:
    """What a token that may only watch is not allowed to do."""
    raise RefusedError(403)


CALLS: Final[Mapping[str, Call]] = {
    "me": get_me,
    "user": get_user,
    "limits": get_limits,
    "update-limits": update_limits,
    "usage": get_usage,
    "actors": list_actors,
    "create-actor": create_actor,
    "actor": get_actor,
    "update-actor": update_actor,
    "delete-actor": delete_actor,
    "validate-input": validate_input,
    "store": search_store,
    "builds": list_builds,
    "actor-builds": list_builds,
    "build": get_build,
    "default-build": get_default_build,
    "tasks": list_tasks,
    "create-task": create_task,
    "task": get_task,
    "update-task": update_task,
    "delete-task": delete_task,
    "task-input": get_task_input,
    "update-task-input": update_task_input,
    "schedules": list_schedules,
    "create-schedule": create_schedule,
    "schedule": get_schedule,
    "update-schedule": update_schedule,
    "delete-schedule": delete_schedule,
    "schedule-log": get_schedule_log,
    "webhooks": list_webhooks,
    "actor-webhooks": list_webhooks_of_actor,
    "task-webhooks": list_webhooks_of_task,
    "create-webhook": create_webhook,
    "webhook": get_webhook,
    "update-webhook": update_webhook,
    "delete-webhook": delete_webhook,
    "dispatches": list_dispatches,
    "webhook-dispatches": list_dispatches_of_webhook,
    "refused": refuse,
}
