"""What a task is: parameters, data as numpy arrays, a loss and metrics by name.

A new task is one file beside this one (a ``Task`` subclass) and one line in the table of ``workers/tasks/__init__.py``.
Tasks make numpy arrays only: the trainer moves them to a device, so describing a task never loads torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Loss = Literal["cross_entropy", "mse"]
Split = Literal["validation", "test"]


@dataclass(frozen=True)
class Sequences:
    """Sequences with one target each, read from the last state.

    inputs: float32, (N, T, input_size). targets: int64 (N,) for cross_entropy, float32 (N, output_size) for mse.
    """

    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[np.int64] | npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.inputs)


class Task(BaseModel, ABC):
    """The parameters of a task and where its data comes from.

    Class attributes: ``loss``; ``metrics`` maps each reported metric to the direction that is better;
    ``summary`` is one sentence for listings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    loss: ClassVar[Loss]
    metrics: ClassVar[dict[str, Literal["minimize", "maximize"]]]
    summary: ClassVar[str]

    @property
    @abstractmethod
    def sequence_length(self) -> int:
        """T, time steps per sequence."""

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Features per time step."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Classes (cross_entropy) or target dimensions (mse)."""

    @property
    @abstractmethod
    def baseline(self) -> float:
        """The loss of the best constant answer: what a model that learned nothing reaches."""

    @abstractmethod
    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """The fixed training set, or None where every step draws fresh sequences with ``fresh``."""

    @abstractmethod
    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """The fixed validation or test set, the same for every trial."""

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        """``count`` new training sequences; only for tasks whose ``training_data`` is None."""
        raise TypeError(f"task {type(self).__name__} has a fixed training set")
