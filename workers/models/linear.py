"""The affine map of one network, or of a pack of networks at once."""

from __future__ import annotations

from torch import Tensor, nn

from spectral import linear_of_trials


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x W^T + b.

    Args:
        x: Shape (..., I), or (K, ..., I) in a pack.
        weight: W, shape (n, I), or (K, n, I) in a pack.
        bias: b, shape (n,), or (K, n) in a pack.

    Returns:
        Shape (..., n), or (K, ..., n) in a pack.
    """
    if weight.dim() == 2:
        return nn.functional.linear(x, weight, bias)
    return linear_of_trials(x, weight, bias)
