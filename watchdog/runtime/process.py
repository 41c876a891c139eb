"""What must be so before anything that takes time is imported: streams that never fail, signals that are heard.

Imported first of all, so it imports next to nothing.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from watchdog.runtime import collector

_STDOUT, _STDERR = 1, 2
#: What is written with these instead where a terminal has no such character; anything else as an escape.
_PLAIN = str.maketrans(
    {"\u2026": "...", "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
    | dict.fromkeys("\u2500\u2501\u2550", "-")
    | {"\u2588": "#", "\u2591": "."}
)
#: The error handler of that name.
PLAINLY = "budget_watchdog_plainly"
#: ASCII by another name: click writes UTF-8 to a terminal that says it is ASCII.
_PLAIN_ASCII = "budget_watchdog_ascii"


# ---- standard streams


class _Sturdy(io.FileIO):
    """A standard stream that takes everything: what cannot be written is dropped, and why is kept. An abort must not
    end halfway because a disk is full or nobody reads."""

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                return self._write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def _write(self, data: Any) -> int:
        """Also to a pipe that somebody has set not to wait for its reader."""
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class _Text(io.TextIOWrapper):
    """Whatever is printed passes `redact` first, in whichever of the streams."""

    redact: Callable[[str], str] = staticmethod(str)

    def write(self, text: str, /) -> int:
        super().write(_Text.redact(text))
        return len(text)


class Streams:
    """Standard output and error in place of Python's own. Where one is closed, what is written to it is lost, and no
    file that is opened later gets its number."""

    def __init__(self) -> None:
        for number in (0, _STDOUT, _STDERR):
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)
        self._out = _Sturdy(_STDOUT, "w", closefd=False)
        self._err = _Sturdy(_STDERR, "w", closefd=False)
        sys.stdout = _text(self._out, sys.stdout, line_buffering=self._out.isatty())
        sys.stderr = _text(self._err, sys.stderr, line_buffering=True)

    def redact_with(self, redact: Callable[[str], str]) -> None:
        """Print nothing from now on but what this leaves of it."""
        _Text.redact = staticmethod(redact)

    def flush(self) -> OSError | None:
        """Write what waits; why standard output could not be written, if it could not."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        return self._out.error


def _text(raw: _Sturdy, before: io.TextIOBase | object | None, *, line_buffering: bool) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    if codecs.lookup(encoding).name == "ascii":
        encoding = _PLAIN_ASCII
    return _Text(io.BufferedWriter(raw), encoding, PLAINLY, line_buffering=line_buffering)


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """What can be said plainly is; anything else becomes an escape such as `\\xe9`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = "".join(
        char if char.isascii() else char.encode("ascii", "backslashreplace").decode() for char in text.translate(_PLAIN)
    )
    return plain, error.end


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name != _PLAIN_ASCII:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode,
        ascii_codec.decode,
        incrementalencoder=ascii_codec.incrementalencoder,
        incrementaldecoder=ascii_codec.incrementaldecoder,
        streamreader=ascii_codec.streamreader,
        streamwriter=ascii_codec.streamwriter,
        name=_PLAIN_ASCII,
    )


codecs.register(_find_codec)
codecs.register_error(PLAINLY, _plainly)


# ---- signals


class Signals:
    """What people and service managers ask of the daemon: SIGTERM and SIGINT the end, SIGHUP a reload.

    Caught from the first moment on, though nothing is there yet to obey: an end then comes at once, as it would later
    (exit code 0), and a reload is kept until there is something to reload.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None
        self._stop_asked = False
        self._reload_asked = False

    def catch(self) -> None:
        """From now on none of them ends the process by itself."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._came)

    def obey(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        """From now on call these, between any two steps of the program; for what has come already, call them now."""
        self._stop, self._reload = stop, reload
        if self._stop_asked:
            stop()
        if self._reload_asked:
            reload()

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload_asked = True
            if self._reload is not None:
                self._reload()
            return
        self._stop_asked = True
        if self._stop is None:
            raise SystemExit(0)
        self._stop()


#: Those of this process.
SIGNALS = Signals()
_streams: list[Streams] = []


def prepare(verb: str) -> Streams:
    """Once for a process, as early as can be: streams, and for `run` signals and no collection of garbage."""
    if not _streams:
        if verb == "run":
            SIGNALS.catch()
            collector.wait()
        _streams.append(Streams())
    return _streams[0]


# ---- imports


@contextmanager
def without(*packages: str) -> Iterator[None]:
    """As if these were not installed, for what is imported meanwhile; those that are loaded already stay."""
    missing = [package for package in packages if package not in sys.modules]
    # None makes an import fail: https://docs.python.org/3/reference/import.html#the-module-cache
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # typeshed knows modules only
    try:
        yield
    finally:
        for package in missing:
            del sys.modules[package]
