"""Tables for terminals of any width: a record takes one line where there is room, else two or three.

Names and notes are cut to the room there is, and the cut shows. Ids and figures are never cut: a line that is longer
than the terminal all the same is left for the terminal to wrap, so that an id can be copied whole.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from watchdog.text import escaped

#: Where the output is no terminal and COLUMNS says nothing.
PIPED_WIDTH = 200
#: A terminal narrower than this is written to as if it were that wide.
WIDTH_MIN = 40
_GAP = 2
_INDENT = 2
#: On one line with all the others, a name is not cut below so many cells: two lines are better.
_COMFORT = 24
#: Nothing is cut to fewer cells.
_LEAST = 4
#: A detail of which less is left says nothing.
_DETAIL_LEAST = 10
_MOST_LINES = 3


def counted(number: int, one: str, several: str = "") -> str:
    """`1 run`, `2 runs`."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def console() -> Console:
    """Standard output: as wide as COLUMNS says, else as the terminal is, else PIPED_WIDTH. Characters that its encoding
    lacks are escaped, since a table that cannot be shown must not fail the command that has done its work."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    return Console(width=max(_width(), WIDTH_MIN), highlight=False, markup=False, emoji=False, soft_wrap=False)


def _width() -> int:
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    columns = os.environ.get("COLUMNS", "")
    return (int(columns) if columns.isdecimal() else 0) or PIPED_WIDTH


class Cell(Protocol):
    """What stands in one column of one record: the fewest cells it can be shown in, those it would like, and itself in
    a given room. Where there is less room than `least`, it may be longer than the room. Texts are escaped: names
    and ids come from elsewhere."""

    @property
    def least(self) -> int: ...

    @property
    def natural(self) -> int: ...

    def fit(self, room: int) -> Text: ...


@dataclass(frozen=True, slots=True)
class _Plain:
    """One text in one style."""

    text: str
    style: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", escaped(self.text))

    @property
    def natural(self) -> int:
        return cell_len(self.text)


class Whole(_Plain):
    """A text that is never cut: an id, a figure, a time."""

    __slots__ = ()

    @property
    def least(self) -> int:
        return self.natural

    def fit(self, room: int) -> Text:
        return Text(self.text, self.style)


class Name(_Plain):
    """A text that may be cut: a name, a reason."""

    __slots__ = ()

    @property
    def least(self) -> int:
        return min(_LEAST, self.natural)

    def fit(self, room: int) -> Text:
        return Text(cut(self.text, room), self.style)


@dataclass(frozen=True, slots=True)
class Words:
    """A word that is never cut, and what there is to say about it where there is room."""

    head: str
    detail: str = ""
    style: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", escaped(self.head))
        object.__setattr__(self, "detail", escaped(self.detail))

    @property
    def least(self) -> int:
        return cell_len(self.head)

    @property
    def natural(self) -> int:
        return cell_len(self.head + self.detail)

    def fit(self, room: int) -> Text:
        whole = cut(self.head + self.detail, room)
        says_more = cell_len(whole) >= cell_len(self.head) + min(_DETAIL_LEAST, cell_len(self.detail))
        return Text(whole if says_more else self.head, self.style)


def cut(text: str, room: int) -> str:
    """As much of the text as there is room for, with a mark where it goes on; at a blank if one is near."""
    if cell_len(text) <= room:
        return text
    kept, used = 0, 1  # the mark takes a cell
    while kept < len(text) and used + cell_len(text[kept]) <= room:
        used += cell_len(text[kept])
        kept += 1
    head = text[:kept]
    blank = -1 if text[kept : kept + 1] == " " else head.rfind(" ")
    if blank >= len(head) / 2:
        head = head[:blank]
    return head.rstrip(" :,") + "…"


@dataclass(frozen=True, slots=True)
class Records:
    """A table to print: a title and a cell for each column of each record."""

    titles: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(options.max_width):
            if options.ascii_only:
                line.plain = line.plain.translate(_ASCII)
            line.no_wrap, line.overflow = True, "ignore"
            yield line

    def lines(self, width: int) -> Iterator[Text]:
        """The header and the records, in so many cells."""
        header = [Name(title, "bold") for title in self.titles]
        columns = [_Column.of([title, *cells]) for title, *cells in zip(header, *self.rows, strict=True)]
        layout = _layout(columns, width)
        for record in (header, *self.rows):
            for number, (first, widths) in enumerate(layout):
                yield _line(record[first : first + len(widths)], widths, _INDENT if number else 0)


#: Of the same width, so that nothing moves.
_ASCII = str.maketrans({"█": "#", "░": "-", "…": "~"})


@dataclass(frozen=True, slots=True)
class _Column:
    """How wide a column may be: at least, comfortably, and at most."""

    least: int
    comfort: int
    natural: int

    @staticmethod
    def of(cells: Sequence[Cell]) -> _Column:
        least, natural = max(cell.least for cell in cells), max(cell.natural for cell in cells)
        return _Column(least, max(least, min(natural, _COMFORT)), natural)


#: For each line of a record: its first column, and the widths of its columns.
_Layout = list[tuple[int, list[int]]]


def _layout(columns: Sequence[_Column], width: int) -> _Layout:
    """The columns on as few lines as they fit on; of the ways to do that, the one that cuts least."""
    if _room(width, 0, len(columns)) >= sum(column.comfort for column in columns):
        return [(0, _widths(columns, _room(width, 0, len(columns))))]
    layouts: list[_Layout] = []
    for count in range(2, min(_MOST_LINES, len(columns)) + 1):
        layouts = [_split(columns, (0, *breaks), width) for breaks in combinations(range(1, len(columns)), count - 1)]
        fitting = [layout for layout in layouts if _overflow(layout, width) == 0]
        if fitting:
            return min(fitting, key=lambda layout: (_lost(columns, layout), max(sum(widths) for _, widths in layout)))
    return min(layouts, key=lambda layout: _overflow(layout, width), default=[(0, [each.least for each in columns])])


def _split(columns: Sequence[_Column], breaks: Sequence[int], width: int) -> _Layout:
    ends = (*breaks[1:], len(columns))
    return [
        (first, _widths(columns[first:end], _room(width, _INDENT if first else 0, end - first)))
        for first, end in zip(breaks, ends, strict=True)
    ]


def _room(width: int, indent: int, count: int) -> int:
    """The cells that are left for the texts of so many columns."""
    return width - indent - _GAP * (count - 1)


def _overflow(layout: _Layout, width: int) -> int:
    """The cells that the lines are too long by."""
    return sum(max(0, sum(widths) - _room(width, _INDENT if first else 0, len(widths))) for first, widths in layout)


def _lost(columns: Sequence[_Column], layout: _Layout) -> int:
    """The cells that are cut, but for those of very long texts, which are cut in any case."""
    widths = [width for _, widths in layout for width in widths]
    wanted = [max(column.least, min(column.natural, 2 * _COMFORT)) for column in columns]
    return sum(max(0, wish - width) for wish, width in zip(wanted, widths, strict=True))


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """The room shared out: the widest columns give way first, none below its least."""
    widths = [min(column.natural, max(room, column.least)) for column in columns]
    while sum(widths) > room:
        able = [index for index, column in enumerate(columns) if widths[index] > column.least]
        if not able:
            break
        widths[max(able, key=lambda index: widths[index])] -= 1
    return widths


def _line(cells: Iterable[Cell], widths: Sequence[int], indent: int) -> Text:
    line, padding = Text(), " " * indent
    for cell, width in zip(cells, widths, strict=True):
        text = cell.fit(width)
        line.append(padding).append_text(text)
        padding = " " * (max(0, width - cell_len(text.plain)) + _GAP)
    line.rstrip()
    return line
