"""Figures of a task's data: the inputs of one sequence over time and its target. They are drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from workers.tasks.dataset_info import DatasetTask
from workers.tasks.pictures.text_plot import plot_text
from workers.tasks.task import MASKED, SampleView, Split, Task

INPUT, TARGET, GREY = "#0072B2", "#D55E00", "#9A9A9A"
MOST_LINES, MOST_NAMED, MOST_MARKED = 4, 32, 130
Array = npt.NDArray[Any]


def picture(task: Task, data_dir: Path | None = None, *, split: Split = "validation", index: int = 0) -> Figure:
    """Draw one sequence of a task's held-out data.

    Args:
        task: The task.
        data_dir: Data directory; the user's cache folder if None.
        split: Held-out set that the sequence is taken from.
        index: Number of the sequence in that set, from 0.

    Raises:
        DataMissing: If the task's data cannot be read.
        IndexError: If the set has no sequence of this number.
    """
    task = task.with_info(data_dir) if isinstance(task, DatasetTask) else task
    found = task.held_out(split, data_dir)
    if not 0 <= index < len(found):
        raise IndexError(f"sample {index} is not in the {split} set: choose one of 0 to {len(found) - 1}")
    steps = found.inputs.shape[1] if found.lengths is None else int(found.lengths[index])
    inputs = found.inputs[index][:steps]
    target = found.targets[index][:steps] if task.readout == "every" else found.targets[index]
    view = task.sample_view(inputs, data_dir)
    if task.tokens is not None:
        return plot_text(_title(task), inputs, target, view.class_names)
    return _over_time(task, view, steps, target)


def _title(task: Task) -> str:
    fields = task.model_dump(exclude_defaults=True, exclude={"name", "facts"})
    shown = ", ".join(f"{field} {value}" for field, value in fields.items())
    return f"{task.model_dump()['name']}{f' ({shown})' if shown else ''}"


def _target_words(target: Array, class_names: Sequence[str] | None) -> str:
    if target.dtype.kind == "i":
        label = str(int(target)) if class_names is None else class_names[int(target)]
        return f"class {label}" if label.lstrip("-").isdecimal() else label
    return ", ".join(f"{value:.3f}" for value in np.atleast_1d(target))


def _over_time(task: Task, view: SampleView, steps: int, target: Array) -> Figure:
    """Draw few inputs as lines and many as shades, and below them the targets if every step has one."""
    values, every = view.values, task.readout == "every"
    shaded = values.shape[1] > MOST_LINES
    count = 1 if shaded else values.shape[1]
    heights = [2.4 if shaded else 1.5] * count + ([2.2 if target.ndim == 1 else 1.5] if every else [])
    figure = Figure(figsize=(9.5, 0.9 + sum(heights)), layout="constrained")
    widths = [1.0] if view.image is None else [3.4, 1.0]
    grid = figure.add_gridspec(len(heights), len(widths), height_ratios=heights, width_ratios=widths)
    panels = [figure.add_subplot(grid[row, 0]) for row in range(len(heights))]
    if shaded:
        _shades(panels[0], values.T, view.feature_names, "inputs", INPUT)
    else:
        for axes, line, name in zip(panels, values.T, view.feature_names or _numbered(count), strict=False):
            _line(axes, line, name, INPUT)
    if every:
        _targets(panels[-1], target, task.output_size, view.class_names)
    _finish(panels, len(values), "step" if len(values) == steps else f"value, {len(values) // steps} to a step")
    if view.image is not None:
        _image(figure.add_subplot(grid[:, 1]), view.image)
    panels[0].set_title(_title(task), fontsize=11, loc="left")
    if not every:
        words = _target_words(target, view.class_names)
        panels[0].set_title(f"target: {words}", fontsize=11, loc="right", color=TARGET)
    return figure


def _numbered(count: int) -> list[str]:
    return ["input"] if count == 1 else [f"input {i + 1}" for i in range(count)]


def _line(axes: Axes, values: Array, name: str, colour: str) -> None:
    """Draw values that are all 0 or 1 as stems, and others as a line, with points if they are not too many."""
    steps = np.arange(1, len(values) + 1)
    if set(np.unique(values)) == {0.0, 1.0}:
        at = steps[values == 1]
        axes.vlines(at, 0, 1, color=colour, linewidth=1.5)
        axes.plot(at, np.ones_like(at), "o", color=colour, markersize=5)
        axes.set_yticks([0, 1])
        axes.set_ylim(0, 1.25)
    else:
        axes.plot(steps, values, "o-" if len(values) <= MOST_MARKED else "-", color=colour, linewidth=1, markersize=2.5)
    axes.set_ylabel(name)


def _shades(axes: Axes, rows: Array, names: Sequence[str] | None, title: str, colour: str) -> None:
    """Draw ``rows`` (R, T), one for each feature or class, in shades from white to ``colour``."""
    shades = LinearSegmentedColormap.from_list("shades", ["white", colour])
    edges = (0.5, rows.shape[1] + 0.5, len(rows) - 0.5, -0.5)
    axes.imshow(rows, cmap=shades, aspect="auto", interpolation="nearest", extent=edges)
    axes.set_ylabel(title)
    if names is not None and len(names) <= MOST_NAMED:
        axes.set_yticks(range(len(names)), names, fontsize=7 if len(names) < 16 else 5)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))


def _targets(axes: Axes, target: Array, size: int, labels: Sequence[str] | None) -> None:
    if target.dtype.kind == "i":
        rows = np.arange(size)[:, None] == np.where(target == MASKED, -1, target)
        _shades(axes, rows.astype(float), labels or [str(i) for i in range(size)], "target", TARGET)
        return
    for values in target.T:
        axes.plot(np.arange(1, len(target) + 1), values, color=TARGET, linewidth=1)
    axes.set_ylabel("target")


def _finish(panels: list[Axes], steps: int, label: str) -> None:
    for axes in panels:
        axes.set_xlim(0.5, steps + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if axes is not panels[-1]:
            axes.tick_params(labelbottom=False)
    panels[-1].set_xlabel(label)


def _image(axes: Axes, image: Array) -> None:
    axes.imshow(image, cmap="Greys")
    axes.set_title("as an image", fontsize=9, color=GREY)
    axes.set_xticks([])
    axes.set_yticks([])
