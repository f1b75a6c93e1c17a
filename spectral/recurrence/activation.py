"""The nonlinearities of the recurrence. Their derivative is computed from the output, so that only h is kept."""

from dataclasses import dataclass

import torch
from torch import Tensor

from spectral.errors import OptionError, RangeError

NAMES = ("tanh", "relu", "leaky_relu", "identity", "modrelu")


@dataclass(frozen=True)
class Activation:
    """Computes a nonlinearity phi and its derivative: tanh, relu, leaky_relu, identity or modrelu.

    modReLU is phi(z) = sign(z) relu(|z| + b) with a learned offset b for each unit (Arjovsky, Shah and Bengio 2016, for
    real z). The offset is a tensor of shape (n,), or (K, n) in a pack, that is passed beside z. At b = 0 modReLU is the
    identity, and phi(0) = 0 for every b.

    Args:
        name: One of NAMES.
        slope: The slope of leaky_relu below zero, in (0, 1]; checked, but not used, for the other nonlinearities.

    Raises:
        OptionError: If there is no nonlinearity of that name.
        RangeError: If the slope is out of range.
    """

    name: str
    slope: float = 0.01

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise OptionError(f"nonlinearity must be one of {', '.join(NAMES)}; found {self.name!r}")
        if not 0 < self.slope <= 1:
            raise RangeError(
                f"negative_slope, or slope, must lie in (0, 1]; found {self.slope}. For slope 0 use 'relu'"
            )

    @property
    def has_offset(self) -> bool:
        """Whether the nonlinearity takes an offset b."""
        return self.name == "modrelu"

    def __call__(self, x: Tensor, offset: Tensor | None = None) -> Tensor:
        """Return phi(x) for x (..., B, n); ``offset`` (..., n) is needed by modReLU and ignored by the others.

        The result is a new tensor, but for identity x itself.
        """
        if self.name == "tanh":
            return torch.tanh(x)
        if self.name == "relu":
            return torch.relu(x)
        if self.name == "leaky_relu":
            return torch.nn.functional.leaky_relu(x, self.slope)
        if self.name == "modrelu":
            return torch.sign(x) * torch.relu(x.abs() + _as_row(offset))
        return x

    def apply_(self, x: Tensor, offset: Tensor | None = None) -> None:
        """Replace x by phi(x), in place; arguments as for a call."""
        if self.name == "tanh":
            x.tanh_()
        elif self.name == "relu":
            x.relu_()
        elif self.name == "leaky_relu":
            torch.nn.functional.leaky_relu(x, self.slope, inplace=True)
        elif self.name == "modrelu":
            magnitude = x.abs().add_(_as_row(offset)).relu_()
            x.sign_().mul_(magnitude)

    def derivative(self, h: Tensor) -> Tensor:
        """Return phi'(x) computed from the output h = phi(x), as a new tensor of the shape of h.

        Where h is 0 it is 0 for relu and modReLU, and the slope for leaky_relu. The derivative of modReLU with respect
        to its offset is sign(h); see ``reductions.sum_of_signed``.
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

    def slope_at(self, h: Tensor) -> Tensor:
        """Return what ``derivative`` does, as a function of h that can be differentiated in turn."""
        return 1 - h * h if self.name == "tanh" else self.derivative(h.detach())


def _as_row(offset: Tensor | None) -> Tensor:
    """Return an offset (..., n) as (..., 1, n), which broadcasts over the rows of a batch."""
    assert offset is not None, "the entry points check that modrelu has its offset"
    return offset.unsqueeze(-2)
