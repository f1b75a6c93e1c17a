"""What a task is: parameters, data as numpy arrays, a loss and metrics by name.

A new task is one file beside this one (a ``Task`` subclass) and one line in the table of ``workers/tasks/__init__.py``.
Tasks make numpy arrays only: the trainer moves them to a device, so describing a task never loads torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Loss = Literal["cross_entropy", "mse"]
MetricDirections = dict[str, Literal["minimize", "maximize"]]
Readout = Literal["last", "every"]
Split = Literal["validation", "test"]

MASKED = -100
"""Class of a position that has no target; for mse it is NaN."""

METRICS: MetricDirections = {
    "loss": "minimize",  # mean over the positions that have a target: nats, or squared error
    "accuracy": "maximize",  # share of those positions whose likeliest class is right
    "recall": "maximize",  # the same over the last ``Task.recalled`` steps
    "bpc": "minimize",  # bits per symbol, loss / ln 2
    "perplexity": "minimize",  # exp(loss)
    "error": "minimize",  # root of the mean squared error
}
"""Every metric that can be scored, with the direction that is better."""

T = TypeVar("T")


def scored(*names: str) -> MetricDirections:
    """These metrics with their directions."""
    return {name: METRICS[name] for name in names}


class _Decided(Generic[T]):
    def __init__(self, decide: Callable[[Any], T], listed: T) -> None:
        self._decide, self._listed = decide, listed

    def __get__(self, task: Any, owner: type) -> T:
        return self._listed if task is None else self._decide(task)


def decided_by(decide: Callable[[Any], T], listed: T) -> T:
    """A class attribute (``loss``, ``metrics``) that a task's fields decide; on the class itself it is ``listed``."""
    return cast(T, _Decided(decide, listed))


@dataclass(frozen=True)
class Sequences:
    """N sequences of T steps with their targets.

    inputs: float32 (N, T, input_size), or int64 token ids (N, T) where ``Task.tokens`` is a number.
    targets: of the last state, int64 (N,) for cross_entropy or float32 (N, output_size) for mse; of every state,
    int64 (N, T) or float32 (N, T, output_size), where -100 (cross_entropy) or NaN (mse) marks what has no target.
    lengths: int64 (N,), steps that each sequence really has, 1 to T; None where all have T. What stands behind them is
    never read, and has no target.
    """

    inputs: npt.NDArray[np.float32] | npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs)


class Task(BaseModel, ABC):
    """The parameters of a task and where its data comes from.

    Class attributes: ``loss``; ``metrics`` maps each reported metric to the direction that is better;
    ``summary`` is one sentence for listings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    loss: ClassVar[Loss]
    metrics: ClassVar[MetricDirections]
    summary: ClassVar[str]

    @property
    @abstractmethod
    def sequence_length(self) -> int:
        """T, time steps per sequence (the longest one's); of a carried task, steps between two updates."""

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Features per time step; the size of the vocabulary where inputs are tokens."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Classes (cross_entropy) or target dimensions (mse)."""

    @property
    @abstractmethod
    def baseline(self) -> float:
        """The loss of the best constant answer: what a model that learned nothing reaches."""

    @property
    def readout(self) -> Readout:
        """Whether targets belong to the last state or to every state."""
        return "last"

    @property
    def tokens(self) -> int | None:
        """Size of the vocabulary where inputs are token ids, None where they are numbers."""
        return None

    @property
    def carried(self) -> bool:
        """Whether the training set is one stream whose state is carried on from batch to batch.

        ``training_data`` then has N = 1 and all of the stream in T, cut into batch rows later. A held-out set has
        rows that are each read from their first step to their last with the state carried.
        """
        return False

    @property
    def draws_fresh(self) -> bool:
        """Whether every step of training has new sequences: ``training_data`` is None, and there are no epochs."""
        return False

    @property
    def recalled(self) -> int:
        """Last steps of a sequence that metric ``recall`` counts."""
        return 0

    @property
    def features(self) -> Sequence[str] | None:
        """Names of the input features, for people; None where they have none."""
        return None

    def labels(self, data_dir: Path | None) -> Sequence[str] | None:
        """Names of the classes, for people; None where they are just numbers. Raises as ``held_out``."""
        return None

    def uncut(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The values over time, (T', D), that ``inputs`` (T, input_size) was cut from; most tasks cut none."""
        return inputs

    def image(self, inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32] | None:
        """The picture, (height, width), that the sequence ``inputs`` (T, input_size) was made of; None for others."""
        return None

    @abstractmethod
    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """The fixed training set, or None where every step draws fresh sequences with ``fresh``."""

    @abstractmethod
    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """The fixed validation or test set, the same for every trial."""

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        """``count`` new training sequences; only for tasks whose ``training_data`` is None."""
        raise TypeError(f"task {type(self).__name__} has a fixed training set")
