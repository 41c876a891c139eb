"""Text from elsewhere, made fit to be shown: one way for tables, messages and the log."""

from __future__ import annotations

#: Not letters, but what a text is set in.
LAYOUT = "\n\t"


def escaped(text: str, *, keep: str = "") -> str:
    """What could move a cursor, colour it, end a line, turn the direction of writing or not be seen at all is escaped
    as Python writes it (`\\x1b`, `\\u202e`, `\\u200b`), but for the characters to `keep`."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def shown(text: str, *, quote: str = "'", limit: int = 80) -> str:
    """A text from a file as it may stand in a message: on one line, control characters escaped, cut if long."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return quote + escaped(cut) + quote
