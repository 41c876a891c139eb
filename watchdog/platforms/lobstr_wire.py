"""What lobstr's answers look like: squids, runs and their states.

Facts used: `uploading` no longer collects and no longer costs, whatever `is_done` says; a run that was aborted may be
`done`, with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from watchdog.domain.run import RunState
from watchdog.platforms.wire import count, part, text

_STATES = {
    "pending": RunState.PENDING,
    "running": RunState.RUNNING,
    "paused": RunState.PAUSED,
    "uploading": RunState.STOPPED,
    "done": RunState.SUCCEEDED,
    "aborted": RunState.ABORTED,
    "error": RunState.FAILED,
    # Words that lobstr's own clients expect besides.
    "success": RunState.SUCCEEDED,
    "succeeded": RunState.SUCCEEDED,
    "finished": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "cancelled": RunState.ABORTED,
    "canceled": RunState.ABORTED,
}
#: The status of a run whose answer does not tell it.
UNTOLD = "untold"
#: Reasons of an end that somebody brought about; the set of reasons is open.
_CUT_SHORT = frozenset({"aborted", "deactivated"})
#: Words for a verification that is under way or about to begin.
_VERIFYING = frozenset({"pending", "queued", "waiting", "started", "running", "processing", "in_progress"})
_VERIFIED = frozenset(
    {"done", "completed", "finished", "success", "succeeded", "error", "failed", "aborted", "cancelled"}
)


class Run(msgspec.Struct):
    """A run, in a list, in detail or in the answer to an abort."""

    id: str
    status: str
    squid: Any = None
    is_done: Any = None
    started_at: Any = None
    ended_at: Any = None
    duration: Any = None
    credit_used: Any = None
    origin: Any = None
    done_reason: Any = None
    email_verification: Any = None
    total_results: Any = None


class Stats(msgspec.Struct):
    """How far a run has come."""

    percent_done: Any = None
    results_total: Any = None
    results_done: Any = None


class Squid(msgspec.Struct):
    """A squid, in the list or in detail."""

    id: str
    name: Any = None
    crawler: Any = None
    crawler_name: Any = None
    last_run_status: Any = msgspec.UNSET
    last_run_at: Any = None
    is_active: Any = None


class Envelope(msgspec.Struct):
    """A page of a list."""

    data: list[msgspec.Raw]
    total_results: Any = None
    total_pages: Any = None
    next: Any = msgspec.UNSET
    warning: Any = None


class Profile(msgspec.Struct):
    """Whose token it is."""

    email: Any = None


def state_of(run: Run) -> RunState:
    """The state behind a status, in either case of letters. `done` by an abort, or because its squid was deactivated,
    is an abort; a status never heard of counts as active unless the run is said to be done."""
    state = _STATES.get(run.status.lower())
    if state is None:
        return RunState.STOPPED if run.is_done is True else RunState.UNKNOWN
    if state is RunState.SUCCEEDED and (text(run.done_reason) or "").lower() in _CUT_SHORT:
        return RunState.ABORTED
    return state


def state_of_last(squid: Squid) -> RunState:
    """The state of the newest run of a squid, as far as the squid list tells it."""
    return _STATES.get((text(squid.last_run_status) or "").lower(), RunState.UNKNOWN)


def may_be_active(squid: Squid) -> bool:
    """Whether the squid list leaves it possible that a run of the squid is active: null says that it never ran; a list
    that does not say anything, or a word never heard of, leaves it open."""
    return squid.last_run_status is not None and state_of_last(squid).is_active


def is_settling(run: Run) -> bool:
    """Whether the credits of a run that is over may still rise: the e-mail addresses that it found are verified after
    `done`, and every one is billed. A run that is `uploading` has not come to that yet."""
    state = state_of(run)
    if state.is_active:
        return False
    return state is RunState.STOPPED or _is_verifying(part(run.email_verification))


def _is_verifying(verification: Mapping[str, object]) -> bool:
    """By `{status, progress, verified_emails, total_emails, is_done}`, of which anything may be missing. Without any
    address there is nothing to wait for, unless the status says so."""
    is_done, status = verification.get("is_done"), (text(verification.get("status")) or "").lower()
    if is_done is True or (is_done is not False and status in _VERIFIED):
        return False
    return status in _VERIFYING or bool(count(verification.get("total_emails")))


def squid_id_of(run: Run) -> str | None:
    """The id of a run's squid; webhooks write it as an object with id and name."""
    return text(run.squid) or text(part(run.squid).get("id"))


def is_last(envelope: Envelope, page: int, seen: int) -> bool:
    """Whether no page follows, by whatever the envelope says of it; if it says nothing, only an empty page is the
    end."""
    pages, total = count(envelope.total_pages), count(envelope.total_results)
    if text(envelope.next) or (pages is not None and page < pages):
        return False
    if pages is not None or envelope.next is None:
        return True
    return total is not None and seen >= total
