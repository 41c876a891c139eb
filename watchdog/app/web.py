"""The web servers of the daemon, with what they show and what can be called on them."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp

from watchdog.app.health import DaemonHealth
from watchdog.config.models import Settings
from watchdog.config.renewal import Tokens
from watchdog.domain.notice import AdminCalled, Admission, Trigger
from watchdog.domain.ports import Clock, Observer
from watchdog.errors import StartupError
from watchdog.redaction import Redactor
from watchdog.runtime.reload import Reloaded
from watchdog.telemetry.metrics import Metrics
from watchdog.web import Door, Gate, OpenGate, Outcome, WebServer, bind, bind_unix, create_app


@dataclass(frozen=True, slots=True)
class Web:
    """What the servers are made of; `reload` does what the admin call asks for."""

    settings: Settings
    health: DaemonHealth
    metrics: Metrics
    observer: Observer
    clock: Clock
    redactor: Redactor
    reload: Callable[[Trigger], Awaitable[Reloaded]]

    def servers(self, tls: ssl.SSLContext | None, tokens: Tokens) -> list[WebServer]:
        """The server at `listen`, and the one on the Unix socket if there is to be one. Binds now, and lets the admin
        token be renewed. Raises StartupError."""
        settings = self.settings
        token = settings.web.token
        gate = Gate(
            None if token is None else token.get_secret_value().encode(), local=settings.is_local, told=self._called
        )
        tokens.web_renewed = lambda secret: gate.renew(secret.get_secret_value().encode())
        listener = bind(settings.listen_host, settings.listen_port)
        servers = [WebServer(self._pages(gate), listener, tls=tls)]
        if settings.web.socket is not None:
            try:
                inside = bind_unix(settings.web.socket)
            except StartupError:
                listener.close()
                raise
            servers.append(WebServer(self._pages(OpenGate(self._called)), inside))
        return servers

    def _pages(self, gate: Door) -> ASGIApp:
        return create_app(self.health, self.metrics.rendered, {"/-/reload": self._reload}, gate, self.redactor)

    def _called(self, admission: Admission, client: str, reason: str) -> None:
        self.observer.notice(AdminCalled(admission, client, reason, self.clock.now()))

    async def _reload(self) -> Outcome:
        reloaded = await self.reload(Trigger.HTTP)
        body: dict[str, object] = {"reloaded": reloaded.error is None, "rules": reloaded.rules}
        if reloaded.error is not None:
            body["problems"] = [str(problem) for problem in reloaded.error.problems]
        else:
            body |= reloaded.changes.as_lists()
        return Outcome(reloaded.error is None, body | {"warnings": list(reloaded.warnings)})
