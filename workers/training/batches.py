"""The data of a task as tensors on a device, and the batches of each trial.

The batch of a trial at a step is a function of (seed, step) alone. So a checkpoint needs no state of a random
generator, and a trial gets the same batches by itself, in any pack and after any restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.tasks import Sequences, Task

ORDER_STREAM, FRESH_STREAM, OFFSET_STREAM = 0x0DE4, 0xF4E5, 0x0FF5
"""Numbers that keep the random streams of one seed apart: the order of examples, newly drawn sequences, offsets."""


class Batch(NamedTuple):
    """The batches of K trials at one step.

    A data set on the device is a ``Batch`` too: without the axis K, and with all its N sequences for B.

    Attributes:
        inputs: Shape (K, B, T, I), or int64 token ids of shape (K, B, T).
        targets: Shape (K, B) or (K, B, O) for the last state, (K, B, T) or (K, B, T, O) for every state.
        lengths: The steps of each sequence, int64 of shape (K, B); None if all have T steps.
        resets: Only of tasks that carry the state from batch to batch: whether a trial's state starts from zero again
            with this batch, bool of shape (K,).
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    resets: Tensor | None = None


class ShuffledOrder:
    """The order of examples in shuffled passes over a training set of ``size`` examples.

    A batch may begin in one pass and end in the next, so that every batch has ``batch_size`` examples.
    """

    def __init__(self, seed: int, size: int, batch_size: int) -> None:
        self._seed, self._size, self._batch_size = seed, size, batch_size
        self._epoch, self._shuffled = -1, np.empty(0, dtype=np.int64)

    def indices(self, step: int, count: int = 1) -> npt.NDArray[np.int64]:
        """Return the positions of the examples of ``count`` batches from batch ``step`` on; shape (count * B,).

        Batches are counted from 0.
        """
        start, stop = step * self._batch_size, (step + count) * self._batch_size
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self._size)
            parts.append(self._permutation(epoch)[offset : offset + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch != self._epoch:
            rng = np.random.default_rng([ORDER_STREAM, self._seed, epoch])
            self._epoch, self._shuffled = epoch, rng.permutation(self._size)
        return self._shuffled


class StreamOrder:
    """The order of passes over one long sequence, read in rows: each batch continues where the one before ended.

    The stream of ``size`` steps is cut into ``batch_size`` rows, and each row into pieces of ``length`` steps. A pass
    begins at a random offset, so the steps that are left over differ from pass to pass.

    Raises:
        ValueError: A row of the stream is shorter than a piece, so that there is not a single batch.
    """

    def __init__(self, seed: int, size: int, batch_size: int, length: int) -> None:
        self._seed, self._length = seed, length
        self._stride, self._rows = size // batch_size, np.arange(batch_size)
        self._batches = self._stride // length
        if self._batches == 0:
            raise ValueError(
                f"training.batch_size {batch_size} rows of task.length {length} steps are more than the "
                f"{size:,} steps of the training stream; make one of them smaller"
            )
        self._spare = size - (batch_size - 1) * self._stride - self._batches * length

    def indices(self, step: int, count: int = 1) -> npt.NDArray[np.int64]:
        """Return the positions in the stream at which the rows of ``count`` batches from batch ``step`` on begin.

        Batches are counted from 0. The shape is (count * B,).
        """
        return np.concatenate([self._starts(at) for at in range(step, step + count)])

    def _starts(self, step: int) -> npt.NDArray[np.int64]:
        epoch, batch = divmod(step, self._batches)
        offset = np.random.default_rng([OFFSET_STREAM, self._seed, epoch]).integers(0, self._spare + 1)
        starts: npt.NDArray[np.int64] = offset + self._rows * self._stride + batch * self._length
        return starts

    def starts_pass(self, step: int) -> bool:
        """Return whether batch ``step`` is the first of a pass."""
        return step % self._batches == 0


Order = ShuffledOrder | StreamOrder
"""The order in which a trial goes through the training set."""


class TaskData:
    """The training, validation and test set of one task on a device.

    Args:
        task: The task.
        data_dir: The directory of data sets that are read from files; None for the one in the user's cache.
        device: Where all tensors are kept.
        dtype: The dtype of inputs and targets that are real numbers.

    Raises:
        DataMissing: The files of the task are missing from ``data_dir``, damaged or wrong.
    """

    def __init__(self, task: Task, data_dir: Path | None, device: torch.device, dtype: torch.dtype) -> None:
        self._task, self._device, self._dtype = task, device, dtype
        fixed = task.training_data(data_dir)
        self._train = None if fixed is None else self._tensors(fixed)
        self.validation = self._tensors(task.held_out("validation", data_dir))
        self.test = self._tensors(task.held_out("test", data_dir))

    @property
    def train_size(self) -> int | None:
        """The number of training sequences, or the number of steps of the stream if the task carries its state.

        None if the task draws new sequences at every step.
        """
        if self._train is None:
            return None
        return self._train.inputs.shape[1] if self._task.carried else len(self._train.inputs)

    def order(self, seed: int, batch_size: int) -> Order:
        """Return the order in which a trial with this seed goes through the training set.

        If the task draws new sequences at every step, ``batch`` does not use the order.

        Raises:
            ValueError: The stream of a task that carries its state is too short for a single batch.
        """
        size = self.train_size or batch_size
        if self._task.carried:
            return StreamOrder(seed, size, batch_size, self._task.sequence_length)
        return ShuffledOrder(seed, size, batch_size)

    def batch(self, orders: Sequence[Order], seeds: Sequence[int], steps: Sequence[int], batch_size: int) -> Batch:
        """Return the batches of K trials, each at its own step.

        Args:
            orders: Each trial's order, from ``order``.
            seeds: Each trial's seed.
            steps: The optimiser steps that each trial has done; 0 for its first batch.
            batch_size: The number of sequences of each trial.
        """
        parts = [
            self.parts(order, seed, step, 1, batch_size) for order, seed, step in zip(orders, seeds, steps, strict=True)
        ]
        return self.assemble({name: self._to_device(torch.cat([own[name] for own in parts])) for name in parts[0]})

    def parts(self, order: Order, seed: int, step: int, count: int, batch_size: int) -> dict[str, Tensor]:
        """Return what the host contributes to ``count`` successive batches of one trial, by name, on the CPU.

        These are the positions of the examples in the training set, or newly drawn sequences. The first axis has
        size ``count``. ``assemble`` makes batches of them.

        Args:
            order: The trial's order, from ``order``.
            seed: The trial's seed.
            step: The number of the first batch, from 0.
            count: The number of batches.
            batch_size: The number of sequences of a batch.
        """
        if self._train is not None:
            found = {"index": torch.from_numpy(order.indices(step, count)).view(count, -1)}
            if isinstance(order, StreamOrder):
                found["resets"] = torch.tensor([order.starts_pass(at) for at in range(step, step + count)])
            return found
        drawn = [self._draw(seed, at, batch_size) for at in range(step, step + count)]
        lengths = [each.lengths for each in drawn if each.lengths is not None]
        found = {
            "inputs": self._converted(_stack([each.inputs for each in drawn])),
            "targets": self._converted(_stack([each.targets for each in drawn])),
        }
        return found | ({"lengths": torch.from_numpy(_stack(lengths))} if lengths else {})

    def assemble(self, parts: Mapping[str, Tensor]) -> Batch:
        """Return the batches of K trials from their ``parts``, stacked on the device with K as the first axis."""
        if self._train is None:
            return Batch(parts["inputs"], parts["targets"], parts.get("lengths"))
        index, (inputs, targets, lengths, _) = parts["index"], self._train
        if not self._task.carried:
            return Batch(inputs[index], targets[index], None if lengths is None else lengths[index])
        span = index.unsqueeze(-1) + torch.arange(self._task.sequence_length, device=self._device)
        return Batch(inputs[0, span], targets[0, span], None, parts["resets"])

    @property
    def train(self) -> Batch | None:
        """The training set on the device, without the axis K; None if the task draws new sequences at every step."""
        return self._train

    def _draw(self, seed: int, step: int, count: int) -> Sequences:
        return self._task.fresh(fresh_generator(seed, step), count)

    def _tensors(self, sequences: Sequences) -> Batch:
        lengths = sequences.lengths
        return Batch(
            self._tensor(sequences.inputs),
            self._tensor(sequences.targets),
            None if lengths is None else self._tensor(lengths),
        )

    def _tensor(self, array: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> Tensor:
        """Return an array on the device: real numbers in the dtype of the trials, classes and token ids as they are."""
        return self._to_device(self._converted(array))

    def _converted(self, array: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _to_device(self, tensor: Tensor) -> Tensor:
        """Copy a tensor to the device; to a GPU from pinned memory, so that the host does not wait for the copy."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def fresh_generator(seed: int, step: int) -> np.random.Generator:
    """Return the generator with which a task draws the new sequences of a step."""
    return np.random.default_rng([FRESH_STREAM, seed, step])


def _stack(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return arrays[0][None] if len(arrays) == 1 else np.stack(arrays)
