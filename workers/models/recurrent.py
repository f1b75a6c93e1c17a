"""Recurrent networks, which read their input step by step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from workers.models.exponential import ExponentialRNN
from workers.models.sequence_model import SequenceModel
from workers.tasks.task import Readout

Recurrent = SpectralRNN | SpectralLSTM | SpectralGRU | ExponentialRNN | nn.RNN | nn.LSTM | nn.GRU


class RecurrentModel(SequenceModel):
    """A recurrent module (with ``batch_first``), and a linear readout of its last state or of every state."""

    def __init__(
        self, recurrent: Recurrent, head: nn.Linear, *, readout: Readout = "last", embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__(head, readout=readout, embedding=embedding)
        self.recurrent = recurrent

    def read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the last states of the top layer, shape (B, H), or for the readout "every" all of them, (B, T, H)."""
        if self.readout == "last" and isinstance(self.recurrent, SpectralRNN):
            return self.recurrent.last_state(inputs, lengths=lengths)[-1]
        states: Tensor = self.recurrent(inputs)[0]
        return states if self.readout == "every" else last_state_of(states, lengths)


def last_state_of(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the state after the last step of each sequence.

    Args:
        states: All states, shape (..., T, H).
        lengths: The steps of each sequence, shape (...); None if all have T steps.

    Returns:
        Shape (..., H).
    """
    if lengths is None:
        return states[..., -1, :]
    index = (lengths.to(torch.int64) - 1).view(*lengths.shape, 1, 1).expand(*lengths.shape, 1, states.shape[-1])
    return states.gather(-2, index).squeeze(-2)
