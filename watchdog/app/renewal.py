"""What a reload looks at beside the rules."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator

from watchdog.config.models import Settings
from watchdog.config.renewal import Tokens
from watchdog.errors import ConfigurationError


class Renewal:
    """The tokens and the certificate (`tls`, once there is one) are renewed; the settings are not, which must be
    said."""

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        self.tls: ssl.SSLContext | None = None
        self._settings = settings
        self._tokens = tokens
        self._seen = ""

    async def renew(self) -> list[str]:
        """All that can be; a sentence for each thing that somebody should know."""
        notes = [*await self._tokens.renew(), *await asyncio.to_thread(self._stale_settings)]
        if self.tls is not None:
            try:
                self._settings.web.renew_tls(self.tls)
            except ConfigurationError as error:
                notes.append(f"the certificate is not renewed and the old one stays: {error}")
        return notes

    def _stale_settings(self) -> Iterator[str]:
        """Told once for each new content of the file."""
        digest = self._settings.file_digest()
        if digest and digest != self._seen:
            yield f"{self._settings.file} has changed, and the settings are only read at the start: restart to use it"
        self._seen = digest
