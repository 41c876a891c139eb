#!/usr/bin/env bash
# Two official clients, one 404: Python says "no such run", JavaScript raises; and they wait differently for a run they cannot see.
#
# Guess:      `run(id).get()` gives None (undefined) only when the platform says that this record does not exist, and
#             `wait_for_finish(5 s)` of a run that cannot be found either raises or uses its 5 s; both clients alike.
# Behaviour:  Python turns every 404 into None: also one of another type, and also a proxy's HTML page that never came from the
#             platform. JavaScript returns undefined only for the types record-not-found and record-or-token-not-found and
#             raises for the rest. Asked to wait 5 s for a run that is 404, Python gives up after about 3 s and returns None;
#             JavaScript uses its 5 s and raises an Error.
# Versions:   apify-client 3.4.0 (PyPI), apify-client 2.25.0 (npm).
# Matters:    whoever reads None as "the run is over" books a stop, and savings, for a run that goes on spending behind a wrong base
#             URL, a captive proxy, or a replica that does not know the run yet. Only a body with the platform's own error type may say
#             that a run is gone, and even that says "not found or no access".
# Output seen (the script compares with these lines):
#   > answer                                  Python                      Node.js
#   > get:  404 record-not-found              None                        undefined
#   > get:  404 page-not-found                None                        raises ApifyApiError
#   > get:  404 HTML page of a proxy          None                        raises ApifyApiError
#   > wait: 404 record-not-found, 5 s given   None, before 5 s            raises Error, at 5 s
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check apify-client==3.4.0
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" apify-client@2.25.0

cat > client.js <<'JS'
const { ApifyClient } = require('apify-client');
const [, , baseUrl, run, wait] = process.argv;
(async () => {
    const started = Date.now();
    const client = new ApifyClient({ token: 'none', baseUrl }).run(run);
    const end = await (wait ? client.waitForFinish({ waitSecs: Number(wait) }) : client.get())
        .then(String, (error) => `raises ${error.constructor.name}`);
    const when = Date.now() - started < Number(wait) * 1000 ? 'before' : 'at';
    console.log(wait ? `${end}, ${when} ${wait} s` : end);
})();
JS

cat > probe.py <<'PY'
import json
import subprocess
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from apify_client import ApifyClient


class Api(BaseHTTPRequestHandler):
    def do_GET(self):
        if "proxy" in self.path:
            kind, body = "text/html", b"<html><h1>Not Found</h1></html>"
        else:
            error = "page-not-found" if "other" in self.path else "record-not-found"
            kind, body = "application/json", json.dumps({"error": {"type": error, "message": "Not found"}}).encode()
        self.send_response(404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def python(base, run, wait=None):
    client = ApifyClient("none", api_url=base).run(run)
    if wait is None:
        return str(client.get())
    began = time.monotonic()
    found = client.wait_for_finish(wait_duration=timedelta(seconds=wait))
    return f"{found}, {'before' if time.monotonic() - began < wait else 'at'} {wait} s"


def node(base, run, wait=None):
    command = ["node", "client.js", base, run] + ([str(wait)] if wait else [])
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.strip()


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}"
print(f"{'answer':<39} {'Python':<27} Node.js")
for told, run, wait in (("get:  404 record-not-found", "run", None), ("get:  404 page-not-found", "other", None),
                        ("get:  404 HTML page of a proxy", "proxy", None), ("wait: 404 record-not-found, 5 s given", "run", 5)):
    print(f"{told:<39} {python(base, run, wait):<27} {node(base, run, wait)}")
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: the clients read a 404 otherwise now" >&2; exit 1; }
