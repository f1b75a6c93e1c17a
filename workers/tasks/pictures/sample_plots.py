"""What a task looks like: a sample's inputs over time and its target. Drawn without a display.

python -m workers.tasks.pictures copy --out copy.png
"""

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

from workers.tasks.dataset_info import FileTask
from workers.tasks.pictures.text_plot import spell
from workers.tasks.task import MASKED, Split, Task

INPUT, TARGET, GREY = "#0072B2", "#D55E00", "#9A9A9A"
MOST_LINES, MOST_NAMED, MOST_MARKED = 4, 32, 130
Array = npt.NDArray[Any]


def picture(task: Task, data_dir: Path | None = None, *, split: Split = "validation", index: int = 0) -> Figure:
    """Sequence ``index`` of a held-out set. Raises DataMissing, and IndexError where the set has no such sequence."""
    task = task.described(data_dir) if isinstance(task, FileTask) else task
    found = task.held_out(split, data_dir)
    if not 0 <= index < len(found):
        raise IndexError(f"sample {index} is not in the {split} set: choose one of 0 to {len(found) - 1}")
    steps = found.inputs.shape[1] if found.lengths is None else int(found.lengths[index])
    inputs = found.inputs[index][:steps]
    target = found.targets[index][:steps] if task.readout == "every" else found.targets[index]
    labels = task.labels(data_dir)
    if task.tokens is not None:
        return spell(_title(task), inputs, target, labels)
    return _over_time(task, inputs, target, labels)


def _title(task: Task) -> str:
    fields = task.model_dump(exclude_defaults=True, exclude={"name", "facts"})
    shown = ", ".join(f"{field} {value}" for field, value in fields.items())
    return f"{task.model_dump()['name']}{f' ({shown})' if shown else ''}"


def _worded(target: Array, labels: Sequence[str] | None) -> str:
    if target.dtype.kind == "i":
        label = str(int(target)) if labels is None else labels[int(target)]
        return f"class {label}" if label.lstrip("-").isdecimal() else label
    return ", ".join(f"{value:.3f}" for value in np.atleast_1d(target))


def _over_time(task: Task, inputs: Array, target: Array, labels: Sequence[str] | None) -> Figure:
    """Inputs as lines where they are few, else as shades; beneath them the targets where every step has one."""
    every = task.readout == "every"
    image, steps = task.image(inputs), len(inputs)
    inputs = task.uncut(inputs)
    wide = inputs.shape[1] > MOST_LINES
    count = 1 if wide else inputs.shape[1]
    heights = [2.4 if wide else 1.5] * count + ([2.2 if target.ndim == 1 else 1.5] if every else [])
    figure = Figure(figsize=(9.5, 0.9 + sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(heights), 2 if image is not None else 1, height_ratios=heights,
                               width_ratios=[3.4, 1] if image is not None else None)  # fmt: skip
    panels = [figure.add_subplot(grid[row, 0]) for row in range(len(heights))]
    names = task.features
    if wide:
        _shades(panels[0], inputs.T, names, "inputs", INPUT)
    else:
        for axes, values, name in zip(panels, inputs.T, names or _numbered(count), strict=False):
            _line(axes, values, name, INPUT)
    if every:
        _targets(panels[-1], target, task.output_size, labels)
    _finish(panels, len(inputs), "step" if len(inputs) == steps else f"value, {len(inputs) // steps} to a step")
    if image is not None:
        _image(figure.add_subplot(grid[:, 1]), image)
    panels[0].set_title(_title(task), fontsize=11, loc="left")
    if not every:
        panels[0].set_title(f"target: {_worded(target, labels)}", fontsize=11, loc="right", color=TARGET)
    return figure


def _numbered(count: int) -> list[str]:
    return ["input"] if count == 1 else [f"input {i + 1}" for i in range(count)]


def _line(axes: Axes, values: Array, name: str, colour: str) -> None:
    """Marks (0 or 1) as stems, other values as a line, each with its point where there is room for it."""
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
    """rows (R, T): a row of shades for each feature or class, from white to its colour."""
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
