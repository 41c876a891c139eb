"""The token of one account, which may be replaced where it lies while we run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
        self.secret = secret
