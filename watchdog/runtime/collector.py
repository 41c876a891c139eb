"""Python's garbage collector, kept from holding up the event loop.

A full collection follows every object that may be part of a cycle: with 100,000 runs in mind that is a pause of some
150 ms, whenever the collector likes. Nothing that is kept per run is part of a cycle, so that it finds next to nothing.
Full collections are therefore left to a chore, and what has survived one is not followed again (`gc.freeze`).
"""

from __future__ import annotations

import gc

#: How often the chore runs, in seconds.
COLLECT_S = 600.0
#: Young objects are collected in small portions, a few milliseconds each; old ones practically never by themselves.
_THRESHOLDS = (2_000, 10, 100_000)


def wait() -> None:
    """Until `settle` collect hardly anything: what a start makes stays, most of all modules. A tenth of the time that
    imports take is otherwise spent on looking for garbage among them."""
    gc.set_threshold(100_000, 50, 1_000)


def settle() -> None:
    """Collect what is new since the last time, and set aside what has survived."""
    gc.set_threshold(*_THRESHOLDS)
    gc.collect()
    gc.freeze()
