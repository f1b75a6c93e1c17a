"""The copy task (Hochreiter and Schmidhuber 1997, in the form of Arjovsky, Shah and Bengio 2016)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from workers.tasks.task import Loss, MetricDirections, Readout, Sequences, Split, Task, scored

SYMBOLS, COPIED = 8, 10
BLANK, DELIMITER = 8, 9
CHANNELS = 10
SYMBOL_NAMES = tuple("abcdefgh")
HELD_OUT = 500


class Copy(Task):
    """10 random symbols of 8, T - 1 blanks, a delimiter, 10 blanks; the answer is blank until the symbols return.

    One-hot inputs in T + 20 steps, a class of 9 at each of them, cross-entropy in nats over all. ``recall``: share of
    right answers over the last 10 steps, 1/8 for a guess. Baseline 10 ln 8 / (T + 20): blanks, then a uniform guess.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "recall")
    summary: ClassVar[str] = "Repeat 10 symbols after T steps of silence; tests exact memory over a long gap."

    name: Literal["copy"] = "copy"
    length: int = Field(default=100, ge=1, le=100_000, description="T, steps between the symbols and their recall")

    @property
    def sequence_length(self) -> int:
        return self.length + 2 * COPIED

    @property
    def input_size(self) -> int:
        return CHANNELS

    @property
    def output_size(self) -> int:
        return SYMBOLS + 1

    @property
    def readout(self) -> Readout:
        return "every"

    @property
    def recalled(self) -> int:
        return COPIED

    @property
    def baseline(self) -> float:
        return COPIED * math.log(SYMBOLS) / self.sequence_length

    @property
    def draws_fresh(self) -> bool:
        return True

    @property
    def features(self) -> Sequence[str]:
        return (*SYMBOL_NAMES, "blank", "delimiter")

    def labels(self, data_dir: Path | None) -> Sequence[str]:
        return (*SYMBOL_NAMES, "blank")

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        return None

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        seed = {"validation": 1, "test": 2}[split]
        return self.fresh(np.random.default_rng([0xC097, seed]), HELD_OUT)

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        symbols = rng.integers(0, SYMBOLS, (count, COPIED))
        shown = np.full((count, self.sequence_length), BLANK)
        shown[:, :COPIED] = symbols
        shown[:, -COPIED - 1] = DELIMITER
        targets = np.full((count, self.sequence_length), BLANK, dtype=np.int64)
        targets[:, -COPIED:] = symbols
        return Sequences(np.eye(CHANNELS, dtype=np.float32)[shown], targets)
