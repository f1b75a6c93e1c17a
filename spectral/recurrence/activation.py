"""The nonlinearities of the recurrence, with the derivative read off the output, so that only h is kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spectral.errors import OptionError, RangeError

NAMES = ("tanh", "relu", "leaky_relu", "identity", "modrelu")


@dataclass(frozen=True)
class Activation:
    """One of NAMES; slope > 0 is that of leaky_relu below zero. Raises OptionError, RangeError.

    modrelu, phi(z) = sign(z) relu(|z| + b), has a learned offset b for each unit (Arjovsky, Shah, Bengio 2016, for real
    z): a tensor (n), or (K, n) in a pack, given beside z. At b = 0 it is the identity; phi(0) = 0 whatever b is.
    """

    name: str
    slope: float = 0.01

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise OptionError(f"nonlinearity must be one of {', '.join(NAMES)}; found {self.name!r}")
        if not 0 < self.slope <= 1:
            raise RangeError(f"negative_slope must lie in (0, 1]; found {self.slope}. For slope 0 use 'relu'")

    @property
    def has_offset(self) -> bool:
        """Whether it takes an offset b."""
        return self.name == "modrelu"

    def __call__(self, x: Tensor, offset: Tensor | None = None) -> Tensor:
        """phi(x) of x (..., B, n), a new tensor."""
        if self.name == "tanh":
            return torch.tanh(x)
        if self.name == "relu":
            return torch.relu(x)
        if self.name == "leaky_relu":
            return torch.nn.functional.leaky_relu(x, self.slope)
        if self.name == "modrelu":
            return torch.sign(x) * torch.relu(x.abs() + _over_rows(offset))
        return x

    def apply_(self, x: Tensor, offset: Tensor | None = None) -> None:
        """phi in place."""
        if self.name == "tanh":
            x.tanh_()
        elif self.name == "relu":
            x.relu_()
        elif self.name == "leaky_relu":
            torch.nn.functional.leaky_relu(x, self.slope, inplace=True)
        elif self.name == "modrelu":
            size = x.abs().add_(_over_rows(offset)).relu_()
            x.sign_().mul_(size)

    def derivative(self, h: Tensor) -> Tensor:
        """phi' as a function of the output h = phi(x), a new tensor of h's shape; at the kinks of relu and modrelu it
        is 0. That of modrelu with respect to b is sign(h): see rows.sum_of_signed.
        """
        if self.name == "tanh":
            return torch.mul(h, h).neg_().add_(1)
        if self.name == "relu":
            return h.sign()
        if self.name == "leaky_relu":
            return torch.full_like(h, self.slope).masked_fill_(h > 0, 1.0)
        if self.name == "modrelu":
            return (h != 0).to(h.dtype)
        return torch.ones_like(h)


def _over_rows(offset: Tensor | None) -> Tensor:
    assert offset is not None, "dispatch gives modrelu its offset"
    return offset.unsqueeze(-2)
