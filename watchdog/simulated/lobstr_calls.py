"""What all of lobstr's calls share: pages, bodies, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import msgspec

from watchdog.simulated.account import Fate
from watchdog.simulated.http import Answer, Request, Route, json_answer
from watchdog.simulated.lobstr import LobstrAccount
from watchdog.simulated.lobstr_documents import Documents
from watchdog.simulated.lobstr_errors import Refusal, framework_error, not_found
from watchdog.simulated.lobstr_run import LobstrRun
from watchdog.simulated.lobstr_squid import LobstrSquid

MAX_PAGE: Final = 100
_DEFAULT_PAGE: Final = 50


class Calls:
    """Serves one request of one account; each kind of call has a class of its own."""

    routes: ClassVar[tuple[Route, ...]] = ()

    def __init__(self, account: LobstrAccount, request: Request, now_s: float, fate: Fate) -> None:
        self.account = account
        self.request = request
        self.now_s = now_s
        self.fate = fate
        self.write = Documents(account, now_s)

    def serve(self, endpoint: str, given: str) -> Answer:
        """The answer; `given` is the id in the path. Refusal if there is none."""
        raise NotImplementedError

    def squid(self, squid_id: object) -> LobstrSquid:
        """The squid with this id. Refusal if none was said, or there is none."""
        if not isinstance(squid_id, str) or not squid_id:
            raise Refusal(400, "ParamsNeeded", "A required parameter squid is missing from the route.")
        if (squid := self.account.squids.get(squid_id)) is None:
            raise not_found("Squid")
        return squid

    def run(self, run_id: object) -> LobstrRun:
        """The run with this id. Refusal if none was said, or there is none."""
        if not isinstance(run_id, str) or not run_id:
            raise Refusal(400, "ParamsNeeded", "A required parameter run is missing from the route.")
        if (run := self.account.find(run_id)) is None:
            raise not_found("Run")
        return run

    def json(self) -> dict[str, Any]:
        """The body. Refusal if it is no object."""
        try:
            return msgspec.json.decode(self.request.body or b"{}", type=dict[str, Any])
        except msgspec.DecodeError as why:
            raise Refusal(400, "InvalidParam", f"JSON parse error - {why}") from why

    def page(self, things: Sequence[Any], describe: Callable[[Any], Any], size: str = "limit") -> Answer:
        """One page, as the query asks for it; `size` is what the query calls its length."""
        query = self.request.query
        page, limit = whole(query, "page", 1), page_size(query, size)
        total_pages = max(1, math.ceil(len(things) / limit))
        if not 1 <= page <= total_pages:
            return framework_error(404, "Invalid page.")
        first, cap = (page - 1) * limit, self.account.free_plan_cap
        shown = things[first : first + limit if cap is None else min(first + limit, cap)]
        envelope = {
            "total_results": len(things),
            "limit": limit,
            "page": page,
            "total_pages": total_pages,
            "result_from": first + 1 if shown else 0,
            "result_to": first + len(shown) if shown else 0,
            "data": [describe(thing) for thing in shown],
            "next": self.address(query={**query, "page": page + 1}) if page < total_pages else None,
            "previous": self.address(query={**query, "page": page - 1}) if page > 1 else None,
        }
        if cap is not None and len(things) > cap:
            envelope["warning"] = f"Export limit reached - only {cap} results returned. Upgrade to premium."
        return json_answer(200, envelope)

    def address(self, path: str | None = None, query: Mapping[str, Any] | None = None) -> str:
        """An address of this server; that of the request if no path is said."""
        host = self.request.headers.get("host", "api.lobstr.io")
        return f"http://{host}{path or self.request.path}{'?' + urlencode(query) if query else ''}"


def deleted(kind: str, thing_id: str) -> Answer:
    """What a DELETE is answered with."""
    return json_answer(200, {"id": thing_id, "object": kind, "deleted": True})


def page_size(query: Mapping[str, str], name: str = "limit") -> int:
    """How many items a page has."""
    return max(1, min(whole(query, name, _DEFAULT_PAGE), MAX_PAGE))


def whole(query: Mapping[str, str], name: str, default: int) -> int:
    """A whole number of the query. Refusal if it is none."""
    text = query.get(name)
    if not text:
        return default
    try:
        return int(text)
    except ValueError as why:
        raise Refusal(400, "InvalidParamType", f"{name} must be a whole number.") from why
