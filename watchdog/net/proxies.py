"""Which proxy stands before an address, by the variables that every tool of a company network knows.

`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` name the proxies, `NO_PROXY` what is reached without. There is no standard for
`NO_PROXY`; every form that the usual tools know is understood (curl, Go, Python): names with all below them, a leading
dot, wildcards, addresses, networks, a port, blanks or commas between them. Names are not resolved.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Target:
    """Where a request goes: `host` in lower case and ASCII, `address` if it is one."""

    host: str
    port: int
    address: _Address | None

    @property
    def is_local(self) -> bool:
        if self.address is not None:
            return self.address.is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")


def proxy_for(url: httpx.URL, environment: Mapping[str, str]) -> str | None:
    """The proxy to a platform by `urllib.request.getproxies`; None for none. Loopback is never behind one."""
    target = _target(url)
    if target.is_local or any(_is_named(target, entry) for entry in re.split(r"[\s,;]+", environment.get("no", ""))):
        return None
    proxy = environment.get(url.scheme) or environment.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


def _target(url: httpx.URL) -> _Target:
    host = url.raw_host.decode("ascii").lower().rstrip(".").strip("[]")
    return _Target(host, url.port or _PORTS.get(url.scheme, 0), _address(host))


def _is_named(target: _Target, entry: str) -> bool:
    """Whether this entry of `NO_PROXY` means the target."""
    entry = entry.lower().rpartition("://")[2]
    if (network := _network(entry)) is not None:
        return target.address is not None and _plain(target.address) in network
    host, port = _split(entry.partition("/")[0])
    if not host or (port and port != str(target.port)):
        return False
    if "*" in host:
        return re.fullmatch(re.escape(host).replace(r"\*", ".*"), target.host) is not None
    if (address := _address(host)) is not None or target.address is not None:
        return target.address is not None and address is not None and _plain(address) == _plain(target.address)
    name = _ascii(host.strip("."))
    return target.host == name or target.host.endswith(f".{name}")


def _split(entry: str) -> tuple[str, str]:
    """Host, without the brackets of IPv6, and port, "" for any."""
    if _address(entry) is not None:
        return entry, ""
    if found := re.fullmatch(r"\[([^]]*)\](?::([0-9]+))?", entry):
        return found[1], found[2] or ""
    host, colon, port = entry.rpartition(":")
    return (host, port) if colon and port.isdigit() else (entry, "")


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    address, slash, mask = entry.partition("/")
    if not slash:
        return None
    try:
        return ipaddress.ip_network(f"{address.strip('[]')}/{mask}", strict=False)
    except ValueError:
        return None


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _plain(address: _Address) -> _Address:
    """IPv4 in the clothes of IPv6 is IPv4."""
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _ascii(name: str) -> str:
    """A name as it stands in addresses (IDNA); as it is if it cannot be one."""
    try:
        return httpx.URL(f"http://{name}").raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return name
