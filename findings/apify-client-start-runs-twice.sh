#!/usr/bin/env bash
# Both official clients send `start()` again after a lost answer, with nothing that lets the platform know it is the same call.
#
# Guess:      a retrying client repeats reads; starting a run costs money, so it is sent once, or with an idempotency key (as the
#             same Python client does for `charge()`), and the caller hears of the lost answer.
# Behaviour:  POST /v2/.../runs is repeated after a 5xx and after a broken connection like any GET, without a key. Where the run
#             was started and only the answer was lost, each repetition is one more run. The caller gets the last run's id; the
#             others are in nobody's variable.
# Versions:   apify-client 3.4.0 (PyPI, 4 retries), apify-client 2.25.0 (npm, 8 retries).
# Matters:    one flaky minute at a gateway and the same job runs three times at once. Nobody who calls `start()` knows of the two
#             others, so no cap in that program covers them: only a watchdog that watches all runs of the account, whoever
#             started them, does.
# Output seen (the script compares with these lines):
#   > Python:  start() called once; runs started 3; run returned run3; idempotency keys sent 0
#   > Node.js: start() called once; runs started 3; run returned run3; idempotency keys sent 0
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check apify-client==3.4.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" apify-client@2.25.0

cat > start.js <<'JS'
const { ApifyClient } = require('apify-client');
new ApifyClient({ token: 'none', baseUrl: process.argv[2] }).actor('someone~actor').start()
    .then((run) => console.log(run.id));
JS

cat > probe.py <<'PY'
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from apify_client import ApifyClient

STORES = {"defaultKeyValueStoreId": "kvs", "defaultDatasetId": "data", "defaultRequestQueueId": "queue"}
started, keys = [], []


class Api(BaseHTTPRequestHandler):
    """Starts a run for every POST. The answer to the first is lost in a gateway (502), to the second on the way (closed)."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        started.append(f"run{len(started) + 1}")
        keys.extend(value for name, value in self.headers.items() if "idempotency" in name.lower())
        if len(started) == 2:
            self.close_connection = True
            return
        run = {"id": started[-1], "actId": "actor", "userId": "user", "status": "READY", "buildId": "build", "stats": {},
               "startedAt": "2026-01-02T03:04:05.000Z", "meta": {"origin": "API"}, **STORES,
               "options": {"build": "latest", "timeoutSecs": 0, "memoryMbytes": 1024, "diskMbytes": 2048}}
        body = json.dumps({"data": run}).encode() if len(started) > 2 else b"Bad Gateway"
        self.send_response(201 if len(started) > 2 else 502)
        self.send_header("Content-Type", "application/json" if len(started) > 2 else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def report(name, start):
    started.clear()
    keys.clear()
    returned = start()
    print(f"{name} start() called once; runs started {len(started)}; run returned {returned}; idempotency keys sent {len(keys)}")


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
node = ["node", "start.js", base]
report("Python: ", lambda: ApifyClient("none", api_url=base).actor("someone/actor").start().id)
report("Node.js:", lambda: subprocess.run(node, capture_output=True, text=True, timeout=40, check=True).stdout.strip())
PY
timeout 90 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: start() is repeated otherwise now" >&2; exit 1; }
