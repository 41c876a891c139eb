"""lobstr's API after its public documentation and its official clients (lobstrio-sdk 0.7, lobstrio 0.7): every call
that they have is served, each kind of call in a module of its own."""

from __future__ import annotations

import math
from typing import Any, Final

from watchdog.simulated.account import Fate
from watchdog.simulated.faults import Layout
from watchdog.simulated.http import MAX_BODY_BYTES, Answer, Request, Target
from watchdog.simulated.lobstr import LobstrAccount
from watchdog.simulated.lobstr_calls import Calls, page_size, whole
from watchdog.simulated.lobstr_errors import Refusal, framework_error, reshape
from watchdog.simulated.lobstr_run_calls import EXPORTS, ResultCalls, RunCalls, signature
from watchdog.simulated.lobstr_squid_calls import DeliveryCalls, SquidCalls, TaskCalls
from watchdog.simulated.lobstr_user_calls import CatalogCalls, LoginCalls, UserCalls
from watchdog.simulated.rate import RateVerdict

_KINDS: Final[tuple[type[Calls], ...]] = (
    *(SquidCalls, RunCalls, ResultCalls, TaskCalls, UserCalls, CatalogCalls, LoginCalls, DeliveryCalls),
)
_SERVED_BY: Final = {
    endpoint: kind for kind in _KINDS for _, endpoints in kind.routes for endpoint in endpoints.values()
}

ROUTES: Final = tuple(route for kind in _KINDS for route in kind.routes)


class LobstrDialect:
    """How lobstr speaks."""

    name = "lobstr"
    routes = ROUTES
    layout = Layout(("data",), (), "credit_used", "started_at")

    def __init__(self) -> None:
        self._signed: dict[str, str] = {}

    def token(self, request: Request) -> str | None:
        """The token that came with the request, or that a signed address stands for."""
        if request.path.startswith(EXPORTS):
            return self._signed.get(request.query.get("signature", ""))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "token" and token else None

    def error(self, status: int, message: str | None = None) -> Answer:
        """An error of what lies before the API."""
        return framework_error(status, message)

    def unauthorized(self, token: str | None) -> Answer:
        """401, for an unknown token or none."""
        return self.error(401, "Authentication credentials were not provided." if token is None else None)

    def lost(self, target: Target) -> Answer:
        """404 for an unknown path, 405 for a wrong method."""
        if not target.allowed:
            return self.error(404)
        answer = self.error(405, "Method not allowed.")
        answer.headers["Allow"] = ", ".join(target.allowed)
        return answer

    def throttled(self, retry_after_s: int | None) -> Answer:
        """429, by a fault."""
        answer = self.error(429)
        if retry_after_s is not None:
            answer.headers["Retry-After"] = str(retry_after_s)
        return answer

    def dress(self, answer: Answer, account: LobstrAccount | None = None) -> Answer:
        """lobstr has no header that every answer carries; but the account decides on the shape of errors."""
        if account is not None:
            reshape(answer, account.error_shape)
        return answer

    def answer(self, account: LobstrAccount, target: Target, request: Request, now_s: float, fate: Fate) -> Answer:
        """Do what the request asks for, if the rate limit allows."""
        account.sync(now_s)
        if target.endpoint == "download":
            self._signed[signature(account)] = account.token
        verdict = account.take(request.path.split("/")[2], now_s)
        if verdict is not None and not verdict.allowed:
            answer = self.throttled(verdict.retry_after_s)
        elif request.body_bytes > MAX_BODY_BYTES:
            answer = self.error(413)
        else:
            answer = self._serve(account, target, request, now_s, fate)
        if verdict is not None:
            answer.headers.update(_rate_headers(verdict, account, now_s))
        return answer

    def preceding(self, account: LobstrAccount, request: Request, now_s: float) -> Any:
        """The item right before the page that was asked for; None on the first page."""
        page, limit = whole(request.query, "page", 1), page_size(request.query)
        if page <= 1:
            return None
        items = _items(account, request, now_s)
        position = (page - 1) * limit - 1
        return items[position] if position < len(items) else None

    def _serve(self, account: LobstrAccount, target: Target, request: Request, now_s: float, fate: Fate) -> Answer:
        try:
            return _SERVED_BY[target.endpoint or ""](account, request, now_s, fate).serve(
                target.endpoint or "", target.id
            )
        except Refusal as why:
            return why.answer()


def _items(account: LobstrAccount, request: Request, now_s: float) -> list[dict[str, Any]]:
    """All items of the list that a request asks for a page of."""
    if request.path == "/v1/squids":
        squids = SquidCalls(account, request, now_s, Fate.NORMAL)
        return [squids.write.squid(squid) for squid in squids.listed()]
    runs = RunCalls(account, request, now_s, Fate.NORMAL)
    return [runs.write.run_item(run) for run in reversed(account.squids[request.query["squid"]].runs)]


def _rate_headers(verdict: RateVerdict, account: LobstrAccount, now_s: float) -> dict[str, str]:
    reset_at = account.clock.at(now_s + verdict.reset_s).timestamp()
    return {
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(math.ceil(reset_at)),
    }
