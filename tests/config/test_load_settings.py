"""Where settings come from and what they become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.config.models import AccountSettings, Settings
from watchdog.domain.platform import Mode, PlatformTraits
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS

TOKEN = {"T": "secret-token"}
ACCOUNT = "accounts: [{name: a, platform: apify, token_env: T}]\n"
JSON_ACCOUNTS = {"BUDGET_WATCHDOG_ACCOUNTS": '[{"name": "env", "platform": "lobstr", "token_env": "T"}]'}


def load(config: Path | None, environ: Mapping[str, str] = TOKEN) -> Settings:
    return load_settings(find_config(config, environ, search=()), platforms=OURS)


def write(folder: Path, text: str, name: str = "budget-watchdog.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def messages(config: Path | None, environ: Mapping[str, str] = TOKEN) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(config, environ)
    return [str(problem) for problem in caught.value.problems]


# --- the file ---


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" secret-token\n")
    (tmp_path / "token").chmod(0o600)
    text = """
accounts:
  - name: apify-main
    platform: apify
    token_file: token
    base_url: https://api.apify.com/
    poll_interval: 5s
    write_reason: false
  - name: lobstr-growth
    platform: lobstr
    token_env: T
    poll_interval: auto
    usd_per_credit: 0.002
    requests_per_minute: 120
rules: my-rules
ledger: postgresql://u:p@db/x
retention: 30d
listen: "[::1]:9000"
dry_run: true
log_format: json
"""
    file = write(tmp_path, text)
    settings = load(file)
    first, second = settings.accounts
    assert first.token.get_secret_value() == second.token.get_secret_value() == "secret-token"
    assert first.model_dump(exclude={"token"}) == {
        "name": "apify-main", "platform": "apify", "token_file": tmp_path / "token", "token_env": None,
        "base_url": "https://api.apify.com", "poll_interval": timedelta(seconds=5), "usd_per_credit": None,
        "requests_per_minute": None, "write_reason": False,
    }  # fmt: skip
    assert (second.poll_interval, second.usd_per_credit, second.requests_per_minute) == (None, 0.002, 120)
    assert settings.rules == tmp_path / "my-rules"
    assert (settings.ledger, settings.retention) == ("postgresql://u:p@db/x", timedelta(days=30))
    assert (settings.listen, settings.listen_host, settings.listen_port) == ("[::1]:9000", "::1", 9000)
    assert settings.dry_run
    assert settings.log_format == "json"
    assert settings.file == file
    assert settings.warnings == ()


def test_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ACCOUNT))
    assert settings.rules == tmp_path / "rules"
    assert (settings.ledger, settings.retention) == ("auto", timedelta(days=90))
    assert (settings.listen_host, settings.listen_port) == ("127.0.0.1", 9877)
    assert (settings.dry_run, settings.log_format) == (False, "auto")
    account = settings.accounts[0]
    assert (account.base_url, account.poll_interval, account.usd_per_credit, account.requests_per_minute) == (None,) * 4


def test_a_relative_config_gives_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    write(tmp_path / "etc", ACCOUNT)
    monkeypatch.chdir(tmp_path)
    assert load(Path("etc/budget-watchdog.yaml")).rules == Path("etc/rules")


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    assert load(write(tmp_path, ACCOUNT + "rules: /srv/rules\n")).rules == Path("/srv/rules")


# --- which file ---


def test_the_first_file_that_exists_is_read(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    write(tmp_path, ACCOUNT.replace("name: a", "name: second"), "second.yaml")
    assert load_settings(find_config(None, TOKEN, search=(first, second)), platforms=OURS).accounts[0].name == "second"
    write(tmp_path, ACCOUNT.replace("name: a", "name: first"), "first.yaml")
    assert load_settings(find_config(None, TOKEN, search=(first, second)), platforms=OURS).accounts[0].name == "first"


def test_the_working_folder_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ACCOUNT)
    monkeypatch.chdir(tmp_path)
    assert load_settings(find_config(None, TOKEN), platforms=OURS).file == Path("budget-watchdog.yaml")


def test_option_before_variable_before_search(tmp_path: Path) -> None:
    option, variable, searched = (
        write(tmp_path, ACCOUNT.replace("name: a", f"name: {name}"), name)
        for name in ("option", "variable", "searched")
    )
    environ = {**TOKEN, "BUDGET_WATCHDOG_CONFIG": str(variable)}
    assert load_settings(find_config(option, environ, search=[searched]), platforms=OURS).accounts[0].name == "option"
    assert load_settings(find_config(None, environ, search=[searched]), platforms=OURS).accounts[0].name == "variable"
    assert (
        load_settings(
            find_config(None, {**environ, "BUDGET_WATCHDOG_CONFIG": ""}, search=[searched]), platforms=OURS
        ).file
        == searched
    )


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    assert messages(tmp_path / "x.yaml") == [f"{tmp_path}/x.yaml: no such file or folder"]
    assert messages(None, {"BUDGET_WATCHDOG_CONFIG": "/nope.yaml"}) == ["/nope.yaml: no such file or folder"]


def test_a_dangling_file_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").symlink_to("gone")
    with pytest.raises(ConfigurationError, match="is a link to nothing"):
        load_settings(find_config(None, {"APIFY_TOKEN": "x"}, search=[tmp_path / "c.yaml"]), platforms=OURS)


# --- the environment ---


def test_the_environment_wins_key_by_key(tmp_path: Path) -> None:
    file = write(tmp_path, ACCOUNT + "rules: a\nlisten: 1.2.3.4:1\ndry_run: false\nlog_format: json\n")
    environ = {
        **TOKEN,
        **JSON_ACCOUNTS,
        "BUDGET_WATCHDOG_RULES": "b",
        "BUDGET_WATCHDOG_DRY_RUN": "true",
        "BUDGET_WATCHDOG_LEDGER": "sqlite:///x",
    }
    settings = load(file, environ)
    assert [account.name for account in settings.accounts] == ["env"]
    assert settings.rules == Path("b")  # from the working folder, not from the file's
    assert (settings.dry_run, settings.ledger) == (True, "sqlite:///x")
    assert (settings.listen, settings.log_format) == ("1.2.3.4:1", "json")


def test_a_wrong_value_in_the_file_does_not_matter_if_the_environment_has_the_key(tmp_path: Path) -> None:
    file = write(tmp_path, ACCOUNT + "listen: nonsense\n")
    assert load(file, {**TOKEN, "BUDGET_WATCHDOG_LISTEN": "[::]:80"}).listen_host == "::"


def test_empty_variables_are_unset(tmp_path: Path) -> None:
    environ = {**TOKEN, "BUDGET_WATCHDOG_LISTEN": "", "BUDGET_WATCHDOG_ACCOUNTS": ""}
    assert load(write(tmp_path, ACCOUNT), environ).listen == "127.0.0.1:9877"


def test_only_the_given_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUDGET_WATCHDOG_LISTEN", "nonsense")
    monkeypatch.setenv("APIFY_TOKEN", "x")
    assert load(write(tmp_path, ACCOUNT)).listen == "127.0.0.1:9877"
    token = AccountSettings.model_validate({"name": "a", "platform": "apify", "token": "t"})
    assert Settings(accounts=(token,)).listen == "127.0.0.1:9877"


def test_accounts_as_json() -> None:
    (account,) = load(None, {**TOKEN, **JSON_ACCOUNTS}).accounts
    assert (account.name, account.platform, account.token.get_secret_value()) == ("env", "lobstr", "secret-token")


def test_the_variables_of_the_platforms_make_accounts() -> None:
    environ = {"APIFY_TOKEN": "one\n", "LOBSTR_TOKEN": "two", "LOBSTR_API_BASE_URL": "http://127.0.0.1:8000/"}
    settings = load(None, environ)
    assert [(account.name, account.platform, account.token.get_secret_value()) for account in settings.accounts] == [
        ("apify", "apify", "one"),
        ("lobstr", "lobstr", "two"),
    ]
    assert [account.base_url for account in settings.accounts] == [None, "http://127.0.0.1:8000"]
    assert settings.rules == Path("rules")
    assert settings.file is None


def test_one_variable_is_enough() -> None:
    assert [account.name for account in load(None, {"LOBSTR_TOKEN": "x", "APIFY_TOKEN": " "}).accounts] == ["lobstr"]


def test_they_make_none_if_there_is_a_file_or_a_list(tmp_path: Path) -> None:
    environ = {**TOKEN, "APIFY_TOKEN": "x"}
    assert [account.name for account in load(write(tmp_path, ACCOUNT), environ).accounts] == ["a"]
    assert [account.name for account in load(None, {**environ, **JSON_ACCOUNTS}).accounts] == ["env"]


NO_ACCOUNTS = (
    "no accounts, so there is nothing to watch: list them under 'accounts' in budget-watchdog.yaml, give them as JSON "
    "in BUDGET_WATCHDOG_ACCOUNTS, or, without a file, set APIFY_TOKEN or LOBSTR_TOKEN"
)


def test_no_accounts_at_all(tmp_path: Path) -> None:
    assert messages(None, {}) == [NO_ACCOUNTS]
    assert messages(None, {"BUDGET_WATCHDOG_ACCOUNTS": "[]"}) == [f"BUDGET_WATCHDOG_ACCOUNTS: {NO_ACCOUNTS}"]
    file = write(tmp_path, "listen: localhost:1\naccounts: []\n")
    assert messages(file, {"APIFY_TOKEN": "x"}) == [f"{file}:2:11: {NO_ACCOUNTS}"]
    file.write_text("listen: localhost:1\n")
    assert messages(file, {"APIFY_TOKEN": "x"}) == [f"{file}:1:1: {NO_ACCOUNTS}"]
    file.write_text("# nothing yet\n")
    assert messages(file, {"APIFY_TOKEN": "x"}) == [f"{file}: {NO_ACCOUNTS}"]


def test_kubernetes_service_links_are_not_ours() -> None:
    environ = {
        "APIFY_TOKEN": "x",
        "BUDGET_WATCHDOG_SERVICE_HOST": "10.0.0.1",
        "BUDGET_WATCHDOG_SERVICE_PORT": "9877",
        "BUDGET_WATCHDOG_SERVICE_PORT_METRICS": "9877",
        "BUDGET_WATCHDOG_PORT": "tcp://10.0.0.1:9877",
        "BUDGET_WATCHDOG_PORT_9877_TCP": "tcp://10.0.0.1:9877",
        "BUDGET_WATCHDOG_PORT_9877_TCP_ADDR": "10.0.0.1",
        "BUDGET_WATCHDOG_PORT_9877_TCP_PORT": "9877",
        "BUDGET_WATCHDOG_PORT_9877_TCP_PROTO": "tcp",
        "BUDGET_WATCHDOG_METRICS_SERVICE_HOST": "10.0.0.1",
        "BUDGET_WATCHDOG_METRICS_PORT": "tcp://10.0.0.1:9877",
    }
    assert load(None, environ).listen == "127.0.0.1:9877"


# --- warnings ---


@pytest.mark.parametrize("url", ["http://api.apify.com", "http://10.0.0.1:80", "http://localhost.evil.com"])
def test_a_token_in_the_clear_is_warned_about(url: str) -> None:
    assert load(None, {"APIFY_TOKEN": "x", "APIFY_API_BASE_URL": url}).warnings == (
        "account 'apify': base_url is http, so the token crosses the network in the clear; use https",
    )


@pytest.mark.parametrize(
    "url", ["https://api.apify.com", "http://localhost:1", "http://127.9.9.9", "http://[::1]:1", "http://a.localhost"]
)
def test_loopback_is_fine(url: str) -> None:
    assert load(None, {"APIFY_TOKEN": "x", "APIFY_API_BASE_URL": url}).warnings == ()


# --- tokens ---


def test_a_systemd_credential_of_the_accounts_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from-systemd\n")
    file = write(tmp_path, "accounts: [{name: a, platform: apify}]")
    (account,) = load(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).accounts
    assert account.token.get_secret_value() == "from-systemd"


def test_what_is_written_comes_before_the_credential(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from-systemd")
    (account,) = load(write(tmp_path, ACCOUNT), {**TOKEN, "CREDENTIALS_DIRECTORY": str(tmp_path)}).accounts
    assert account.token.get_secret_value() == "secret-token"


@pytest.mark.parametrize("content", [b"tok", b"tok\n", b"\xef\xbb\xbftok\r\n", b" \ttok\n\n"])
def test_white_space_around_a_token_does_not_matter(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    file = write(tmp_path, "accounts: [{name: a, platform: apify, token_file: t}]")
    assert load(file).accounts[0].token.get_secret_value() == "tok"


def test_a_token_is_never_shown(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ACCOUNT + "ledger: postgresql://u:hunter2@db/x\n"))
    account = settings.accounts[0]
    shown = [
        repr(settings), str(settings), repr(account), str(account), repr(settings.model_dump()),
        settings.model_dump_json(), repr(account.model_dump()), account.model_dump_json(),
    ]  # fmt: skip
    assert not [text for text in shown if "secret-token" in text]
    assert "hunter2" not in repr(settings) + str(settings)


def leaks(error: BaseException | None, secret: str) -> bool:
    if error is None:
        return False
    return secret in repr(error) + str(error) or leaks(error.__cause__, secret) or leaks(error.__context__, secret)


SECRET = "apify_api_S3cretS3cretS3cret"


@pytest.mark.parametrize(
    "account",
    [
        {"token": SECRET},
        {"token_file": SECRET},
        {"token_env": SECRET},
        {"token_env": "e445" + SECRET},
        {"token_env": SECRET + " "},
        {"token_env": [SECRET]},
        {"token_file": {"x": SECRET}},
        {"token_env": "TWO_WORDS"},
        {"token_env": "NOT_ASCII"},
        {"token_env": "T", "api_key": SECRET},
        {"token_env": "T", "base_url": f"https://{SECRET}@x"},
        {"token_env": "T", "base_url": f"https://x?token={SECRET}"},
        {"token_env": "T", "base_url": SECRET},
        {"token_env": "T", "name": [SECRET]},
    ],
    ids=str,
)
def test_no_error_shows_what_may_be_a_token(tmp_path: Path, account: dict[str, object]) -> None:
    account = {"name": "a", "platform": "apify", **account}
    environ = {**TOKEN, "TWO_WORDS": f"{SECRET} x", "NOT_ASCII": f"{SECRET}é"}
    file = write(tmp_path, json.dumps({"accounts": [account]}))
    for config, variables in (
        (file, environ),
        (None, {**environ, "BUDGET_WATCHDOG_ACCOUNTS": json.dumps([account])}),
        (None, {**environ, "BUDGET_WATCHDOG_ACCOUNTS": json.dumps([account])[:-1]}),
    ):
        with pytest.raises(ConfigurationError) as caught:
            load(config, variables)
        assert not leaks(caught.value, SECRET)


def test_the_variables_of_a_plug_in_make_an_account_too() -> None:
    hub = PlatformTraits(
        "hub", frozenset(Mode), 0.0, 5.0, None, token_variable="HUB_TOKEN", address_variable="HUB_URL", prices=False
    )
    environ = {"HUB_TOKEN": "x", "HUB_URL": "https://hub.example"}
    [account] = load_settings(find_config(None, environ, search=()), platforms={"hub": hub}).accounts
    assert (account.name, account.platform, account.base_url) == ("hub", "hub", "https://hub.example")
    with pytest.raises(ConfigurationError, match=r"or, without a file, set HUB_TOKEN$"):
        load_settings(find_config(None, {}, search=()), platforms={"hub": hub})
    with pytest.raises(ConfigurationError, match=r"as JSON in BUDGET_WATCHDOG_ACCOUNTS$"):
        load_settings(find_config(None, {}, search=()), platforms={})
