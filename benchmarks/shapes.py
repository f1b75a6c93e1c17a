"""The shapes at which the recurrence is timed, and P1's bound at each."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from benchmarks import results
from spectral import SpectralRNN
from spectral.recurrence import choose, native


class Shape(NamedTuple):
    """The sizes of one measurement, which makes the net and the input of these sizes.

    Hidden size n, m reflectors on each side, T time steps, B batch rows; input size 1, relu, float32.
    """

    n: int
    m: int
    T: int
    B: int

    def __str__(self) -> str:
        return results.shape(n=self.n, m=self.m, T=self.T, B=self.B)

    def net(self, backend: str = "auto", **options: Any) -> SpectralRNN:
        """Return our layer of this shape, with the same initial parameters in every call; ``options`` go to it."""
        generator = torch.Generator().manual_seed(0)
        return SpectralRNN(
            1, self.n, nonlinearity="relu", reflectors=self.m, backend=backend, generator=generator, **options
        )

    def input(self) -> torch.Tensor:
        """Return an input (T, B, 1), the same in every call."""
        return torch.rand(self.T, self.B, 1, generator=torch.Generator().manual_seed(1))

    def operations(self) -> int:
        """Return the operations of the recurrence in one training step, in the form that 'auto' chooses."""
        rows = self.T * self.B
        return 12 * self.n * 2 * self.m * rows if self.backend() == "native" else 6 * self.n**2 * rows

    def backend(self) -> str:
        """Return the backend that 'auto' chooses for this shape on the CPU in float32."""
        built = native.available(torch.device("cpu"), torch.float32)
        return choose(self.n, 2 * self.m, native=built)


P1: dict[Shape, float] = {
    Shape(32, 8, 100, 32): 0.7,
    Shape(32, 8, 784, 128): 0.25,
    Shape(128, 8, 100, 32): 0.7,
    Shape(128, 16, 784, 128): 0.33,
    Shape(128, 32, 100, 128): 0.7,
    Shape(256, 16, 784, 32): 0.7,
    Shape(256, 16, 784, 128): 0.22,
    Shape(256, 32, 100, 32): 0.7,
    Shape(512, 16, 100, 128): 0.7,
    Shape(512, 16, 784, 32): 0.10,
    Shape(512, 32, 100, 128): 0.7,
}
"""The bound of the training step over nn.RNN, where the loss reads the last state."""
ALL_STATES = 1.25
"""How many times that bound is allowed where the loss reads all states."""
QUICK: dict[Shape, float] = {Shape(32, 8, 20, 4): 0.7, Shape(64, 4, 20, 4): 0.7}
P3 = (Shape(512, 16, 784, 32), Shape(512, 32, 784, 32))
P5 = (Shape(32, 8, 784, 128), Shape(128, 16, 784, 128), Shape(256, 16, 784, 128), Shape(512, 16, 784, 32))
