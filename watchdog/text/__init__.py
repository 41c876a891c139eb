"""Texts: YAML with positions, durations, hints for misspelt words, and showing what others wrote.

What shows a text is here, since everything that prints wants it. The rest has a module each and is loaded by those who
need it: `document` (a tree with positions), `parsing` (YAML into such a tree), `files`, `durations`, `hints`.
"""

from __future__ import annotations

from watchdog.text.escapes import LAYOUT, escaped, shown

__all__ = ["LAYOUT", "escaped", "shown"]
