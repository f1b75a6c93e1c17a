"""A recurrent net that reads its input step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from workers.models.exponential import ExponentialRNN
from workers.models.sequence_model import SequenceModel
from workers.tasks.task import Readout

Recurrent = SpectralRNN | SpectralLSTM | SpectralGRU | ExponentialRNN | nn.RNN | nn.LSTM | nn.GRU


class RecurrentModel(SequenceModel):
    """A recurrent net, with batch_first, and a linear readout of its last state or of every state."""

    def __init__(
        self, recurrent: Recurrent, head: nn.Linear, *, readout: Readout = "last", embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__(head, readout=readout, embedding=embedding)
        self.recurrent = recurrent

    def read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        if self.readout == "last" and isinstance(self.recurrent, SpectralRNN):
            return self.recurrent.last_state(inputs, lengths=lengths)[-1]
        states: Tensor = self.recurrent(inputs)[0]
        return states if self.readout == "every" else last_of(states, lengths)


def last_of(states: Tensor, lengths: Tensor | None) -> Tensor:
    """The state after each sequence's last step: states (..., T, H), lengths (...) or None for T -> (..., H)."""
    if lengths is None:
        return states[..., -1, :]
    index = (lengths.to(torch.int64) - 1).view(*lengths.shape, 1, 1).expand(*lengths.shape, 1, states.shape[-1])
    return states.gather(-2, index).squeeze(-2)
