"""The parts that the plots of the study share: colours, axes and files. They are drawn without a display."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from study.trials import Group, LearningCurve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito
GREY = "#9A9A9A"
MAP = "viridis"
DPI = 150


def coloured(groups: Iterable[Group]) -> list[tuple[str, Group]]:
    """Return each group with a colour, the spectral nets first; after seven groups the colours repeat."""
    ordered = sorted(groups, key=lambda group: not group.spectral)
    return list(zip(cycle(COLOURS), ordered, strict=False))


def panels(count: int, *, width: float = 5.6, height: float = 4.2) -> tuple[Figure, list[Axes]]:
    """Return a figure with ``count`` axes in a row, at least one; width and height of each are in inches."""
    figure = Figure(figsize=(width * max(1, count), height), layout="constrained")
    axes = figure.subplots(1, max(1, count), squeeze=False)
    return figure, list(axes[0])


def curves(axes: Axes, colour: str, label: str, found: Sequence[LearningCurve]) -> None:
    """Draw one line for each learning curve that is not empty, all in one colour.

    Args:
        axes: The axes to draw on.
        colour: The colour.
        label: The name in the legend, where it stands once for all lines.
        found: The learning curves, one for each trial.
    """
    for i, curve in enumerate(curve for curve in found if curve):
        steps, values = zip(*curve, strict=True)
        style = "o-" if len(curve) < 12 else "-"
        name = label if i == 0 else None
        axes.plot(steps, values, style, color=colour, linewidth=1.4, markersize=3, alpha=0.85, label=name)


def percent_of_errors(axes: Axes) -> None:
    """Make the y axis a logarithmic axis of errors in percent, labelled with whole numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(FixedLocator([1, 2, 3, 5, 10, 20, 30, 40, 50, 60, 70, 80, 100]))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def limit(axes: Axes, value: float, text: str) -> None:
    """Draw a dashed horizontal line at ``value``, with ``text`` at its left end."""
    axes.axhline(value, color=GREY, linestyle="--", linewidth=1.1)
    where: Any = {"xycoords": ("axes fraction", "data"), "xytext": (0, 2), "textcoords": "offset points"}
    axes.annotate(text, (0.01, value), fontsize=7, color="#555555", **where)


def finish(axes: Axes, title: str, x: str, y: str, *, columns: int = 1) -> None:
    """Add a title, the names ``x`` and ``y`` of the axes, a faint grid, and a legend below the axes.

    The legend has ``columns`` columns. There is none if nothing that was drawn has a label.
    """
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)


def png(figure: Figure) -> bytes:
    """Return the figure as the content of a PNG file."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
