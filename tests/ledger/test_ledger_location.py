"""What an address means, and where the ledger is if nothing is said."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from watchdog.errors import ConfigurationError
from watchdog.ledger.location import AUTO, default_address, locate
from watchdog.ledger.opening import open_beside, path_of

HERE = Path("/etc/bw")


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("sqlite:///var/lib/budget-watchdog/ledger.db", "/var/lib/budget-watchdog/ledger.db"),
        ("sqlite:////var/lib/budget-watchdog/ledger.db", "/var/lib/budget-watchdog/ledger.db"),
        ("sqlite://///var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:////x.db", "/x.db"),
        ("sqlite:///ledger.db", "/etc/bw/ledger.db"),
        ("sqlite:///./ledger.db", "/etc/bw/ledger.db"),
        ("sqlite:///./data/ledger.db", "/etc/bw/data/ledger.db"),
        ("sqlite:///../ledger.db", "/etc/bw/../ledger.db"),
        ("sqlite:///.hidden.db", "/etc/bw/.hidden.db"),
        ("sqlite:///my ledger?100%#1.db", "/etc/bw/my ledger?100%#1.db"),
        ("sqlite:///données/é\u00a0.db", "/données/é\u00a0.db"),
        ("memory", None),
    ],
)
def test_addresses(address: str, path: str | None) -> None:
    assert locate(address, HERE).path == (None if path is None else Path(path))


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "not supported"),
        ("sqlite://", "not supported"),
        ("sqlite:///", "not supported"),
        ("sqlite:ledger.db", "not supported"),
        ("SQLITE:///x.db", "not supported"),
        ("/var/lib/x.db", "not supported; write sqlite:///path"),
        ("Memory", "not supported"),
        ("sqlite:////", "folder"),
        ("sqlite:///data/", "folder"),
        ("sqlite:///.", "folder"),
        ("sqlite:///a/..", "folder"),
        ("sqlite:///:memory:", "write memory"),
        ("sqlite:///~/x.db", "'~' is not expanded"),
        ("sqlite:///a\0b.db", "control characters"),
        ("sqlite:///a\nb.db", "control characters"),
        ("sqlite:///\udcff.db", "no text"),
    ],
)
def test_addresses_that_are_none(address: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        locate(address, HERE)
    str(caught.value).encode()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://user:S3CRET@host/base",
        "postgresql://user:S3CRET@x@host/base",
        "user:S3CRET@host",
        "postgresql://host/base?user=u&password=S3CRET",
        "mysql://S3CRET@host?ssl=1",
    ],
)
def test_a_password_is_not_repeated(address: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        locate(address, HERE)
    assert "S3CRET" not in str(caught.value)


ROOT_PLACE = "/var/lib/budget-watchdog/ledger.db"
OWN_HOME = Path(pwd.getpwuid(os.geteuid()).pw_dir)


@pytest.mark.parametrize(
    ("uid", "environ", "config", "path"),
    [
        (1000, {"STATE_DIRECTORY": "/var/lib/bw"}, None, "/var/lib/bw/ledger.db"),
        (1000, {"STATE_DIRECTORY": "/var/lib/bw:/var/lib/two"}, None, "/var/lib/bw/ledger.db"),
        (0, {"STATE_DIRECTORY": "/var/lib/bw"}, "/home/me/x.yaml", "/var/lib/bw/ledger.db"),
        (0, {"STATE_DIRECTORY": ""}, None, ROOT_PLACE),
        (0, {"HOME": "/root"}, None, ROOT_PLACE),
        (0, {}, "/etc/budget-watchdog/config.yaml", ROOT_PLACE),
        (0, {}, "/home/me/x.yaml", "/home/me/budget-watchdog.db"),
        (1000, {"HOME": "/home/me"}, None, "/home/me/.local/state/budget-watchdog/ledger.db"),
        (1000, {"HOME": "/home/me", "XDG_STATE_HOME": "/s"}, None, "/s/budget-watchdog/ledger.db"),
        (1000, {"HOME": "/home/me", "XDG_STATE_HOME": "s"}, None, "/home/me/.local/state/budget-watchdog/ledger.db"),
        (1000, {"HOME": "/home/me", "XDG_STATE_HOME": ""}, None, "/home/me/.local/state/budget-watchdog/ledger.db"),
    ],
)
def test_where_it_is_if_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str], config: str | None, path: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert path_of(AUTO, Path(config) if config else None, environ) == Path(path)


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_without_a_usable_home(monkeypatch: pytest.MonkeyPatch, home: dict[str, str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 99999)
    with pytest.raises(ConfigurationError, match="no home folder"):
        default_address(home)


def test_a_relative_configuration_file_gives_an_absolute_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert path_of(AUTO, Path("x.yaml"), {}) == tmp_path / "budget-watchdog.db"
    assert path_of("sqlite:///y.db", Path("sub/x.yaml"), {}) == Path("sub/y.db")
    assert path_of("sqlite:///y.db", None, {}) == Path("y.db")


def test_memory_cannot_be_opened_beside() -> None:
    with pytest.raises(Exception, match="in memory"):
        open_beside(None)
