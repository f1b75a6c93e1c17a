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

ORDER_STREAM, FRESH_STREAM = 0x0DE4, 0xF4E5


class Batch(NamedTuple):
    """inputs (K, B, T, I); targets (K, B), or (K, B, O) for mse. Held-out sets come without K, with N for B."""

    inputs: Tensor
    targets: Tensor


class Order:
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
        """None where every step draws fresh sequences."""
        return None if self._train is None else len(self._train.inputs)

    def order(self, seed: int, batch_size: int) -> Order:
        return Order(seed, self.train_size or batch_size, batch_size)

    def batch(self, orders: Sequence[Order], seeds: Sequence[int], steps: Sequence[int], batch_size: int) -> Batch:
        """The batches of K trials, each at its own step (from 0)."""
        if self._train is None:
            drawn = [self._fresh(seed, step, batch_size) for seed, step in zip(seeds, steps, strict=True)]
            return Batch(torch.stack([b.inputs for b in drawn]), torch.stack([b.targets for b in drawn]))
        found = np.stack([order.indices(step) for order, step in zip(orders, steps, strict=True)])
        index = self._moved(torch.from_numpy(found))
        return Batch(self._train.inputs[index], self._train.targets[index])

    def _fresh(self, seed: int, step: int, count: int) -> Batch:
        return self._tensors(self._task.fresh(np.random.default_rng([FRESH_STREAM, seed, step]), count))

    def _tensors(self, sequences: Sequences) -> Batch:
        inputs = self._moved(torch.from_numpy(np.ascontiguousarray(sequences.inputs))).to(self._dtype)
        targets = self._moved(torch.from_numpy(np.ascontiguousarray(sequences.targets)))
        return Batch(inputs, targets if self._task.loss == "cross_entropy" else targets.to(self._dtype))

    def _moved(self, tensor: Tensor) -> Tensor:
        """Onto the device; from pinned memory, so that the host does not wait for a GPU."""
        if self._device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self._device, non_blocking=True)
