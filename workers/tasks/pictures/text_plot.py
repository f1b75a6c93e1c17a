"""A figure of a text as its task reads it: every token, and below it the next one, which is its target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt
from matplotlib.figure import Figure

from workers.tasks.task import MASKED
from workers.tasks.vocabulary import LINE_END

INPUT, TARGET, GREY = "#0072B2", "#D55E00", "#9A9A9A"
COLUMNS, LINES = 118, 5
SHOWN = {LINE_END: "↵", "\n": "↵", " ": "_"}
Pair = tuple[str, str]


def plot_text(title: str, inputs: npt.NDArray[Any], targets: npt.NDArray[Any], symbols: Sequence[str] | None) -> Figure:
    """Draw the first lines of a text in a typewriter face.

    Args:
        title: Title of the figure.
        inputs: Token ids, (T,).
        targets: Ids of the next tokens, (T,); -100 has no target.
        symbols: Symbols by id; None to show the ids.
    """
    pairs = [(_shown(a, symbols), _shown(b, symbols)) for a, b in zip(inputs.tolist(), targets.tolist(), strict=True)]
    lines = [line for line, _ in zip(_lines(pairs), range(LINES), strict=False)]
    figure = Figure(figsize=(9.5, 0.9 + 0.56 * len(lines)))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(len(lines), -0.9 / 0.56 + 0.1)
    axes.text(0.012, -1.0, title, fontsize=11)
    count = 0
    for row, line in enumerate(lines):
        axes.text(0.012, row, f"{count + 1:>4}", family="monospace", fontsize=8, color=GREY, va="center")
        for side, colour, offset in ((0, INPUT, 0.0), (1, TARGET, 0.36)):
            cells = " ".join(pair[side].ljust(max(map(len, pair))) for pair in line)
            axes.text(0.06, row + offset, cells, family="monospace", fontsize=9, color=colour, va="center")
        count += len(line)
    axes.text(0.988, -1.0, "token", fontsize=9, color=INPUT, ha="right")
    axes.text(0.988, -0.6, "next token, the target", fontsize=9, color=TARGET, ha="right")
    return figure


def _lines(pairs: list[Pair]) -> Iterator[list[Pair]]:
    line: list[Pair] = []
    width = 0
    for pair in pairs:
        needed = max(map(len, pair)) + 1
        if width + needed > COLUMNS and line:
            yield line
            line, width = [], 0
        line.append(pair)
        width += needed
    if line:
        yield line


def _shown(token: int, symbols: Sequence[str] | None) -> str:
    if token == MASKED:
        return "-"
    name = str(token) if symbols is None or token >= len(symbols) else symbols[token]
    return SHOWN.get(name, name)
