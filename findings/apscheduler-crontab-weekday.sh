#!/usr/bin/env bash
# APScheduler's `CronTrigger.from_crontab` is not crontab: 0 is Monday, 7 is an error, and day-of-month AND day-of-week must match.
#
# Guess:      a method of that name reads a crontab line as cron does: 0 and 7 are Sunday, and where both day fields are given, either
#             of them is enough.
# Behaviour:  weekday numbers count from Monday = 0, so every number means a day later; `1-5` is Tuesday to Saturday; 7 raises; two day
#             fields are ANDed, which turns "the 13th and every Friday" into Friday the 13th. Names (sun, fri) mean the same in both.
# Versions:   APScheduler 3.11.3, croniter 6.2.4 (PyPI); croniter stands for cron here.
# Matters:    schedules of Apify are cron expressions, and weekly budgets are written as such. A watchdog that foresees scheduled
#             runs, or turns a weekly budget over, by from_crontab does it on another day, and nothing raises. Write names,
#             or read crontab lines with something else.
# Output seen (the script compares with these lines; all after Thursday 1 January 2026, 12:00 UTC):
#   > expression     cron              from_crontab
#   > 0 0 * * 0      Sun 4 Jan 2026    Mon 5 Jan 2026
#   > 0 0 * * 1      Mon 5 Jan 2026    Tue 6 Jan 2026
#   > 0 0 * * 2-3    Tue 6 Jan 2026    Wed 7 Jan 2026
#   > 0 0 * * 7      Sun 4 Jan 2026    ValueError
#   > 0 0 * * sun    Sun 4 Jan 2026    Sun 4 Jan 2026
#   > 0 0 13 * fri   Fri 2 Jan 2026    Fri 13 Feb 2026
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check APScheduler==3.11.3 croniter==6.2.4

cat > probe.py <<'PY'
from datetime import UTC, datetime

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def day(moment):
    return f"{moment:%a} {moment.day} {moment:%b %Y}"


def apscheduler(expression):
    try:
        return day(CronTrigger.from_crontab(expression, timezone=UTC).get_next_fire_time(None, NOW))
    except ValueError:
        return "ValueError"


print(f"{'expression':<14} {'cron':<17} from_crontab")
for expression in ("0 0 * * 0", "0 0 * * 1", "0 0 * * 2-3", "0 0 * * 7", "0 0 * * sun", "0 0 13 * fri"):
    print(f"{expression:<14} {day(croniter(expression, NOW).get_next(datetime)):<17} {apscheduler(expression)}")
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: from_crontab reads weekdays otherwise now" >&2; exit 1; }
