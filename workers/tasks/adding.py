"""The adding problem (Hochreiter and Schmidhuber 1997, in the form of Arjovsky, Shah and Bengio 2016)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from workers.tasks.task import Loss, MetricDirections, SampleView, Sequences, Split, Task, scored

HELD_OUT = 1_000


class Adding(Task):
    """The adding problem: sum the two marked numbers of a sequence.

    Inputs (T, 2) are a value drawn uniformly from [0, 1] and a marker, 0 or 1, at every step. Two steps are marked,
    one in each half of the sequence. The target, one number, is the sum of the two marked values. The loss is the
    squared error after the last step, and the only metric. The baseline is 1/6, the error of the constant answer 1.
    """

    loss: ClassVar[Loss] = "mse"
    metrics: ClassVar[MetricDirections] = scored("loss")
    summary: ClassVar[str] = "Sum the two marked numbers of a sequence; tests memory over its whole length."

    name: Literal["adding"] = Field(default="adding", description="name of the task")
    length: int = Field(default=100, ge=2, le=100_000, description="steps T of a sequence")

    @property
    def sequence_length(self) -> int:
        """The field ``length``."""
        return self.length

    @property
    def input_size(self) -> int:
        """2: the value and its marker."""
        return 2

    @property
    def output_size(self) -> int:
        """1: the sum."""
        return 1

    @property
    def baseline(self) -> float:
        """1/6, the variance of the sum of two values from U[0, 1]."""
        return 1 / 6

    @property
    def draws_fresh(self) -> bool:
        """True: every training step draws new sequences."""
        return True

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the two channels with their names."""
        return SampleView(inputs, feature_names=("value", "marker"))

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return None, since training sequences are drawn."""
        return None

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return 1,000 sequences, drawn with a fixed seed for each split."""
        seed = {"validation": 1, "test": 2}[split]
        return self.fresh(np.random.default_rng([0x0ADD, seed]), HELD_OUT)

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        """Return ``count`` new sequences."""
        half = self.length // 2
        values = rng.random((count, self.length), dtype=np.float32)
        first = rng.integers(0, half, count)
        second = rng.integers(half, self.length, count)
        rows = np.arange(count)
        markers = np.zeros_like(values)
        markers[rows, first] = 1
        markers[rows, second] = 1
        targets = (values[rows, first] + values[rows, second])[:, None]
        return Sequences(np.stack([values, markers], axis=-1), targets)
