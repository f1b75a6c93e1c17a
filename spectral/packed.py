"""Several trials in one module: parameters with a leading trial axis K, and the linear layer that reads them
out.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spectral.errors import PackError, ShapeError


def stack_trials(tensors: Sequence[Tensor]) -> Tensor:
    """(K, ...) of K tensors that may differ in the last dimension: the shorter are padded with zeros.

    It fits every parameter of this package and anything of a parameter's shape, such as an optimiser's
    moments: only reflectors differ in size, in their count, and a zero column is the identity. Raises
    PackError.
    """
    if not tensors:
        raise PackError("a pack needs at least one trial; found none")
    heads = {tuple(t.shape[:-1]) for t in tensors}
    kinds = {(t.dtype, t.device) for t in tensors}
    if len(heads) > 1 or len(kinds) > 1:
        raise PackError(
            "trials of a pack must agree in shape, but for the last dimension, in dtype and in device; "
            f"found {heads}, {kinds}"
        )
    width = max(t.shape[-1] if t.dim() else 0 for t in tensors)
    return torch.stack([nn.functional.pad(t, (0, width - t.shape[-1])) if t.dim() else t for t in tensors])


def check_trial(k: int, trials: int | None) -> None:
    """Raises PackError unless k is one of the trials of a pack."""
    if trials is None:
        raise PackError("this module is one trial, not a pack; use it as it is")
    if not 0 <= k < trials:
        raise PackError(f"trial must be from 0 to {trials - 1}; found {k}")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W^T + b trial by trial: x (K, ..., I), weight (K, O, I), bias (K, O); returns (K, ..., O)."""
    rows = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
    out = torch.bmm(rows, weight.mT) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, weight.mT)
    return out.view(*x.shape[:-1], weight.shape[-2])


class PackedLinear(nn.Module):
    """K linear layers of one shape: x (K, ..., in) -> (K, ..., out), weight (K, out, in), bias (K, out).

    Starts as torch.nn.Linear does, from U(-1/sqrt(in), 1/sqrt(in)), drawn from `generator`.
    Raises PackError, ShapeError.
    """

    def __init__(
        self,
        trials: int,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if trials < 1:
            raise PackError(f"a pack needs at least one trial; found {trials}")
        self.trials, self.in_features, self.out_features = trials, in_features, out_features
        self.weight = nn.Parameter(torch.empty(trials, out_features, in_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(trials, out_features, device=device, dtype=dtype)) if bias else None
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """x (K, ..., in) -> (K, ..., out)."""
        if x.dim() < 2 or x.shape[0] != self.trials or x.shape[-1] != self.in_features:
            raise ShapeError(f"x must have shape ({self.trials}, ..., {self.in_features}); found {tuple(x.shape)}")
        return linear(x, self.weight, self.bias)

    @classmethod
    def pack(cls, layers: Sequence[nn.Linear]) -> "PackedLinear":
        """The pack of separately built layers; values are copied. Raises PackError where shapes or biases
        differ.
        """
        if not layers:
            raise PackError("a pack needs at least one trial; found none")
        if len({(layer.weight.shape, layer.bias is None) for layer in layers}) > 1:
            raise PackError("linear layers of a pack must agree in shape and in having a bias; found different ones")
        first = layers[0]
        packed = cls(len(layers), first.in_features, first.out_features, first.bias is not None, device="meta")
        packed.weight = nn.Parameter(stack_trials([layer.weight.detach() for layer in layers]))
        if packed.bias is not None:
            packed.bias = nn.Parameter(stack_trials([layer.bias.detach() for layer in layers]))
        return packed.train(first.training)

    def trial(self, k: int) -> nn.Linear:
        """Trial k as a plain layer; values are copied. Raises PackError."""
        check_trial(k, self.trials)
        layer = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        layer.weight = nn.Parameter(self.weight.detach()[k].clone())
        if self.bias is not None:
            layer.bias = nn.Parameter(self.bias.detach()[k].clone())
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """Sizes, for repr."""
        return (
            f"trials={self.trials}, in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
