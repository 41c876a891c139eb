"""The client that all sessions share: which way a request takes, and how long it may take.

It is `httpx.AsyncClient` without what we do not want or pay for at every request: no cookies (one set for one account
would speak for another on the same host), no redirects (the token belongs to its host), no user name of an address in
the place of the token.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.request import getproxies

import httpx

from watchdog.errors import ConfigurationError
from watchdog.net.proxies import proxy_for
from watchdog.net.trust import trust
from watchdog.redaction import Redactor


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long an answer may take, in seconds, and how large it may be.

    connect_s: until there is a connection. read_s: until something comes, and from then on between two pieces.
    whole_s: for a whole answer, since a server that drips a byte a second never trips `read_s`. body_bytes: packed or
    unpacked; a larger answer is not one of the documented ones.
    """

    connect_s: float = 5.0
    read_s: float = 15.0
    whole_s: float = 30.0
    body_bytes: int = 64 * 1024 * 1024


BOUNDS = Bounds()


class Client:
    """Sends requests of httpx, within `bounds`, through the proxies of the environment, whose passwords `redactor`
    learns. Close it with `aclose`."""

    def __init__(self, redactor: Redactor, bounds: Bounds = BOUNDS) -> None:
        self.bounds = bounds
        self._timeout = httpx.Timeout(bounds.read_s, connect=bounds.connect_s)
        self.is_closed = False
        self._environment = getproxies()
        for kind, address in self._environment.items():
            if kind != "no":
                redactor.add_address(address)
        self._transports: dict[str | None, httpx.AsyncBaseTransport] = {}
        self._ways: dict[tuple[bytes, bytes], httpx.AsyncBaseTransport] = {}

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the body of the answer is still to be read, and the answer to be closed.

        Raises `httpx.RequestError`.
        """
        if self.is_closed:
            raise httpx.ConnectError("the client is closed", request=request)
        request.extensions["timeout"] = self._timeout.as_dict()
        where = (request.url.raw_scheme, request.url.netloc)
        way = self._ways.get(where)
        if way is None:
            way = self._ways[where] = self._way(request)
        return await way.handle_async_request(request)

    def _way(self, request: httpx.Request) -> httpx.AsyncBaseTransport:
        url = request.url
        if url.scheme not in ("http", "https") or not url.host:
            raise httpx.UnsupportedProtocol("not an http:// or https:// address of a host", request=request)
        proxy = proxy_for(url, self._environment)
        if proxy and not proxy.startswith(("http://", "https://")):
            raise httpx.ProxyError(
                f"a proxy of the kind {proxy.partition('://')[0]}:// cannot be used", request=request
            )
        if proxy not in self._transports:
            # Takes 0.2 s and 12 MB, which verbs that send nothing should not pay.
            from watchdog.net.transport import AiohttpTransport

            try:
                self._transports[proxy] = AiohttpTransport(trust(os.environ), proxy)
            except ConfigurationError as error:
                # The certificates were in order at the start.
                raise httpx.ConnectError(str(error), request=request) from None
            except ValueError as error:
                raise httpx.ProxyError(f"its address cannot be used: {error}", request=request) from None
        return self._transports[proxy]

    async def aclose(self) -> None:
        """Close every connection; nothing more is sent."""
        self.is_closed = True
        for transport in self._transports.values():
            await transport.aclose()
