"""Measured things run in processes of their own: what one leaves behind (garbage, threads, memory) is not another's.

A child ends when its pipe closes, so none outlives the benchmark, however that ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

#: Not fork: a child must not inherit the parent's heap, threads or event loop.
_CONTEXT = multiprocessing.get_context("spawn")
PATIENCE_S = 180.0
_END_S = 5.0


class ChildFailed(Exception):
    """A child raised, ended or did not answer; the text holds its traceback."""


class Child:
    """A process that runs `target(connection, *args)` and answers calls: `("ok", result)` or `("error", text)`."""

    def __init__(self, target: Callable[..., None], *args: Any) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=target, args=(theirs, *args), daemon=True)
        self._process.start()
        theirs.close()
        self._greeting: tuple[Any] | None = None

    @property
    def greeting(self) -> Any:
        """What it says first, once it is ready. Nobody waits for that before it is needed: children start together."""
        if self._greeting is None:
            self._greeting = (self._answer("start", PATIENCE_S),)
        return self._greeting[0]

    def call(self, method: str, *args: Any, patience_s: float = PATIENCE_S) -> Any:
        """Call a method of the child and wait for its result."""
        self.begin(method, *args)
        return self.finish(method, patience_s)

    def begin(self, method: str, *args: Any) -> None:
        """Call without waiting; `finish` gets the result."""
        _ = self.greeting
        self._pipe.send((method, args))

    def finish(self, method: str = "call", patience_s: float = PATIENCE_S) -> Any:
        """The result of what `begin` began."""
        return self._answer(method, patience_s)

    def _answer(self, what: str, patience_s: float) -> Any:
        try:
            if not self._pipe.poll(patience_s):
                raise ChildFailed(f"no answer to '{what}' within {patience_s:.0f} s")
            outcome, value = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise ChildFailed(f"the child ended during '{what}'") from None
        if outcome == "error":
            raise ChildFailed(f"'{what}' failed in the child:\n{value}")
        return value

    def close(self) -> None:
        """Let it end; it is made to if it does not."""
        self._pipe.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def hosted(factory: Callable[..., Any], *args: Any) -> Child:
    """A child that makes an object by `factory(*args)` and lets its methods be called. What goes wrong in the making is
    raised by the first call."""
    return Child(_host, factory, args)


def _host(pipe: Connection, factory: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        thing = factory(*args)
    except BaseException:  # noqa: BLE001  # the parent must hear of it, whatever it is
        pipe.send(("error", traceback.format_exc()))
        return
    pipe.send(("ok", None))
    try:
        with contextlib.suppress(EOFError, ConnectionError):
            while True:
                method, arguments = pipe.recv()
                pipe.send(_outcome(thing, method, arguments))
    finally:
        if hasattr(thing, "close"):
            thing.close()


def _outcome(thing: Any, method: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "ok", getattr(thing, method)(*arguments)
    except Exception:  # noqa: BLE001  # the parent raises it
        return "error", traceback.format_exc()
