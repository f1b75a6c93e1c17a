"""Figures of the objective: over the swept fields, over training, and over the course of the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from service.report import drawing
from service.report.analysis import Analysis
from service.report.drawing import COLOURS, GREY, INK, NothingToDraw, axis_name, finish, literal, title_of
from service.report.plane import REASONS, PlaneCell, PlaneGrid
from service.report.progress import EndedTrial
from service.report.record import SweepRecord, label_of, short
from service.report.repeated_points import point_groups, spread_of
from service.report.robust_scale import RobustScale, scale_of

MOST_BARS = 24
"""The most trials that get a bar."""
NO_RESULT = "No trial has a result yet."


def results(analysis: Analysis) -> Figure:
    """Draw the objective over what was swept.

    That is a table over reflectors and margin if both were swept; a line if one field alone was, and its values are
    numbers; else one bar for each of the best trials. Repeats of a point are shown by their mean and spread.
    """
    record = analysis.record
    swept = {path for path in record.paths if path != "training.seed"}
    over_reflectors = bool(swept & {"model.reflectors", "model.reflectors_u", "model.reflectors_v"})
    if over_reflectors and "model.margin" in swept and analysis.grid is not None:
        return _table(record, analysis.grid)
    if not record.scored:
        raise NothingToDraw(NO_RESULT)
    if len(swept) == 1 and _is_numeric(record, next(iter(swept))):
        return _line(record, next(iter(swept)))
    return _bars(record)


def _table(record: SweepRecord, grid: PlaneGrid) -> Figure:
    rows, columns, scale = grid.reflectors, grid.margins, grid.scale
    figure = drawing.new_figure(max(5.6, 1.15 * len(columns) + 2.8), max(3.4, 0.78 * len(rows) + 1.9))
    axes = figure.add_subplot()
    values = [[float("nan") if c.best is None else scale.clip(c.best) for c in row] for row in grid.cells]
    norm = (LogNorm if scale.log else Normalize)(scale.low, scale.high)
    shades = drawing.colour_map(record.objective.direction)
    image = axes.pcolormesh(range(len(columns) + 1), range(len(rows) + 1), values, cmap=shades, norm=norm)
    axes.set_xticks([i + 0.5 for i in range(len(columns))], [f"{column:.3g}" for column in columns])
    axes.set_yticks([i + 0.5 for i in range(len(rows))], [str(u) if u == v else f"{u}, {v}" for u, v in rows])
    alike = all(u == v for u, v in rows)
    cells = [cell for row in grid.cells for cell in row]
    bests = [cell.best for cell in cells if cell.best is not None]
    top = (max(bests) if record.objective.direction == "maximize" else min(bests)) if bests else None
    for y, row in enumerate(grid.cells):
        for x, cell in enumerate(row):
            ink = INK if cell.best is None else drawing.ink_on(shades(float(norm(scale.clip(cell.best)))))
            _write_cell(axes, (x, y), cell, scale, ink, cell.best is not None and cell.best == top)
    repeated = any(cell.results > 1 for cell in cells)
    what = f"best {record.objective.metric}"
    below = "below the best: mean ± standard deviation (results)" if repeated else ""
    lost = sum(cell.failed for cell in cells)
    note = drawing.joined(below, f"{drawing.counted(lost, 'trial')} failed" if lost else "", scale.off)
    y_name = "reflectors (number, left = right)" if alike else "reflectors (number: left, right)"
    finish(axes, title_of(record, what), "margin r: singular values in sigma* ± r", y_name, note)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    ends = (scale.below > 0, scale.above > 0)
    if bests:
        name = axis_name(record, record.objective.metric)
        drawing.colour_bar(figure, image, axes, name, record.objective.direction, ends)
    return figure


def _write_cell(axes: Axes, at: tuple[int, int], cell: PlaneCell, scale: RobustScale, ink: str, best: bool) -> None:
    """Write what a cell shows in a colour that is readable on it, and frame the best one."""
    x, y = at
    middle: dict[str, Any] = {"ha": "center", "va": "center"}
    if cell.best is None:
        axes.add_patch(
            Rectangle((x, y), 1, 1, facecolor="none", edgecolor=GREY, linewidth=0.4, hatch="////", alpha=0.35)
        )
        axes.text(x + 0.5, y + 0.5, REASONS[cell.state], color=ink, fontsize=8, **middle)
        return
    arrow = " ▲" if cell.best > scale.high else " ▼" if cell.best < scale.low else ""
    weight = "bold" if best else "normal"
    lines = f"{short(cell.best)}{arrow}"
    below = ""
    if cell.results > 1 and cell.mean is not None:
        below = f"{short(cell.mean)}" + (f" ± {cell.sd:.2g}" if cell.sd is not None else "") + f" ({cell.results})"
    if cell.failed:
        below += f"{' ' if below else ''}{cell.failed} failed"
    axes.text(x + 0.5, y + (0.62 if below else 0.5), lines, color=ink, fontsize=10, fontweight=weight, **middle)
    axes.text(x + 0.5, y + 0.28, below, color=ink, fontsize=7, **middle)
    if best:
        axes.add_patch(Rectangle((x + 0.03, y + 0.04), 0.94, 0.92, fill=False, edgecolor=COLOURS[1], linewidth=2.2))


def _line(record: SweepRecord, path: str) -> Figure:
    figure = drawing.new_figure(7, 4.2)
    axes = figure.add_subplot()
    points = []
    for group in point_groups(record):
        values = [row.value for row in group if row.has_result]
        if values and path in group[0].params:
            points.append((float(group[0].params[path]), spread_of(values)))
    points.sort(key=lambda point: point[0])
    scale = scale_of(spread.mean for _, spread in points)
    xs, means = [x for x, _ in points], [spread.mean for _, spread in points]
    drawing.show_scale(axes, "y", scale)
    axes.plot(xs, [scale.clip(mean) for mean in means], "-", color=COLOURS[0], linewidth=1.2, alpha=0.6)
    inside = [(x, spread) for x, spread in points if scale.holds(spread.mean)]
    repeated = any(spread.size > 1 for _, spread in points)
    axes.errorbar(
        [x for x, _ in inside],
        [spread.mean for _, spread in inside],
        yerr=[spread.sd or 0.0 for _, spread in inside] if repeated else None,
        fmt="o",
        color=COLOURS[0],
        capsize=3,
        label="mean ± standard deviation of repeats" if repeated else "one trial each",
    )
    drawing.mark_off_scale(axes, zip(xs, means, strict=True), scale, COLOURS[1])
    dimension = record.spec.space.get(path) if record.spec else None
    if getattr(dimension, "log", False):
        axes.set_xscale("log")
    note = _notes(record, scale)
    finish(
        axes, title_of(record, record.objective.metric), literal(path), axis_name(record, record.objective.metric), note
    )
    drawing.legend(axes)
    return figure


def _bars(record: SweepRecord) -> Figure:
    shown = record.scored[:MOST_BARS]
    scale = scale_of(row.value for row in shown)
    figure = drawing.new_figure(8, max(2.6, 0.32 * len(shown) + 1.6))
    axes = figure.add_subplot()
    drawing.show_scale(axes, "x", scale)
    low = axes.get_xlim()[0]
    # points, not bars from 0: what matters are differences, and a logarithmic scale has no 0
    for place, row in enumerate(shown):
        value = scale.clip(row.value)
        axes.plot([low, value], [place, place], color=COLOURS[0], linewidth=1, alpha=0.4)
        axes.plot([value], [place], "o" if scale.holds(row.value) else ">", color=COLOURS[0], markersize=6)
    axes.set_yticks(range(len(shown)), [literal(label_of(row)) for row in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    what = f"best {record.objective.metric}"
    if len(record.scored) > len(shown):
        what += f" (first {len(shown)} of {len(record.scored)} trials)"
    finish(axes, title_of(record, what), axis_name(record, record.objective.metric), "trial", _notes(record, scale))
    return figure


def _notes(record: SweepRecord, scale: RobustScale) -> str:
    failed = sum(row.state == "failed" for row in record.rows)
    return drawing.joined(f"{drawing.counted(failed, 'trial')} failed" if failed else "", scale.off)


def _is_numeric(record: SweepRecord, path: str) -> bool:
    values = [row.params.get(path) for row in record.scored]
    return len({repr(v) for v in values}) > 1 and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in values
    )


def learning_curves(analysis: Analysis) -> Figure:
    """Draw the objective over the steps: the best trials in colour, and the quartiles of the others in grey."""
    record, curves = analysis.record, analysis.learning_curves
    if not curves.best and not curves.others:
        raise NothingToDraw("No trial has reported the objective yet.")
    figure = drawing.new_figure(8.4, 4.8)
    axes = figure.add_subplot()
    values = [value for curve in curves.best for _, value in curve.points]
    values += [value for band in curves.others for value in (band.lower, band.median, band.upper)]
    scale = scale_of(values)
    drawing.show_scale(axes, "y", scale)
    if curves.others:
        steps = [band.step for band in curves.others]
        lower, upper = [scale.clip(b.lower) for b in curves.others], [scale.clip(b.upper) for b in curves.others]
        axes.fill_between(steps, lower, upper, color=GREY, alpha=0.25, linewidth=0, label="others: middle half")
        middle = [scale.clip(band.median) for band in curves.others]
        axes.plot(steps, middle, color=GREY, linestyle="--", linewidth=1.3, label="others: median")
    styles = ("-", "-.", ":", "--", (0, (5, 1)), (0, (3, 1, 1, 1)))
    for place, curve in reversed(list(enumerate(curves.best))):
        row = record.row(curve.number)
        text = literal(label_of(row)) if row else f"#{curve.number}"
        marker = "o" if len(curve.points) == 1 else None
        axes.plot(
            *zip(*curve.points, strict=True), color=COLOURS[place], linestyle=styles[place], marker=marker, label=text
        )
        drawing.mark_off_scale(axes, curve.points, scale, COLOURS[place])
    note = drawing.joined(
        drawing.counted(curves.other_trials, "other trial") if curves.other_trials else "",
        f"{curves.left_out:,} more not drawn" if curves.left_out else "",
        scale.off,
        f"{curves.not_finite} values not finite" if curves.not_finite else "",
    )
    finish(
        axes,
        title_of(record, "learning curves"),
        "optimiser steps",
        axis_name(record, record.objective.metric),
        note,
    )
    handles, labels = axes.get_legend_handles_labels()
    bands = sum("others" in label for label in labels)
    order = [*range(len(handles) - 1, bands - 1, -1), *range(bands)]
    drawing.legend(
        axes,
        handles=[handles[i] for i in order],
        labels=[labels[i] for i in order],
        title="best trials, best first" if curves.best else None,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
    )
    return figure


def best_so_far(analysis: Analysis) -> Figure:
    """Draw each trial's objective and the best so far, over the trials that have ended and over device-hours."""
    record, found = analysis.record, analysis.best_so_far
    results = [point for point in found.points if point.objective is not None]
    if not results:
        raise NothingToDraw("No trial has ended with a result yet.")
    scale = scale_of(point.objective for point in results if point.objective is not None)
    figure = drawing.new_figure(9.6, 4.2)
    left, right = figure.subplots(1, 2, sharey=True)
    lost = found.ended - sum(point.objective is not None for point in found.points)
    _course(left, found.points, scale, [float(point.ended) for point in found.points])
    _course(right, found.points, scale, [point.device_hours for point in found.points])
    y_name = axis_name(record, record.objective.metric)
    shown = "" if len(found.points) == found.ended else f"{len(found.points):,} of {found.ended:,} trials drawn"
    note = drawing.joined(f"{lost} ended without a result" if lost and not shown else "", shown)
    finish(left, title_of(record, "best so far"), "trials that have ended (number)", y_name, note)
    used = f"{found.device_hours:.3g} {found.device}-hours in all"
    finish(right, "over device-hours", f"{found.device}-hours of the sweep (h)", "", drawing.joined(used, scale.off))
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    drawing.legend(left)
    return figure


def _course(axes: Axes, points: Sequence[EndedTrial], scale: RobustScale, xs: Sequence[float]) -> None:
    drawing.show_scale(axes, "y", scale)
    own = [(x, p.objective) for x, p in zip(xs, points, strict=True) if p.objective is not None]
    inside = [(x, y) for x, y in own if scale.holds(y)]
    axes.scatter([x for x, _ in inside], [y for _, y in inside], s=14, color=GREY, alpha=0.6, label="result of a trial")
    drawing.mark_off_scale(axes, own, scale, GREY)
    best = [(x, scale.clip(p.best)) for x, p in zip(xs, points, strict=True) if p.best is not None]
    axes.step(*zip(*best, strict=True), where="post", color=COLOURS[0], linewidth=2, label="best so far")
    if len(best) == 1:
        axes.plot(*best[0], "o", color=COLOURS[0])
    lost = [x for x, p in zip(xs, points, strict=True) if p.objective is None]
    if lost:
        transform = axes.get_xaxis_transform()
        axes.scatter(
            lost,
            [0.0] * len(lost),
            marker="x",
            s=16,
            color=COLOURS[1],
            transform=transform,
            label="no result",
            zorder=3,
        )
