"""Tables that leave out the columns for which a terminal has no room, the least important first, and say which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2
"""How many spaces are between two columns."""


@dataclass(frozen=True)
class FittedColumn:
    """A column of a table.

    Attributes:
        heading: Its heading.
        cells: Its text in each row.
        rank: Its place among the columns by importance: those with the greater ranks are left out first.
        least: The narrowest that it can be; None if it is never narrower than its text.
        short: Shorter texts of the cells, for tables in which those of ``cells`` leave no room for all columns.
        wraps: Whether what does not fit goes on in the next line; if not, it is cut, and ends with an ellipsis.
    """

    heading: str
    cells: Sequence[str]
    rank: int
    least: int | None = None
    short: Sequence[str] | None = None
    wraps: bool = False

    @property
    def width(self) -> int:
        """The width of its longest text. A heading of several words goes on in the next line if it has no room."""
        return max(map(cell_len, [*self.heading.split(), *self.cells]))

    @property
    def narrowest(self) -> int:
        """The narrowest that it can be."""
        return self.width if self.least is None else min(self.least, self.width)


class FittedTable:
    """A table that is drawn for the width of its terminal.

    Args:
        columns: Its columns, in the order in which they are shown. The one with the least rank is always shown.
    """

    def __init__(self, columns: Sequence[FittedColumn]) -> None:
        self._columns = columns

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, room = list(self._columns), options.max_width
        if _needed(columns) > room:
            columns = [FittedColumn(c.heading, c.short or c.cells, c.rank, c.least, None, c.wraps) for c in columns]
        kept: list[FittedColumn] = []
        for column in sorted(columns, key=lambda one: one.rank):
            if not kept or _needed([*kept, column]) <= room:
                kept.append(column)
        widths = {column.heading: column.narrowest for column in kept}
        left = room - _needed(kept)
        for full in (False, True):  # headings in one line come after all texts
            for column in kept:
                wanted = max(column.width, cell_len(column.heading)) if full else column.width
                more = min(left, wanted - widths[column.heading])
                widths[column.heading] += more
                left -= more
        table = Table(box=None, pad_edge=False)
        shown = [column for column in columns if column in kept]
        for column in shown:
            overflow, width = "fold" if column.wraps else "ellipsis", widths[column.heading]
            table.add_column(column.heading, width=min(width, room), overflow=overflow)  # type: ignore[arg-type]
        for texts in zip(*(column.cells for column in shown), strict=True):
            cells = zip(texts, shown, strict=True)
            table.add_row(*(Text(text, no_wrap=not column.wraps) for text, column in cells))
        yield table
        missing = [column.heading for column in columns if column not in kept]
        if missing:
            yield Text(f"No room for: {', '.join(missing)}", style="dim")


def _needed(columns: Sequence[FittedColumn]) -> int:
    """Return the least width of a table of these columns."""
    return sum(column.narrowest for column in columns) + GAP * (len(columns) - 1)
