"""The copy task (Hochreiter and Schmidhuber 1997, in the form of Arjovsky, Shah and Bengio 2016)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from workers.tasks.task import Loss, MetricDirections, Readout, SampleView, Sequences, Split, Task, scored

SYMBOLS, COPIED = 8, 10
BLANK, DELIMITER = 8, 9
CHANNELS = 10
SYMBOL_NAMES = tuple("abcdefgh")
HELD_OUT = 500


class Copy(Task):
    """The copy task: repeat ten symbols after a long gap.

    A sequence has T + 20 steps: 10 random symbols out of 8, T - 1 blanks, a delimiter, and 10 blanks. Inputs
    (T + 20, 10) are one-hot. The target is a class of 9 at every step: blank until the last 10 steps, then the 10
    symbols in their order. The loss is the cross-entropy in nats over all steps. The metric ``recall`` is the share of
    right answers over the last 10 steps, 1/8 for a guess. The baseline is 10 ln 8 / (T + 20): blanks, then a uniform
    guess among the symbols.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "recall")
    summary: ClassVar[str] = "Repeat 10 symbols after T steps of silence; tests exact memory over a long gap."

    name: Literal["copy"] = Field(default="copy", description="name of the task")
    length: int = Field(default=100, ge=1, le=100_000, description="T, steps between the symbols and their recall")

    @property
    def sequence_length(self) -> int:
        """T + 20 steps."""
        return self.length + 2 * COPIED

    @property
    def input_size(self) -> int:
        """10: eight symbols, the blank and the delimiter."""
        return CHANNELS

    @property
    def output_size(self) -> int:
        """9 classes: eight symbols and the blank."""
        return SYMBOLS + 1

    @property
    def readout(self) -> Readout:
        """``every``: each step has a target."""
        return "every"

    @property
    def recalled(self) -> int:
        """10, the steps at which the symbols are repeated."""
        return COPIED

    @property
    def baseline(self) -> float:
        """Loss of answering blank, then guessing: 10 ln 8 / (T + 20)."""
        return COPIED * math.log(SYMBOLS) / self.sequence_length

    @property
    def draws_fresh(self) -> bool:
        """True: every training step draws new sequences."""
        return True

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the one-hot channels with the names of the symbols, a to h."""
        names = (*SYMBOL_NAMES, "blank")
        return SampleView(inputs, feature_names=(*names, "delimiter"), class_names=names)

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return None, since training sequences are drawn."""
        return None

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return 500 sequences, drawn with a fixed seed for each split."""
        seed = {"validation": 1, "test": 2}[split]
        return self.fresh(np.random.default_rng([0xC097, seed]), HELD_OUT)

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        """Return ``count`` new sequences."""
        symbols = rng.integers(0, SYMBOLS, (count, COPIED))
        shown = np.full((count, self.sequence_length), BLANK)
        shown[:, :COPIED] = symbols
        shown[:, -COPIED - 1] = DELIMITER
        targets = np.full((count, self.sequence_length), BLANK, dtype=np.int64)
        targets[:, -COPIED:] = symbols
        return Sequences(np.eye(CHANNELS, dtype=np.float32)[shown], targets)
