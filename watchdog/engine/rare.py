"""Fields that few of very many objects ever set, kept apart so that the others need no room for them."""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar, cast, overload

T = TypeVar("T")


class Holder(Protocol):
    """Has a place for the rare fields that were set; None: none was."""

    rare: dict[str, Any] | None


class Rare(Generic[T]):
    """A field of a `Holder`; it is `default` until it is set to something else. One that is not set takes no memory."""

    def __init__(self, default: T) -> None:
        self._default = default
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> Rare[T]: ...

    @overload
    def __get__(self, holder: Holder, owner: type) -> T: ...

    def __get__(self, holder: Holder | None, owner: type) -> T | Rare[T]:
        if holder is None:
            return self
        kept = holder.rare
        return self._default if kept is None else cast(T, kept.get(self._name, self._default))

    def __set__(self, holder: Holder, value: T) -> None:
        if holder.rare is not None:
            holder.rare[self._name] = value
        elif value != self._default:
            holder.rare = {self._name: value}
