"""A single network as users get it: a module from sequences to one output per sequence or per step."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from workers.tasks.task import Readout


class SequenceModel(nn.Module, ABC):
    """The base class of networks: an embedding, the part that a subclass adds, and a linear readout.

    Attributes:
        embedding: The vectors of token ids; None if the inputs are numbers.
        head: The linear readout.
        readout: "last" if there is one output for each sequence, "every" if there is one for each step.
    """

    def __init__(self, head: nn.Linear, *, readout: Readout = "last", embedding: nn.Embedding | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = head
        self.readout: Readout = readout

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits, or predicted values.

        Args:
            inputs: Shape (B, T, input_size), or token ids of shape (B, T).
            lengths: The steps of each sequence, from 1 to T, shape (B,); None if all have T steps.

        Returns:
            Shape (B, output_size), or (B, T, output_size) for the readout "every".
        """
        inputs = inputs if self.embedding is None else self.embedding(inputs)
        outputs: Tensor = self.head(self.read(inputs, lengths))
        return outputs

    @abstractmethod
    def read(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the input of the head.

        Args:
            inputs: Numbers or embedded tokens, shape (B, T, I).
            lengths: The steps of each sequence, shape (B,); None if all have T steps.

        Returns:
            Shape (B, H), or (B, T, H) for the readout "every".
        """
