"""Nets that read a whole sequence at once: n -> n layers one upon another, plain or residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectral import Activation, PackedLinear, SpectralLinear, Transition
from workers.models.sequence_model import SequenceModel


class DeepModel(SequenceModel):
    """x = phi(A x + a), L layers x = phi(W x + b), and a linear readout; the input is flattened (Zhang et al. 2018),
    with zeros past a shorter sequence's end.

    residual: blocks x = phi(x + W_2 phi(W_1 x + b_1) + b_2) of two layers (He et al. 2016). The L layers are one pack,
    so that their matrices are formed at once: PackedLinear, or SpectralLinear with L trials.
    """

    def __init__(
        self,
        first: nn.Linear,
        layers: PackedLinear | SpectralLinear,
        head: nn.Linear,
        *,
        activation: str,
        residual: bool,
        embedding: nn.Embedding | None = None,
    ) -> None:
        super().__init__(head, embedding=embedding)
        self.first, self.layers = first, layers
        self.activation, self.residual = Activation(activation), residual

    def read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        x = self.activation(self.first(within(inputs, lengths).flatten(1)))
        weights, biases = matrices(self.layers), self.layers.bias
        assert biases is not None
        return run(x, weights, biases, self.activation, residual=self.residual)


def within(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Zeros past each sequence's end: inputs (..., B, T, I), lengths (..., B), all T if None."""
    if lengths is None:
        return inputs
    here = torch.arange(inputs.shape[-2], device=inputs.device) < lengths.unsqueeze(-1)
    return torch.where(here.unsqueeze(-1), inputs, torch.zeros_like(inputs))


def matrices(layers: PackedLinear | SpectralLinear) -> Tensor:
    """W of every layer, (L, n, n)."""
    if isinstance(layers, PackedLinear):
        return layers.weight
    return formed(Transition(layers.singular_values(), layers.reflectors_u, layers.reflectors_v))


def formed(transition: Transition) -> Tensor:
    """W, (..., n, n), in the dtype of its factors also under autocast: half precision has no triangular solver."""
    with torch.autocast(transition.u.device.type, enabled=False):
        return transition.matrix()


def run(x: Tensor, weights: Tensor, biases: Tensor, activation: Activation, *, residual: bool) -> Tensor:
    """The top activation: x (B, n), weights (L, n, n), biases (L, n), all with a leading K in a pack."""
    layers = list(zip(weights.unbind(-3), biases.unbind(-2), strict=True))
    if not residual:
        for weight, bias in layers:
            x = activation(linear(x, weight, bias))
        return x
    for (weight1, bias1), (weight2, bias2) in zip(layers[::2], layers[1::2], strict=True):
        x = activation(x + linear(activation(linear(x, weight1, bias1)), weight2, bias2))
    return x


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x W^T + b: x (B, I), weight (n, I), bias (n), all with a leading K in a pack."""
    if x.dim() == 2:
        return nn.functional.linear(x, weight, bias)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
