"""One trained network as users get it: a plain module, sequences in, one output per sequence or per step."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from spectral import SpectralRNN

Readout = Literal["last", "every"]
Recurrent = SpectralRNN | nn.RNN | nn.LSTM


class SequenceModel(nn.Module):
    """A recurrent net and a linear readout of its last state, or of every state.

    recurrent: one of ``Recurrent``, with batch_first. head: torch.nn.Linear. embedding: for token ids as inputs.
    """

    def __init__(
        self, recurrent: Recurrent, head: nn.Linear, *, readout: Readout = "last", embedding: nn.Embedding | None = None
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.recurrent = recurrent
        self.head = head
        self.readout: Readout = readout

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """inputs (B, T, input_size), or token ids (B, T) -> (B, output_size), or (B, T, output_size) where every step
        is read: logits, or predicted values. lengths (B,): steps of each sequence that count, each from 1 to T.
        """
        inputs = inputs if self.embedding is None else self.embedding(inputs)
        outputs: Tensor = self.head(self._read(inputs, lengths))
        return outputs

    def _read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
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
