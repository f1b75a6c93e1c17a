"""Language modelling over one stream of tokens: predict the next token at every step, with the state carried along."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from workers.tasks.task import MASKED, Loss, Readout, SampleView, Sequences, Split, Task
from workers.tasks.vocabulary import Vocabulary

Ids = npt.NDArray[np.int64]
HELD_OUT_ROWS = 32
"""Rows that a held-out stream is cut into. More rows are faster; each row but the first starts without its past."""


@dataclass(frozen=True)
class Streams:
    """Token ids of the training, validation and test text, each (M,), and the vocabulary that they number."""

    vocabulary: Vocabulary
    train: Ids
    validation: Ids
    test: Ids


class LanguageTask(Task):
    """A language model over a text: predict the next token from all tokens so far.

    Inputs (T,) are token ids; the target at every step is the next token, a class of the vocabulary. The loss is the
    cross-entropy in nats per token. The training text is one stream, and the state is carried from one update to the
    next. A held-out text is read from its beginning to its end in 32 rows, and every token but the first is predicted
    once. Subclasses say where the text is and what its tokens are.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    reads_files: ClassVar[bool] = True

    @property
    def input_size(self) -> int:
        """Size of the vocabulary."""
        return self.vocabulary_size

    @property
    def output_size(self) -> int:
        """Size of the vocabulary."""
        return self.vocabulary_size

    @property
    def tokens(self) -> int | None:
        """Size of the vocabulary."""
        return self.vocabulary_size

    @property
    def readout(self) -> Readout:
        """``every``: each step has a target."""
        return "every"

    @property
    def carried(self) -> bool:
        """True: the state is carried from batch to batch."""
        return True

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Number of token ids that the network has. It follows from the fields alone; a text may have fewer tokens."""

    @abstractmethod
    def streams(self, data_dir: Path | None) -> Streams:
        """Return the training, validation and test text.

        Raises:
            DataMissing: If a file is missing or cannot be used.
        """

    def check_data(self, data_dir: Path | None) -> int | None:
        """Read the text, and return the steps of the training stream; None if ``data_dir`` is no folder here."""
        return None if data_dir is None or not data_dir.is_dir() else len(self.streams(data_dir).train) - 1

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the token ids with the symbols of the vocabulary."""
        return SampleView(inputs, class_names=self.streams(data_dir).vocabulary.symbols)

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return the training text as one sequence."""
        ids = self.streams(data_dir).train
        return Sequences(ids[None, :-1], ids[None, 1:])

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return the validation or test text, cut into rows."""
        streams = self.streams(data_dir)
        return in_rows(streams.validation if split == "validation" else streams.test)


def in_rows(ids: Ids) -> Sequences:
    """Cut a stream (M,) into at most 32 rows that follow each other, (rows, steps).

    The last row is padded, and the padding has no target.
    """
    count = len(ids) - 1
    rows = min(HELD_OUT_ROWS, count)
    rest = -count % rows
    inputs = np.concatenate([ids[:-1], np.zeros(rest, np.int64)])
    targets = np.concatenate([ids[1:], np.full(rest, MASKED, np.int64)])
    return Sequences(inputs.reshape(rows, -1), targets.reshape(rows, -1))
