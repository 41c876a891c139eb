"""lobstr's API after its public documentation: paths, answers, errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from watchdog.simulated.account import Fate
from watchdog.simulated.clock import iso_naive, iso_seconds
from watchdog.simulated.faults import Layout
from watchdog.simulated.http import MAX_BODY_BYTES, Answer, Request, Target, json_answer, route
from watchdog.simulated.lobstr import TERMINAL, LobstrAccount, LobstrRun, LobstrSquid
from watchdog.simulated.rate import RateVerdict

ROUTES: Final = (
    route("/v1/squids", GET="squids"),
    route("/v1/squids/{id}", GET="squid"),
    route("/v1/runs", GET="list"),
    route("/v1/runs/{id}", GET="run"),
    route("/v1/runs/{id}/stats", GET="stats"),
    route("/v1/runs/{id}/credits", GET="credits"),
    route("/v1/runs/{id}/abort", POST="abort"),
    route("/v1/user/balance", GET="balance"),
    route("/v1/me", GET="me"),
)

MAX_PAGE: Final = 100
_DEFAULT_PAGE: Final = 50

_ERRORS: Final[Mapping[int, str]] = {
    400: "Bad request.",
    401: "Invalid token.",
    403: "You do not have permission to perform this action.",
    404: "Not found.",
    413: "Request entity too large.",
    429: "Request was throttled.",
}


class BadRequestError(Exception):
    """The request makes no sense; the text says why."""


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
        """An error in lobstr's usual shape."""
        return json_answer(status, {"detail": message or _ERRORS.get(status, "Internal server error.")})

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
        """lobstr has no header that every answer carries."""
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
        except BadRequestError as why:
            return self.error(400, str(why))


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

    def serve(self, target: Target) -> Answer:
        match target.endpoint:
            case "squids":
                return self._page(list(self._account.squids.values()), self._squid)
            case "squid":
                return self._found(self._account.squids.get(target.id), self._squid_detail)
            case "list":
                return self._runs()
            case "run":
                return self._found(self._account.find(target.id), self._run_detail)
            case "stats":
                return self._found(self._account.find(target.id), self._stats)
            case "credits":
                return self._credits(target.id)
            case "abort":
                return self._abort(target.id)
            case "balance":
                return json_answer(200, self._balance())
            case "me":
                return json_answer(200, self._me())
        raise AssertionError(f"no such endpoint: {target.endpoint}")

    def items(self) -> list[dict[str, Any]]:
        """All items of the list that the request asks for a page of."""
        if self._request.path == "/v1/squids":
            return [self._squid(squid) for squid in self._account.squids.values()]
        squid = self._account.squids[self._request.query["squid"]]
        return [self._run_item(run) for run in reversed(squid.runs)]

    def _found(self, thing: Any, describe: Callable[[Any], dict[str, Any]]) -> Answer:
        return self._dialect.error(404) if thing is None else json_answer(200, describe(thing))

    def _runs(self) -> Answer:
        squid_id = self._request.query.get("squid")
        if not squid_id:
            raise BadRequestError("squid is required.")
        if (squid := self._account.squids.get(squid_id)) is None:
            return self._dialect.error(404, "Squid not found.")
        return self._page(squid.runs[::-1], self._run_item)

    def _abort(self, run_id: str) -> Answer:
        run = self._account.find(run_id)
        if run is None or not self._account.abort(run, self._now_s, self._fate):
            # The one error of this API with a shape of its own.
            kind, text = "not_found_error", "Run not found or already completed"
            return json_answer(404, {"error": {"message": text, "type": kind, "param": "run_hash"}})
        return json_answer(200, self._run_item(run))

    def _page(self, things: Sequence[Any], describe: Callable[[Any], dict[str, Any]]) -> Answer:
        page, limit = _whole(self._request.query, "page", 1), _limit(self._request.query)
        total_pages = max(1, math.ceil(len(things) / limit))
        if not 1 <= page <= total_pages:
            return self._dialect.error(404, "Invalid page.")
        first = (page - 1) * limit
        shown = things[first : first + limit]
        envelope = {
            "total_results": len(things),
            "limit": limit,
            "page": page,
            "total_pages": total_pages,
            "result_from": first + 1 if shown else 0,
            "result_to": first + len(shown),
            "data": [describe(thing) for thing in shown],
            "next": self._page_url(page + 1) if page < total_pages else None,
            "previous": self._page_url(page - 1) if page > 1 else None,
        }
        return json_answer(200, envelope)

    def _page_url(self, page: int) -> str:
        host = self._request.headers.get("host", "api.lobstr.io")
        return f"http://{host}{self._request.path}?{urlencode({**self._request.query, 'page': page})}"

    def _instant(self, elapsed_s: float | None, write: Callable[[Any], str]) -> str | None:
        return None if elapsed_s is None else write(self._account.clock.at(elapsed_s))

    def _squid(self, squid: LobstrSquid) -> dict[str, Any]:
        last = squid.runs[-1] if squid.runs else None
        started_s = last.collecting_started_s(self._now_s) if last else None
        return {
            "id": squid.id,
            "name": squid.name,
            "created_at": self._instant(squid.created_s, iso_seconds),
            "is_active": squid.is_active,
            "is_ready": True,
            "crawler": squid.crawler_id,
            "crawler_name": squid.crawler,
            "concurrency": 1,
            "params": {},
            "last_run_status": last.phase.status.upper() if last else None,
            "last_run_at": self._instant(started_s, iso_seconds),
            "total_runs": len(squid.runs),
            "schedule": None,
        }

    def _squid_detail(self, squid: LobstrSquid) -> dict[str, Any]:
        last = squid.runs[-1] if squid.runs else None
        return {
            **self._squid(squid),
            "object": "squid",
            "last_run": last.id if last else None,
            "last_run_is_done": self._is_done(last) if last else None,
            "last_run_done_reason": self._done_reason(last) if last else None,
        }

    def _is_done(self, run: LobstrRun) -> bool:
        status = run.phase.status
        return status in TERMINAL or (status == "uploading" and self._account.uploading_is_done)

    def _done_reason(self, run: LobstrRun) -> str | None:
        if run.collecting_ended_s(self._now_s) is None:
            return None
        return "aborted" if run.is_aborted else {"error": "error"}.get(run.phase.status, "no_more_tasks")

    def _run_item(self, run: LobstrRun) -> dict[str, Any]:
        """As in the run list and in the answer to an abort: `Z` instants, `duration` a number."""
        return self._run(run, iso_seconds, round(run.life.ran_s(self._now_s), 4))

    def _run_detail(self, run: LobstrRun) -> dict[str, Any]:
        """As in get-run: naive instants, `duration` a string."""
        return self._run(run, iso_naive, _span(run.life.ran_s(self._now_s)))

    def _run(self, run: LobstrRun, write: Callable[[Any], str], duration: float | str) -> dict[str, Any]:
        now_s = self._now_s
        results = run.results_at(now_s)
        status = run.phase.status
        return {
            "id": run.id,
            "object": "run",
            "squid": run.squid.id,
            "is_done": self._is_done(run),
            "started_at": self._instant(run.collecting_started_s(now_s), write),
            "total_results": results,
            "total_unique_results": results,
            "ended_at": self._instant(run.collecting_ended_s(now_s), write),
            "duration": None if run.duration_null else duration,
            "credit_used": round(run.usage_at(now_s).credits, 9),
            "origin": "user",
            "status": status,
            "export_done": True if status in ("done", "aborted") else None,
            "created_at": self._instant(run.life.start_s, write),
            "done_reason": self._done_reason(run),
            "done_reason_desc": None,
        }

    def _stats(self, run: LobstrRun) -> dict[str, Any]:
        now_s = self._now_s
        done, total = run.results_at(now_s), run.results_total
        ended = run.collecting_ended_s(now_s) is not None
        tasks_done = self._tasks_done(run, done)
        return {
            "id": run.id,
            "object": "run-stats",
            "duration": None if run.duration_null else _span(run.life.ran_s(now_s)),
            "started_at": self._instant(run.collecting_started_s(now_s), iso_naive),
            "ended_at": self._instant(run.collecting_ended_s(now_s), iso_naive),
            "is_done": self._is_done(run),
            # Documented trap: a run that was aborted half-way says 100 % too.
            "percent_done": "100%" if ended else f"{_percent(done, total)}%",
            "eta": _eta(run, done, ended),
            "total_tasks": run.total_tasks,
            "total_tasks_done": tasks_done,
            "total_tasks_left": run.total_tasks - tasks_done,
            "total_results": done,
            "results_total": total,
            "results_done": done,
            "current_task": f"task {tasks_done + 1}" if run.phase.running else None,
            "updated_at": self._instant(now_s, iso_naive),
        }

    def _tasks_done(self, run: LobstrRun, results: int) -> int:
        if run.results_total:
            return run.total_tasks * results // run.results_total
        finished = run.collecting_ended_s(self._now_s) is not None and not run.is_aborted
        return run.total_tasks if finished else 0

    def _credits(self, run_id: str) -> Answer:
        run = self._account.find(run_id)
        if run is None:
            return self._dialect.error(404)
        if run.phase.status not in TERMINAL:
            raise BadRequestError("Credits are available for completed runs only.")
        used, rows = run.usage_at(self._now_s).credits, run.results_at(self._now_s)
        function = {
            "name": "default",
            "credits_used": used,
            "rows": rows,
            "credits_per_row": used / rows if rows else 0,
        }
        return json_answer(200, {"id": run.id, "object": "run-credits", "credit_used": used, "functions": [function]})

    def _me(self) -> dict[str, Any]:
        """After the official SDK (lobstrio-sdk 0.7, models/user.py): there is no id."""
        return {
            "first_name": "Jane",
            "last_name": "Doe",
            "email": f"user{self._account.index}@example.com",
            "is_staff": False,
            "plan": [{"name": "Pro", "status": "active"}],
        }

    def _balance(self) -> dict[str, Any]:
        now = self._account.clock.at(self._now_s)
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        spent = sum(run.usage_at(self._now_s).credits for run in self._account.runs)
        return {
            "available": self._account.credits_available,
            "consumed": self._account.credits_consumed_before + spent,
            "interval": "day",
            "reset_time": iso_seconds(midnight),
            "slots": self._account.slots,
        }


def _span(seconds: float) -> str:
    """`0:00:50.183300`, `1 day, 2:03:04`: as lobstr writes durations in get-run and stats."""
    return str(timedelta(seconds=round(seconds, 6)))


def _percent(done: int, total: int | None) -> int:
    return done * 100 // total if total else 0


def _eta(run: LobstrRun, done: int, ended: bool) -> str:
    if ended:
        return _span(0)
    if run.results_total is None or not run.phase.running or not done:
        return "∞"
    return _span((run.results_total - done) / run.results_per_s)


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
        raise BadRequestError(f"{name} must be a whole number.") from why
