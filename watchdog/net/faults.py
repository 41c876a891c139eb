"""What goes wrong between us and a platform, in words, and whether trying again can help.

The platform's own errors are read in `error_body`.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import msgspec

from watchdog.errors import BadAnswer, Gone, PlatformError
from watchdog.net.client import Bounds
from watchdog.net.error_body import WEB_PAGE, is_web_page

#: A platform that wants to be left alone for longer than this is not asked again within the same call.
PATIENCE_S = 10.0
#: Faults of requests that cannot have reached the platform.
NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
    ValueError,
)


def what_broke(error: Exception, bounds: Bounds) -> str:
    """Why no answer came."""
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {bounds.connect_s:.0f} s"
    if isinstance(error, httpx.ReadTimeout):
        return f"no answer within {bounds.read_s:.0f} s"
    if isinstance(error, TimeoutError):
        return f"no complete answer within {bounds.whole_s:.0f} s"
    if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL, ValueError)):
        return "the address cannot be used"
    words: dict[type[Exception], str] = {
        httpx.ConnectError: "cannot connect",
        httpx.ProxyError: "the proxy does not let us through",
        httpx.DecodingError: "an answer that cannot be read",
    }
    return words.get(type(error), "the connection broke")


def what_to_check(error: Exception, detail: str) -> str:
    """What the reader can do about that. `detail`: what the library says of it."""
    if isinstance(error, httpx.ProxyError):
        return "check the proxy (HTTPS_PROXY, NO_PROXY) and its user name and password; this is not about the token"
    if "certificate verify failed" in detail.lower():
        return (
            "check base_url and, if a proxy of your network signs with an authority of its own, add that to the "
            "system's certificates or name it in SSL_CERT_FILE"
        )
    return "check base_url and the network"


def what_is_wrong(body: bytes, error: Exception) -> str:
    """Why an answer cannot be read; `error` is what decoding it raised."""
    start = body[:200].lstrip()
    if not start:
        return "an empty answer instead of JSON; check base_url"
    if is_web_page(body):
        return f"{WEB_PAGE}; check base_url, and whether a proxy or a log-in page stands in between"
    if isinstance(error, msgspec.ValidationError):
        return f"JSON that is not as documented: {error}"
    return f"broken JSON: {error}"


def may_be_the_token(error: PlatformError) -> bool:
    """Whether another token might be answered otherwise."""
    return error.status in (401, 403) or (isinstance(error, Gone) and error.maybe_denied)


def may_pass_soon(error: PlatformError) -> bool:
    """Whether to try again at once: not what will be the same again, nor what asked for a long pause."""
    if (error.retry_after or 0.0) > PATIENCE_S:
        return False
    if isinstance(error, BadAnswer):
        return error.status is None and not isinstance(error.__cause__, msgspec.ValidationError)
    return error.retryable


def without_user(url: str) -> str:
    """The address without user name, password and query, for messages."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
