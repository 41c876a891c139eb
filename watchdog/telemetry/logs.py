"""The log: one pipeline for our own lines and those of the libraries, one line per event, no token in any.

structlog events and records of the standard library meet in one handler, where they get time and level, lose their
tokens and become text (for people) or JSON (for machines).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import traceback
from asyncio import CancelledError
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import structlog

from watchdog.redaction import Redactor
from watchdog.telemetry.log_observer import LogObserver
from watchdog.telemetry.outlet import Outlet, outlet_of_stderr
from watchdog.text import escaped

__all__ = ["LogFormat", "LogObserver", "Redactor", "configure_logging"]

LogFormat = Literal["auto", "text", "json"]
_Event = MutableMapping[str, Any]

#: They log every URL at INFO, and URLs may hold more than the log should.
_NEVER_BELOW_WARNING = ("httpx", "httpcore")
#: They tell of every start and every job; of interest only to those who look for a fault.
_CHATTY = ("uvicorn", "apscheduler", "asyncio", "alembic", "watchfiles")


def configure_logging(
    log_format: LogFormat = "auto",
    stream: TextIO | None = None,
    level: int | str = "info",
    redactor: Redactor | None = None,
) -> Redactor:
    """Send every log line of the process to `stream`, and return the redactor to give tokens to.

    The default is stderr, which then is written by a thread (`watchdog.telemetry.outlet`), as is what else is printed
    there: nobody waits for whoever should read it.
    `auto` is text on a terminal and JSON elsewhere; colours only on a terminal, and not if `NO_COLOR` is set.
    """
    outlet = outlet_of_stderr() if stream is None else None
    stream = sys.stderr if stream is None else stream
    redactor = Redactor() if redactor is None else redactor
    number = logging.getLevelNamesMapping()[level.upper()] if isinstance(level, str) else level
    handler = _Handler(stream, outlet)
    handler.setFormatter(_formatter(_renderer(log_format, stream), redactor, with_traceback=number <= logging.DEBUG))
    handler.addFilter(_is_no_job_broken_off)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    if outlet is not None:
        outlet.describe_loss = handler.describe_loss
    root.setLevel(number)
    _quieten(number)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    return redactor


def _is_no_job_broken_off(record: logging.LogRecord) -> bool:
    """Jobs that are broken off at the end are no errors, though the scheduler calls them so."""
    kind = record.exc_info[0] if record.exc_info else None
    return not (record.name.startswith("apscheduler") and kind is not None and issubclass(kind, CancelledError))


def _quieten(level: int) -> None:
    for name in _NEVER_BELOW_WARNING:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def _formatter(renderer: Any, redactor: Redactor, *, with_traceback: bool) -> structlog.stdlib.ProcessorFormatter:
    tell_error = _tell_error_with_traceback if with_traceback else _tell_error
    return structlog.stdlib.ProcessorFormatter(processors=[_stamp, tell_error, redactor, renderer])


def _renderer(log_format: LogFormat, stream: TextIO) -> Any:
    terminal = stream.isatty()
    if log_format == "json" or (log_format == "auto" and not terminal):
        return _as_json
    return _Text(colours=terminal and not os.environ.get("NO_COLOR"))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes lines, and stays silent where it cannot: the standard complaint would print the event unredacted."""

    def __init__(self, stream: TextIO, outlet: Outlet | None) -> None:
        super().__init__(stream)
        self._outlet = outlet

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + self.terminator
            encoding = getattr(self.stream, "encoding", None) or "utf-8"
            encoded = line.encode(encoding, "backslashreplace")
            if self._outlet is not None:
                # Whole lines, whatever the buffers of the stream would make of long ones.
                self._outlet.put(encoded)
                return
            self.stream.write(encoded.decode(encoding))
            self.flush()
        except Exception:  # noqa: BLE001  # a full disk or a closed pipe must not stop the daemon
            self.handleError(record)

    def describe_loss(self, lines: int) -> str:
        """The line that stands in the place of those that were lost."""
        event = {"event": "lines of the log are lost: nobody read them, or they could not be written", "lines": lines}
        of_structlog = {"msg": event, "_logger": None, "_name": "warning"}
        level = {"levelno": logging.WARNING, "levelname": "WARNING"}
        return self.format(logging.makeLogRecord({"name": "budget_watchdog", **level, **of_structlog}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the standard library's name
        """Nothing: there is no better place to say it."""


def _stamp(logger: object, method: str, event: _Event) -> _Event:
    record = event.pop("_record")
    event.pop("_from_structlog", None)
    at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head: dict[str, Any] = {"timestamp": at, "level": record.levelname.lower(), "event": event.pop("event", "")}
    return head | {"logger": record.name} | dict(event)


def _tell_error(logger: object, method: str, event: _Event) -> _Event:
    """An exception becomes its message."""
    error = _raised(event.pop("exc_info", None))
    event.pop("stack_info", None)
    if error is not None:
        event.setdefault("error", f"{type(error).__name__}: {error}")
    return event


def _tell_error_with_traceback(logger: object, method: str, event: _Event) -> _Event:
    error = _raised(event.get("exc_info"))
    event = _tell_error(logger, method, event)
    if error is not None:
        event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _raised(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _as_json(logger: object, method: str, event: _Event) -> str:
    return json.dumps(event, default=repr)


_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}
_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x1f]+")


class _Text:
    """`time level event key=value ...`; whatever could break a line or a terminal is escaped."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, logger: object, method: str, event: _Event) -> str:
        at, level, what = event.pop("timestamp"), event.pop("level"), event.pop("event", "")
        event.pop("logger", None)
        head = f"{self._coloured(at, '2')} {self._coloured(f'{level:<7}', _COLOURS.get(level, '1'))}"
        fields = (f"{self._coloured(_bare(key) + '=', '36')}{_quoted(value)}" for key, value in event.items())
        return " ".join((head, self._coloured(_bare(str(what)), "1"), *fields))

    def _coloured(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._colours else text


def _quoted(value: object) -> str:
    if isinstance(value, str) and not _PLAIN.fullmatch(value):
        return escaped(json.dumps(value, ensure_ascii=False))
    return escaped(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=repr))


def _bare(text: str) -> str:
    return escaped(json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"'))
