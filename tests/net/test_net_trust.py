"""The certificates are read before they are needed, and only once."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog.errors import ConfigurationError
from watchdog.net import read_ahead
from watchdog.net.trust import trust


def test_what_was_read_ahead_is_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    (folder / "00000000.0").touch()
    environ = {"SSL_CERT_DIR": str(folder)}
    read_ahead(environ)
    (folder / "00000000.0").unlink()
    assert trust(environ) is trust(environ), "now it could not be read any more"


def test_a_mistake_is_left_to_whoever_needs_the_certificates(tmp_path: Path) -> None:
    environ = {"SSL_CERT_FILE": str(tmp_path / "none.pem")}
    read_ahead(environ)
    with pytest.raises(ConfigurationError, match=r"none\.pem"):
        trust(environ)
