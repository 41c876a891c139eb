"""The doors between rooms, as Protocols: the runtime knows these, never an adapter. By who uses them: `platform`,
`ledger`, `observer`, `clock`."""

from __future__ import annotations

from watchdog.domain.platform import PlatformTraits
from watchdog.domain.ports.clock import Clock
from watchdog.domain.ports.ledger import (
    AbortFilter,
    AbortLedger,
    AbortRecords,
    BookLedger,
    CheckedOverrides,
    EnforceLedger,
    HistoryLedger,
    KnownRuns,
    Ledger,
    OrderLedger,
    OverrideLedger,
    RunLedger,
    SumLedger,
    WatchLedger,
)
from watchdog.domain.ports.observer import Observer
from watchdog.domain.ports.platform import (
    Ended,
    Glimpse,
    ListsEnds,
    Owned,
    Platform,
    Rates,
    ReadsExtra,
    Seen,
    Sweep,
    look,
)

__all__ = [
    "AbortFilter",
    "AbortLedger",
    "AbortRecords",
    "BookLedger",
    "CheckedOverrides",
    "Clock",
    "Ended",
    "EnforceLedger",
    "Glimpse",
    "HistoryLedger",
    "KnownRuns",
    "Ledger",
    "ListsEnds",
    "Observer",
    "OrderLedger",
    "OverrideLedger",
    "Owned",
    "Platform",
    "PlatformTraits",
    "Rates",
    "ReadsExtra",
    "RunLedger",
    "Seen",
    "SumLedger",
    "Sweep",
    "WatchLedger",
    "look",
]
