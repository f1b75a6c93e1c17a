"""Tables, bounds and numbers in the form that docs/results.md shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NONE = "-"


@dataclass(frozen=True)
class ResultTable:
    """A table of text; ``caption`` is a line above it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [f"| {' | '.join(self.headings)} |", "|" + "---|" * len(self.headings)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows]
        return "\n".join(([self.caption, ""] if self.caption else []) + lines)


@dataclass(frozen=True)
class Bound:
    """A result that the study must reach.

    Attributes:
        what: What is measured.
        asked: The bound, in words.
        found: The result, in words.
        met: Whether the result meets the bound; None if it was not measured.
    """

    what: str
    asked: str
    found: str
    met: bool | None = field(default=None)

    @property
    def verdict(self) -> str:
        """Whether the bound is met, in words."""
        return {True: "met", False: "**not met**", None: "not measured"}[self.met]


@dataclass(frozen=True)
class Published:
    """A published result of others and its source; ``figure`` is "not found" if none was found."""

    what: str
    figure: str
    source: str


def bound_table(bounds: Iterable[Bound]) -> ResultTable:
    """Return the table of bounds."""
    return ResultTable(("bound", "asked", "found", ""), [(b.what, b.asked, b.found, b.verdict) for b in bounds])


def published_table(figures: Iterable[Published]) -> ResultTable:
    """Return the table of published results."""
    return ResultTable(("published", "figure", "source"), [(p.what, p.figure, p.source) for p in figures])


def at_least(what: str, value: float | None, limit: float, *, percent: bool = False, also: bool = True) -> Bound:
    """Return the bound ``value >= limit``, which is met only if ``also`` holds."""
    return Bound(
        what, f">= {format_number(limit, percent)}", format_number(value, percent), _met(value, also, value, limit)
    )


def at_most(what: str, value: float | None, limit: float, *, percent: bool = False, also: bool = True) -> Bound:
    """Return the bound ``value <= limit``, which is met only if ``also`` holds."""
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
        percent: Show a share in percent with two decimals.
        digits: Significant digits; trailing zeros are shown only with more than three.
    """
    if value is None:
        return NONE
    if percent:
        return f"{100 * value:.2f} %"
    if digits > 3:
        return f"{value:#.{digits}g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def format_mean(values: Sequence[float], percent: bool = False, digits: int = 3) -> str:
    """Return the mean of the values as text, followed by the least and the greatest if there are several."""
    if not values:
        return NONE
    mean = format_number(sum(values) / len(values), percent, digits)
    if len(values) == 1:
        return mean
    low, high = format_number(min(values), percent, digits), format_number(max(values), percent, digits)
    return f"{mean} ({low.removesuffix(' %')} to {high})"


def format_minutes(seconds: float) -> str:
    """Return seconds as minutes with one decimal."""
    return f"{seconds / 60:.1f}"
