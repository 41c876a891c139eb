#!/usr/bin/env bash
# A fully pinned, fully hashed lock file that installed yesterday is "not pinned" today, for Debian 12's pip, because of an extra.
#
# Guess:      with every package as `name==version --hash=...` in the file, --require-hashes installs the same on every pip that
#             knows hashes, for ever; a new release of a package that is pinned changes nothing.
# Behaviour:  pytest-cov asks for `coverage[toml]`. The lock, as `uv pip compile` (0.13.9) writes it by default, pins plain `coverage`.
#             pip up to 23.2 does not apply that pin to the name with the extra: it takes the newest release there is for
#             `coverage[toml]`, which has no hash, and stops with "all requirements must have their versions pinned with ==". As
#             long as the pinned release is the newest one there is, all is well. pip 23.3 installs the file, and older ones do when it
#             says `coverage[toml]==`.
# Versions:   pip 23.0.1 (Debian 12's), 23.2.1 (Python 3.11.7's own), 23.3.2, 25.3; pytest-cov 5.0.0, coverage 7.6.1 (PyPI).
# Matters:    a watchdog is installed from hashed locks so that a host set up again is the host that was tested. On the day that somebody else
#             publishes a release, hosts with an older pip can no longer be set up, though nothing of one's own has changed. Locks
#             have to keep extras (`uv pip compile --no-strip-extras`).
# Output seen (the script compares with these lines):
#   > pip      lock with coverage==7.6.1                     lock with coverage[toml]==7.6.1
#   > 23.0.1   refuses: coverage[toml]>=5.2.1 is not pinned  installs
#   > 23.2.1   refuses: coverage[toml]>=5.2.1 is not pinned  installs
#   > 23.3.2   installs                                      installs
#   > 25.3     installs                                      installs
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check pip==25.3
venv/bin/pip download -qq --disable-pip-version-check --no-deps --only-binary :all: --dest wheels \
  coverage==7.6.1 pytest-cov==5.0.0 pytest==8.3.3 pluggy==1.5.0 iniconfig==2.0.0 packaging==24.1 tomli==2.0.1 exceptiongroup==1.2.2

# The hashes are of the files for this machine; the pins are the same everywhere.
for wheel in wheels/*.whl; do
  name=$(basename "$wheel" | cut -d- -f1 | tr _ -)
  version=$(basename "$wheel" | cut -d- -f2)
  echo "$name==$version --hash=sha256:$(sha256sum "$wheel" | cut -d' ' -f1)"
done > plain.txt
sed 's/^coverage==/coverage[toml]==/' plain.txt > extra.txt

installs() { # lock
  if timeout 60 venv/bin/pip install --disable-pip-version-check --dry-run --require-hashes --requirement "$1" > out 2>&1; then
    echo installs
  elif grep -q 'must have their versions pinned' out; then
    echo "refuses: $(grep -o 'coverage\[toml\][^ ]*' out | tail -n 1) is not pinned"
  else
    tail -n 3 out
  fi
}
{
  printf '%-8s %-45s %s\n' pip 'lock with coverage==7.6.1' 'lock with coverage[toml]==7.6.1'
  for version in 23.0.1 23.2.1 23.3.2 25.3; do
    venv/bin/python -m pip install -qq --disable-pip-version-check "pip==$version" 2> /dev/null
    printf '%-8s %-45s %s\n' "$version" "$(installs plain.txt)" "$(installs extra.txt)"
  done
} | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: pip takes such a lock otherwise now" >&2; exit 1; }
