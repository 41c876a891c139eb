"""A slip gets a hint, another meaning a sentence, and nothing a wrong hint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.config.models import ACCOUNT_KEYS, SETTING_KEYS, WEB_KEYS
from watchdog.platforms.facts import OURS
from watchdog.rulefile.reach import Surroundings
from watchdog.rulefile.reader import FILE_KEYS, LIMIT_KEYS, RULE_KEYS
from watchdog.text.hints import after_unknown, closest, other_meaning, suggestion, unknown_key

MATCH_KEYS = Surroundings(OURS).keys
ORIGINS = ("WEB", "API", "SCHEDULER", "WEBHOOK", "STANDBY", "CI", "MCP", "CLI", "user")
EVERY_KEY = (*FILE_KEYS, *RULE_KEYS, *MATCH_KEYS, *LIMIT_KEYS, *SETTING_KEYS, *ACCOUNT_KEYS, *WEB_KEYS)


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("max_cost", LIMIT_KEYS, "max_cost_usd"),
        ("max_cost_used", LIMIT_KEYS, "max_cost_usd"),
        ("maxCostUsd", LIMIT_KEYS, "max_cost_usd"),
        ("max-cost-usd", LIMIT_KEYS, "max_cost_usd"),
        ("MAX_COST_USD", LIMIT_KEYS, "max_cost_usd"),
        ("maxcostusd", LIMIT_KEYS, "max_cost_usd"),
        ("max_cost_dollars", LIMIT_KEYS, "max_cost_usd"),
        ("max_cost_usd_per_run", LIMIT_KEYS, "max_cost_usd"),
        ("maxTotalChargeUsd", LIMIT_KEYS, "max_cost_usd"),
        ("usd_max_cost", LIMIT_KEYS, "max_cost_usd"),
        ("max_duratoin", LIMIT_KEYS, "max_duration"),
        ("duration", LIMIT_KEYS, "max_duration"),
        ("max_duration_minutes", LIMIT_KEYS, "max_duration"),
        ("max_runtime", LIMIT_KEYS, "max_duration"),
        ("max_credit", LIMIT_KEYS, "max_credits"),
        ("actors", MATCH_KEYS, "actor"),
        ("actorId", MATCH_KEYS, "actor"),
        ("runid", MATCH_KEYS, "run_id"),
        ("orgin", MATCH_KEYS, "origin"),
        ("limit", RULE_KEYS, "limits"),
        ("never-exceed", RULE_KEYS, "never_exceed"),
        ("lisen", SETTING_KEYS, "listen"),
        ("dryrun", SETTING_KEYS, "dry_run"),
        ("url", ACCOUNT_KEYS, "base_url"),
        ("apfy", ("apify", "lobstr"), "apify"),
        ("Lobster", ("apify", "lobstr"), "lobstr"),
        ("lobstr.io", ("apify", "lobstr"), "lobstr"),
        ("SHEDULER", ORIGINS, "SCHEDULER"),
        ("SCHEDULE", ORIGINS, "SCHEDULER"),
        ("stanby", ORIGINS, "STANDBY"),
        ("apify-mian", ("apify-main", "apify-2"), "apify-main"),
    ],
)
def test_a_slip_gets_a_hint(word: str, known: tuple[str, ...], meant: str) -> None:
    assert suggestion(word, known) == f", did you mean '{meant}'?"
    assert after_unknown(word, known, "key") == f", did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("max_cost_usd_per_month", "all runs of a period together"),
        ("max_cost_usd_per_day", "all runs of a period together"),
        ("monthly_max_cost_usd", "all runs of a period together"),
        ("maxCostUsdDaily", "all runs of a period together"),
        ("maxcostpermonth", "all runs of a period together"),
        ("max_credits_weekly", "all runs of a period together"),
        ("total_max_cost_usd", "many runs together"),
        ("max_total_credits", "many runs together"),
        ("budget_usd", "budget"),
        ("min_cost_usd", "lower bound"),
        ("min_duration", "lower bound"),
        ("warn_cost_usd", "only warn"),
        ("soft_max_duration", "only warn"),
        ("max_items", "count results"),
        ("max_emails", "count results"),
        ("max_email", "count results"),
        ("email", "send messages"),
        ("max_cost_cents", "write dollars under max_cost_usd"),
        ("max_memory_mb", "size of a run"),
        ("timeout", "time-out"),
        ("timeout_secs", "time-out"),
        ("max_cost_eur", "another currency"),
        ("max_concurrent_runs", "count runs"),
        ("exclude_actor", "leave runs out"),
        ("not_actor", "leave runs out"),
        ("actor_regex", "regular expression"),
        ("slack_webhook", "send messages"),
        ("api_key", "token"),
        ("requests_per_hour", "requests_per_minute"),
    ],
)
@pytest.mark.parametrize("known", [LIMIT_KEYS, RULE_KEYS, MATCH_KEYS, SETTING_KEYS, ACCOUNT_KEYS])
def test_another_meaning_gets_a_sentence_and_no_hint(word: str, says: str, known: tuple[str, ...]) -> None:
    sentence = after_unknown(word, known, "key")
    assert "did you mean" not in sentence
    assert says in sentence
    assert sentence.endswith(f"; known keys: {', '.join(known)}")


@pytest.mark.parametrize("word", ["max_compute_units", "maxComputeUnits", "compute_units", "max_cu"])
def test_compute_units_are_the_credits_of_apify(word: str) -> None:
    assert after_unknown(word, LIMIT_KEYS, "key") == ", did you mean 'max_credits'?"
    assert Surroundings(OURS).own_word(word) == " (they are compute units on Apify)"
    assert Surroundings({}).own_word(word) == Surroundings(OURS).own_word("max_credit") == ""


@pytest.mark.parametrize("word", ["mincostusd", "mincredits", "softmaxduration", "maxcreditsmonth"])
def test_a_meaning_is_also_found_in_run_together_words(word: str) -> None:
    assert after_unknown(word, LIMIT_KEYS, "key").startswith(": it would ")


def test_two_that_are_as_likely_are_both_named() -> None:
    assert suggestion("token", ACCOUNT_KEYS) == ", did you mean 'token_file' or 'token_env'?"
    assert closest("token", ACCOUNT_KEYS) is None


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("unprotect", ("protect", "release")),
        ("unhold", ("hold", "holds")),
        ("no_dry_run", SETTING_KEYS),
        ("nodryrun", SETTING_KEYS),
        ("exceed", RULE_KEYS),
        ("max_cost_gold", LIMIT_KEYS),
        ("max", LIMIT_KEYS),
        ("apify-2", ("apify-1", "apify-3")),
        ("apify-prod", ("apify-main",)),
        ("run_name", MATCH_KEYS),
        ("day_run", SETTING_KEYS),
        ("", LIMIT_KEYS),
        ("___", LIMIT_KEYS),
        ("日本", LIMIT_KEYS),
    ],
)
def test_no_hint_where_there_is_none_to_give(word: str, known: tuple[str, ...]) -> None:
    assert closest(word, known) is None


@given(st.text(max_size=300))
def test_any_text_gets_an_answer(word: str) -> None:
    assert closest(word, EVERY_KEY) in {None, *EVERY_KEY}
    assert isinstance(other_meaning(word, EVERY_KEY), str)


@given(key=st.sampled_from(LIMIT_KEYS), data=st.data())
def test_one_letter_lost_from_a_long_part_is_a_slip(key: str, data: st.DataObject) -> None:
    long = key.rpartition("_")[2] if key != "max_cost_usd" else "cost"
    start = key.index(long)
    at = start + data.draw(st.integers(0, len(long) - 1))
    assert closest(key[:at] + key[at + 1 :], LIMIT_KEYS) == key


@pytest.mark.parametrize("key", sorted(set(EVERY_KEY)))
def test_a_key_of_ours_is_never_told_to_mean_something_else(key: str) -> None:
    assert not other_meaning(key) or key in ("requests_per_minute", "max_results"), "which are meant by the sentence"


def test_unknown_keys() -> None:
    known = ("max_cost_usd", "max_duration")
    assert unknown_key("max_cost", known) == "unknown key 'max_cost', did you mean 'max_cost_usd'?"
    assert unknown_key("colour\n", known) == "unknown key 'colour\\n'; known keys: max_cost_usd, max_duration"
