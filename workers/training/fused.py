"""Parts of a training step as a few kernels of Triton: batches, the loss with its gradient, the optimiser. float32.

They compute what batches.py, metrics.py, optimizers.py and ``TrainingPack._record`` compute with torch's operators,
up to rounding. The kernels are in fused_kernels.py. The package triton is imported on first use.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from workers.models import PackedModel
from workers.models.packed_model import Tensors
from workers.tasks import MASKED, Task
from workers.training.batches import Batch, TaskData
from workers.training.feed import BatchFeed
from workers.training.optimizers import EPS, PackedOptimizer
from workers.training.records import StepRecords

CHUNK = 1024
"""Numbers that a program of the optimiser's kernels updates."""
ALIGNED = 64
"""Every parameter begins at a multiple of so many numbers, as if it had memory of its own."""
MOST_ROWS, TILE = 64, 4096
"""The most rows and numbers of outputs that a program of the loss reads."""


@functools.cache
def installed() -> bool:
    """Return whether the package triton is installed."""
    return importlib.util.find_spec("triton") is not None


def batch(feed: BatchFeed, data: TaskData) -> Batch:
    """Return the batches of a step, as ``BatchFeed.batch`` does; one launch for each of inputs, targets and lengths."""
    train, order = data.train, feed.block.get("index")
    if feed.draws is not None or "resets" in feed.block:
        return feed.batch()
    if train is None or order is None:
        train, order = Batch(*(_in_rows(feed.block.get(name)) for name in Batch._fields)), feed.rows
    inputs = _gathered(train.inputs, order, feed.at, swap=train.inputs.dim() == 3)
    lengths = None if train.lengths is None else _gathered(train.lengths, order, feed.at)
    return Batch(inputs, _gathered(train.targets, order, feed.at), lengths)


def _in_rows(block: Tensor | None) -> Any:
    """Return what has the shape (S, K, B, ...) as (S K B, ...)."""
    return None if block is None else block.flatten(0, 2)


def _gathered(data: Tensor, order: Tensor, at: Tensor, *, swap: bool = False) -> Tensor:
    """Return the rows of ``data`` (N, ...) of one step, shape (K, B, ...); with ``swap`` time lies before the batch."""
    trials, places = order.shape[1:]
    row = data[0].numel()
    shape = (trials, data.shape[1], places, data.shape[2]) if swap else (trials, places, *data.shape[1:])
    found = data.new_empty(shape)
    rows, block = 32, min(128, _power_of_two(row))
    grid = (_blocks(row, block), _blocks(places, rows), trials)
    steps, width = data.shape[1:] if swap else (1, row)
    sizes = (trials, places, row, steps, width)
    _launch("gather", grid, [data, order, at, found, *sizes], SWAP=swap, ROWS=rows, BLOCK=block)
    return found.transpose(1, 2) if swap else found


def loss_and_gradient(task: Task, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return parts of each trial's mean loss, which add up to it, and its gradient.

    Args:
        task: The task, which decides the kind of loss.
        outputs: Shape (K, B, O), or (K, B, T, O) for the readout "every".
        targets: As for ``metrics.losses``.

    Returns:
        The parts, shape (K, parts), and the gradient of the outputs, in their shape.
    """
    trials, classes, outputs, targets = len(outputs), outputs.shape[-1], outputs.contiguous(), targets.contiguous()
    size = outputs[0].numel()
    entropy, counted = task.loss == "cross_entropy", task.readout == "every"
    counts = targets  # not read unless it is needed
    if counted:
        counts = (targets != MASKED if entropy else ~targets.isnan()).flatten(1).sum(1)
    slopes = torch.empty_like(outputs)
    if entropy:
        padded = _power_of_two(classes)
        rows = max(1, min(MOST_ROWS, TILE // padded))
        losses = outputs.new_empty(trials, _blocks(size // classes, rows))
        arguments = [outputs, targets, counts, losses, slopes, size // classes, classes]
        options = {"MASKED": MASKED, "COUNTED": counted, "ROWS": rows, "CLASSES": padded}
        _launch("cross_entropy", (losses.shape[1], trials), arguments, **options)
    else:
        losses = outputs.new_empty(trials, _blocks(size, TILE))
        arguments = [outputs, targets, counts, losses, slopes, size]
        _launch("squared_error", (losses.shape[1], trials), arguments, COUNTED=counted, BLOCK=TILE)
    return losses, slopes


class FusedUpdate:
    """Clips, updates and keeps the records of a pack in four launches, and restores the model's constraints.

    The parameters and the optimiser's state are moved into one array each; the tensors that had them are views of it
    then.

    Args:
        optimizer: The optimiser whose numbers are used and whose state is updated.
        model: The pack whose parameters are updated.
        records: What is recorded at each step.
        place: The counter of the feed (``BatchFeed.at``), which a step moves on.
    """

    def __init__(self, optimizer: PackedOptimizer, model: PackedModel, records: StepRecords, place: Tensor) -> None:
        self._optimizer, self._model, self._records, self._place = optimizer, model, records, place
        named = model.parameters
        self._flat = _flattened(named)
        self._state = []
        for state in optimizer.state.values():
            views = dict(state)
            self._state.append(_flattened(views))
            state |= views
        trials, like = len(optimizer.steps), self._flat
        self._gradients = like.new_zeros(sum(p.numel() for p in named.values()))
        self._chunks = _chunks(named).to(like.device)
        self._parts = like.new_zeros(trials, len(self._chunks))
        self._scalars = torch.zeros(trials, 4, dtype=torch.float64, device=like.device)
        self._numbers, self._rates, self._decays, self._wholes, self._reals = self._constants()

    def reload(self) -> None:
        """Take over the numbers that the optimiser has by now, in place, so that a captured graph goes on with them."""
        mine = (self._numbers, self._rates, self._decays, self._wholes, self._reals)
        for kept, new in zip(mine, self._constants(), strict=True):
            kept.copy_(new)

    def _constants(self) -> tuple[Tensor, ...]:
        """Return what the kernels need of the optimiser's numbers: those of its formula, rates, decays and others."""
        optimizer = self._optimizer
        limits = optimizer.limits
        if limits is None:
            limits = self._flat.new_full((len(optimizer.steps),), torch.inf)
        reals, wholes = optimizer.schedule.constants()
        reals = torch.cat([limits.double().unsqueeze(1), optimizer.log_betas(), reals], 1).contiguous()
        return optimizer.numbers(), *optimizer.rates(), wholes, reals

    def step(self, gradients: Tensors, losses: Tensor) -> None:
        """Do one step of every trial, without waiting for the device.

        Args:
            gradients: The gradient of each parameter, by name.
            losses: Parts of each trial's loss, shape (K, parts).
        """
        torch.cat([g.reshape(-1) for g in gradients.values()], out=self._gradients)
        chunks, trials = len(self._chunks), len(self._parts)
        _launch("squares", (chunks, trials), [self._gradients, self._chunks, self._parts], BLOCK=CHUNK)
        numbers = [self._parts, chunks, losses, losses.shape[1], self._reals, self._wholes, self._place]
        kept = [self._optimizer.steps, *self._records, self._scalars]
        _launch("prepare", (trials,), [*numbers, *kept], BLOCK=256)
        state = [self._state[0], self._state[-1]]
        tables = [self._chunks, self._scalars, self._rates, self._decays, self._numbers]
        options = {"EPS": EPS, "METHOD": self._optimizer.METHOD, "DECOUPLED": self._optimizer.DECOUPLED, "BLOCK": CHUNK}
        _launch("update", (chunks, trials), [self._flat, self._gradients, *state, *tables], **options)
        self._model.after_step()


def _flattened(named: Tensors) -> Tensor:
    """Move tensors into one array, and return it: parameters become views of it, other tensors are replaced."""
    starts, size = _starts(named)
    like = next(iter(named.values()))
    flat = like.detach().new_zeros(size)
    for (name, tensor), start in zip(named.items(), starts, strict=True):
        view = flat[start : start + tensor.numel()].view(tensor.shape)
        view.copy_(tensor.detach())
        if isinstance(tensor, torch.nn.Parameter):
            tensor.data = view
        else:
            named[name] = view
    return flat


def _starts(named: Tensors) -> tuple[list[int], int]:
    """Return where each tensor begins in the array of all, and the array's size."""
    starts, size = [], 0
    for tensor in named.values():
        starts.append(size)
        size += _blocks(tensor.numel(), ALIGNED) * ALIGNED
    return starts, size


def _chunks(named: Tensors) -> Tensor:
    """Return the chunks of ``fused_kernels.squares``, of which each lies in one parameter of one trial."""
    rows: list[tuple[int, int, int, int, int]] = []
    gradient = 0
    for number, (p, start) in enumerate(zip(named.values(), _starts(named)[0], strict=True)):
        own = p[0].numel()
        rows += [(start + at, gradient + at, own, min(CHUNK, own - at), number) for at in range(0, own, CHUNK)]
        gradient += p.numel()
    return torch.tensor(rows, dtype=torch.int64)


def _launch(name: str, grid: tuple[int, ...], arguments: list[Any], **options: Any) -> None:
    """Start a kernel of fused_kernels.py."""
    kernels, device = importlib.import_module("workers.training.fused_kernels"), arguments[0].device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        getattr(kernels, name)[grid](*arguments, **options)


def _blocks(size: int, block: int) -> int:
    return -(-size // block)


def _power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least ``size``."""
    return 1 << max(size - 1, 0).bit_length()
