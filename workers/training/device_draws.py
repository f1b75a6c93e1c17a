"""Sequences that tasks draw at every step, made on a GPU with the numbers that numpy draws on a CPU.

The host gives what takes no time: the state of numpy's generator, and the few whole numbers that it draws with
rejections, one after another. The device makes the sequences of them. PCG64 is a linear congruential generator of 128
bits (O'Neill 2014), so its state after any number of steps is A state + C step with constants A and C, and each program
can begin where its part begins.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.tasks import Task
from workers.tasks.adding import Adding
from workers.tasks.copy_memory import BLANK, CHANNELS, COPIED, DELIMITER, SYMBOLS, Copy
from workers.training.batches import Batch

log = logging.getLogger(__name__)

MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
"""The multiplier of numpy's PCG64."""
BITS = 1 << 128
BLOCK = 256
"""Words of the generator, or steps of sequences, that a program makes."""


class DeviceDraws(ABC):
    """Draws the sequences of one task in float32.

    Args:
        task: The task.
        batch_size: The number of sequences of each trial.
        device: The device.
    """

    def __init__(self, task: Any, batch_size: int, device: torch.device) -> None:
        self._task, self._batch_size, self._device = task, batch_size, device

    @abstractmethod
    def parts(self, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Return what the host contributes to a trial's batches, one for each generator, by name, on the CPU.

        The generators are those with which ``Task.fresh`` would draw the batches.
        """

    @abstractmethod
    def batch(self, block: Mapping[str, Tensor], at: Tensor) -> Batch:
        """Return the batches of K trials at one step of a block.

        Args:
            block: The ``parts`` of S steps and K trials, each of shape (S, K, ...).
            at: The step's place in the block, shape (1,).
        """

    def _launch(self, name: str, grid: tuple[int, int], *arguments: Any, **options: Any) -> None:
        kernels = importlib.import_module("workers.training.draw_kernels")
        with torch.cuda.device(self._device) if self._device.type == "cuda" else contextlib.nullcontext():
            getattr(kernels, name)[grid](*arguments, **options)


class AddingDraws(DeviceDraws):
    """Draws the adding problem: the values on the device, the marked steps on the host."""

    def __init__(self, task: Adding, batch_size: int, device: torch.device) -> None:
        super().__init__(task, batch_size, device)
        self._words = -(-batch_size * task.length // 2)
        lanes = _jumps(1, BLOCK + 1)[1:]  # the generator steps before it gives a word
        self._lanes, self._blocks = (
            torch.from_numpy(table).to(device) for table in (lanes, _jumps(BLOCK, -(-self._words // BLOCK)))
        )

    def parts(self, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Return the generators' states, and the first and the second marked step of each sequence."""
        half, length, count = self._task.length // 2, self._task.length, self._batch_size
        streams, firsts, seconds = [], [], []
        for rng in generators:
            inner = rng.bit_generator.state["state"]
            streams.append([part for value in (inner["state"], inner["inc"]) for part in divmod(value, 1 << 64)])
            rng.bit_generator.advance(count * length // 2)  # type: ignore[attr-defined]
            if count * length % 2:
                rng.random(1, dtype=np.float32)  # half of a word; the other half is used by the next number
            firsts.append(rng.integers(0, half, count))
            seconds.append(rng.integers(half, length, count))
        words = np.array(streams, dtype=np.uint64).view(np.int64)
        return {
            "streams": torch.from_numpy(words),
            "firsts": torch.from_numpy(np.stack(firsts)),
            "seconds": torch.from_numpy(np.stack(seconds)),
        }

    def batch(self, block: Mapping[str, Tensor], at: Tensor) -> Batch:
        """Return the batches of a step, by two launches."""
        trials, batch, length = block["firsts"].shape[1], self._batch_size, self._task.length
        inputs = torch.empty(trials, length, batch, 2, device=self._device)
        targets = torch.empty(trials, batch, 1, device=self._device)
        marked, sizes = (block["firsts"], block["seconds"], at), (trials, batch, length)
        grid = (len(self._blocks), trials)
        tables = (self._lanes, self._blocks)
        self._launch("adding", grid, block["streams"], *marked, inputs, *sizes, *tables, BLOCK=BLOCK)
        self._launch("adding_targets", (-(-batch // 64), trials), inputs, *marked, targets, *sizes, ROWS=64)
        return Batch(inputs.transpose(1, 2), targets)


class CopyDraws(DeviceDraws):
    """Draws the copy task: the symbols on the host, the sequences on the device."""

    def parts(self, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        """Return the symbols of each sequence."""
        drawn = [rng.integers(0, SYMBOLS, (self._batch_size, COPIED)) for rng in generators]
        return {"symbols": torch.from_numpy(np.stack(drawn))}

    def batch(self, block: Mapping[str, Tensor], at: Tensor) -> Batch:
        """Return the batches of a step, by one launch."""
        symbols, steps = block["symbols"], self._task.sequence_length
        trials, batch = symbols.shape[1:3]
        inputs = torch.empty(trials, steps, batch, CHANNELS, device=self._device)
        targets = torch.empty(trials, batch, steps, dtype=torch.int64, device=self._device)
        constants = {"COPIED": COPIED, "BLANK": BLANK, "DELIMITER": DELIMITER, "CHANNELS": CHANNELS, "PADDED": 16}
        grid = (-(-batch * steps // BLOCK), trials)
        self._launch("copying", grid, symbols, at, inputs, targets, trials, batch, steps, **constants, BLOCK=BLOCK)
        return Batch(inputs.transpose(1, 2), targets)


DRAWS: dict[type[Task], type[DeviceDraws]] = {Adding: AddingDraws, Copy: CopyDraws}
"""The tasks whose sequences are made on a GPU."""


def draws_of(task: Task, batch_size: int, device: torch.device) -> DeviceDraws | None:
    """Return what draws the sequences of a task on a device, or None if the host has to.

    The first sequences are compared with those that the task draws. If a number differs, as it would with a numpy whose
    generator is another one, that is logged, and None returned.
    """
    kind = DRAWS.get(type(task))
    if kind is None:
        return None
    draws = kind(task, batch_size, device)
    expected = task.fresh(np.random.default_rng(0), batch_size)
    block = {name: part.unsqueeze(1).to(device) for name, part in draws.parts([np.random.default_rng(0)]).items()}
    found = draws.batch(block, torch.zeros(1, dtype=torch.int64, device=device))
    inputs, targets = (tensor[0].cpu().numpy() for tensor in (found.inputs, found.targets))
    if np.array_equal(inputs, expected.inputs) and np.array_equal(targets, expected.targets):
        return draws
    log.warning("the sequences of task %s are drawn on the CPU: a GPU would draw others", type(task).__name__)
    return None


def _jumps(steps: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return a table of (A, C) for 0, ``steps``, 2 ``steps``, ... steps of the generator, in words, (count, 4)."""
    a, c = 1, 0
    for _ in range(steps):
        a, c = a * MULTIPLIER % BITS, (c * MULTIPLIER + 1) % BITS
    rows, now = [], (1, 0)
    for _ in range(count):
        rows.append([part for value in now for part in divmod(value, 1 << 64)])
        now = now[0] * a % BITS, (now[1] * a + c) % BITS
    return np.array(rows, dtype=np.uint64).view(np.int64)
