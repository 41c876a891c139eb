"""`SSL_CERT_FILE` and `SSL_CERT_DIR`: what cannot be used is named at the start, before anything is sent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS

SYSTEM = Path("/etc/ssl/certs")


def load(**variables: str) -> None:
    load_settings(find_config(None, {"APIFY_TOKEN": "tok", **variables}, search=()), platforms=OURS)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_what_is_there_is_taken(variable: str) -> None:
    path = SYSTEM / "ca-certificates.crt" if variable == "SSL_CERT_FILE" else SYSTEM
    if not path.exists():
        pytest.skip(f"this system keeps no certificates in {path}")
    load(**{variable: str(path)})
    load(**{variable: ""})


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gone.pem", "cannot be read: No such file or directory"),
        ("folder", "is not a file"),
        ("pipe", "is not a file"),
        ("empty.pem", "holds no certificate that can be read"),
        ("garbage.pem", "holds no certificate that can be read"),
        ("broken.pem", "holds no certificate that can be read"),
        ("key.pem", "holds no certificate that can be read"),
        ("garbage.pem/x", "cannot be read: Not a directory"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, wrong: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    contents = {
        "empty": "",
        "garbage": "\x00\xff",
        "broken": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    }
    for stem, content in contents.items():
        (tmp_path / f"{stem}.pem").write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load(SSL_CERT_FILE=f"{tmp_path}/{name}")
    sentence = f"SSL_CERT_FILE: '{tmp_path}/{name}' {wrong}; name a file of certificates in PEM form"
    assert str(caught.value) == sentence


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "ca.pem").touch()
    with pytest.raises(ConfigurationError) as caught:
        load(SSL_CERT_DIR=f"{tmp_path}/gone:{tmp_path}/folder:")
    assert [str(problem) for problem in caught.value.problems] == [
        f"SSL_CERT_DIR: '{tmp_path}/folder' holds no certificate under a name that OpenSSL looks for; "
        f"run: openssl rehash {tmp_path}/folder",
        f"SSL_CERT_DIR: '{tmp_path}/gone' cannot be read: No such file or directory",
    ]
