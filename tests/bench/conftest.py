from __future__ import annotations

import sys
from pathlib import Path

# `bench` is no part of the distribution: it is imported from the root of the repository, also by the children.
ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
