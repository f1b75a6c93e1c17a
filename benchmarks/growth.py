"""Benchmark of how the time grows with n, m, T, B and K, each over a factor of 16 or more, with a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import peers, timing
from benchmarks.results import Row, row
from benchmarks.shapes import Shape
from spectral import SpectralRNN

PLOT = "bench-growth.png"
STEEPEST = 1.1
"""Slope on logarithmic axes up to which growth counts as linear."""


@dataclass(frozen=True)
class Axis:
    """One size that grows while the others are fixed.

    Attributes:
        name: Name of the size.
        values: Its values.
        make: Function that returns the shape for a value.
        fixed: The other sizes, in words.
        linear: Whether the slope must be at most STEEPEST.
    """

    name: str
    values: Sequence[int]
    make: Callable[[int], Shape]
    fixed: str
    linear: bool = True


AXES = (
    Axis("n", (32, 64, 128, 256, 512, 1024), lambda n: Shape(n, 8, 100, 32), "m=8 T=100 B=32"),
    Axis("m", (2, 4, 8, 16, 32, 64), lambda m: Shape(512, m, 100, 32), "n=512 T=100 B=32"),
    Axis("T", (49, 98, 196, 392, 784, 1568), lambda T: Shape(128, 16, T, 32), "n=128 m=16 B=32"),
    Axis("B", (8, 16, 32, 64, 128, 256), lambda B: Shape(128, 16, 100, B), "n=128 m=16 T=100"),
    Axis("K", (1, 2, 4, 8, 16, 32), lambda K: Shape(128, 16, 100, 32), "n=128 m=16 T=100 B=32"),
)
QUICK = (
    Axis("T", (4, 16, 64), lambda T: Shape(32, 4, T, 4), "n=32 m=4 B=4"),
    Axis("K", (1, 4, 16), lambda K: Shape(32, 4, 8, 4), "n=32 m=4 T=8 B=4"),
)


def measure(axes: Sequence[Axis], rounds: int, out: Path, backend: str = "auto") -> list[Row]:
    """Return a row for each size with the slope on logarithmic axes and the distance from a straight line."""
    rows, curves = [], {}
    for axis in axes:
        names = {value: f"{axis.name}={value}" for value in axis.values}
        steps = {names[value]: _step(axis, value, backend) for value in axis.values}
        with timing.threads(1):
            samples = timing.interleave(steps, rounds)
        times = [timing.median(samples[names[value]]) for value in axis.values]
        curves[axis.name] = (axis, times)
        rows.append(_row(axis, times, backend))
    _plot(curves, out)
    return rows


def _row(axis: Axis, times: Sequence[float], backend: str) -> Row:
    steepness = timing.slope(axis.values, times)
    misfit = timing.affine_misfit(axis.values, times)
    listed = ", ".join(f"{value}:{1e3 * t:.3g}" for value, t in zip(axis.values, times, strict=True))
    used = list(dict.fromkeys(axis.make(value).backend() if backend == "auto" else backend for value in axis.values))
    method = f"slope of log CPU ms over log {axis.name}; {misfit:.0%} off a line at most; {listed}; {', '.join(used)}"
    name, bound = f"growth {axis.name}", STEEPEST if axis.linear else None
    return row(name, axis.fixed, steepness, None, steepness, method, at_most=bound)


def _step(axis: Axis, value: int, backend: str) -> timing.Contender:
    at = axis.make(value)
    if axis.name != "K":
        return peers.training_step(peers.spectral(at.net(backend), backend), at.input(), reads="last")
    pack = SpectralRNN.pack([at.net(backend) for _ in range(value)])
    x = at.input().expand(value, -1, -1, -1).contiguous()

    def run(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states, last = pack(x)
        return states, last[:, 0]

    return peers.training_step(peers.Layer(list(pack.parameters()), run), x, reads="last")


def _plot(curves: dict[str, tuple[Axis, list[float]]], out: Path) -> None:
    """Plot a panel for each size, with a proportional line through the time at the largest value."""
    try:
        import matplotlib
    except ImportError:
        print("matplotlib is not installed: no plots")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    out.mkdir(parents=True, exist_ok=True)
    figure, panels = pyplot.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.4), layout="constrained")
    for panel, (name, (axis, times)) in zip(panels, curves.items(), strict=True):
        line = [1e3 * times[-1] * value / axis.values[-1] for value in axis.values]
        panel.loglog(axis.values, line, linestyle=":", color="grey", label="proportional")
        panel.loglog(axis.values, [1e3 * t for t in times], marker="o", label="training step")
        panel.set_title(axis.fixed, fontsize="medium")
        panel.set_xlabel(name)
        panel.set_xticks(axis.values, [str(value) for value in axis.values])
        panel.minorticks_off()
    panels[0].set_ylabel("CPU ms a step, one thread")
    panels[0].legend()
    figure.savefig(out / PLOT, dpi=100)
    pyplot.close(figure)
