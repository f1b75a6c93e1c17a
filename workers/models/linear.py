"""The affine map of one network, or of a pack of networks at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
    # One batched product for the whole pack. Rows keep their bits whatever K is, as a loop over trials would.
    rows = torch.baddbmm(bias.unsqueeze(1), x.flatten(1, -2), weight.mT)
    return rows.view(*x.shape[:-1], weight.shape[1])
