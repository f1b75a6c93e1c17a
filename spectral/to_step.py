"""The conversion of a recurrent module into one that computes one time step at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spectral.autocast import without_autocast
from spectral.errors import ConversionError, PackError
from spectral.step import GRUStep, LayerStep, LSTMStep, RNNStep, StackedLSTMStep, StackedStep
from spectral.transition import Factors, factors

if TYPE_CHECKING:
    from spectral.recurrent_module import RecurrentModule

SMALLEST_FACTORED = 160_000
"""The number of entries of W_hh from which a step takes less time with factors than with the matrix.

Measured at batches of 1 and 8 on one thread of a CPU: both forms take the same time near n = 400 for an RNN and near
n = 220 for an LSTM. Below, the factored form's further calls cost more than its smaller products save.
"""


def to_step(net: RecurrentModule, dense: bool | None) -> nn.Module:
    """Return a module that computes one time step of ``net``; see ``RecurrentModule.to_step``."""
    if net.trials is not None:
        raise PackError(
            f"a step module holds one trial, but this is a pack of {net.trials}; take one out first with .trial(k)"
        )
    if net.bidirectional:
        raise ConversionError(
            "a bidirectional module cannot run step by step, because its second direction starts at a sequence's end; "
            "use bidirectional=False"
        )
    if dense is False and net.proj_size:
        raise ConversionError(
            f"with proj_size={net.proj_size} recurrent matrices are not square and have no factored form; pass "
            "dense=True, or leave dense out"
        )
    with torch.no_grad(), without_autocast(net.weight_ih_l0.device):
        layers: list[Any] = [_layer_step(net, layer, dense) for layer in range(net.num_layers)]
    stacked = StackedLSTMStep if net.mode == "LSTM" else StackedStep
    step: nn.Module = layers[0] if len(layers) == 1 else stacked(layers)
    return step.eval()


def _layer_step(net: RecurrentModule, layer: int, dense: bool | None) -> LayerStep:
    """Return one step of one layer."""
    weight_ih, weight_hh, *rest = net._weights(layer, False)
    bias_ih, bias_hh = rest[:2] if net.bias else (None, None)
    matrix = _form(net, layer, weight_hh, dense)
    if net.mode == "LSTM":
        return LSTMStep(weight_ih, bias_ih, matrix, weight_hr=rest[-1] if net.proj_size else None)
    if net.mode == "GRU":
        return GRUStep(weight_ih, bias_ih, matrix, bias_hh=bias_hh)
    activation: Any = net.activation
    offset = getattr(net, f"offset_l{layer}").to(weight_ih.dtype) if activation.has_offset else None
    name, slope = activation.name, activation.slope
    return RNNStep(weight_ih, bias_ih, matrix, nonlinearity=name, negative_slope=slope, offset=offset)


def _form(net: RecurrentModule, layer: int, weight_hh: Tensor, dense: bool | None) -> Factors | Tensor:
    """Return W_hh as it is, or as factors if ``dense`` is False, or if it is None and they take less time."""
    if dense or net.proj_size:
        return weight_hh
    transition = net.transition(layer)
    if dense is None and (weight_hh.numel() < SMALLEST_FACTORED or 4 * transition.rank > transition.size):
        return weight_hh
    sigma, a, c = factors(transition)
    return Factors(sigma[None], a[None], c[None]) if net.mode.startswith("RNN") else Factors(sigma, a, c)
