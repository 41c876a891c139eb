"""What the simulated Apify says about the user, and about Actors and tasks."""

from __future__ import annotations

import calendar
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_records import ApifyActor, ApifyTask
from watchdog.simulated.apify_run import TERMINAL, ApifyRun
from watchdog.simulated.clock import iso_millis

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


def me(account: ApifyAccount) -> dict[str, Any]:
    """The user whose token it is."""
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
        "proxy": {"password": "simulated", "groups": []},
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


def runs_by_actor(account: ApifyAccount) -> Mapping[str, Sequence[ApifyRun]]:
    """The runs of each Actor that has any."""
    found = defaultdict(list)
    for run in account.runs:
        found[run.actor.id].append(run)
    return found


def actor(thing: ApifyActor, account: ApifyAccount) -> dict[str, Any]:
    return _actor(thing, account, [run for run in account.runs if run.actor.id == thing.id])


def _actor(thing: ApifyActor, account: ApifyAccount, runs: Sequence[ApifyRun]) -> dict[str, Any]:
    created = iso_millis(account.clock.at(thing.created_s))
    return {
        "id": thing.id,
        "userId": account.user_id if thing.owner == account.username else thing.owner_id,
        "name": thing.name,
        "username": thing.owner,
        "isPublic": thing.owner != account.username,
        "createdAt": created,
        "modifiedAt": created,
        "stats": _stats(runs),
        "versions": [{"versionNumber": "0.0", "sourceType": "SOURCE_FILES", "buildTag": "latest"}],
        "defaultRunOptions": {"build": "latest", "timeoutSecs": 3600, "memoryMbytes": 1024},
        "taggedBuilds": {"latest": {"buildId": thing.build_id, "buildNumber": "0.0.2", "finishedAt": created}},
        "title": _title(thing),
    }


def actor_short(thing: ApifyActor, account: ApifyAccount, runs: Sequence[ApifyRun]) -> dict[str, Any]:
    """An item of the list of Actors; `runs`: its own."""
    whole = _actor(thing, account, runs)
    return {name: whole[name] for name in ("id", "createdAt", "modifiedAt", "name", "username", "title", "stats")}


def actor_in_store(thing: ApifyActor, runs: Sequence[ApifyRun]) -> dict[str, Any]:
    """An item of what the Store finds; `runs`: its own."""
    return {
        "id": thing.id,
        "title": _title(thing),
        "name": thing.name,
        "username": thing.owner,
        "userFullName": thing.owner,
        "description": f"{_title(thing)}, simulated.",
        "categories": [],
        "stats": _stats(runs),
        "currentPricingInfo": {"pricingModel": "FREE"},
        "url": f"https://apify.com/{thing.label}",
    }


def task(thing: ApifyTask, account: ApifyAccount) -> dict[str, Any]:
    created = iso_millis(account.clock.at(thing.created_s))
    return {
        "id": thing.id,
        "userId": account.user_id,
        "actId": thing.actor.id,
        "name": thing.name,
        "username": account.username,
        "createdAt": created,
        "modifiedAt": created,
        "stats": {"totalRuns": sum(run.short.actor_task_id == thing.id for run in account.runs)},
        "options": thing.options,
        "input": thing.input,
    }


def task_short(thing: ApifyTask, account: ApifyAccount) -> dict[str, Any]:
    """An item of the list of tasks."""
    names = ("id", "userId", "actId", "name", "username", "createdAt", "modifiedAt", "stats")
    whole = task(thing, account)
    return {**{name: whole[name] for name in names}, "actName": thing.actor.name, "actUsername": thing.actor.owner}


def build(thing: ApifyActor, account: ApifyAccount) -> dict[str, Any]:
    """The only build that each Actor has."""
    created = iso_millis(account.clock.at(thing.created_s))
    return {
        "id": thing.build_id,
        "actId": thing.id,
        "userId": account.user_id,
        "startedAt": created,
        "finishedAt": created,
        "status": "SUCCEEDED",
        "meta": {"origin": "WEB"},
        "stats": {"durationMillis": 0, "runTimeSecs": 0.0, "computeUnits": 0.0},
        "options": {"useCache": False, "betaPackages": False, "memoryMbytes": 1024, "diskMbytes": 2048},
        "usageTotalUsd": 0.0,
        "buildNumber": "0.0.2",
    }


def limits(account: ApifyAccount, now_s: float) -> dict[str, Any]:
    first, last = _cycle(account.clock.at(now_s))
    usd, units = _used(account, first, account.clock.at(now_s))
    active = [run for run in account.runs if run.phase.status not in TERMINAL]
    return {
        "monthlyUsageCycle": {"startAt": iso_millis(first), "endAt": iso_millis(last)},
        "limits": {
            "maxMonthlyUsageUsd": account.max_monthly_usage_usd,
            "maxMonthlyActorComputeUnits": 1000,
            "maxMonthlyExternalDataTransferGbytes": 7,
            "maxMonthlyProxySerps": 50,
            "maxMonthlyResidentialProxyGbytes": 0.5,
            "maxActorMemoryGbytes": 64,
            "maxActorCount": 100,
            "maxActorTaskCount": 1000,
            "maxConcurrentActorJobs": 256,
            "maxTeamAccountSeatCount": 9,
            "dataRetentionDays": account.data_retention_days,
        },
        "current": {
            "monthlyUsageUsd": usd + account.other_usage_usd,
            "monthlyActorComputeUnits": units,
            "monthlyExternalDataTransferGbytes": 0,
            "monthlyProxySerps": 0,
            "monthlyResidentialProxyGbytes": 0,
            "actorMemoryGbytes": sum(run.memory_mbytes for run in active) / 1024,
            "actorCount": len(account.actors),
            "actorTaskCount": len(account.tasks),
            "activeActorJobCount": len(active),
            "teamAccountSeatCount": 1,
        },
    }


def monthly_usage(account: ApifyAccount, now_s: float, day: datetime) -> dict[str, Any]:
    """Usage of the cycle that `day` lies in, with its days so far; nothing of the future."""
    now = account.clock.at(now_s)
    first, last = _cycle(day)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    daily = [_daily(account, each, min(each + timedelta(days=1), now)) for each in days if each <= now]
    other = account.other_usage_usd if first <= now <= last else 0.0
    usd = sum(each["totalUsageCreditsUsd"] for each in daily) + other
    units = sum(each["serviceUsage"]["ACTOR_COMPUTE_UNITS"]["quantity"] for each in daily)
    service = _service(usd - other, units)
    if other:
        service["DATASET_TIMED_STORAGE_GBYTE_HOURS"] = {"quantity": 1.0, "baseAmountUsd": other}
    return {
        "usageCycle": {"startAt": iso_millis(first), "endAt": iso_millis(last)},
        "monthlyServiceUsage": service,
        "dailyServiceUsages": daily,
        "totalUsageCreditsUsdBeforeVolumeDiscount": usd,
        "totalUsageCreditsUsdAfterVolumeDiscount": usd,
    }


def _daily(account: ApifyAccount, start: datetime, end: datetime) -> dict[str, Any]:
    usd, units = _used(account, start, end)
    return {"date": iso_millis(start), "serviceUsage": _service(usd, units), "totalUsageCreditsUsd": usd}


def _service(usd: float, units: float) -> dict[str, Any]:
    return {"ACTOR_COMPUTE_UNITS": {"quantity": units, "baseAmountUsd": usd}}


def _used(account: ApifyAccount, start: datetime, end: datetime) -> tuple[float, float]:
    """USD and compute units of all runs between two moments."""
    start_s, end_s = account.clock.elapsed_at(start), account.clock.elapsed_at(end)
    usd = units = 0.0
    for run in account.runs:
        if start_s <= run.life.start_s:
            before_usd = before_units = 0.0
        else:
            before = run.usage_at(start_s)
            before_usd, before_units = before.cost_usd or 0.0, before.credits
        if end_s >= run.life.start_s:
            after = run.usage_at(end_s)
            usd += (after.cost_usd or 0.0) - before_usd
            units += after.credits - before_units
    return usd, units


def _cycle(day: datetime) -> tuple[datetime, datetime]:
    """The usage cycle of a day: its month."""
    first = day.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last_day = calendar.monthrange(first.year, first.month)[1]
    return first, first.replace(day=last_day, hour=23, minute=59, second=59, microsecond=999000)


def last_start_s(runs: Sequence[ApifyRun]) -> float:
    """When the last of these runs was started, in seconds of platform time."""
    return max((run.life.start_s for run in runs), default=-math.inf)


def _stats(runs: Sequence[ApifyRun]) -> dict[str, Any]:
    last = {"lastRunStartedAt": max(runs, key=lambda run: run.life.start_s).started_at} if runs else {}
    return {
        **last,
        "totalBuilds": 1,
        "totalRuns": len(runs),
        "totalUsers": 1,
        "totalUsers7Days": 1,
        "totalUsers30Days": 1,
        "totalUsers90Days": 1,
        "totalMetamorphs": 0,
    }


def _title(thing: ApifyActor) -> str:
    return thing.title or thing.name.replace("-", " ").title()
