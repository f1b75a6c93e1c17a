"""A task's data as tensors on a device, and the batches of each trial.

What trial sees at a step is a function of (seed, step) alone: nothing random is carried along, so a checkpoint needs
no generator's state and a trial sees the same batches alone, in any pack and after any restart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workers.tasks import Sequences, Task

ORDER_STREAM, FRESH_STREAM, OFFSET_STREAM = 0x0DE4, 0xF4E5, 0x0FF5


class Batch(NamedTuple):
    """What K trials see at a step. Held-out sets come without K, with N for B.

    inputs: (K, B, T, I), or int64 token ids (K, B, T). targets: (K, B) or (K, B, O) of the last state, (K, B, T) or
    (K, B, T, O) of every one. lengths: int64 (K, B), None where all are T. fresh: of carried tasks bool (K,), True
    where a trial's state starts from zero at this batch; None for others, which always do.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    fresh: Tensor | None = None


class ShuffledOrder:
    """Shuffled passes over ``size`` examples, one after another: batch ``step`` is the next ``batch_size`` of them."""

    def __init__(self, seed: int, size: int, batch_size: int) -> None:
        self._seed, self._size, self._batch_size = seed, size, batch_size
        self._epoch, self._shuffled = -1, np.empty(0, dtype=np.int64)

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Batch of the optimiser step numbered ``step`` from 0, (B,). A batch may run on into the next pass."""
        start, stop = step * self._batch_size, (step + 1) * self._batch_size
        parts = []
        while start < stop:
            epoch, offset = divmod(start, self._size)
            parts.append(self._pass(epoch)[offset : offset + stop - start])
            start += len(parts[-1])
        return np.concatenate(parts)

    def _pass(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch != self._epoch:
            rng = np.random.default_rng([ORDER_STREAM, self._seed, epoch])
            self._epoch, self._shuffled = epoch, rng.permutation(self._size)
        return self._shuffled


class StreamOrder:
    """Passes over one stream of ``size`` steps in ``batch_size`` rows: a row goes on where its last batch ended.

    What is left over when the stream is cut into whole batches differs from pass to pass. Raises ValueError where the
    stream has no whole batch.
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

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Where in the stream each row of batch ``step`` (from 0) starts, (B,)."""
        turn, batch = divmod(step, self._batches)
        offset = np.random.default_rng([OFFSET_STREAM, self._seed, turn]).integers(0, self._spare + 1)
        starts: npt.NDArray[np.int64] = offset + self._rows * self._stride + batch * self._length
        return starts

    def is_fresh(self, step: int) -> bool:
        """Whether batch ``step`` is the first of a pass."""
        return step % self._batches == 0


class TaskData:
    """The sets of one task on ``device``. Raises DataMissing where they are not there."""

    def __init__(self, task: Task, data_dir: Path | None, device: torch.device, dtype: torch.dtype) -> None:
        self._task, self._device, self._dtype = task, device, dtype
        fixed = task.training_data(data_dir)
        self._train = None if fixed is None else self._tensors(fixed)
        self.validation = self._tensors(task.held_out("validation", data_dir))
        self.test = self._tensors(task.held_out("test", data_dir))

    @property
    def train_size(self) -> int | None:
        """Sequences, or steps of a carried task's stream; None where every step draws fresh sequences."""
        if self._train is None:
            return None
        return self._train.inputs.shape[1] if self._task.carried else len(self._train.inputs)

    def order(self, seed: int, batch_size: int) -> ShuffledOrder | StreamOrder:
        size = self.train_size or batch_size
        if self._task.carried:
            return StreamOrder(seed, size, batch_size, self._task.sequence_length)
        return ShuffledOrder(seed, size, batch_size)

    def batch(
        self, orders: Sequence[ShuffledOrder | StreamOrder], seeds: Sequence[int], steps: Sequence[int], batch_size: int
    ) -> Batch:
        """The batches of K trials, each at its own step (from 0)."""
        if self._train is None:
            return _stacked([self._fresh(seed, step, batch_size) for seed, step in zip(seeds, steps, strict=True)])
        found = np.stack([order.indices(step) for order, step in zip(orders, steps, strict=True)])
        index, (inputs, targets, lengths, _) = self._moved(torch.from_numpy(found)), self._train
        if not self._task.carried:
            return Batch(inputs[index], targets[index], None if lengths is None else lengths[index])
        starts = [isinstance(o, StreamOrder) and o.is_fresh(step) for o, step in zip(orders, steps, strict=True)]
        span = index.unsqueeze(-1) + torch.arange(self._task.sequence_length, device=self._device)
        return Batch(inputs[0, span], targets[0, span], None, self._moved(torch.tensor(starts)))

    def _fresh(self, seed: int, step: int, count: int) -> Batch:
        return self._tensors(self._task.fresh(np.random.default_rng([FRESH_STREAM, seed, step]), count))

    def _tensors(self, sequences: Sequences) -> Batch:
        lengths = sequences.lengths
        return Batch(
            self._tensor(sequences.inputs),
            self._tensor(sequences.targets),
            None if lengths is None else self._tensor(lengths),
        )

    def _tensor(self, array: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> Tensor:
        """On the device; numbers in the trials' dtype, classes and ids as they are."""
        tensor = self._moved(torch.from_numpy(np.ascontiguousarray(array)))
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def _moved(self, tensor: Tensor) -> Tensor:
        """Onto the device; from pinned memory, so that the host does not wait for a GPU."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)


def _stacked(drawn: Sequence[Batch]) -> Batch:
    lengths = [batch.lengths for batch in drawn if batch.lengths is not None]
    return Batch(
        torch.stack([batch.inputs for batch in drawn]),
        torch.stack([batch.targets for batch in drawn]),
        torch.stack(lengths) if lengths else None,
    )
