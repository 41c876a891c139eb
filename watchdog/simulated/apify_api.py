"""Apify's API as the description has it: paths, answers, errors."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from watchdog.simulated.account import Fate
from watchdog.simulated.apify import ApifyAccount, Refusal
from watchdog.simulated.apify_pricing import PayPerEvent
from watchdog.simulated.apify_run import MESSAGE_MAX, STATUSES, TERMINAL, ApifyActor, ApifyRun
from watchdog.simulated.clock import iso_millis
from watchdog.simulated.faults import Layout
from watchdog.simulated.http import MAX_BODY_BYTES, Answer, Request, Target, json_answer, route

MAX_PAGE: Final = 1000

ROUTES: Final = (
    route("/v2/actor-runs", GET="list"),
    route("/v2/actor-runs/{id}", GET="run", PUT="update"),
    route("/v2/actor-runs/{id}/abort", POST="abort"),
    route("/v2/actor-runs/{id}/resurrect", POST="resurrect"),
    route("/v2/actors/{id}", GET="actor"),
    route("/v2/acts/{id}", GET="actor"),
    route("/v2/actor-tasks/{id}", GET="task"),
    route("/v2/datasets/{id}", GET="dataset"),
    route("/v2/users/me", GET="me"),
    route("/v2/users/me/limits", GET="limits"),
    route("/v2/users/me/usage/monthly", GET="usage"),
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
    408: ("run-timeout-exceeded", "Actor run exceeded the timeout of 300 seconds for this API endpoint"),
    413: ("request-too-large", "The POST payload is too large."),
    415: ("unsupported-content-encoding", "Content-Encoding is not supported."),
    429: ("rate-limit-exceeded", "You have exceeded the rate limit. Please try again later."),
}

_FEATURES: Final = (
    "ACTORS",
    "STORAGE",
    "SCHEDULER",
    "PROXY",
    "PROXY_EXTERNAL_ACCESS",
    "PROXY_RESIDENTIAL",
    "PROXY_SERPS",
    "WEBHOOKS",
    "ACTORS_PUBLIC_ALL",
    "ACTORS_PUBLIC_DEVELOPER",
)

_CU_USD: Final = 0.3
"""Price of a compute unit, for the split of costs only."""


class BadRequestError(Exception):
    """The request makes no sense; the text says why, `kind` in the platform's word."""

    def __init__(self, message: str, kind: str = "invalid-input") -> None:
        super().__init__(message)
        self.kind = kind


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
        try:
            return _Desk(self, account, request, now_s, fate).serve(target)
        except BadRequestError as why:
            return self._error(400, why.kind, str(why))

    def preceding(self, account: ApifyAccount, request: Request, now_s: float) -> Any:
        """The item right before the page that was asked for; None on the first page."""
        offset = _whole(request.query, "offset", 0)
        if not offset:
            return None
        earlier = {**request.query, "offset": str(offset - 1), "limit": "1"}
        page = _Page(account, earlier, now_s).document()
        items = msgspec.to_builtins(page["data"]["items"])
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


class _Desk:
    """Serves one request of one account."""

    def __init__(
        self, dialect: ApifyDialect, account: ApifyAccount, request: Request, now_s: float, fate: Fate
    ) -> None:
        self._dialect = dialect
        self._account = account
        self._request = request
        self._now_s = now_s
        self._fate = fate

    def serve(self, target: Target) -> Answer:
        if (how := self._account.refusals.get(target.id)) is not None:
            return self._dialect.refused(how)
        match target.endpoint:
            case "list":
                return json_answer(200, _Page(self._account, self._request.query, self._now_s).document())
            case "run":
                return self._with_run(target.id, lambda run: None)
            case "abort":
                return self._with_run(target.id, self._abort)
            case "update":
                return self._with_run(target.id, self._update)
            case "resurrect":
                return self._resurrect(target.id)
            case "actor":
                return self._found(self._account.actor_by(target.id), self._actor)
            case "task":
                return self._found(self._account.tasks.get(target.id), self._task)
            case "dataset":
                return self._found(self._account.datasets.get(target.id), self._dataset)
            case "me":
                return json_answer(200, {"data": _me(self._account)})
            case "limits":
                return json_answer(200, {"data": self._limits()})
            case "usage":
                return json_answer(200, {"data": self._monthly_usage()})
        raise AssertionError(f"no such endpoint: {target.endpoint}")

    def _found(self, thing: Any, describe: Callable[[Any], dict[str, Any]]) -> Answer:
        return self._dialect.error(404) if thing is None else json_answer(200, {"data": describe(thing)})

    def _with_run(self, run_id: str, act: Callable[[ApifyRun], None]) -> Answer:
        if (run := self._visible(run_id)) is None:
            return self._dialect.error(404)
        act(run)
        return json_answer(200, {"data": _run(run, self._account, self._now_s)})

    def _visible(self, run_id: str) -> ApifyRun | None:
        """The run, unless it is so new that this replica does not have it yet."""
        run = self._account.find(run_id)
        return run if run is not None and self._now_s >= run.shown.detail_from_s else None

    def _abort(self, run: ApifyRun) -> None:
        gracefully = _flag(self._request.query, "gracefully")
        self._account.abort(run, self._now_s, gracefully, self._fate)

    def _update(self, run: ApifyRun) -> None:
        body = self._json_body()
        if body.get("runId", run.id) != run.id:
            raise BadRequestError("Invalid input: runId must be that of the path.")
        message, final = body.get("statusMessage"), body.get("isStatusMessageTerminal")
        if not isinstance(message, str):
            raise BadRequestError("Invalid input: statusMessage must be a string.")
        if final is not None and not isinstance(final, bool):
            raise BadRequestError("Invalid input: isStatusMessageTerminal must be a boolean.")
        run.status_message = message[:MESSAGE_MAX]
        run.is_status_message_terminal = final

    def _resurrect(self, run_id: str) -> Answer:
        run = self._visible(run_id)
        if run is not None and run.phase.status not in TERMINAL:
            raise BadRequestError("Only finished runs can be resurrected.")
        if run is not None and not self._account.can_pay:
            return self._dialect.error(402)
        return self._with_run(run_id, self._bring_back)

    def _bring_back(self, run: ApifyRun) -> None:
        query = self._request.query
        most_usd = _number(query, "maxTotalChargeUsd", None)
        if most_usd is not None and most_usd < (run.max_total_charge_usd or 0.0):
            text = f"The maximum total charge of the run can only be raised; it is {run.max_total_charge_usd} USD."
            raise BadRequestError(text, "max-total-charge-usd-below-minimum")
        self._account.resurrect(
            run,
            timeout_secs=_whole(query, "timeout", run.timeout_secs),
            memory_mbytes=_whole(query, "memory", run.memory_mbytes),
            max_total_charge_usd=most_usd,
        )

    def _json_body(self) -> dict[str, Any]:
        if "json" not in self._request.headers.get("content-type", ""):
            raise BadRequestError("Invalid input: Content-Type must be application/json.")
        try:
            body = msgspec.json.decode(self._request.body)
        except msgspec.DecodeError as why:
            raise BadRequestError("Invalid input: The request body is not valid JSON.") from why
        if not isinstance(body, dict):
            raise BadRequestError("Invalid input: The request body must be an object.")
        return body

    def _at(self, elapsed_s: float) -> str:
        return iso_millis(self._account.clock.at(elapsed_s))

    def _actor(self, actor: ApifyActor) -> dict[str, Any]:
        created = self._at(actor.created_s)
        return {
            "id": actor.id,
            "userId": self._account.user_id,
            "name": actor.name,
            "username": actor.owner,
            "isPublic": True,
            "createdAt": created,
            "modifiedAt": created,
            "stats": {"totalRuns": sum(run.actor.id == actor.id for run in self._account.runs)},
            "versions": [{"versionNumber": "0.0", "sourceType": "SOURCE_FILES", "buildTag": "latest"}],
            "defaultRunOptions": {"build": "latest", "timeoutSecs": 3600, "memoryMbytes": 1024},
            "title": actor.name.replace("-", " ").title(),
        }

    def _task(self, task: Any) -> dict[str, Any]:
        created = self._at(task.created_s)
        return {
            "id": task.id,
            "userId": self._account.user_id,
            "actId": task.actor.id,
            "name": task.name,
            "username": self._account.username,
            "createdAt": created,
            "modifiedAt": created,
            "stats": {"totalRuns": sum(run.short.actor_task_id == task.id for run in self._account.runs)},
        }

    def _dataset(self, run: ApifyRun) -> dict[str, Any]:
        count = run.item_count(self._now_s)
        dataset_id = run.short.default_dataset_id
        return {
            "id": dataset_id,
            "name": None,
            "userId": self._account.user_id,
            "createdAt": run.started_at,
            "modifiedAt": self._at(self._now_s),
            "accessedAt": self._at(self._now_s),
            "itemCount": count,
            "cleanItemCount": count,
            "actId": run.actor.id,
            "actRunId": run.id,
            "consoleUrl": f"https://console.apify.com/storage/datasets/{dataset_id}",
        }

    def _totals(self) -> tuple[float, float]:
        """USD and compute units of all runs of the account (the simulation's runs all count for this
        month)."""
        usages = [run.usage_at(self._now_s) for run in self._account.runs]
        return sum(usage.cost_usd or 0.0 for usage in usages), sum(usage.credits for usage in usages)

    def _limits(self) -> dict[str, Any]:
        usd, units = self._totals()
        active = [run for run in self._account.runs if run.phase.status not in TERMINAL]
        return {
            "monthlyUsageCycle": self._cycle(),
            "limits": {
                "maxMonthlyUsageUsd": self._account.max_monthly_usage_usd,
                "maxMonthlyActorComputeUnits": 1000,
                "maxMonthlyExternalDataTransferGbytes": 7,
                "maxMonthlyProxySerps": 50,
                "maxMonthlyResidentialProxyGbytes": 0.5,
                "maxActorMemoryGbytes": 64,
                "maxActorCount": 100,
                "maxActorTaskCount": 1000,
                "maxConcurrentActorJobs": 256,
                "maxTeamAccountSeatCount": 9,
                "dataRetentionDays": 90,
            },
            "current": {
                "monthlyUsageUsd": usd,
                "monthlyActorComputeUnits": units,
                "monthlyExternalDataTransferGbytes": 0,
                "monthlyProxySerps": 0,
                "monthlyResidentialProxyGbytes": 0,
                "actorMemoryGbytes": sum(run.memory_mbytes for run in active) / 1024,
                "actorCount": len(self._account.actors),
                "actorTaskCount": len(self._account.tasks),
                "activeActorJobCount": len(active),
                "teamAccountSeatCount": 1,
            },
        }

    def _monthly_usage(self) -> dict[str, Any]:
        usd, units = self._totals()
        service = {"ACTOR_COMPUTE_UNITS": {"quantity": units, "baseAmountUsd": usd}}
        today = iso_millis(self._today())
        return {
            "usageCycle": self._cycle(),
            "monthlyServiceUsage": service,
            "dailyServiceUsages": [{"date": today, "serviceUsage": service, "totalUsageCreditsUsd": usd}],
            "totalUsageCreditsUsdBeforeVolumeDiscount": usd,
            "totalUsageCreditsUsdAfterVolumeDiscount": usd,
        }

    def _today(self) -> datetime:
        now = self._account.clock.at(self._now_s)
        return now.replace(hour=0, minute=0, second=0, microsecond=0)

    def _cycle(self) -> dict[str, str]:
        today = self._today()
        last_day = calendar.monthrange(today.year, today.month)[1]
        end = today.replace(day=last_day, hour=23, minute=59, second=59, microsecond=999000)
        return {"startAt": iso_millis(today.replace(day=1)), "endAt": iso_millis(end)}


class _Page:
    """A page of the run list."""

    def __init__(self, account: ApifyAccount, query: Mapping[str, str], now_s: float) -> None:
        self._account = account
        self._query = query
        self._now_s = now_s

    def document(self) -> dict[str, Any]:
        query = self._query
        offset = _whole(query, "offset", 0)
        limit = min(_whole(query, "limit", MAX_PAGE) or MAX_PAGE, MAX_PAGE)
        desc = _flag(query, "desc")
        after_s = self._bound("startedAfter", float("-inf"))
        before_s = self._bound("startedBefore", float("inf"))
        found = self._account.selection(_statuses(query), after_s, before_s, desc)
        items = self._shorts(found[offset : offset + limit])
        head = {"total": len(found), "offset": offset, "limit": limit, "count": len(items), "desc": desc}
        return {"data": {**head, "items": items}}

    def _shorts(self, runs: list[ApifyRun]) -> list[Any]:
        now_s = self._now_s
        for run in runs:
            short = run.short
            short.usage_total_usd = run.listed_usd(now_s)
            short.started_at = run.started_at if now_s >= run.shown.start_from_s else msgspec.UNSET
        return [run.short for run in runs]

    def _bound(self, name: str, default: float) -> float:
        if not (text := self._query.get(name)):
            return default
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as why:
            raise BadRequestError(f"Invalid input: {name} must be an ISO 8601 date.") from why
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return self._account.clock.elapsed_at(aware)


def _run(run: ApifyRun, account: ApifyAccount, now_s: float) -> dict[str, Any]:
    """The whole run object."""
    short, shown = run.short, run.shown
    document: dict[str, Any] = {
        "id": run.id,
        "actId": short.act_id,
        "userId": short.user_id,
        "actorTaskId": short.actor_task_id,
        "startedAt": run.started_at,
        "finishedAt": short.finished_at,
        "status": short.status,
        "statusMessage": run.status_message,
        "isStatusMessageTerminal": run.is_status_message_terminal,
        "meta": short.meta,
        "options": _options(run),
        "buildId": short.build_id,
        "buildNumber": short.build_number,
        "exitCode": {"SUCCEEDED": 0, "FAILED": 1}.get(short.status),
        "generalAccess": "FOLLOW_USER_SETTING",
        "defaultKeyValueStoreId": short.default_key_value_store_id,
        "defaultDatasetId": short.default_dataset_id,
        "defaultRequestQueueId": short.default_request_queue_id,
        "containerUrl": f"https://{run.id.lower()}.runs.apify.net",
        "isContainerServerReady": False,
    }
    if now_s < shown.start_from_s:
        del document["startedAt"]
    fresh = run.is_fresh(now_s)
    units = run.life.gb_seconds(run.figures_s(now_s, shown.refresh_stats)) / 3600
    if not (shown.stats_none and fresh):
        missing = shown.stats_missing if fresh else ()
        document["stats"] = {name: value for name, value in _stats(run, now_s, units).items() if name not in missing}
    if run.metamorphs:
        document["metamorphs"] = run.metamorphs
    document.update(_money(run, account, now_s, units))
    return document


def _money(run: ApifyRun, account: ApifyAccount, now_s: float, units: float) -> dict[str, Any]:
    """What the run object says about cost."""
    document: dict[str, Any] = {}
    pricing, usd = run.pricing, run.shown_usd(now_s)
    if pricing is not None:
        document["pricingInfo"] = pricing.document(iso_millis(account.clock.start))
    if isinstance(pricing, PayPerEvent):
        document["chargedEventCounts"] = pricing.event_counts(run.work_at(now_s))
        billed_to = "USER" if pricing.usage_usd_per_hour else "DEVELOPER"
        document["platformUsageBillingModel"] = billed_to
    if not isinstance(usd, msgspec.UnsetType):
        document["usageTotalUsd"] = usd
        if pricing is None:
            document["usage"] = {"ACTOR_COMPUTE_UNITS": units}
            document["usageUsd"] = {"ACTOR_COMPUTE_UNITS": min(usd, units * _CU_USD)}
    return document


def _stats(run: ApifyRun, now_s: float, units: float) -> dict[str, Any]:
    ran_s = run.life.ran_s(run.figures_s(now_s, run.shown.refresh_stats))
    memory = run.memory_mbytes * 1024 * 1024
    return {
        "inputBodyLen": 240,
        "migrationCount": 0,
        "rebootCount": 0,
        "restartCount": 0,
        "resurrectCount": run.resurrect_count,
        "memAvgBytes": memory * 0.4,
        "memMaxBytes": memory // 2,
        "memCurrentBytes": memory // 3 if run.phase.running else 0,
        "cpuAvgUsage": 20.5,
        "cpuMaxUsage": 98.0,
        "cpuCurrentUsage": 18.5 if run.phase.running else 0,
        "netRxBytes": int(ran_s * 50_000),
        "netTxBytes": int(ran_s * 5_000),
        "durationMillis": int(ran_s * 1000),
        "runTimeSecs": round(ran_s, 3),
        "metamorph": len(run.metamorphs),
        "computeUnits": round(units, 9),
    }


def _options(run: ApifyRun) -> dict[str, Any]:
    options: dict[str, Any] = {
        "build": "latest",
        "timeoutSecs": run.timeout_secs,
        "memoryMbytes": run.memory_mbytes,
        "diskMbytes": run.memory_mbytes * 2,
    }
    if run.max_items is not None:
        options["maxItems"] = run.max_items
    if run.max_total_charge_usd is not None:
        options["maxTotalChargeUsd"] = run.max_total_charge_usd
    return options


def _me(account: ApifyAccount) -> dict[str, Any]:
    feature = {
        "isEnabled": True,
        "disabledReason": None,
        "disabledReasonType": None,
        "isTrial": False,
        "trialExpirationAt": None,
    }
    return {
        "id": account.user_id,
        "username": account.username,
        "profile": {"name": account.username},
        "email": f"{account.username}@example.com",
        "plan": {
            "id": "SCALE",
            "isEnabled": True,
            "maxMonthlyUsageUsd": account.max_monthly_usage_usd,
            "availableProxyGroups": {"SOMEGROUP": 20},
        },
        "effectivePlatformFeatures": dict.fromkeys(_FEATURES, feature),
        "createdAt": iso_millis(account.clock.start),
        "isPaying": True,
    }


def _statuses(query: Mapping[str, str]) -> frozenset[str]:
    wanted = frozenset(part.strip() for part in query.get("status", "").split(",") if part.strip())
    if unknown := wanted - STATUSES:
        raise BadRequestError(f"Invalid input: unknown status {', '.join(sorted(unknown))}.")
    return wanted


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    value = _number(query, name, float(default))
    return default if value is None else int(value)


def _number(query: Mapping[str, str], name: str, default: float | None) -> float | None:
    text = query.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError as why:
        raise BadRequestError(f"Invalid input: {name} must be a number.") from why
    if not 0 <= value < float("inf"):
        raise BadRequestError(f"Invalid input: {name} must not be negative.")
    return value
