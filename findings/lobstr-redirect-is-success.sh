#!/usr/bin/env bash
# lobstr's SDK and command line take a redirect for success: "Aborted run ...", exit 0, and the abort never reached the API.
#
# Guess:      a base address that answers with a redirect (http instead of https, an old host, a missing slash) is either followed
#             or raises; a call that returns has been carried out.
# Behaviour:  the SDK's httpx client does not follow redirects, and only answers from 400 on raise. The 301 with its empty body becomes
#             the answer `{}`: `runs.abort()` returns, the CLI prints "Aborted run" and exits 0. `balance()` comes back with 0 of
#             everything, `squids.list()` as an empty list. Only `runs.get()` fails, with a KeyError.
# Versions:   lobstrio-sdk 0.7.0, lobstrio 0.7.2 (the CLI), httpx 0.28.1 (PyPI).
# Matters:    a base address of http instead of https is enough, and the SDK makes `{}` of every empty answer, a good one too, so
#             its return value does not tell the two apart. "No squids, nothing running, 0 credits" is what a quiet account
#             looks like. A watchdog treats 3xx as an error and believes an abort only when the run itself says so.
# Output seen (the script compares with these lines):
#   > lobstr run abort: exit 0, says: Aborted run 300e0000000000000000000000000000
#   > requests that reached the API behind the redirect: 0
#   > runs.abort(): {}
#   > balance(): available 0 consumed 0
#   > squids.list(): []
#   > runs.get(): raises KeyError 'id'
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check lobstrio==0.7.2 lobstrio-sdk==0.7.0 httpx==0.28.1

cat > probe.py <<'PY'
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lobstrio import LobstrClient

RUN = "300e0000000000000000000000000000"
arrived = []


class Api(BaseHTTPRequestHandler):
    """/old/... has moved to /v1/..., which is where the API would be."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.startswith("/v1/"):
            arrived.append(self.path)
        self.send_response(301)
        self.send_header("Location", self.path.replace("/old/", "/v1/"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_port}/old/"

environment = {**os.environ, "LOBSTR_API_BASE": base, "LOBSTR_TOKEN": "none", "NO_COLOR": "1", "HOME": os.getcwd()}
done = subprocess.run(["venv/bin/lobstr", "run", "abort", RUN], env=environment, capture_output=True, text=True, timeout=30)
print(f"lobstr run abort: exit {done.returncode}, says: {(done.stdout + done.stderr).strip()}")
print("requests that reached the API behind the redirect:", len(arrived))

client = LobstrClient(token="none", base_url=base)
print("runs.abort():", client.runs.abort(RUN))
balance = client.balance()
print("balance(): available", balance.available, "consumed", balance.consumed)
print("squids.list():", client.squids.list())
try:
    print("runs.get():", client.runs.get(RUN))
except Exception as error:
    print("runs.get(): raises", type(error).__name__, error)
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: lobstr's clients treat a redirect otherwise now" >&2; exit 1; }
