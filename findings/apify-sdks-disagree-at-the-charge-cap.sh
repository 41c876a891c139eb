#!/usr/bin/env bash
# At `maxTotalChargeUsd` the two Apify SDKs part: JavaScript charges one event more than fits, Python stops short of it.
#
# Guess:      an Actor's `charge()` charges as many events as fit under the run's maxTotalChargeUsd, in both SDKs, so
#             chargedEventCounts x price is at most the cap.
# Behaviour:  Python sends what fits. JavaScript sends one event more, on purpose (its source says: so that the platform notices
#             and ends the run): 4 events of $0.03 under a cap of $0.10, one event of $5 under a cap of $1. A cap of 0 is "nothing"
#             in Python and "no cap" in JavaScript. An event with tiered prices (no eventPriceUsd) counts for nothing towards
#             the cap in either: Python sends nothing and yet reports 1000 as charged, JavaScript sends 1000 and then refuses every
#             event with a price, though no dollar has been counted.
# Versions:   apify 4.1.0 (PyPI), apify 3.7.2 (npm).
# Matters:    a pay-per-event run's cost is known soonest from chargedEventCounts x eventPriceUsd. That figure may pass the cap by
#             one event, so "over maxTotalChargeUsd" alone is no fault; it may stay below the cap for ever, so the platform's own end
#             of the run cannot be waited for; and with tiered prices it is unknown, not 0.
# Output seen (the script compares with these lines):
#   > charge()                      cap    Python sent  Python says  Node.js sent  Node.js says
#   > 100 at $0.03                  $0.10  3            3            4             4
#   > 1 at $5                       $1     0            0            1             1
#   > 100 at $0.03                  $0     0            0            100           100
#   > 1000 with tiered prices       $0.10  0            1000         1000          1000
#   > the same, then 100 at $0.03   $0.10  3            3            0             0
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check apify==4.1.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" apify@3.7.2

# Two Actors that charge what their arguments say (event count event count ...) and print what the last charge() returned.
cat > actor.js <<'JS'
const { Actor } = require('apify');
(async () => {
    await Actor.init();
    let result;
    for (let at = 2; at < process.argv.length; at += 2) {
        result = await Actor.charge({ eventName: process.argv[at], count: Number(process.argv[at + 1]) });
    }
    console.log(`charged ${result.chargedCount}`);
    process.exit(0);
})();
JS
cat > actor.py <<'PY'
import asyncio
import sys

from apify import Actor


async def main():
    async with Actor(exit_process=False):
        for event, count in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
            result = await Actor.charge(event, count=int(count))
        print("charged", result.charged_count, flush=True)


asyncio.run(main())
PY

cat > probe.py <<'PY'
import json
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PRICES = {"page": {"eventTitle": "Page", "eventPriceUsd": 0.03}, "report": {"eventTitle": "Report", "eventPriceUsd": 5},
          "tiered": {"eventTitle": "Tiered", "eventTieredPricingUsd": {"FREE": {"tieredEventPriceUsd": 0.05}}}}
sent = []


class Api(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/run1/charge"):
            sent.append(json.loads(body))
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"


def charge(command, cap, *events):
    """How many of the last event were sent, and what charge() said of it."""
    sent.clear()
    pricing = {"pricingModel": "PAY_PER_EVENT", "pricingPerEvent": {"actorChargeEvents": PRICES}}
    environment = {**os.environ, "APIFY_IS_AT_HOME": "1", "APIFY_TOKEN": "none", "ACTOR_RUN_ID": "run1", "ACTOR_ID": "actor",
                   "ACTOR_MAX_TOTAL_CHARGE_USD": cap, "APIFY_ACTOR_PRICING_INFO": json.dumps(pricing),
                   "APIFY_CHARGED_ACTOR_EVENT_COUNTS": '{"page": 0}', "APIFY_API_BASE_URL": base,
                   "APIFY_API_PUBLIC_BASE_URL": base, "ACTOR_DEFAULT_DATASET_ID": "data", "ACTOR_DEFAULT_KEY_VALUE_STORE_ID": "kvs"}
    told = subprocess.run([*command, *events], env=environment, capture_output=True, text=True, timeout=30)
    return sum(call["count"] for call in sent if call["eventName"] == events[-2]), re.search(r"charged (\d+)\n", told.stdout)[1]


print(f"{'charge()':<29} {'cap':<6} {'Python sent':<12} {'Python says':<12} {'Node.js sent':<13} Node.js says")
for told, cap, events in (("100 at $0.03", "0.10", ("page", "100")), ("1 at $5", "1", ("report", "1")),
                          ("100 at $0.03", "0", ("page", "100")), ("1000 with tiered prices", "0.10", ("tiered", "1000")),
                          ("the same, then 100 at $0.03", "0.10", ("tiered", "1000", "page", "100"))):
    python, node = charge(["venv/bin/python", "actor.py"], cap, *events), charge(["node", "actor.js"], cap, *events)
    print(f"{told:<29} {'$' + cap:<6} {python[0]:<12} {python[1]:<12} {node[0]:<13} {node[1]}", flush=True)
PY
timeout 100 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: the SDKs treat the cap otherwise now" >&2; exit 1; }
