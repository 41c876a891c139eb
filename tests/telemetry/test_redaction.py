"""What is a secret by its kind, and what by having been given to us."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import pytest

from watchdog.redaction import Redactor


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("see https://me:pass@host/x", "see https://***@host/x"),
        ("postgresql+psycopg://me:p@ss@db:5432/x?a=b@c", "postgresql+psycopg://***@db:5432/x?a=b@c"),
        ("http://token@host, ftp://a:b@c", "http://***@host, ftp://***@c"),
        ("'http://me:pass@host'", "'http://***@host'"),
        ("https://apify.com/@owner/actor", "https://apify.com/@owner/actor"),
        ("https://host/path?mail=a@b.c", "https://host/path?mail=a@b.c"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_user_info_in_any_address(text: str, clean: str) -> None:
    redactor = Redactor()
    assert redactor.text(text) == clean
    assert redactor.output(text) == clean
    assert redactor.value({"a": [text]}) == {"a": [clean]}


@pytest.mark.parametrize(
    "address",
    ["http://user:{}@proxy:3128", "user:{}@proxy:3128", "http://user:{}@", "postgresql://user:{}@db/x", "://user:{}@"],
)
@pytest.mark.parametrize("password", ["s3cretPassword", "p@ss/w#rd?x", "with space 1", "50%25Percent"])
def test_what_stands_in_an_address_that_was_given(address: str, password: str) -> None:
    redactor = Redactor()
    redactor.add_address(address.format(password))
    pair = b64encode(f"user:{password}".encode()).decode()
    for form in (password, password.upper(), quote(password, safe=""), f"user:{password}", f"Basic {pair}"):
        assert redactor.text(f"x {form} y").replace("Basic ", "") == "x *** y"


def test_an_address_without_a_password_teaches_nothing() -> None:
    redactor = Redactor()
    for address in ("http://proxy:3128", "sqlite:///a/b.db", "memory", "", "auto"):
        redactor.add_address(address)
    assert redactor.text("proxy 3128 sqlite memory auto") == "proxy 3128 sqlite memory auto"


def test_short_secrets_are_left_where_machines_read() -> None:
    redactor = Redactor()
    redactor.add("id")
    redactor.add("long-enough")
    assert redactor.output('{"id": "long-enough"}') == '{"id": "***"}'
    assert redactor.text("id long-enough") == "*** ***"


def test_the_usual_variables() -> None:
    redactor = Redactor()
    redactor.add_environment(
        {"APIFY_TOKEN": "apify_api_x1", "https_proxy": "http://a:proxyPass1@h", "HOME": "/root"}, ["APIFY_TOKEN"]
    )
    assert redactor.text("apify_api_x1 proxyPass1 /root") == "*** *** /root"
