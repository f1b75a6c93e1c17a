"""The tables, bounds and numbers of docs/results.md, and their text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NONE = "-"
"""The text of a number that is not there."""


@dataclass(frozen=True)
class ResultTable:
    """A table of text: headings, and rows of as many cells; ``caption`` is a line above it, or empty."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown, after its caption and an empty line if it has a caption."""
        lines = [f"| {' | '.join(self.headings)} |", "|" + "---|" * len(self.headings)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows]
        return "\n".join(([self.caption, ""] if self.caption else []) + lines)


@dataclass(frozen=True)
class Bound:
    """A bound that a result of the study should meet, and what was found.

    Attributes:
        what: What is measured.
        asked: The bound, as text such as ``>= 98.00 %``.
        found: The result, as text; ``-`` if it was not measured.
        met: Whether the result meets the bound; None if it was not measured.
    """

    what: str
    asked: str
    found: str
    met: bool | None = field(default=None)

    @property
    def verdict(self) -> str:
        """Whether the bound is met, in Markdown: ``met``, ``**not met**`` or ``not measured``."""
        return {True: "met", False: "**not met**", None: "not measured"}[self.met]


@dataclass(frozen=True)
class Published:
    """A published result to compare with.

    Attributes:
        what: The model and what was measured.
        figure: The result as text, or "not found".
        source: The publication.
    """

    what: str
    figure: str
    source: str


def bound_table(bounds: Iterable[Bound]) -> ResultTable:
    """Return a table with one row for each bound: what, asked, found and verdict."""
    return ResultTable(("bound", "asked", "found", ""), [(b.what, b.asked, b.found, b.verdict) for b in bounds])


def published_table(figures: Iterable[Published]) -> ResultTable:
    """Return a table with one row for each published result: what, figure and source."""
    return ResultTable(("published", "figure", "source"), [(p.what, p.figure, p.source) for p in figures])


def at_least(what: str, value: float | None, limit: float, *, percent: bool = False, also: bool = True) -> Bound:
    """Return the bound that ``value`` is at least ``limit``.

    Args:
        what: What is measured.
        value: The result; None if it was not measured.
        limit: The least value that meets the bound.
        percent: Show value and limit, which are shares, in percent.
        also: A further condition without which the bound is not met.
    """
    return Bound(
        what, f">= {format_number(limit, percent)}", format_number(value, percent), _met(value, also, value, limit)
    )


def at_most(what: str, value: float | None, limit: float, *, percent: bool = False, also: bool = True) -> Bound:
    """Return the bound that ``value`` is at most ``limit``, the greatest value that meets it.

    The other arguments are those of ``at_least``.
    """
    return Bound(
        what, f"<= {format_number(limit, percent)}", format_number(value, percent), _met(value, also, limit, value)
    )


def _met(value: float | None, also: bool, larger: float | None, smaller: float | None) -> bool | None:
    if value is None or larger is None or smaller is None:
        return None
    return also and larger >= smaller


def format_number(value: float | None, percent: bool = False, digits: int = 3) -> str:
    """Return a number as text, or ``-`` for None.

    Args:
        value: The number.
        percent: Show a share in percent with two decimals, whatever ``digits`` is.
        digits: Significant digits. With three or fewer the text has three without trailing zeros, and numbers from 1000
            on are shown whole.
    """
    if value is None:
        return NONE
    if percent:
        return f"{100 * value:.2f} %"
    if digits > 3:
        return f"{value:#.{digits}g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def format_mean(values: Sequence[float], percent: bool = False, digits: int = 3) -> str:
    """Return the mean of the values as text, then, if there are several, the least and the greatest; ``-`` for none.

    ``percent`` and ``digits`` are those of ``format_number``.
    """
    if not values:
        return NONE
    mean = format_number(sum(values) / len(values), percent, digits)
    if len(values) == 1:
        return mean
    low, high = format_number(min(values), percent, digits), format_number(max(values), percent, digits)
    return f"{mean} ({low.removesuffix(' %')} to {high})"


def format_minutes(seconds: float) -> str:
    """Return seconds as minutes, as text with one decimal and without a unit."""
    return f"{seconds / 60:.1f}"
