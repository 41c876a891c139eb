"""The calls of the simulated Apify about runs: look, start, stop, bring back, and what belongs to a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from watchdog.simulated import apify_run_documents as documents
from watchdog.simulated.apify_ask import Ask, RefusedError, bad_request, data_answer, found, no_content, paged
from watchdog.simulated.apify_pricing import PayPerEvent
from watchdog.simulated.apify_records import ApifyActor, ApifyTask
from watchdog.simulated.apify_run import MESSAGE_MAX, METAMORPHS_MAX, TERMINAL, ApifyRun
from watchdog.simulated.http import Answer, Hold

Call = Callable[[Ask, str], Answer]

WAIT_MAX_S: Final = 60.0
"""`waitForFinish` holds the answer no longer than this."""
MEMORY_MIN_MBYTES: Final = 128
MEMORY_MAX_MBYTES: Final = 32_768
_ACCESSES: Final = frozenset({"FOLLOW_USER_SETTING", "ANYONE_WITH_ID_CAN_READ", "RESTRICTED"})


def visible(ask: Ask, run_id: str) -> ApifyRun:
    """The run; refused if there is none, or it is so new that this replica does not have it yet."""
    run: ApifyRun = found(ask.account.find(run_id))
    if ask.now_s < run.shown.detail_from_s:
        raise RefusedError(404)
    return run


# --- lists -----------------------------------------------------------------------------------------------------------


def list_runs(ask: Ask, _: str) -> Answer:
    return run_page(ask)


def list_runs_of_actor(ask: Ask, key: str) -> Answer:
    return run_page(ask, _of_actor(ask, key))


def list_runs_of_task(ask: Ask, key: str) -> Answer:
    return run_page(ask, _of_task(ask, key))


def run_page(ask: Ask, is_meant: Callable[[ApifyRun], bool] | None = None) -> Answer:
    """A page of the runs meant (all if left out), with the filters of the query."""
    offset, limit, desc = ask.window()
    after_s, before_s = ask.moment_s("startedAfter"), ask.moment_s("startedBefore")
    runs = ask.account.selection(
        ask.statuses(),
        float("-inf") if after_s is None else after_s,
        float("inf") if before_s is None else before_s,
        desc,
    )
    if is_meant is not None:
        runs = [run for run in runs if is_meant(run)]
    items = [run.listed(ask.now_s) for run in runs[offset : offset + limit]]
    return paged(runs, offset, limit, desc, items)


# --- one run ---------------------------------------------------------------------------------------------------------


def told(ask: Ask, run: ApifyRun, status: int = 200) -> Answer:
    """The run as it is; with `waitForFinish`, as it is when it has finished or the time is over."""
    wait_s = min(ask.number("waitForFinish") or 0.0, WAIT_MAX_S)
    if not wait_s or run.phase.status in TERMINAL:
        return data_answer(documents.whole(run, ask.account, ask.now_s), status)
    return Answer(status, hold=_hold(ask, run, wait_s, status))


def _hold(ask: Ask, run: ApifyRun, wait_s: float, status: int) -> Hold:
    clock, until_s, real_until_s = ask.account.clock, ask.now_s + wait_s, time.monotonic() + wait_s

    def is_over() -> bool:
        # A clock that is moved by hand may stand still.
        return not run.is_active() or clock.elapsed_s() >= until_s or time.monotonic() >= real_until_s

    def answer() -> Answer:
        now_s = clock.elapsed_s()
        ask.account.sync(now_s)
        return data_answer(documents.whole(run, ask.account, now_s), status)

    return Hold(is_over, answer)


def get_run(ask: Ask, run_id: str) -> Answer:
    return told(ask, visible(ask, run_id))


def delete_run(ask: Ask, run_id: str) -> Answer:
    run = visible(ask, run_id)
    if run.phase.status not in TERMINAL:
        raise bad_request("A run that has not finished cannot be removed.", "cannot-remove-running-run")
    ask.account.delete_run(run)
    return no_content()


def update_run(ask: Ask, run_id: str) -> Answer:
    """Status message and access. The description asks for `runId` in the body; official clients send none."""
    run = visible(ask, run_id)
    fields = ask.fields(runId=str, statusMessage=str, isStatusMessageTerminal=bool, generalAccess=str)
    if fields.get("runId", run.id) != run.id:
        raise bad_request("Invalid input: runId must be that of the path.")
    message, access = fields.get("statusMessage"), fields.get("generalAccess")
    if message is None and access is None:
        raise bad_request("Invalid input: statusMessage or generalAccess must be given.")
    if access is not None and access not in _ACCESSES:
        raise bad_request(f"Invalid input: generalAccess must be one of {', '.join(sorted(_ACCESSES))}.")
    if message is not None:
        run.status_message = message[:MESSAGE_MAX]
        run.is_status_message_terminal = fields.get("isStatusMessageTerminal")
    run.general_access = access or run.general_access
    return told(ask, run)


def abort_run(ask: Ask, run_id: str) -> Answer:
    run = visible(ask, run_id)
    ask.account.abort(run, ask.now_s, ask.flag("gracefully"), ask.fate)
    return told(ask, run)


def resurrect_run(ask: Ask, run_id: str) -> Answer:
    run = visible(ask, run_id)
    if run.phase.status not in TERMINAL:
        raise bad_request("Only finished runs can be resurrected.")
    if not ask.account.can_pay:
        raise RefusedError(402)
    most_usd = _most_usd(ask)
    if most_usd is not None and most_usd < (run.max_total_charge_usd or 0.0):
        text = f"The maximum total charge of the run can only be raised; it is {run.max_total_charge_usd} USD."
        raise bad_request(text, "max-total-charge-usd-below-minimum")
    ask.account.resurrect(
        run,
        timeout_secs=ask.whole("timeout"),
        memory_mbytes=_memory(ask),
        restart_on_error=ask.maybe_flag("restartOnError"),
        max_total_charge_usd=most_usd,
        max_items=_max_items(ask),
    )
    run.build = ask.query.get("build", run.build)
    return told(ask, run)


def metamorph_run(ask: Ask, run_id: str) -> Answer:
    run = visible(ask, run_id)
    _require_running(run)
    actor: ApifyActor = found(ask.account.actor_by(ask.query.get("targetActorId", "")))
    if len(run.metamorphs) >= METAMORPHS_MAX:
        raise bad_request(f"A run can metamorph {METAMORPHS_MAX} times at most.", "max-metamorphs-exceeded")
    ask.account.metamorph(run, actor.id, changes_act_id=ask.account.metamorph_changes_act_id)
    return told(ask, run)


def reboot_run(ask: Ask, run_id: str) -> Answer:
    run = visible(ask, run_id)
    _require_running(run)
    run.reboot_count += 1
    return told(ask, run)


def charge_run(ask: Ask, run_id: str) -> Answer:
    """Charge events; the same idempotency key charges once."""
    run = visible(ask, run_id)
    fields = ask.fields(eventName=str, count=int)
    name, count = fields.get("eventName", ""), fields.get("count", 1)
    if count < 0:
        raise bad_request("Invalid input: count must not be negative.")
    if not isinstance(run.pricing, PayPerEvent):
        raise bad_request("The Actor does not charge by event.", "cannot-charge-non-pay-per-event-actor")
    if name.startswith("apify-"):
        raise bad_request("Events of the platform cannot be charged by an Actor.", "cannot-charge-apify-event")
    if name not in run.pricing.events:
        raise bad_request(f"Invalid input: the Actor has no event {name}.")
    _require_running(run)
    key = ask.request.headers.get("idempotency-key")
    if key is None or key not in run.charge_keys:
        run.charged[name] = run.charged.get(name, 0) + count
    if key is not None:
        run.charge_keys.add(key)
    return data_answer({}, 201)


def _require_running(run: ApifyRun) -> None:
    if run.phase.status != "RUNNING":
        raise bad_request(f"The run is not running, its status is {run.phase.status}.", "run-failed")


# --- starts ----------------------------------------------------------------------------------------------------------


def start_actor(ask: Ask, key: str) -> Answer:
    actor: ApifyActor = found(ask.account.actor_by(key))
    return _start(ask, {"actor": actor.id}, {})


def start_task(ask: Ask, key: str) -> Answer:
    task: ApifyTask = found(ask.account.task_by(key))
    return _start(ask, {"task": task.id}, task.options)


def _start(ask: Ask, source: Mapping[str, str], saved: Mapping[str, Any]) -> Answer:
    """A new run; what the query does not say is as the task has it saved, else as the account starts runs."""
    if not ask.account.can_pay:
        raise RefusedError(402)
    asked = {
        "timeout_secs": _either(ask.whole("timeout"), saved.get("timeoutSecs")),
        "memory_mbytes": _either(_memory(ask), saved.get("memoryMbytes")),
        "max_items": _either(_max_items(ask), saved.get("maxItems")),
        "max_total_charge_usd": _either(_most_usd(ask), saved.get("maxTotalChargeUsd")),
        "restart_on_error": _either(ask.maybe_flag("restartOnError"), saved.get("restartOnError")),
        "origin": ask.request.headers.get("x-apify-request-origin") or None,
        "user_agent": ask.request.headers.get("user-agent"),
    }
    given = {name: value for name, value in asked.items() if value is not None}
    arguments: dict[str, Any] = {**ask.account.starts_as, **source, **given}
    run = ask.account.start_run(**arguments)
    run.build = ask.query.get("build") or saved.get("build") or run.build
    if ask.request.body:
        run.input_body = ask.request.body
        run.input_type = ask.request.headers.get("content-type", run.input_type)
    return told(ask, run, 201)


def _either(asked: Any, saved: Any) -> Any:
    return saved if asked is None else asked


def _memory(ask: Ask) -> int | None:
    memory = ask.whole("memory")
    if memory is not None and not (MEMORY_MIN_MBYTES <= memory <= MEMORY_MAX_MBYTES and memory & (memory - 1) == 0):
        bounds = f"{MEMORY_MIN_MBYTES} to {MEMORY_MAX_MBYTES}"
        raise bad_request(f"Invalid input: memory must be a power of 2 from {bounds} MB.")
    return memory


def _max_items(ask: Ask) -> int | None:
    if (items := ask.whole("maxItems")) == 0:
        raise bad_request("Maximum number of items must be greater than zero.", "max-items-must-be-greater-than-zero")
    return items


def _most_usd(ask: Ask) -> float | None:
    if (most := ask.number("maxTotalChargeUsd")) == 0:
        text = "Maximum total charge must be greater than zero."
        raise bad_request(text, "max-total-charge-usd-must-be-greater-than-zero")
    return most


# --- what belongs to a run -------------------------------------------------------------------------------------------


def get_dataset_of_run(ask: Ask, run_id: str) -> Answer:
    return data_answer(documents.dataset(visible(ask, run_id), ask.now_s))


def get_store_of_run(ask: Ask, run_id: str) -> Answer:
    return data_answer(documents.key_value_store(visible(ask, run_id), ask.now_s))


def get_queue_of_run(ask: Ask, run_id: str) -> Answer:
    return data_answer(documents.request_queue(visible(ask, run_id), ask.now_s))


def get_log_of_run(ask: Ask, run_id: str) -> Answer:
    text = documents.log(visible(ask, run_id), ask.account, ask.now_s)
    return Answer(200, text.encode(), content_type="text/plain; charset=utf-8")


#: Endpoint -> what it does, for the calls that are about one run. All but `run` also follow `.../runs/last`.
OF_ONE_RUN: Final[Mapping[str, Call]] = {
    "run": get_run,
    "update": update_run,
    "delete-run": delete_run,
    "abort": abort_run,
    "resurrect": resurrect_run,
    "metamorph": metamorph_run,
    "reboot": reboot_run,
    "charge": charge_run,
    "log": get_log_of_run,
    "run-dataset": get_dataset_of_run,
    "run-store": get_store_of_run,
    "run-queue": get_queue_of_run,
}


def _last(of: Callable[[Ask, str], Callable[[ApifyRun], bool]], call: Call) -> Call:
    """The same call about the last run of an Actor or a task, by `status` and `origin` if they are asked for."""

    def answer(ask: Ask, key: str) -> Answer:
        is_meant, statuses, origin = of(ask, key), ask.statuses(), ask.query.get("origin")
        runs = ask.account.selection(statuses, float("-inf"), float("inf"), True)
        last = (run for run in runs if is_meant(run) and origin in (None, run.short.meta.origin))
        return call(ask, found(next(last, None)).id)

    return answer


def _of_actor(ask: Ask, key: str) -> Callable[[ApifyRun], bool]:
    actor: ApifyActor = found(ask.account.actor_by(key))
    return lambda run: run.short.act_id == actor.id


def _of_task(ask: Ask, key: str) -> Callable[[ApifyRun], bool]:
    task: ApifyTask = found(ask.account.task_by(key))
    return lambda run: run.short.actor_task_id == task.id


CALLS: Final[Mapping[str, Call]] = {
    "list": list_runs,
    "actor-runs": list_runs_of_actor,
    "task-runs": list_runs_of_task,
    "start-actor": start_actor,
    "start-task": start_task,
    **OF_ONE_RUN,
    **{f"actor-last-{name}": _last(_of_actor, call) for name, call in OF_ONE_RUN.items()},
    **{f"task-last-{name}": _last(_of_task, call) for name, call in OF_ONE_RUN.items()},
}
