"""Keeps tokens out of whatever is printed: the last door that every line of the log passes."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import quote, quote_plus

MASK = "***"
#: What the pipeline writes itself; a token of one letter shall not make the log unreadable for machines.
_OURS = ("timestamp", "level")
#: Below this many bytes the base64 of a token inside something longer is too short to be told from any other text.
_LONG_ENOUGH = 6


class Secret(Protocol):
    """What pydantic's `SecretStr` offers."""

    def get_secret_value(self) -> str: ...


class Redactor:
    """Knows the tokens and puts `***` in their place, in any text or nested value; a structlog processor as well.

    Also known: a token's URL-quoted, base64, `repr` and JSON forms. Values that are no plain data become their `repr`.
    """

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, token: Secret | str) -> None:
        """Never let this token through from now on. An empty one is ignored."""
        text = token if isinstance(token, str) else token.get_secret_value()
        if not text:
            return
        self._forms.update(form for form in _forms(text) if form)
        # Longest first, so that a token that begins like a shorter one is not left with its tail showing.
        self._pattern = re.compile("|".join(map(re.escape, sorted(self._forms, key=len, reverse=True))))

    def text(self, text: str) -> str:
        """The text without tokens."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: object) -> Any:
        """The value without tokens, as plain data: texts, numbers, lists, dicts."""
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(each) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(each) for each in value]
        plain = repr(value)
        clean = self.text(plain)
        return value if clean == plain and isinstance(value, int | float | None) else clean

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The event as structlog hands it from processor to processor."""
        kept = {key: event.pop(key) for key in _OURS if key in event}
        clean: dict[str, Any] = self.value(event)
        return kept | clean


def _forms(token: str) -> Iterator[str]:
    yield token
    for quoted in (quote(token, safe=""), quote(token), quote_plus(token)):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    yield repr(token)[1:-1]
    yield json.dumps(token)[1:-1]
    yield json.dumps(token, ensure_ascii=False)[1:-1]
    yield from _base64_forms(token.encode("utf-8", "surrogatepass"))


def _base64_forms(raw: bytes) -> Iterator[str]:
    if len(raw) < _LONG_ENOUGH:
        encoded = [b64encode(raw).decode()]
    else:
        encoded = [_base64_inside(raw, shift) for shift in range(3)]
    for text in encoded:
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _base64_inside(raw: bytes, shift: int) -> str:
    """The characters that are the same whatever stands around `raw`, when `shift` bytes (mod 3) stand before it."""
    text = b64encode(b"\0" * shift + raw).decode().rstrip("=")
    whole = text if (shift + len(raw)) % 3 == 0 else text[:-1]
    return whole[(0, 2, 3)[shift] :]
