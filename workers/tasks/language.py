"""Language modelling over one stream of tokens: predict the next one at every step, the state carried along."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from workers.tasks.task import MASKED, Loss, Readout, Sequences, Split, Task
from workers.tasks.vocabulary import Vocabulary

Ids = npt.NDArray[np.int64]
HELD_OUT_ROWS = 32
"""Rows that a held-out stream is read in: more are faster, and each but the first starts without its past."""


@dataclass(frozen=True)
class Streams:
    """Token ids of the three parts, each (M,), and what they stand for."""

    vocabulary: Vocabulary
    train: Ids
    validation: Ids
    test: Ids


class LanguageTask(Task):
    """Input: a token; target: the next one, at every step. Subclasses say where the text is and what its tokens are.

    Loss: cross-entropy in nats per token. A held-out part is read from beginning to end in 32 rows, every token but the
    first predicted once.
    """

    loss: ClassVar[Loss] = "cross_entropy"

    @property
    def input_size(self) -> int:
        return self.vocabulary_size

    @property
    def output_size(self) -> int:
        return self.vocabulary_size

    @property
    def tokens(self) -> int | None:
        return self.vocabulary_size

    @property
    def readout(self) -> Readout:
        return "every"

    @property
    def carried(self) -> bool:
        return True

    @property
    @abstractmethod
    def vocabulary_size(self) -> int:
        """Tokens there are; known from the fields alone, whatever the text holds."""

    @abstractmethod
    def streams(self, data_dir: Path | None) -> Streams:
        """The three parts. Raises DataMissing where a file is not there."""

    def labels(self, data_dir: Path | None) -> Sequence[str]:
        return self.streams(data_dir).vocabulary.symbols

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        ids = self.streams(data_dir).train
        return Sequences(ids[None, :-1], ids[None, 1:])

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        streams = self.streams(data_dir)
        return in_rows(streams.validation if split == "validation" else streams.test)


def in_rows(ids: Ids) -> Sequences:
    """A stream (M,) as rows that follow each other, (rows, steps); the rest of the last row is masked."""
    count = len(ids) - 1
    rows = min(HELD_OUT_ROWS, count)
    rest = -count % rows
    inputs = np.concatenate([ids[:-1], np.zeros(rest, np.int64)])
    targets = np.concatenate([ids[1:], np.full(rest, MASKED, np.int64)])
    return Sequences(inputs.reshape(rows, -1), targets.reshape(rows, -1))
