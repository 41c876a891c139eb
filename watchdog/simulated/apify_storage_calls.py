"""The calls of the simulated Apify about storages: how much is in those that runs have by default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from watchdog.simulated import apify_run_documents as documents
from watchdog.simulated.apify_ask import Ask, data_answer, found
from watchdog.simulated.apify_run import ApifyRun
from watchdog.simulated.http import Answer, json_answer

Call = Callable[[Ask, str], Answer]

_ITEMS_MAX: Final = 1000


def list_datasets(ask: Ask, _: str) -> Answer:
    """Runs' own datasets have no name, and are listed only if those are asked for."""
    runs = ask.account.runs if ask.flag("unnamed") else []
    return ask.page(runs, lambda run: {**documents.dataset(run, ask.now_s), "name": ""})


def list_nothing(ask: Ask, _: str) -> Answer:
    return ask.page([], lambda thing: thing)


def get_dataset(ask: Ask, dataset_id: str) -> Answer:
    return data_answer(documents.dataset(found(ask.account.datasets.get(dataset_id)), ask.now_s))


def get_items(ask: Ask, dataset_id: str) -> Answer:
    """The items themselves, which are not late."""
    return _items(ask, found(ask.account.datasets.get(dataset_id)))


def get_items_of_run(ask: Ask, run_id: str) -> Answer:
    return _items(ask, found(ask.account.find(run_id)))


def get_store(ask: Ask, store_id: str) -> Answer:
    run = _run_with(ask, lambda run: run.short.default_key_value_store_id == store_id)
    return data_answer(documents.key_value_store(run, ask.now_s))


def list_keys(ask: Ask, store_id: str) -> Answer:
    run = _run_with(ask, lambda run: run.short.default_key_value_store_id == store_id)
    limit = ask.whole("limit") or 1000
    items = [{"key": "INPUT", "size": len(run.input_body), "recordPublicUrl": "https://api.apify.com/"}]
    return data_answer(
        {
            "items": items,
            "count": 1,
            "limit": limit,
            "exclusiveStartKey": None,
            "isTruncated": False,
            "nextExclusiveStartKey": None,
        }
    )


def get_input(ask: Ask, store_id: str) -> Answer:
    run = _run_with(ask, lambda run: run.short.default_key_value_store_id == store_id)
    return Answer(200, run.input_body, content_type=run.input_type)


def get_queue(ask: Ask, queue_id: str) -> Answer:
    run = _run_with(ask, lambda run: run.short.default_request_queue_id == queue_id)
    return data_answer(documents.request_queue(run, ask.now_s))


def _run_with(ask: Ask, is_meant: Callable[[ApifyRun], bool]) -> ApifyRun:
    run: ApifyRun = found(next((run for run in ask.account.runs if is_meant(run)), None))
    return run


def _items(ask: Ask, run: ApifyRun) -> Answer:
    offset, desc = ask.whole("offset") or 0, ask.flag("desc")
    limit = min(ask.whole("limit") or _ITEMS_MAX, _ITEMS_MAX)
    total = run.work_at(ask.now_s).results
    numbers = range(total - 1, -1, -1) if desc else range(total)
    items = [{"number": number, "url": f"https://example.com/{number}"} for number in numbers[offset : offset + limit]]
    answer = json_answer(200, items)
    figures = {"total": total, "offset": offset, "count": len(items), "limit": limit, "desc": str(desc).lower()}
    answer.headers.update({f"X-Apify-Pagination-{name.title()}": str(value) for name, value in figures.items()})
    return answer


CALLS: Final[Mapping[str, Call]] = {
    "datasets": list_datasets,
    "stores": list_nothing,
    "queues": list_nothing,
    "dataset": get_dataset,
    "items": get_items,
    "run-items": get_items_of_run,
    "store-of-keys": get_store,
    "keys": list_keys,
    "input": get_input,
    "queue": get_queue,
}
