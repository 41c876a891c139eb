"""Faults of the platforms and of the way to them, switched on by endpoint and count."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol, get_args

import msgspec

from watchdog.simulated.http import Answer, Delivery

FaultKind = Literal[
    "status",
    "rate_limited",
    "hang",
    "delay",
    "reset",
    "half",
    "html",
    "truncated_json",
    "wrong_types",
    "null_usage",
    "missing_usage",
    "lost_answer",
    "abort_ignored",
    "abort_stuck",
    "unknown_status",
    "bad_item",
    "duplicate_items",
    "slip_items",
    "redirect",
    "huge",
    "slow_drip",
]

KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)

_PAGES: Final = frozenset({"list", "squids"})
_RUN_ANSWERS: Final = frozenset({"list", "run", "abort", "update", "resurrect"})
# A fault that could not show at an endpoint must not be used up there.
_ONLY_AT: Final[Mapping[str, frozenset[str]]] = {
    "abort_ignored": frozenset({"abort"}),
    "abort_stuck": frozenset({"abort"}),
    "bad_item": _PAGES,
    "duplicate_items": _PAGES,
    "slip_items": _PAGES,
    "null_usage": _RUN_ANSWERS,
    "missing_usage": _RUN_ANSWERS,
    "unknown_status": _RUN_ANSWERS | {"squids", "squid"},
}


class HasIndex(Protocol):
    """An account, as far as a fault cares."""

    @property
    def index(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class _Where:
    match: str = "*"
    """Endpoint name, several joined by `|`, or `*`. Apify: list, run, abort, update, resurrect, actor, task,
    me,
    limits, usage, dataset. lobstr: squids, squid, list, run, stats, credits, abort, balance,
    start, update_squid, delete_squid, and what else `routes` in its `*_calls` modules name."""
    account: HasIndex | int | None = None
    run_id: str | None = None
    """Only requests for this run; in a page only this run's item (a page without it does not use the fault
    up)."""
    times: int | None = None
    """How often it strikes; None for ever."""
    after: int = 0
    """How many matching requests pass first."""
    probability: float = 1.0


@dataclass(frozen=True)
class Fault(_Where):
    """One way of going wrong. ValueError for an unknown kind or a probability outside 0..1.

    | kind | effect | uses |
    | --- | --- | --- |
    | status | `status` instead of doing anything, in the platform's error shape | status, body, headers |
    | rate_limited | 429, likewise | retry_after_s, headers |
    | redirect | 302 | location |
    | html | 200 with a web page, nothing done | body |
    | hang, reset | no answer, nothing done | |
    | delay | answers late, in real seconds | delay_s |
    | lost_answer | does it, then resets the connection | |
    | half, slow_drip | does it, the answer comes by halves or by drops | drip_bytes, drip_pause_s |
    | truncated_json | does it, the JSON stops in the middle (Content-Length agrees) | |
    | huge | does it, the answer is padded | size_bytes |
    | wrong_types | figures of wrong types; a page: items as an object | fields: set these on runs instead |
    | null_usage, missing_usage | `usageTotalUsd` or `credit_used` null or absent | |
    | unknown_status | a status that no documentation knows | unknown |
    | bad_item | one unreadable item in the page | fields |
    | duplicate_items | the item before this page comes again (on the first page: an item twice) | |
    | slip_items | one item is missing from the page | |
    | abort_ignored | 200, but the run goes on | claims_stopped: the answer says ABORTING or uploading |
    | abort_stuck | the run stays ABORTING (uploading on lobstr) for ever | |
    """

    kind: FaultKind
    status: int = 500
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after_s: int | None = None
    delay_s: float = 1.0
    location: str = "http://elsewhere.invalid/"
    size_bytes: int = 64 * 1024 * 1024
    drip_bytes: int = 16
    drip_pause_s: float = 0.05
    fields: Mapping[str, Any] | None = None
    unknown: str = "MIGRATING"
    claims_stopped: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault {self.kind!r}; there are {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in 0..1: {self.probability!r}")

    def concerns(self, endpoint: str, account: int | None, run_id: str) -> bool:
        """Whether a request belongs to what this fault matches."""
        if self.match != "*" and endpoint not in self.match.split("|"):
            return False
        if endpoint not in _ONLY_AT.get(self.kind, {endpoint}):
            return False
        if self.account is not None and account != _index(self.account):
            return False
        return self.run_id is None or self.run_id == run_id or endpoint in _PAGES


class ArmedFault:
    """A fault that was added: `hits` counts how often it struck; `remove` takes it away."""

    def __init__(self, fault: Fault, remove: Callable[[ArmedFault], None]) -> None:
        self.fault = fault
        self.hits = 0
        self.passed = 0
        self._remove = remove

    def remove(self) -> None:
        """Switch this fault off. Harmless if it is off already."""
        self._remove(self)


class Faults:
    """The faults that are switched on. Deterministic by `seed` where a probability is below 1."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._armed: list[ArmedFault] = []

    def add(self, fault: Fault) -> ArmedFault:
        """Switch a fault on. Several may strike the same request."""
        armed = ArmedFault(fault, self._drop)
        with self._lock:
            self._armed.append(armed)
        return armed

    def clear(self) -> None:
        """Switch all faults off. Runs that are stuck stay stuck; hanging requests keep hanging."""
        with self._lock:
            self._armed.clear()

    def strike(self, endpoint: str, account: int | None, run_id: str) -> list[ArmedFault]:
        """The faults that strike this request, in the order in which they were added; each is counted."""
        with self._lock:
            return [
                armed
                for armed in self._armed
                if armed.fault.concerns(endpoint, account, run_id) and self._strikes(armed)
            ]

    def choice(self, items: list[Any]) -> int:
        """A position in `items`, by the seed."""
        with self._lock:
            return self._random.randrange(len(items))

    def _strikes(self, armed: ArmedFault) -> bool:
        fault = armed.fault
        if fault.times is not None and armed.hits >= fault.times:
            return False
        if armed.passed < fault.after:
            armed.passed += 1
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        armed.hits += 1
        return True

    def _drop(self, armed: ArmedFault) -> None:
        with self._lock:
            self._armed = [other for other in self._armed if other is not armed]


def _index(account: HasIndex | int) -> int:
    return account if isinstance(account, int) else account.index


class Layout(NamedTuple):
    """Where a platform's JSON keeps what body faults touch."""

    items_path: tuple[str, ...]
    object_path: tuple[str, ...]
    usage_key: str
    started_key: str


Preceding = Callable[[], Any]
"""Gives the item that comes right before the page, or None."""


def spoil_wire(answer: Answer, fault: Fault) -> None:
    """Faults of the way back: the action is done, the answer suffers."""
    if fault.kind == "lost_answer":
        answer.delivery = Delivery.RESET
    elif fault.kind == "half":
        answer.delivery = Delivery.HALF
    elif fault.kind == "slow_drip":
        answer.delivery = Delivery.DRIP
        answer.drip_bytes, answer.drip_pause_s = fault.drip_bytes, fault.drip_pause_s
    elif fault.kind == "truncated_json":
        answer.body = answer.body[: len(answer.body) * 2 // 3]


_BODY_KINDS: Final = frozenset(
    {
        "wrong_types",
        "null_usage",
        "missing_usage",
        "unknown_status",
        "huge",
        *("bad_item", "duplicate_items"),
        "slip_items",
    }
)


class BodySpoiler:
    """Applies the faults that change what an answer says."""

    def __init__(self, layout: Layout, endpoint: str, faults: Faults, preceding: Preceding) -> None:
        self._layout = layout
        self._is_page = endpoint in _PAGES
        self._faults = faults
        self._preceding = preceding

    def apply(self, answer: Answer, struck: Iterable[ArmedFault]) -> None:
        """Change the body of a good answer; a fault that found nothing to change is given back."""
        todo = [armed for armed in struck if armed.fault.kind in _BODY_KINDS]
        if not todo or answer.status != 200:
            return
        document = msgspec.json.decode(answer.body)
        for armed in todo:
            if not self._spoil(document, armed.fault):
                armed.hits -= 1
        answer.body = msgspec.json.encode(document)

    def _spoil(self, document: Any, fault: Fault) -> bool:
        match fault.kind:
            case "huge":
                document["padding"] = "x" * fault.size_bytes
                return True
            case "wrong_types" if self._is_page and fault.fields is None:
                return self._items_as_object(document)
            case "bad_item":
                return self._replace_item(document, fault)
            case "slip_items":
                return self._slip_item(document, fault)
            case "duplicate_items":
                return self._repeat_item(document)
            case _:
                return self._spoil_runs(document, fault)

    def _spoil_runs(self, document: Any, fault: Fault) -> bool:
        runs = [run for run in self._runs(document) if fault.run_id in (None, run.get("id"))]
        for run in runs:
            self._spoil_run(run, fault)
        return bool(runs)

    def _spoil_run(self, run: dict[str, Any], fault: Fault) -> None:
        usage_key = self._layout.usage_key
        if fault.kind == "null_usage":
            run[usage_key] = None
        elif fault.kind == "missing_usage":
            run.pop(usage_key, None)
        elif fault.kind == "unknown_status":
            run["last_run_status" if "last_run_status" in run else "status"] = fault.unknown
        elif fault.fields is not None:
            run.update(fault.fields)
        else:
            run.update({usage_key: "abc", self._layout.started_key: 5, "stats": "none"})

    def _runs(self, document: Any) -> list[dict[str, Any]]:
        if self._is_page:
            return [item for item in self._items(document) if isinstance(item, dict)]
        return [_walk(document, self._layout.object_path)]

    def _items(self, document: Any) -> list[Any]:
        items = _walk(document, self._layout.items_path)
        return items if isinstance(items, list) else []

    def _items_as_object(self, document: Any) -> bool:
        holder = _walk(document, self._layout.items_path[:-1])
        holder[self._layout.items_path[-1]] = {str(n): item for n, item in enumerate(self._items(document))}
        return True

    def _position(self, items: list[Any], fault: Fault) -> int | None:
        if fault.run_id is None:
            return self._faults.choice(items) if items else None
        found = (n for n, item in enumerate(items) if isinstance(item, dict) and item.get("id") == fault.run_id)
        return next(found, None)

    def _replace_item(self, document: Any, fault: Fault) -> bool:
        items = self._items(document)
        if (position := self._position(items, fault)) is None:
            return False
        unreadable = {"status": 7, self._layout.started_key: "once upon a time", self._layout.usage_key: {}}
        items[position] = {**items[position], **(unreadable if fault.fields is None else fault.fields)}
        return True

    def _slip_item(self, document: Any, fault: Fault) -> bool:
        items = self._items(document)
        if (position := self._position(items, fault)) is None:
            return False
        del items[position]
        return True

    def _repeat_item(self, document: Any) -> bool:
        items = self._items(document)
        if (before := self._preceding()) is not None:
            items.insert(0, before)
        elif items:
            items.append(items[0])
        return bool(items)


def _walk(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        document = document[key]
    return document
