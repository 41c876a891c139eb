#!/usr/bin/env bash
# Where does the hour or day begin that a moment is in? DuckDB names a time after that moment, pendulum one on the day before.
#
# Guess:      it begins no later than the moment, and on its date. What is left to argue about is an hour that comes twice.
# Behaviour:  where a clock is set back, DuckDB's `date_trunc` takes the second of two equal wall times, so that the first 02:30
#             in Berlin is in an hour, and the first 00:30 in Havana on a day, that is yet to begin. arrow's `floor` takes the
#             first: half past the second 02:00 is in an hour that began 90 minutes ago, hours last two hours. pendulum, polars
#             and croniter tell the two apart, also for days: 3 November in Havana has two beginnings, and `0 0 * * *` two runs.
#             On a day without midnight (Beirut, 31 March, begins at 01:00 = 22:00 UTC) pendulum's `start_of("day")` is 23:00 of
#             the day before, an hour that `start_of("day")` also counts to that day.
# Versions:   duckdb 2.0.1, arrow 1.4.0, croniter 7.0.0, pendulum 3.3.0, polars 2.1.0, tzdata 2026.6 (PyPI).
# Matters:    who sums spend by day or hour with one of them has an hour's spend in two windows, or in one that has not begun,
#             and a budget of a day that is refilled after an hour. A watchdog needs one rule (ours: the first instant at which
#             the clock shows that time or a later one), and tests on nights like these.
# Output seen (the script compares with these lines; times in UTC, of 2024):
#   >           Berlin hour   Berlin hour   Beirut day    Havana day    Havana day
#   > clock     02:30 (1st)   02:30 (2nd)   15:00         00:30 (1st)   00:30 (2nd)
#   > moment    10-27 00:30   10-27 01:30   03-31 12:00   11-03 04:30   11-03 05:30
#   > duckdb    10-27 01:00   10-27 01:00   03-30 22:00   11-03 05:00   11-03 05:00
#   > arrow     10-27 00:00   10-27 00:00   03-30 22:00   11-03 04:00   11-03 04:00
#   > croniter  10-27 00:00   10-27 01:00   03-30 22:00   11-03 04:00   11-03 05:00
#   > pendulum  10-27 00:00   10-27 01:00   03-30 21:00   11-03 04:00   11-03 05:00
#   > polars    10-27 00:00   10-27 01:00   03-30 22:00   11-03 04:00   11-03 05:00
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check duckdb==2.0.1 arrow==1.4.0 croniter==7.0.0 pendulum==3.3.0 polars==2.1.0 \
    tzdata==2026.6

cat > probe.py <<'PY'
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import arrow
import duckdb
import pendulum
import polars
from croniter import croniter

CRON = {"hour": "0 * * * *", "day": "0 0 * * *"}


def by_duckdb(unit, at, zone):
    database = duckdb.connect()
    database.execute(f"SET TimeZone = '{zone}'")
    (seconds,) = database.execute(f"SELECT epoch(date_trunc('{unit}', TIMESTAMPTZ '{at.isoformat()}'))").fetchone()
    return datetime.fromtimestamp(seconds, UTC)


def by_arrow(unit, at, zone):
    return arrow.get(at).to(zone).floor(unit).datetime


def by_croniter(unit, at, zone):
    return croniter(CRON[unit], at.astimezone(ZoneInfo(zone))).get_prev(datetime)


def by_pendulum(unit, at, zone):
    return pendulum.instance(at).in_timezone(zone).start_of(unit)


def by_polars(unit, at, zone):
    return polars.Series([at]).dt.convert_time_zone(zone).dt.truncate({"hour": "1h", "day": "1d"}[unit])[0]


def shown(moment):
    return f"{moment.astimezone(UTC):%m-%d %H:%M}"


MOMENTS = [
    ("hour", datetime(2024, 10, 27, 0, 30, tzinfo=UTC), "Europe/Berlin"),
    ("hour", datetime(2024, 10, 27, 1, 30, tzinfo=UTC), "Europe/Berlin"),
    ("day", datetime(2024, 3, 31, 12, tzinfo=UTC), "Asia/Beirut"),
    ("day", datetime(2024, 11, 3, 4, 30, tzinfo=UTC), "America/Havana"),
    ("day", datetime(2024, 11, 3, 5, 30, tzinfo=UTC), "America/Havana"),
]


def row(name, *cells):
    print((f"{name:<10}" + "".join(f"{cell:<14}" for cell in cells)).rstrip())


row("", "Berlin hour", "Berlin hour", "Beirut day", "Havana day", "Havana day")
row("clock", "02:30 (1st)", "02:30 (2nd)", "15:00", "00:30 (1st)", "00:30 (2nd)")
row("moment", *(shown(at) for _, at, _ in MOMENTS))
for library in (by_duckdb, by_arrow, by_croniter, by_pendulum, by_polars):
    row(library.__name__.removeprefix("by_"), *(shown(library(*moment)) for moment in MOMENTS))
PY
timeout 60 venv/bin/python -W ignore probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: a library begins an hour or a day elsewhere now" >&2; exit 1; }
