#!/usr/bin/env bash
# One run without `usageTotalUsd` makes the official Python client drop the whole list of runs.
#
# Guess:      the models are forgiving (unknown fields pass, an unknown status or origin passes), and a run in the list whose
#             dollars the platform leaves out, as it does where a pay-per-event Actor is another's (apify-docs issue 2234 shows
#             such a list), comes back with `usage_total_usd = None`. In the detail of a run it does.
# Behaviour:  in the list the field is required and may not be null. One such run among a thousand and `runs().list()` raises
#             pydantic's ValidationError: not an ApifyApiError, no item is returned, and `iterate()` cannot be told to go on.
#             An unknown status and an unknown origin pass. The official JavaScript client returns every run.
# Versions:   apify-client 3.4.0 (PyPI), apify-client 2.25.0 (npm).
# Matters:    a sweep built on this client goes blind on an account from the moment that one such run exists, and every other
#             run is free to spend. A watchdog decodes item by item, and a figure that is not there is unknown.
# Output seen (the script compares with these lines):
#   > Python  list: new status, new origin        3 runs
#   > Python  list: one run without usageTotalUsd ValidationError: data.items.1.usageTotalUsd missing; an ApifyClientError: no
#   > Python  list: one run with null in it       ValidationError: data.items.1.usageTotalUsd float_type; an ApifyClientError: no
#   > Python  run: without usageTotalUsd          usage_total_usd=None
#   > Node.js list: one run without usageTotalUsd 3 runs
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check apify-client==3.4.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" apify-client@2.25.0

cat > list.js <<'JS'
const { ApifyClient } = require('apify-client');
new ApifyClient({ token: 'none', baseUrl: `${process.argv[2]}/absent` }).runs().list()
    .then(({ items }) => console.log(`${items.length} runs`));
JS

cat > probe.py <<'PY'
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from apify_client import ApifyClient
from apify_client.errors import ApifyClientError
from pydantic import ValidationError


def run(number, **changes):
    stores = {"defaultKeyValueStoreId": "kvs", "defaultDatasetId": "data", "defaultRequestQueueId": "queue"}
    return {"id": f"run{number}", "actId": "actor", "userId": "user", "status": "RUNNING", "buildId": "build",
            "buildNumber": "0.0.1", "startedAt": "2026-01-02T03:04:05.000Z", "meta": {"origin": "API"},
            "usageTotalUsd": 0.25, **stores, **changes}


class Api(BaseHTTPRequestHandler):
    """What comes before /v2 in the path picks the answer."""

    def do_GET(self):
        case = self.path.split("/")[1]
        items = [run(0), run(1), run(2)]
        if case == "absent":
            del items[1]["usageTotalUsd"]
        elif case == "null":
            items[1]["usageTotalUsd"] = None
        else:
            items[1].update(status="PAUSED", meta={"origin": "NEW_ORIGIN"}, somethingNew=1)
        page = {"total": 3, "offset": 0, "limit": 1000, "count": 3, "desc": False, "items": items}
        options = {"build": "latest", "timeoutSecs": 0, "memoryMbytes": 1024, "diskMbytes": 2048}
        detail = {**items[1], "stats": {}, "options": options}
        body = json.dumps({"data": page if self.path.split("?")[0].endswith("/actor-runs") else detail}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"


def listed(case):
    try:
        return f"{len(ApifyClient('none', api_url=f'{base}/{case}').runs().list().items)} runs"
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"ValidationError: {where} {first['type']}; an ApifyClientError: {'yes' if isinstance(error, ApifyClientError) else 'no'}"


print("Python  list: new status, new origin       ", listed("fine"))
print("Python  list: one run without usageTotalUsd", listed("absent"))
print("Python  list: one run with null in it      ", listed("null"))
found = ApifyClient("none", api_url=f"{base}/absent").run("run1").get()
print("Python  run: without usageTotalUsd         ", f"usage_total_usd={found.usage_total_usd}")
node = subprocess.run(["node", "list.js", base], capture_output=True, text=True, timeout=30, check=True)
print("Node.js list: one run without usageTotalUsd", node.stdout.strip())
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: apify-client reads such a list otherwise now" >&2; exit 1; }
