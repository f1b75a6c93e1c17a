"""The picture of a model card: the singular values of every matrix against its band. Needs matplotlib."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spectral.pretrained.spectrum import MatrixSpectrum, common_range, counts

BINS = 61
BAND, BAR, EDGE, GREY = "#e3ecf7", "#2b6cb0", "#9db8d9", "#5f6b7a"


def png(found: Sequence[MatrixSpectrum], title: str, *, most: int) -> bytes:
    """Draw at most ``most`` matrices, one in each row, and return a PNG file.

    If the bands differ, values are drawn relative to their own band: -1 and 1 are its ends.
    """
    shown = list(found[:most])
    bands = {(one.centre, one.margin) for one in shown}
    relative = len(bands) > 1 and all(one.margin for one in shown)
    if relative:
        shown = [_relative(one) for one in shown]
    low, high = common_range(shown)
    pad = 0.03 * (high - low)
    figure = Figure(figsize=(8, 1.5 + 0.5 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    for row, (one, original) in enumerate(zip(shown, found, strict=False)):
        _draw_row(axes, one, -row, (low, high))
        axes.annotate(
            original.summary,
            (1.01, -row + 0.32),
            xycoords=("axes fraction", "data"),
            va="center",
            color=GREY,
            fontsize=8.5,
            annotation_clip=False,
        )
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(-len(shown) + 0.85, 1.05)
    axes.set_yticks([0.32 - row for row in range(len(shown))], [one.name for one in shown])
    axes.tick_params(axis="y", length=0)
    axes.ticklabel_format(axis="x", useOffset=False)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    quantity = r"$(\sigma_i - \sigma^*)\,/\,r$" if relative else r"singular value $\sigma_i$"
    key = "shaded: the band, dashed: its centre" if any(one.margin for one in shown) else "dashed: the centre"
    axes.set_xlabel(f"{quantity}  ({key}; bars are scaled row by row)", fontsize=9)
    axes.set_title(title, loc="left", fontsize=11)
    file = io.BytesIO()
    # Without the date and the version of matplotlib the same module gives the same file.
    figure.savefig(file, format="png", dpi=140, metadata={"Software": None})
    return file.getvalue()


def _relative(one: MatrixSpectrum) -> MatrixSpectrum:
    """Return the spectrum measured from the centre of its band, in units of the margin."""
    margin = one.margin or 1.0
    values = tuple((value - one.centre) / margin for value in one.values)
    return MatrixSpectrum(one.name, values, one.lost, 0.0, 1.0)


def _draw_row(axes: Axes, one: MatrixSpectrum, bottom: float, ends: tuple[float, float]) -> None:
    """Draw one histogram on its base line, 0.8 high, before its band."""
    low, high = ends
    if one.margin:
        axes.fill_between(
            [one.centre - one.margin, one.centre + one.margin], bottom, bottom + 0.85, color=BAND, linewidth=0
        )
    axes.plot([one.centre, one.centre], [bottom, bottom + 0.85], color=EDGE, linewidth=1, linestyle=(0, (3, 2)))
    number = counts(one.values, low, high, BINS)
    width = (high - low) / BINS
    largest = max(*number, 1)
    places = [(low + (i + 0.5) * width, 0.8 * count / largest) for i, count in enumerate(number) if count]
    axes.bar([x for x, _ in places], [y for _, y in places], 0.9 * width, bottom=bottom, color=BAR, linewidth=0)
    axes.plot([low, high], [bottom, bottom], color=GREY, linewidth=0.8)
