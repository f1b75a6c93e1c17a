"""The batches of a pack in tensors that stay in one place on the device, so that a captured graph can read them.

What the host contributes to a batch, the positions of examples in the training set or newly drawn sequences, is
prepared for several steps at once by a thread in the background, in pinned memory, and copied to the device in one
piece. A step then needs no work of the host at all: it finds its part by a counter on the device.

The host draws new sequences with numpy, as on a CPU, unless the device can make the same ones (device_draws.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial

import torch
from torch import Tensor

from workers.training.batches import Batch, TaskData, fresh_generator
from workers.training.device_draws import DeviceDraws

MOST_STEPS = 256
"""The most steps that are prepared at once."""
BLOCK_BYTES = 2**24
"""The most bytes that are prepared at once, unless one step needs more."""


class BatchFeed:
    """Gives a pack its batches, one step after another, by work on the device alone.

    Call ``load`` on the host before each step. The step, or a graph in which it was captured, calls ``batch``, and
    ``advance`` at its end.

    Attributes:
        at: How many steps of the block on the device are done: the place of the next one in it, int64 of shape (1,).
        block: What the host contributed to the block's steps, by name, each of shape (S, K, ...).
        draws: The argument of this name.
        rows: The place of each sequence in a block, as if its first three axes were one; int64 of shape (S, K, B).

    Args:
        data: The data of the task.
        seeds: The seed of each of the K trials.
        steps: The optimiser steps that each trial has done.
        batch_size: The number of sequences of each trial.
        device: The device of the trials.
        draws: What makes new sequences on the device; None if the host draws them, or if there are none.
    """

    def __init__(
        self,
        data: TaskData,
        seeds: Sequence[int],
        steps: Sequence[int],
        batch_size: int,
        device: torch.device,
        draws: DeviceDraws | None = None,
    ) -> None:
        self.draws = draws
        self._data, self._seeds, self._next, self._batch_size = data, list(seeds), list(steps), batch_size
        # Its own orders: they remember a pass, and those of others are used by another thread.
        self._orders = [data.order(seed, batch_size) for seed in seeds]
        pinned = device.type == "cuda"
        like = self._parts(0, self._next[0], 1)
        size = len(self._seeds) * sum(part.numel() * part.element_size() for part in like.values())
        self._size = max(1, min(MOST_STEPS, BLOCK_BYTES // size))
        shapes = {name: (self._size, len(self._seeds), *part.shape[1:]) for name, part in like.items()}
        self._host = [
            {name: torch.empty(shape, dtype=like[name].dtype, pin_memory=pinned) for name, shape in shapes.items()}
            for _ in range(2)
        ]
        self.block = {name: torch.empty_like(host, device=device) for name, host in self._host[0].items()}
        self.at = torch.zeros(1, dtype=torch.int64, device=device)
        rows = (self._size, len(self._seeds), batch_size)
        self.rows = torch.arange(math.prod(rows), device=device).view(rows)
        event = partial(torch.cuda.Event, blocking=True)
        self._copied = [event() if pinned else None for _ in self._host]
        self._turn, self._left = 0, 0
        self._pending = self._prepare()

    def load(self) -> None:
        """Prepare the next step on the host: if the block on the device is used up, copy the next one there."""
        if self._left == 0:
            for part in self._pending:
                part.result()
            for name, host in self._host[self._turn].items():
                self.block[name].copy_(host, non_blocking=True)
            event = self._copied[self._turn]
            if event is not None:
                event.record()
            self.at.zero_()
            self._left, self._turn = self._size, 1 - self._turn
            self._pending = self._prepare()
        self._left -= 1

    def restart(self, seeds: Sequence[int], steps: Sequence[int]) -> None:
        """Go on with other trials, or from other steps. What was prepared is dropped; the tensors stay in their place.

        Args:
            seeds: The seed of each of the K trials.
            steps: The optimiser steps that each trial has done.
        """
        for part in self._pending:
            part.result()
        for k, seed in enumerate(seeds):
            if seed != self._seeds[k]:
                self._seeds[k], self._orders[k] = seed, self._data.order(seed, self._batch_size)
        self._next, self._left = list(steps), 0
        self._pending = self._prepare()

    def batch(self) -> Batch:
        """Return the batches of the step: those that ``draws`` makes, and others by torch's operators."""
        if self.draws is not None:
            return self.draws.batch(self.block, self.at)
        return self._data.assemble({name: block.index_select(0, self.at)[0] for name, block in self.block.items()})

    def advance(self) -> None:
        """Move on to the next step of the block."""
        self.at += 1

    def _prepare(self) -> list[Future[None]]:
        """Begin to fill the pinned memory whose turn it is with the steps after those that are prepared."""
        event, turn, steps = self._copied[self._turn], self._turn, list(self._next)
        if event is not None:
            event.synchronize()  # its last block, which is one block old, may still be on the way to the device
        self._next = [step + self._size for step in steps]
        pool = _threads(max(1, torch.get_num_threads()))
        return [pool.submit(self._fill, turn, k, step) for k, step in enumerate(steps)]

    def _parts(self, k: int, step: int, count: int) -> dict[str, Tensor]:
        """Return what the host contributes to ``count`` batches of trial k from batch ``step`` on."""
        if self.draws is not None:
            return self.draws.parts([fresh_generator(self._seeds[k], at) for at in range(step, step + count)])
        return self._data.parts(self._orders[k], self._seeds[k], step, count, self._batch_size)

    def _fill(self, turn: int, k: int, step: int) -> None:
        for name, part in self._parts(k, step, self._size).items():
            host = self._host[turn][name].numpy()  # numpy copies in this thread alone, and without Python's lock
            host[:, k] = part.numpy()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="batches")
