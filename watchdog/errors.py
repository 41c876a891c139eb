"""The error tree.

Every error says what is wrong, where, and what to do about it, in one sentence fit for a user. It also knows two
things its handlers need: whether trying again can help (`retryable`), and the exit code of a command that ends with
it (`exit_code`: 1 failed, 2 bad usage or configuration).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict, Unpack


class WatchdogError(Exception):
    """Root of everything this program raises on purpose."""

    retryable = False
    exit_code = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a configuration: where it stands and what to do. Line and column count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        if not self.file:
            return self.message
        if not self.line:
            return f"{self.file}: {self.message}"
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigurationError(WatchdogError):
    """The settings or rules cannot be used; carries every mistake found, in file order."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        if isinstance(problems, str):
            problems = [Problem("", 0, 0, problems)]
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class StartupError(WatchdogError):
    """The machine or the network does not let the program start (port in use, no platform reachable)."""


class LedgerError(WatchdogError):
    """The ledger cannot be read or written."""


class Details(TypedDict, total=False):
    """What a `PlatformError` knows of the answer."""

    account: str
    status: int | None
    kind: str
    retry_after: float | None


class PlatformError(WatchdogError):
    """A platform did not do what was asked.

    `account` is the account's name, `status` the HTTP status if there was an answer. `kind` is the platform's own word
    for the error (`record-or-token-not-found`, `insufficient-permissions`, `not_found_error`), "" if it gave none.
    `retry_after`: for how many seconds it wants to be left alone, if it said so. Texts never hold a token.
    """

    def __init__(
        self,
        message: str,
        *,
        account: str = "",
        status: int | None = None,
        kind: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.account = account
        self.status = status
        self.kind = kind
        self.retry_after = retry_after


class Unreachable(PlatformError):
    """No answer: name resolution, connection, proxy, time-out, reset. `maybe_done`: the request may have reached the
    platform and have had its effect."""

    retryable = True

    def __init__(self, message: str, *, account: str = "", maybe_done: bool = False) -> None:
        super().__init__(message, account=account)
        self.maybe_done = maybe_done


class RateLimited(PlatformError):
    """429: the platform asks to slow down."""

    retryable = True

    def __init__(self, message: str, *, account: str = "", kind: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, account=account, status=429, kind=kind, retry_after=retry_after)


class ServerFault(PlatformError):
    """5xx: the platform failed; the request may have had its effect all the same."""

    retryable = True


class BadAnswer(PlatformError):
    """An answer that is not what the platform documents: HTML, truncated JSON, wrong types; also a refusal that is not
    the platform's own, by a proxy, a firewall or a log-in page in between (`status` says which)."""

    retryable = True


class CredentialsRefused(PlatformError):
    """401 or 403 in the platform's own words: the token is wrong, expired or lacks a permission.

    `token_works`: the platform has answered another request with the same token, so it is a permission that is missing,
    not the token that is wrong.
    """

    exit_code = 2

    def __init__(self, message: str, *, token_works: bool = False, **details: Unpack[Details]) -> None:
        super().__init__(message, **details)
        self.token_works = token_works


class Refused(PlatformError):
    """Another 4xx: the platform will not do this, and asking again the same way will not help."""


class Gone(PlatformError):
    """404: the platform does not know this object (any more).

    `maybe_denied`: it says itself that the object may be there and access to it be denied (Apify's
    `record-or-token-not-found`), so this proves nothing about the object.
    """

    def __init__(self, message: str, *, maybe_denied: bool = False, **details: Unpack[Details]) -> None:
        super().__init__(message, **details)
        self.maybe_denied = maybe_denied


_ADVICE = {
    errno.EACCES: "give this user the permission, or use another path",
    errno.EPERM: "give this user the permission, or use another path",
    errno.EROFS: "the file system is read-only; use another path",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room: the quota is used up",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ENOENT: "create it, or use another path",
}


def of_system(error: OSError) -> str:
    """What the operating system refused, in a sentence: where, why, what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    advice = _ADVICE.get(error.errno or 0)
    return f"{where}{reason}" + (f"; {advice}" if advice else "")
