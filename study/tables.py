"""Tables, bounds and numbers as they stand in docs/results.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NONE = "-"


@dataclass(frozen=True)
class ResultTable:
    """``caption``: a line above it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def markdown(self) -> str:
        lines = [f"| {' | '.join(self.headings)} |", "|" + "---|" * len(self.headings)]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in self.rows]
        return "\n".join(([self.caption, ""] if self.caption else []) + lines)


@dataclass(frozen=True)
class Bound:
    """A figure that the study is held to. ``met``: None where it was not measured, or nothing is asked of it."""

    what: str
    asked: str
    found: str
    met: bool | None = field(default=None)

    @property
    def verdict(self) -> str:
        return {True: "met", False: "**not met**", None: "not measured"}[self.met]


@dataclass(frozen=True)
class Published:
    """A figure of somebody else's. ``figure`` is "not found" where none was found."""

    what: str
    figure: str
    source: str


def bound_table(bounds: Iterable[Bound]) -> ResultTable:
    return ResultTable(("bound", "asked", "found", ""), [(b.what, b.asked, b.found, b.verdict) for b in bounds])


def published_table(figures: Iterable[Published]) -> ResultTable:
    return ResultTable(("published", "figure", "source"), [(p.what, p.figure, p.source) for p in figures])


def at_least(what: str, value: float | None, limit: float, *, percent: bool = False, also: bool = True) -> Bound:
    """A bound from below. also: what else has to hold."""
    return Bound(what, f">= {shown(limit, percent)}", shown(value, percent), _met(value, also, value, limit))


def at_most(what: str, value: float | None, limit: float, *, percent: bool = False, also: bool = True) -> Bound:
    """A bound from above. also: what else has to hold."""
    return Bound(what, f"<= {shown(limit, percent)}", shown(value, percent), _met(value, also, limit, value))


def _met(value: float | None, also: bool, larger: float | None, smaller: float | None) -> bool | None:
    if value is None or larger is None or smaller is None:
        return None
    return also and larger >= smaller


def shown(value: float | None, percent: bool = False, digits: int = 3) -> str:
    """``digits`` of them, all where more than three are asked for; or percent with two decimals."""
    if value is None:
        return NONE
    if percent:
        return f"{100 * value:.2f} %"
    if digits > 3:
        return f"{value:#.{digits}g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def spread(values: Sequence[float], percent: bool = False, digits: int = 3) -> str:
    """The mean, and from least to greatest where they are several."""
    if not values:
        return NONE
    mean = shown(sum(values) / len(values), percent, digits)
    if len(values) == 1:
        return mean
    low, high = shown(min(values), percent, digits), shown(max(values), percent, digits)
    return f"{mean} ({low.removesuffix(' %')} to {high})"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"
