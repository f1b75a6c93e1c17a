"""Packs of recurrent networks whose trials run in one call: SpectralRNN, SpectralLSTM, SpectralGRU, ExponentialRNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN, Transition
from workers.models import exponential
from workers.models.exponential import ExponentialLayer, ExponentialRNN
from workers.models.packed_model import PackedModel, all_of_class, stacked_parameters
from workers.models.recurrent import RecurrentModel, last_state_of
from workers.models.sequence_model import SequenceModel


class SpectralPack(PackedModel):
    """A packed SpectralRNN, SpectralLSTM or SpectralGRU, and a packed readout."""

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        super().__init__(trials)
        own = [trial.recurrent for trial in all_of_class(RecurrentModel, trials)]
        self._recurrent: SpectralRNN | SpectralLSTM | SpectralGRU
        if isinstance(own[0], SpectralRNN):
            self._recurrent = SpectralRNN.pack(all_of_class(SpectralRNN, own))
        elif isinstance(own[0], SpectralLSTM):
            self._recurrent = SpectralLSTM.pack(all_of_class(SpectralLSTM, own))
        else:
            self._recurrent = SpectralGRU.pack(all_of_class(SpectralGRU, own))
        self._set_state_shape(self._recurrent.num_layers, self._recurrent.hidden_size)
        if isinstance(self._recurrent, SpectralLSTM):
            self.state_size = 2 * self.hidden_size
        self.parameters |= {f"recurrent.{name}": p for name, p in self._recurrent.named_parameters()}
        self._set_bands(self._recurrent.slots, self._recurrent.spectrum)

    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        if isinstance(self._recurrent, SpectralLSTM):
            h, c = h0.chunk(2, -1)
            states, parts = self._recurrent(inputs, (h, c), lengths=lengths)
            state = torch.cat(parts, -1)
        elif every or isinstance(self._recurrent, SpectralGRU):
            states, state = self._recurrent(inputs, h0, lengths=lengths)
        else:
            state = self._recurrent.last_state(inputs, h0, lengths=lengths)
        return (states if every else self.top(state)), state

    def transitions(self) -> list[Transition]:
        """Return the transition of every layer."""
        return list(self._recurrent.transitions())

    def takes(self, network: SequenceModel) -> bool:
        """Return whether ``replace`` has room for a network: for its reflectors, and for a band around zero."""
        return super().takes(network) and self._recurrent.takes(self._module(network))

    @torch.no_grad()
    def replace(self, row: int, network: SequenceModel) -> None:
        """Put another network in the place of a trial, with its band of singular values; see ``PackedModel``."""
        super().replace(row, network)
        module = self._module(network)
        self._recurrent.set_trial(row, module)
        if self._band_centre is not None:
            self._band_centre[row] = module.slots[0].sigma

    def _module(self, network: SequenceModel) -> Any:
        (own,) = all_of_class(RecurrentModel, [network])
        (module,) = all_of_class(type(self._recurrent), [own.recurrent])
        return module

    def after_step(self) -> None:
        """Scale every reflector to length 1: the loss does not depend on it, and an optimiser would let it grow."""
        self._recurrent.normalize_()


class ExponentialPack(PackedModel):
    """Packed expRNNs. The exponential of each trial is computed by itself, so that rounding does not depend on K."""

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        super().__init__(trials)
        own = all_of_class(ExponentialRNN, [trial.recurrent for trial in all_of_class(RecurrentModel, trials)])
        like = own[0]
        self.parameters |= stacked_parameters(own, "recurrent")
        self._set_state_shape(like.num_layers, like.hidden_size)
        self._activation = like.activation
        self._maps = [_map(layer) for layer in all_of_class(ExponentialLayer, like.layers)]

    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        cells = [self._cell(layer) for layer in range(self.layers)]
        layers = exponential.run(inputs.transpose(1, 2), h0, cells, self._activation)
        state = torch.stack([last_state_of(states.transpose(1, 2), lengths) for states in layers], 1)
        return (layers[-1].transpose(1, 2) if every else self.top(state)), state

    def _cell(self, layer: int) -> exponential.ExponentialCell:
        prefix = f"recurrent.layers.{layer}."
        own = {name.removeprefix(prefix): p for name, p in self.parameters.items() if name.startswith(prefix)}
        raw = own["parametrizations.weight_hh.original"]
        matrix = torch.stack([self._maps[layer](raw[k]) for k in range(self.trials)])
        return exponential.ExponentialCell(own["weight_ih"], own["bias"], matrix, own.get("offset"))


def _map(layer: ExponentialLayer) -> nn.Module:
    """Return the module of a layer's parametrization, which maps a raw matrix (n, n) to an orthogonal one."""
    parametrizations = layer.parametrizations
    assert isinstance(parametrizations, nn.ModuleDict)
    chain = parametrizations["weight_hh"]
    assert isinstance(chain, nn.ModuleList)
    return chain[0]
