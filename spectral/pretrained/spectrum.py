"""The singular values of every matrix of a module, with names and bands, and their histogram as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

GATES = {3: ("reset gate", "update gate", "new gate"), 4: ("input gate", "forget gate", "cell gate", "output gate")}
"""The gates of a GRU and of an LSTM, in torch's order."""
BLOCKS = " ▁▂▃▄▅▆▇█"
BINS = 33
"""The number of bars; it is odd, so that the middle of a band is the middle of a bar."""


@dataclass(frozen=True)
class MatrixSpectrum:
    """The singular values of one matrix."""

    name: str
    """Such as ``layer 0``, ``trial 2, layer 1, backward, forget gate``, or ``W``."""
    values: tuple[float, ...]
    """The finite ones, in ascending order."""
    lost: int
    """How many are infinite or NaN."""
    centre: float
    """sigma*."""
    margin: float | None
    """How far a value can be from sigma*: r, 0 for spectrum='fixed', and None where there is no bound."""

    @property
    def summary(self) -> str:
        """The smallest and the largest value as text, and how many values are not finite."""
        low, high = (f"{self.values[i]:.5g}" if self.values else "none" for i in (0, -1))
        ends = f"{low} to {high}" if low != high else f"all {low}" if self.values else "no finite value"
        return ends + (f", {self.lost} not finite" if self.lost else "")


@torch.no_grad()
def spectra(module: nn.Module) -> list[MatrixSpectrum]:
    """Return the spectrum of every matrix: trial by trial, then layer, direction and gate."""
    owner: Any = getattr(module, "svd", module)
    values = owner.singular_values().detach().to("cpu", torch.float64)
    trials = values if owner.trials is not None else values.unsqueeze(0)
    found = []
    for k, (slot, trial) in enumerate(zip(owner.slots, trials, strict=True)):
        matrices = trial if trial.dim() > 1 else trial.unsqueeze(0)
        margin = {"penalty": None, "fixed": 0.0}.get(owner.spectrum, slot.margin)
        start = "" if owner.trials is None else f"trial {k}, "
        for name, row in zip(_matrix_names(module, len(matrices)), matrices, strict=True):
            finite = row[row.isfinite()].sort()[0].tolist()
            found.append(MatrixSpectrum(start + name, tuple(finite), len(row) - len(finite), slot.sigma, margin))
    return found


def common_range(found: Sequence[MatrixSpectrum]) -> tuple[float, float]:
    """Return an interval that contains all bands and all values, and is not empty."""
    ends = [end for one in found for end in (*one.values[:1], *one.values[-1:])]
    for one in found:
        ends += [one.centre - (one.margin or 0.0), one.centre + (one.margin or 0.0)]
    low, high = min(ends), max(ends)
    # Values that are equal up to rounding are shown as one bar, not spread over the whole range.
    largest = max(abs(low), abs(high), 1e-3)
    around = 0.02 * largest if high - low < 1e-6 * largest else 0.0
    return low - around, high + around


def counts(values: Sequence[float], low: float, high: float, bins: int) -> list[int]:
    """Return how many values lie in each of ``bins`` equal parts of [low, high]; the ends count too."""
    found = [0] * bins
    for value in values:
        found[min(bins - 1, max(0, int((value - low) / (high - low) * bins)))] += 1
    return found


def text_histogram(found: Sequence[MatrixSpectrum], *, most: int) -> str:
    """Return the histograms of at most ``most`` matrices, one on each line, over one common range."""
    low, high = common_range(found)
    shown = found[:most]
    width = max(len(one.name) for one in shown)
    lines = [f"{'':{width}}  {low:<{BINS // 2}.5g}{high:>{BINS - BINS // 2}.5g}"]
    for one in shown:
        number = counts(one.values, low, high, BINS)
        largest = max(*number, 1)
        # The lowest block means at least one value, so that a lonely one is seen.
        bars = "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // largest)] for count in number)
        lines.append(f"{one.name:{width}} |{bars}| {one.summary}")
    return "\n".join(line.rstrip() for line in lines)


def _matrix_names(module: nn.Module, count: int) -> list[str]:
    """Return a name for each of the ``count`` matrices of one trial."""
    layers = getattr(module, "num_layers", None)
    if layers is None:
        return ["W"] * count
    directions = ("", ", backward") if getattr(module, "bidirectional", False) else ("",)
    gates = count // (int(layers) * len(directions))
    kinds = [f", {gate}" for gate in GATES[gates]] if gates > 1 else [""]
    return [f"layer {i}{direction}{kind}" for i in range(int(layers)) for direction in directions for kind in kinds]
