"""What the best trial of a sweep looked like inside: gradients over time and singular values, over training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from service.tracking.plots import COLOURS, GREY, MAP, finish, label, png
from service.tracking.sweep_results import SweepResults, TrialResult
from workers.spec.trial import TrialSpec

SHOWN_DECADES = 12
"""Gradients smaller than the largest by more are shown as if they were 0."""

Snapshots = list[tuple[int, list[float]]]
"""(step, values) of the reports that have them."""


def drawn(found: SweepResults) -> dict[str, bytes]:
    """PNGs by file name: those for which the best trial has anything to show."""
    best = found.best
    if best is None or best.spec is None:
        return {}
    plots = {"gradients.png": gradients(found, best, best.spec), "spectrum.png": spectrum(found, best, best.spec)}
    return {name: content for name, content in plots.items() if content is not None}


def gradients(found: SweepResults, best: TrialResult, spec: TrialSpec) -> bytes | None:
    """|dL/dh_t| as a heatmap: training steps across, time within the sequence upwards, a logarithmic colour."""
    looks = _looks(found, "grad_t/")
    largest = max((value for _, values in looks for value in values), default=0.0)
    if largest <= 0:
        return None
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor(GREY)
    floor = largest * 10.0**-SHOWN_DECADES
    least = min(max(value, floor) for _, values in looks for value in values if value > 0)
    rows = list(zip(*(values for _, values in looks), strict=True))
    cells = [[value if value >= floor else float("nan") for value in row] for row in rows]
    norm = LogNorm(vmin=min(least, largest / 10), vmax=largest)
    image = axes.pcolormesh(_columns(looks), _rows(len(rows), spec.depth), cells, cmap=MAP, norm=norm)
    finish(axes, f"{found.sweep.name}: gradients over time, trial {label(best)}", "training step", "time step t")
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label=r"$|\partial L / \partial h_t|$")
    return png(figure)


def spectrum(found: SweepResults, best: TrialResult, spec: TrialSpec) -> bytes | None:
    """Smallest and largest singular value over training within their band, and where in it the others lie."""
    ends = [(step, values["spectral/min"], values["spectral/max"]) for step, values in found.looks
            if "spectral/min" in values and "spectral/max" in values]  # fmt: skip
    if not ends:
        return None
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shares = _looks(found, "spectral_hist/")
    low, high = spec.model.band_centre - spec.model.band_margin, spec.model.band_centre + spec.model.band_margin
    if shares:
        rows = list(zip(*(values for _, values in shares), strict=True))
        edges = [low + (high - low) * i / len(rows) for i in range(len(rows) + 1)]
        image = axes.pcolormesh(_columns(shares), edges, rows, cmap="Blues", vmin=0.0, vmax=1.0)
        figure.colorbar(image, ax=axes, label="share of the singular values")
        for edge in (low, high):
            axes.axhline(edge, color=GREY, linestyle="--", linewidth=1.2)
        axes.set_ylim(low - (high - low) / 40, high + (high - low) / 40)
    steps = [step for step, _, _ in ends]
    for colour, name, values in (
        (COLOURS[1], "largest", [largest for _, _, largest in ends]),
        (COLOURS[2], "smallest", [smallest for _, smallest, _ in ends]),
    ):
        axes.plot(steps, values, "o-", color=colour, linewidth=1.6, markersize=3, label=name)
    axes.ticklabel_format(axis="y", useOffset=False)
    finish(axes, f"{found.sweep.name}: singular values, trial {label(best)}", "training step", r"$\sigma_i$")
    axes.legend(fontsize=8)
    return png(figure)


def _looks(found: SweepResults, prefix: str) -> Snapshots:
    """The values of the metrics that begin so, in the order of their names, of the reports that have all of them."""
    names = sorted({name for _, values in found.looks for name in values if name.startswith(prefix)})
    return [(step, [values[name] for name in names]) for step, values in found.looks
            if names and all(name in values for name in names)]  # fmt: skip


def _columns(looks: Snapshots) -> list[int]:
    """Edges: each look stands for the steps since the one before."""
    return [0, *(step for step, _ in looks)]


def _rows(count: int, steps: int) -> Sequence[float]:
    """Edges half-way between ``count`` points from 0 to ``steps``."""
    points = [i * steps / (count - 1) for i in range(count)]
    middles = [(a + b) / 2 for a, b in pairwise(points)]
    return [points[0], *middles, points[-1]]
