"""What an Apify account has beside runs: Actors, tasks, schedules, webhooks, and who may read them."""

from __future__ import annotations

import random
import threading
from typing import Any, Literal, get_args

import msgspec

from watchdog.simulated.account import Account
from watchdog.simulated.apify_records import ID_ALPHABET, ID_LENGTH, ApifyActor, ApifyTask
from watchdog.simulated.apify_run import ApifyRun
from watchdog.simulated.clock import SimClock, iso_millis
from watchdog.simulated.records import PlatformName

Refusal = Literal["forbidden", "not-found", "not-found-or-denied"]
"""403 insufficient-permissions, 404 record-not-found, 404 record-or-token-not-found."""


class ApifyThings(Account[ApifyRun]):
    """The Actors, tasks, schedules and webhooks of one user. Schedules and webhooks are as the API writes them."""

    platform: PlatformName = "apify"

    def __init__(
        self, token: str, username: str, index: int, clock: SimClock, lock: threading.RLock, seed: int
    ) -> None:
        super().__init__(token, index, clock, lock, seed)
        self.username = username
        self.user_id = self.make_id()
        self.actors: dict[str, ApifyActor] = {}
        self.tasks: dict[str, ApifyTask] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.webhooks: dict[str, dict[str, Any]] = {}
        self._webhook_keys: dict[str, str] = {}
        self.refusals: dict[str, Refusal] = {}

    def add_actor(self, owner: str = "compass", name: str = "crawler-google-places") -> str:
        """Make an Actor known; its id (17 characters, the same for every account and every time)."""
        with self.lock:
            actor_id = "".join(random.Random(f"{owner}/{name}").choices(ID_ALPHABET, k=ID_LENGTH))
            actor = ApifyActor(actor_id, owner, name, self.clock.elapsed_s())
            return self.actors.setdefault(actor_id, actor).id

    def add_task(self, actor: str, name: str) -> str:
        """Save a task of the Actor with this id; the task's id. KeyError for an unknown Actor."""
        with self.lock:
            task = ApifyTask(self.make_id(), self.actors[actor], name, self.clock.elapsed_s())
            self.tasks[task.id] = task
            return task.id

    def rename_actor(self, actor: str, name: str, owner: str | None = None) -> None:
        """Give the Actor with this id another name (and owner). KeyError for an unknown one."""
        with self.lock:
            known = self.actors[actor]
            self.actors[actor] = msgspec.structs.replace(known, name=name, owner=owner or known.owner)

    def rename_task(self, task: str, name: str) -> None:
        """Give the task with this id another name. KeyError for an unknown one."""
        with self.lock:
            self.tasks[task] = msgspec.structs.replace(self.tasks[task], name=name)

    def delete_actor(self, actor: str) -> None:
        """Forget the Actor with this id: 404 from now on; its runs stay. KeyError for an unknown one."""
        with self.lock:
            del self.actors[actor]

    def delete_task(self, task: str) -> None:
        """Forget the task with this id: 404 from now on; its runs stay. KeyError for an unknown one."""
        with self.lock:
            del self.tasks[task]

    def refuse(self, thing: str, how: Refusal | None = "forbidden") -> None:
        """Let this token not read the Actor, task, run or dataset with this id; None: let it again.

        Runs stay in the lists. ValueError for an unknown way.
        """
        with self.lock:
            if how is None:
                self.refusals.pop(thing, None)
                return
            require_known(how, frozenset(get_args(Refusal)), "refusal")
            self.refusals[thing] = how

    def add_schedule(
        self, name: str, *, actor: str | None = None, task: str | None = None, cron: str = "0 * * * *"
    ) -> str:
        """Make a schedule of an Actor or a task (ids); its id. It starts nothing by itself."""
        with self.lock:
            actions = self._actions(actor, task)
            return str(self.put_schedule({"name": name, "cronExpression": cron, "actions": actions})["id"])

    def add_webhook(self, url: str, *events: str, actor: str | None = None, task: str | None = None) -> str:
        """Make a webhook of an Actor or a task (ids); its id. It is never called."""
        with self.lock:
            condition = {"actorTaskId": task} if task is not None else {"actorId": actor}
            fields = {"requestUrl": url, "eventTypes": list(events), "condition": condition}
            return str(self.put_webhook(fields)["id"])

    def put_schedule(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A new schedule with these fields, the others as the platform sets them."""
        now = self._now()
        schedule = {
            "id": self.make_id(),
            "userId": self.user_id,
            "name": "my-schedule",
            "cronExpression": "0 * * * *",
            "timezone": "UTC",
            "isEnabled": True,
            "isExclusive": True,
            "createdAt": now,
            "modifiedAt": now,
            "nextRunAt": None,
            "lastRunAt": None,
            "description": None,
            "title": None,
            "actions": [],
            **fields,
        }
        schedule["actions"] = [{"id": self.make_id(), **action} for action in schedule["actions"]]
        return self.schedules.setdefault(schedule["id"], schedule)

    def webhook_once(self, key: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The webhook that was made with this idempotency key; a new one if none was, or it is gone."""
        known = self.webhooks.get(self._webhook_keys.get(key, ""))
        if known is None:
            known = self.put_webhook(fields)
            self._webhook_keys[key] = known["id"]
        return known

    def put_webhook(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A new webhook with these fields, the others as the platform sets them."""
        now = self._now()
        webhook = {
            "id": self.make_id(),
            "userId": self.user_id,
            "createdAt": now,
            "modifiedAt": now,
            "isAdHoc": False,
            "shouldInterpolateStrings": False,
            "eventTypes": [],
            "condition": {},
            "ignoreSslErrors": False,
            "doNotRetry": False,
            "requestUrl": "https://example.com/",
            "payloadTemplate": None,
            "headersTemplate": None,
            "description": None,
            "lastDispatch": None,
            "stats": {"totalDispatches": 0},
            **fields,
        }
        return self.webhooks.setdefault(webhook["id"], webhook)

    def actor_by(self, key: str) -> ApifyActor | None:
        """An Actor by its id or `owner~name`."""
        if key in self.actors:
            return self.actors[key]
        label = key.replace("~", "/", 1)
        return next((actor for actor in self.actors.values() if actor.label == label), None)

    def task_by(self, key: str) -> ApifyTask | None:
        """A task by its id or `username~name`."""
        if key in self.tasks:
            return self.tasks[key]
        owner, _, name = key.rpartition("~")
        return next((task for task in self.tasks.values() if owner == self.username and task.name == name), None)

    def make_id(self) -> str:
        """An id in Apify's way."""
        return self.new_id(ID_ALPHABET, ID_LENGTH)

    def _actions(self, actor: str | None, task: str | None) -> list[dict[str, Any]]:
        if task is not None:
            return [{"type": "RUN_ACTOR_TASK", "actorTaskId": self.tasks[task].id}]
        return [] if actor is None else [{"type": "RUN_ACTOR", "actorId": self.actors[actor].id}]

    def _now(self) -> str:
        return iso_millis(self.clock.now())


def require_known(value: str, known: frozenset[str], name: str) -> None:
    """ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; there are {', '.join(sorted(known))}")
