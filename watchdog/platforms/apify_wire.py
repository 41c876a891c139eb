"""What Apify's answers look like: runs in a list and in detail, their states, times and ids."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from watchdog.domain.run import RunState
from watchdog.platforms.wire import figure, moment, part, text

#: The ids of an Actor and a task.
Pair = tuple[str | None, str | None]

_STATES = {
    "READY": RunState.PENDING,
    "RUNNING": RunState.RUNNING,
    "TIMING-OUT": RunState.TIMING_OUT,
    "ABORTING": RunState.ABORTING,
    "SUCCEEDED": RunState.SUCCEEDED,
    "FAILED": RunState.FAILED,
    "TIMED-OUT": RunState.TIMED_OUT,
    "ABORTED": RunState.ABORTED,
}
#: The most items that a page of any list may have.
PAGE_MAX = 1000
#: As the list of runs takes them.
ACTIVE_STATUSES = ",".join(status for status, state in _STATES.items() if state.is_active)

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Meta(msgspec.Struct, gc=False):
    """How a run was started."""

    origin: str | None = None


class Listed(msgspec.Struct, rename="camel"):
    """A run in a list as documented: a thousand of these are decoded without a line of Python."""

    id: str
    status: str
    act_id: str | None = None
    actor_task_id: str | None = None
    started_at: _Moment | None = None
    finished_at: _Moment | None = None
    meta: Meta | None = None
    usage_total_usd: float | None = None


class RunShort(msgspec.Struct, rename="camel"):
    """A run in a list. All but what it cannot be told by is `Any`: a wrong type must not cost the whole item."""

    id: str
    status: str
    act_id: Any = None
    actor_task_id: Any = None
    started_at: Any = None
    finished_at: Any = None
    meta: Any = None
    usage_total_usd: Any = None
    metamorphs: Any = None


class Run(RunShort, rename="camel"):
    """A run in detail."""

    stats: Any = None
    options: Any = None
    pricing_info: Any = None
    charged_event_counts: Any = None
    default_dataset_id: Any = None


class RunAnswer(msgspec.Struct):
    """The answer to a look at a run, or to an abort."""

    data: Run


class _Page(msgspec.Struct):
    items: list[Listed]
    total: int | None = None


class PageAnswer(msgspec.Struct):
    """A page of the list of runs, if all of it is as documented."""

    data: _Page


class _RawPage(msgspec.Struct):
    items: list[msgspec.Raw]
    total: Any = None


class RawPageAnswer(msgspec.Struct):
    """The same, to be read item by item."""

    data: _RawPage


class _Dataset(msgspec.Struct):
    item_count: Any = msgspec.field(default=None, name="itemCount")


class DatasetAnswer(msgspec.Struct):
    """The results of a run."""

    data: _Dataset


class _Owner(msgspec.Struct):
    id: Any = None


class OwnerAnswer(msgspec.Struct):
    """Whose token it is."""

    data: _Owner


def state_of(status: str) -> RunState:
    """The state behind a status, in any letters (webhooks write TIMED_OUT); one that this version has never heard of
    counts as active."""
    return _STATES.get(status) or _STATES.get(status.upper().replace("_", "-"), RunState.UNKNOWN)


def as_documented(run: RunShort) -> Listed:
    """The same run with every figure that is not as documented unknown."""
    return Listed(
        id=run.id,
        status=run.status,
        act_id=text(run.act_id),
        actor_task_id=text(run.actor_task_id),
        started_at=moment(run.started_at),
        finished_at=moment(run.finished_at),
        meta=Meta(text(part(run.meta).get("origin"))),
        usage_total_usd=figure(run.usage_total_usd),
    )


def pairs_of(run: RunShort) -> tuple[Pair, ...]:
    """The Actor and task of a run, and every Actor that it has metamorphed into. Whether `actId` then becomes the new
    Actor's is not documented; that the detail lists them is."""
    first = (text(run.act_id), text(run.actor_task_id))
    listed = run.metamorphs if isinstance(run.metamorphs, list) else []
    others = ((text(part(each).get("actorId")), None) for each in listed)
    return tuple(dict.fromkeys((first, *((actor, task) for actor, task in others if actor not in (None, first[0])))))


def iso(at: datetime) -> str:
    """As Apify writes times."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
