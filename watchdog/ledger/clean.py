"""What goes into the ledger without the secrets that platforms, rules or people put into their texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from watchdog.domain.decision import Abort
from watchdog.domain.run import Snapshot, replace
from watchdog.redaction import Redactor

#: Never altered: these say what a record is about, and for whom it counts.
_KEPT = frozenset(
    {"id", "account", "platform", "run_id", "rule", "limit", "state", "mode", "asked_mode", "basis", "cost_basis"}
)


def clean_abort(abort: Abort, redactor: Redactor) -> Abort:
    """The record with every text in it redacted, but for those that say what it is about."""
    try:
        text = msgspec.json.encode(abort).decode()
    except ValueError:  # half a surrogate pair
        text = repr(abort)
    if redactor.text(text) == text:
        return abort
    return msgspec.convert(_clean(msgspec.to_builtins(abort), redactor), Abort)


def _clean(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, dict):
        return {key: each if key in _KEPT else _clean(each, redactor) for key, each in value.items()}
    return [_clean(each, redactor) for each in value] if isinstance(value, list | tuple) else value


def clean_labels(runs: Iterable[Snapshot], redactor: Redactor) -> list[Snapshot]:
    """The same runs, their sources labelled without secrets."""
    runs = list(runs)
    clean = {label: redactor.text(label) for label in {run.source.label for run in runs}}
    if all(label == text for label, text in clean.items()):
        return runs
    return [replace(run, source=replace(run.source, label=clean[run.source.label])) for run in runs]
