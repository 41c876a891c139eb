"""Single values of the settings: what each may be, as checks that pydantic calls. Their sentences are for users."""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from watchdog.text import shown
from watchdog.text.durations import parse_duration

#: What `sockaddr_un` holds, less the zero byte at the end.
MAX_SOCKET_BYTES = 107

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")


class Unusable(Exception):
    """Something that a setting names and that cannot be used; `key` is the setting to blame, "" the table."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message


def is_name(value: object) -> bool:
    """Whether an account can be called that."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def is_variable(value: object) -> bool:
    """Whether a variable of the environment can be called that."""
    return isinstance(value, str) and _VARIABLE.fullmatch(value) is not None


def check_name(name: str) -> str:
    """The name of an account."""
    if not is_name(name):
        raise ValueError("must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit")
    return name


def check_variable(name: str) -> str:
    """The name of a variable of the environment, and not what it holds."""
    bare = re.sub(r"^\$\{?|\}$|^%|%$", "", name)
    if bare != name and re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", bare):
        raise ValueError(f"is the name of a variable: write it without the {name[0]}: {bare}")
    if not is_variable(name):
        raise ValueError("must be the name of an environment variable, not the token itself")
    return name


def read_poll_interval(value: object) -> object:
    """A duration of at least one second; None for `auto`."""
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be auto or a duration such as 5s or 1m")  # noqa: TRY004 (pydantic wants ValueError)
    if value == "auto":
        return None
    seconds = parse_duration(str(value))
    if seconds < 1:
        raise ValueError(f"must be 1s or more, not {shown(str(value))}")
    return timedelta(seconds=seconds)


def read_retention(value: object) -> object:
    """A duration of at least one day."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration such as 90d")  # noqa: TRY004 (pydantic wants ValueError)
    seconds = parse_duration(str(value))
    if seconds < 86400:
        raise ValueError(f"must be 1d or more, not {shown(str(value))}")
    return timedelta(seconds=seconds)


def check_base_url(url: str) -> str:
    """An address of a platform, without a slash at the end. It is not repeated in messages: it may hold a password."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must be a web address in plain ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a web address such as https://api.example.com") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password; the token goes into token_file or token_env")
    if not host:
        raise ValueError("has no host")
    if "?" in url or "#" in url:
        raise ValueError("must not hold a query ('?') or a fragment ('#')")
    return url.rstrip("/")


def text_of_port(value: object) -> object:
    """A bare port as the text it was, so that the sentence is about what is missing."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check_listen(text: str) -> str:
    """`host:port`; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    example = "such as 127.0.0.1:9877, 0.0.0.0:9877 (all addresses) or [::1]:9877"
    if not colon or not host:
        raise ValueError(f"must be host:port, {example}, not {shown(text)}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"must have a port from 0 to 65535 behind the last ':', not {shown(port)}")
    if not _is_host(host):
        raise ValueError(f"must be host:port, {example}; {shown(host)} is not a host")
    return text


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        return _ip_version(host[1:-1]) == 6
    if re.fullmatch(r"[0-9.]+", host):
        return _ip_version(host) == 4
    return _HOST.fullmatch(host) is not None


def _ip_version(text: str) -> int:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def check_socket(path: Path) -> Path:
    """The path of a Unix socket, which the system bounds."""
    if path == Path():
        raise ValueError("must not be empty")
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        raise ValueError(f"must be {MAX_SOCKET_BYTES} bytes or shorter: the system allows no longer path of a socket")
    return path


def is_loopback(host: str) -> bool:
    """Whether only this machine is reached by that address or name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
