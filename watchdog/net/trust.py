"""Whose certificates are believed: those of the system and of Mozilla, or those that the environment names.

`SSL_CERT_FILE` and `SSL_CERT_DIR` are OpenSSL's own variables. If one is set, what it names is believed and nothing
else. OpenSSL passes over a name that is wrong in silence, and then believes nobody; here it is a mistake of the
configuration.
"""

from __future__ import annotations

import os
import re
import shlex
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache

import httpx

from watchdog.errors import ConfigurationError, Problem

FILE, FOLDER = "SSL_CERT_FILE", "SSL_CERT_DIR"
#: What OpenSSL looks for in a folder: a hash of the subject, and a number.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")


def trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The context for requests. Raises ConfigurationError if what the variables name cannot be used."""
    return _trust(environ.get(FILE) or None, environ.get(FOLDER) or None)


def read_ahead(environ: Mapping[str, str]) -> None:
    """Read the certificates, so that `trust` has them at the first request. OpenSSL takes 70 ms for them and lets
    others go on meanwhile: call this in a thread. What is wrong with them is left to whoever needs them."""
    with suppress(ConfigurationError):
        trust(environ)


@cache
def _trust(file: str | None, folders: str | None) -> ssl.SSLContext:
    """Reading the certificates costs more than everything else about a client; once is enough."""
    if problems := list(_problems(file, folders)):
        raise ConfigurationError(problems)
    if file or folders:
        return ssl.create_default_context(cafile=file, capath=folders)
    context = httpx.create_ssl_context(trust_env=False)
    # A company's own authority is in the system's store; a slim container has none, hence both.
    context.load_default_certs()
    return context


def trust_problems(environ: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the certificates that the variables name, a sentence each."""
    return list(_problems(environ.get(FILE) or None, environ.get(FOLDER) or None))


def _problems(file: str | None, folders: str | None) -> Iterator[Problem]:
    if file and (wrong := _wrong_with_file(file)):
        yield Problem("", 0, 0, f"{FILE}: {file!r} {wrong}; name a file of certificates in PEM form")
    for folder in (folders or "").split(os.pathsep):
        if folder and (wrong := _wrong_with_folder(folder)):
            yield Problem("", 0, 0, f"{FOLDER}: {folder!r} {wrong}")


def _wrong_with_file(file: str) -> str:
    if os.path.exists(file) and not os.path.isfile(file):
        return "is not a file"
    try:
        with open(file, "rb"):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        return "holds no certificate that can be read"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def _wrong_with_folder(folder: str) -> str:
    try:
        names = os.listdir(folder)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if any(map(_HASHED.fullmatch, names)):
        return ""
    return f"holds no certificate under a name that OpenSSL looks for; run: openssl rehash {shlex.quote(folder)}"
