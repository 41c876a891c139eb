"""The other side of the wire: Apify and lobstr.io on loopback, with runs that burn money on a clock.

For the demo, the tests and the benchmarks. It imports nothing of the rest of the project.

    clock = SimClock(speed=60)
    platforms = SimulatedPlatforms(clock)
    apify = platforms.apify(token="secret")
    run = apify.start_run(apify.add_actor("compass", "crawler-google-places"), usd_per_hour=2.0)
    async with platforms:            # or: with platforms.serve_in_thread():
        ...                          # talk to platforms.url
    assert platforms.truth()[0].aborted_by_api
"""

from __future__ import annotations

from watchdog.simulated.account import SimRun
from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_pricing import PayPerEvent, PayPerResult
from watchdog.simulated.apify_run import ApifyRun
from watchdog.simulated.clock import SimClock
from watchdog.simulated.faults import ArmedFault, Fault, FaultKind, Faults
from watchdog.simulated.lobstr import EmailVerification, LobstrAccount, LobstrRun
from watchdog.simulated.records import RequestRecord, RunTruth, Usage
from watchdog.simulated.server import SimulatedPlatforms

__all__ = [
    "ApifyAccount",
    "ApifyRun",
    "ArmedFault",
    "EmailVerification",
    "Fault",
    "FaultKind",
    "Faults",
    "LobstrAccount",
    "LobstrRun",
    "PayPerEvent",
    "PayPerResult",
    "RequestRecord",
    "RunTruth",
    "SimClock",
    "SimRun",
    "SimulatedPlatforms",
    "Usage",
]
