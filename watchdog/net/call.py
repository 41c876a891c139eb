"""One request to a platform, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from watchdog.net.window import Priority

#: How often a request that changes nothing may be sent.
READ_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its body, and when it came (UTC by our clock)."""

    body: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `endpoint` is the label in metrics, `family` what shares a rate limit, `attempts` how often it may
    be sent (1 for anything that changes something). It waits for its turn no longer than `patience_s` (None: as long as
    it takes), and is then not sent: what was seen before an abort must not be old when that leaves."""

    method: str
    path: str
    endpoint: str
    family: str
    params: Mapping[str, str | int] | None = None
    json: Any = None
    priority: Priority = Priority.LOOK
    attempts: int = READ_ATTEMPTS
    patience_s: float | None = None


def path_segment(text: str) -> str:
    """An id as one segment of a path: nothing in it can lead to another place (`/`, `?`, `..`)."""
    return "%2E" * len(text) if text in (".", "..") else quote(text, safe="~")
