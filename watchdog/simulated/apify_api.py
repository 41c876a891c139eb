"""Apify's API: its paths and its errors. What the calls do is in the modules `apify_*_calls`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from watchdog.simulated import apify_account_calls, apify_run_calls, apify_storage_calls
from watchdog.simulated.account import Fate
from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_ask import Ask, RefusedError
from watchdog.simulated.apify_run_calls import list_runs
from watchdog.simulated.apify_things import Refusal
from watchdog.simulated.faults import Layout
from watchdog.simulated.http import MAX_BODY_BYTES, Answer, Request, Route, Target, json_answer, route

CALLS: Final = {**apify_account_calls.CALLS, **apify_storage_calls.CALLS, **apify_run_calls.CALLS}

#: What the API has that a watchdog has no business with: writing storages, builds, versions of Actors.
_REFUSED: Final = (
    *("/v2/acts/{id}/builds", "/v2/actors/{id}/builds"),
    *("/v2/acts/{id}/versions", "/v2/acts/{id}/versions/{rest}"),
    *("/v2/actors/{id}/versions", "/v2/actors/{id}/versions/{rest}"),
    *("/v2/actor-builds/{id}", "/v2/actor-builds/{id}/{rest}"),
    *("/v2/actor-tasks/{id}/publish", "/v2/actor-tasks/{id}/unpublish"),
    *("/v2/datasets", "/v2/datasets/{id}", "/v2/datasets/{id}/{rest}"),
    *("/v2/key-value-stores", "/v2/key-value-stores/{id}", "/v2/key-value-stores/{id}/{rest}"),
    *("/v2/request-queues", "/v2/request-queues/{id}", "/v2/request-queues/{id}/{rest}"),
    *("/v2/webhooks/{id}/test", "/v2/webhook-dispatches/{id}"),
    *("/v2/actor-runs/{id}/dataset/{rest}", "/v2/actor-runs/{id}/key-value-store/{rest}"),
    "/v2/actor-runs/{id}/request-queue/{rest}",
)


def _of_one_run(path: str, prefix: str = "") -> Iterator[Route]:
    """The calls about a run that is reached at this path."""
    yield route(path, GET=f"{prefix}run", PUT=f"{prefix}update", DELETE=f"{prefix}delete-run")
    for name in ("abort", "resurrect", "metamorph", "reboot", "charge"):
        yield route(f"{path}/{name}", POST=f"{prefix}{name}")
    yield route(f"{path}/log", GET=f"{prefix}log")
    storages = {"dataset": "run-dataset", "key-value-store": "run-store", "request-queue": "run-queue"}
    for name, endpoint in storages.items():
        yield route(f"{path}/{name}", GET=f"{prefix}{endpoint}", PUT="refused", DELETE="refused")


def _of_actors(base: str) -> Iterator[Route]:
    """The calls about Actors; their older path is `acts`."""
    yield route(base, GET="actors", POST="create-actor")
    yield route(f"{base}/{{id}}", GET="actor", PUT="update-actor", DELETE="delete-actor")
    yield route(f"{base}/{{id}}/runs", GET="actor-runs", POST="start-actor")
    yield from _of_one_run(f"{base}/{{id}}/runs/last", "actor-last-")
    yield from _of_one_run(f"{base}/{{any}}/runs/{{id}}")
    yield route(f"{base}/{{id}}/builds", GET="actor-builds", POST="refused")
    yield route(f"{base}/{{id}}/builds/default", GET="default-build")
    yield route(f"{base}/{{id}}/webhooks", GET="actor-webhooks")
    yield route(f"{base}/{{id}}/validate-input", POST="validate-input")


ROUTES: Final = (
    route("/v2/actor-runs", GET="list"),
    *_of_one_run("/v2/actor-runs/{id}"),
    route("/v2/actor-runs/{id}/dataset/items", GET="run-items", POST="refused"),
    route("/v2/logs/{id}", GET="log"),
    *_of_actors("/v2/actors"),
    *_of_actors("/v2/acts"),
    route("/v2/store", GET="store"),
    route("/v2/actor-builds", GET="builds"),
    route("/v2/actor-builds/{id}", GET="build", DELETE="refused"),
    route("/v2/actor-tasks", GET="tasks", POST="create-task"),
    route("/v2/actor-tasks/{id}", GET="task", PUT="update-task", DELETE="delete-task"),
    route("/v2/actor-tasks/{id}/input", GET="task-input", PUT="update-task-input"),
    route("/v2/actor-tasks/{id}/runs", GET="task-runs", POST="start-task"),
    *_of_one_run("/v2/actor-tasks/{id}/runs/last", "task-last-"),
    route("/v2/actor-tasks/{id}/webhooks", GET="task-webhooks"),
    route("/v2/schedules", GET="schedules", POST="create-schedule"),
    route("/v2/schedules/{id}", GET="schedule", PUT="update-schedule", DELETE="delete-schedule"),
    route("/v2/schedules/{id}/log", GET="schedule-log"),
    route("/v2/webhooks", GET="webhooks", POST="create-webhook"),
    route("/v2/webhooks/{id}", GET="webhook", PUT="update-webhook", DELETE="delete-webhook"),
    route("/v2/webhooks/{id}/dispatches", GET="webhook-dispatches"),
    route("/v2/webhook-dispatches", GET="dispatches"),
    route("/v2/datasets", GET="datasets", POST="refused"),
    route("/v2/datasets/{id}", GET="dataset", PUT="refused", DELETE="refused"),
    route("/v2/datasets/{id}/items", GET="items", POST="refused"),
    route("/v2/key-value-stores", GET="stores", POST="refused"),
    route("/v2/key-value-stores/{id}", GET="store-of-keys", PUT="refused", DELETE="refused"),
    route("/v2/key-value-stores/{id}/keys", GET="keys"),
    route("/v2/key-value-stores/{id}/records/INPUT", GET="input", HEAD="input", PUT="refused", DELETE="refused"),
    route("/v2/request-queues", GET="queues", POST="refused"),
    route("/v2/request-queues/{id}", GET="queue", PUT="refused", DELETE="refused"),
    route("/v2/users/me", GET="me"),
    route("/v2/users/me/limits", GET="limits", PUT="update-limits"),
    route("/v2/users/me/usage/monthly", GET="usage"),
    route("/v2/users/{id}", GET="user"),
    *(route(path, GET="refused", POST="refused", PUT="refused", DELETE="refused") for path in _REFUSED),
)

# Types and messages are the examples of the description where it has one.
_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("invalid-input", "Invalid input: The request body contains invalid data."),
    401: ("invalid-token", "Authentication token is not valid."),
    402: (
        "not-enough-usage-to-run-paid-actor",
        "By launching this job you will exceed your remaining usage.",
    ),
    403: ("insufficient-permissions", "You do not have permission to perform this action."),
    404: ("record-not-found", "The requested resource was not found."),
    409: ("concurrent-update-detected", "The resource was changed by somebody else."),
    408: ("run-timeout-exceeded", "Actor run exceeded the timeout of 300 seconds for this API endpoint"),
    413: ("request-too-large", "The POST payload is too large."),
    415: ("unsupported-content-encoding", "Content-Encoding is not supported."),
    429: ("rate-limit-exceeded", "You have exceeded the rate limit. Please try again later."),
}


class ApifyDialect:
    """How Apify speaks."""

    name = "apify"
    routes = ROUTES
    layout = Layout(("data", "items"), ("data",), "usageTotalUsd", "startedAt")

    def token(self, request: Request) -> str | None:
        """The token that came with the request, in the header or (older) in the query."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
        return request.query.get("token")

    def error(self, status: int, message: str | None = None) -> Answer:
        """An error in Apify's shape."""
        kind, text = _ERRORS.get(status, ("internal-server-error", "Internal server error."))
        return self._error(status, kind, message or text)

    def unauthorized(self, token: str | None) -> Answer:
        """401, for an unknown token or none."""
        if token is None:
            return self._error(401, "token-not-provided", "Authentication token was not provided.")
        return self.error(401)

    def lost(self, target: Target) -> Answer:
        """404 for an unknown path, 405 for a wrong method."""
        if not target.allowed:
            return self._error(404, "page-not-found", "We have bad news: there is no API endpoint at this URL.")
        methods = ",".join(("OPTIONS", *target.allowed))
        text = f"This API end-point can only be accessed using the following HTTP methods: {methods}"
        return self._error(405, "method-not-allowed", text)

    def throttled(self, retry_after_s: int | None) -> Answer:
        """429."""
        answer = self.error(429)
        if retry_after_s is not None:
            answer.headers["Retry-After"] = str(retry_after_s)
        return answer

    def dress(self, answer: Answer, account: ApifyAccount | None = None) -> Answer:
        """Put on the headers that every answer has."""
        limit = account.requests_per_second if account else None
        answer.headers.setdefault("X-RateLimit-Limit", str(limit or 60))
        return answer

    def answer(self, account: ApifyAccount, target: Target, request: Request, now_s: float, fate: Fate) -> Answer:
        """Do what the request asks for."""
        account.sync(now_s)
        if account.is_too_fast(target.id or request.path, now_s):
            return self.throttled(None)
        if request.body_bytes > MAX_BODY_BYTES:
            return self.error(413)
        if (how := account.refusals.get(target.id)) is not None:
            return self.refused(how)
        assert target.endpoint is not None
        try:
            return CALLS[target.endpoint](Ask(account, request, now_s, fate), target.id)
        except RefusedError as why:
            usual_kind, usual_text = _ERRORS[why.status]
            return self._error(why.status, why.kind or usual_kind, why.message or usual_text)

    def preceding(self, account: ApifyAccount, request: Request, now_s: float) -> Any:
        """The item right before the page that was asked for; None on the first page."""
        ask = Ask(account, request, now_s)
        offset = ask.whole("offset")
        if not offset:
            return None
        earlier = replace(request, query={**request.query, "offset": str(offset - 1), "limit": "1"})
        items = msgspec.json.decode(list_runs(replace(ask, request=earlier), "").body)["data"]["items"]
        return items[0] if items else None

    def refused(self, how: Refusal) -> Answer:
        """The answer about what this token may not read."""
        if how == "forbidden":
            return self.error(403)
        if how == "not-found":
            return self.error(404)
        return self._error(404, "record-or-token-not-found", "The record was not found or access was denied.")

    def _error(self, status: int, kind: str, message: str) -> Answer:
        return json_answer(status, {"error": {"type": kind, "message": message}})
