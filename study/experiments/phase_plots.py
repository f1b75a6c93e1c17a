"""The two figures of the phase diagram: heatmaps of the successes of a task, and the successes over r T and r."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from study.experiments.hypotheses import ABLE, EDGE, able
from study.experiments.phase_points import SUCCESS, PhasePoint, group_by, share
from study.plots import COLOURS, GREY, MAP
from study.statistics import wilson

STARTS = ("identity", "gaussian", "cayley", "henaff")
NAMES = {"leaky_relu": "leaky ReLU", "modrelu": "modReLU", "relu": "ReLU"}
DARK = 0.6
"""The text in a cell whose share is above this is black, since the colour map is light there."""


def diagram(points: Sequence[PhasePoint]) -> Figure:
    """Draw the share of successes of one task's trials as a heatmap for each activation, length and start.

    Rows of panels are activations and lengths, columns are the starts of ``STARTS`` that occur. In a panel, r T grows
    to the right and (m1 + m2) / n upwards. Each cell shows how many trials succeeded, and of how many.
    """
    rows = list(group_by(points, lambda p: (p.activation, p.length)))
    starts = [start for start in STARTS if any(p.start == start for p in points)]
    products, fillings = sorted({p.r_t for p in points}), sorted({p.filling for p in points})
    figure = Figure(figsize=(2.75 * max(1, len(starts)) + 1.6, 2.25 * max(1, len(rows)) + 0.9), layout="constrained")
    if not rows:
        return figure
    grid = figure.subplots(len(rows), len(starts), squeeze=False, sharex=True, sharey=True)
    for (activation, length), line in zip(rows, grid, strict=True):
        for start, axes in zip(starts, line, strict=True):
            own = [p for p in points if (p.activation, p.length, p.start) == (activation, length, start)]
            _heatmap(axes, own, products, fillings)
            axes.set_title(f"{NAMES.get(activation, activation)}, T = {length}, {start}", fontsize=8.5)
    figure.suptitle(points[0].task)
    figure.supxlabel(r"margin times length, $r\,T$", fontsize=11)
    figure.supylabel(r"reflectors, $(m_1 + m_2)\,/\,n$", fontsize=11)
    scale = ScalarMappable(Normalize(0, 1), MAP)
    figure.colorbar(scale, ax=grid, label=f"share of trials that reach {SUCCESS:g} x baseline", aspect=40, shrink=0.8)
    return figure


def _heatmap(axes: Axes, points: Sequence[PhasePoint], products: Sequence[float], fillings: Sequence[float]) -> None:
    cells = group_by(points, lambda p: (p.filling, p.r_t))
    values = [[share(cells.get((filling, product), [])) for product in products] for filling in fillings]
    axes.set_facecolor("#E8E8E8")
    axes.imshow(values, cmap=MAP, vmin=0, vmax=1, origin="lower", aspect="auto")
    for y, filling in enumerate(fillings):
        for x, product in enumerate(products):
            own = cells.get((filling, product), [])
            if own:
                colour = "black" if share(own) > DARK else "white"
                text = f"{sum(p.success for p in own)}/{len(own)}"
                written = axes.text(x, y, text, ha="center", va="center", fontsize=7, color=colour)
                written.set_in_layout(False)  # it lies within the cell; measuring hundreds of them is slow
    axes.set_xticks(range(len(products)), [f"{product:g}" for product in products], fontsize=8)
    axes.set_yticks(range(len(fillings)), [f"{filling:g}" for filling in fillings], fontsize=8)
    for side in axes.spines.values():
        side.set_visible(False)


def edge(points: Sequence[PhasePoint]) -> Figure:
    """Draw the share of successes over r T and over r, with a line for each length and a row for each task.

    The bands are 95 % intervals. Only the points that ``able`` returns are drawn. If success depends on r T alone, the
    lines of all lengths coincide in the left panel, over r T, and not in the right one, over r.
    """
    tasks = group_by(points, lambda p: p.task)
    figure = Figure(figsize=(9.0, 3.3 * max(1, len(tasks))), layout="constrained")
    if not tasks:
        return figure
    grid = figure.subplots(len(tasks), 2, squeeze=False, sharey=True)
    for (task, own), line in zip(tasks.items(), grid, strict=True):
        kept = able(own)
        line[0].axvspan(*EDGE, color=GREY, alpha=0.18, linewidth=0)
        for axes, name, by_product in ((line[0], r"$r\,T$", True), (line[1], r"$r$", False)):
            for colour, (length, of_length) in zip(COLOURS, group_by(kept, lambda p: p.length).items(), strict=False):
                _line(axes, colour, length, of_length, by_product=by_product)
            axes.set_xscale("log")
            axes.set_ylim(-0.03, 1.03)
            axes.set_xlabel(name)
            axes.set_title(f"{task}: success over {name}", fontsize=10)
            axes.grid(alpha=0.25)
        line[0].set_ylabel("share of trials that train")
        if kept:
            line[0].legend(fontsize=8, frameon=False)
        else:
            line[0].annotate(f"no {ABLE}", (0.5, 0.5), xycoords="axes fraction", ha="center", fontsize=9)
    return figure


def _line(axes: Axes, colour: str, length: int, points: Sequence[PhasePoint], *, by_product: bool) -> None:
    cells = sorted(group_by(points, lambda p: p.r_t if by_product else p.margin).items())
    shares = [share(own) for _, own in cells]
    bands = [wilson(sum(p.success for p in own), len(own)) for _, own in cells]
    places = [place for place, _ in cells]
    if not places:
        return
    axes.plot(places, shares, "o-", color=colour, linewidth=1.6, markersize=4, label=f"T = {length}")
    axes.fill_between(
        places, [low for low, _ in bands], [high for _, high in bands], color=colour, alpha=0.15, linewidth=0
    )
