"""The token of one account, which may be replaced where it lies while we run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from pydantic import SecretStr

#: Reads a token where it lies; raises ConfigurationError if it cannot be had there.
ReadToken = Callable[[], SecretStr]


class Token:
    """A token and how to read it again. `read`: None for one that cannot change (a variable of the environment).
    `learned` is told of every new one, before it is used."""

    def __init__(
        self, secret: SecretStr, read: ReadToken | None = None, learned: Callable[[SecretStr], None] | None = None
    ) -> None:
        self.secret = secret
        self._read = read
        self._learned = learned
        # Those of before stay secret: they may be good still, and texts may hold them.
        self._known = [secret]
        self._pattern = _pattern(self._known)
        self._turn = asyncio.Lock()

    async def renew(self, used: SecretStr) -> bool:
        """Read the token again, unless that has happened since `used` was taken; whether it is another one now.

        In a thread: no file system may hold up an abort. Raises ConfigurationError if it cannot be read; the one there
        was stays.
        """
        async with self._turn:
            if self._read is not None and self.secret == used:
                self._take(await asyncio.to_thread(self._read))
            return self.secret != used

    def _take(self, secret: SecretStr) -> None:
        if secret == self.secret:
            return
        if self._learned is not None:
            self._learned(secret)
        self._known.append(secret)
        self._pattern = _pattern(self._known)
        self.secret = secret

    def redact(self, text: str) -> str:
        """The text without this token and those of before, in any of their usual forms."""
        return self._pattern.sub("***", text) if self._pattern else text


def _pattern(secrets: list[SecretStr]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in _forms(secret.get_secret_value())} - {""}
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if forms else None


def _forms(token: str) -> tuple[str, ...]:
    return (token, quote(token, safe=""), quote_plus(token), repr(token)[1:-1], token.replace("\\", "\\\\"))
