"""What all figures have in common: colours, names of axes, marks for what lies off the scale, and files of them.

matplotlib keeps its settings in one place for all threads, so one figure is written at a time.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from service.report.figure_names import FigureKind
from service.report.record import SweepRecord
from service.report.robust_scale import RobustScale

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The colours of Okabe and Ito, which people with any colour vision tell apart."""
INK = "#20242a"
"""The colour of text and axes. The page of a report replaces it by its own, for dark screens."""
PAPER = "#fdfdfe"
"""The colour behind text that lies on lines; the page replaces it, too."""
GREY = "#8a8f98"
SCALE = ("#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26")
"""The colours of values from the worst to the best: viridis, which is read in the same order without colour and with
any colour vision, but without the ends that dark and white paper would swallow. The web page has the same colours."""
MAP = LinearSegmentedColormap.from_list("spectral", SCALE)
"""The colour map of ``SCALE``."""
DPI = 130

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spectral",
    "font.family": ["DejaVu Sans"],
}
_LEGEND: dict[str, Any] = {
    "fontsize": 8,
    "title_fontsize": 8,
    "labelcolor": INK,
    "facecolor": PAPER,
    "framealpha": 0.85,
    "edgecolor": "none",
}
_drawing = threading.RLock()


class NothingToDraw(Exception):
    """A figure has nothing to show; the message says why, in a sentence."""


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def literal(text: str) -> str:
    """Return text for matplotlib that shows every character as it is: a dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def title_of(record: SweepRecord, what: str) -> str:
    """Return the title of a figure: the sweep's name, of which long ones are cut, and what is shown."""
    name = record.name if len(record.name) <= 30 else f"{record.name[:29]}…"
    return literal(f"{name}: {what}")


def joined(*parts: str) -> str:
    """Return the parts of a note that are not empty, as one text."""
    return "; ".join(part for part in parts if part)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, as in ``1 trial`` and ``2,000 trials``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def colour_map(direction: str) -> Colormap:
    """Return the colour map of an objective, in which better values are brighter."""
    return MAP if direction == "maximize" else MAP.reversed()


def better(direction: str) -> str:
    """Return which values of an objective are better, for a person to read."""
    return "higher is better" if direction == "maximize" else "lower is better"


def ink_on(colour: tuple[float, float, float, float]) -> str:
    """Return the colour of text that is readable on another one, which is given as red, green, blue and alpha."""
    red, green, blue, _ = (part**2.2 for part in colour)
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.18 else "white"


def axis_name(record: SweepRecord, metric: str) -> str:
    """Return the name of an axis for a metric, with its unit."""
    name = metric.rpartition("/")[2]
    units = {
        "parameters": "number",
        "seconds": "s, training",
        "accuracy": "share",
        "recall": "share",
        "bpc": "bits per symbol",
        "error": "units of the target",
    }
    if name == "loss" and record.spec is not None:
        return f"{metric} ({'nats' if record.spec.task.loss == 'cross_entropy' else 'squared error'})"
    return f"{metric} ({units[name]})" if name in units else metric


def finish(axes: Axes, title: str, x: str, y: str, note: str = "") -> None:
    """Add a title, the names of the axes, a faint grid, and a note below the title in small letters."""
    axes.set_title(f"{title}\n" if note else title, fontsize=11, color=INK)
    if note:
        text = axes.text(0.5, 1.01, literal(note), transform=axes.transAxes, fontsize=8, color=INK)
        text.set(ha="center", va="bottom")
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(alpha=0.25, color=GREY)
    axes.tick_params(colors=INK, which="both")
    for name, side in axes.spines.items():
        side.set_visible(name not in ("top", "right"))
        side.set_color(INK)


def show_scale(axes: Axes, which: Literal["x", "y"], scale: RobustScale) -> None:
    """Let an axis cover a scale, with a little room at its ends for marks of what lies beyond."""
    low, high = scale.low, scale.high
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    if scale.log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        room = (high / low) ** 0.06
        set_limits(low / room, high * room)
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        room = (high - low) * 0.06
        set_limits(low - room, high + room)
        (axes.xaxis if which == "x" else axes.yaxis).set_major_locator(MaxNLocator(6))


def mark_off_scale(axes: Axes, points: Iterable[tuple[float, float]], scale: RobustScale, colour: str) -> None:
    """Draw a triangle at the edge of the figure for each (x, y) whose y lies beyond the scale; x in the axis' units."""
    found = list(points)
    for marker, height, beyond in (
        ("^", 0.985, [x for x, y in found if y > scale.high]),
        ("v", 0.015, [x for x, y in found if y < scale.low]),
    ):
        if beyond:
            where = axes.get_xaxis_transform()
            axes.scatter(
                beyond, [height] * len(beyond), marker=marker, s=26, color=colour, transform=where, clip_on=False
            )


def legend(axes: Axes, **options: Any) -> None:
    """Add a legend on the colour of the paper, without a line around it, if anything has a label."""
    if axes.get_legend_handles_labels()[0]:
        shown = axes.legend(**_LEGEND | options)
        shown.get_title().set_color(INK)


def colour_bar(
    figure: Figure,
    drawn: Any,
    axes: Axes,
    label: str,
    direction: str | None = None,
    ends: Sequence[bool] = (False, False),
) -> None:
    """Add a colour bar, with pointed ends if values lie (below, above) its range.

    For an objective, whose ``direction`` is given, the best end is at the top, and the label says which one it is.
    """
    kind = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(drawn, ax=axes, extend=kind[bool(ends[0]), bool(ends[1])])
    bar.set_label(f"{label}, {better(direction)}" if direction else label, color=INK)
    bar.ax.tick_params(colors=INK, which="both")
    bar.outline.set_edgecolor(GREY)
    if direction == "minimize":
        bar.ax.invert_yaxis()


def file_of(figure: Figure, kind: FigureKind) -> bytes:
    """Return the figure as a PNG or an SVG file on white. The same figure gives the same file.

    A character that the font lacks is drawn as a box in a PNG file; an SVG file has the text itself.
    """
    return on_white(svg_of(figure)) if kind == "svg" else _saved(figure, format="png", metadata={"Software": None})


def svg_of(figure: Figure) -> str:
    """Return the figure as an SVG document without a background."""
    content = _saved(figure, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return content.decode()


def on_white(svg: str) -> bytes:
    """Return an SVG document of ``svg_of`` as a file with a white background."""
    end = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:end]}<rect width="100%" height="100%" fill="#ffffff"/>{svg[end:]}'.encode()


def _saved(figure: Figure, **options: Any) -> bytes:
    content = BytesIO()
    with _drawing, matplotlib.rc_context(_STYLE), warnings.catch_warnings(action="ignore", category=UserWarning):
        figure.savefig(content, dpi=DPI, **options)
    return content.getvalue()
