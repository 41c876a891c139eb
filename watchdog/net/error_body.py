"""What an error answer says, whether it is the platform that says it, and what it is called then.

Between us and a platform there may be a proxy, a firewall or a log-in page, and each can answer 401, 403 or 404 in its
own name. What they say is about the way, not about a token or a run. The platforms' own errors are JSON of a known
shape: `{"error": {"type", "message"}}` (both), `{"errors": {"message", "type", "code"}}` and `{"detail": "..."}`
(lobstr).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from watchdog.errors import (
    BadAnswer,
    CredentialsRefused,
    Gone,
    PlatformError,
    RateLimited,
    Refused,
    ServerFault,
)
from watchdog.net.lenient import UNREADABLE, decode

#: Whether JSON of this content is how a platform words an error.
OwnError = Callable[[Mapping[str, Any]], bool]

WEB_PAGE = "a web page instead of JSON"
#: Apify's word for a 404 of something that is not there, or that this token may not see.
_MAYBE_DENIED = "record-or-token-not-found"
_IN_BETWEEN = (
    "this is not how the platform answers: a proxy, a firewall or a log-in page in between does not let us through; "
    "check base_url and the proxy, and the token if there is nothing in between"
)


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """An error answer as far as it can be read. `kind`: the platform's word for the error; `is_own`: whether it is JSON
    as the platform words its errors. The texts are as they came: not fit for a log."""

    kind: str = ""
    message: str = ""
    is_own: bool = False
    is_web_page: bool = False

    @property
    def text(self) -> str:
        """All that it says."""
        return WEB_PAGE if self.is_web_page else ": ".join(filter(None, (self.kind, self.message)))

    @property
    def maybe_denied(self) -> bool:
        """Whether it says that access may be denied to what it does not find."""
        message = self.message.lower()
        return self.kind == _MAYBE_DENIED or "access denied" in message or "permission" in message


def says_anything(body: Mapping[str, Any]) -> bool:
    """The `OwnError` of a platform of which nothing is known: any error in one of the usual shapes."""
    return any(any(texts) for texts in _texts(body))


def read_error(body: bytes, is_own: OwnError) -> ErrorBody:
    """The error in this body."""
    if is_web_page(body):
        return ErrorBody(is_web_page=True)
    try:
        data, _ = decode(body, object)
    except UNREADABLE:
        return ErrorBody()
    if not isinstance(data, dict):
        return ErrorBody()
    kind, message = next((texts for texts in _texts(data) if any(texts)), ("", ""))
    return ErrorBody(kind, message, is_own(data))


def is_web_page(body: bytes) -> bool:
    """Whether this is HTML or XML rather than JSON."""
    return body[:200].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _texts(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and message wherever they may stand, the likeliest place first."""
    for key in ("error", "errors"):
        yield from _texts_in(data.get(key))
    for key in ("detail", "message"):
        yield "", _text(data.get(key))


def _texts_in(error: object) -> Iterator[tuple[str, str]]:
    if isinstance(error, dict):
        yield _text(error.get("type")) or _text(error.get("code")), _text(error.get("message"))
    elif isinstance(error, list):
        for each in error:
            yield from _texts_in(each)
    else:
        yield "", _text(error)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class ErrorFacts:
    """What an error is told with, fit for a log. `where`: account, method and address; `words` and `kind`: those of
    the answer; `token_works`: another request with the same token was answered well."""

    account: str
    status: int
    where: str
    words: str
    kind: str
    retry_after: float | None
    token_works: bool

    def text(self, hint: str) -> str:
        """The whole sentence."""
        return f"{self.where}: HTTP {self.status}{f': {self.words}' if self.words else ''}; {hint}"

    def make(self, error: type[PlatformError], hint: str) -> PlatformError:
        """An error of this class."""
        return error(
            self.text(hint), account=self.account, status=self.status, kind=self.kind, retry_after=self.retry_after
        )


def error_of(said: ErrorBody, facts: ErrorFacts) -> PlatformError:
    """The error that an answer stands for."""
    status = facts.status
    if status == 429:
        return RateLimited(
            facts.text("slowing down"), account=facts.account, kind=facts.kind, retry_after=facts.retry_after
        )
    if _is_in_between(status, said):
        return facts.make(BadAnswer, _IN_BETWEEN)
    if status in (408, 425) or status >= 500:
        return facts.make(ServerFault, "the platform has a problem, nothing to do but wait")
    if status in (401, 403):
        return _refused_token(facts)
    if status == 404:
        return _gone(facts, maybe_denied=said.maybe_denied)
    if 300 <= status < 400:
        hint = "redirects are not followed, since the token belongs to this host; check base_url"
        return facts.make(BadAnswer, hint)
    return facts.make(Refused, "asking again will not help")


def _is_in_between(status: int, said: ErrorBody) -> bool:
    """Whether something on the way has answered in place of the platform. 407 and 511 only proxies and networks say; of
    the rest, only what is said of a token or an object needs the platform's own words to be believed."""
    if status in (407, 511) or (400 <= status < 500 and said.is_web_page and status not in (408, 425)):
        return True
    return status in (401, 403, 404) and not said.is_own


def _refused_token(facts: ErrorFacts) -> CredentialsRefused:
    works = facts.status == 403 and facts.token_works
    lacks = ", which lacks a permission: its other requests are answered" if works else ""
    return CredentialsRefused(
        facts.text(f"check the token of this account{lacks}"),
        account=facts.account,
        status=facts.status,
        kind=facts.kind,
        retry_after=facts.retry_after,
        token_works=works,
    )


def _gone(facts: ErrorFacts, *, maybe_denied: bool) -> Gone:
    hint = "the platform does not know this (any more); if it says so of everything, check base_url"
    if maybe_denied:
        hint = "the platform does not know this (any more), or does not let this token see it"
    return Gone(
        facts.text(hint),
        account=facts.account,
        status=facts.status,
        kind=facts.kind,
        retry_after=facts.retry_after,
        maybe_denied=maybe_denied,
    )
