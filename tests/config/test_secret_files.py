"""Files that hold a token or a key: what is read from them, and who else may read them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.config.models import Settings
from watchdog.config.secret_files import exposure, read_token
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS

NOBODY = 65534
ACCOUNTS = "accounts: [{name: a, platform: apify, token_file: token}]\n"


def load(folder: Path, text: str = ACCOUNTS, environ: Mapping[str, str] | None = None) -> Settings:
    file = folder / "c.yaml"
    file.write_text(text)
    return load_settings(find_config(file, environ or {}, search=()), platforms=OURS)


def secret(folder: Path, name: str = "token", mode: int = 0o600, text: str = "tok\n") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


# --- who else may --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (0o600, None),
        (0o400, None),
        (0o700, None),
        (0o644, "read"),
        (0o604, "read"),
        (0o444, "read"),
        (0o440, "read"),
        (0o640, "read"),
        (0o666, "read and changed"),
        (0o602, "changed"),
        (0o620, "changed"),
        (0o660, "read and changed"),
    ],
)
def test_a_token_that_others_may_read_or_change_is_warned_of(tmp_path: Path, mode: int, what: str | None) -> None:
    path = secret(tmp_path, mode=mode)
    expected = (
        f"account 'a': token_file: '{path}' can be {what} by other users of this machine (mode {mode:04o}): "
        f"chmod 600 {path}"
    )
    assert load(tmp_path).warnings == (() if what is None else (expected,))


def test_the_cure_can_be_pasted_whatever_the_file_is_called(tmp_path: Path) -> None:
    path = secret(tmp_path, "my token", 0o644)
    (warning,) = exposure(path, "x")
    assert warning.endswith(f": chmod 600 '{path}'")


def test_every_secret_counts_and_through_a_link_too(tmp_path: Path) -> None:
    secret(tmp_path, "real", 0o644)
    (tmp_path / "token").symlink_to("real")
    secret(tmp_path, "admin", 0o644, "x" * 32)
    settings = load(tmp_path, ACCOUNTS + "web: {token_file: admin}\n")
    assert [warning.split(" can ")[0] for warning in settings.warnings] == [
        f"account 'a': token_file: '{tmp_path}/token'",
        f"web: token_file: '{tmp_path}/admin'",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "warned"),
    [
        (NOBODY, NOBODY, 0o440, False),  # how a service gets at a file of another's
        (NOBODY, NOBODY, 0o444, True),
        (NOBODY, NOBODY, 0o460, True),
        (0, NOBODY, 0o640, False),  # `check` by root, of what the service reads by its group
        (0, NOBODY, 0o644, True),
    ],
)
def test_a_group_that_is_meant_to_read_it_is_no_mistake(
    tmp_path: Path, uid: int, gid: int, mode: int, warned: bool
) -> None:
    path = secret(tmp_path, mode=mode)
    os.chown(path, uid, gid)
    found = tuple(exposure(path, "x"))
    assert bool(found) == warned
    assert not found or ("chown it to the user that runs this" in found[0]) == (uid != 0)


def test_secrets_of_a_container_have_the_mode_that_the_engine_gives(tmp_path: Path) -> None:
    """Kubernetes: 0644 unless the manifest says otherwise, and the file is a link through `..data`."""
    secret(tmp_path, "..2026_11_22/token", 0o644)
    (tmp_path / "..data").symlink_to("..2026_11_22")
    (tmp_path / "token").symlink_to("..data/token")
    assert load(tmp_path).warnings == ()


def test_a_systemd_credential_is_left_to_systemd(tmp_path: Path) -> None:
    secret(tmp_path, "credentials/a", 0o444)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    assert load(tmp_path, "accounts: [{name: a, platform: apify}]\n", environ).warnings == ()


@pytest.mark.parametrize("path", ["gone", ".", "/dev/null"])
def test_what_is_no_file_has_no_mode_to_speak_of(tmp_path: Path, path: str) -> None:
    assert list(exposure(tmp_path / path, "x")) == []


# --- what is in them -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ['"tok"', "'tok'", '"tok', "tok'", '""', "`tok`", ' "tok"\n'])
def test_quotation_marks_are_told_as_such(tmp_path: Path, text: str) -> None:
    """docker's --env-file takes what stands behind the `=` as it is."""
    secret(tmp_path, text=text)
    with pytest.raises(ConfigurationError, match=r"the token in the file '.*/token' is in quotation marks. Remove"):
        load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"the token in APIFY_TOKEN is in quotation marks. Remove them.*--env"):
        load_settings(find_config(None, {"APIFY_TOKEN": text}, search=()), platforms=OURS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("APIFY_TOKEN=apify_api_xyz", "holds NAME=..., as a file of variables does"),
        ("export APIFY_TOKEN=xyz\n", "holds NAME=..."),
        ("APIFY_TOKEN = xyz", "holds NAME=..."),
        ("${APIFY_TOKEN}", "holds the name of a variable that nothing has replaced"),
        ("$APIFY_TOKEN", "holds the name of a variable that nothing has replaced"),
        ("{{ apify_token }}", "holds the name of a variable that nothing has replaced"),
    ],
)
def test_what_holds_no_token_but_where_it_should_come_from(tmp_path: Path, text: str, says: str) -> None:
    secret(tmp_path, text=text)
    with pytest.raises(ConfigurationError, match=re.escape(says)) as caught:
        load(tmp_path)
    assert "xyz" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        load_settings(find_config(None, {"APIFY_TOKEN": text}, search=()), platforms=OURS)


@pytest.mark.parametrize("text", ["YWJjZGVm==", "abc=def", "a$b", "x{y}"])
def test_odd_tokens_are_taken(tmp_path: Path, text: str) -> None:
    secret(tmp_path, text=text)
    assert load(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["gone", "apify", "apify-token", "lobstr_production_scraping_key_2026", "a/b.token", "x" * 300, "folder/"],
)
def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        read_token(Path(name))
    assert f"cannot read the token file '{name.rstrip('/')}': " in str(caught.value)


@pytest.mark.parametrize(
    "token",
    [
        "apify_api_x",
        "0123456789abcdef0123456789abcdef01234567",
        "a1B2c3D4e5F6g7H8i9J0k",
        "lob-5a1b2c3d4e5f60718293a4b5c6d7",
    ],
)
def test_a_token_in_place_of_a_path_is_not_repeated(tmp_path: Path, token: str) -> None:
    for path in (tmp_path / token, Path(token)):
        with pytest.raises(ConfigurationError, match="cannot read the token file: no such") as caught:
            read_token(path, ["apify_api_"])
        assert not re.search(token, repr(caught.value.__context__))


def test_a_file_that_is_there_is_named_whatever_it_is_called(tmp_path: Path) -> None:
    path = secret(tmp_path, "a1B2c3D4e5F6g7H8i9J0k", text="")
    with pytest.raises(ConfigurationError, match=f"the token file '{path}' is empty"):
        read_token(path)
