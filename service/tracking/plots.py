"""Plots that compare all trials of a sweep: the objective over the swept parameters and over training. No display."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from service.tracking.sweep_results import SweepResults, TrialResult

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
GREY = "#9A9A9A"
MAP = "viridis"
MOST_CELLS = 24
"""The largest number of rows and of columns of a heatmap, and of bars."""
SHOWN = len(COLOURS)
"""The number of trials whose learning curves are drawn in colour."""
DPI = 150

GridValues = list[list[float | None]]


def results(found: SweepResults) -> bytes:
    """Draw the objective over the swept parameters and return a PNG file.

    The plot is a heatmap if both reflectors and margin are swept, with at most ``MOST_CELLS`` rows and columns; a line
    if one field alone is swept, and its values are numbers; else one bar for each of the ``MOST_CELLS`` best trials.

    Args:
        found: The sweep's results, with at least one trial that has an objective.
    """
    swept = set(found.spec.space)
    over_reflectors = bool(swept & {"model.reflectors", "model.reflectors_u", "model.reflectors_v"})
    grid = _grid(found) if over_reflectors and "model.margin" in swept else None
    if grid is not None:
        return _heatmap(found, *grid)
    return _line(found, next(iter(swept))) if len(swept) == 1 and _numeric(found) else _bars(found)


def learning_curves(found: SweepResults) -> bytes:
    """Draw the objective over the steps, and return a PNG file.

    The ``SHOWN`` best of the trials with a result are in colour, and all others are grey.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    drawn = [r for r in found.results if r.curve]
    best = [r for r in drawn if r.has_result][:SHOWN]
    for r in reversed(drawn):
        if r not in best:
            axes.plot(*zip(*r.curve, strict=True), color=GREY, linewidth=0.9, alpha=0.45)
    for colour, r in reversed(list(zip(COLOURS, best, strict=False))):
        axes.plot(*zip(*r.curve, strict=True), color=colour, linewidth=1.8, label=label(r))
    finish(axes, f"{found.sweep.name}: learning curves", "step", found.objective.metric)
    if best:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], title="best trials", fontsize=8, title_fontsize=8, frameon=False)
    return png(figure)


def _grid(found: SweepResults) -> tuple[list[tuple[int, int]], list[float], GridValues] | None:
    """Return the heatmap's rows (m1, m2), columns (margins) and cells (the best objective, or None without a trial).

    None is returned if no spectral trial has an objective, or if there are more than ``MOST_CELLS`` rows or columns.
    """
    best: dict[tuple[tuple[int, int], float], float] = {}
    for r, value in found.scored:
        if r.spec is not None and r.spec.model.spectral:
            place = (r.spec.model.reflector_counts, r.spec.model.band_margin)
            if place not in best or found.objective.better(value, best[place]):
                best[place] = value
    rows, columns = sorted({row for row, _ in best}), sorted({column for _, column in best})
    if not best or max(len(rows), len(columns)) > MOST_CELLS:
        return None
    return rows, columns, [[best.get((row, column)) for column in columns] for row in rows]


def _heatmap(found: SweepResults, rows: list[tuple[int, int]], columns: list[float], cells: GridValues) -> bytes:
    width, height = max(5.0, 1.15 * len(columns) + 2.6), max(3.2, 0.72 * len(rows) + 1.7)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    numbers = [[float("nan") if value is None else value for value in row] for row in cells]
    image = axes.imshow(numbers, cmap=MAP, aspect="auto", origin="lower")
    axes.set_xticks(range(len(columns)), [f"{column:.3g}" for column in columns])
    axes.set_yticks(range(len(rows)), [str(m1) if m1 == m2 else f"{m1}, {m2}" for m1, m2 in rows])
    axes.set_xlabel(r"margin $r$: singular values in $\sigma^* \pm r$")
    axes.set_ylabel("reflectors (m₁ = m₂)" if all(m1 == m2 for m1, m2 in rows) else "reflectors (m₁, m₂)")
    axes.set_title(f"{found.sweep.name}: best {found.objective.metric}", fontsize=11)
    _write_cells(axes, cells, found)
    figure.colorbar(image, ax=axes, label=found.objective.metric)
    for side in axes.spines.values():
        side.set_visible(False)
    return png(figure)


def _write_cells(axes: Axes, cells: GridValues, found: SweepResults) -> None:
    """Write each cell's value in a colour that is readable on it, and frame the best cell."""
    known = [value for row in cells for value in row if value is not None]
    low, span = min(known), (max(known) - min(known)) or 1.0
    top = max(known) if found.objective.direction == "maximize" else min(known)
    for y, row in enumerate(cells):
        for x, value in enumerate(row):
            if value is None:
                axes.text(x, y, "none", ha="center", va="center", color=GREY)
                continue
            best = value == top
            colour = "black" if (value - low) / span > 0.6 else "white"
            weight = "bold" if best else "normal"
            axes.text(x, y, _short(value), ha="center", va="center", color=colour, fontweight=weight, fontsize=10)
            if best:
                axes.add_patch(_frame(x, y))


def _frame(x: int, y: int) -> Rectangle:
    return Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, fill=False, edgecolor=COLOURS[1], linewidth=2.2)


def _line(found: SweepResults, path: str) -> bytes:
    points = sorted((float(r.trial.params[path]), value) for r, value in found.scored)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([x for x, _ in points], [y for _, y in points], "o-", color=COLOURS[0], linewidth=1.6, markersize=6)
    if getattr(found.spec.space[path], "log", False):
        axes.set_xscale("log")
    finish(axes, f"{found.sweep.name}: best {found.objective.metric}", path, found.objective.metric)
    return png(figure)


def _bars(found: SweepResults) -> bytes:
    shown = found.scored[:MOST_CELLS]
    figure = Figure(figsize=(8, max(2.4, 0.32 * len(shown) + 1.4)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh(places, [value for _, value in shown], color=COLOURS[0])
    axes.set_yticks(places, [label(r) for r, _ in shown], fontsize=8)
    axes.invert_yaxis()
    title = f"{found.sweep.name}: best {found.objective.metric}"
    if len(found.scored) > len(shown):
        title += f" (first {len(shown)} of {len(found.scored)})"
    finish(axes, title, found.objective.metric, "")
    return png(figure)


def _numeric(found: SweepResults) -> bool:
    values: Sequence[Any] = [value for r, _ in found.scored for value in r.trial.params.values()]
    return len(values) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def label(r: TrialResult) -> str:
    """Return a trial's number and swept parameters as a legend shows them: ``#3: margin 0.01, reflectors 8``."""
    params = ", ".join(f"{path.split('.')[-1]} {_short(value)}" for path, value in r.trial.params.items())
    return f"#{r.trial.number}: {params}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def finish(axes: Axes, title: str, x: str, y: str) -> None:
    """Add a title, the names of the axes and a faint grid."""
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()
