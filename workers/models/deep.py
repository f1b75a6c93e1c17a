"""Networks that read a whole sequence at once through a stack of n -> n layers, plain or residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectral import Activation, PackedLinear, SpectralLinear
from workers.models.linear import linear
from workers.models.sequence_model import SequenceModel


class DeepModel(SequenceModel):
    """A deep feed-forward network on flattened sequences (Zhang et al. 2018), and a linear readout.

    The first layer x = phi(A x + a) maps the sequence to n units; steps after a sequence's end are set to zero. Then
    come L layers x = phi(W x + b), or with ``residual`` L / 2 blocks x = phi(x + W_2 phi(W_1 x + b_1) + b_2) of two
    layers each (He et al. 2016).

    Args:
        first: The first layer, from T I inputs to n units.
        layers: The L layers as one pack, so that all their matrices are formed at once: a ``PackedLinear``, or a
            ``SpectralLinear`` with L trials.
        head: The readout.
        activation: The nonlinearity phi.
        residual: Whether the layers form residual blocks.
        embedding: The vectors of token ids; None if the inputs are numbers.
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
        """Return the activations of the last layer, shape (B, n)."""
        x = self.activation(self.first(zero_padding(inputs, lengths).flatten(1)))
        assert self.layers.bias is not None
        return run_layers(x, self.layers.weight, self.layers.bias, self.activation, residual=self.residual)


def zero_padding(inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the inputs with zeros after the end of each sequence.

    Args:
        inputs: Shape (..., B, T, I).
        lengths: The steps of each sequence, shape (..., B); None if all have T steps.
    """
    if lengths is None:
        return inputs
    valid = torch.arange(inputs.shape[-2], device=inputs.device) < lengths.unsqueeze(-1)
    return torch.where(valid.unsqueeze(-1), inputs, torch.zeros_like(inputs))


def run_layers(x: Tensor, weights: Tensor, biases: Tensor, activation: Activation, *, residual: bool) -> Tensor:
    """Return the activations of the last layer, in the shape of ``x``.

    Args:
        x: The activations of the first layer, shape (B, n), or (K, B, n) in a pack.
        weights: The matrices of the L layers, shape (L, n, n), or (K, L, n, n).
        biases: Shape (L, n), or (K, L, n).
        activation: The nonlinearity phi.
        residual: Whether each two layers form a residual block.
    """
    layers = list(zip(weights.unbind(-3), biases.unbind(-2), strict=True))
    if not residual:
        for weight, bias in layers:
            x = activation(linear(x, weight, bias))
        return x
    for (weight1, bias1), (weight2, bias2) in zip(layers[::2], layers[1::2], strict=True):
        x = activation(x + linear(activation(linear(x, weight1, bias1)), weight2, bias2))
    return x
