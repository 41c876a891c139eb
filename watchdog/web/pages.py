"""The pages: metrics, health, readiness, a start page that links them, and the door to the admin calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from watchdog.domain.arming import summary
from watchdog.redaction import Redactor
from watchdog.web.admin import BODY_S, AdminCalls, AdminDoor, Door, Outcome, answer
from watchdog.web.health import Health

#: Takes the Accept header, gives body and content type; not in one go, however long the page is.
RenderMetrics = Callable[[str], Awaitable[tuple[bytes, str]]]

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
}

_START_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>budget-watchdog</title>
<h1>budget-watchdog</h1>
<ul>
<li><a href="/metrics">metrics</a> for Prometheus</li>
<li><a href="/healthz">healthz</a>: is the process alive?</li>
<li><a href="/readyz">readyz</a>: is every account watched, and is the daemon armed?</li>
</ul>
</html>
"""


def create_app(
    health: Health,
    render_metrics: RenderMetrics,
    calls: AdminCalls,
    door: Door,
    redactor: Redactor | None = None,
    *,
    body_s: float = BODY_S,
) -> Starlette:
    """The ASGI application. Every page is for GET and HEAD only and changes nothing; what changes something are the
    admin calls, for POST only and for those whom `door` lets in. Answers pass `redactor`, but for the metrics, which
    keep secrets out of their labels themselves. `body_s`: seconds in which a body must be there."""
    secretive = redactor or Redactor()

    async def metrics(request: Request) -> Response:
        body, content_type = await render_metrics(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})

    async def healthz(request: Request) -> Response:
        if not health.alive():
            return PlainTextResponse("not working", 503)
        return PlainTextResponse(secretive.text(f"ok: {summary(health.arming())}"))

    async def readyz(request: Request) -> Response:
        return _readiness(health, secretive)

    async def start_page(request: Request) -> Response:
        return HTMLResponse(_START_PAGE)

    def posted(path: str) -> Route:
        async def call(request: Request) -> Response:
            outcome = await calls[path]()
            return answer(Outcome(outcome.ok, secretive.value(outcome.body)))

        return Route(path, call, methods=["POST"])

    pages = {"/": start_page, "/metrics": metrics, "/healthz": healthz, "/readyz": readyz}
    app = Starlette(
        routes=[*(Route(path, page) for path, page in pages.items()), *map(posted, calls)],
        middleware=[Middleware(SecurityHeaders), Middleware(AdminDoor, door, body_s)],
        exception_handlers={Exception: _internal_error},
    )
    # Starlette would send `/metrics/` elsewhere, to a host that the client's Host header names.
    app.router.redirect_slashes = False
    return app


def _readiness(health: Health, redactor: Redactor) -> Response:
    checks = [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in health.readiness()]
    ready = all(check["ok"] for check in checks)
    arming = health.arming()
    body = {
        "ready": ready,
        "armed": all(each.is_armed for each in arming.values()),
        "arming": summary(arming),
        "checks": checks,
    }
    return JSONResponse(redactor.value(body), status_code=200 if ready else 503)


async def _internal_error(request: Request, error: Exception) -> Response:
    """Without the error's text: the log has it."""
    return PlainTextResponse("internal error", 500, headers=SECURITY_HEADERS)


class SecurityHeaders:
    """ASGI middleware that adds the same headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
