"""What the simulation tells its owner: requests seen, and the truth about every run."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

PlatformName = Literal["apify", "lobstr"]


class Usage(msgspec.Struct, frozen=True):
    """True usage of a run (not the possibly stale figures that the API shows).

    `credits`: lobstr credits, or Apify compute units. `cost_usd`: None where the platform does not say
    (lobstr). `duration_s`: seconds spent running, without pauses and stopped time. `results`: what it has brought.
    """

    credits: float
    cost_usd: float | None
    duration_s: float
    results: int


class RunTruth(msgspec.Struct, frozen=True):
    """What really happened to a run, to judge a watchdog by. All instants are platform time, UTC."""

    id: str
    platform: PlatformName
    account: int
    """Index of the account (its position among all accounts of the simulation)."""
    source: str
    """`owner/name` of the Actor, or the squid's name."""
    started: datetime
    ended: datetime | None
    """When it reached a terminal status; None while active."""
    status: str
    """The final status, or the present one while active."""
    aborted_by_api: bool
    """An abort request took effect (at least once)."""
    graceful: bool | None
    """Mode of the last effective abort; None if there was none, and on lobstr (which has one mode)."""
    abort_requests: int
    """Abort POSTs received with a valid token, whatever became of them."""
    effective_abort_at: datetime | None
    """When the last effective abort took effect."""
    usage: Usage
    """At the end, or now while active."""
    natural_end_usage: Usage | None
    """What it would have used had nobody aborted it since it was last (re)started; None if it never ends."""


class RequestRecord(msgspec.Struct, frozen=True):
    """One request as the server saw it. Tokens never appear in it."""

    monotonic_s: float
    at: datetime
    """Platform time."""
    account: int | None
    """Index of the account that the token belongs to; None for an unknown or missing token."""
    platform: PlatformName
    endpoint: str | None
    """The name that `Fault.match` uses; None for an unknown path or method."""
    method: str
    path: str
    query: dict[str, str]
    status: int | None
    """Status answered; None if the connection was cut or left hanging before any answer."""
