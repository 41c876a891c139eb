"""Keeps secrets out of whatever is printed, served, written down or sent.

Two kinds of text are a secret: what we were given as one (tokens old and new, the admin token, user name and password
of a proxy or a database), in any of its usual forms; and what stands before an `@` in any address, whoever wrote it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import Any, Protocol
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
#: What the pipeline of the log writes itself; a token of one letter shall not make the log unreadable for machines.
_OURS = ("timestamp", "level")
#: Below this many bytes the base64 of a token inside something longer is too short to be told from any other text.
_LONG_ENOUGH = 6
#: A shorter secret may be a word of our own.
UNMISTAKABLE = 8
#: The variables with an address that may hold a password.
_ADDRESSES = ("BUDGET_WATCHDOG_LEDGER",)
#: User name and password in an address (RFC 3986, section 3.2): up to the last `@` of the part between `//` and `/`.
_USER_INFO = re.compile(r"(?<=://)[^\s/?#\"'<>\\]+(?=@)")


class Secret(Protocol):
    """What pydantic's `SecretStr` offers."""

    def get_secret_value(self) -> str: ...


class Redactor:
    """Knows the secrets and puts `***` in their place, in any text or nested value; a structlog processor as well.

    Also known: a secret's URL-quoted, base64, `repr` and JSON forms, in letters of any case. Values that are no plain
    data become their `repr`.
    """

    def __init__(self) -> None:
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._long_pattern: re.Pattern[str] | None = None

    def add(self, secret: Secret | str) -> None:
        """Never let this secret through from now on. An empty one is ignored."""
        text = secret if isinstance(secret, str) else secret.get_secret_value()
        if not text or text in self._secrets:
            return
        self._secrets.add(text)
        self._pattern = _pattern(self._secrets)
        self._long_pattern = _pattern({each for each in self._secrets if len(each) >= UNMISTAKABLE})

    def add_address(self, address: str) -> None:
        """Never let through the user name with the password, nor the password, of this address (of a proxy, a
        database), be it well formed or not."""
        user_info, at, _ = address.partition("://")[2].rpartition("@") if "://" in address else address.rpartition("@")
        if not at:
            return
        for pair in {user_info, unquote(user_info)}:
            self.add(pair)
            self.add(pair.partition(":")[2])

    def add_environment(self, environ: Mapping[str, str], tokens: Collection[str] = ()) -> None:
        """Learn what the usual variables hold, before any setting is read; `tokens` are the names of those that hold
        one."""
        for name, value in environ.items():
            if name in tokens:
                self.add(value)
            elif name.lower().endswith("_proxy") or name in _ADDRESSES:
                self.add_address(value)

    def text(self, text: str) -> str:
        """The text without secrets."""
        return _clean(text, self._pattern)

    def output(self, text: str) -> str:
        """The text without secrets of 8 characters or more, for what machines read as a whole: a shorter one may be a
        word of theirs."""
        return _clean(text, self._long_pattern)

    def value(self, value: object) -> Any:
        """The value without secrets, as plain data: texts, numbers, lists, dicts."""
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


def _clean(text: str, pattern: re.Pattern[str] | None) -> str:
    if pattern is not None:
        text = pattern.sub(MASK, text)
    return _USER_INFO.sub(MASK, text) if "://" in text else text


def _pattern(secrets: set[str]) -> re.Pattern[str] | None:
    forms = {form for secret in secrets for form in _forms(secret)} - {""}
    # Longest first, so that a token that begins like a shorter one is not left with its tail showing.
    longest_first = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE) if forms else None


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield from (quote(secret, safe=""), quote(secret), quote_plus(secret))
    yield repr(secret)[1:-1]
    yield secret.replace("\\", "\\\\")
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield from _base64_forms(secret.encode("utf-8", "surrogatepass"))


def _base64_forms(raw: bytes) -> Iterator[str]:
    encoded = [b64encode(raw).decode()]
    if len(raw) >= _LONG_ENOUGH:
        encoded += [_base64_inside(raw, shift) for shift in range(3)]
    for text in encoded:
        yield text
        yield text.replace("+", "-").replace("/", "_")


def _base64_inside(raw: bytes, shift: int) -> str:
    """The characters that are the same whatever stands around `raw`, when `shift` bytes (mod 3) stand before it."""
    text = b64encode(b"\0" * shift + raw).decode().rstrip("=")
    whole = text if (shift + len(raw)) % 3 == 0 else text[:-1]
    return whole[(0, 2, 3)[shift] :]
