#!/usr/bin/env bash
# `apify runs abort` exits 0 whether or not anything was aborted.
#
# Guess:      a command that prints "Error: Failed to abort run" exits non-zero, and `--json` prints JSON. `apify runs wait`
#             of the same tool makes a point of its exit codes, so `abort` will have some too.
# Behaviour:  the exit code is 0 every time: refused by the platform (403), run unknown (404), run over. With --json the error
#             is plain text on stdout. And for a run in TIMING-OUT or ABORTING no abort is sent at all, not even with --force;
#             a run that SUCCEEDED is said to be "already aborted".
# Versions:   apify-cli 1.10.0 (npm), Node.js 20.
# Matters:    home-made watchdogs are shell scripts around this command: `apify runs abort "$id" && echo stopped` believes in
#             stops that never happened, and a graceful abort that hangs cannot be escalated with --force. A watchdog
#             must send the POST itself and prove the stop by looking at the run.
# Output seen (the script compares with these lines):
#   > running   abort         exit 0  POSTs 1  Success: Triggered the abort of run "running"
#   > forbidden abort         exit 0  POSTs 1  Error: Failed to abort run "forbidden".
#   > forbidden abort --json  exit 0  POSTs 1  Error: Failed to abort run "forbidden".
#   > unknown   abort         exit 0  POSTs 0  Error: Run with ID "unknown" was not found on your account.
#   > succeeded abort         exit 0  POSTs 0  Error: Run with ID "succeeded" is already aborted.
#   > timingout abort --force exit 0  POSTs 0  Error: Run with ID "timingout" is already aborting.
#   > aborting  abort --force exit 0  POSTs 0  Error: Run with ID "aborting" is already aborting.
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
server_pid=
trap '[ -z "$server_pid" ] || kill "$server_pid"; rm -rf "$tmp"' EXIT
cd "$tmp"

npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" apify-cli@1.10.0

# The API, as small as can be: the name of the run says in what state it is.
cat > api.py <<'PY'
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUS = {"succeeded": "SUCCEEDED", "timingout": "TIMING-OUT", "aborting": "ABORTING"}


class Api(BaseHTTPRequestHandler):
    def answer(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        if "/users/me" in self.path:
            return self.answer(200, {"data": {"id": "user", "username": "someone", "proxy": {"password": "none"}}})
        name = self.path.split("?")[0].split("/")[3]
        if name == "unknown":
            return self.answer(404, {"error": {"type": "record-not-found", "message": "Actor run was not found"}})
        if name == "forbidden" and self.command == "POST":
            return self.answer(403, {"error": {"type": "insufficient-permissions", "message": "Insufficient permissions"}})
        self.answer(200, {"data": {"id": name, "actId": "actor", "status": STATUS.get(name, "RUNNING")}})

    def do_POST(self):
        with open("posts", "a") as posts:
            posts.write(self.path + "\n")
        self.do_GET()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
with open("port.new", "w") as port:
    port.write(str(server.server_port))
__import__("os").rename("port.new", "port")
server.serve_forever()
PY
python3 api.py &
server_pid=$!
for _ in $(seq 100); do [ -s port ] && break; sleep 0.1; done

export HOME="$tmp" APIFY_DISABLE_KEYRING=1 APIFY_CLI_DISABLE_TELEMETRY=1 APIFY_CLI_SKIP_UPDATE_CHECK=1 NO_COLOR=1
APIFY_CLIENT_BASE_URL="http://127.0.0.1:$(cat port)"
export APIFY_CLIENT_BASE_URL
apify() { timeout 30 node "$tmp/node_modules/.bin/apify" "$@"; }
apify login -t no-real-token > /dev/null 2>&1

abort() { # run [flag]
  : > posts
  local code=0
  apify runs abort "$@" > out 2>&1 || code=$?
  printf '%-9s abort %-7s exit %s  POSTs %s  %s\n' "$1" "${2:-}" "$code" "$(wc -l < posts | tr -d ' ')" \
    "$(head -n 1 out | sed 's/, it should.*//')"
}
{
  abort running
  abort forbidden
  abort forbidden --json
  abort unknown
  abort succeeded
  abort timingout --force
  abort aborting --force
} | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: apify runs abort no longer does what is written above" >&2; exit 1; }
