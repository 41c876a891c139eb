#!/usr/bin/env bash
# The same `increase()` over the same samples: Prometheus and VictoriaMetrics disagree on a counter that has just appeared.
#
# Guess:      VictoriaMetrics speaks PromQL, so an alert rule moves over as it is; if the two differ then one of them counts the first
#             sample of a new series as an increase and the other does not, whatever the value is.
# Behaviour:  Prometheus never counts the first sample. VictoriaMetrics decides by its size: below ten times (the step to the second
#             sample + 1) it counts in full, else not at all. A counter born at 9 is an increase of 9, at 10 of 0; one born at
#             500 whose next sample is 550 is an increase of 550 (Prometheus: 50 and some extrapolation).
# Versions:   Prometheus 2.42.0 and VictoriaMetrics 1.79.5, Debian 12's packages; needs apt's lists (apt-get update).
# Matters:    a watchdog's counters of aborts and saved dollars begin again as new series with every new instance label, at what
#             the ledger says. `increase(saved_usd_total[1d])` then shows money saved twice in VictoriaMetrics and none in
#             Prometheus, and an alert on the first abort ever fires in one of the two only. Start counters at 0 before the
#             first event, and keep labels steady over restarts.
# Output seen (the script compares with these lines; five minutes of samples, then one query over 20 minutes):
#   > samples of a new counter   VictoriaMetrics  Prometheus
#   > 1, 1, 1, ...               1                0
#   > 9, 9, 9, ...               9                0
#   > 10, 10, 10, ...            0                0
#   > 500, 500, 500, ...         0                0
#   > 500, 550, 550, ...         550              55.5556
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

if ! command -v apt-get > /dev/null; then echo "skipped: needs Debian's packages"; exit 0; fi
# Any build of these two upstream versions will do.
for package in prometheus=2.42.0 victoria-metrics=1.79.5; do
  exact=$(apt-cache madison "${package%=*}" | awk -F' *[|] *' -v v="${package#*=}" 'index($2, v) == 1 { print $2; exit }')
  [ -n "$exact" ] || { echo "CHANGED: apt no longer has $package" >&2; exit 1; }
  apt-get download -qq "${package%=*}=$exact" 2> /dev/null
done
for deb in ./*.deb; do dpkg-deb --extract "$deb" root; done

cat > probe.py <<'PY'
import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request

SERIES = {"1, 1, 1, ...": [1] * 10, "9, 9, 9, ...": [9] * 10, "10, 10, 10, ...": [10] * 10,
          "500, 500, 500, ...": [500] * 10, "500, 550, 550, ...": [500] + [550] * 9}
EVERY, BORN, ASKED = 30, 300, 600  # seconds: between samples, of the first sample, of the query


def prometheus(values):
    """The engine of promtool's rule tests; a test that expects nonsense prints what it got."""
    test = {"rule_files": [], "tests": [{
        "interval": f"{EVERY}s",
        "input_series": [{"series": "aborts_total", "values": "_x9 " + " ".join(map(str, values))}],
        "promql_expr_test": [{"expr": "increase(aborts_total[20m])", "eval_time": f"{ASKED}s",
                              "exp_samples": [{"labels": "{}", "value": -1}]}]}]}
    with open("test.json", "w") as file:
        json.dump(test, file)  # JSON is YAML
    told = subprocess.run(["root/usr/bin/promtool", "test", "rules", "test.json"], capture_output=True, text=True, timeout=30)
    return float(re.search(r"got: \{\} ([-+.\dE]+)", told.stdout + told.stderr)[1])


def victoriametrics(cases):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = ["root/usr/bin/victoria-metrics", "-storageDataPath=data", f"-httpListenAddr={address}", "-search.latencyOffset=0s"]
    with open("server.log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            return _ask(f"http://{address}", cases)
        finally:
            server.terminate()


def _ask(base, cases):
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{base}/health", timeout=5).read()
            break
        except OSError:
            time.sleep(0.1)
    start = int(time.time()) - 3600
    lines = [f"case{number} {value} {(start + BORN + place * EVERY) * 1000}"
             for number, values in enumerate(cases) for place, value in enumerate(values)]
    urllib.request.urlopen(f"{base}/api/v1/import/prometheus", data="\n".join(lines).encode(), timeout=10).read()
    time.sleep(2)
    urllib.request.urlopen(f"{base}/internal/force_flush", timeout=10).read()
    found = []
    for number in range(len(cases)):
        query = urllib.parse.urlencode({"query": f"increase(case{number}[20m])", "time": start + ASKED})
        answer = json.load(urllib.request.urlopen(f"{base}/api/v1/query?{query}", timeout=10))
        found.append(float(answer["data"]["result"][0]["value"][1]))
    return found


print(f"{'samples of a new counter':<26} {'VictoriaMetrics':<16} Prometheus")
for (told, values), increase in zip(SERIES.items(), victoriametrics(list(SERIES.values())), strict=True):
    print(f"{told:<26} {increase:<16g} {prometheus(values):g}")
PY
timeout 60 python3 probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: the two count a new series otherwise now" >&2; exit 1; }
