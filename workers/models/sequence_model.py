"""One trained network as users get it: a plain module, sequences in, one output per sequence or per step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from workers.tasks.task import Readout


class SequenceModel(nn.Module, ABC):
    """A net and a linear readout: ``embedding`` (for token ids as inputs, else None), the net, ``head``."""

    def __init__(self, head: nn.Linear, *, readout: Readout = "last", embedding: nn.Embedding | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = head
        self.readout: Readout = readout

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """inputs (B, T, input_size), or token ids (B, T) -> (B, output_size), or (B, T, output_size) where every step
        is read: logits, or predicted values. lengths (B,): steps of each sequence that count, each from 1 to T.
        """
        inputs = inputs if self.embedding is None else self.embedding(inputs)
        outputs: Tensor = self.head(self.read(inputs, lengths))
        return outputs

    @abstractmethod
    def read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """What the head reads: (B, H), or (B, T, H) where every step is read. inputs (B, T, I)."""
