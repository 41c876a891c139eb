#!/usr/bin/env bash
# APScheduler's `coalesce=True` builds every missed fire time before it drops all but one, and an interval job obeys the wall clock.
#
# Guess:      with coalesce=True a job that was missed for a month costs one run, and finding that out is one division; and an
#             interval of 5 s goes on every 5 s whatever the clock on the wall does.
# Behaviour:  the scheduler steps through the missed times one by one into a list of datetimes and then takes the last: ten times the
#             gap is ten times the memory and time (a job of every second: 86,400 datetimes a day missed). It does so in its own
#             thread, or in the event loop of AsyncIOScheduler, where nothing else runs meanwhile. And next = previous + interval
#             on the wall clock: set back by an hour, the job rests an hour and 5 s.
# Versions:   APScheduler 3.11.3 (PyPI).
# Matters:    a clock that is corrected by NTP after a start, a virtual machine that was suspended: the sweep stands still for
#             the first correction, and eats memory for the second, while runs go on spending. A watchdog measures intervals
#             with the monotonic clock.
# Output seen (the script compares with these lines):
#   > missed by 1 day: the job ran once; memory for missed times: over 3 MB
#   > missed by 10 days: the job ran once; memory for missed times: over 30 MB
#   > interval 5 s, clock set back by 1 h: next run in 1:00:05
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check APScheduler==3.11.3

cat > probe.py <<'PY'
import logging
import threading
import tracemalloc
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

logging.disable(logging.CRITICAL)


def missed_by(days):
    """A job of every second whose last planned run is `days` ago, as it comes out of a job store after a suspend."""
    ran = []
    done = threading.Event()

    def job():
        ran.append(datetime.now(UTC))
        scheduler.remove_job("job")
        done.set()

    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(job, "interval", id="job", seconds=1, coalesce=True, misfire_grace_time=None,
                      next_run_time=datetime.now(UTC) - timedelta(days=days))
    tracemalloc.start()
    scheduler.start()
    assert done.wait(50), "the job did not run"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    scheduler.shutdown()
    floor = 3_000_000 * days
    size = f"{'over' if peak > floor else 'under'} {3 * days} MB"
    print(f"missed by {days} day{'s' if days > 1 else ''}: the job ran {'once' if len(ran) == 1 else len(ran)}; memory for missed times: {size}",
          flush=True)


missed_by(1)
missed_by(10)
fired = datetime(2026, 1, 1, 13, tzinfo=UTC)
set_back = fired - timedelta(hours=1)
following = IntervalTrigger(seconds=5, timezone=UTC).get_next_fire_time(fired, set_back)
print("interval 5 s, clock set back by 1 h: next run in", following - set_back)
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: APScheduler treats missed times or the clock otherwise now" >&2; exit 1; }
