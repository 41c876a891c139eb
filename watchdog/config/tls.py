"""The certificate of our own web server."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from watchdog.config.values import Unusable
from watchdog.errors import ConfigurationError
from watchdog.text import shown
from watchdog.text.files import read_bytes

MAX_PEM_BYTES = 1024 * 1024


def check_tls(web: Mapping[str, Any]) -> None:
    """Raise Unusable if what the section names is no certificate with its key; neither is none."""
    cert, key = web.get("tls_cert"), web.get("tls_key")
    if (cert is None) != (key is None):
        there, missing = ("tls_key", "tls_cert") if cert is None else ("tls_cert", "tls_key")
        raise Unusable(there, f"is no use without {missing}; give both or none")
    if isinstance(cert, str) and isinstance(key, str):
        server_context(Path(cert), Path(key))


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """A server's context. Raises Unusable with the setting to blame: OpenSSL's words do not say which file it is."""
    if b"-----BEGIN CERTIFICATE-----" not in _pem(cert, "tls_cert"):
        raise Unusable("tls_cert", "holds no certificate in PEM form ('-----BEGIN CERTIFICATE-----')")
    private = _pem(key, "tls_key")
    if b"PRIVATE KEY-----" not in private:
        raise Unusable("tls_key", "holds no private key in PEM form ('-----BEGIN PRIVATE KEY-----')")
    if b"ENCRYPTED" in private:
        raise Unusable("tls_key", "is protected by a pass phrase that nobody could type in; store it without one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=_no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Unusable("tls_key", "does not belong to the certificate in tls_cert") from None
        raise Unusable("tls_cert", f"cannot be used together with tls_key: {error.reason or 'not valid'}") from None
    except OSError as error:
        raise Unusable("tls_cert", f"cannot be read: {error.strerror}") from None
    return context


def renew(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Give new connections what the files hold now."""
    context.load_cert_chain(cert, key, password=_no_pass_phrase)


def _pem(path: Path, key: str) -> bytes:
    try:
        return read_bytes(path, MAX_PEM_BYTES)
    except ConfigurationError as error:
        raise Unusable(key, f"cannot be read: {shown(str(path), limit=200)} {error.problems[0].message}") from None


def _no_pass_phrase() -> str:
    """Without it OpenSSL would ask on the terminal, and wait."""
    return ""
