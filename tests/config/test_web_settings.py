"""The section `web`: where the admin token comes from, TLS, the socket, and what is warned about."""

from __future__ import annotations

# ruff: noqa: E501 (a message is easier to compare in one line)
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.config.models import WEB_KEYS, Settings
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS

ADMIN = "adm1n-S3CRET-adm1n-S3CRET"
TOKEN = {"T": "secret-token", "ADMIN": ADMIN, "SHORT": "short", "EMPTY": " "}
ACCOUNT = "accounts: [{name: a, platform: apify, token_env: T}]\n"
CURE = "write the token, and nothing else, into that file, readable by this user"


def load(folder: Path, web: str = "", environ: Mapping[str, str] = TOKEN) -> Settings:
    file = folder / "c.yaml"
    file.write_text(ACCOUNT + web)
    return load_settings(find_config(file, environ, search=()), platforms=OURS)


def messages(folder: Path, web: str, environ: Mapping[str, str] = TOKEN) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(folder, web, environ)
    found = [str(problem).removeprefix(f"{folder}/c.yaml:") for problem in caught.value.problems]
    assert not [message for message in found if ADMIN in message]
    return found


def token_of(settings: Settings) -> str | None:
    return settings.web.token.get_secret_value() if settings.web.token else None


def make_certificate(folder: Path, name: str = "x", *options: str) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    cert, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=x"]
    subprocess.run([*command, *files, *(options or ["-nodes"])], check=True, capture_output=True)
    return cert, key


# --- the token ---


def test_by_default_there_is_nothing(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.web.model_dump() == dict.fromkeys(("token", *WEB_KEYS))
    assert settings.watch_rules
    assert settings.web.tls_context() is None
    assert [secret.get_secret_value() for secret in settings.secrets] == ["secret-token"]


@pytest.mark.parametrize(
    ("web", "more"),
    [
        ("web: {token_file: admin}", {}),
        ("web: {token_env: ADMIN}", {}),
        ("", {"BUDGET_WATCHDOG_WEB__TOKEN_ENV": "ADMIN"}),
        ("web: {token_env: SHORT}", {"BUDGET_WATCHDOG_WEB__TOKEN_ENV": "ADMIN"}),
        ("", {"BUDGET_WATCHDOG_WEB": '{"token_env": "ADMIN"}'}),
    ],
)
def test_where_the_token_comes_from(tmp_path: Path, web: str, more: dict[str, str]) -> None:
    (tmp_path / "admin").write_text(f" {ADMIN}\n")
    settings = load(tmp_path, web, {**TOKEN, **more})
    assert token_of(settings) == ADMIN
    assert [secret.get_secret_value() for secret in settings.secrets] == ["secret-token", ADMIN]
    assert ADMIN not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


def test_a_systemd_credential(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    environ = {**TOKEN, "CREDENTIALS_DIRECTORY": str(credentials)}
    assert load(tmp_path, "", environ).web.token is None
    (credentials / "web-token").write_text(ADMIN)
    assert token_of(load(tmp_path, "", environ)) == ADMIN
    assert token_of(load(tmp_path, "web: {token_env: T2}", {**environ, "T2": ADMIN[::-1]})) == ADMIN[::-1]
    (credentials / "web-token").write_text("")
    assert messages(tmp_path, "web: {socket: s}", environ) == [
        f"2:1: the token file '{credentials}/web-token' is empty; {CURE}"
    ]


@pytest.mark.parametrize(
    ("web", "expected"),
    [
        ("web: x", "2:6: web must be a table of keys"),
        ("web:", "2:5: web has no value: write one, or leave the key out"),
        ("web: {tokn: x}", "2:7: web: unknown key 'tokn', did you mean 'token_file' or 'token_env'?"),
        ("web: {tls_crt: x}", "2:7: web: unknown key 'tls_crt', did you mean 'tls_cert'?"),
        (f"web: {{token: {ADMIN}}}", "2:7: web: token must not be written here: put it into a file and name that under token_file, or use token_env"),
        ("web: {token_env: ADMIN, token_file: admin}", "2:7: web: give either token_file or token_env, not both"),
        ("web: {token_env: NOPE}", "2:7: web: the environment variable NOPE is not set; put the token into it"),
        ("web: {token_env: EMPTY}", "2:7: web: the environment variable EMPTY is empty; put the token, and nothing else, into it"),
        ("web: {token_env: 3x}", "2:18: web: token_env must be the name of an environment variable, not the token itself"),
        ("web: {token_env: SHORT}", "2:7: web: the admin token is shorter than 16 characters and could be guessed; make one with: openssl rand -hex 32"),
        ("web: {token_file: [x]}", "2:19: web: token_file must be a path; put it in quotes"),
        ("web: {token_file: ./gone}", "2:7: web: cannot read the token file 'FOLDER/gone': no such file or folder; " + CURE),
        ("web: {tls_cert: x}", "2:17: web: tls_cert is no use without tls_key; give both or none"),
        ("web: {tls_key: x}", "2:16: web: tls_key is no use without tls_cert; give both or none"),
        ("web: {tls_cert: gone, tls_key: k}", "2:17: web: tls_cert: cannot be read: 'FOLDER/gone' no such file or folder"),
        ("web: {tls_cert: text, tls_key: k}", "2:17: web: tls_cert: holds no certificate in PEM form ('-----BEGIN CERTIFICATE-----')"),
        ("web: {tls_cert: '', tls_key: ''}", "2:17: web: tls_cert: cannot be read: '.' is a folder, not a file"),
        ("web: {tls_cert: 5, tls_key: 6}", "2:17: web: tls_cert must be a path; put it in quotes|2:29: web: tls_key must be a path; put it in quotes"),
        (f"web: {{socket: /{'x' * 107}}}", "2:15: web: socket must be 107 bytes or shorter: the system allows no longer path of a socket"),
        ("web: {socket: a, socket: b}", "2:18: web: duplicate key 'socket', first written in line 2"),
        ("watch_rules: maybe", "2:14: watch_rules must be true or false"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, web: str, expected: str) -> None:
    (tmp_path / "text").write_text("no certificate")
    assert messages(tmp_path, web) == expected.replace("FOLDER", str(tmp_path)).split("|")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("WEB", "5", "BUDGET_WATCHDOG_WEB: must be a table of keys"),
        ("WEB", "{", "BUDGET_WATCHDOG_WEB: is not valid JSON (line 1, column 2)"),
        ("WEB", f'{{"token": "{ADMIN}"}}', "BUDGET_WATCHDOG_WEB: web: token must not be written here: put it into a file and name that under token_file, or use token_env"),
        ("WEB__TOKEN", ADMIN, "BUDGET_WATCHDOG_WEB__TOKEN: must not be written here: put it into a file and name that under token_file, or use token_env"),
        ("WEB__TLS_CERT", "x", "BUDGET_WATCHDOG_WEB__TLS_CERT: is no use without tls_key; give both or none"),
        ("WEB__TOKEN_ENV", "NOPE", "BUDGET_WATCHDOG_WEB__TOKEN_ENV: the environment variable NOPE is not set; put the token into it"),
        ("WEB__SOKET", "x", "BUDGET_WATCHDOG_WEB__SOKET: unknown key 'soket', did you mean 'socket'?"),
        ("WEBB", "x", "unknown environment variable 'BUDGET_WATCHDOG_WEBB', did you mean 'BUDGET_WATCHDOG_WEB'?"),
        ("WATCH_RULES", "x", "BUDGET_WATCHDOG_WATCH_RULES: must be true or false"),
    ],
)  # fmt: skip
def test_mistakes_in_the_environment(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    assert messages(tmp_path, "", {**TOKEN, f"BUDGET_WATCHDOG_{variable}": value}) == [expected]


def test_paths_of_a_file_are_meant_from_its_folder(tmp_path: Path) -> None:
    settings = load(tmp_path, "web: {socket: run/s}", TOKEN)
    assert settings.web.socket == tmp_path / "run" / "s"
    environ = {**TOKEN, "BUDGET_WATCHDOG_WEB__SOCKET": "run/s", "BUDGET_WATCHDOG_WATCH_RULES": "false"}
    settings = load(tmp_path, "", environ)
    assert settings.web.socket == Path("run/s")
    assert not settings.watch_rules


# --- TLS ---


def test_a_certificate_with_its_key(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    context = load(tmp_path, "web: {tls_cert: x.crt, tls_key: x.key}").web.tls_context()
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_pairs_that_are_none(tmp_path: Path) -> None:
    make_certificate(tmp_path, "x")
    make_certificate(tmp_path, "y")
    make_certificate(tmp_path, "z", "-passout", "pass:hunter2")
    (tmp_path / "half.crt").write_text((tmp_path / "x.crt").read_text()[:200])
    for cert, key, expected in (
        ("x.crt", "y.key", "2:33: web: tls_key: does not belong to the certificate in tls_cert"),
        ("z.crt", "z.key", "2:33: web: tls_key is protected by a pass phrase that nobody could type in; store it without one"),
        ("x.key", "x.crt", "2:17: web: tls_cert: holds no certificate in PEM form ('-----BEGIN CERTIFICATE-----')"),
        ("x.crt", "x.crt", "2:33: web: tls_key: holds no private key in PEM form ('-----BEGIN PRIVATE KEY-----')"),
    ):  # fmt: skip
        (found,) = messages(tmp_path, f"web: {{tls_cert: {cert}, tls_key: {key}}}")
        assert found == expected
    (found,) = messages(tmp_path, "web: {tls_cert: half.crt, tls_key: x.key}")
    assert found.startswith("2:17: web: tls_cert: cannot be used together with tls_key: ")


# --- warnings ---


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.8.8.8:1", "localhost:1", '"[::1]:1"'])
def test_loopback_is_fine(tmp_path: Path, listen: str) -> None:
    settings = load(tmp_path, f"listen: {listen}")
    assert settings.is_local
    assert settings.warnings == ()


@pytest.mark.parametrize("listen", ["0.0.0.0:9877", '"[::]:9877"', "10.0.0.1:1", "watchdog.example:1"])
def test_other_addresses_are_warned_about(tmp_path: Path, listen: str) -> None:
    bare = load(tmp_path, f"listen: {listen}")
    assert not bare.is_local
    (warning,) = bare.warnings
    assert warning.startswith(
        f"listen: {listen.strip(chr(34))} can be reached from other machines, where anybody can read"
    )
    assert "there is no admin token, so admin calls are refused" in warning
    (warning,) = load(tmp_path, f"listen: {listen}\nweb: {{token_env: ADMIN}}").warnings
    assert "the admin token crosses the network in the clear" in warning
    make_certificate(tmp_path)
    web = "web: {token_env: ADMIN, tls_cert: x.crt, tls_key: x.key}"
    assert load(tmp_path, f"listen: {listen}\n{web}").warnings == ()


# --- whether the file has changed since ---


def test_a_file_that_changed_since(tmp_path: Path) -> None:
    settings = load(tmp_path)
    file = tmp_path / "c.yaml"
    assert settings.file_digest() == ""
    file.write_text(ACCOUNT + "dry_run: true")
    first = settings.file_digest()
    assert first
    file.write_text("nonsense: [")
    assert settings.file_digest() not in ("", first)
    file.unlink()
    assert settings.file_digest() == ""
    file.write_text(ACCOUNT)
    assert settings.file_digest() == ""


def test_settings_without_a_file_do_not_change() -> None:
    assert load_settings(find_config(None, {"APIFY_TOKEN": "x"}, search=()), platforms=OURS).file_digest() == ""


def test_a_key_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    web = f"web: {{tls_cert: {cert.name}, tls_key: {key.name}}}\n"
    key.chmod(0o600)
    cert.chmod(0o644)
    assert load(tmp_path, web).warnings == ()
    key.chmod(0o644)
    (warning,) = load(tmp_path, web).warnings
    assert warning.startswith(
        f"web: tls_key: '{key}' can be read by other users of this machine (mode 0644): chmod 600"
    )
