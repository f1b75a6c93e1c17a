"""The base class of all tasks: fields, data as numpy arrays, a loss and metrics.

A new task is a ``Task`` subclass in a file of this folder, with an entry in ``TASKS`` and a place in ``AnyTask``, both
in ``workers/tasks/__init__.py``.
Tasks return numpy arrays and the trainer moves them to a device, so that describing a task never loads torch.
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
"""The class of a step that has no target. For the loss ``mse`` the mark is NaN."""

METRICS: MetricDirections = {
    "loss": "minimize",  # mean over the steps that have a target: nats, or squared error
    "accuracy": "maximize",  # share of those steps whose most likely class is right
    "recall": "maximize",  # the same share over the last ``Task.recalled`` steps
    "bpc": "minimize",  # bits per symbol, loss / ln 2
    "perplexity": "minimize",  # exp(loss)
    "error": "minimize",  # root of the mean squared error
}
"""Every metric that can be computed, with the direction that is better."""

T = TypeVar("T")


def scored(*names: str) -> MetricDirections:
    """Return the metrics of these names with the direction that is better for each."""
    return {name: METRICS[name] for name in names}


class _Decided(Generic[T]):
    def __init__(self, decide: Callable[[Any], T], listed: T) -> None:
        self._decide, self._listed = decide, listed

    def __get__(self, task: Any, owner: type) -> T:
        return self._listed if task is None else self._decide(task)


def decided_by(decide: Callable[[Any], T], listed: T) -> T:
    """Return a class attribute whose value depends on the fields of the task, such as ``loss`` or ``metrics``.

    Args:
        decide: Function that computes the value from a task.
        listed: Value that the attribute has on the class itself, as listings of all tasks show it.
    """
    return cast(T, _Decided(decide, listed))


@dataclass(frozen=True)
class Sequences:
    """N sequences of T steps with their targets.

    Attributes:
        inputs: float32 (N, T, input_size), or int64 token ids (N, T) if ``Task.tokens`` is a number.
        targets: One target per sequence, for the last state: int64 (N,) for ``cross_entropy``, float32
            (N, output_size) for ``mse``. Or one per step: int64 (N, T) or float32 (N, T, output_size), where -100
            (cross_entropy) or NaN (mse) marks a step without a target.
        lengths: int64 (N,), the number of steps of each sequence, 1 to T; None if all have T. Steps after the end of
            a sequence are padding: no net reads them and they have no target.
    """

    inputs: npt.NDArray[np.float32] | npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64] | npt.NDArray[np.float32]
    lengths: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def subset(self, chosen: npt.NDArray[np.bool_]) -> Sequences:
        """Return the sequences that the mask ``chosen`` (N,) selects."""
        lengths = None if self.lengths is None else self.lengths[chosen]
        return Sequences(self.inputs[chosen], self.targets[chosen], lengths)


@dataclass(frozen=True)
class SampleView:
    """How a picture shows one sequence of a task.

    Attributes:
        values: Values over time, (T', D). They are the inputs (T, input_size), unless the task made its steps out of
            several values each: then T' is longer. Token ids are (T,).
        feature_names: Names of the D features; None to number them.
        class_names: Names of the classes or tokens by number; None to show the numbers.
        image: The picture (height, width) that the sequence was made from; None for other data.
    """

    values: npt.NDArray[Any]
    feature_names: Sequence[str] | None = None
    class_names: Sequence[str] | None = None
    image: npt.NDArray[np.float32] | None = None


class Task(BaseModel, ABC):
    """A task: its fields, its sizes and its data.

    Attributes:
        loss: The loss that is trained on, ``cross_entropy`` in nats or ``mse``.
        metrics: The metrics that are reported, with the direction that is better for each.
        summary: One sentence for listings.
        reads_files: Whether the data comes from files of the data directory.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    loss: ClassVar[Loss]
    metrics: ClassVar[MetricDirections]
    summary: ClassVar[str]
    reads_files: ClassVar[bool] = False

    @property
    @abstractmethod
    def sequence_length(self) -> int:
        """Steps T of the longest sequence; for a task that carries its state, steps between two updates."""

    @property
    @abstractmethod
    def input_size(self) -> int:
        """Features per step; the size of the vocabulary if inputs are tokens."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """Number of classes (cross_entropy) or of predicted numbers (mse)."""

    @property
    @abstractmethod
    def baseline(self) -> float:
        """Loss of an answer that does not depend on the input; each task says of which. A net has to get below it."""

    @property
    def readout(self) -> Readout:
        """``last`` if targets belong to the last state, ``every`` if each step has one."""
        return "last"

    @property
    def tokens(self) -> int | None:
        """Size of the vocabulary if inputs are token ids; None if they are numbers."""
        return None

    @property
    def carried(self) -> bool:
        """Whether the training set is one stream whose state is carried from batch to batch.

        ``training_data`` then has N = 1 and the whole stream in T; the trainer cuts it into batch rows. Each row of a
        held-out set is read from its first step to its last with the state carried.
        """
        return False

    @property
    def draws_fresh(self) -> bool:
        """Whether every training step draws new sequences with ``fresh``; such a task has no epochs."""
        return False

    @property
    def recalled(self) -> int:
        """Number of steps at the end of a sequence that the metric ``recall`` counts; 0 for a task without it."""
        return 0

    def check_data(self, data_dir: Path | None) -> int | None:
        """Read the files and divide them as training will, so that what is wrong with them is told beforehand.

        Args:
            data_dir: The data directory.

        Returns:
            The number of training sequences, or of the steps of the stream if the task carries its state. None if
            there is nothing to read, or if this machine need not have the files: it has no data directory, or a worker
            would fetch them.

        Raises:
            DataMissing: If a file is missing or wrong, or too short to be divided.
        """
        return None

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return how a picture shows the sequence ``inputs``.

        Args:
            inputs: One sequence, (T, input_size), or its token ids (T,).
            data_dir: Data directory, which names of classes may be read from.

        Raises:
            DataMissing: If a file that holds the names cannot be read.
        """
        return SampleView(inputs)

    @abstractmethod
    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return the fixed training set, or None if every step draws new sequences with ``fresh``.

        Raises:
            DataMissing: If the data cannot be read or fetched.
        """

    @abstractmethod
    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return the validation or test set, which is the same for every trial.

        Raises:
            DataMissing: If the data cannot be read or fetched.
        """

    def fresh(self, rng: np.random.Generator, count: int) -> Sequences:
        """Return ``count`` new training sequences drawn with ``rng``.

        Raises:
            TypeError: If the task has a fixed training set.
        """
        raise TypeError(f"task {type(self).__name__} has a fixed training set; use training_data instead of fresh")
