"""lobstr's errors, in all the shapes that they come in.

The documentation has `{"detail"}` and `{"error": {"message", "type", "param"}}`; the official clients parse
`{"errors": {"message", "type", "code"}}` and `{"error": "..."}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from watchdog.simulated.http import Answer, json_answer

if TYPE_CHECKING:
    from watchdog.simulated.lobstr import ErrorShape

_DETAILS: Final[Mapping[int, tuple[str, str]]] = {
    400: ("Bad request.", "InvalidParam"),
    401: ("Invalid token.", "NotAuthenticated"),
    403: ("You do not have permission to perform this action.", "PermissionDenied"),
    404: ("Not found.", "HTTPNotFound"),
    405: ("Method not allowed.", "MethodNotAllowed"),
    413: ("Request entity too large.", "FileSizeLimitExceeded"),
    429: ("Request was throttled.", "RateLimitExceeded"),
}
_FAULT: Final = ("Internal server error.", "SomethingWentWrong")


class Refusal(Exception):
    """The API refuses a request: status, its own type, and a message."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message

    def answer(self) -> Answer:
        """In the envelope that the API itself uses."""
        return json_answer(self.status, _envelope(self.status, self.kind, self.message))


def not_found(what: str) -> Refusal:
    """404: there is none, or it is somebody else's; one cannot tell which."""
    return Refusal(404, "SquidDoesNotExist" if what == "Squid" else "HTTPNotFound", f"{what} not found")


def framework_error(status: int, message: str | None = None) -> Answer:
    """An error of what lies before the API: token, path, method, rate."""
    return json_answer(status, {"detail": message or _DETAILS.get(status, _FAULT)[0]})


def reshape(answer: Answer, shape: ErrorShape) -> None:
    """Write an error in another of the shapes; what is no error stays as it is."""
    if answer.status < 400 or shape == "real":
        return
    told = msgspec.json.decode(answer.body)
    errors = told.get("errors") or {}
    message = errors.get("message") or told["detail"]
    kind = errors.get("type") or _DETAILS.get(answer.status, _FAULT)[1]
    documents: Mapping[ErrorShape, Any] = {
        "errors": _envelope(answer.status, kind, message),
        "error": {"error": {"message": message, "type": kind, "param": None}},
        "text": {"error": message, "type": kind, "code": answer.status},
        "detail": {"detail": message},
    }
    answer.body = msgspec.json.encode(documents[shape])


def _envelope(status: int, kind: str, message: str) -> dict[str, Any]:
    return {"errors": {"message": message, "type": kind, "code": status}}
