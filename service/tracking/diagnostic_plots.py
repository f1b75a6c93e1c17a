"""Plots of one trial, the sweep's best, from its reports: gradient norms and singular values over training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from service.tracking.plots import COLOURS, GREY, MAP, finish, label, png
from service.tracking.sweep_results import SweepResults, TrialResult
from workers.spec.trial import TrialSpec

SHOWN_DECADES = 12
"""Gradients that are smaller than the largest by more decades than this are drawn in grey, like 0."""

Snapshots = list[tuple[int, list[float]]]
"""The (step, values) of each report that has all metrics of one prefix, such as ``grad_t/``."""


def drawn(found: SweepResults) -> dict[str, bytes]:
    """Draw the plots for which the best trial reported metrics, and return PNG files by name.

    The result is empty if no trial has succeeded with an objective.
    """
    best = found.best
    if best is None or best.spec is None:
        return {}
    plots = {"gradients.png": gradients(found, best, best.spec), "spectrum.png": spectrum(found, best, best.spec)}
    return {name: content for name, content in plots.items() if content is not None}


def gradients(found: SweepResults, best: TrialResult, spec: TrialSpec) -> bytes | None:
    """Draw the gradient norms |dL/dh_t| as a heatmap with a logarithmic colour, and return a PNG file.

    Training steps run across and the time within the sequence runs upwards. None if no gradient was reported, or
    if all are 0.
    """
    snapshots = _snapshots(found, "grad_t/")
    largest = max((value for _, values in snapshots for value in values), default=0.0)
    if largest <= 0:
        return None
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor(GREY)
    floor = largest * 10.0**-SHOWN_DECADES
    least = min(max(value, floor) for _, values in snapshots for value in values if value > 0)
    rows = list(zip(*(values for _, values in snapshots), strict=True))
    cells = [[value if value >= floor else float("nan") for value in row] for row in rows]
    norm = LogNorm(vmin=min(least, largest / 10), vmax=largest)
    image = axes.pcolormesh(_columns(snapshots), _rows(len(rows), spec.depth), cells, cmap=MAP, norm=norm)
    finish(axes, f"{found.sweep.name}: gradients over time, trial {label(best)}", "training step", "time step t")
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label=r"$|\partial L / \partial h_t|$")
    return png(figure)


def spectrum(found: SweepResults, best: TrialResult, spec: TrialSpec) -> bytes | None:
    """Draw the singular values over training, within the band sigma* +- r, and return a PNG file.

    Lines show the smallest and the largest value; shades show the share of all values in each part of the band, if
    shares were reported. None if no smallest and largest value was reported.
    """
    ends = [
        (step, values["spectral/min"], values["spectral/max"])
        for step, values in found.best_reports
        if "spectral/min" in values and "spectral/max" in values
    ]
    if not ends:
        return None
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.add_subplot()
    shares = _snapshots(found, "spectral_hist/")
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


def _snapshots(found: SweepResults, prefix: str) -> Snapshots:
    """Return the values of the best trial's metrics that start with ``prefix``, at each report that has them all.

    The values are in order of the metrics' names.
    """
    names = sorted({name for _, values in found.best_reports for name in values if name.startswith(prefix)})
    return [
        (step, [values[name] for name in names])
        for step, values in found.best_reports
        if names and all(name in values for name in names)
    ]


def _columns(snapshots: Snapshots) -> list[int]:
    """Return the edges of the heatmap's columns: each report covers the steps since the one before."""
    return [0, *(step for step, _ in snapshots)]


def _rows(count: int, steps: int) -> Sequence[float]:
    """Return the edges of the heatmap's rows, half-way between ``count`` points, at least 2, from 0 to ``steps``."""
    points = [i * steps / (count - 1) for i in range(count)]
    middles = [(a + b) / 2 for a, b in pairwise(points)]
    return [points[0], *middles, points[-1]]
