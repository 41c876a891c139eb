#!/usr/bin/env bash
# lobstr's SDK knows two ways of not knowing: a figure that is absent is 0, a figure that is null is None, in fields typed float.
#
# Guess:      a typed model (`credit_used: float`, `duration: float`, `available: int`) holds numbers, or the call raises; and what the
#             platform did not say cannot be told from 0 only where the documentation says so.
# Behaviour:  absent becomes 0.0 (a run that cost nothing; an account with nothing consumed), null becomes None, and a string stays a
#             string: `duration` of a run is "0:00:50.183300" in the detail and a number in the list (both are in lobstr's API
#             documentation) under one `duration: float`. `credit_used > limit` is False in the first case, a TypeError in the second.
# Versions:   lobstrio-sdk 0.7.0 (PyPI).
# Matters:    a limit on a figure that reads as 0 never fires. A watchdog must read the `raw` answer, take absent and null alike for
#             unknown, and say that a limit cannot be checked.
# Output seen (the script compares with these lines):
#   > the answer has                    credit_used  duration           is over 10 credits?
#   > numbers                           12.5         10.4498            True
#   > neither of the two                0.0          0.0                False
#   > null for both                     None         None               TypeError
#   > the detail's duration             12.5         '0:00:50.183300'   True
#   > balance() of an empty object: available 0 consumed 0
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check lobstrio-sdk==0.7.0 httpx==0.28.1

cat > probe.py <<'PY'
import httpx
from lobstrio import LobstrClient

CASES = {
    "numbers": {"credit_used": 12.5, "duration": 10.4498},
    "neither of the two": {},
    "null for both": {"credit_used": None, "duration": None},
    "the detail's duration": {"credit_used": 12.5, "duration": "0:00:50.183300"},
}


def client(answer):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    return LobstrClient(token="none", base_url="http://127.0.0.1/v1/", transport=transport)


print(f"{'the answer has':<33} {'credit_used':<12} {'duration':<18} is over 10 credits?")
for told, figures in CASES.items():
    run = client({"id": "300e", "status": "running", **figures}).runs.get("300e")
    try:
        over = run.credit_used > 10
    except TypeError:
        over = "TypeError"
    print(f"{told:<33} {run.credit_used!r:<12} {run.duration!r:<18} {over}")
balance = client({}).balance()
print("balance() of an empty object: available", balance.available, "consumed", balance.consumed)
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: lobstrio-sdk reads missing figures otherwise now" >&2; exit 1; }
