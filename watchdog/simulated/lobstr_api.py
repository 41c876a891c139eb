"""lobstr's API after its public documentation and its official clients: paths, answers, errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from watchdog.simulated.account import Fate
from watchdog.simulated.faults import Layout
from watchdog.simulated.http import MAX_BODY_BYTES, Answer, Request, Target, json_answer, route
from watchdog.simulated.lobstr import TERMINAL, LobstrAccount
from watchdog.simulated.lobstr_documents import Documents
from watchdog.simulated.lobstr_errors import Refusal, framework_error, not_found, reshape
from watchdog.simulated.rate import RateVerdict

ROUTES: Final = (
    route("/v1/squids", GET="squids"),
    route("/v1/squids/{id}", GET="squid", POST="update_squid"),
    route("/v1/runs", GET="list"),
    route("/v1/runs/{id}", GET="run"),
    route("/v1/runs/{id}/stats", GET="stats"),
    route("/v1/runs/{id}/credits", GET="credits"),
    route("/v1/runs/{id}/abort", POST="abort"),
    route("/v1/user/balance", GET="balance"),
)

MAX_PAGE: Final = 100
_DEFAULT_PAGE: Final = 50


class LobstrDialect:
    """How lobstr speaks."""

    name = "lobstr"
    routes = ROUTES
    layout = Layout(("data",), (), "credit_used", "started_at")

    def token(self, request: Request) -> str | None:
        """The token that came with the request."""
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
        page, limit = _whole(request.query, "page", 1), _limit(request.query)
        if page <= 1:
            return None
        desk = _Desk(self, account, request, now_s, Fate.NORMAL)
        items = desk.items()
        position = (page - 1) * limit - 1
        return items[position] if position < len(items) else None

    def _serve(self, account: LobstrAccount, target: Target, request: Request, now_s: float, fate: Fate) -> Answer:
        try:
            return _Desk(self, account, request, now_s, fate).serve(target)
        except Refusal as why:
            return why.answer()


class _Desk:
    """Serves one request of one account."""

    def __init__(
        self, dialect: LobstrDialect, account: LobstrAccount, request: Request, now_s: float, fate: Fate
    ) -> None:
        self._dialect = dialect
        self._account = account
        self._request = request
        self._now_s = now_s
        self._fate = fate
        self._write = Documents(account, now_s)

    def serve(self, target: Target) -> Answer:
        match target.endpoint:
            case "squids":
                return self._page(list(self._account.squids.values()), self._write.squid)
            case "squid":
                return self._found("Squid", self._account.squids.get(target.id), self._write.squid_detail)
            case "update_squid":
                return self._update_squid(target.id)
            case "list":
                return self._runs()
            case "run":
                return self._found("Run", self._account.find(target.id), self._write.run_detail)
            case "stats":
                return self._found("Run", self._account.find(target.id), self._write.stats)
            case "credits":
                return self._credits(target.id)
            case "abort":
                return self._abort(target.id)
            case "balance":
                return json_answer(200, self._write.balance())
        raise AssertionError(f"no such endpoint: {target.endpoint}")

    def items(self) -> list[dict[str, Any]]:
        """All items of the list that the request asks for a page of."""
        if self._request.path == "/v1/squids":
            return [self._write.squid(squid) for squid in self._account.squids.values()]
        squid = self._account.squids[self._request.query["squid"]]
        return [self._write.run_item(run) for run in reversed(squid.runs)]

    def _found(self, what: str, thing: Any, describe: Callable[[Any], dict[str, Any]]) -> Answer:
        if thing is None:
            raise not_found(what)
        return json_answer(200, describe(thing))

    def _runs(self) -> Answer:
        squid_id = self._request.query.get("squid")
        if not squid_id:
            raise Refusal(400, "ParamsNeeded", "A required parameter squid is missing from the route.")
        if (squid := self._account.squids.get(squid_id)) is None:
            raise not_found("Squid")
        return self._page(squid.runs[::-1], self._write.run_item)

    def _abort(self, run_id: str) -> Answer:
        run = self._account.find(run_id)
        if run is None:
            raise not_found("Run")
        if not self._account.abort(run, self._now_s, self._fate):
            if self._account.abort_of_finished == "missing":
                raise Refusal(404, "HTTPNotFound", "Run not found or already completed")
            return json_answer(200, self._write.run_item(run))
        match self._account.abort_answers:
            case "run":
                return json_answer(200, self._write.run_item(run))
            case "status":
                return json_answer(200, {"status": "aborted"})
            case "object":
                return json_answer(200, {})
            case "empty":
                return Answer(200)

    def _update_squid(self, squid_id: str) -> Answer:
        squid = self._account.squids.get(squid_id)
        if squid is None:
            raise not_found("Squid")
        wanted = self._json()
        if isinstance(name := wanted.get("name"), str):
            squid.name = name
        if isinstance(active := wanted.get("is_active"), bool):
            self._account.set_active(squid_id, active)
        return json_answer(200, self._write.squid_detail(squid))

    def _json(self) -> dict[str, Any]:
        try:
            return msgspec.json.decode(self._request.body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as why:
            raise Refusal(400, "InvalidParam", f"JSON parse error - {why}") from why

    def _page(self, things: Sequence[Any], describe: Callable[[Any], dict[str, Any]]) -> Answer:
        page, limit = _whole(self._request.query, "page", 1), _limit(self._request.query)
        total_pages = max(1, math.ceil(len(things) / limit))
        if not 1 <= page <= total_pages:
            return self._dialect.error(404, "Invalid page.")
        first, cap = (page - 1) * limit, self._account.free_plan_cap
        shown = things[first : first + limit if cap is None else min(first + limit, cap)]
        envelope = {
            "total_results": len(things),
            "limit": limit,
            "page": page,
            "total_pages": total_pages,
            "result_from": first + 1 if shown else 0,
            "result_to": first + len(shown) if shown else 0,
            "data": [describe(thing) for thing in shown],
            "next": self._page_url(page + 1) if page < total_pages else None,
            "previous": self._page_url(page - 1) if page > 1 else None,
        }
        if cap is not None and len(things) > cap:
            envelope["warning"] = f"Export limit reached - only {cap} results returned. Upgrade to premium."
        return json_answer(200, envelope)

    def _page_url(self, page: int) -> str:
        host = self._request.headers.get("host", "api.lobstr.io")
        return f"http://{host}{self._request.path}?{urlencode({**self._request.query, 'page': page})}"

    def _credits(self, run_id: str) -> Answer:
        run = self._account.find(run_id)
        if run is None:
            raise not_found("Run")
        if run.phase.status not in TERMINAL:
            raise Refusal(400, "InvalidParam", "Credits are available for completed runs only.")
        return json_answer(200, self._write.credits(run))


def _rate_headers(verdict: RateVerdict, account: LobstrAccount, now_s: float) -> dict[str, str]:
    reset_at = account.clock.at(now_s + verdict.reset_s).timestamp()
    return {
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(math.ceil(reset_at)),
    }


def _limit(query: Mapping[str, str]) -> int:
    return max(1, min(_whole(query, "limit", _DEFAULT_PAGE), MAX_PAGE))


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError as why:
        raise Refusal(400, "InvalidParamType", f"{name} must be a whole number.") from why
