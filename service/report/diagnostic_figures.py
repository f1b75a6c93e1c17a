"""Figures of one trial: gradient norms and singular values over training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from service.report import drawing
from service.report.diagnostics import TrialDiagnostics
from service.report.drawing import COLOURS, GREY, MAP, NothingToDraw, finish, title_of
from service.report.record import SweepRecord, label_of

SHOWN_DECADES = 12
"""Gradients that are smaller than the largest by more decades than this are drawn in grey, like 0."""

SMALLEST = 1e-290
"""Gradients that are smaller than this are as good as 0."""


def gradients(record: SweepRecord, found: TrialDiagnostics) -> Figure:
    """Draw the gradient norms |dL/dh_t| with a logarithmic colour: training across, time in the sequence upwards."""
    norms = found.gradient_norms
    largest = max((value for _, values in norms.norms for value in values), default=0.0) if norms else 0.0
    if norms is None or largest < SMALLEST:
        raise NothingToDraw(f"Trial {found.number} has reported no gradient norms that are not 0.")
    figure = drawing.new_figure(8, 4.6)
    axes = figure.add_subplot()
    axes.set_facecolor(GREY)
    floor = largest * 10.0**-SHOWN_DECADES
    positive = [max(value, floor) for _, values in norms.norms for value in values if value > 0]
    hidden = sum(value < floor for _, values in norms.norms for value in values)
    rows = list(zip(*(values for _, values in norms.norms), strict=True))
    cells = [[value if value >= floor else math.nan for value in row] for row in rows]
    scale = LogNorm(vmin=min(min(positive), largest / 10), vmax=largest)
    image = axes.pcolormesh(_columns(norms.norms), _edges(norms.times), cells, cmap=MAP, norm=scale)
    note = f"{hidden} values below {floor:.1g} are grey" if hidden else ""
    what = f"gradients, trial {_label(record, found)}"
    finish(axes, title_of(record, what), "optimiser steps", "time t in the sequence (steps)", note)
    axes.grid(visible=False)
    drawing.colour_bar(figure, image, axes, "gradient norm |∂L/∂h(t)|")
    return figure


def spectrum(record: SweepRecord, found: TrialDiagnostics) -> Figure:
    """Draw the singular values over training.

    Lines are the smallest and the largest one, shades the share of all that lies in each tenth of the band sigma* +- r.
    """
    values = found.singular_values
    if values is None:
        raise NothingToDraw(f"Trial {found.number} has reported no singular values.")
    figure = drawing.new_figure(8, 4.6)
    axes = figure.add_subplot()
    steps = [step for step, _, _ in values.ends]
    low, high = values.low, values.high
    if low is not None and high is not None and high > low:
        if values.shares:
            rows = list(zip(*(shares for _, shares in values.shares), strict=True))
            edges = [low + (high - low) * i / len(rows) for i in range(len(rows) + 1)]
            image = axes.pcolormesh(_columns(values.shares), edges, rows, cmap="Blues", vmin=0.0, vmax=1.0)
            drawing.colour_bar(figure, image, axes, "share of the singular values")
        axes.axhline(low, color=GREY, linestyle="--", linewidth=1.2, label="band sigma* ± r")
        axes.axhline(high, color=GREY, linestyle="--", linewidth=1.2)
        axes.set_ylim(low - (high - low) / 30, high + (high - low) / 30)
    for colour, marker, name, line in (
        (COLOURS[1], "^", "largest", [largest for _, _, largest in values.ends]),
        (COLOURS[2], "v", "smallest", [smallest for _, smallest, _ in values.ends]),
    ):
        axes.plot(steps, line, f"{marker}-", color=colour, linewidth=1.6, markersize=4, label=name)
    axes.ticklabel_format(axis="y", useOffset=False)
    what = f"singular values, trial {_label(record, found)}"
    finish(axes, title_of(record, what), "optimiser steps", "singular value of the transition")
    drawing.legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return figure


def _label(record: SweepRecord, found: TrialDiagnostics) -> str:
    row = record.row(found.number)
    # the title escapes all of its text
    return label_of(row, 50) if row else f"#{found.number}"


def _columns(snapshots: Sequence[tuple[int, list[float]]]) -> list[int]:
    """Return the edges of the columns: each report covers the steps since the one before."""
    return [0, *(step for step, _ in snapshots)]


def _edges(points: Sequence[float]) -> list[float]:
    """Return the edges of rows, half-way between their points."""
    if len(points) == 1:
        return [points[0], points[0] + 1]
    return [points[0], *((a + b) / 2 for a, b in pairwise(points)), points[-1]]
