"""No secret in the ledger, whoever wrote it into a text; what a record is about stays as it is."""

from __future__ import annotations

from typing import Any

import pytest

from watchdog.domain.run import replace
from watchdog.ledger.clean import clean_abort, clean_labels
from watchdog.ledger.rows import abort_of, record_text
from watchdog.redaction import Redactor

SECRET = "apify_api_S3CRET"


def redactor() -> Redactor:
    made = Redactor()
    made.add(SECRET)
    return made


def test_texts_of_a_record(make: Any) -> None:
    abort = make.abort()
    assert clean_abort(abort, redactor()) is abort
    note = replace(abort.history[0], note=f"HTTP 403: {SECRET} https://u:p@h/")
    source = replace(abort.before.source, label=f"owner/{SECRET}")
    dirty = replace(
        abort, reason=f"because {SECRET}", history=(note,), before=replace(abort.before, source=source), rule=SECRET
    )
    clean = clean_abort(dirty, redactor())
    assert clean.reason == "because ***"
    assert clean.history[0].note == "HTTP 403: *** https://***@h/"
    assert clean.before.source.label == "owner/***"
    assert replace(clean, reason="", history=(), before=abort.before) == replace(
        dirty, reason="", history=(), before=abort.before
    ), "figures, ids, rule and account"


def test_labels_of_runs(make: Any) -> None:
    run = make.abort().before
    other = replace(run, run_id="other", source=replace(run.source, label=SECRET))
    assert clean_labels([run], redactor()) == [run]
    assert [each.source.label for each in clean_labels([run, other], redactor())] == [run.source.label, "***"]


@pytest.mark.parametrize(
    "secret", ["1", "t1", "00", "2026", "T", "Z", "-", "graceful", "confirmed", "max_cost_usd", "null", "true", "apify"]
)
def test_whatever_the_secret_is_the_record_can_be_read(make: Any, secret: str) -> None:
    """A short one may be part of a time, of a figure, or a word of ours."""
    made = Redactor()
    made.add(secret)
    abort = make.abort(reason=f"because of {secret}")
    clean = clean_abort(abort, made)
    assert secret not in clean.reason.removeprefix("because of")
    kept = {"id", "account", "platform", "run_id", "rule", "limit", "limit_value", "detected_at", "mode", "state"}
    assert {name: getattr(clean, name) for name in kept} == {name: getattr(abort, name) for name in kept}
    assert abort_of(record_text(clean)) == clean
    assert [step.at for step in clean.history] == [step.at for step in abort.history]
    assert (clean.before.usage, clean.before.seen_at) == (abort.before.usage, abort.before.seen_at)
