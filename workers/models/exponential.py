"""The expRNN of Lezcano-Casado and Martinez-Rubio 2019: an orthogonal transition W = exp(A), A skew-symmetric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from spectral import Activation, ParameterRole, dense_recurrence, rotation_angles


class ExponentialCell(NamedTuple):
    """One layer, with a leading K everywhere in a pack: M (n, I), b (n), W (n, n), modrelu's offset (n)."""

    weight: Tensor
    bias: Tensor
    matrix: Tensor
    offset: Tensor | None


class ExponentialLayer(nn.Module):
    """The parameters of one layer; ``weight_hh`` is exp(A) through torch's own orthogonal parametrisation."""

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
        """What the recurrence takes."""
        return ExponentialCell(self.weight_ih, self.bias, self.weight_hh, self.offset)


class ExponentialRNN(nn.Module):
    """h_t = phi(exp(A) h_{t-1} + M x_t + b) in layers: x (B, T, I) -> every state (B, T, n), last ones (L, B, n).

    Starts: plane rotations, as ``rotation_angles`` draws them, M and b from U(-1/sqrt(n), 1/sqrt(n)).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int, nonlinearity: str, *,
        start: str, generator: torch.Generator, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        super().__init__()
        self.hidden_size, self.num_layers, self.activation = hidden_size, num_layers, Activation(nonlinearity)
        widths = [input_size, *[hidden_size] * (num_layers - 1)]
        self.layers = nn.ModuleList(
            ExponentialLayer(width, hidden_size, self.activation, start, generator, dtype) for width in widths
        )

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Every state of the top layer, and the last of each layer."""
        cells = [layer.cell for layer in self.layers if isinstance(layer, ExponentialLayer)]
        h0 = cells[0].weight.new_zeros(len(cells), len(inputs), self.hidden_size)
        layers = [states.transpose(0, 1) for states in run(inputs.transpose(0, 1), h0, cells, self.activation)]
        return layers[-1], torch.stack([states[:, -1] for states in layers])


def run(x: Tensor, h0: Tensor, cells: Iterable[ExponentialCell], activation: Activation) -> list[Tensor]:
    """Every layer's states (T, B, n): x (T, B, I), h0 (L, B, n), all with a leading K in a pack."""
    found: list[Tensor] = []
    with torch.autocast(x.device.type, enabled=False):
        for cell, h in zip(cells, h0.unbind(-3), strict=True):
            dtype = cell.matrix.dtype
            z = _linear(x.to(dtype), cell)
            found.append(dense_recurrence(z, h, cell.matrix, activation, offset=cell.offset))
            x = found[-1]
    return found


def _linear(x: Tensor, cell: ExponentialCell) -> Tensor:
    if x.dim() == 3:
        return nn.functional.linear(x, cell.weight, cell.bias)
    z = torch.baddbmm(cell.bias.unsqueeze(1), x.flatten(1, -2), cell.weight.mT)
    return z.view(*x.shape[:-1], cell.weight.shape[-2])


def _planes(size: int, start: str, generator: torch.Generator) -> Tensor:
    """The lower triangle of the A whose exponential turns the planes (2j, 2j+1) by random angles, (n, n)."""
    j = torch.arange(size // 2)
    lower = torch.zeros(size, size, dtype=torch.float64)
    lower[2 * j + 1, 2 * j] = rotation_angles(start, size // 2, generator=generator)
    return lower
