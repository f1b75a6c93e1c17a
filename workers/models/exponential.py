"""The expRNN: an orthogonal transition W = exp(A) with a skew-symmetric A (Lezcano-Casado and Martinez-Rubio 2019)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from spectral import Activation, ParameterRole, dense_recurrence, rotation_angles
from workers.models.linear import linear


class ExponentialCell(NamedTuple):
    """The tensors of one layer; in a pack all of them have a leading axis K.

    Attributes:
        weight: M, shape (n, I).
        bias: b, shape (n,).
        matrix: W, shape (n, n).
        offset: The offset of modReLU, shape (n,); None for other nonlinearities.
    """

    weight: Tensor
    bias: Tensor
    matrix: Tensor
    offset: Tensor | None


class ExponentialLayer(nn.Module):
    """The parameters of one layer. ``weight_hh`` is exp(A), by torch's own orthogonal parametrization."""

    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {"offset": "threshold"}
    weight_hh: Tensor

    def __init__(
        self, inputs: int, size: int, activation: Activation, start: str, generator: torch.Generator, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(size, inputs, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(size, dtype=dtype))
        for parameter in (self.weight_ih, self.bias):
            nn.init.uniform_(parameter, -1 / math.sqrt(size), 1 / math.sqrt(size), generator=generator)
        self.offset = nn.Parameter(torch.zeros(size, dtype=dtype)) if activation.has_offset else None
        self.register_parameter("weight_hh", nn.Parameter(_planes(size, start, generator).to(dtype)))
        orthogonal(self, "weight_hh", orthogonal_map="matrix_exp", use_trivialization=False)

    @property
    def cell(self) -> ExponentialCell:
        """The tensors that the recurrence needs."""
        return ExponentialCell(self.weight_ih, self.bias, self.weight_hh, self.offset)


class ExponentialRNN(nn.Module):
    """h_t = phi(exp(A) h_{t-1} + M x_t + b), in layers.

    exp(A) starts as rotations in planes by the angles of ``spectral.rotation_angles``, which are random but 0 for the
    start ``identity``. M and b are drawn from U(-1/sqrt(n), 1/sqrt(n)).

    Args:
        input_size: The size I of an input.
        hidden_size: The size n of a state.
        num_layers: The number L of layers.
        nonlinearity: The name of phi.
        start: How the angles are drawn: ``henaff``, ``cayley`` or ``identity``.
        generator: The generator of all random numbers.
        dtype: The dtype of the parameters.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        nonlinearity: str,
        *,
        start: str,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.hidden_size, self.num_layers, self.activation = hidden_size, num_layers, Activation(nonlinearity)
        widths = [input_size, *[hidden_size] * (num_layers - 1)]
        self.layers = nn.ModuleList(
            ExponentialLayer(width, hidden_size, self.activation, start, generator, dtype) for width in widths
        )

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return every state of the top layer, shape (B, T, n), and the last one of each layer, shape (L, B, n)."""
        cells = [layer.cell for layer in self.layers if isinstance(layer, ExponentialLayer)]
        h0 = cells[0].weight.new_zeros(len(cells), len(inputs), self.hidden_size)
        layers = [states.transpose(0, 1) for states in run(inputs.transpose(0, 1), h0, cells, self.activation)]
        return layers[-1], torch.stack([states[:, -1] for states in layers])


def run(x: Tensor, h0: Tensor, cells: Iterable[ExponentialCell], activation: Activation) -> list[Tensor]:
    """Return the states of every layer, each of shape (T, B, n), or (K, T, B, n) in a pack.

    Args:
        x: The inputs, shape (T, B, I), or (K, T, B, I).
        h0: The states before the first step, shape (L, B, n), or (K, L, B, n).
        cells: The tensors of the L layers.
        activation: The nonlinearity phi.
    """
    found: list[Tensor] = []
    with torch.autocast(x.device.type, enabled=False):
        for cell, h in zip(cells, h0.unbind(-3), strict=True):
            dtype = cell.matrix.dtype
            z = linear(x.to(dtype), cell.weight, cell.bias)
            found.append(dense_recurrence(z, h, cell.matrix, activation, offset=cell.offset))
            x = found[-1]
    return found


def _planes(size: int, start: str, generator: torch.Generator) -> Tensor:
    """Return the lower triangle of an A whose exponential rotates the planes (2j, 2j + 1); float64 of shape (n, n)."""
    j = torch.arange(size // 2)
    lower = torch.zeros(size, size, dtype=torch.float64)
    lower[2 * j + 1, 2 * j] = rotation_angles(start, size // 2, generator=generator)
    return lower
