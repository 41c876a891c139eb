"""One request to the simulated Apify: what it asks for, and how to refuse it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from watchdog.simulated.account import Fate
from watchdog.simulated.apify import ApifyAccount
from watchdog.simulated.apify_run import STATUSES
from watchdog.simulated.clock import iso_millis
from watchdog.simulated.http import Answer, Request, json_answer

MAX_PAGE: Final = 1000


class RefusedError(Exception):
    """The platform refuses, with this status; `kind` and message in its words where the usual ones are not meant."""

    def __init__(self, status: int, kind: str | None = None, message: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message


def bad_request(message: str, kind: str = "invalid-input") -> RefusedError:
    """The request makes no sense."""
    return RefusedError(400, kind, message)


@dataclass(frozen=True)
class Ask:
    """A request of a known account. Its methods refuse what cannot be read."""

    account: ApifyAccount
    request: Request
    now_s: float
    fate: Fate = Fate.NORMAL

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")

    def maybe_flag(self, name: str) -> bool | None:
        return self.flag(name) if name in self.query else None

    def number(self, name: str) -> float | None:
        """A figure of the query that is not negative; None if it is not there."""
        text = self.query.get(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError as why:
            raise bad_request(f"Invalid input: {name} must be a number.") from why
        if not 0 <= value < float("inf"):
            raise bad_request(f"Invalid input: {name} must not be negative.")
        return value

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        return None if value is None else int(value)

    def moment_s(self, name: str) -> float | None:
        """A date of the query, in seconds of platform time."""
        if not (text := self.query.get(name)):
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as why:
            raise bad_request(f"Invalid input: {name} must be an ISO 8601 date.") from why
        return self.account.clock.elapsed_at(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

    def statuses(self) -> frozenset[str]:
        """The statuses asked for, comma-joined; none means any."""
        wanted = frozenset(part.strip() for part in self.query.get("status", "").split(",") if part.strip())
        if unknown := wanted - STATUSES:
            raise bad_request(f"Invalid input: unknown status {', '.join(sorted(unknown))}.")
        return wanted

    def data(self) -> Any:
        """The body, which must be JSON."""
        if "json" not in self.request.headers.get("content-type", ""):
            raise bad_request("Invalid input: Content-Type must be application/json.")
        try:
            return msgspec.json.decode(self._plain_body())
        except (msgspec.DecodeError, OSError, zlib.error, EOFError) as why:
            raise bad_request("Invalid input: The request body is not valid JSON.") from why

    def fields(self, **kinds: type) -> dict[str, Any]:
        """These fields of the body, a JSON object, as far as they are given and not null; refused if of another
        kind. `float` takes whole numbers too."""
        body = self.data()
        if not isinstance(body, dict):
            raise bad_request("Invalid input: The request body must be an object.")
        given = {name: body[name] for name in kinds if body.get(name) is not None}
        for name, value in given.items():
            if not _is_a(value, kinds[name]):
                raise bad_request(f"Invalid input: {name} must be {_KINDS[kinds[name]]}.")
        return given

    def at(self, elapsed_s: float) -> str:
        return iso_millis(self.account.clock.at(elapsed_s))

    @property
    def now(self) -> str:
        return self.at(self.now_s)

    def window(self) -> tuple[int, int, bool]:
        """offset, limit and desc of a list."""
        limit = min(self.whole("limit") or MAX_PAGE, MAX_PAGE)
        return self.whole("offset") or 0, limit, self.flag("desc")

    def page(self, things: Iterable[Any], describe: Callable[[Any], Any]) -> Answer:
        """A page of things, which come oldest first."""
        offset, limit, desc = self.window()
        found = list(things)
        if desc:
            found.reverse()
        return paged(found, offset, limit, desc, [describe(thing) for thing in found[offset : offset + limit]])

    def _plain_body(self) -> bytes:
        body = self.request.body
        match self.request.headers.get("content-encoding", "identity"):
            case "identity":
                return body
            case "gzip":
                return gzip.decompress(body)
            case "deflate":
                return zlib.decompress(body)
        # The real one knows Brotli as well; the standard library does not.
        raise RefusedError(415)


_KINDS: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "a boolean",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "an array",
    object: "JSON",
}


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind in (bool, object)
    return isinstance(value, int | float if kind is float else kind)


def paged(found: Sequence[Any], offset: int, limit: int, desc: bool, items: Sequence[Any]) -> Answer:
    """The envelope of every list."""
    head = {"total": len(found), "offset": offset, "limit": limit, "count": len(items), "desc": desc}
    return json_answer(200, {"data": {**head, "items": items}})


def data_answer(document: Any, status: int = 200) -> Answer:
    """The envelope of everything else."""
    return json_answer(status, {"data": document})


def found(thing: Any) -> Any:
    """The thing; refused as not found if there is none."""
    if thing is None:
        raise RefusedError(404)
    return thing


def no_content() -> Answer:
    """The answer to what leaves nothing to say."""
    return Answer(204)
