"""What users read when their settings are wrong: exact messages and places."""

from __future__ import annotations

# ruff: noqa: E501 (a message is easier to compare in one line)
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from bw_support import without_privileges
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.config.models import ACCOUNT_KEYS, SETTING_KEYS
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS

TOKEN = {"T": "secret-token"}
LISTEN = "such as 127.0.0.1:9877, 0.0.0.0:9877 (all addresses) or [::1]:9877"
CURE = "write the token, and nothing else, into that file, readable by this user"
VARIABLES = ", ".join(f"BUDGET_WATCHDOG_{key.upper()}" for key in (*SETTING_KEYS, "config"))
NOT_HERE = "must not be written here: put it into a file and name that under token_file, or use token_env"


def messages(config: Path | None, environ: Mapping[str, str] = TOKEN) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(find_config(config, environ, search=()), platforms=OURS)
    assert caught.value.__context__ is None or isinstance(caught.value.__context__, OSError)
    return [str(problem) for problem in caught.value.problems]


def in_file(folder: Path, text: str, environ: Mapping[str, str] = TOKEN) -> list[str]:
    file = folder / "c.yaml"
    file.write_text(text)
    return [message.removeprefix(f"{file}:") for message in messages(file, environ)]


# The keys of the file; the account stands in the first line.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rulez: x", "2:1: unknown key 'rulez', did you mean 'rules'?"),
        ("zzz: x", f"2:1: unknown key 'zzz'; known keys: {', '.join(SETTING_KEYS)}"),
        ("monthly_budget_usd: 500", "2:1: unknown key 'monthly_budget_usd': it would be a limit on all runs of a period together, "
                                    f"and there is none yet: every limit here is for one run; known keys: {', '.join(SETTING_KEYS)}"),
        ("_env_file: x", f"2:1: unknown key '_env_file'; known keys: {', '.join(SETTING_KEYS)}"),
        ("token: x", f"2:1: unknown key 'token'; known keys: {', '.join(SETTING_KEYS)}"),
        ("rules: [a]", "2:8: rules must be a path; put it in quotes"),
        ("rules:", "2:7: rules has no value: write one, or leave the key out"),
        ("ledger: 5", "2:9: ledger must be text; put it in quotes"),
        ("ledger: ''", "2:9: ledger must not be empty"),
        ("listen: 9877", f"2:9: listen must be host:port, {LISTEN}, not '9877'"),
        ("listen: ':9877'", f"2:9: listen must be host:port, {LISTEN}, not ':9877'"),
        ("listen: localhost", f"2:9: listen must be host:port, {LISTEN}, not 'localhost'"),
        ("listen: ::1:80", f"2:9: listen must be host:port, {LISTEN}; '::1' is not a host"),
        ("listen: '[::g]:80'", f"2:9: listen must be host:port, {LISTEN}; '[::g]' is not a host"),
        ("listen: 1.2.3:80", f"2:9: listen must be host:port, {LISTEN}; '1.2.3' is not a host"),
        ("listen: http://x:80", f"2:9: listen must be host:port, {LISTEN}; 'http://x' is not a host"),
        ("listen: x:65536", "2:9: listen must have a port from 0 to 65535 behind the last ':', not '65536'"),
        ("listen: x:http", "2:9: listen must have a port from 0 to 65535 behind the last ':', not 'http'"),
        ("dry_run: maybe", "2:10: dry_run must be true or false"),
        ("dry_run: [true]", "2:10: dry_run must be true or false"),
        ("dry_run:", "2:9: dry_run has no value: write one, or leave the key out"),
        ("log_format: jsn", "2:13: log_format must be 'auto', 'text' or 'json'"),
        ("log_format: 5", "2:13: log_format must be 'auto', 'text' or 'json'"),
        ("listen: a:1\nlisten: b:2", "3:1: duplicate key 'listen', first written in line 2"),
        ("listen: !x a:1", "2:9: the tag '!x' is not supported; quote a text that starts with '!'"),
    ],
)  # fmt: skip
def test_keys_of_the_file(tmp_path: Path, line: str, expected: str) -> None:
    account = "accounts: [{name: a, platform: apify, token_env: T}]\n"
    assert in_file(tmp_path, account + line) == [expected]


# One account, one key a line; {key} stands in line 4.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pol_interval: 5s", "4:5: accounts[0] 'a': unknown key 'pol_interval', did you mean 'poll_interval'?"),
        ("poll_interval: 5", "4:20: accounts[0] 'a': poll_interval: write a unit: 5s"),
        ("poll_interval: '5'", "4:20: accounts[0] 'a': poll_interval: write a unit: 5s"),
        ("poll_interval: 500ms", "4:20: accounts[0] 'a': poll_interval must be 1s or more, not '500ms'"),
        ("poll_interval: -5s", "4:20: accounts[0] 'a': poll_interval must not be negative, but is '-5s'"),
        ("poll_interval: true", "4:20: accounts[0] 'a': poll_interval must be auto or a duration such as 5s or 1m"),
        ("poll_interval: [5s]", "4:20: accounts[0] 'a': poll_interval must be auto or a duration such as 5s or 1m"),
        ("base_url: api.apify.com", "4:15: accounts[0] 'a': base_url must begin with https:// or http://"),
        ("base_url: ftp://x", "4:15: accounts[0] 'a': base_url must begin with https:// or http://"),
        ("base_url: https://", "4:15: accounts[0] 'a': base_url has no host"),
        ("base_url: https://x:99999", "4:15: accounts[0] 'a': base_url is not a web address such as https://api.example.com"),
        ("base_url: 'https://[x'", "4:15: accounts[0] 'a': base_url is not a web address such as https://api.example.com"),
        ("base_url: https://x?", "4:15: accounts[0] 'a': base_url must not hold a query ('?') or a fragment ('#')"),
        ("base_url: https://x#y", "4:15: accounts[0] 'a': base_url must not hold a query ('?') or a fragment ('#')"),
        ("base_url: https://u:p@x", "4:15: accounts[0] 'a': base_url must not hold a user name or password; "
         "the token goes into token_file or token_env"),
        ("base_url: 'https://x y'", "4:15: accounts[0] 'a': base_url must be a web address in plain ASCII without spaces"),
        ("base_url: https://ä.de", "4:15: accounts[0] 'a': base_url must be a web address in plain ASCII without spaces"),
        ("base_url: 5", "4:15: accounts[0] 'a': base_url must be text; put it in quotes"),
        ("usd_per_credit: '0.1'", "4:21: accounts[0] 'a': usd_per_credit must be a number without quotes, such as 0.002"),
        ("usd_per_credit: true", "4:21: accounts[0] 'a': usd_per_credit must be a number without quotes, such as 0.002"),
        ("usd_per_credit: 0", "4:21: accounts[0] 'a': usd_per_credit must be more than 0"),
        ("usd_per_credit: -1", "4:21: accounts[0] 'a': usd_per_credit must be more than 0"),
        ("usd_per_credit: .inf", "4:21: accounts[0] 'a': usd_per_credit must be a finite number"),
        ("usd_per_credit: .nan", "4:21: accounts[0] 'a': usd_per_credit must be a finite number"),
        ("requests_per_minute: 0", "4:26: accounts[0] 'a': requests_per_minute must be 1 or more"),
        ("requests_per_minute: 1.5", "4:26: accounts[0] 'a': requests_per_minute must be a whole number without quotes, such as 60"),
        ("requests_per_minute: yes", "4:26: accounts[0] 'a': requests_per_minute must be a whole number without quotes, such as 60"),
        ("token: xyz", f"4:5: accounts[0] 'a': token {NOT_HERE}"),
        ("token_file: t", "4:5: accounts[0] 'a': give either token_file or token_env, not both"),
        ("name: b", "4:5: accounts[0] 'a': duplicate key 'name', first written in line 2"),
    ],
)  # fmt: skip
def test_keys_of_an_account(tmp_path: Path, line: str, expected: str) -> None:
    text = f"accounts:\n  - name: a\n    platform: apify\n    {line}\n    token_env: T\n"
    if line == "token_file: t":
        expected = expected.replace("4:5", "5:5")
    assert in_file(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    ("account", "expected"),
    [
        ("{platform: apify, token_env: T}", "1:12: accounts[0]: missing key 'name'"),
        ("{name: a, token_env: T}", "1:12: accounts[0] 'a': missing key 'platform'"),
        ("{name: 5, platform: apify, token_env: T}", "1:19: accounts[0]: name must be text; put it in quotes"),
        ("{name: a, platform: apfy, token_env: T}", "1:32: accounts[0] 'a': unknown platform 'apfy', did you mean 'apify'?"),
        ("{name: a, platform: x, token_env: T}", "1:32: accounts[0] 'a': unknown platform 'x'; known platforms: apify, lobstr"),
        ("{name: a, platform: '', token_env: T}", "1:32: accounts[0] 'a': platform must not be empty"),
        ("{name: a, platform: apify}", "1:12: accounts[0] 'a': no token: write token_file or token_env, or give systemd a credential named 'a'"),
        ("{name: a, platform: apify, token_env: U}", "1:39: accounts[0] 'a': the environment variable U is not set; put the token into it"),
        ("{name: a, platform: apify, token_env: E}", "1:39: accounts[0] 'a': the environment variable E is empty; put the token, and nothing else, into it"),
        ("{name: a, platform: apify, token_env: W}", "1:39: accounts[0] 'a': the environment variable W holds white space, control or non-ASCII characters, which no token has; put the token, and nothing else, into it"),
        ("{name: a, platform: apify, token_env: dead}", "1:39: accounts[0] 'a': the environment variable that token_env names is not set; put the token into it"),
        ("{name: a, platform: apify, token_env: 3f}", "1:50: accounts[0] 'a': token_env must be the name of an environment variable, not the token itself"),
        ("{name: a, platform: apify, token_env: ''}", "1:50: accounts[0] 'a': token_env must be the name of an environment variable, not the token itself"),
        ("{name: a, platform: apify, token_env: 5}", "1:50: accounts[0] 'a': token_env must be text; put it in quotes"),
        ("{name: a, platform: apify, token_file: 5}", "1:51: accounts[0] 'a': token_file must be a path; put it in quotes"),
        ("a", "1:12: accounts[0]: must be a table of keys"),
        *[
            (f"{{name: {name}, platform: apify, token_env: T}}",
             "1:19: accounts[0]: name must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit")
            for name in ("''", "..", ".hidden", "a/b", "-x", "ä", "'a b'", "a" * 65, '"a\\n"')
        ],
    ],
)  # fmt: skip
def test_accounts(tmp_path: Path, account: str, expected: str) -> None:
    assert in_file(tmp_path, f"accounts: [{account}]", {**TOKEN, "E": " ", "W": "a b"}) == [expected]


def test_a_list_of_accounts_that_is_none(tmp_path: Path) -> None:
    assert in_file(tmp_path, "accounts: {name: a}") == ["1:11: accounts must be a list of entries that begin with '-'"]
    assert in_file(tmp_path, "accounts:") == ["1:10: accounts has no value: write one, or leave the key out"]


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    keys = ", ".join(SETTING_KEYS)
    for text, kind in (("- a", "a list"), ("a", "a single value")):
        assert in_file(tmp_path, text) == [f"1:1: the settings must be a table of keys ({keys}), not {kind}"]


def test_a_credential_is_one_account(tmp_path: Path) -> None:
    text = "accounts:\n  - {name: a, platform: apify, token_env: T}\n  - {name: b, platform: apify, token_env: T}\n"
    assert in_file(tmp_path, text) == [
        "3:5: accounts[1] 'b': has the same token and platform as accounts[0]; every run would count twice"
    ]


def test_names_are_unique(tmp_path: Path) -> None:
    one = "  - {name: a, platform: apify, token_env: T}\n"
    assert in_file(tmp_path, "accounts:\n" + one * 2) == [
        "3:12: accounts[1] 'a': name is used twice; accounts[0] has the same name"
    ]


def test_token_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    contents = {
        "e": b"\n",
        "w": b"a b",
        "n": "tök".encode(),
        "u": "tok".encode("utf-16"),
        "l": b"a\nb\n",
        "z": b"x\x7f",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    bad = "holds white space, control or non-ASCII characters, which no token has"
    expected = {
        "./gone": f"cannot read the token file '{tmp_path}/gone': no such file or folder; {CURE}",
        "d/": f"cannot read the token file '{tmp_path}/d': is a folder, not a file; {CURE}",
        "./large": f"cannot read the token file '{tmp_path}/large': is larger than 65536 bytes; {CURE}",
        "./e": f"the token file '{tmp_path}/e' is empty; {CURE}",
        **{f"./{name}": f"the token file '{tmp_path}/{name}' {bad}; {CURE}" for name in "wnulz"},
    }
    for name, sentence in expected.items():
        text = f"accounts:\n  - name: a\n    platform: apify\n    token_file: {name}\n"
        assert in_file(tmp_path, text) == [f"4:5: accounts[0] 'a': {sentence}"]


def test_a_token_file_that_may_not_be_read() -> None:
    with without_privileges() as tmp_path:
        (tmp_path / "t").write_text("x")
        (tmp_path / "t").chmod(0)
        (message,) = in_file(tmp_path, "accounts: [{name: a, platform: apify, token_file: ./t}]")
        assert "may not be read by this user (permission denied)" in message


def test_a_systemd_credential_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert in_file(tmp_path, "accounts: [{name: a, platform: apify}]", environ) == [
        f"1:12: accounts[0] 'a': the token file '{tmp_path}/a' is empty; {CURE}"
    ]


@pytest.mark.parametrize(
    ("written", "mark"), [("$LOBSTR_TOKEN", "$"), ("${LOBSTR_TOKEN}", "$"), ("%LOBSTR_TOKEN%", "%")]
)
def test_a_variable_that_is_written_as_shells_expand_it(tmp_path: Path, written: str, mark: str) -> None:
    (message,) = in_file(tmp_path, f"accounts: [{{name: a, platform: lobstr, token_env: '{written}'}}]")
    assert message.endswith(f"token_env is the name of a variable: write it without the {mark}: LOBSTR_TOKEN")


def test_everything_at_once(tmp_path: Path) -> None:
    text = """
accounts:
  - name: a
    platform: apfy
    token_env: U
  - name: a
    platform: lobstr
    token: x
    usd_per_credit: free
listen: 1
rulez: x
"""
    environ = {"BUDGET_WATCHDOG_DRY_RUN": "perhaps", "BUDGET_WATCHDOG_LISTN": "x"}
    assert in_file(tmp_path, text, environ) == [
        "BUDGET_WATCHDOG_DRY_RUN: must be true or false",
        "unknown environment variable 'BUDGET_WATCHDOG_LISTN', did you mean 'BUDGET_WATCHDOG_LISTEN'?",
        "4:15: accounts[0] 'a': unknown platform 'apfy', did you mean 'apify'?",
        "5:5: accounts[0] 'a': the environment variable U is not set; put the token into it",
        "6:11: accounts[1] 'a': name is used twice; accounts[0] has the same name",
        f"8:5: accounts[1] 'a': token {NOT_HERE}",
        "9:21: accounts[1] 'a': usd_per_credit must be a number without quotes, such as 0.002",
        f"10:9: listen must be host:port, {LISTEN}, not '1'",
        "11:1: unknown key 'rulez', did you mean 'rules'?",
    ]


# --- the environment ---

ONE = '[{"name": "a", "platform": "apify", "token_env": "T"%s}]'


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LISTEN": "x"}, [f"BUDGET_WATCHDOG_LISTEN: must be host:port, {LISTEN}, not 'x'"]),
        ({"DRY_RUN": "x"}, ["BUDGET_WATCHDOG_DRY_RUN: must be true or false"]),
        ({"LOG_FORMAT": "x"}, ["BUDGET_WATCHDOG_LOG_FORMAT: must be 'auto', 'text' or 'json'"]),
        ({"DRYRUN": "1"}, ["unknown environment variable 'BUDGET_WATCHDOG_DRYRUN', did you mean 'BUDGET_WATCHDOG_DRY_RUN'?"]),
        ({"PORT": "9000"}, [f"unknown environment variable 'BUDGET_WATCHDOG_PORT'; known variables: {VARIABLES}"]),
        ({"listen": "a:1"}, ["unknown environment variable 'BUDGET_WATCHDOG_listen', did you mean 'BUDGET_WATCHDOG_LISTEN'?"]),
        ({"LISTEN__PORT": "1"}, ["unknown environment variable 'BUDGET_WATCHDOG_LISTEN__PORT', did you mean 'BUDGET_WATCHDOG_LISTEN'?"]),
        ({"TIMEOUT": "5"}, ["unknown environment variable 'BUDGET_WATCHDOG_TIMEOUT': it would be a time-out, and there is no such "
                            f"key: how long a run may run is max_duration, under limits of a rule; known variables: {VARIABLES}"]),
        ({"ACCOUNTS__0__NAME": "a"}, ["'BUDGET_WATCHDOG_ACCOUNTS__0__NAME' cannot be read: give all accounts as a JSON list in "
                                      "BUDGET_WATCHDOG_ACCOUNTS"]),
        ({"ACCOUNTS": "[{"}, ["BUDGET_WATCHDOG_ACCOUNTS: is not valid JSON (line 1, column 3)"]),
        ({"ACCOUNTS": "[" * 100_000}, ["BUDGET_WATCHDOG_ACCOUNTS: is not valid JSON"]),
        ({"ACCOUNTS": "5"}, ["BUDGET_WATCHDOG_ACCOUNTS: must be a list of entries that begin with '-'"]),
        ({"ACCOUNTS": ONE % ', "poll_interval": 5'}, ["BUDGET_WATCHDOG_ACCOUNTS: accounts[0] 'a': poll_interval: write a unit: 5s"]),
        ({"ACCOUNTS": ONE % ', "token": "x"'}, [f"BUDGET_WATCHDOG_ACCOUNTS: accounts[0] 'a': token {NOT_HERE}"]),
        ({"ACCOUNTS": ONE % ', "url": "x"'}, ["BUDGET_WATCHDOG_ACCOUNTS: accounts[0] 'a': unknown key 'url', did you mean 'base_url'?"]),
    ],
    ids=str,
)  # fmt: skip
def test_the_environment(variables: dict[str, str], expected: list[str]) -> None:
    environ = {f"BUDGET_WATCHDOG_{name}": value for name, value in variables.items()}
    if "ACCOUNTS" not in variables:
        environ["BUDGET_WATCHDOG_ACCOUNTS"] = ONE % ""
    found = messages(None, {**TOKEN, **environ})
    assert [message.split(" (line 1, column 100001)")[0] for message in found] == expected


def test_the_variables_of_the_platforms() -> None:
    assert messages(None, {"APIFY_TOKEN": "a b", "LOBSTR_TOKEN": "x", "LOBSTR_API_BASE_URL": "x"}) == [
        "APIFY_TOKEN: the environment variable APIFY_TOKEN holds white space, control or non-ASCII characters, which no "
        "token has; put the token, and nothing else, into it",
        "LOBSTR_API_BASE_URL: must begin with https:// or http://",
    ]


# --- whatever comes ---


def try_to_load(content: bytes, environ: Mapping[str, str] = TOKEN) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "c.yaml"
        file.write_bytes(content)
        try:
            load_settings(find_config(file, environ, search=()), platforms=OURS)
        except ConfigurationError as error:
            problems = error.problems
        else:
            return
    assert problems
    assert all(str(problem).isprintable() for problem in problems), problems


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
    | st.sampled_from(["apify", "lobstr", "T", "5s", "auto", "https://x", "a:1", "json"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SETTING_KEYS, *ACCOUNT_KEYS, "token"]) | st.text(max_size=4), inner, max_size=5
        )
    ),
    max_leaves=25,
)
ACCOUNTS = st.lists(st.dictionaries(st.sampled_from([*ACCOUNT_KEYS, "token"]), SCALARS), max_size=3)
FILES = st.fixed_dictionaries({"accounts": ACCOUNTS}, optional=dict.fromkeys(SETTING_KEYS[1:], SCALARS))


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    try_to_load(content)


@given(st.text(alphabet="accounts: -[]{}*&!|>'\"#%@`,?<\n\t\\01.~", max_size=80))
def test_any_yaml_like_text(text: str) -> None:
    try_to_load(text.encode())


@settings(max_examples=300)
@given(VALUES | FILES)
def test_any_values(value: object) -> None:
    try_to_load(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace"))


@given(
    st.dictionaries(
        st.sampled_from(
            [f"BUDGET_WATCHDOG_{key.upper()}" for key in SETTING_KEYS] + ["APIFY_TOKEN", "APIFY_API_BASE_URL"]
        ),
        st.text(max_size=20) | st.sampled_from(["[]", "[{}]", "{}", '["a"]', "1", "null", '[{"name": 1e999}]']),
    )
)
def test_any_environment(environ: dict[str, str]) -> None:
    try:
        load_settings(find_config(None, environ, search=()), platforms=OURS)
    except ConfigurationError as error:
        problems = error.problems
    else:
        return
    assert all(str(problem).isprintable() for problem in problems), problems
