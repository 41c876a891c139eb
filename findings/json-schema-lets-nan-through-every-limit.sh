#!/usr/bin/env bash
# JSON Schema with `minimum: 0, maximum: 100` passes a YAML limit of `.nan` in Python, in CI too; pydantic, msgspec and ajv refuse it.
#
# Guess:      a value that passed minimum 0 and maximum 100 is between 0 and 100; validators of the same schema agree.
# Behaviour:  JSON has no NaN but YAML has. The Python implementation asks whether the value is below the minimum or above the maximum,
#             and NaN is neither; so jsonschema, check-jsonschema (the pre-commit hook) and Cerberus call it valid. pydantic and
#             msgspec ask whether it is at least the minimum, and ajv whether it is finite: refused.
# Versions:   jsonschema 4.25.1, check-jsonschema 0.34.0, Cerberus 1.3.8, pydantic 2.14.4, msgspec 0.23.0, PyYAML 6.0.4 (PyPI),
#             ajv 8.17.1, yaml 2.8.1 (npm).
# Matters:    `max_cost_usd: .nan` is a limit that no cost is ever over: the rule file is green in the editor and in CI, the run is never
#             stopped. A watchdog must refuse numbers that are not finite itself, and not lean on a published schema for it.
# Output seen (the script compares with these lines):
#   > max_cost_usd: .nan under minimum 0, maximum 100
#   >   jsonschema        valid
#   >   check-jsonschema  valid
#   >   Cerberus          valid
#   >   pydantic          refused
#   >   msgspec           refused
#   >   ajv               refused
#   > a cost of 1000000 is over that limit: False
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check jsonschema==4.25.1 check-jsonschema==0.34.0 Cerberus==1.3.8 pydantic==2.14.4 \
  msgspec==0.23.0 PyYAML==6.0.4
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tmp" ajv@8.17.1 yaml@2.8.1

echo 'max_cost_usd: .nan' > rule.yaml
echo '{"type": "object", "properties": {"max_cost_usd": {"type": "number", "minimum": 0, "maximum": 100}}}' > schema.json

cat > valid.js <<'JS'
const { readFileSync } = require('fs');
const Ajv = require('ajv').default;
const valid = new Ajv().compile(JSON.parse(readFileSync('schema.json', 'utf8')));
console.log(valid(require('yaml').parse(readFileSync('rule.yaml', 'utf8'))) ? 'valid' : 'refused');
JS

cat > probe.py <<'PY'
import json
import subprocess
from typing import Annotated

import cerberus
import jsonschema
import msgspec
import pydantic
import yaml

with open("rule.yaml") as file:
    rule = yaml.safe_load(file)
with open("schema.json") as file:
    schema = json.load(file)


class Pydantic(pydantic.BaseModel):
    max_cost_usd: float = pydantic.Field(ge=0, le=100)


class Msgspec(msgspec.Struct):
    max_cost_usd: Annotated[float, msgspec.Meta(ge=0, le=100)]


def raises(check, *errors):
    try:
        check()
    except errors:
        return "refused"
    return "valid"


def command(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=30)


print("max_cost_usd: .nan under minimum 0, maximum 100")
print("  jsonschema       ", raises(lambda: jsonschema.validate(rule, schema), jsonschema.ValidationError))
checked = command("venv/bin/check-jsonschema", "--schemafile", "schema.json", "rule.yaml").returncode
print("  check-jsonschema ", {0: "valid", 1: "refused"}.get(checked, f"exit {checked}"))
bounds = {"max_cost_usd": {"type": "number", "min": 0, "max": 100}}
print("  Cerberus         ", "valid" if cerberus.Validator(bounds).validate(rule) else "refused")
print("  pydantic         ", raises(lambda: Pydantic(**rule), pydantic.ValidationError))
print("  msgspec          ", raises(lambda: msgspec.convert(rule, Msgspec), msgspec.ValidationError))
print("  ajv              ", command("node", "valid.js").stdout.strip())
print("a cost of 1000000 is over that limit:", 1_000_000 > rule["max_cost_usd"])
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: the validators take NaN otherwise now" >&2; exit 1; }
