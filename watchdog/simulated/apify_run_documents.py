"""What the simulated Apify says about a run and its storages."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_pricing import PayPerEvent
from watchdog.simulated.apify_run import ApifyRun
from watchdog.simulated.clock import iso_millis

_CU_USD: Final = 0.3
"""Price of a compute unit, for the split of costs only."""


def whole(run: ApifyRun, account: ApifyAccount, now_s: float) -> dict[str, Any]:
    """The whole run object."""
    item, shown = run.short, run.shown
    document: dict[str, Any] = {
        "id": run.id,
        "actId": item.act_id,
        "userId": item.user_id,
        "actorTaskId": item.actor_task_id,
        "startedAt": run.started_at,
        "finishedAt": item.finished_at,
        "status": item.status,
        "statusMessage": run.status_message,
        "isStatusMessageTerminal": run.is_status_message_terminal,
        "meta": item.meta,
        "options": _options(run),
        "buildId": item.build_id,
        "buildNumber": item.build_number,
        "exitCode": {"SUCCEEDED": 0, "FAILED": 1}.get(item.status),
        "generalAccess": run.general_access,
        "defaultKeyValueStoreId": item.default_key_value_store_id,
        "defaultDatasetId": item.default_dataset_id,
        "defaultRequestQueueId": item.default_request_queue_id,
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


def dataset(run: ApifyRun, now_s: float) -> dict[str, Any]:
    """Its default dataset; the number of items is late."""
    count = run.item_count(now_s)
    item = run.short
    return {
        **_storage(run, item.default_dataset_id, "datasets", now_s),
        "name": None,
        "itemCount": count,
        "cleanItemCount": count,
        "stats": {"readCount": 0, "writeCount": count, "storageBytes": count * 100},
    }


def key_value_store(run: ApifyRun, now_s: float) -> dict[str, Any]:
    """Its default key-value store."""
    return {
        **_storage(run, run.short.default_key_value_store_id, "key-value-stores", now_s),
        "name": None,
        "stats": {"readCount": 0, "writeCount": 1, "deleteCount": 0, "listCount": 0},
    }


def request_queue(run: ApifyRun, now_s: float) -> dict[str, Any]:
    """Its default request queue: a request for each result."""
    handled = run.work_at(now_s).results
    pending = 10 if run.phase.running else 0
    return {
        **_storage(run, run.short.default_request_queue_id, "request-queues", now_s),
        "name": None,
        "totalRequestCount": handled + pending,
        "handledRequestCount": handled,
        "pendingRequestCount": pending,
        "hadMultipleClients": False,
    }


def log(run: ApifyRun, account: ApifyAccount, now_s: float) -> str:
    """The log so far: a line for each phase of its life."""
    phases = [phase for phase in run.life.phases if phase.start_s <= now_s]
    return "".join(f"{iso_millis(account.clock.at(phase.start_s))} ACTOR: {_told(phase.status)}\n" for phase in phases)


def _told(status: str) -> str:
    return {
        "READY": "Waiting for a worker.",
        "RUNNING": "Starting the container.",
        "ABORTING": "The run is being aborted.",
        "TIMING-OUT": "The run has exceeded its timeout.",
    }.get(status, f"The run has ended: {status}.")


def _storage(run: ApifyRun, storage_id: str, kind: str, now_s: float) -> dict[str, Any]:
    now = iso_millis(run.clock.at(now_s))
    return {
        "id": storage_id,
        "userId": run.short.user_id,
        "createdAt": run.started_at,
        "modifiedAt": now,
        "accessedAt": now,
        "actId": run.actor.id,
        "actRunId": run.id,
        "consoleUrl": f"https://console.apify.com/storage/{kind}/{storage_id}",
    }


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
        "inputBodyLen": len(run.input_body),
        "migrationCount": 0,
        "rebootCount": run.reboot_count,
        "restartCount": run.restart_count(now_s),
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
        "build": run.build,
        "timeoutSecs": run.timeout_secs,
        "memoryMbytes": run.memory_mbytes,
        "diskMbytes": run.memory_mbytes * 2,
    }
    if run.restart_on_error:
        options["restartOnError"] = True
    if run.max_items is not None:
        options["maxItems"] = run.max_items
    if run.max_total_charge_usd is not None:
        options["maxTotalChargeUsd"] = run.max_total_charge_usd
    return options
