"""The nonlinearities of the recurrence, with the derivative read off the output, so that only h is kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spectral.errors import OptionError, RangeError

NAMES = ("tanh", "relu", "leaky_relu", "identity")


@dataclass(frozen=True)
class Activation:
    """One of NAMES; slope > 0 is that of leaky_relu below zero. Raises OptionError, RangeError."""

    name: str
    slope: float = 0.01

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise OptionError(f"nonlinearity must be one of {', '.join(NAMES)}; found {self.name!r}")
        if not 0 < self.slope <= 1:
            raise RangeError(f"negative_slope must lie in (0, 1]; found {self.slope}. For slope 0 use 'relu'")

    def __call__(self, x: Tensor) -> Tensor:
        """phi(x), a new tensor."""
        if self.name == "tanh":
            return torch.tanh(x)
        if self.name == "relu":
            return torch.relu(x)
        if self.name == "leaky_relu":
            return torch.nn.functional.leaky_relu(x, self.slope)
        return x

    def apply_(self, x: Tensor) -> None:
        """phi in place."""
        if self.name == "tanh":
            x.tanh_()
        elif self.name == "relu":
            x.relu_()
        elif self.name == "leaky_relu":
            torch.nn.functional.leaky_relu(x, self.slope, inplace=True)

    def derivative(self, h: Tensor) -> Tensor:
        """phi' as a function of the output h = phi(x), a new tensor of h's shape; at the kink of relu it is
        0.
        """
        if self.name == "tanh":
            return torch.mul(h, h).neg_().add_(1)
        if self.name == "relu":
            return h.sign()
        if self.name == "leaky_relu":
            return torch.full_like(h, self.slope).masked_fill_(h > 0, 1.0)
        return torch.ones_like(h)
