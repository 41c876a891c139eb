#!/usr/bin/env bash
# Where PyYAML and pydantic meet: `max_duration: 1:30` is 90 seconds, `max_duration: 01:30` is an hour and a half.
#
# Guess:      a leading zero changes nothing: both are 1 h 30 min (or both 1 min 30 s, or both are refused), and 9:00 is as long as 09:00.
# Behaviour:  PyYAML (YAML 1.1) reads 1:30 as a number to base 60, so pydantic gets the int 90 and takes it for seconds: min:s. A leading
#             zero is not allowed there, so 01:30 stays text, which pydantic reads as h:min. 0:30 is text too, and refused. A
#             YAML 1.2 reader (ruamel.yaml) hands over text each time, and then the forms without a leading zero are refused.
# Versions:   PyYAML 6.0.4, ruamel.yaml 0.19.1, pydantic 2.14.4 (PyPI).
# Matters:    `9:00` caps runs at nine minutes where nine hours were meant (false kills), `09:00` at nine hours where nine minutes
#             were meant (a miss), and no reader complains. A rule file should take durations with a unit (90s, 1h30m) only and refuse
#             numbers and colons, which has to be done before the YAML reader has made an int of them.
# Output seen (the script compares with these lines):
#   > max_duration  PyYAML gives  pydantic then   ruamel gives  pydantic then
#   > 1:30          90            0:01:30         '1:30'        refused
#   > 01:30         '01:30'       1:30:00         '01:30'       1:30:00
#   > 9:00          540           0:09:00         '9:00'        refused
#   > 09:00         '09:00'       9:00:00         '09:00'       9:00:00
#   > 0:30          '0:30'        refused         '0:30'        refused
#   > 1:30:00       5400          1:30:00         '1:30:00'     1:30:00
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check PyYAML==6.0.4 ruamel.yaml==0.19.1 pydantic==2.14.4

cat > probe.py <<'PY'
from datetime import timedelta

import yaml
from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML


class Limits(BaseModel):
    max_duration: timedelta


def duration(value):
    try:
        return str(Limits(max_duration=value).max_duration)
    except ValidationError:
        return "refused"


print("max_duration  PyYAML gives  pydantic then   ruamel gives  pydantic then")
for written in ("1:30", "01:30", "9:00", "09:00", "0:30", "1:30:00"):
    document = f"max_duration: {written}"
    old = yaml.safe_load(document)["max_duration"]
    new = YAML(typ="safe", pure=True).load(document)["max_duration"]
    print(f"{written:<13} {old!r:<13} {duration(old):<15} {new!r:<13} {duration(new)}")
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: the readers take such durations otherwise now" >&2; exit 1; }
