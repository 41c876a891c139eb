"""What the values of each match key can be: what is passed, what is warned about, and with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.links import named_by
from watchdog.domain.platform import Mode, Platforms, PlatformTraits
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS
from watchdog.rulefile import AccountView, load_rules
from watchdog.rulefile.spelling import Value, misspelling

APIFY = AccountView("apify-main", "apify")
LOBSTR = AccountView("lobstr-main", "lobstr")
BOTH = frozenset({"apify", "lobstr"})
ID, HEX = "HG7ML7M8z78YcAPEB", "300e1234300e1234300e1234300e12ab"


def found(key: str, text: str, platforms: frozenset[str] = BOTH, *, alone: bool = True) -> str:
    """`error: ...`, `warning: ...` or "" for a value."""
    wrong = misspelling(Value(key, text, platforms, alone, OURS))
    return "" if wrong is None else f"{'error' if wrong.sure else 'warning'}: {wrong.message}"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("actor", "compass/crawler-google-places"),
        ("actor", "compass/*"),
        ("actor", "*"),
        ("actor", "compass"),
        ("actor", "nwua9Gu5YrADL7ZDj"),
        ("actor", "nwua9*"),
        ("actor", "john.doe_2/my-actor"),
        ("actor", "john.*"),
        ("actor", "[abc]*/x"),
        ("actor", "compass/crawler "),
        ("task", "month-end-*"),
        ("run_id", ID),
        ("run_id", HEX),
        ("run_id", "HG7*"),
        ("origin", "API"),
        ("origin", "SCHED*"),
        ("origin", "user"),
        ("account", "apify-*"),
        ("squid", "[EU] leads"),
        ("squid", "Leads  Paris "),
        ("squid", "Joe\u2019s leads"),
        ("squid", "caf\u00e9 \u65e5\u672c"),
        ("squid", "\U0001f468\u200d\U0001f469\u200d\U0001f467 leads"),
        ("squid", "https://example.com/list"),
        ("squid", HEX),
        ("crawler", "Google Maps (fast)"),
        ("squid", "!!! urgent"),
        ("squid", "! urgent"),
        ("squid", "[EU"),
        ("squid", "[EU] *"),
        ("squid", "[abc]*"),
        ("squid", "C++ jobs (2024)"),
        ("squid", "leads?"),
        ("squid", "Leads $$$"),
        ("squid", "under 50$"),
        ("squid", "up to 50%"),
        ("squid", "-50% deals"),
        ("squid", "- leads -"),
        ("squid", "Not for sale"),
        ("squid", "a^b + c"),
        ("squid", "paris/lyon/"),
        ("spider", "/news/"),
        ("squid", "Leads (EU)*"),
        ("squid", "Leads (EU)+(US)"),
        ("squid", "% off deals"),
        ("squid", "$AAPL watch"),
        ("squid", "50% - 70%"),
    ],
)
def test_what_can_be_is_passed(key: str, text: str) -> None:
    assert found(key, text) == ""


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("origin", "SHEDULER", "'SHEDULER' is not an origin on apify or lobstr, did you mean 'SCHEDULER'?"),
        ("origin", "SCHEDULE", "is not an origin on apify or lobstr, did you mean 'SCHEDULER'?"),
        ("origin", "CRON", "'CRON' is not an origin on apify or lobstr; known: on apify DEVELOPMENT, WEB, "),
        ("origin", "scheduler", "'scheduler': upper and lower case count; write SCHEDULER"),
        ("run_id", "HG7ML7M8z78YcAPE", "does not look like the id of a run (17 letters and digits on Apify, 32"),
        ("actor", "Compass/Crawler-Google-Places", "case counts; write compass/crawler-google-places"),
        ("squid", "\u201cLeads\u201d", "the quotes in \u201cLeads\u201d are part of it; write Leads"),
        ("squid", "!leads", "'!' in front of 'leads' excludes nothing"),
        ("squid", "{a,b} leads", 'globs have no {a,b}; write a list: ["a leads", "b leads"]'),
        ("squid", "a, b", 'one text and not several; if one name is meant, write it as a list of one: ["a, b"]'),
        ("squid", "^x.*$", 'is read as a glob, not as a regular expression; write "x*"'),
        ("squid", ".*", 'write "*"'),
        ("squid", "leads.*", 'write "leads*"'),
        ("squid", "leads\\d+", "is read as a glob"),
        ("squid", "[a-z]+", "is read as a glob"),
        ("squid", "(eu|us) leads [0-9]+", "one text and not several"),
        ("squid", "leads [0-9]{3}", "is read as a glob"),
        ("squid", "(?i)leads", "is read as a glob"),
        ("squid", "leads$", "is read as a glob, not as a regular expression; write leads"),
        ("squid", "/leads/i", 'no regular expression here; write "*leads*"'),
        ("squid", "/leads/", 'no regular expression here; write "*leads*"'),
        ("squid", "%leads%", "the sign for any text is '*'; write \"*leads*\""),
        ("squid", "-leads", "'-' in front of 'leads' excludes nothing"),
        ("squid", "not leads", "'not' in front of 'leads' excludes nothing"),
        ("squid", "${SQUID}", "variables are not replaced in rule files"),
        ("crawler", "google.+maps", "is read as a glob"),
        ("spider", "^news", "is read as a glob"),
        ("actor", "-compass/maps", "'-' in front of 'compass/maps' excludes nothing"),
    ],
)
def test_what_is_unlikely_is_warned_about(key: str, text: str, says: str) -> None:
    sentence = found(key, text, BOTH if key != "spider" else frozenset({"crawlhub"}))
    assert sentence.startswith("warning: may match nothing: ")
    assert says in sentence


def test_a_comma_in_an_entry_of_a_list_is_meant() -> None:
    assert found("squid", "Plumbers, Austin", alone=False) == ""
    assert found("actor", "compass/a, compass/b", alone=False).startswith("error: ")


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ("actor", "compass/crawler\u2013google", "compass/crawler-google"),
        ("actor", "compass / maps", "compass/maps"),
        ("actor", "\uff43ompass/maps", "compass/maps"),
        ("actor", "\u201c@compass~maps\u201d", "compass/maps"),
        ("squid", f"https://app.lobstr.io/dashboard/{HEX}/results", HEX),
        ("run_id", f"app.lobstr.io/x/{HEX}", HEX),
        ("account", "\u2018apify-*\u2019", '"apify-*"'),
    ],
)
def test_the_right_spelling_is_offered(key: str, text: str, right: str) -> None:
    assert found(key, text).endswith(f"; write {right}")


def test_letters_of_other_scripts_that_look_the_same_are_told_by_their_code() -> None:
    assert "holds '\u0430' (U+0430)" in found("actor", "\u0430pify/maps")


@pytest.mark.parametrize(
    ("key", "text", "says"),
    [
        ("actor", "apify/[]", "is never closed"),
        ("actor", "apify/[!]", "is never closed"),
        ("actor", "[z-a]", "no character fits '[z-a]'"),
        ("actor", "compass/[#]*", "no character fits '[#]'"),
        ("task", "x[ ]y", "no character fits '[ ]'"),
        ("run_id", "HG7[z-a]*", "no character fits '[z-a]'"),
        ("task", "my task", "'my task' holds a blank; a task's name has only letters, digits, '-' and '_'"),
        ("task", "my\ttask", "holds a tab; a task's name"),
        ("actor", "compass\\maps", "; write compass/maps"),
        ("actor", "compass+maps", "'compass+maps' holds '+'; an Actor's name has only letters"),
        ("actor", "$x", "'$x' holds '$x', and variables are not replaced"),
        ("actor", "compass/${ACTOR}", "holds '${ACTOR}', and variables are not replaced"),
        ("actor", "compass/*/", '; write "compass/*"'),
        ("actor", "compass/crawler-google-places/", "; write compass/crawler-google-places"),
        ("actor", "compass/crawler-google-places/runs", "; write compass/crawler-google-places"),
        ("actor", "v2/acts/compass/maps", "; write compass/maps"),
        ("actor", "compass/", '; write "compass/*"'),
        ("actor", "^compass/.*$", '; write "compass/*"'),
        ("actor", "compass/maps$", "; write compass/maps"),
    ],
)
def test_what_cannot_match_is_refused_for_what_it_is(key: str, text: str, says: str) -> None:
    sentence = found(key, text)
    assert sentence.startswith("error: can never match: "), sentence
    assert says in sentence


def test_origins_are_listed_for_the_platform_that_is_meant() -> None:
    assert "'API' is not an origin on lobstr; known: user" in found("origin", "API", frozenset({"lobstr"}))


@pytest.mark.parametrize("text", ["scheduler", "Scheduler", "sched*", "api"])
def test_on_apify_alone_an_origin_in_lower_case_is_refused(text: str) -> None:
    assert found("origin", text, frozenset({"apify"})).startswith("error: can never match: ")


@pytest.mark.parametrize(
    ("key", "text"),
    [("run_id", "job/7 of 9"), ("origin", "nightly timer"), ("spider", "!x"), ("spider", "a~b"), ("actor", "a~b")],
)
def test_what_a_plug_in_may_have_is_never_refused(key: str, text: str) -> None:
    assert not found(key, text, frozenset({"apify", "crawlhub"})).startswith("error: ")


@pytest.mark.parametrize("key", ["actor", "task", "run_id", "account", "origin"])
@pytest.mark.parametrize(
    "spoilt", ["\u201c{}\u201d", "{}\u200b", "\ufeff{}", "!{}", "{}, {}", "{{{},{}}}", "{}#", "https://x.io/{}"]
)
def test_what_spoils_a_value_is_found_under_every_key_of_plain_names(key: str, spoilt: str) -> None:
    assert found(key, spoilt.format("API", "API")).startswith("error: ")


@given(
    text=st.text(max_size=40), key=st.sampled_from(["actor", "task", "run_id", "origin", "account", "squid", "spider"])
)
def test_any_text_gets_an_answer_and_what_is_offered_is_without_fault(text: str, key: str) -> None:
    wrong = misspelling(Value(key, text, BOTH, known=OURS))
    for right in wrong.right if wrong else ():
        again = misspelling(Value(key, right, BOTH, alone=False, known=OURS))
        assert again is None or not again.sure


@given(
    names=st.lists(st.from_regex(r"[a-zA-Z0-9._]{3,10}/[a-z0-9]{1,10}(-[a-z0-9]{1,5})?", fullmatch=True), min_size=1)
)
def test_no_name_of_an_actor_is_refused(names: list[str]) -> None:
    assert not any(found("actor", name).startswith("error: ") for name in names)


@given(st.from_regex("[A-Za-z0-9]{17}", fullmatch=True))
def test_no_id_of_apify_is_refused_or_warned_about(run_id: str) -> None:
    assert found("run_id", run_id) == found("actor", run_id) == found("task", run_id) == ""


@pytest.mark.parametrize(
    ("link", "named"),
    [
        ("https://console.apify.com/actors/nwua9Gu5YrADL7ZDj/runs/" + ID, {"actor": "nwua9Gu5YrADL7ZDj", "run_id": ID}),
        ("https://console.apify.com/actors/runs/" + ID + "#output", {"run_id": ID}),
        ("https://console.apify.com/view/runs/" + ID, {"run_id": ID}),
        (
            "console.apify.com/organization/GTLDwzJnfTMQqgBR4/actors/tasks/XETtJl5o4ddH0I1Sg",
            {"task": "XETtJl5o4ddH0I1Sg"},
        ),
        ("https://apify.com/compass/crawler-google-places", {"actor": "compass/crawler-google-places"}),
        ("https://api.apify.com/v2/acts/user~name/runs?token=x", {"actor": "user/name"}),
        ("https://api.apify.com/v2/actor-runs/" + ID, {"run_id": ID}),
        ("https://app.lobstr.io/dashboard/squids/" + HEX, {"squid": HEX}),
        ("https://app.lobstr.io/dashboard?run=" + HEX, {"run_id": HEX}),
        ("https://api.lobstr.io/v1/runs/" + HEX + "/abort", {"run_id": HEX}),
        ("https://example.com/runs/" + ID, {}),
        ("compass/crawler", {}),
        ("https://apify.com.example.org/compass/crawler", {}),
    ],
)
def test_links(link: str, named: dict[str, str]) -> None:
    assert named_by(link, OURS.values()) == named


# --- in files ---


def write(folder: Path, **match: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"rules": [{"name": "x", "match": match, "limits": {"max_credits": 5}}]}))
    return file


def test_what_an_account_can_mean_decides(tmp_path: Path) -> None:
    file = write(tmp_path, origin="scheduler")
    with pytest.raises(ConfigurationError, match="write SCHEDULER"):
        load_rules(file, platforms=OURS, accounts=[APIFY])
    [warning] = load_rules(file, platforms=OURS, accounts=[APIFY, LOBSTR]).warnings
    assert (warning.line, warning.column) == (5, 13)
    assert "write SCHEDULER" in warning.message


def test_folded_blanks_and_brackets_need_no_other_spelling(tmp_path: Path) -> None:
    file = write(tmp_path, squid="[EU]\u00a0 leads ")
    assert load_rules(file, platforms=OURS, accounts=[LOBSTR]).warnings == ()


def with_crawlhub(key: str) -> Platforms:
    """Ours, and a plug-in whose runs have this key; what its values look like it does not say."""
    crawlhub = PlatformTraits("crawlhub", frozenset({Mode.IMMEDIATE}), 0.0, 5.0, 10.0, match_keys=(key,))
    return {**OURS, "crawlhub": crawlhub}


def test_the_keys_of_an_installed_plug_in_are_known(tmp_path: Path) -> None:
    platforms = with_crawlhub("spider")
    file = write(tmp_path, spider="news, (all)")
    assert load_rules(file, platforms=platforms).rules.rules[0].selector.globs
    with pytest.raises(ConfigurationError, match="unknown key 'spidr', did you mean 'spider'"):
        load_rules(write(tmp_path, spidr="x"), platforms=platforms)
    with pytest.raises(
        ConfigurationError, match="spider is a key of crawlhub and actor one of apify: no run can match"
    ):
        load_rules(write(tmp_path, spider="x", actor="y"), platforms=platforms)
    with pytest.raises(ConfigurationError, match="actor is a key of apify, but platform is crawlhub"):
        load_rules(write(tmp_path, platform="crawlhub", actor="y"), platforms=platforms)
    with pytest.raises(ConfigurationError, match="unknown key 'spider'; known keys: platform, "):
        load_rules(write(tmp_path, spider="x"), platforms=OURS)


def test_a_key_that_two_platforms_have(tmp_path: Path) -> None:
    file = write(tmp_path, actor="any text, of theirs", platform="crawlhub")
    assert load_rules(file, platforms=with_crawlhub("actor")).rules.rules
