"""The tokens of a running program: where each came from, and how it is read again there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import SecretStr

from watchdog.config.models import AccountSettings, Settings
from watchdog.config.secret_files import read_token
from watchdog.config.tokens import read_web_token
from watchdog.domain.notice import TokenRenewed
from watchdog.domain.ports import Observer
from watchdog.errors import ConfigurationError
from watchdog.net import Token
from watchdog.redaction import Redactor

#: Told of a new token.
Learn = Callable[[SecretStr], None]


def teach(redactor: Redactor, settings: Settings) -> None:
    """Tell it every secret that the settings hold: what must never leave."""
    for secret in settings.secrets:
        redactor.add(secret)
    redactor.add_address(settings.ledger)


class Tokens:
    """The tokens of the accounts (`of`, by name) and of the web server, and how they are renewed: an account's when its
    platform refuses it, and all of them at a reload. Those from a variable cannot change.

    `learned` is told of every token that takes the place of another, before it is used; `web_renewed` is called with
    the admin token of now at each reload.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        observer: Observer,
        learned: Learn,
    ) -> None:
        self.web_renewed: Learn = lambda secret: None
        self._settings = settings
        self._observer = observer
        self._learned = learned
        self.of = {account.name: self._token(account, environ) for account in settings.accounts}
        self._web = self._web_token(environ)

    async def renew(self) -> list[str]:
        """Read all of them again; a sentence for each that cannot be had."""
        notes = []
        for name, token in self.of.items():
            try:
                await token.renew(token.secret)
            except ConfigurationError as error:
                notes.append(f"account '{name}': the token is not renewed and the old one stays: {error}")
        if self._web is not None:
            try:
                await self._web.renew(self._web.secret)
                self.web_renewed(self._web.secret)
            except ConfigurationError as error:
                notes.append(f"web: the admin token is not renewed and the old one stays: {error}")
        return notes

    def _token(self, account: AccountSettings, environ: Mapping[str, str]) -> Token:
        path = account.token_place(environ)
        if path is None:
            return Token(account.token)
        return Token(account.token, lambda: self._read(account, path), self._tell(account.name, path))

    def _read(self, account: AccountSettings, path: Path) -> SecretStr:
        """The token in the file, unless it is that of another account: every run would count twice."""
        secret = read_token(path)
        where = (account.platform, account.base_url)
        for other in self._settings.accounts:
            same = (other.platform, other.base_url) == where and self.of[other.name].secret == secret
            if same and other.name != account.name:
                raise ConfigurationError(
                    f"{path} holds the token of account '{other.name}'; every run would count twice"
                )
        return secret

    def _web_token(self, environ: Mapping[str, str]) -> Token | None:
        web = self._settings.web
        path = web.token_place(environ)
        if web.token is None or path is None:
            return None
        return Token(web.token, lambda: read_web_token(path), self._tell("", path))

    def _tell(self, account: str, path: Path) -> Learn:
        def tell(secret: SecretStr) -> None:
            self._learned(secret)
            self._observer.notice(TokenRenewed(account, str(path)))

        return tell
