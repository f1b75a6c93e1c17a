"""Packs of SpectralRNN."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral import SpectralRNN
from workers.models.packed import PackedModel, only
from workers.models.sequence_model import SequenceModel


class SpectralPack(PackedModel):
    """A packed SpectralRNN and a packed readout."""

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        super().__init__(trials)
        self._recurrent = SpectralRNN.pack(only(SpectralRNN, [trial.recurrent for trial in trials]))
        self.layers, self.hidden_size = self._recurrent.num_layers, self._recurrent.hidden_size
        self.state_size = self.hidden_size
        self.parameters |= {f"recurrent.{name}": p for name, p in self._recurrent.named_parameters()}

    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        if every:
            states, state = self._recurrent(inputs, h0, lengths=lengths)
            return states, state
        state = self._recurrent.last_state(inputs, h0, lengths=lengths)
        return state[:, -1], state

    def after_step(self) -> None:
        self._recurrent.normalize_()

    def spectrum_distance(self) -> Tensor:
        with torch.no_grad():
            return (self._recurrent.singular_values() - 1).abs().amax((-1, -2))
