"""Arrays of one trial: an image of each for some of its reports, which MLflow shows by step, and a JSON file of all."""

from __future__ import annotations

import math
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from PIL import Image

from service.report.drawing import COLOURS, GREY, finish
from service.store.tables import TrialReport
from service.tracking.mlflow_runs import millis
from service.tracking.trial_metrics import GRADIENTS, SPECTRUM, cells
from workers.spec.trial import TrialSpec

IMAGES = 8
"""The largest number of reports of a trial for which images are drawn while it trains: one in each part of it."""
IMAGE_SECONDS = 20.0
"""No image is drawn of a report that was made within so many seconds after one that has images: where trials are
trained on the same machine, they wait while it is drawn."""
LIVE_TRIALS = 64
"""In a sweep of more trials than this, images are drawn only of the last report, of trials that have succeeded."""
FOLDER = "images"
"""The folder of a run's artifacts in which MLflow's page looks for images by step."""
LOGGED_IMAGES = "mlflow.loggedImages"
"""The tag that makes MLflow's page show them."""
ARRAYS = "arrays.json"
DPI, PREVIEW = 110, (256, 256)
"""Pixels to an inch of an image, and the largest sides of its preview in pixels."""

DRAWING = threading.Lock()
"""Held while matplotlib draws, which it does in one thread at a time."""


def looks(reports: Sequence[TrialReport], steps: int) -> list[TrialReport]:
    """Return the reports of a trial for which images are drawn: the first in each part of its training.

    Those that come too soon after one that is drawn are passed over. A later report does not change which of the
    earlier ones are drawn.

    Args:
        reports: The trial's reports that have an array, in order of step.
        steps: The steps of its training.
    """
    found: dict[int, TrialReport] = {}
    latest = -math.inf
    for report in reports:
        part = report.step * IMAGES // max(1, steps)
        if part not in found and not latest <= report.at < latest + IMAGE_SECONDS:
            found[part], latest = report, report.at
    return list(found.values())


def has_array(values: Mapping[str, float]) -> bool:
    """Return whether the metrics of a report are cells of an array, at least in part."""
    return any(name.startswith((GRADIENTS, SPECTRUM)) for name in values)


def write_images(folder: Path, trial_id: str, report: TrialReport, spec: TrialSpec) -> None:
    """Write the images of a report to a folder, as MLflow's page expects them: a PNG file and a preview of each.

    The names depend on trial and step alone, so that what is written again replaces what is there.
    """
    for key, figure in _figures(report, spec):
        content = BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
        own = uuid.uuid5(uuid.NAMESPACE_OID, f"{trial_id}/{key}/{report.step}")
        stem = f"{key}+step+{report.step}+timestamp+{millis(report.at)}+{own}"
        (folder / f"{stem}.png").write_bytes(content.getvalue())
        with Image.open(content) as image:
            image.thumbnail(PREVIEW)
            image.save(folder / f"{stem}+compressed.webp")


def arrays(reports: Sequence[TrialReport], spec: TrialSpec) -> dict[str, Any]:
    """Return the arrays of a trial: for each its axis, and one row for each report that has it."""
    found: dict[str, Any] = {}
    for name, prefix, axis in (
        ("gradient_norms", GRADIENTS, "time_steps"),
        ("singular_value_shares", SPECTRUM, "edges"),
    ):
        rows = {report.step: cells(report.values, prefix) for report in reports}
        rows = {step: row for step, row in rows.items() if row}
        if rows:
            count = max(len(row) for row in rows.values())
            ticks = _times(count, spec) if prefix == GRADIENTS else _edges(count, spec)
            found[name] = {axis: ticks, "steps": list(rows), "values": list(rows.values())}
    return found


def _figures(report: TrialReport, spec: TrialSpec) -> Iterator[tuple[str, Figure]]:
    norms, shares = cells(report.values, GRADIENTS), cells(report.values, SPECTRUM)
    if len(norms) > 1:
        yield "gradient norms", _gradients(norms, report.step, spec)
    if shares:
        yield "singular values", _spectrum(shares, report.step, spec)


def _gradients(norms: list[float], step: int, spec: TrialSpec) -> Figure:
    figure, axes = _frame()
    axes.plot(_times(len(norms), spec), norms, "o-", color=COLOURS[0], linewidth=1.6, markersize=4)
    if 0 < 3 * min(norms) < max(norms) < math.inf:
        axes.set_yscale("log")
        wide = max(norms) > 100 * min(norms)
        axes.yaxis.set_major_locator(LogLocator(numticks=7) if wide else LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    finish(axes, f"|∂L / ∂h_t| over time, step {step}", "time step t", "")
    return figure


def _spectrum(shares: list[float], step: int, spec: TrialSpec) -> Figure:
    figure, axes = _frame()
    edges = _edges(len(shares), spec)
    axes.stairs(shares, edges, fill=True, color=COLOURS[0])
    axes.axvline(spec.model.band_centre, color=GREY, linestyle="--", linewidth=1.2)
    axes.set_ylim(0, 1)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    finish(axes, f"share of singular values, step {step}", "singular value", "")
    return figure


def _frame() -> tuple[Figure, Axes]:
    """Return an empty figure whose texts have their room.

    Its margins are fixed and its texts hold no formulas: to fit the first and to set the second takes most of the time
    in which a figure is drawn, and the figures of the trials are drawn while these train.
    """
    figure = Figure(figsize=(4.6, 3.2))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.16, right=0.94, bottom=0.16, top=0.9)
    return figure, axes


def _times(count: int, spec: TrialSpec) -> list[float]:
    """Return the time steps of the cells of gradient norms: evenly spaced from the first state to the last."""
    return [i * spec.depth / max(1, count - 1) for i in range(count)]


def _edges(count: int, spec: TrialSpec) -> list[float]:
    """Return the edges of the cells of the singular values, which share the band sigma* +- r evenly."""
    low, margin = spec.model.band_centre - spec.model.band_margin, spec.model.band_margin
    return [low + 2 * margin * i / count for i in range(count + 1)]
