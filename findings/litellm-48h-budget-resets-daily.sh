#!/usr/bin/env bash
# litellm's `budget_duration: "48h"` is a daily budget, "30d" ends on the first of the month, and "1h30m" lasts until the next full hour.
#
# Guess:      a budget of "48h" holds for 48 hours from its start, or at least for two days aligned to midnight; "30d" for thirty days.
# Behaviour:  hours are aligned within the day: 24, 48 and 72 h all end at the next midnight, so over a year "48h" resets 365 times.
#             7d ends on the next Monday and 30d on the next 1st, however near, while 29d and 31d are counted in days. "1h30m"
#             is read as "1h", "0.5d" as "until midnight" (with a warning in the log only).
#             `duration_in_seconds` of the same module says 172,800 s for "48h".
# Versions:   litellm 1.110.2 (PyPI), the function that sets `budget_reset_at` in its proxy.
# Matters:    `max_budget: 100` with "48h" lets 100 dollars through every day. Whoever copies budgets from there to a watchdog must
#             look at when they reset, not at what they are called; and a window's name in a watchdog has to say whether it rolls
#             or follows the calendar.
# Output seen (the script compares with these lines; budgets that start on Wednesday 28 January 2026, 15:10 UTC):
#   > budget_duration  resets at         after
#   > 24h              2026-01-29 00:00  8:50:00
#   > 48h              2026-01-29 00:00  8:50:00
#   > 72h              2026-01-29 00:00  8:50:00
#   > 2d               2026-01-30 00:00  1 day, 8:50:00
#   > 7d               2026-02-02 00:00  4 days, 8:50:00
#   > 30d              2026-02-01 00:00  3 days, 8:50:00
#   > 31d              2026-02-28 00:00  30 days, 8:50:00
#   > 1h30m            2026-01-28 16:00  0:50:00
#   > 0.5d             2026-01-29 00:00  8:50:00
#   > resets of "48h" in 2026: 365
#   > duration_in_seconds("48h"): 172800
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check litellm==1.110.2

cat > probe.py <<'PY'
import logging
from datetime import UTC, datetime

logging.disable(logging.CRITICAL)
from litellm.litellm_core_utils.duration_parser import duration_in_seconds, get_next_standardized_reset_time  # noqa: E402

START = datetime(2026, 1, 28, 15, 10, tzinfo=UTC)

print(f"{'budget_duration':<16} {'resets at':<17} after")
for duration in ("24h", "48h", "72h", "2d", "7d", "30d", "31d", "1h30m", "0.5d"):
    reset = get_next_standardized_reset_time(duration, START, "UTC")
    print(f"{duration:<16} {reset:%Y-%m-%d %H:%M}  {reset - START}")

resets, now = 0, datetime(2026, 1, 1, tzinfo=UTC)
while now.year == 2026:
    now = get_next_standardized_reset_time("48h", now, "UTC")
    resets += 1
print('resets of "48h" in 2026:', resets)
print('duration_in_seconds("48h"):', duration_in_seconds("48h"))
PY
LITELLM_LOCAL_MODEL_COST_MAP=True timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: litellm resets budgets otherwise now" >&2; exit 1; }
