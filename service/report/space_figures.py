"""Figures of the search space: importance, parallel coordinates, and the trade-off between several objectives."""

from __future__ import annotations

import textwrap
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from service.report import drawing
from service.report.analysis import Analysis
from service.report.drawing import COLOURS, GREY, INK, MAP, PAPER, NothingToDraw, axis_name, finish, literal, title_of
from service.report.pareto import ParetoFront
from service.report.record import SweepRecord
from service.report.robust_scale import scale_of

MOST_FIELDS = 20
"""The most fields of the figure of importance."""
HEAVY = 300
"""With more lines than this, lines are thin and pale."""


def importance(analysis: Analysis) -> Figure:
    """Draw how much each swept field matters for being among the best trials."""
    record, found = analysis.record, analysis.importance
    if not found.fields:
        raise NothingToDraw(" ".join(found.notes))
    shown = found.fields[:MOST_FIELDS]
    notes = [line for note in found.notes[:6] for line in textwrap.wrap(note, 110)]
    figure = drawing.new_figure(8, 0.36 * len(shown) + 1.9 + 0.17 * len(notes))
    axes = figure.add_subplot()
    axes.barh(range(len(shown)), [100 * one.share for one in shown], color=COLOURS[0], height=0.62)
    for place, one in enumerate(shown):
        part = f" ({one.trials} trials)" if one.trials < found.trials else ""
        axes.text(100 * one.share + 1, place, f"{100 * one.share:.0f} %{part}", va="center", fontsize=8, color=INK)
    axes.set_yticks(range(len(shown)), [literal(one.path) for one in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    note = f"PED-ANOVA: the best {found.best} of {found.trials} results against all"
    finish(axes, title_of(record, "importance of the swept fields"), "share of the importance (%)", "", note)
    if notes:
        figure.supxlabel(literal("\n".join(notes)), fontsize=7.5, color=INK, x=0.02, ha="left")
    return figure


def parallel_coordinates(analysis: Analysis) -> Figure:
    """Draw each trial as a line over the swept fields and the objective; the colour is the objective."""
    record, plot = analysis.record, analysis.parallel
    if not plot.lines:
        raise NothingToDraw("No trial has a result yet.")
    count = len(plot.axes)
    figure = drawing.new_figure(max(6.0, 1.5 * count + 1.4), 4.8)
    axes = figure.add_subplot()
    heavy = len(plot.lines) > HEAVY
    axes.set_xlim(-0.15, count - 1 + 0.35)
    axes.set_ylim(-0.04, 1.04)
    sign = 1 if record.objective.direction == "maximize" else -1
    merits = [(line.heights[-1] or 0.0) if sign > 0 else 1 - (line.heights[-1] or 0.0) for line in plot.lines]
    for solid in (False, True):
        segments, colours, widths = [], [], []
        for line, value in sorted(zip(plot.lines, merits, strict=True), key=lambda pair: pair[1]):
            known = [(place, height) for place, height in enumerate(line.heights) if height is not None]
            for a, b in pairwise(known):
                if (b[0] - a[0] == 1) == solid:  # a dashed line passes axes that the trial does not have
                    segments.append([a, b])
                    colours.append(MAP(value))
                    widths.append((0.7 if heavy else 0.9) + value)  # the best, which are pale, must not drown
        alpha = 0.35 if heavy else 0.8
        style = "solid" if solid else (0, (2, 3))
        lines = LineCollection(segments, colors=colours, linewidths=widths, alpha=alpha, linestyles=style)
        lines.set_rasterized(heavy)  # a picture takes less room than thousands of lines
        axes.add_collection(lines)
    lone = [(place, h) for line in plot.lines for place, h in enumerate(line.heights) if h is not None]
    if count == 1 or len(plot.lines) == 1:
        axes.scatter([x for x, _ in lone], [y for _, y in lone], s=18, color=COLOURS[0], zorder=3)
    best = plot.lines[0]
    known = [(place, h) for place, h in enumerate(best.heights) if h is not None]
    axes.plot(
        [x for x, _ in known], [y for _, y in known], color=COLOURS[1], linewidth=2, label=f"best trial, #{best.number}"
    )
    for place, axis in enumerate(plot.axes):
        axes.axvline(place, color=INK, linewidth=0.9)
        for height, text in axis.ticks:
            axes.text(
                place + 0.03,
                height,
                literal(text[:18]),
                fontsize=7,
                color=INK,
                va="center",
                bbox={"facecolor": PAPER, "alpha": 0.65, "edgecolor": "none", "pad": 0.4},
            )
    names = [literal(_axis_label(axis.name, axis.log)) for axis in plot.axes]
    axes.set_xticks(range(count), names, fontsize=8)
    axes.set_yticks([])
    off = plot.axes[-1].hidden
    note = drawing.joined(
        drawing.counted(len(plot.lines), "trial"),
        f"{plot.left_out:,} more not drawn" if plot.left_out else "",
        f"{drawing.counted(off, 'objective')} off the scale" if off else "",
        "dashed: past fields that a trial does not have" if any(None in line.heights for line in plot.lines) else "",
    )
    finish(axes, title_of(record, "parallel coordinates"), "", "", note)
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(False)
    bar = ScalarMappable(Normalize(0, 1), MAP)
    drawing.colour_bar(figure, bar, axes, f"{record.objective.metric} from the worst, 0, to the best, 1")
    drawing.legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.1))
    return figure


def _axis_label(name: str, log: bool) -> str:
    head, _, tail = name.rpartition(".")
    return (f"{head}.\n{tail}" if head else name) + (" (log)" if log else "")


def pareto(analysis: Analysis) -> Figure:
    """Draw the trials by their objectives with the Pareto front, and the hypervolume over the trials."""
    record, found = analysis.record, analysis.pareto
    if len(record.objectives) < 2:
        raise NothingToDraw("The sweep has one objective. further_objectives of its document adds others.")
    if found is None:
        raise NothingToDraw("No trial has a value of every objective yet.")
    figure = drawing.new_figure(10.4, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    _front(figure, left, record, found)
    ended, volumes = [n for n, _ in found.hypervolume], [volume for _, volume in found.hypervolume]
    right.step(ended, volumes, where="post", color=COLOURS[0], linewidth=2)
    if len(ended) == 1:
        right.plot(ended, volumes, "o", color=COLOURS[0])
    right.set_ylim(bottom=0)
    finish(right, "hypervolume", "trials that have ended (number)", "share of the box of all results")
    return figure


def _front(figure: Figure, axes: Axes, record: SweepRecord, found: ParetoFront) -> None:
    everyone = [*found.front, *found.others]
    x_scale, y_scale = (scale_of(trial.values[axis] for trial in everyone) for axis in (1, 0))
    drawing.show_scale(axes, "x", x_scale)
    drawing.show_scale(axes, "y", y_scale)

    def at(values: tuple[float, ...]) -> tuple[float, float]:
        return x_scale.clip(values[1]), y_scale.clip(values[0])

    others = [at(trial.values) for trial in found.others]
    if others:
        axes.scatter([x for x, _ in others], [y for _, y in others], s=16, color=GREY, alpha=0.6, label="other trials")
    front = sorted(at(trial.values) for trial in found.front)
    note = f"{len(found.front)} of {drawing.counted(len(everyone), 'trial')} on the front"
    if len(found.metrics) == 2:
        axes.plot(*zip(*front, strict=True), "o-", color=COLOURS[1], drawstyle=_steps(found), label="Pareto front")
    else:
        third = scale_of(trial.values[2] for trial in everyone)
        norm = (LogNorm if third.log else Normalize)(third.low, third.high)
        drawn = axes.scatter(
            [at(trial.values)[0] for trial in found.front],
            [at(trial.values)[1] for trial in found.front],
            c=[third.clip(trial.values[2]) for trial in found.front],
            cmap=drawing.colour_map(found.directions[2]),
            norm=norm,
            s=44,
            edgecolors=COLOURS[1],
            label="Pareto front",
        )
        name, ends = axis_name(record, found.metrics[2]), (third.below > 0, third.above > 0)
        drawing.colour_bar(figure, drawn, axes, name, found.directions[2], ends)
    off = x_scale.above + x_scale.below + y_scale.above + y_scale.below
    lack = f"{found.left_out} lack a value" if found.left_out else ""
    finish(
        axes,
        title_of(record, "Pareto front"),
        f"{axis_name(record, found.metrics[1])}, {drawing.better(found.directions[1])}",
        f"{axis_name(record, found.metrics[0])}, {drawing.better(found.directions[0])}",
        drawing.joined(note, f"{drawing.counted(off, 'value')} off the scale" if off else "", lack),
    )
    drawing.legend(axes)


def _steps(found: ParetoFront) -> str:
    """Return how points are joined, so that the line encloses what the front dominates."""
    return "steps-post" if found.directions[1] == "minimize" else "steps-pre"
