"""The adding problem (Hochreiter and Schmidhuber 1997, in the form of Arjovsky, Shah and Bengio 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from workers.tasks.task import Loss, MetricDirections, Sequences, Split, Task, scored

HELD_OUT = 1_000


class Adding(Task):
    """Two channels, a value in U[0, 1] and a marker; the target is the sum of the two marked values.

    One marker stands in each half. Squared error after the last step, metric loss; baseline 1/6, the answer 1 always.
    """

    loss: ClassVar[Loss] = "mse"
    metrics: ClassVar[MetricDirections] = scored("loss")
    summary: ClassVar[str] = "Sum the two marked numbers of a sequence; tests memory over its whole length."

    name: Literal["adding"] = "adding"
    length: int = Field(default=100, ge=2, le=100_000, description="time steps per sequence")

    @property
    def sequence_length(self) -> int:
        return self.length

    @property
    def input_size(self) -> int:
        return 2

    @property
    def output_size(self) -> int:
        return 1

    @property
    def baseline(self) -> float:
        return 1 / 6

    @property
    def draws_fresh(self) -> bool:
        return True

    @property
    def features(self) -> Sequence[str]:
        return ("value", "marker")

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        return None

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        seed = {"validation": 1, "test": 2}[split]
        return self.fresh(np.random.default_rng([0x0ADD, seed]), HELD_OUT)

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
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
