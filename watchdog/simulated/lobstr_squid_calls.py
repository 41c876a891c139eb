"""lobstr's calls about squids, their tasks and where their results go."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from email.message import Message
from email.parser import BytesParser
from typing import Any, ClassVar, Final

from watchdog.simulated.http import Answer, Route, json_answer, route
from watchdog.simulated.lobstr_calls import Calls, deleted
from watchdog.simulated.lobstr_documents import DELIVERIES
from watchdog.simulated.lobstr_errors import Refusal, not_found
from watchdog.simulated.lobstr_squid import LobstrSquid, LobstrTask

_PLAIN: Final[Mapping[str, type]] = {
    "name": str,
    "run_notify": str,
    "export_unique_results": bool,
    "no_line_breaks": bool,
    "to_complete": int,
}
"""Settings of a squid that are nothing but stored, and what they must be."""


class SquidCalls(Calls):
    """Squids: list, make, set, empty, delete."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/squids", GET="squids", POST="create_squid"),
        route("/v1/squids/{id}", GET="squid", POST="update_squid", DELETE="delete_squid"),
        route("/v1/squids/{id}/empty", POST="empty_squid"),
        route("/v1/squids/{id}/credits", GET="squid_credits"),
        route("/v1/squid/estimate", POST="estimate"),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        match endpoint:
            case "squids":
                return self.page(self.listed(), self.write.squid)
            case "create_squid":
                return self._create()
            case "squid":
                return json_answer(200, self.write.squid_detail(self.squid(given)))
            case "update_squid":
                return self._update(self.squid(given))
            case "delete_squid":
                self.account.delete_squid(self.squid(given).id)
                return deleted("squid", given)
            case "empty_squid":
                return self._empty(self.squid(given))
            case "squid_credits":
                return json_answer(200, self.write.squid_credits(self.squid(given)))
            case "estimate":
                return self._estimate(self.squid(self.json().get("squid")))
        raise AssertionError(f"no such endpoint: {endpoint}")

    def listed(self) -> list[LobstrSquid]:
        """The squids whose names have in them what the query says, whatever the case."""
        part = self.request.query.get("name", "").lower()
        return [squid for squid in self.account.squids.values() if part in squid.name.lower()]

    def _create(self) -> Answer:
        wanted = self.json()
        if not isinstance(crawler_id := wanted.get("crawler"), str):
            raise Refusal(400, "ParamsNeeded", "A required parameter crawler is missing.")
        if (crawler := self.account.crawlers.get(crawler_id)) is None:
            raise not_found("Crawler")
        taken = {squid.name for squid in self.account.squids.values()}
        numbers = range(1, len(taken) + 2)
        name = wanted.get("name") or next(n for k in numbers if (n := f"{crawler.name} ({k})") not in taken)
        if name in taken:
            raise Refusal(400, "DuplicateSquid", "A squid with the same name already exists")
        self._check_slots(1)
        squid = self.account.make_squid(str(name), crawler)
        squid.is_ready = False
        return json_answer(200, {**self.write.squid_detail(squid), "account": []})

    def _update(self, squid: LobstrSquid) -> Answer:
        wanted = self.json()
        # Everything is looked at before anything is changed.
        logins = self._logins(squid, wanted["accounts"]) if "accounts" in wanted else squid.logins
        plain = {key: value for key, value in wanted.items() if key in _PLAIN}
        for key, value in plain.items():
            if value is not None and not isinstance(value, _PLAIN[key]):
                raise Refusal(400, "InvalidParamType", f"Invalid param: {key}")
        params = _typed(wanted, "params", dict, {})
        concurrency = _typed(wanted, "concurrency", int, squid.concurrency)
        is_active = _typed(wanted, "is_active", bool, squid.is_active)
        if not 1 <= concurrency <= squid.on.max_concurrency:
            raise Refusal(400, "ConcurrencyLimitExceeded", "Requested concurrency exceeds the limit")
        held = squid.concurrency if squid.is_active else 0
        self._check_slots((concurrency if is_active else 0) - held)
        changed = plain or params or concurrency != squid.concurrency or logins != squid.logins
        squid.is_ready = squid.is_ready or bool(changed)
        for key, value in plain.items():
            setattr(squid, key, value)
        squid.params, squid.concurrency, squid.logins = params or squid.params, concurrency, logins
        if cron := wanted.get("cron_expression"):
            squid.schedule = {"cron_expression": cron, "timezone": wanted.get("timezone", "UTC")}
        if is_active != squid.is_active:
            self.account.set_active(squid.id, is_active)
        document = self.write.squid(squid)
        shown = ("name", "no_line_breaks", "is_active", "params", "to_complete", "export_unique_results", "concurrency")
        return json_answer(200, {**{key: document[key] for key in shown}, "run_notify": squid.run_notify})

    def _check_slots(self, more: int) -> None:
        """Slots are checked when a squid is made, switched on or grows, never when a run starts (lobstr-mcp)."""
        if more > 0 and self.account.used_slots + more > self.account.slots:
            raise Refusal(400, "SlotsLimitExceeded", "Maximum concurrency slots in use")

    def _logins(self, squid: LobstrSquid, wanted: object) -> list[str]:
        if squid.on.account_type is None or not isinstance(wanted, list):
            raise Refusal(400, "InvalidParam", "Invalid param: accounts")
        for each in wanted:
            login = self.account.logins.get(each)
            if login is None or login.type != squid.on.account_type:
                raise not_found("Account")
        return list(wanted)

    def _empty(self, squid: LobstrSquid) -> Answer:
        count = len(squid.tasks)
        squid.tasks.clear()
        return json_answer(200, {"id": squid.id, "object": "squid", "emptied": True, "deleted_count": count})

    def _estimate(self, squid: LobstrSquid) -> Answer:
        if not squid.tasks:
            raise Refusal(404, "TasksNotFound", "No tasks found")
        expected = self.account.new_runs.get("results_total", 1000)
        credits_used = expected * squid.on.credits_per_row
        estimate = {
            "services": [{"name": squid.crawler, "results": expected, "credits": credits_used}],
            "total_credits": credits_used,
            "estimated_time": "5 mins - 12 mins",
            "recommended_upgrade_plan": None,
            "max_results": expected,
            "tasks": {"count": len(squid.tasks), "preview": [task.params for task in squid.tasks[:5]]},
        }
        return json_answer(200, estimate)


class TaskCalls(Calls):
    """Tasks of squids."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/tasks", GET="tasks", POST="add_tasks"),
        route("/v1/tasks/upload", POST="upload_tasks"),
        route("/v1/tasks/upload/{id}", GET="upload"),
        route("/v1/tasks/{id}", GET="task", DELETE="delete_task"),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        match endpoint:
            case "tasks":
                return self.page(self.squid(self.request.query.get("squid")).tasks, self.write.task)
            case "add_tasks":
                return self._add()
            case "upload_tasks":
                return self._upload()
            case "upload":
                if given not in self.account.uploads:
                    raise not_found("Upload task")
                meta = self.account.uploads[given]
                return json_answer(200, {"id": given, "object": "task_upload", "state": "SUCCESS", "meta": meta})
            case "task":
                return json_answer(200, self.write.task_detail(self._task(given)[1]))
            case "delete_task":
                squid, task = self._task(given)
                squid.tasks.remove(task)
                return deleted("task", given)
        raise AssertionError(f"no such endpoint: {endpoint}")

    def _task(self, task_id: str) -> tuple[LobstrSquid, LobstrTask]:
        for squid in self.account.squids.values():
            for task in squid.tasks:
                if task.id == task_id:
                    return squid, task
        raise not_found("Task")

    def _add(self) -> Answer:
        wanted = self.json()
        squid, tasks = self.squid(wanted.get("squid")), wanted.get("tasks")
        if not isinstance(tasks, list) or not tasks:
            raise Refusal(400, "ParamsNeeded", "A required parameter tasks is missing.")
        for task in tasks:
            if not isinstance(task, dict) or (wrong := next(iter(_unknown(squid, task)), None)) is not None:
                raise Refusal(400, "InvalidParam", f"Invalid param: {wrong if isinstance(task, dict) else 'tasks'}")
        added = [made for task in tasks if (made := squid.add_task(task, self.now_s)) is not None]
        documents = [{**self.write.task(task), "module": squid.crawler_id} for task in added]
        return json_answer(200, {"duplicated_count": len(tasks) - len(added), "tasks": documents})

    def _upload(self) -> Answer:
        fields = _form(self.request.headers.get("content-type", ""), self.request.body)
        squid = self.squid(fields["squid"].decode() if "squid" in fields else None)
        text = fields.get("file", b"").decode("utf-8-sig", "replace")
        start = text.partition("\n")[0]
        rows = list(csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in start else ","))
        valid = [row for row in rows if not _unknown(squid, row)]
        inserted = sum(squid.add_task(row, self.now_s) is not None for row in valid)
        upload_id = self.account.make_id()
        self.account.uploads[upload_id] = {
            "valid": len(valid),
            "inserted": inserted,
            "duplicates": len(valid) - inserted,
            "invalid": len(rows) - len(valid),
        }
        return json_answer(200, {"id": upload_id, "object": "task_upload"})


class DeliveryCalls(Calls):
    """Where results go. Nothing is delivered: what is set is kept, and shown with the squid."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/delivery", POST="delivery"),
        *(
            route(f"/v1/delivery/test-{kind}", POST="test_delivery")
            for kind in ("email", "googlesheet", "s3", "webhook", "sftp")
        ),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        wanted = self.json()
        if endpoint == "test_delivery":
            if not any(wanted.get(key) for key in ("email", "url", "bucket", "host")):
                raise Refusal(400, "ParamsNeeded", "A required parameter is missing.")
            return json_answer(200, {"success": True, "status_code": 200})
        squid = self.squid(self.request.query.get("squid"))
        if "email" in wanted:
            told = {"email": wanted["email"], "notifications": wanted.get("notifications", True)}
        else:
            told = {key: wanted[key] for key in DELIVERIES if isinstance(wanted.get(key), dict)}
        if not told:
            raise Refusal(400, "ParamsNeeded", "A required parameter is missing.")
        # One of each kind: what was set before is gone.
        squid.delivery.update(told)
        return json_answer(201, told)


def _typed(wanted: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value = wanted.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refusal(400, "InvalidParamType", f"Invalid param: {key}")
    return value


def _unknown(squid: LobstrSquid, task: Iterable[str]) -> list[str]:
    return [key for key in task if key not in squid.on.task_params]


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """The fields of a multipart form."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = BytesParser().parsebytes(head + body)
    if not message.is_multipart():
        raise Refusal(400, "ParamsNeeded", "A required parameter file is missing.")
    parts: list[Message] = list(message.walk())[1:]
    name: Callable[[Message], str] = lambda part: str(part.get_param("name", "", "content-disposition"))  # noqa: E731
    return {name(part): bytes(part.get_payload(decode=True) or b"") for part in parts}
