"""The only door to httpx: one shared client, time-outs, retries, the rate budget, and errors by class.

Waits for the network (time-outs) are in seconds of the wall clock; back-off, pauses and the rate budget go by the
clock that is given.
"""

from __future__ import annotations

from watchdog.net.budget import BACKOFF_MAX_S, BudgetState, RateBudget
from watchdog.net.call import Answer, Call, path_segment
from watchdog.net.client import Bounds, Client
from watchdog.net.error_body import OwnError, says_anything
from watchdog.net.family import PAUSE_MAX_S, Departure, Quota
from watchdog.net.lenient import UNREADABLE
from watchdog.net.session import IN_FLIGHT_MAX, Net, Session
from watchdog.net.token import Token
from watchdog.net.trust import read_ahead
from watchdog.net.window import Priority

__all__ = [
    "BACKOFF_MAX_S",
    "IN_FLIGHT_MAX",
    "PAUSE_MAX_S",
    "UNREADABLE",
    "Answer",
    "Bounds",
    "BudgetState",
    "Call",
    "Client",
    "Departure",
    "Net",
    "OwnError",
    "Priority",
    "Quota",
    "RateBudget",
    "Session",
    "Token",
    "path_segment",
    "read_ahead",
    "says_anything",
]
